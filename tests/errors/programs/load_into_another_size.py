import chainrule as cr
from chainrule import nn

cr.save(nn.Linear(3, 4), "net.safetensors")
cr.load("net.safetensors", into=nn.Linear(3, 5))
