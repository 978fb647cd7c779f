"""Graphs in attributes, functions of a model, sparse weights, and what is refused of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import chainrule as cr
from chainrule.backends.onnx.importing.domains import READERS
from chainrule.backends.onnx.node import Body, Given
from chainrule.ir.graph import Value, inline, new_input
from chainrule.ir.text import text
from tests.onnx.models import model, node, seeded
from tests.onnx.test_import import assert_same

OWN = helper.make_opsetid("", 17)


def function(name: str, nodes: list[onnx.NodeProto], **options: object) -> onnx.FunctionProto:
    """A function of x that gives y."""
    return helper.make_function("own", name, ["x"], ["y"], nodes, [OWN, helper.make_opsetid("own", 1)], **options)  # type: ignore[arg-type]


def calling(nodes: list[onnx.NodeProto], functions: list[onnx.FunctionProto]) -> onnx.ModelProto:
    proto = model(nodes, {"x": ["N", 4]}, ["y"])
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.functions.extend(functions)
    proto.ir_version = 10
    return proto


def call(name: str, source: str, target: str, **attributes: object) -> onnx.NodeProto:
    return node(name, [source], [target], domain="own", **attributes)


def leaky(default: bool) -> onnx.FunctionProto:
    inner = node("LeakyRelu", ["x"], ["y"])
    inner.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    given = {"attribute_protos": [helper.make_attribute("slope", 0.25)]} if default else {"attributes": ["slope"]}
    return function("Leaky", [inner], **given)


def test_functions_are_inlined_with_the_attributes_of_their_calls() -> None:
    twice = function("Twice", [call("Leaky", "x", "h", slope=0.5), call("Leaky", "h", "y")])
    proto = calling([call("Twice", "x", "h"), call("Twice", "h", "y")], [leaky(default=True), twice])
    assert_same(proto, seeded(3, 4))
    assert "@ /y//h//y" in text(cr.load_onnx(proto).graph)


def test_an_attribute_that_the_call_leaves_out_has_the_default_of_the_op() -> None:
    assert_same(calling([call("Leaky", "x", "y")], [leaky(default=False)]), seeded(3, 4))


def test_functions_of_one_name_are_told_apart_by_their_overload() -> None:
    functions = [function("F", [node(op, ["x"], ["y"])], overload=op) for op in ("Sin", "Cos")]
    proto = calling([call("F", "x", "h", overload="Sin"), call("F", "h", "y", overload="Cos")], functions)
    loaded = cr.compile(cr.load_onnx(proto), backend="reference")
    x = seeded(3, 4)
    assert np.allclose(loaded(x), np.cos(np.sin(x)))


def bomb(levels: int) -> onnx.ModelProto:
    """Each function calls the one below twice."""
    functions = [function("F0", [node("Relu", ["x"], ["y"])])]
    functions += [function(f"F{i}", [call(f"F{i - 1}", "x", "h"), call(f"F{i - 1}", "h", "y")])
                  for i in range(1, levels)]  # fmt: skip
    return calling([call(f"F{levels - 1}", "x", "y")], functions)


def circle() -> onnx.ModelProto:
    return calling([call("A", "x", "y")], [function("A", [call("B", "x", "y")]), function("B", [call("A", "x", "y")])])


@pytest.mark.parametrize(("make", "message"), [
    (lambda: bomb(200), "its 1 nodes call functions that expand to"),
    (circle, "the function 'A' calls itself"),
    (lambda: calling([call("F", "x", "y")], [function("F", [call("F", "x", "y")])]), "the function 'F' calls itself"),
    (lambda: calling([call("F", "x", "y")], [function("F", [node("Relu", ["z"], ["y"])])]), "reads 'z'"),
    (lambda: calling([call("F", "x", "y")], [function("F", [node("Relu", ["x"], ["z"])])]), "'F' gives 'y'"),
    (lambda: calling([call("F", "x", "y")], [function("F", [node("Relu", ["x"], ["y"])])] * 2), "is defined twice"),
    (lambda: calling([call("F", "x", "y")], [function("F", [node("Conjure", ["x"], ["y"])])]), "Conjure"),
], ids=["a bomb", "a circle", "itself", "an outer name", "no output", "twice", "an unknown op inside"])  # fmt: skip
def test_functions_that_cannot_be_inlined_are_refused(make: Callable[[], onnx.ModelProto], message: str) -> None:
    with pytest.raises((cr.ModelError, cr.NotSupported), match=message):
        cr.load_onnx(make())


def test_a_long_chain_of_functions_needs_no_recursion() -> None:
    functions = [function("F0", [node("Relu", ["x"], ["y"])])]
    functions += [function(f"F{i}", [call(f"F{i - 1}", "x", "y")]) for i in range(1, 3000)]
    loaded = cr.load_onnx(calling([call("F2999", "x", "y")], functions))
    assert loaded.graph.outputs[0].op.name == "relu"


def test_ops_that_are_not_built_are_all_named_also_those_inside() -> None:
    inside = helper.make_graph([helper.make_node("Abra", ["h"], ["c"], domain="magic", name="deep")], "g", [], [])
    proto = calling([node("If", ["x"], ["y"], then_branch=inside, else_branch=inside), call("F", "x", "q")],
                    [function("F", [node("Cadabra", ["x"], ["y"])])])  # fmt: skip
    with pytest.raises(cr.NotSupported) as caught:
        cr.load_onnx(proto)
    assert "Abra (domain magic, version 0): 2 times, first at node deep" in str(caught.value)
    assert "Cadabra (domain ai.onnx, version 17): 1 times" in str(caught.value)


def branch() -> onnx.GraphProto:
    """x + w + 1, where w is an initializer of the outer graph and 1 one of its own."""
    return helper.make_graph(
        [node("Add", ["x", "w"], ["s"]), node("Add", ["s", "one"], ["t"]), node("Mul", ["t", "i"], ["u"])], "branch",
        [onnx.ValueInfoProto(name="i")], [onnx.ValueInfoProto(name="u")],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])])  # fmt: skip


def nested(monkeypatch: pytest.MonkeyPatch, read: Callable[[Given], Value]) -> cr.Module:
    monkeypatch.setitem(READERS, "test", {"Held": read})  # type: ignore[arg-type]
    proto = model([node("Held", ["x"], ["y"], domain="test", inner=branch())], {"x": ["N", 4]}, ["y"],
                  {"w": seeded(4)})  # fmt: skip
    return cr.load_onnx(proto)


def test_a_graph_inside_captures_what_it_reads_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[Body] = []

    def read(given: Given) -> Value:
        own = new_input("i", given.value(0).tensor)
        bodies.append(given.graph("inner").body((own,)))
        return inline(bodies[0].graph, (given.value(0), *bodies[0].captured))[0]

    loaded, x = nested(monkeypatch, read), seeded(3, 4)
    assert [v.op.name for v in bodies[0].captured] == ["input", "input"]
    assert len(bodies[0].graph.inputs) == 3
    assert [n for n, _ in loaded.named_parameters()] == ["w"]
    assert np.allclose(cr.compile(loaded, backend="reference")(x), (x + seeded(4) + 1) * x)


def test_a_graph_inside_may_be_read_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = nested(monkeypatch, lambda given: given.graph("inner").inlined([given.entry(0)])[0].value())
    assert [v.op.name for v in loaded.graph.nodes if v.inputs] == ["add", "add", "mul"]


def sparse(indices: list[int], dims: list[int], shape: list[int]) -> onnx.SparseTensorProto:
    values = helper.make_tensor("w", TensorProto.FLOAT, [2], [3.0, 5.0])
    return helper.make_sparse_tensor(values, helper.make_tensor("i", TensorProto.INT64, dims, indices), shape)


@pytest.mark.parametrize("places", [([1, 6], [2]), ([0, 1, 1, 2], [2, 2])], ids=["flat", "by axis"])
def test_sparse_weights_are_made_dense(places: tuple[list[int], list[int]]) -> None:
    proto = model([node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 3]}, ["y"])
    proto.graph.sparse_initializer.append(sparse(*places, [3, 4]))
    wanted = np.zeros((3, 4), np.float32)
    wanted[0, 1], wanted[1, 2] = 3, 5
    assert np.array_equal(cr.load_onnx(proto).state_dict()["w"], wanted)


@pytest.mark.parametrize(("tensor", "message"), [
    (sparse([1, 60], [2], [3, 4]), "outside of its shape"),
    (sparse([1, -1], [2], [3, 4]), "outside of its shape"),
    (sparse([0, 1, 1, 2], [2, 2], [1 << 20, 1 << 20]), "at most"),
    (sparse([0, 1, 1, 2], [2, 2], [3, -4]), "has the shape"),
    (sparse([0, 1, 1, 2], [2, 2], [3, 4, 5]), "indices"),
])  # fmt: skip
def test_broken_sparse_weights_are_refused(tensor: onnx.SparseTensorProto, message: str) -> None:
    proto = model([node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 3]}, ["y"])
    proto.graph.sparse_initializer.append(tensor)
    with pytest.raises(cr.ModelError, match=message):
        cr.load_onnx(proto)
