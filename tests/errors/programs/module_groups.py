from chainrule import nn

nn.Conv2d(6, 8, 3, groups=4)
