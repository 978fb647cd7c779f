import numpy as np

import chainrule as cr
from chainrule import nn, optim

step = cr.training_step(nn.Linear(3, 1), nn.MSELoss(), optim.SGD(0.1), (cr.spec("N", 3), cr.spec("N", 1)), backend="reference")
data = cr.ArrayData(np.zeros((8, 3), np.float32), np.zeros((8, 1), np.float32))
cr.fit(step, data, checkpoint="missing/run.safetensors")
