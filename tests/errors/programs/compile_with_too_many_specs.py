import chainrule as cr


def model(x):
    return x


cr.compile(model, cr.spec(3), cr.spec(4))
