import numpy as np

import chainrule as cr


def model(pair):
    return pair["a"] + pair["b"]


run = cr.compile(model, {"a": cr.spec(3), "b": cr.spec(3)})
run({"a": np.zeros(3, np.float32), "c": np.zeros(3, np.float32)})
