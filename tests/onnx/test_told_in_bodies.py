"""Branches and loops in whose bodies data tells sizes, and loops that append to a tensor: like onnxruntime's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import chainrule as cr
from chainrule.errors import NotSupported
from chainrule.ir.body import tells_sizes
from chainrule.ir.parse import parse
from chainrule.ir.text import text
from chainrule.ir.verify import verify
from chainrule.ops import OP_BY_NAME
from tests.onnx.models import model, node
from tests.onnx.test_told_sizes import I64, Array, agree, with_ints

F, B = TensorProto.FLOAT, TensorProto.BOOL
Shape = Sequence[int | str] | None
X = np.float32([[0, 2, 0], [1, 0, 3]])
ONE, ZERO = np.int64(1), np.int64(0)


def body(nodes: list[onnx.NodeProto], carries: Mapping[str, Shape], stacked: Mapping[str, Shape] | None = None,
         constants: Mapping[str, object] | None = None, going: str = "") -> onnx.GraphProto:  # fmt: skip
    """A Loop's body: i, c and floats carried from NAME to NAME_out. going: the condition, else as it was."""
    info = helper.make_tensor_value_info
    first = [node("Identity", ["c"], ["c_out"])] if not going else []
    inputs = [info("i", I64, []), info("c", B, []), *(info(n, F, s) for n, s in carries.items())]
    outputs = [info(going or "c_out", B, []), *(info(f"{n}_out", F, s) for n, s in carries.items()),
               *(info(n, F, s) for n, s in (stacked or {}).items())]  # fmt: skip
    held = [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()]
    return helper.make_graph([*first, *nodes], "body", inputs, outputs, held)


# acc + the sum of those elements of x that are above acc
ABOVE = [node("Greater", ["x", "acc"], ["m"]), node("NonZero", ["m"], ["p"]), node("Transpose", ["p"], ["t"]),
         node("GatherND", ["x", "t"], ["v"]), node("ReduceSum", ["v"], ["s"], keepdims=0),
         node("Add", ["acc", "s"], ["acc_out"])]  # fmt: skip
START = {"a0": np.asarray(np.float32(0.5))}


def test_a_loop_takes_elements_that_data_chooses() -> None:
    loop = node("Loop", ["n", "", "a0"], ["y"], body=body(ABOVE, {"acc": []}))
    proto = with_ints([loop], {"x": ["N", 3]}, {"n": []}, ["y"], START)
    agree(proto, (X, np.array(3)), (X[:1], np.array(0)), (X * 0, np.array(2)), (np.tile(X, (9, 1)), np.array(1)))


def test_what_is_around_such_a_loop_is_compiled_as_ever_and_its_sizes_are_told_too() -> None:
    loop = node("Loop", ["n", "", "a0"], ["a"], body=body(ABOVE, {"acc": []}))
    nodes = [node("Mul", ["u", "two"], ["x"]), loop, node("Greater", ["x", "a"], ["g"]), node("NonZero", ["g"], ["k"]),
             node("Cast", ["a"], ["r"], to=I64), node("Range", ["zero", "r", "one"], ["q"])]  # fmt: skip
    weights = {**START, "two": np.full((3,), 2, np.float32), "zero": np.asarray(ZERO), "one": np.asarray(ONE)}
    agree(with_ints(nodes, {"u": ["N", 3]}, {"n": []}, ["k", "q", "a"], weights), (X, np.array(1)), (X, np.array(0)))


