import chainrule as cr
from chainrule import nn, optim

specs = (cr.spec("N", 3), cr.spec("N", 1))
cr.training_step(nn.Linear(3, 1), nn.MSELoss(), optim.SGD(0.1), specs, metrics=["accuracy"])
