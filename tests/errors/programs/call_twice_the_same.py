import numpy as np

import chainrule as cr


def model(x):
    return x * 2


x = np.zeros(3, np.float32)
cr.compile(model, cr.spec(3))(x, x=x)
