from pathlib import Path

import chainrule as cr
from chainrule import nn

cr.save(nn.Linear(20, 20), "net.safetensors")
file = Path("net.safetensors")
file.write_bytes(file.read_bytes()[:1000])
cr.load("net.safetensors")
