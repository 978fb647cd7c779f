import chainrule as cr
from chainrule import nn

cr.compile(nn.GroupNorm(4, 6), cr.spec("N", 6, 5))
