import chainrule as cr


def model(x, count):
    return x[: int(count)]


cr.compile(model, cr.spec(3), cr.spec(dtype="i64"))
