import chainrule as cr
from chainrule import nn

cr.compile(nn.LayerNorm(64), cr.spec("N", 32))
