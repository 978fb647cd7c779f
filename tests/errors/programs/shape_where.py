import chainrule as cr


def model(mask, x):
    return cr.where(mask, x, 0.0)


cr.compile(model, cr.spec(3, dtype="bool"), cr.spec(4))
