import numpy as np

import chainrule as cr
from chainrule import nn

net = nn.Sequential(nn.Embedding(10, 4))
run = cr.compile(net, cr.spec("N", dtype="i64"))
run(np.array([3, 9, 10]))
