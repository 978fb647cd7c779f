import chainrule as cr


def model(x):
    return x.transpose(0, 2)


cr.compile(model, cr.spec(2, 3, 4))
