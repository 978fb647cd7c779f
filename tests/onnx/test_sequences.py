"""Sequences and optionals, taken apart when a model is loaded: what onnxruntime computes with them is computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import chainrule as cr
from chainrule.errors import ModelError
from chainrule.ops.control import Scan
from tests.onnx.models import Array, model, node, seeded

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def number(name: str, value: object) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value), name))


def graph(nodes: Sequence[onnx.NodeProto], inputs: Sequence[str], outputs: Sequence[str]) -> onnx.GraphProto:
    """A body or branch; of its types those of a loop's own inputs are stated, which onnxruntime must know."""
    scalars = {"i": INT, "go": BOOL}
    typed = [helper.make_tensor_value_info(n, scalars[n], []) if n in scalars else onnx.ValueInfoProto(name=n)
             for n in inputs]  # fmt: skip
    return helper.make_graph(list(nodes), "body", typed, [onnx.ValueInfoProto(name=n) for n in outputs])


def in_onnxruntime(proto: onnx.ModelProto, arrays: Sequence[Array]) -> list[Array]:
    arrays = [np.asarray(x) for x in arrays]
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays, strict=True)))


def check(proto: onnx.ModelProto, *arrays: Array) -> cr.GraphModule:
    """The model gives what onnxruntime gives, to the bit: nothing is computed but sums of two numbers."""
    loaded = cr.load_onnx(proto)
    wanted = in_onnxruntime(proto, arrays)
    for backend in ("reference", "llvm"):
        for y, expected in zip(cr.compile(loaded, backend=backend).run(list(arrays)), wanted, strict=True):
            assert y.dtype == expected.dtype and np.array_equal(y, expected)
    return loaded


PAIR = [node("Neg", ["x"], ["n"]), node("SequenceConstruct", ["x", "n"], ["s"])]


def test_elements_are_taken_put_in_and_out() -> None:
    proto = model([
        *PAIR, number("one", 1), number("last", -1), node("Abs", ["x"], ["a"]),
        node("SequenceInsert", ["s", "a", "one"], ["s3"]), node("SequenceInsert", ["s3", "n"], ["s4"]),
        node("SequenceErase", ["s4", "last"], ["s5"]), node("Identity", ["s5"], ["s6"]),
        node("SequenceAt", ["s6", "one"], ["y"]), node("SequenceLength", ["s6"], ["k"]),
        node("ConcatFromSequence", ["s6"], ["c"], axis=-1),
        node("ConcatFromSequence", ["s6"], ["t"], axis=1, new_axis=1),
    ], {"x": ["N", 3]}, ["y", "k", "c", "t"])  # fmt: skip
    check(proto, seeded(2, 3))


@pytest.mark.parametrize("at", [-2, -1, 0, 1, 2])
def test_an_element_is_put_before_a_position(at: int) -> None:
    check(model([*PAIR, number("at", at), node("Abs", ["x"], ["a"]), node("SequenceInsert", ["s", "a", "at"], ["t"]),
                 node("ConcatFromSequence", ["t"], ["y"], axis=0)], {"x": [3]}, ["y"]), seeded(3))  # fmt: skip


def test_a_sequence_grows_from_none() -> None:
    nodes = [node("SequenceEmpty", [], ["s"]), node("SequenceInsert", ["s", "x"], ["s1"]),
             node("ConcatFromSequence", ["s1"], ["y"], axis=0)]  # fmt: skip
    check(model(nodes, {"x": ["N"]}, ["y"]), seeded(4))


@pytest.mark.parametrize(("attributes", "sizes"), [
    ({"axis": 1}, np.int64([2, 3])), ({"axis": -1}, np.int64(2)), ({"axis": 1, "keepdims": 0}, None), ({}, None),
])  # fmt: skip
@pytest.mark.parametrize("shape", [(4, 5), ("N", 5)])
def test_an_array_is_split(attributes: dict[str, int], sizes: Array | None, shape: tuple[int | str, int]) -> None:
    given = [] if sizes is None else [number("sizes", sizes)]
    nodes = [*given, node("SplitToSequence", ["x", "sizes"] if given else ["x"], ["s"], **attributes), number("at", 1),
             node("SequenceAt", ["s", "at"], ["y"]), node("SequenceLength", ["s"], ["k"]),
             node("ConcatFromSequence", ["s"], ["c"], axis=attributes.get("keepdims", 1))]  # fmt: skip
    check(model(nodes, {"x": shape}, ["y", "k", "c"]), seeded(4, 5))


