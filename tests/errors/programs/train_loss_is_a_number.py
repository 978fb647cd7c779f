import chainrule as cr
from chainrule import nn, optim


def loss(y, target):
    return 0.5


cr.training_step(nn.Linear(3, 1), loss, optim.SGD(0.1), (cr.spec("N", 3), cr.spec("N", 1)))
