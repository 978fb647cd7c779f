import numpy as np

import chainrule as cr


def f(x):
    return (x * x).sum()


cr.grad(f)(np.arange(3))
