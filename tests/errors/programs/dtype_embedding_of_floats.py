import chainrule as cr
from chainrule import nn

cr.compile(nn.Embedding(100, 16), cr.spec("N", 8))
