import chainrule as cr
from chainrule import nn, optim

specs = (cr.spec("N", 3), cr.spec("N", dtype="i64"))
cr.training_step(nn.Linear(3, 4), nn.CrossEntropyLoss(), optim.SGD(0.1), specs, metrics=["accuracy", "accuracy"])
