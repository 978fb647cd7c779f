import os

import chainrule as cr
from chainrule import nn

os.mkdir("net.safetensors")
cr.save(nn.Linear(2, 2), "net.safetensors")
