import numpy as np

import chainrule as cr


def model(x):
    return np.exp(x)


cr.compile(model, cr.spec(3))