def test_a_loop_stacks_what_it_finds_by_slices_and_ranges_of_computed_lengths() -> None:
    nodes = [node("Add", ["i", "one"], ["e"]), node("Range", ["zero", "e", "one"], ["r"]),
             node("Gather", ["x", "r"], ["rows"]), node("ReduceMax", ["rows"], ["top"], keepdims=0),
             node("Unsqueeze", ["e", "axis"], ["ends"]), node("Slice", ["x", "begin", "ends"], ["some"]),
             node("ReduceSum", ["some"], ["s"], keepdims=0), node("Add", ["acc", "s"], ["acc_out"])]  # fmt: skip
    constants = {"one": ONE, "zero": ZERO, "axis": np.int64([0]), "begin": np.int64([0])}
    loop = node("Loop", ["n", "", "a0"], ["y", "z"], body=body(nodes, {"acc": []}, {"top": []}, constants))
    proto = model([node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "first"], ["n"]), loop], {"x": ["N", 3]},
                  ["y", "z"], {**START, "first": np.asarray(ZERO)}, 18)  # fmt: skip
    agree(proto, (X,), (np.tile(X, (30, 1)),))


def test_a_condition_that_depends_on_such_sizes_ends_a_loop() -> None:
    nodes = [*ABOVE, node("Size", ["v"], ["left"]), node("Greater", ["left", "zero"], ["more"])]
    loop = node("Loop", ["", "", "a0"], ["y"], body=body(nodes, {"acc": []}, None, {"zero": ZERO}, "more"))
    agree(model([loop], {"x": ["N", 3]}, ["y"], START, 18), (X,), (X * 0,), (X[:0],))


def test_branches_tell_sizes_of_their_own() -> None:
    info = helper.make_tensor_value_info
    some = helper.make_graph([node("NonZero", ["x"], ["p"]), node("Transpose", ["p"], ["t"]),
                              node("GatherND", ["x", "t"], ["v"]), node("ReduceSum", ["v"], ["r"], keepdims=0)],
                             "some", [], [info("r", F, [])])  # fmt: skip
    none = helper.make_graph([node("ReduceMax", ["x"], ["q"], keepdims=0)], "none", [], [info("q", F, [])])
    nodes = [node("ReduceSum", ["x"], ["m"], keepdims=0), node("Greater", ["m", "one"], ["big"]),
             node("If", ["big"], ["y"], then_branch=some, else_branch=none)]  # fmt: skip
    agree(model(nodes, {"x": ["N", 3]}, ["y"], {"one": np.asarray(np.float32(1))}, 18), (X,), (X * 0,))


def test_loops_in_loops_tell_sizes_at_both_levels() -> None:
    inner = body([node("Greater", ["rows", "low"], ["im"]), node("NonZero", ["im"], ["ip"]),
                  node("Size", ["ip"], ["isize"]), node("Cast", ["isize"], ["if32"], to=F),
                  node("Add", ["b", "if32"], ["b_out"])], {"b": []})  # fmt: skip
    inner.input[0].name, inner.input[1].name, inner.output[0].name = "j", "d", "d_out"
    inner.node[0].input[0], inner.node[0].output[0] = "d", "d_out"
    outer = [node("Add", ["i", "one"], ["e"]), node("Range", ["zero", "e", "one"], ["r"]),
             node("Gather", ["x", "r"], ["rows"]), node("Add", ["acc", "zf"], ["low"]),
             node("Loop", ["two", "", "acc"], ["acc_out"], body=inner)]  # fmt: skip
    constants = {"one": ONE, "zero": ZERO, "zf": np.float32(0), "two": np.int64(2)}
    loop = node("Loop", ["n", "", "a0"], ["y"], body=body(outer, {"acc": []}, None, constants))
    proto = model([node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "first"], ["n"]), loop], {"x": ["N", 3]},
                  ["y"], {**START, "first": np.asarray(ZERO)}, 18)  # fmt: skip
    agree(proto, (X,), (np.tile(X, (4, 1)),))


def growing(nodes: list[onnx.NodeProto], axis: int = 0, weights: Mapping[str, Array] | None = None) -> onnx.ModelProto:
    """A loop that carries acc, at first x without its elements along an axis."""
    loop = node("Loop", ["n", "", "none"], ["y"], body=body(nodes, {"acc": None}))
    bounds = {"nil": np.int64([0]), "axes": np.int64([axis])}
    start = node("Slice", ["x", "nil", "nil", "axes"], ["none"])
    return with_ints([start, loop], {"x": ["N", 3]}, {"n": []}, ["y"], {**bounds, **(weights or {})})


