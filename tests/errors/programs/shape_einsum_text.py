import chainrule as cr


def model(x):
    return cr.einsum("ij->ijk", x)


cr.compile(model, cr.spec(2, 3))