def test_which_element_may_follow_from_data() -> None:
    proto = model([*PAIR, node("Cast", ["i"], ["at"], to=INT), node("SequenceAt", ["s", "at"], ["y"])],
                  {"x": ["N"], "i": []}, ["y"])  # fmt: skip
    for i in (0.0, 1.0, -1.0, -2.0):
        check(proto, seeded(3), np.float32(i))
    different = [node("Concat", ["x", "x"], ["n"], axis=0), *PAIR[1:], *proto.graph.node[2:]]
    with pytest.raises(cr.NotSupported, match="have different shapes"):
        cr.load_onnx(model(different, {"x": ["N"], "i": []}, ["y"]))


def test_a_graph_is_mapped_over_elements() -> None:
    body = graph([node("Add", ["e", "w"], ["z"]), node("Neg", ["z"], ["m"])], ["e", "w"], ["z", "m"])
    for info in (*body.input, *body.output):
        info.CopyFrom(helper.make_tensor_value_info(info.name, FLOAT, [3]))
    ends = [node("SequenceMap", ["s", "x"], ["a", "b"], body=body), node("ConcatFromSequence", ["a"], ["y"], axis=0),
            node("ConcatFromSequence", ["b"], ["z"], axis=0)]  # fmt: skip
    check(model([*PAIR, *ends], {"x": [3]}, ["y", "z"]), seeded(3))


def test_a_graph_is_mapped_over_elements_in_any_number() -> None:
    body = graph([node("Add", ["e", "w"], ["z"])], ["e", "w"], ["z"])
    nodes = [node("SplitToSequence", ["x"], ["s"], axis=0, keepdims=0),
             node("SequenceMap", ["s", "v"], ["a"], body=body),
             node("ConcatFromSequence", ["a"], ["y"], axis=0, new_axis=1)]  # fmt: skip
    proto = model(nodes, {"x": ["N", 3], "v": [3]}, ["y"])
    (found,) = cr.compile(cr.load_onnx(proto)).run([seeded(4, 3), seeded(3)])
    assert np.array_equal(found, seeded(4, 3) + seeded(3))


def appending(ends: Sequence[onnx.NodeProto], count: Sequence[onnx.NodeProto], start: Sequence[onnx.NodeProto] = ()
              ) -> list[onnx.NodeProto]:  # fmt: skip
    """A loop that appends x + h, and what `ends` adds, to the sequence s; h doubles."""
    body = graph([node("Identity", ["go"], ["going"]), node("Add", ["x", "h"], ["e"]), node("Add", ["h", "h"], ["hh"]),
                  node("SequenceInsert", ["s", "e"], ["s1"]), *ends],
                 ["i", "go", "h", "s"], ["going", "hh", ends[-1].output[0] if ends else "s1"])  # fmt: skip
    return [*count, *(start or [node("SequenceEmpty", [], ["begin"])]), number("true", True),
            node("Loop", ["n", "true", "x", "begin"], ["last", "all"], body=body)]  # fmt: skip


JOINED = node("ConcatFromSequence", ["all"], ["y"], axis=0, new_axis=1)
KNOWN = [number("n", np.int64(5))]
TOLD = [node("Cast", ["k"], ["n"], to=INT)]


@pytest.mark.parametrize("count", [KNOWN, TOLD], ids=["known", "told"])
def test_a_loop_that_appends_is_one_that_stacks(count: list[onnx.NodeProto]) -> None:
    proto = model([*appending([], count), JOINED], {"x": ["N"], "k": []}, ["y", "last"])
    loaded = check(proto, seeded(3), np.float32(5))
    assert any(isinstance(n.op, Scan) for n in loaded.graph.nodes)


def test_a_loop_appends_several_to_what_is_there() -> None:
    ends = [node("Neg", ["e"], ["m"]), node("SequenceInsert", ["s1", "m"], ["s2"])]
    proto = model([*appending(ends, TOLD, [node("SequenceConstruct", ["x"], ["begin"])]), JOINED],
                  {"x": ["N"], "k": []}, ["y"])  # fmt: skip
    for k in (0, 1, 3):
        check(proto, seeded(3), np.float32(k))


def test_a_loop_that_does_more_to_a_sequence_is_unrolled() -> None:
    ends = [number("first", np.int64(0)), node("SequenceInsert", ["s", "e", "first"], ["s2"])]
    check(model([*appending(ends, KNOWN), JOINED], {"x": ["N"], "k": []}, ["y"]), seeded(3), np.float32(5))
    with pytest.raises(cr.NotSupported, match="how often it runs is not known"):
        cr.load_onnx(model([*appending(ends, TOLD), JOINED], {"x": ["N"], "k": []}, ["y"]))


