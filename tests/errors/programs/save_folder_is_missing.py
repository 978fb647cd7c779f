import chainrule as cr
from chainrule import nn

cr.save(nn.Linear(2, 2), "models/net.safetensors")
