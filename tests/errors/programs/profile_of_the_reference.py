import numpy as np

import chainrule as cr
from chainrule import nn

cr.compile(nn.ReLU(), cr.spec(3), backend="reference").profile(np.zeros(3, np.float32))
