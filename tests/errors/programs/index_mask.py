import chainrule as cr


def model(x):
    return x[x > 0]


cr.compile(model, cr.spec(5))
