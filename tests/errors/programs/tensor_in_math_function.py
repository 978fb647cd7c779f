import math

import chainrule as cr


def model(x):
    return x * math.sqrt(x.sum())


cr.compile(model, cr.spec(3))
