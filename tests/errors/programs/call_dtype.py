import numpy as np

import chainrule as cr


def model(x):
    return x * 2


run = cr.compile(model, cr.spec("N", 3))
run(np.zeros((4, 3)))
