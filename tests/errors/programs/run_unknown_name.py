import numpy as np

import chainrule as cr


def model(x):
    return x * 2


run = cr.compile(model, cr.spec(3))
run.run({"z": np.zeros(3, np.float32)})
