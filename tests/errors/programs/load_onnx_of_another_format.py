from pathlib import Path

import chainrule as cr

Path("net.onnx").write_text("this is no model")
cr.load_onnx("net.onnx")
