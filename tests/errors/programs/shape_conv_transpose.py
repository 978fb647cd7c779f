import chainrule as cr
from chainrule import nn

cr.compile(nn.ConvTranspose2d(8, 4, 2, stride=2), cr.spec("N", 4, 7, 7))
