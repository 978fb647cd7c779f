import chainrule as cr


def model(x, y):
    return x * 2 + y


cr.compile(model, cr.spec("N", 4), cr.spec("N", 5))
