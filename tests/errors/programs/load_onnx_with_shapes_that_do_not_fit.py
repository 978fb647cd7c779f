import onnx
from onnx import TensorProto, helper

import chainrule as cr

a = helper.make_tensor_value_info("a", TensorProto.FLOAT, [2, 3])
b = helper.make_tensor_value_info("b", TensorProto.FLOAT, [4, 5])
y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 5])
graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["y"], name="product")], "g", [a, b], [y])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), "net.onnx")
cr.load_onnx("net.onnx")
