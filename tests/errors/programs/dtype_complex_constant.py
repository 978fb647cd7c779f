import numpy as np

import chainrule as cr


def model(x):
    return x + np.array([1j, 2j])


cr.compile(model, cr.spec(2))
