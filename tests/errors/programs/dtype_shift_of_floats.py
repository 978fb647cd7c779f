import chainrule as cr


def model(x):
    return x << 2


cr.compile(model, cr.spec("N"))
