"""How far a program's results may be from the float64 reference: as far as the rounding of its nodes can carry them.

The model is Monte Carlo arithmetic (Parker, Monte Carlo Arithmetic: exploiting randomness in floating-point arithmetic,
1997). Every node is computed in float64 from numbers of its inputs' types, moved at random within the bound of its op's
class (chainrule.ops.tolerance), and rounded to its own type; what the outputs do over some such runs is what rounding
may do to them, element by element, whatever the graph cancels, amplifies, overflows or decides by comparison.

- Rounding is a function of the number that is rounded. Equal numbers are moved alike: ties stay ties, and what repeats
  adds up. The order of a sum is not told by its value: in every other run sums are moved each by its own.
- In every other run comparisons, places and steps come out as in float64: both sides of a decision that rounding may
  turn are met, however thin one is.
- What is exact is not moved: a number of the type, and a sum whose parts fit into its digits in any order, such as a
  count, or zeros.
- A sum whose parts together are beyond the type's range may pass infinity on the way: it is then any of its value, an
  infinity and NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.backends.reference.interpreter import bind_sizes, evaluate, run_traced
from chainrule.ir.body import Control
from chainrule.ir.graph import Get, Graph, Input, Value
from chainrule.ir.op import Op, bind_dims
from chainrule.ir.types import DType, TensorType, TupleType, bf16, f16, f32, f64
from chainrule.ops.tolerance import LEAST, PRECISION, UNIT, Scaled, allowed_error, scale, ulp
from chainrule.passes.base import Notes
from chainrule.passes.decompose import Decompose

Array = np.ndarray[Any, Any]
# (op, its inputs, the number of the result, the result in float64, its type) -> the bound of each element's error
Bound = Callable[[Op, Sequence[Array], int, Array, DType], Array]

RUNS = 12  # three of each kind: sums by value or each by its own, decisions made anew or held; and one that rounds only
# The largest of RUNS moves, times this, stands for the worst one. Of errors that add up to a normal distribution, all
# RUNS are below 0.6 of its deviation in 1 case of 14,000, and one is above 4.8 of it in 1 of 600,000.
FACTOR = 8.0
# Zero is exact but for sums that cancel: what a bound leaves of it in the last subnormals is not meant for it.
NOTHING = 8.0
# What is no sum of its inputs' products: a share of one, a root, or weights of its own.
FRACTIONS = frozenset({"mean", "avg_pool", "avg_pool_grad", "pool_last", "avg_pool_grad_last", "l2_norm", "rms_norm",
                       "lp_normalize", "resize"})  # fmt: skip
LARGEST = {f32: float(np.finfo(np.float32).max), f64: float(np.finfo(np.float64).max), f16: 65504.0, bf16: 2.0**128}


@dataclass(frozen=True)
class Expected:
    """What the outputs of a graph should be.

    exact: in float64; moved: how far rounding carries each element among finite numbers; strays: where rounding makes
    another infinity or NaN of it, or a number of an infinity.
    """

    exact: tuple[Array, ...]
    moved: tuple[Array, ...]
    strays: tuple[Array, ...]

    @property
    def judged(self) -> float:
        """The share of elements whose bound is below a hundredth of the output's size: the others say little."""
        told, count = 0, 0
        for exact, moved, strays in zip(self.exact, self.moved, self.strays, strict=True):
            scale = np.max(np.abs(exact), initial=0.0, where=np.isfinite(exact)) if exact.dtype.kind == "f" else 1.0
            told += int(np.sum((moved <= 0.01 * scale + 1e-30) & ~strays))
            count += exact.size
        return told / count if count else 1.0


@dataclass(frozen=True)
class Turn:
    """One run with moved numbers.

    reach: the share of each bound that is moved within; apart: sums are moved each by its own; held: nodes whose
    results stay as they are given here; floats: the type in which all is computed, None for each node's own.
    """

    rng: np.random.Generator
    reach: float
    apart: bool
    held: Mapping[Value, tuple[Array, ...]]
    bound: Bound
    floats: DType | None

    def type_of(self, type: TensorType) -> DType:
        """The element type that a result is rounded to."""
        return self.floats if self.floats is not None and type.dtype.is_float else type.dtype


