import chainrule as cr


def model(x):
    return x > 0 and x < 1


cr.compile(model, cr.spec(3))
