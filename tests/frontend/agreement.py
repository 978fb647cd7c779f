"""How the frontend's tests compare and run: float64 against float64, and a step on the meaning of its ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.frontend import eager
from chainrule.frontend.trace import Traced
from chainrule.frontend.training import StepGraph
from chainrule.ops.tolerance import ADJOINT_RTOL, MODEL_RTOL

Array = np.ndarray[Any, Any]


def assert_same(got: object, wanted: object) -> None:
    """Equal shape, and equal numbers up to the rounding of a few operations in the result's own type."""
    a, b = np.asarray(got), np.asarray(wanted)
    assert a.shape == b.shape, f"shape {a.shape}, expected {b.shape}"
    if a.dtype.kind not in "f":
        np.testing.assert_array_equal(a, b)
        return
    bound = ADJOINT_RTOL if a.dtype == np.float64 else MODEL_RTOL
    scale = float(np.max(np.abs(b[np.isfinite(b)]), initial=0.0))
    np.testing.assert_allclose(a, b, rtol=bound, atol=bound * scale)


def normal(*shape: int, seed: int = 0, dtype: str = "float64") -> Array:
    """Seeded Gaussian numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def run_traced(traced: Traced, *arrays: object, **named: object) -> Any:
    """The result of a traced function, with its state updated as a compiled one's is."""
    leaves = traced.arguments.flatten(arrays, named)
    given = dict(zip(traced.graph.by_role("input"), map(np.asarray, leaves), strict=True))
    given |= {value: stored.data for value, stored in traced.sources}
    found = eager.run([*traced.graph.outputs, *(new for _, new in traced.graph.updates)], given)
    count = len(traced.graph.outputs)
    sources = dict(traced.sources)
    for (state, _), array in zip(traced.graph.updates, found[count:], strict=True):
        sources[state].data[...] = array
    return traced.structure.build(found[:count])


class ReferenceStep:
    """A training step on the meaning of its ops, with the face of a compiled one."""

    def __init__(self, made: StepGraph) -> None:
        self.made = made

    @property
    def state(self) -> dict[str, Array]:
        return {source.name: source.array for source in self.made.sources}

    def __call__(self, *batch: Any) -> float:
        graph = self.made.graph
        leaves = self.made.arguments.flatten(batch, {})
        given = dict(zip(graph.by_role("input"), map(np.asarray, leaves), strict=True))
        arrays = {source.value: source.array for source in self.made.sources}
        found = eager.run([*graph.outputs, *(new for _, new in graph.updates)], given | arrays)
        for (state, _), array in zip(graph.updates, found[len(graph.outputs) :], strict=True):
            arrays[state][...] = array
        return Measured(float(found[0]), dict(zip(self.made.output_names[1:], map(float, found[1:]), strict=False)))

    def eval(self, *batch: Any) -> float:
        found = run_traced(self.made.evaluation, *batch)
        return Measured(float(found["loss"]), {k: float(v) for k, v in found.items() if k != "loss"})


class Measured(float):
    """A loss that carries metrics."""

    metrics: dict[str, float]

    def __new__(cls, loss: float, metrics: dict[str, float]) -> Measured:
        made = super().__new__(cls, loss)
        made.metrics = metrics
        return made
