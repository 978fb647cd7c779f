import onnx
from onnx import TensorProto, helper

import chainrule as cr

weight = helper.make_tensor("w", TensorProto.FLOAT, [2], [0.0, 0.0])
weight.ClearField("float_data")
weight.data_location = TensorProto.EXTERNAL
weight.external_data.add(key="location", value="../secrets.bin")
x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), "net.onnx")
cr.load_onnx("net.onnx")
