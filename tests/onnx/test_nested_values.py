"""Models that take or give sequences and optionals: Python lists, and None for nothing."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import chainrule as cr
from chainrule.backends.onnx.executable import session_of
from chainrule.errors import ArgumentError, NotSupported
from tests.onnx.models import node

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
X, Y = np.float32([[1, 2], [3, 4]]), np.float32([[5, 6]])


def sequence(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_sequence_value_info(name, FLOAT, None)


def tensor(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, shape)


def optional(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_value_info(name, helper.make_optional_type_proto(tensor(name, *shape).type))


def model(nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
          ) -> onnx.ModelProto:  # fmt: skip
    return helper.make_model(helper.make_graph(nodes, "net", inputs, outputs), ir_version=8,
                             opset_imports=[helper.make_opsetid("", 18)])  # fmt: skip


GIVES = model([node("Neg", ["x"], ["n"]), node("SequenceConstruct", ["x", "n"], ["s"])], [tensor("x", "N", 2)],
              [sequence("s"), tensor("n", "N", 2)])  # fmt: skip
ROWS = model([node("SplitToSequence", ["x"], ["s"], keepdims=0)], [tensor("x", "N", 2)], [sequence("s")])
TAKES = model([node("ConcatFromSequence", ["xs"], ["y"], axis=0), node("SequenceLength", ["xs"], ["n"])],
              [sequence("xs")], [tensor("y", "N", 2), helper.make_tensor_value_info("n", INT, [])])  # fmt: skip
MAPS = model([node("SequenceInsert", ["xs", "x"], ["ys"])], [sequence("xs"), tensor("x", "M", 2)], [sequence("ys")])


@pytest.mark.parametrize("backend", ["llvm", "reference", "onnxruntime"])
def test_a_sequence_that_a_model_gives_is_a_list(backend: str) -> None:
    (first, second), n = cr.compile(cr.load_onnx(GIVES), backend=backend)(X)
    assert np.array_equal(first, X) and np.array_equal(second, -X) and np.array_equal(n, -X)


@pytest.mark.parametrize("rows", [0, 1, 5, 100])
def test_its_length_may_follow_from_a_size(rows: int) -> None:
    x = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    found = cr.compile(cr.load_onnx(ROWS))(x)
    wanted = session_of(ROWS.SerializeToString(), 1, ["CPUExecutionProvider"]).run(None, {"x": x})[0]
    assert isinstance(found, list) and len(found) == len(wanted) == rows
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_a_sequence_that_a_model_takes_has_stated_elements_of_any_sizes() -> None:
    loaded = cr.load_onnx(TAKES, known={"xs": [cr.spec("N", 2), cr.spec("M", 2)]})
    net = cr.compile(loaded)
    for xs in ([X, Y], [Y, Y], (Y[:0], X)):
        joined, count = net(list(xs))
        assert np.array_equal(joined, np.concatenate(xs)) and count == 2
    assert np.array_equal(net(xs=[X, Y])[0], np.concatenate([X, Y]))
    with pytest.raises(ArgumentError, match=r"xs: entries 0, 1 were expected, 0 were given"):
        net([X])
    with pytest.raises(ArgumentError, match="xs: list of 2 was expected, one value was given"):
        net(X)


def test_elements_may_be_stated_as_arrays() -> None:
    found = cr.compile(cr.load_onnx(MAPS, known={"xs": [X, Y]}))([X, Y], X)
    assert [len(y) for y in found] == [2, 1, 2] and np.array_equal(found[1], Y)


def test_a_loaded_model_takes_and_gives_lists_in_a_trace() -> None:
    loaded = cr.load_onnx(MAPS, known={"xs": [cr.spec("N", 2)]})

    def summed(x, y):
        return cr.sum(cr.concatenate(loaded([x], y)))

    assert cr.compile(cr.grad(summed), cr.spec("A", 2), cr.spec("B", 2))(X, Y).tolist() == np.ones((2, 2)).tolist()


def test_an_optional_holds_a_tensor_or_nothing() -> None:
    nodes = [node("OptionalHasElement", ["x"], ["h"])]
    proto = model(nodes, [optional("x", "N")], [helper.make_tensor_value_info("h", TensorProto.BOOL, [])])
    assert cr.compile(cr.load_onnx(proto))(np.float32([1]))
    assert not cr.compile(cr.load_onnx(proto, known={"x": None}))(None)


def test_an_optional_that_a_model_gives_may_be_nothing() -> None:
    floats = helper.make_tensor_type_proto(FLOAT, None)
    nodes = [node("Optional", [], ["o"], type=floats), node("Neg", ["x"], ["n"])]
    nothing, n = cr.compile(cr.load_onnx(model(nodes, [tensor("x", "N")], [optional("o", "N"), tensor("n", "N")])))(
        np.float32([1, 2]))  # fmt: skip
    assert nothing is None and n.tolist() == [-1, -2]


def test_what_is_written_out_again_takes_and_gives_tensors() -> None:
    proto = cr.export_onnx(cr.load_onnx(MAPS, known={"xs": [cr.spec("N", 2), cr.spec("M", 2)]}))
    assert [i.name for i in proto.graph.input] == ["xs.0", "xs.1", "x"]
    assert [o.name for o in proto.graph.output] == ["ys.0", "ys.1", "ys.2"]


def test_a_sequence_of_unknown_length_is_refused_and_so_are_elements_of_another_type() -> None:
    with pytest.raises(NotSupported, match="the input xs is a sequence of unknown length"):
        cr.load_onnx(TAKES)
    with pytest.raises(ArgumentError, match=r"the elements of the input xs are f32, i64\[3\] is stated"):
        cr.load_onnx(TAKES, known={"xs": [np.arange(3)]})
    with pytest.raises(ArgumentError, match="the input x is a tensor, list is stated"):
        cr.load_onnx(GIVES, known={"x": [X]})
