import numpy as np

import chainrule as cr
from chainrule import nn

net = cr.compile(nn.ReLU(), cr.spec("N", 3), backend="onnxruntime")
net(np.zeros((2, 3)))
