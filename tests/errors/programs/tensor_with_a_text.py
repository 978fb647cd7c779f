import chainrule as cr


def model(x):
    return cr.exp("x")


cr.compile(model, cr.spec(3))
