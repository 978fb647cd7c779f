"""How far a program's results may be from the float64 reference: as far as the rounding of its nodes can carry them.

Each node's error is within the bound of its op's class (chainrule.ops.tolerance). The reference is therefore run again
several times with every node's result moved at random within its bound; what the outputs move by then is what rounding
may do to them, element by element, whatever the graph cancels, amplifies or decides by comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.backends.reference.interpreter import bind_sizes, evaluate, run
from chainrule.ir.graph import Get, Graph, Input, Value
from chainrule.ir.op import Op, bind_dims
from chainrule.ir.types import DType, TupleType, f32
from chainrule.ops.tolerance import UNIT, allowed_error, ulp
from chainrule.passes.base import Notes
from chainrule.passes.decompose import Decompose

Array = np.ndarray[Any, Any]

RUNS = 6
# The largest of RUNS random moves, times this, stands for the worst one: for an element to lie further out, all RUNS
# moves of it must have been within a tenth of their bound.
FACTOR = 10.0


@dataclass(frozen=True)
class Expected:
    """What the outputs of a graph should be. exact: in float64; moved: how far rounding may carry each element."""

    exact: tuple[Array, ...]
    moved: tuple[Array, ...]

    @property
    def judged(self) -> float:
        """The share of elements whose bound is below a hundredth of the output's size: the others say little."""
        told, count = 0, 0
        for exact, moved in zip(self.exact, self.moved, strict=True):
            scale = np.max(np.abs(exact), initial=0.0, where=np.isfinite(exact)) if exact.dtype.kind == "f" else 1.0
            told += int(np.sum(moved <= 0.01 * scale + 1e-30))
            count += exact.size
        return told / count if count else 1.0


def expected(graph: Graph, arrays: Sequence[Array], seed: int = 0) -> Expected:
    """The float64 results of a graph and the room around them."""
    simple = Decompose(lambda node: type(node.op).ref is not Op.ref).run(graph, Notes())
    exact = tuple(np.asarray(y) for y in run(simple, arrays, precise=True))
    rng = np.random.default_rng([seed, 3])
    moved = [np.zeros(y.shape) for y in exact]
    for _ in range(RUNS):
        for i, y in enumerate(_moved_run(simple, arrays, rng)):
            with np.errstate(all="ignore"):
                away = np.abs(np.asarray(y, np.float64) - np.asarray(exact[i], np.float64))
            same = (y == exact[i]) | ((y != y) & (exact[i] != exact[i]))
            moved[i] = np.maximum(moved[i], np.where(same, 0.0, np.where(np.isfinite(away), away, np.inf)))
    return Expected(exact, tuple(moved))


def _moved_run(graph: Graph, arrays: Sequence[Array], rng: np.random.Generator) -> list[Array]:
    """The results with every node's floats moved within their bounds."""
    env = bind_sizes(graph, arrays)
    values: dict[Value, tuple[Array, ...]] = {v: (np.asarray(a),) for v, a in zip(graph.inputs, arrays, strict=True)}
    for node in graph.nodes:
        if isinstance(node.op, Input):
            continue
        if isinstance(node.op, Get):
            values[node] = (values[node.inputs[0]][node.op.index],)
            continue
        inputs = [values[v][0] for v in node.inputs]
        with np.errstate(all="ignore"):
            found = evaluate(node, inputs, env, precise=True)
            types = node.type.items if isinstance(node.type, TupleType) else (node.type,)
            values[node] = tuple(
                _moved(bind_dims(node.op, env), inputs, i, np.asarray(y), t.dtype, rng)
                for i, (y, t) in enumerate(zip(found, types, strict=True))
            )
    return [values[v][0] for v in graph.results]


def _moved(op: Op, inputs: Sequence[Array], index: int, y: Array, dtype: DType, rng: np.random.Generator) -> Array:
    if not dtype.is_float:
        return y.astype(dtype.numpy, copy=False)
    wide = y.astype(np.float64)
    bound = _room(op, inputs, index, wide, dtype)
    moves = np.where(np.isfinite(wide) & np.isfinite(bound), bound, 0.0) * rng.uniform(-1, 1, y.shape)
    return wide + moves


def _room(op: Op, inputs: Sequence[Array], index: int, y: Array, dtype: DType) -> Array:
    """The bound of a node's own error: half a ULP for what is rounded once, 0 for what is exact."""
    match op.tolerance:
        case "E":
            return np.zeros(y.shape)
        case "B":
            return 0.5 * ulp(y, dtype)
        case _:
            return allowed_error(op, inputs, index, y, dtype)


NEAR_THE_END = 1e30  # of f32's numbers: sums and products on the way to such a result may leave them


def _untold(y: Array, exact: Array, room: Array, factor: float) -> Array:
    """Elements that say nothing: infinite or NaN where the result is so large that a step on the way may overflow; of
    another framework, whose own errors may be `factor` times ours, those that these may carry by a tenth of the
    result's size."""
    size = np.max(np.abs(exact), initial=0.0, where=np.isfinite(exact))
    loose = room > 0.1 * size if factor > 1 else np.zeros(exact.shape, bool)
    return loose | (~np.isfinite(y) & (np.abs(exact) > NEAR_THE_END))


def complaint(got: Sequence[Array], want: Expected, factor: float = 1.0) -> str:
    """What is wrong with the results of a program, "" if nothing is. factor: of the room, for other frameworks."""
    if len(got) != len(want.exact):
        return f"{len(want.exact)} results expected, {len(got)} given"
    for i, (y, exact, moved) in enumerate(zip(got, want.exact, want.moved, strict=True)):
        if y.shape != exact.shape:
            return f"result {i}: {list(exact.shape)} expected, {list(y.shape)} given"
        if exact.dtype.kind != "f":
            wrong = (y != exact) & (moved == 0)
            what = "differ"
        else:
            with np.errstate(all="ignore"):
                room = factor * (FACTOR * moved + 2 * UNIT[f32] * np.abs(exact)) + 1e-37
                away = np.abs(y.astype(np.float64) - exact)
                same = (y == exact) | ((y != y) & (exact != exact))
                wrong = ~same & ~(away <= room) & ~_untold(y, exact, room, factor)
                times = np.max(np.where(wrong & np.isfinite(away), away / room, 0.0), initial=0.0)
                what = f"are up to {times:.3g} times too far"
        if wrong.any():
            at = tuple(int(n) for n in np.argwhere(wrong)[0])
            return (f"result {i}: {int(wrong.sum())} of {wrong.size} elements {what}, the first at {list(at)}: "
                    f"{y[at]!r}, expected {exact[at]!r}")  # fmt: skip
    return ""
