import numpy as np

import chainrule as cr

table = np.array([[1, 2], None], dtype=object)


def model(x):
    return x + table


cr.compile(model, cr.spec(2))
