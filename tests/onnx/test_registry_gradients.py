"""The gradient of every op, exported as ONNX, runs in onnxruntime and gives what the reference gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from chainrule.backends.onnx.executable import run_session, session_of
from chainrule.backends.onnx.export import export_graph
from chainrule.backends.reference.interpreter import run
from chainrule.ir.graph import Graph, Value, build, new_input, results
from chainrule.ir.op import Op
from chainrule.ir.types import as_dtype, f32, type_of
from chainrule.ops import ALL_OPS
from chainrule.ops.tolerance import MODEL_RTOL, OTHER_FRAMEWORK, within
from chainrule.passes.autodiff import gradients
from tests.ops.sample import Sample
from tests.ops.samples import SAMPLES

# Labels of samples whose gradient asks for what onnxruntime does otherwise: NaN and infinities in windows and orders.
SKIPPED = ("special", "NaN", "inf")
# By how many bounds for whole models a single gradient may differ: its rounding errors are relative to its parts.
ROOM = 10.0


def floats_of(sample: Sample) -> tuple[int, ...]:
    floats = tuple(i for i, x in enumerate(sample.inputs) if as_dtype(x.dtype) == f32)
    return tuple(i for i in floats if sample.grad is None or i in sample.grad)


def suitable(op: type[Op]) -> list[Sample]:
    if op.gradient not in ("vjp", "decompose", "bodies"):
        return []
    return [s for s in SAMPLES if type(s.op) is op and floats_of(s) and not any(w in s.label for w in SKIPPED)
            and all(np.all(np.isfinite(x)) for x in s.inputs if as_dtype(x.dtype).is_float)]  # fmt: skip


def pulled(sample: Sample, n: int) -> tuple[list[Value], list[Value], list[np.ndarray]]:
    """Inputs (the op's, then one seed for each float result), gradients, and arrays for the inputs."""
    inputs = [new_input(f"s{n}_x{i}", type_of(x)) for i, x in enumerate(sample.inputs)]
    outputs = [v for v in results(build(sample.op, *inputs)) if v.dtype.is_float]
    seeds = [new_input(f"s{n}_g{i}", v.tensor) for i, v in enumerate(outputs)]
    found = gradients(outputs, [inputs[i] for i in floats_of(sample)], seeds)
    rng = np.random.default_rng(n)
    drawn = [np.asarray(rng.standard_normal(v.shape)).astype(v.dtype.numpy) for v in outputs]  # type: ignore[arg-type]
    return inputs + seeds, [g for g in found if g is not None], [*sample.inputs, *drawn]


def joined(samples: Sequence[Sample]) -> tuple[Graph, list[np.ndarray]]:
    inputs, outputs, arrays = [], [], []
    for n, sample in enumerate(samples):
        own, found, given = pulled(sample, n)
        inputs, outputs, arrays = inputs + own, outputs + found, arrays + given
    return Graph("gradients", tuple(inputs), tuple(outputs)), arrays


@pytest.mark.parametrize("op", [op for op in ALL_OPS if suitable(op)], ids=lambda op: op.__name__)
def test_the_gradient_runs_in_onnxruntime(op: type[Op]) -> None:
    graph, arrays = joined(suitable(op))
    session = session_of(export_graph(graph, []).SerializeToString(), 1, ["CPUExecutionProvider"])
    by_name = {v.op.name_: x for v, x in zip(graph.inputs, arrays, strict=True)}  # type: ignore[attr-defined]
    found = run_session(session, {i.name: by_name[i.name] for i in session.get_inputs()})
    own, precise = (run(graph, arrays, precise=p) for p in (False, True))
    for place, (y, mine, exact) in enumerate(zip(found, own, precise, strict=True)):
        size = float(np.max(np.abs(exact), initial=1.0, where=np.isfinite(exact)))
        bound = np.full(exact.shape, ROOM * OTHER_FRAMEWORK * MODEL_RTOL * size)
        assert y.dtype == mine.dtype and y.shape == mine.shape
        judged = within(y, exact, bound)
        assert judged, f"gradient {place}: {judged.reason}"
