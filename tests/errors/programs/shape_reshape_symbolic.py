import chainrule as cr


def model(x):
    return x.reshape("N", 7)


cr.compile(model, cr.spec("N", 2, 3))
