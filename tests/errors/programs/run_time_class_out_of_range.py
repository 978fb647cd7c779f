import numpy as np

import chainrule as cr


def loss(scores, classes):
    return cr.cross_entropy(scores, classes)


run = cr.compile(loss, cr.spec("N", 10), cr.spec("N", dtype="i64"))
run(np.zeros((2, 10), np.float32), np.array([3, 10]))
