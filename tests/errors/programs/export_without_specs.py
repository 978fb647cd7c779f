import chainrule as cr
from chainrule import nn

cr.export_onnx(nn.Linear(3, 3), "net.onnx")
