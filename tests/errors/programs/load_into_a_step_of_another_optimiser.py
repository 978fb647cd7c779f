import chainrule as cr
from chainrule import nn, optim

specs = (cr.spec("N", 3), cr.spec("N", 1))
model = nn.Linear(3, 1)
cr.save(cr.training_step(model, nn.MSELoss(), optim.SGD(0.1), specs, backend="reference"), "run.safetensors")
adam = cr.training_step(model, nn.MSELoss(), optim.Adam(0.1), specs, backend="reference")
cr.load("run.safetensors", into=adam)