def expected(graph: Graph, arrays: Sequence[Array], seed: int = 0, bound: Bound | None = None,
             floats: DType | None = None) -> Expected:  # fmt: skip
    """The float64 results of a graph and the room around them.

    bound: of each node's own error, if not our own. floats: f64 gives the room of a run in float64.
    """
    simple = Decompose(lambda node: type(node.op).ref is not Op.ref).run(graph, Notes())
    values = dict(run_traced(simple, arrays, precise=True))
    exact = tuple(np.asarray(values[v][0]) for v in simple.results)
    decisions = {v: found for v, found in values.items() if v.op.gradient == "zero"}
    rng = np.random.default_rng([seed, 3])
    moved = [np.zeros(y.shape) for y in exact]
    strays = [np.zeros(y.shape, bool) for y in exact]
    for turn in range(RUNS + 1):
        reach = 0.0 if turn == RUNS else 1.0
        held = decisions if turn // 2 % 2 == 1 else {}
        how = Turn(rng, reach, turn % 2 == 1, held, bound or own_bound, floats)
        for i, y in enumerate(_moved_run(simple, arrays, how)):
            same, finite = _same(y, exact[i]), np.isfinite(y) & np.isfinite(exact[i])
            with np.errstate(all="ignore"):
                away = np.abs(np.asarray(y, np.float64) - np.asarray(exact[i], np.float64))
            moved[i] = np.maximum(moved[i], np.where(same | ~finite, 0.0, away))
            strays[i] |= ~same & ~finite
    return Expected(exact, tuple(moved), tuple(strays))


def _same(y: Array, exact: Array) -> Array:
    return np.asarray((y == exact) | ((y != y) & (exact != exact)))


def _moved_run(graph: Graph, arrays: Sequence[Array], turn: Turn,
               sizes: Mapping[str, int] | None = None) -> list[Array]:  # fmt: skip
    """The results with every node's floats moved within their bounds, and rounded; in bodies as well.

    sizes: the values of symbols that are known already.
    """
    env = bind_sizes(graph, arrays, sizes)
    values: dict[Value, tuple[Array, ...]] = {v: (np.asarray(a),) for v, a in zip(graph.inputs, arrays, strict=True)}
    for node in graph.nodes:
        if isinstance(node.op, Input):
            continue
        if isinstance(node.op, Get):
            values[node] = (values[node.inputs[0]][node.op.index],)
        elif node in turn.held:
            values[node] = turn.held[node]
        else:
            with np.errstate(all="ignore"):
                values[node] = _moved_node(node, [values[v][0] for v in node.inputs], turn, env)
    return [values[v][0] for v in graph.results]


def _moved_node(node: Value, inputs: Sequence[Array], turn: Turn, env: Mapping[str, int]) -> tuple[Array, ...]:
    op = bind_dims(node.op, env)
    if isinstance(op, Control):
        return op.executed(inputs, lambda body, arrays: _moved_run(body, arrays, turn, env), env)
    found = evaluate(node, inputs, env, precise=True)
    types = node.type.items if isinstance(node.type, TupleType) else (node.type,)
    return tuple(
        _moved(op, inputs, i, np.asarray(y), turn.type_of(t), turn)
        for i, (y, t) in enumerate(zip(found, types, strict=True))
    )


def _moved(op: Op, inputs: Sequence[Array], index: int, y: Array, dtype: DType, turn: Turn) -> Array:
    """One result of an op, moved and rounded to its type, as float64."""
    if not dtype.is_float:
        return y.astype(dtype.numpy, copy=False)
    wide = np.asarray(y, np.float64, order="C")
    if op.tolerance == "E":
        return wide.astype(dtype.numpy).astype(np.float64)
    room = turn.bound(op, inputs, index, wide, dtype)
    exact = ~np.isfinite(wide) | ~np.isfinite(room) | ((wide == 0) & (room <= NOTHING * LEAST[dtype]))
    parts = None
    if op.tolerance in "RD" and not isinstance(op, Scaled):
        parts = scale(op, inputs, index, wide)
        exact |= parts == 0 if op.name in FRACTIONS else _fits(parts, wide, inputs, dtype)
    moves = turn.rng.uniform(-1, 1, y.shape) if turn.apart and op.tolerance in "RDW" else _hashed(wide, turn.rng)
    rounded = np.asarray(wide + np.where(exact, 0.0, turn.reach * room) * moves).astype(dtype.numpy).astype(np.float64)
    if op.tolerance == "T":  # a function of one number keeps its sign: an error may carry it to 0, not past it
        rounded = np.where(rounded * wide < 0, 0.0, rounded)
    return rounded if parts is None else _past_infinity(rounded, parts, dtype, turn.rng)


