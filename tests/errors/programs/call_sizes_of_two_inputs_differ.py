import numpy as np

import chainrule as cr


def model(x, y):
    return x + y


run = cr.compile(model, cr.spec("N", 3), cr.spec("N", 3))
run(np.zeros((4, 3), np.float32), np.zeros((5, 3), np.float32))
