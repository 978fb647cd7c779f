import chainrule as cr


def model(x):
    return x.reshape(4, 5)


cr.compile(model, cr.spec(3, 8))
