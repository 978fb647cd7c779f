import chainrule as cr
from chainrule import nn

net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(100, 10))
cr.compile(net, cr.spec("N", 1, 8, 8))
