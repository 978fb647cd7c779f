import chainrule as cr


def model(x):
    return x * 2


run = cr.compile(model, cr.spec(2, 2))
run([[1, 2], [3]])
