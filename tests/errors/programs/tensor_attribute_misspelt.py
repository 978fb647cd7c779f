import chainrule as cr


def model(x):
    return x.reshpae(2, 3)


cr.compile(model, cr.spec(6))
