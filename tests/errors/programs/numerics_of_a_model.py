import numpy as np

import chainrule as cr


def entropy(p):
    weighted = p * cr.log(p)
    return -weighted.sum(axis=1)


net = cr.compile(entropy, cr.spec("N", 3))
net.check_numerics(np.array([[0.5, 0.5, 0.0]], np.float32))
