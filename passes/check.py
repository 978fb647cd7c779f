"""Checks passes against the reference: the graph before and after a pass must mean the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from chainrule.errors import NumericsError
from chainrule.ir.dims import dim_value
from chainrule.ir.graph import Graph, Input
from chainrule.ir.text import text
from chainrule.ir.types import TensorType
from chainrule.passes.base import Check

# run(graph, arrays) -> results; a backend's, because passes do not see backends.
Run = Callable[[Graph, Sequence[np.ndarray]], Sequence[np.ndarray]]

# A pass may reassociate sums: two float64 evaluations of one program then differ by rounding only.
RELATIVE = 1e-9


def checker(run: Run, dims: Mapping[str, int] | None = None, reproducer: Path | None = None) -> Check:
    """A check that runs both graphs in float64 on seeded inputs and raises NumericsError when they differ.

    dims: values for the symbolic sizes, 2, 3, ... for those not given. reproducer: a file that then gets both texts.
    """

    def check(before: Graph, after: Graph, step: str) -> None:
        arrays = sample_inputs(before, dims)
        by_input = dict(zip(before.inputs, arrays, strict=True))
        expected = run(before, arrays)
        found = run(after, [by_input[v] for v in after.inputs])
        for i, (a, b) in enumerate(zip(expected, found, strict=True)):
            if not agree(a, b):
                if reproducer is not None:
                    reproducer.write_text(f"# {step}\n{text(before)}\n\n# after\n{text(after)}\n")
                where = after.results[i]
                raise NumericsError(f"the pass {step} changed result {i}: {largest_difference(a, b):.3g} apart",
                                    loc=where.loc, help=f"see {reproducer}" if reproducer else "")  # fmt: skip

    return check


def agree(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal within rounding of float64, NaN and infinities at the same places."""
    if a.shape != b.shape:
        return False
    if a.dtype.kind not in "f":
        return bool(np.array_equal(a, b))
    scale = np.max(np.abs(a), initial=0.0, where=np.isfinite(a))
    return bool(np.allclose(a, b, rtol=RELATIVE, atol=RELATIVE * float(scale), equal_nan=True))


def largest_difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest absolute difference of two arrays; inf for other shapes."""
    if a.shape != b.shape:
        return float("inf")
    with np.errstate(all="ignore"):
        return float(np.nanmax(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0))


def sample_inputs(graph: Graph, dims: Mapping[str, int] | None = None, seed: int = 0) -> list[np.ndarray]:
    """Seeded arrays for all inputs: Gaussian floats, small integers, half of the bools true.

    State that is a variance or a counter must not be negative, so state floats are drawn from 0.5 to 1.5.
    """
    known = {name: 2 + i for i, name in enumerate(graph.symbols)} | dict(dims or {})
    rng = np.random.default_rng(seed)
    return [_sample(v.tensor, known, rng, isinstance(v.op, Input) and v.op.role == "state") for v in graph.inputs]


def _sample(type: TensorType, dims: Mapping[str, int], rng: np.random.Generator, positive: bool) -> np.ndarray:
    shape = [dim_value(d, dims) for d in type.shape]
    if type.dtype.is_float:
        drawn = rng.uniform(0.5, 1.5, shape) if positive else rng.standard_normal(shape)
        return np.asarray(drawn).astype(type.dtype.numpy)
    if type.dtype.is_bool:
        return np.asarray(rng.random(shape) < 0.5)
    return np.asarray(rng.integers(0, 4, shape)).astype(type.dtype.numpy)
