import chainrule as cr
from chainrule import nn, optim

cr.training_step(nn.Linear(3, 4), nn.CrossEntropyLoss(), optim.SGD(0.1), cr.spec("N", 3))