@pytest.mark.parametrize("axis", [0, 1])
def test_what_a_loop_appends_to_a_tensor_is_stacked(axis: int) -> None:
    nodes = [node("Cast", ["i"], ["at"], to=F), node("Mul", ["x", "at"], ["new"]),
             node("Concat", ["acc", "new"], ["acc_out"], axis=axis)]  # fmt: skip
    proto = growing(nodes, axis)
    agree(proto, (X, np.array(3)), (X[:1], np.array(1)), (np.tile(X, (3, 1)), np.array(100)))
    nothing = cr.compile(cr.load_onnx(proto))(X, np.array(0))
    assert nothing.shape == ((0, 3) if axis == 0 else (2, 0))
    assert not tells_sizes(cr.load_onnx(growing(nodes, axis)).graph.replace(sizes=()))


def test_several_parts_are_appended_in_their_order() -> None:
    nodes = [node("Neg", ["x"], ["minus"]), node("Concat", ["acc", "x", "minus"], ["acc_out"], axis=0)]
    agree(growing(nodes), (X, np.array(3)), (X[:1], np.array(1)))


READING = {
    "its size": [node("Shape", ["acc"], ["s"]), node("Cast", ["s"], ["f"], to=F), node("ReduceSum", ["f"], ["a"])],
    "its elements": [node("ReduceSum", ["acc"], ["a"])],
}


@pytest.mark.parametrize("what", READING)
def test_a_loop_that_reads_the_tensor_that_grows_is_refused_at_load(what: str) -> None:
    nodes = [*READING[what], node("Add", ["x", "a"], ["new"]), node("Concat", ["acc", "new"], ["acc_out"], axis=0)]
    with pytest.raises(NotSupported, match=r"Loop .*: the carried value 'acc' is f32\[N,3\] after a round, .*before"):
        cr.load_onnx(growing(nodes))


def test_a_result_as_large_as_a_round_says_is_refused_at_load() -> None:
    nodes = [node("Greater", ["x", "acc"], ["m"]), node("NonZero", ["m"], ["p"]), node("Cast", ["p"], ["q"], to=F),
             node("Identity", ["acc"], ["acc_out"])]  # fmt: skip
    loop = node("Loop", ["n", "", "a0"], ["y", "z"], body=body(nodes, {"acc": []}, {"q": None}))
    with pytest.raises(NotSupported, match=r"the result 'q' of its graph 'body' is .*, as large as data in it says"):
        cr.load_onnx(with_ints([loop], {"x": ["N", 3]}, {"n": []}, ["y", "z"], START))


def test_text_trace_and_export_keep_such_bodies_and_gradients_are_refused() -> None:
    loop = node("Loop", ["n", "", "a0"], ["y"], body=body(ABOVE, {"acc": []}))
    loaded = cr.load_onnx(with_ints([loop], {"x": ["N", 3]}, {"n": []}, ["y"], START))
    verify(loaded.graph)
    assert text(parse(text(loaded.graph), OP_BY_NAME)) == text(loaded.graph)
    again = cr.load_onnx(cr.export_onnx(loaded))
    assert text(again.graph, places=False) == text(loaded.graph, places=False)
    doubled = cr.compile(lambda x, n: 2 * loaded(x, n), cr.spec("M", 3), cr.spec(dtype="i64"))
    assert doubled(X, np.array(1)) == 2 * (0.5 + 6)
    fixed = node("Loop", ["hundred", "", "a0"], ["y"], body=body(ABOVE, {"acc": []}))
    bounded = cr.load_onnx(model([fixed], {"x": ["N", 3]}, ["y"], {**START, "hundred": np.asarray(np.int64(100))}, 18))
    with pytest.raises(NotSupported, match="no gradient where data tells sizes in a body"):
        cr.compile(cr.grad(bounded), cr.spec("N", 3))
