import chainrule as cr
from chainrule import nn

cr.compile(nn.Linear(3, 3), ("N", 3))
