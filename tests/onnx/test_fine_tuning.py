"""Fine-tuning: a loaded model is trained for ten steps and exported, and onnxruntime computes with the new weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import chainrule as cr
from chainrule import optim
from chainrule.backends import reference
from chainrule.errors import ArgumentError
from chainrule.ir.graph import Input
from chainrule.loaded import GraphModule
from chainrule.ops.tolerance import OTHER_FRAMEWORK, models_agree
from tests.onnx.models import Array, convnet, model, node, seeded

STEPS = 10
RATES = (1e-4, 1e-6, 1e-8)  # of Adam; the logarithm of a spectrum bears but the last


def lstm() -> onnx.ModelProto:
    return model([
        node("LSTM", ["x", "w", "r", "b"], ["h", "last"], hidden_size=5, direction="bidirectional"),
        node("Transpose", ["last"], ["t"], perm=[1, 0, 2]), node("Flatten", ["t"], ["f"]),
        node("MatMul", ["f", "head"], ["y"]),
    ], {"x": [6, "N", 3]}, ["y"], {
        "w": seeded(2, 20, 3), "r": seeded(2, 20, 5, seed=1), "b": seeded(2, 40, seed=2), "head": seeded(10, 4, seed=3),
    })  # fmt: skip


def attention() -> onnx.ModelProto:
    """One head over T rows, a residual sum and a LayerNormalization, as exporters write them."""
    return model([
        *(node("MatMul", ["x", f"w{name}"], [name]) for name in "qkv"),
        node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]), node("MatMul", ["q", "kt"], ["scores"]),
        node("Mul", ["scores", "scale"], ["scaled"]), node("Softmax", ["scaled"], ["share"], axis=-1),
        node("MatMul", ["share", "v"], ["mixed"]), node("Add", ["mixed", "x"], ["sum"]),
        node("LayerNormalization", ["sum", "gamma", "beta"], ["y"], axis=-1),
    ], {"x": ["N", "T", 6]}, ["y"], {
        **{f"w{name}": seeded(6, 6, seed=i) for i, name in enumerate("qkv")}, "scale": np.float32(6 ** -0.5),
        "gamma": np.ones(6, np.float32), "beta": np.zeros(6, np.float32),
    })  # fmt: skip


def with_constants(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same with its weights in Constant nodes, as some exporters write them."""
    stored = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in proto.graph.initializer]
    nodes = [*stored, *proto.graph.node]
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def in_onnxruntime(proto: onnx.ModelProto, arrays: Sequence[Array]) -> list[Array]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: x for i, x in zip(session.get_inputs(), arrays, strict=True)})


def trained(source: onnx.ModelProto | Path, arrays: Sequence[Array], target: Array, at: int, rate: float
            ) -> tuple[GraphModule, list[float]]:  # fmt: skip
    """The model after ten steps towards a target of its output `at`, and the losses before each."""
    loaded = cr.load_onnx(source)

    def loss(model: GraphModule, *batch: cr.Tensor) -> cr.Tensor:
        made = model(*batch[:-1])
        return cr.mse_loss(made[at] if isinstance(made, tuple) else made, batch[-1])

    specs = tuple(cr.spec(*x.shape, dtype=str(x.dtype)) for x in (*arrays, target))
    step = cr.training_step(loaded, loss, optim.Adam(rate), specs)
    return loaded, [float(step(*arrays, target)) for _ in range(STEPS)]


def assert_learns(source: onnx.ModelProto | Path, arrays: Sequence[Array]) -> None:
    """The loss falls, parameters move, the exported file holds them, and onnxruntime computes with them."""
    loaded = cr.load_onnx(source)
    at = max(i for i, v in enumerate(loaded.graph.outputs) if v.dtype.is_float)
    before = {name: stored.data.copy() for name, stored in loaded.named_stored()}
    outputs = cr.compile(loaded).run(arrays)
    target = np.float32(0.9) * outputs[at]  # which probabilities can come near to as well
    for rate in RATES:
        net, losses = trained(source, arrays, target, at, rate)
        if losses[-1] < losses[0]:
            break
    else:
        pytest.fail(f"the loss does not fall: {losses}")
    exported = cr.export_onnx(net, verify=False)
    assert isinstance(exported, onnx.ModelProto)
    assert_holds(exported, {name: stored.data for name, stored in net.named_stored()}, before)
    theirs = in_onnxruntime(exported, arrays)
    assert not np.array_equal(theirs[at], outputs[at])
    assert_near_float64(net, arrays, cr.compile(net).run(arrays), theirs)


