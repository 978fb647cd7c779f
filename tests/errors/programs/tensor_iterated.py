import chainrule as cr


def model(x):
    return [row * 2 for row in x]


cr.compile(model, cr.spec(3, 4))
