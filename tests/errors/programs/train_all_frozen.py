import chainrule as cr
from chainrule import nn, optim

model = nn.Linear(3, 3).requires_grad_(False)
cr.training_step(model, nn.MSELoss(), optim.SGD(0.1), (cr.spec("N", 3), cr.spec("N", 3)))
