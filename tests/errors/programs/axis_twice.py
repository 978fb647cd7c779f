import chainrule as cr


def model(x):
    return x.mean(axis=(0, -2))


cr.compile(model, cr.spec(2, 3))
