import numpy as np

import chainrule as cr
from chainrule import nn, optim


def loss(y, target):
    return cr.sqrt(cr.sum((y - target) ** 2))


model = nn.Linear(2, 2, bias=False)
model.weight.load(np.eye(2))
specs = (cr.spec("N", 2), cr.spec("N", 2))
step = cr.training_step(model, loss, optim.SGD(0.1), specs)
x = np.ones((3, 2), np.float32)
step.check_numerics(x, x)
