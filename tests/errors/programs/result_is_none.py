import chainrule as cr


def model(x):
    cr.exp(x)


cr.compile(model, cr.spec(3))
