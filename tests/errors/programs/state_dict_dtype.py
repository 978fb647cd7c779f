import numpy as np

from chainrule import nn

net = nn.Linear(2, 2)
net.load_state_dict({"weight": np.zeros((2, 2), np.int64), "bias": np.zeros(2, np.float32)})
