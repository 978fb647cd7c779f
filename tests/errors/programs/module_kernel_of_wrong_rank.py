from chainrule import nn

nn.Conv2d(3, 8, (3, 3, 3))
