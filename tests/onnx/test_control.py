"""If, Loop and Scan: written for onnxruntime, read back, and read as others write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ModelError
from chainrule.ir.graph import Graph
from chainrule.ops.control import Cond, Scan, While
from tests.ops.sample import normal

Array = np.ndarray
FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def loops(graph: Graph) -> list[Any]:
    return [n.op for n in graph.nodes if isinstance(n.op, Cond | Scan | While)]


def in_onnxruntime(model: onnx.ModelProto, arrays: Sequence[Array]) -> list[Array]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays, strict=True)))


# What we write.


class Net(nn.Module):
    """Loops and branches of every kind, with parameters inside."""

    def __init__(self) -> None:
        self.inner, self.outer = nn.Linear(4, 4), nn.Linear(3, 4)

    def __call__(self, x: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            h = cr.tanh(self.inner(h) + self.outer(v))
            h = cr.cond(h.sum() > 0, lambda: h * 0.5, lambda: h - self.inner.bias)
            return h, cr.map(lambda row: row * 2 + h, v[:, :1])

        h, made = cr.scan(step, cr.zeros((x.shape[1], 4)), x, reverse=True)
        return cr.while_loop(lambda c: (c * c).sum() > 0.2, lambda c: c * 0.5 + 0.01, h, max_trips=30), made


@pytest.mark.parametrize("specs", [cr.spec(5, 2, 3), cr.spec("T", "N", 3)], ids=["fixed", "symbolic"])
def test_loops_and_branches_run_in_onnxruntime_and_come_back(specs: Any) -> None:
    model, x = Net(), normal(5, 2, 3)
    want = cr.compile(model, specs).run([x])
    written = cr.export_onnx(model, None, specs)
    for got, right in zip(in_onnxruntime(written, [x]), want, strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-6)
    again = cr.load_onnx(written)
    for got, right in zip(cr.compile(again).run([x]), want, strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-6)
    assert {type(op) for op in loops(again.graph)} == {Scan, While}


def test_a_recurrent_training_step_runs_in_onnxruntime() -> None:
    def loss(model: Any, x: Any, y: Any) -> Any:
        h, _ = cr.scan(lambda h, v: (cr.tanh(model.inner(h) + model.outer(v)), None), cr.zeros((2, 4)), x)
        return ((h - y) ** 2).mean()

    cr.manual_seed(0)
    step = cr.training_step(Net(), loss, optim.SGD(0.1), (cr.spec("T", 2, 3), cr.spec(2, 4)), seed=0)
    written = cr.export_onnx(step, None)
    stored = {t.name: numpy_helper.to_array(t) for t in written.graph.initializer}
    session = onnxruntime.InferenceSession(written.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    state = {i.name: stored[i.name] for i in written.graph.input if i.name in stored}
    for seed in range(3):
        x, y = normal(4, 2, 3, seed=seed), normal(2, 4, seed=seed + 10)
        found = dict(zip(names, session.run(None, {"x": x, "y": y, **state}), strict=True))
        np.testing.assert_allclose(found["loss"], step(x, y), rtol=1e-5)
        state = {name: found[f"{name}.new"] for name in state}


# What others write.


def info(name: str, kind: int, shape: Sequence[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes: Sequence[onnx.NodeProto], inputs: Sequence[Any], outputs: Sequence[Any],
             stored: dict[str, Array] | None = None, opset: int = 17) -> onnx.ModelProto:  # fmt: skip
    tensors = [numpy_helper.from_array(a, n) for n, a in (stored or {}).items()]
    graph = helper.make_graph(list(nodes), "net", list(inputs), list(outputs), tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def body(nodes: Sequence[onnx.NodeProto], inputs: Sequence[Any], outputs: Sequence[Any],
         stored: dict[str, Array] | None = None) -> onnx.GraphProto:  # fmt: skip
    tensors = [numpy_helper.from_array(a, n) for n, a in (stored or {}).items()]
    return helper.make_graph(list(nodes), "body", list(inputs), list(outputs), tensors)


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def agrees(model: onnx.ModelProto, *arrays: Array) -> Graph:
    """The model loaded; on both backends it gives what onnxruntime gives."""
    want = in_onnxruntime(model, arrays)
    loaded = cr.load_onnx(model)
    for backend in ("reference", "llvm"):
        for got, right in zip(cr.compile(loaded, backend=backend).run(list(arrays)), want, strict=True):
            assert got.shape == right.shape and got.dtype == right.dtype
            np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-6)
    return loaded.graph


STOP = [node("Cast", "going", "again", to=BOOL)]  # the condition as it was


def counting(*nodes: onnx.NodeProto, stacked: bool = True, again: Sequence[onnx.NodeProto] = STOP) -> onnx.GraphProto:
    """A body that carries h and, if it stacks, gives y."""
    outputs = [info("again", BOOL, []), info("h2", FLOAT, ["N", 3]), *([info("y", FLOAT, ["N", 3])] * stacked)]
    return body([*again, *nodes], [info("i", INT, []), info("going", BOOL, []), info("h", FLOAT, ["N", 3])], outputs)


STEP = (node("Mul", "h w", "m"), node("Cast", "i", "f", to=FLOAT), node("Add", "m f", "h2"), node("Neg", "h2", "y"))
X, H2, Y = info("x", FLOAT, ["N", 3]), info("last", FLOAT, ["N", 3]), info("made", FLOAT, ["T", "N", 3])
W = {"w": np.float32([0.5, -1, 2]), "yes": np.array(True), "count": np.array(4), "none": np.array(0)}


def test_a_loop_of_known_length_with_captured_names_is_a_scan() -> None:
    model = model_of([node("Loop", "count yes x", "last made", body=counting(*STEP))], [X], [H2, Y], W)
    (op,) = loops(agrees(model, normal(2, 3)))
    assert isinstance(op, Scan) and op.captured == 1
    agrees(model_of([node("Loop", "none yes x", "last made", body=counting(*STEP))], [X], [H2], W), normal(2, 3))


def test_a_loop_as_long_as_an_axis_is_a_scan_of_symbolic_length() -> None:
    nodes = [node("Shape", "x", "shape"), node("Gather", "shape none", "n"),
             helper.make_node("Loop", ["n", "", "x"], ["last", "made"], body=counting(*STEP))]  # fmt: skip
    (op,) = loops(agrees(model_of(nodes, [X], [H2, Y], W), normal(3, 3)))
    assert isinstance(op, Scan) and str(op.length) == "N"


SUM = [node("ReduceSum", "h2", "s", keepdims=0), node("Less", "s limit", "again")]


@pytest.mark.parametrize("count", ["", "count"])
def test_a_loop_that_its_body_ends_has_a_test(count: str) -> None:
    grown = counting(node("Add", "h h", "h2"), stacked=False, again=[])
    grown.node.extend(SUM)
    loop = helper.make_node("Loop", [count, "yes", "x"], ["last"], body=grown)
    (op,) = loops(agrees(model_of([loop], [X], [H2], {**W, "limit": np.float32(100)}), np.abs(normal(2, 3))))
    assert isinstance(op, While) and op.max_trips == (4 if count else None)


def test_conditions_and_counts_may_be_data() -> None:
    inputs = [X, info("n", INT, []), info("go", BOOL, [])]
    loop = node("Loop", "n go x", "last", body=counting(node("Add", "h w", "h2"), stacked=False))
    model = model_of([loop], inputs, [H2], W)
    for count, go in ((3, True), (0, True), (3, False), (-1, True)):
        agrees(model, normal(2, 3), np.array(count), np.array(go))


def test_what_a_count_from_data_stacks_is_as_long_as_it_says() -> None:
    nodes = [node("ReduceMax", "x", "top", keepdims=0), node("Cast", "top", "n", to=INT),
             node("Loop", "n yes x", "last made", body=counting(*STEP))]  # fmt: skip
    model = model_of(nodes, [X], [H2, Y], W)
    for top in (3, 1):
        agrees(model, np.full((2, 3), top, np.float32))
    assert cr.compile(cr.load_onnx(model)).run([-np.ones((2, 3), np.float32)])[1].shape == (0, 2, 3)


@pytest.mark.parametrize("count", ["", "most"])
def test_a_loop_that_nothing_ends_is_refused(count: str) -> None:
    endless = counting(STEP[0], node("Neg", "m", "h2"), stacked=False)
    loop = helper.make_node("Loop", [count, "", "x"], ["last"], body=endless)
    with pytest.raises(ModelError, match="nothing ends it"):
        cr.load_onnx(model_of([loop], [X], [H2], {**W, "most": np.array(2**62)}))


def test_values_that_grow_are_unrolled() -> None:
    step = body([node("Identity", "going", "again"), node("Concat", "h x", "h2", axis=0)],
                [info("i", INT, []), info("going", BOOL, []), info("h", FLOAT, ["M", 3])],
                [info("again", BOOL, []), info("h2", FLOAT, ["M", 3])])  # fmt: skip
    model = model_of([node("Loop", "count yes x", "last", body=step)], [X], [H2], W)
    assert loops(agrees(model, normal(2, 3))) == []


def test_what_is_stacked_is_as_long_as_the_condition_says() -> None:
    stacking = counting(node("Add", "h h", "h2"), node("Neg", "h", "y"), again=[])
    stacking.node.extend(SUM)
    loop = node("Loop", "count yes x", "last made", body=stacking, name="stacking")
    agrees(model_of([loop], [X], [H2, Y], {**W, "limit": np.float32(1)}), normal(2, 3))


@pytest.mark.parametrize("shape", [[], [1]])
def test_a_branch_reads_names_around_it(shape: list[int]) -> None:
    then = body([node("Mul", "x w", "t")], [], [info("t", FLOAT, ["N", 3])])
    inner = body([node("Neg", "x", "deep")], [], [info("deep", FLOAT, ["N", 3])])
    other = body([node("Add", "x own", "kept")], [], [info("kept", FLOAT, ["N", 3])], {"own": normal(1, 3)})
    nested = body([node("If", "q", "e0", then_branch=inner, else_branch=other), node("Add", "e0 x", "e")], [],
                  [info("e", FLOAT, ["N", 3])])  # fmt: skip
    model = model_of([node("If", "p", "last", then_branch=then, else_branch=nested)],
                     [X, info("p", BOOL, shape), info("q", BOOL, [])], [H2], W)  # fmt: skip
    for p, q in ((True, True), (False, True), (False, False)):
        agrees(model, normal(2, 3), np.full(shape, p), np.array(q))


def test_a_branch_that_is_decided_at_load_is_taken() -> None:
    then, other = (body([node(kind, "x x", kind)], [], [info(kind, FLOAT, ["N", 3])]) for kind in ("Add", "Mul"))
    model = model_of([node("If", "yes", "last", then_branch=then, else_branch=other)], [X], [H2], W)
    assert loops(agrees(model, normal(2, 3))) == []


@pytest.mark.parametrize("turned", [(0, 0), (1, 1), (1, 0), (0, 1)])
def test_a_scan_goes_along_any_axis_in_either_direction(turned: tuple[int, int]) -> None:
    step = body([node("Add", "s a", "s1"), node("Mul", "s1 w", "s2"), node("Identity", "s2", "y")],
                [info("s", FLOAT, ["N", 3]), info("a", FLOAT, ["N", 3])],
                [info("s2", FLOAT, ["N", 3]), info("y", FLOAT, ["N", 3])])  # fmt: skip
    scan = node("Scan", "x a", "last made", body=step, num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[-1],
                scan_input_directions=[turned[0]], scan_output_directions=[turned[1]])  # fmt: skip
    model = model_of([scan], [X, info("a", FLOAT, ["N", "T", 3])], [H2, info("made", FLOAT, ["N", 3, "T"])], W)
    agrees(model, normal(2, 3), normal(2, 5, 3, seed=1))


def test_a_scan_of_opset_8_has_a_batch_axis() -> None:
    step = body([node("Add", "s a", "s2"), node("Identity", "s2", "y")], [info("s", FLOAT, [3]), info("a", FLOAT, [3])],
                [info("s2", FLOAT, [3]), info("y", FLOAT, [3])])  # fmt: skip
    for directions in ([0], [1]):
        scan = helper.make_node("Scan", ["", "x", "a"], ["last", "made"], body=step, num_scan_inputs=1,
                                directions=directions)  # fmt: skip
        inputs, outputs = [X, info("a", FLOAT, ["N", "T", 3])], [H2, info("made", FLOAT, ["N", "T", 3])]
        agrees(model_of([scan], inputs, outputs, opset=8), normal(2, 3), normal(2, 4, 3, seed=1))
