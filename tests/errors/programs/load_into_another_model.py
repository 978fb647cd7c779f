import chainrule as cr
from chainrule import nn

cr.save(nn.Sequential(nn.Linear(3, 4)), "net.safetensors")
cr.load("net.safetensors", into=nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
