import chainrule as cr
from chainrule import nn, optim

cr.training_step(nn.ReLU(), nn.MSELoss(), optim.SGD(0.1), (cr.spec("N", 3), cr.spec("N", 3)))
