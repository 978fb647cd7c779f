import chainrule as cr
from chainrule import nn

cr.compile(nn.Conv2d(3, 16, 3), cr.spec("N", 32))
