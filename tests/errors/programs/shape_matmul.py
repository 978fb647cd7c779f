import chainrule as cr


def model(x, y):
    return cr.relu(x @ y)


cr.compile(model, cr.spec(4, 3), cr.spec(5, 2))
