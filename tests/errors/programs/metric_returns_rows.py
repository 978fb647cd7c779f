import chainrule as cr
from chainrule import nn, optim


def error(y, target):
    return cr.abs(y - target).mean(axis=0)


specs = (cr.spec("N", 3), cr.spec("N", 2))
cr.training_step(nn.Linear(3, 2), nn.MSELoss(), optim.SGD(0.1), specs, metrics=[error])
