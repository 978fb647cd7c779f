import chainrule as cr


def model(q, k, v):
    return cr.scaled_dot_product_attention(q, k, v)


cr.compile(model, cr.spec("N", 4, 8, 16), cr.spec("N", 4, 8, 32), cr.spec("N", 4, 8, 32))
