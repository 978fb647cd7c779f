import onnx
from onnx import TensorProto, helper

import chainrule as cr

x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
node = helper.make_node("Sparkle", ["x"], ["y"], name="sparkle_1", domain="com.example")
graph = helper.make_graph([node], "g", [x], [y])
opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
onnx.save(helper.make_model(graph, opset_imports=opsets), "net.onnx")
cr.load_onnx("net.onnx")
