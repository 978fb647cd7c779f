import numpy as np

import chainrule as cr


def model(x):
    return cr.exp(x)


net = cr.compile(model, cr.spec("N", 2))
net.check_numerics(np.array([[1, 2], [3, np.nan], [np.inf, 1]], np.float32))