def own_bound(op: Op, inputs: Sequence[Array], index: int, y: Array, dtype: DType) -> Array:
    """The bound of our own nodes' errors: half a ULP for what is rounded once, else that of the class.

    In float64 y itself is rounded: what is exact is half a ULP from it, and another's result half a ULP from that.
    """
    if op.tolerance == "B":
        return (1.0 if dtype == f64 else 0.5) * ulp(y, dtype)
    return allowed_error(op, inputs, index, y, dtype)


def _hashed(y: Array, rng: np.random.Generator) -> Array:
    """Numbers from -1 to 1 that look random, equal ones for equal elements (the finaliser of SplitMix64)."""
    z = y.view(np.uint64) ^ rng.integers(1 << 63, dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) * 2.0**-63 - 1.0


def _fits(parts: Array, y: Array, inputs: Sequence[Array], dtype: DType) -> Array:
    """Where all sums of a sum's parts have few enough digits: the parts are whole multiples of a unit, and add up to
    no more of it than the type counts exactly."""
    unit = float(np.prod([_unit(x) for x in inputs if x.dtype.kind == "f"]))
    return np.asarray((parts <= unit * 2.0 ** PRECISION[dtype]) & (np.round(y / unit) * unit == y))


def _unit(x: Array) -> float:
    """The largest power of two of which all elements are multiples; a NaN's is NaN."""
    told = x[x != 0].astype(np.float64)
    if not np.isfinite(told).all():
        return np.nan
    mantissa, exponent = np.frexp(told)
    whole = (mantissa * 2.0**53).astype(np.int64)
    return float(np.min(np.ldexp((whole & -whole).astype(np.float64), exponent - 53), initial=2.0**60))


def _past_infinity(y: Array, parts: Array, dtype: DType, rng: np.random.Generator) -> Array:
    """Sums of parts that together are beyond the type's range: any of what they may become on the way."""
    beyond = parts > LARGEST[dtype]
    if not beyond.any():
        return y
    becomes = rng.choice([np.inf, -np.inf, np.nan], y.shape)
    return np.where(beyond & (rng.random(y.shape) < 0.5), becomes, y)


def complaint(got: Sequence[Array], want: Expected) -> str:
    """What is wrong with the results of a program, "" if nothing is."""
    if len(got) != len(want.exact):
        return f"{len(want.exact)} results expected, {len(got)} given"
    for i, (y, exact, moved, strays) in enumerate(zip(got, want.exact, want.moved, want.strays, strict=True)):
        if y.shape != exact.shape:
            return f"result {i}: {list(exact.shape)} expected, {list(y.shape)} given"
        wrong, what = _wrong(y, exact, moved, strays)
        if wrong.any():
            at = tuple(int(n) for n in np.argwhere(wrong)[0])
            return (f"result {i}: {int(wrong.sum())} of {wrong.size} elements {what}, the first at {list(at)}: "
                    f"{y[at]!r}, expected {exact[at]!r}")  # fmt: skip
    return ""


def _wrong(y: Array, exact: Array, moved: Array, strays: Array) -> tuple[Array, str]:
    """The elements that no rounding explains, and what is wrong with them."""
    if exact.dtype.kind != "f":
        return (y != exact) & (moved == 0), "differ"
    with np.errstate(all="ignore"):
        room = FACTOR * moved + 2 * UNIT[f32] * np.abs(exact) + NOTHING * LEAST[f32]
        away = np.abs(y.astype(np.float64) - exact)
        finite = np.isfinite(y) & np.isfinite(exact)
        wrong = np.where(finite, away > room, ~_same(y, exact) & ~strays)
        times = np.max(np.where(wrong & finite, away / room, 0.0), initial=0.0)
    return wrong, f"are up to {times:.3g} times too far" if times else "are infinite or NaN in another way"
