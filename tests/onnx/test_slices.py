"""Slice clamps its bounds as ONNX says, which is not Python's way where it goes backwards from in front of the axis."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import chainrule as cr
from chainrule.backends.onnx.executable import session_of

FAR = 2**31 - 1


def sliced(size: int | str, start: int, end: int, step: int) -> onnx.ModelProto:
    stored = [numpy_helper.from_array(np.int64([n]), name)
              for name, n in (("start", start), ("end", end), ("axis", 0), ("step", step))]  # fmt: skip
    node = helper.make_node("Slice", ["x", "start", "end", "axis", "step"], ["y"])
    graph = helper.make_graph([node], "slice", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], stored)  # fmt: skip
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


@pytest.mark.parametrize("size", [5, "N"])
@pytest.mark.parametrize("start", [-FAR, -7, -6, -5, -2, -1, 0, 3, 5, FAR])
def test_backwards(start: int, size: int | str) -> None:
    x = np.arange(5, dtype=np.float32)
    for end, step in itertools.product([-FAR, -7, -6, -5, -1, 0, 2, 9], [-1, -2, -7]):
        proto = sliced(size, start, end, step)
        wanted = session_of(proto.SerializeToString(), 1, ["CPUExecutionProvider"]).run(None, {"x": x})[0]
        found = cr.compile(cr.load_onnx(proto), backend="reference")(x)
        assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize("start", [-6, -2, -1, FAR])
def test_backwards_on_axes_of_any_size_in_native_code(start: int) -> None:
    proto = sliced("N", start, -FAR, -1)
    session = session_of(proto.SerializeToString(), 1, ["CPUExecutionProvider"])
    net = cr.compile(cr.load_onnx(proto))
    for size in (0, 1, 2, 5, 6, 40):
        x = np.arange(size, dtype=np.float32)
        assert net(x).tolist() == session.run(None, {"x": x})[0].tolist()


def test_sizes_that_are_sliced_backwards_while_the_model_loads() -> None:
    """Shape of x, backwards from far in front: its first element alone."""
    nodes = [helper.make_node("Shape", ["x"], ["s"]),
             helper.make_node("Slice", ["s", "far", "far", "axis", "step"], ["t"]),
             helper.make_node("ConstantOfShape", ["t"], ["y"])]  # fmt: skip
    stored = [numpy_helper.from_array(np.int64([n]), name) for name, n in (("far", -99), ("axis", 0), ("step", -1))]
    graph = helper.make_graph(nodes, "sizes", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], stored)  # fmt: skip
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    assert cr.compile(cr.load_onnx(proto))(np.zeros((4, 3), np.float32)).shape == (4,)
