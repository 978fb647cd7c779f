import chainrule as cr


def model(x):
    return x, "done"


cr.compile(model, cr.spec(3))