def test_a_loop_reads_elements_of_a_sequence_around_it() -> None:
    body = graph([node("Identity", ["go"], ["going"]), node("SequenceAt", ["s", "i"], ["e"]),
                  node("Add", ["h", "e"], ["hh"])], ["i", "go", "h"], ["going", "hh"])  # fmt: skip
    nodes = [*PAIR, node("Cast", ["k"], ["n2"], to=INT), number("true", True),
             node("Loop", ["n2", "true", "x"], ["y"], body=body)]  # fmt: skip
    proto = model(nodes, {"x": ["N"], "k": []}, ["y"])
    for k in (0, 1, 2):
        check(proto, seeded(3), np.float32(k))


def branches(then: Sequence[onnx.NodeProto], otherwise: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    made = {"then_branch": graph(then, [], [then[-1].output[0]]),
            "else_branch": graph(otherwise, [], [otherwise[-1].output[0]])}  # fmt: skip
    return [node("Cast", ["k"], ["c"], to=BOOL), node("If", ["c"], ["s"], **made)]


def test_a_branch_gives_a_sequence() -> None:
    ends = [node("ConcatFromSequence", ["s"], ["y"], axis=0)]
    nodes = [*branches([node("Neg", ["x"], ["m"]), node("SequenceConstruct", ["x", "m"], ["a"])],
                       [node("Abs", ["x"], ["p"]), node("SequenceConstruct", ["p", "x"], ["b"])]), *ends]  # fmt: skip
    for k in (0.0, 1.0):
        check(model(nodes, {"x": ["N"], "k": []}, ["y"]), seeded(3), np.float32(k))
    then, otherwise = ([node("SequenceConstruct", ["x"] * n, [f"s{n}"])] for n in (1, 2))
    unlike = [*branches(then, otherwise), *ends]
    with pytest.raises(cr.NotSupported, match="sequences of other lengths"):
        cr.load_onnx(model(unlike, {"x": ["N"], "k": []}, ["y"]))


def test_an_optional_is_what_it_holds() -> None:
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [None]))
    nodes = [node("Optional", ["x"], ["o"]), node("OptionalHasElement", ["o"], ["y"]),
             node("OptionalGetElement", ["o"], ["z"]), helper.make_node("Optional", [], ["none"], type=kind),
             node("OptionalHasElement", ["none"], ["w"])]  # fmt: skip
    proto = model(nodes, {"x": ["N"]}, ["y", "z", "w"], opset=18)
    y, z, w = cr.compile(cr.load_onnx(proto)).run([seeded(3)])
    assert y and not w and np.array_equal(z, seeded(3))
    with pytest.raises(ModelError, match="holds nothing"):
        cr.load_onnx(model([nodes[3], node("OptionalGetElement", ["none"], ["z"])], {"x": ["N"]}, ["z"], opset=18))


def test_gradients_pass_through_sequences() -> None:
    loaded = cr.load_onnx(model([*appending([], TOLD), JOINED], {"x": ["N"], "k": []}, ["y"]))
    slope = cr.compile(cr.grad(lambda x, k: cr.sum(loaded(x, k))), cr.spec("N"), cr.spec())
    assert np.array_equal(slope(seeded(3), np.float32(3)), np.full(3, 2.0 + 3.0 + 5.0, np.float32))


@pytest.mark.parametrize(("nodes", "said"), [
    ([*PAIR, number("at", 2), node("SequenceAt", ["s", "at"], ["y"])], "has none at 2"),
    ([node("SequenceLength", ["x"], ["y"])], "is no sequence"),
    ([node("SequenceEmpty", [], ["s"]), node("ConcatFromSequence", ["s"], ["y"], axis=0)], "has no elements"),
    ([node("SequenceEmpty", [], ["s"]), node("SequenceErase", ["s"], ["y"])], "has none at -1"),
])  # fmt: skip
def test_what_a_sequence_has_not_is_refused(nodes: list[onnx.NodeProto], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        cr.load_onnx(model(nodes, {"x": [3]}, ["y"]))


def test_a_sequence_is_no_tensor() -> None:
    with pytest.raises(cr.NotSupported, match="ConcatFromSequence"):
        cr.load_onnx(model([*PAIR, node("Neg", ["s"], ["y"])], {"x": [3]}, ["y"]))
