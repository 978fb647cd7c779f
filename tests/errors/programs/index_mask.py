import chainrule as cr


def model(x):
    return x[x[:, 0] > 0, 1:]


cr.compile(model, cr.spec(5, 4))
