import chainrule as cr


def model(x):
    return x[0, :, 1]


cr.compile(model, cr.spec(5, 2))
