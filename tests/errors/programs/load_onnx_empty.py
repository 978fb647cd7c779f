import chainrule as cr

cr.load_onnx(b"")
