import chainrule as cr
from chainrule import nn

nn.Sequential(nn.Linear(2, 2), cr.relu)
