import chainrule as cr
from chainrule import nn

cr.compile(nn.ReLU(), cr.spec(3), backend="cuda")
