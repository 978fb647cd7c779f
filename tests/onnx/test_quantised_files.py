"""A quantised graph is written as one: QuantizeLinear and DequantizeLinear where they stood, products of bytes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from chainrule.backends import reference
from chainrule.backends.onnx.executable import run_session, session_of
from chainrule.backends.onnx.export import export_graph
from chainrule.backends.onnx.importing import import_model
from chainrule.ir.graph import Graph, build, new_input
from chainrule.ir.types import TensorType, f32, type_of, u8
from chainrule.ops.basic import constant
from chainrule.ops.integer_products import IntegerConv, IntegerMatMul
from chainrule.ops.matmul import matmul
from chainrule.ops.quantise import Dequantize, Quantize
from chainrule.ops.tolerance import steps_agree
from tests.llvm.quantised_graphs import CASES, Writer, numbers, powers
from tests.ops.sample import normal


def written(graph: Graph, weights: list[np.ndarray], x: np.ndarray) -> onnx.ModelProto:
    """The file; it gives in onnxruntime what the graph means."""
    model = export_graph(graph, weights)
    session = session_of(model.SerializeToString(), 1, ["CPUExecutionProvider"])
    (got,) = run_session(session, {session.get_inputs()[0].name: x})
    (want,) = reference.run(graph, [x, *weights])
    assert steps_agree(np.asarray(got), want)
    return model


def kinds(model: onnx.ModelProto) -> list[str]:
    return sorted(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("name", ["3x3, odd channels", "i8, the lowest", "by channels", "an unsigned weight"])
def test_a_convolution_between_bytes_is_three_dequantizes_a_convolution_and_its_quantize(name: str) -> None:
    case = CASES[name]
    graph, weights = case.written(2)
    x = normal(2, case.channels, *case.image, scale=20)
    model = written(graph, weights, x)
    assert kinds(model) == ["Conv", *["DequantizeLinear"] * 3, "QuantizeLinear", "QuantizeLinear"]
    again = import_model(model)
    (got,) = reference.run(again.graph, [x, *(w.array for w in again.weights)])
    assert np.array_equal(got, reference.run(graph, [x, *weights])[0])


def test_parameters_along_one_axis_are_rows_and_others_are_said_in_other_ops() -> None:
    x = new_input("x", TensorType(f32, (3, 4)))
    for scale, zero, form in (
        (powers(4).reshape(1, 4), np.uint8(7), True), (np.float32(0.5), np.arange(3, dtype=np.uint8)[:, None], True),
        (powers(3).reshape(3, 1), np.arange(4, dtype=np.uint8)[None], False),
    ):  # fmt: skip
        steps = build(Quantize(u8), x, constant(scale), constant(zero))
        graph = Graph("g", (x,), (build(Dequantize(), steps, constant(scale), constant(zero)),))
        model = export_graph(graph, [])
        assert ("QuantizeLinear" in kinds(model)) is form
        values = normal(3, 4, scale=9)
        (got,) = run_session(session_of(model.SerializeToString(), 1, ["CPUExecutionProvider"]), {"x": values})
        assert np.array_equal(got, reference.run(graph, [values])[0])


def test_a_product_keeps_its_bytes() -> None:
    w = Writer()
    y = matmul(w.through(w.input(3, 12), np.uint8, 0.25, 128), w.weight(numbers(np.int8, 12, 9), powers(9), 1))
    model = written(w.graph(w.quantised(y, np.uint8, 2.0, 100)), w.weights, normal(3, 12, scale=20))
    assert kinds(model) == ["DequantizeLinear", "DequantizeLinear", "MatMul", "QuantizeLinear", "QuantizeLinear"]


def test_products_of_bytes_are_those_of_onnx() -> None:
    a, b = numbers(np.uint8, 3, 12), numbers(np.int8, 12, 5)
    image, kernel = numbers(np.uint8, 1, 3, 6, 5), numbers(np.int8, 4, 3, 3, 2)
    inputs = tuple(new_input(n, type_of(x)) for n, x in (("a", a), ("b", b), ("x", image), ("w", kernel)))
    conv = IntegerConv((1, 2), (1, 0, 1, 2), (1, 1), 1, fill=9)
    outputs = (build(IntegerMatMul(), *inputs[:2]), build(conv, *inputs[2:]))
    graph = Graph("bytes", inputs, outputs)
    model = export_graph(graph, [])
    assert kinds(model) == ["ConvInteger", "MatMulInteger", "Pad"]
    arrays = [a, b, image, kernel]
    named = dict(zip("abxw", arrays, strict=True))
    found = run_session(session_of(model.SerializeToString(), 1, ["CPUExecutionProvider"]), named)
    assert all(np.array_equal(y, want) for y, want in zip(found, reference.run(graph, arrays), strict=True))
