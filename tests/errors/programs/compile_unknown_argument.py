import chainrule as cr


def model(x):
    return x


cr.compile(model, y=cr.spec(3))
