import numpy as np

import chainrule as cr
from chainrule import nn, optim

specs = (cr.spec("N", 3), cr.spec("N", 1))
step = cr.training_step(nn.Linear(3, 1), nn.MSELoss(), optim.SGD(0.1), specs, backend="reference")
step(np.zeros((8, 3), np.float32))
