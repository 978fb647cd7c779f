from pathlib import Path

import chainrule as cr
from chainrule import nn

cr.export_onnx(nn.Linear(30, 30), "net.onnx", cr.spec("N", 30))
file = Path("net.onnx")
file.write_bytes(file.read_bytes()[:500])
cr.load_onnx("net.onnx")
