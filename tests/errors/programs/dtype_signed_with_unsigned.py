import chainrule as cr


def model(x, y):
    return x + y


cr.compile(model, cr.spec(2, dtype="i64"), cr.spec(2, dtype="u64"))
