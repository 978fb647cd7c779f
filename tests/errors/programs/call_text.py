import chainrule as cr


def model(x):
    return x * 2


run = cr.compile(model, cr.spec(3))
run("three numbers")
