import os

import chainrule as cr
from chainrule import nn

os.mkdir("net.onnx")
cr.export_onnx(nn.Linear(3, 3), "net.onnx", cr.spec("N", 3))
