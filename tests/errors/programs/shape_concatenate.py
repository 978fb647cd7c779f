import chainrule as cr


def model(x, y):
    return cr.concatenate([x, y], axis=1)


cr.compile(model, cr.spec(2, 3), cr.spec(4, 3))
