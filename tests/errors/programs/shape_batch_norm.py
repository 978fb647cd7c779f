import chainrule as cr
from chainrule import nn

cr.compile(nn.BatchNorm2d(8), cr.spec("N", 3, 5, 5))
