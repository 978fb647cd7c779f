import chainrule as cr


def model(x, y):
    return x + y


cr.compile(model, cr.spec("N", 4), cr.spec("M", 4))
