import chainrule as cr


def model(x, y):
    return cr.einsum("ij,jk->ik", x, y)


cr.compile(model, cr.spec(2, 3), cr.spec(4, 5))
