import chainrule as cr


def model(x):
    left, right = x
    return left + right


cr.compile(model, cr.spec(2, 4))