def assert_near_float64(net: GraphModule, arrays: Sequence[Array], ours: Sequence[Array], theirs: Sequence[Array]
                        ) -> None:  # fmt: skip
    """Native code and onnxruntime are near float64; a deep model may be as far off as its rounding in f32 is large."""
    given = [*arrays, *(net.stored[v.op.name_].data for v in net.graph.by_role("param", "state")
                        if isinstance(v.op, Input))]  # fmt: skip
    in_f32, precise = (reference.run(net.graph, given, precise=wide) for wide in (False, True))
    for a, b, own, exact in zip(ours, theirs, in_f32, precise, strict=True):
        bounds = OTHER_FRAMEWORK * max(1.0, models_agree(own, exact).worst)
        assert models_agree(a, exact, bounds), "native code and float64 part"
        assert models_agree(b, exact, bounds), "onnxruntime and float64 part"


def assert_holds(exported: onnx.ModelProto, after: Mapping[str, Array], before: Mapping[str, Array]) -> None:
    in_file = {tensor.name: numpy_helper.to_array(tensor) for tensor in exported.graph.initializer}
    moved = [name for name, array in after.items() if not np.array_equal(array, before[name])]
    assert moved
    assert all(np.array_equal(in_file[name], after[name]) for name in moved)


IMAGE, SERIES, ROWS = seeded(2, 2, 8, 8, seed=9), seeded(6, 2, 3, seed=9), seeded(2, 5, 6, seed=9)


@pytest.mark.parametrize("as_nodes", [False, True], ids=["initializers", "constants"])
@pytest.mark.parametrize(("build", "x"), [(convnet, IMAGE), (lstm, SERIES), (attention, ROWS)])
def test_small_models_learn(build: Callable[[], onnx.ModelProto], x: Array, as_nodes: bool) -> None:
    assert_learns(with_constants(build()) if as_nodes else build(), [x])


@pytest.mark.parametrize("build", [convnet, lstm, attention])
def test_weights_in_constant_nodes_are_those_of_initializers(build: Callable[[], onnx.ModelProto]) -> None:
    plain, other = cr.load_onnx(build()), cr.load_onnx(with_constants(build()))
    assert {n: type(s) for n, s in plain.named_stored()} == {n: type(s) for n, s in other.named_stored()}


def test_constants_of_branches_stay_constants() -> None:
    def branch(name: str, weight: Array) -> onnx.GraphProto:
        value = numpy_helper.from_array(weight, "w")
        return helper.make_graph([helper.make_node("Constant", [], [f"{name}w"], value=value),
                                  helper.make_node("Mul", ["x", f"{name}w"], [name])], name, [],
                                 [onnx.ValueInfoProto(name=name)])  # fmt: skip

    proto = model([node("ReduceSum", ["x"], ["s"], keepdims=0), node("Cast", ["s"], ["c"], to=9),
                   node("If", ["c"], ["y"], then_branch=branch("a", seeded(3)), else_branch=branch("b", seeded(3)))],
                  {"x": [3]}, ["y"])  # fmt: skip
    assert list(cr.load_onnx(proto).named_stored()) == []


def test_a_model_whose_weights_are_all_integers_is_refused() -> None:
    proto = model([node("DequantizeLinear", ["w", "s"], ["f"]), node("MatMul", ["x", "f"], ["y"])], {"x": ["N", 6]},
                  ["y"], {"w": np.arange(24, dtype=np.int8).reshape(6, 4), "s": np.float32(0.1)})  # fmt: skip
    with pytest.raises(ArgumentError, match="depends on no parameter") as caught:
        cr.training_step(cr.load_onnx(proto), cr.mse_loss, optim.SGD(0.1), (cr.spec("N", 6), cr.spec("N", 4)))
    assert "quantised" in str(caught.value)


@pytest.mark.slow
def test_real_models_learn(real_model: Path) -> None:
    reference = real_model.with_name("ref.npz")
    with np.load(reference) as stored:
        count = len(cr.load_onnx(real_model).graph.by_role("input"))
        arrays = [stored[f"x{i}"] for i in range(count)]
    assert_learns(real_model, arrays)
