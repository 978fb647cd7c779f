"""Every sample of every op, exported as ONNX and run by onnxruntime, gives what the reference gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from chainrule.backends.onnx.executable import run_session, session_of
from chainrule.backends.onnx.export import DEFAULT_OPSET, LEAST_OPSET, export_graph
from chainrule.backends.onnx.lower import lowered
from chainrule.backends.reference.interpreter import run
from chainrule.errors import ChainruleError, NotSupported
from chainrule.ir.dims import symbol
from chainrule.ir.graph import Graph, build, new_input, results
from chainrule.ir.op import Op
from chainrule.ir.types import TensorType, as_dtype, f64, type_of
from chainrule.ops import ALL_OPS, lowered_bytes, lowered_pairs, lowered_pool, lowered_winograd, lowered_winograd_grad
from chainrule.ops import lowered as native
from chainrule.ops.basic import Fuse
from chainrule.ops.recurrent_steps import PackGates
from chainrule.ops.tolerance import OTHER_FRAMEWORK, Verdict, exactly, judge, within
from tests.onnx.witness import ABSOLUTE, absolute_bound
from tests.ops.sample import Sample
from tests.ops.samples import SAMPLES

Array = np.ndarray

# Stock onnxruntime has no kernel for these in f64, and they cannot be said in ops that it has. The exported models are
# valid all the same.
NO_F64_KERNEL = frozenset({"erf", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "atan2"})
NO_F64_FORM = {"erfc": "its digits in f64 need an error function", "gelu": "it is made of erf"}
# Passes of the native backend write these, about its own kernels; no model has them.
NATIVE = frozenset((*native.OPS, *lowered_bytes.OPS, *lowered_pairs.OPS, *lowered_pool.OPS, *lowered_winograd.OPS,
                    *lowered_winograd_grad.OPS, PackGates))  # fmt: skip
# ONNX has it from opset 26 on.
NEEDS_OPSET = {"bitcast": 26}

# onnxruntime's Where makes 0 of -0.
LOSES_SIGN_OF_ZERO = frozenset({"trunc", "floor_divide", "remainder"})
DIFFERS = {
    ("max_pool", "NaN wins, infinities"): "its MaxPool looks past NaN",
    ("max_pool_grad", "NaN wins, infinities"): "its MaxPool looks past NaN",
    ("max_pool_take", "NaN wins, infinities"): "its MaxPool looks past NaN",
    ("max_pool", "-inf beats padding"): "its MaxPool starts from the smallest finite number",
    ("top_k", "NaN after numbers"): "its TopK puts NaN first",
    ("lstm_steps", "beyond the range of exp"): "the tails of its Sigmoid are cut off",
    ("prod", "uint8"): "its ReduceProd of integers does not wrap",
    ("nonzero", "scalar"): "its NonZero sees an axis in a scalar",
    ("scatter_reduce", "NaN is the smallest"): "its ScatterElements looks past NaN",
}


def named(op: type[Op]) -> list[Sample]:
    """The samples of an op that onnxruntime can run, with the same result."""
    return [s for s in SAMPLES if type(s.op) is op and (op.name, s.label or s.id.split(":")[1]) not in DIFFERS
            and not (of_f64(s) and (op.name in NO_F64_KERNEL or needs_erf(s)))]  # fmt: skip


def of_f64(sample: Sample) -> bool:
    return any(as_dtype(x.dtype) == f64 for x in sample.inputs)


def needs_erf(sample: Sample) -> bool:
    return sample.op.name in NO_F64_FORM and getattr(sample.op, "approximate", "none") == "none"


def joined(samples: Sequence[Sample], free: bool) -> tuple[Graph, list[Sample]]:
    """One graph of all samples, each with inputs of its own. free: sizes above 1 are symbols, where that infers."""
    inputs, outputs, kept = [], [], []
    for n, sample in enumerate(samples):
        types = [type_of(x) for x in sample.inputs]
        if free:
            types = [freed(t, n) for t in types]
            if not accepts(sample.op, types):
                continue
        own = [new_input(f"s{n}_x{i}", t) for i, t in enumerate(types)]
        inputs += own
        outputs += results(build(sample.op, *own))
        kept.append(sample)
    return Graph("samples", tuple(inputs), tuple(outputs)), kept


def freed(type: TensorType, n: int) -> TensorType:
    return type.with_shape(symbol(f"s{n}_d{d}") if isinstance(d, int) and d > 1 else d for d in type.shape)


def accepts(op: Op, types: Sequence[TensorType]) -> bool:
    try:
        op.infer(*types)
    except ChainruleError:
        return False
    return any(not t.is_static for t in types)


def verdict(sample: Sample, found: Sequence[Array], own: Sequence[Array], precise: Sequence[Array]) -> Verdict:
    """Whether onnxruntime's results are within the bound for other frameworks."""
    name = sample.op.name
    if name in LOSES_SIGN_OF_ZERO:
        return exactly(found[0], own[0], signed_zero=False)
    if name in ABSOLUTE or isinstance(sample.op, Fuse):
        bounds = [absolute_bound(p, as_dtype(own[0].dtype)) for p in precise]
        verdicts = [within(y, p, b) for y, p, b in zip(found, precise, bounds, strict=True)]
        return next((v for v in verdicts if not v), Verdict(True))
    return judge(sample.op, sample.inputs, found, factor=OTHER_FRAMEWORK, own=own, precise=precise)


