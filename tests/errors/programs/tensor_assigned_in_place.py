import chainrule as cr


def model(x):
    x[0] = 1.0
    return x


cr.compile(model, cr.spec(3))
