import chainrule as cr


def model(x, y):
    return cr.stack([x, y])


cr.compile(model, cr.spec(2, 3), cr.spec(2, 4))
