import numpy as np

import chainrule as cr


def model(x, y):
    return x.sum() + y.sum()


run = cr.compile(model, cr.spec("N"), cr.spec("2*N+1"))
run(np.zeros(4, np.float32), np.zeros(10, np.float32))
