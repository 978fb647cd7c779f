import chainrule as cr
from chainrule import nn

cr.compile(nn.Conv2d(1, 1, 5), cr.spec("N", 1, 3, 3))
