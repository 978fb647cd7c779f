"""Checks passes against the reference: the graph before and after a pass must mean the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from chainrule.errors import ChainruleError, NumericsError, ShapeError
from chainrule.ir.dims import dim_value
from chainrule.ir.graph import Graph, Input
from chainrule.ir.text import text
from chainrule.ir.types import TensorType
from chainrule.ops.tolerance import UNIT
from chainrule.passes.base import Check

# run(graph, arrays) -> results; a backend's, because passes do not see backends.
Run = Callable[[Graph, Sequence[np.ndarray]], Sequence[np.ndarray]]

# A pass may reassociate sums: two float64 evaluations of one program then differ by rounding only. It may also round a
# number to the type that the graph gives it (the 0.7 of a loss to f32): results move by a few units of that type.
RELATIVE = 1e-9
ROUNDED_UNITS = 16
# Tried until the graph takes them: small sizes may be below a window.
TRIED_SIZES = (2, 5, 16, 32, 64, 224)


def checker(run: Run, dims: Mapping[str, int] | None = None, reproducer: Path | None = None) -> Check:
    """A check that runs both graphs in float64 on seeded inputs and raises NumericsError when they differ.

    dims: values for the symbolic sizes; those not given are tried from small ones on. reproducer: a file that then gets
    both texts. The check raises ShapeError when no inputs are found that the graph takes.
    """

    def check(before: Graph, after: Graph, step: str) -> None:
        arrays, expected = accepted_inputs(before, run, dims)
        by_input = dict(zip(before.inputs, arrays, strict=True))
        found = run(after, [by_input[v] for v in after.inputs])
        for i, (a, b) in enumerate(zip(expected, found, strict=True)):
            if not agree(a, b, relative_room(before)):
                if reproducer is not None:
                    reproducer.write_text(f"# {step}\n{text(before)}\n\n# after\n{text(after)}\n")
                where = after.results[i]
                raise NumericsError(f"the pass {step} changed result {i}: {largest_difference(a, b):.3g} apart",
                                    loc=where.loc, help=f"see {reproducer}" if reproducer else "")  # fmt: skip

    return check


def accepted_inputs(graph: Graph, run: Run,
                    dims: Mapping[str, int] | None) -> tuple[list[np.ndarray], Sequence[np.ndarray]]:  # fmt: skip
    """Seeded inputs that the graph takes, with its results for them.

    Only the graph knows which images are too small for it and which whole numbers too large: sizes are tried from small
    to large, whole numbers once as drawn and once as zeros.
    """
    problem: ChainruleError | None = None
    for size in TRIED_SIZES:
        known = {name: size + i for i, name in enumerate(graph.symbols)} | dict(dims or {})
        drawn = sample_inputs(graph, known)
        for arrays in (drawn, [np.zeros_like(a) if a.dtype.kind in "iu" else a for a in drawn]):
            try:
                return arrays, run(graph, arrays)
            except ChainruleError as error:
                problem = error
        if len(known) == len(dims or {}):
            break
    raise ShapeError(f"{graph.name}: no seeded inputs were found that the model takes", notes=[str(problem)],
                     help="give fixed sizes in the specs, or verify=False") from problem  # fmt: skip


def relative_room(graph: Graph) -> float:
    """How far results of two forms of a graph may be apart, relative to the largest: by its least exact float type."""
    floats = {t.dtype for n in graph.nodes if isinstance(t := n.type, TensorType) and t.dtype.is_float}
    return max([RELATIVE, *(ROUNDED_UNITS * UNIT[dtype] for dtype in floats)])


def agree(a: np.ndarray, b: np.ndarray, relative: float = RELATIVE) -> bool:
    """Equal within rounding, NaN and infinities at the same places."""
    if a.shape != b.shape:
        return False
    if a.dtype.kind not in "f":
        return bool(np.array_equal(a, b))
    scale = np.max(np.abs(a), initial=0.0, where=np.isfinite(a))
    return bool(np.allclose(a, b, rtol=relative, atol=relative * float(scale), equal_nan=True))


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