SAMPLED = [op for op in ALL_OPS if op.name not in NEEDS_OPSET and op not in NATIVE and named(op)]


@pytest.mark.parametrize("free", [pytest.param(False, id="fixed"), pytest.param(True, id="symbolic")])
@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.__name__)
def test_onnxruntime_gives_what_the_reference_gives(op: type[Op], free: bool) -> None:
    graph, samples = joined(named(op), free)
    if not samples:
        pytest.skip("none of its samples has a size to free")
    session = session_of(export_graph(graph, []).SerializeToString(), 1, ["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    arrays = [x for sample in samples for x in sample.inputs]
    by_name = {v.op.name_: x for v, x in zip(graph.inputs, arrays, strict=True)}  # type: ignore[attr-defined]
    found = iter(run_session(session, {name: by_name[name] for name in names}))
    for sample in samples:
        value, inputs = called(sample)
        alone = Graph("alone", tuple(inputs), results(value))
        own, precise = (run(alone, sample.inputs, precise=p) for p in (False, True))
        judged = verdict(sample, [next(found) for _ in own], own, precise)
        assert judged, f"{sample.id}: {judged.reason}"


def called(sample: Sample) -> tuple[object, list]:
    inputs = [new_input(f"x{i}", type_of(x)) for i, x in enumerate(sample.inputs)]
    return build(sample.op, *inputs), inputs


@pytest.mark.parametrize("name", sorted({*NO_F64_KERNEL, "gelu"}))
def test_what_onnxruntime_lacks_is_refused_by_it_and_exported_all_the_same(name: str) -> None:
    sample = next(s for s in SAMPLES if s.op.name == name and of_f64(s))
    value, inputs = called(sample)
    model = export_graph(Graph("f64", tuple(inputs), results(value)), [])
    with pytest.raises(NotSupported, match="onnxruntime"):
        session_of(model.SerializeToString())


def test_what_onnx_lacks_is_refused_with_the_opset_that_has_it() -> None:
    sample = next(s for s in SAMPLES if s.op.name == "bitcast")
    value, inputs = called(sample)
    graph = Graph("bits", tuple(inputs), results(value))
    with pytest.raises(NotSupported) as caught:
        export_graph(graph, [])
    assert caught.value.cause == f"ONNX opset {DEFAULT_OPSET} has no bitcast"
    assert caught.value.help == f"export with opset={NEEDS_OPSET['bitcast']}"
    (found,) = run_session(session_of(export_graph(graph, [], opset=26).SerializeToString()), {"x0": sample.inputs[0]})
    assert exactly(found, sample.op.ref(*sample.inputs))


@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.__name__)
def test_a_lowered_graph_means_the_same_on_the_reference(op: type[Op]) -> None:
    graph, samples = joined(named(op), free=False)
    arrays = [x for sample in samples for x in sample.inputs]
    found = iter(run(lowered(graph, DEFAULT_OPSET), arrays))
    for sample in samples:
        value, inputs = called(sample)
        alone = Graph("alone", tuple(inputs), results(value))
        own, precise = (run(alone, sample.inputs, precise=p) for p in (False, True))
        judged = verdict(sample, [next(found) for _ in own], own, precise)
        assert judged, f"{sample.id}: {judged.reason}"


# Opsets in which what is written changed: reductions took their axes as attributes (17), new ops appeared (24).
@pytest.mark.parametrize("opset", [LEAST_OPSET, 24])
def test_other_opsets_pass_the_checker_and_run(opset: int) -> None:
    since_18 = {"bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "shift_right", "scatter_reduce"}
    count = 0
    for op in SAMPLED:
        if op.name in since_18 or "key" in op.args:
            continue
        samples = [s for s in named(op) if not any(x.dtype == np.uint64 for x in s.inputs)][:2]
        graph, samples = joined(samples, free=False)
        if not samples:
            continue
        session = session_of(export_graph(graph, [], opset=opset).SerializeToString(), 1, ["CPUExecutionProvider"])
        assert len(session.get_outputs()) == len(graph.outputs)
        count += 1
    assert count > len(SAMPLED) // 2
