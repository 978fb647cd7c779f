import numpy as np

from chainrule import nn

layer = nn.Linear(2, 2)
layer.weight = np.eye(2, dtype=np.float32)
