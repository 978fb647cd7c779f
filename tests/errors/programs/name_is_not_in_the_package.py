import chainrule as cr


def model(x):
    return cr.rellu(x)


cr.compile(model, cr.spec(3))
