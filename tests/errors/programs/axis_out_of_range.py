import chainrule as cr


def model(x):
    return cr.sum(x, axis=2)


cr.compile(model, cr.spec(2, 3))
