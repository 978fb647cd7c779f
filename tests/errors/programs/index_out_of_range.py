import chainrule as cr


def model(x):
    return x[5]


cr.compile(model, cr.spec(5))
