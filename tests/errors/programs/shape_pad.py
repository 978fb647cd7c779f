import chainrule as cr


def model(x):
    return cr.pad(x, ((1, 1), (2, 2), (0, 0)))


cr.compile(model, cr.spec("N", 8))
