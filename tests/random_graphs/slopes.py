"""Gradients are slopes: what float64 says of them by difference quotients, and by the adjoint identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from chainrule.backends.reference import run
from chainrule.ir.data import Data
from chainrule.ir.graph import Get, Graph, Input, Value, build, get, new_input
from chainrule.ir.types import DType, TensorType, f32, f64
from chainrule.ops.elementwise import add, mul
from chainrule.ops.reduce import sum as total
from chainrule.ops.tolerance import ADJOINT_RTOL, GRADIENT_ATOL, GRADIENT_RTOL
from chainrule.passes.autodiff import gradients
from tests.random_graphs.judging import FACTOR, expected

Array = np.ndarray[Any, Any]

STEPS = (2.0**-9, 2.0**-10, 2.0**-11, 2.0**-13)
NEAR = STEPS[1]  # the step whose quotient is compared
# A 4-point quotient of values that are each wrong by e is wrong by up to (8 + 8 + 1 + 1) * e / (12 * step).
AMPLIFIED = 18 / 12


@dataclass(frozen=True)
class Slope:
    """A scalar of floats and of weights in which it is linear, and what is claimed of its slope along `ways`.

    slope: the derivative of the scalar along ways, <J' weights, ways>. pushed: the same from the other side,
    <weights, J ways>, as the derivative of `slope` along the weights; None where no weight reaches it.
    """

    scalar: Value
    floats: tuple[Value, ...]
    ways: tuple[Value, ...]
    slope: Value
    pushed: Value | None


def weighted(outputs: Sequence[Value]) -> tuple[Value, tuple[Value, ...]]:
    """sum(outputs * weights), and the weights, which are new inputs."""
    weights = tuple(new_input(f"x_s{i}", v.tensor) for i, v in enumerate(outputs))
    return _sum([total(mul(v, w)) for v, w in zip(outputs, weights, strict=True)]), weights


def slope_of(scalar: Value, floats: Sequence[Value], weights: Sequence[Value], name: str = "x_d") -> Slope | None:
    """The slope of a scalar along new inputs, one for each of the floats that reach it; None where none does."""
    reached = [(x, g) for x, g in zip(floats, gradients([scalar], floats), strict=True) if g is not None]
    if not reached:
        return None
    ways = tuple(new_input(f"{name}{i}", x.tensor) for i, (x, _) in enumerate(reached))
    slope = _sum([total(mul(g, d)) for (_, g), d in zip(reached, ways, strict=True)])
    back = [(w, g) for w, g in zip(weights, gradients([slope], weights), strict=True) if g is not None]
    pushed = _sum([total(mul(g, w)) for w, g in back]) if back else None
    return Slope(scalar, tuple(x for x, _ in reached), ways, slope, pushed)


def complaint_of(claim: Slope, given: Mapping[Value, Array], seed: int) -> str | None:
    """What is wrong with a slope, "" if nothing is; None where difference quotients say nothing.

    Quotients at several distances agree where the function is smooth between their points; a kink or a jump there sets
    them apart, and then they say nothing of the slope in the middle. Nor do they where the rounding of the values that
    they are made of, as the judge's model finds it for float64, is as large as what they differ by.
    """
    inputs = tuple(given)
    wanted = [v for v in (claim.slope, claim.pushed) if v is not None]
    arrays = list(given.values())
    way = dict(zip(claim.floats, claim.ways, strict=True))

    def value(t: float) -> float:
        moved = [a + t * given[way[v]] if v in way else a for v, a in given.items()]
        return float(run(Graph("value", inputs, (claim.scalar,)), moved, precise=True)[0])

    def quotient(h: float) -> float:
        return (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)

    slopes = [float(y) for y in run(Graph("slopes", inputs, tuple(wanted)), arrays, precise=True)]
    quotients = {h: quotient(h) for h in STEPS}
    if not np.isfinite([*slopes, *quotients.values()]).all():
        return None
    room = GRADIENT_RTOL * max(map(abs, quotients.values())) + GRADIENT_ATOL
    smooth = max(quotients.values()) - min(quotients.values()) <= room
    away = abs(slopes[0] - quotients[NEAR]) if smooth else 0.0
    apart, same = max(slopes) - min(slopes), ADJOINT_RTOL * abs(slopes[0])
    if apart > same or away > room:
        want = expected(Graph("slopes", inputs, (*wanted, claim.scalar)), arrays, seed, floats=f64)
        *rounding, of_value = (FACTOR * float(moved) for moved in want.moved)
        if apart > same + sum(rounding):
            return f"the slope is {slopes[0]!r} by the gradient and {slopes[1]!r} by its adjoint"
        if away > room + rounding[0] + AMPLIFIED * of_value / NEAR:
            return f"the slope is {slopes[0]!r}, difference quotients are {[*quotients.values()]}"
        smooth &= away <= room
    return "" if smooth else None


def in_doubles(graph: Graph) -> Graph:
    """The same graph of float64 numbers: constants that gradients bring in are not rounded to f32 there."""
    made: dict[Value, Value] = {}
    for node in graph.nodes:
        match node.op:
            case Input(name_, type, role):
                made[node] = new_input(name_, type.with_dtype(_in_double(type.dtype)), role)
            case Get(index):
                made[node] = get(made[node.inputs[0]], index)
            case op:
                changes = {f.name: _in_double(getattr(op, f.name)) for f in fields(op)}
                made[node] = build(replace(op, **changes), *(made[v] for v in node.inputs))
    return Graph(graph.name, tuple(made[v] for v in graph.inputs), tuple(made[v] for v in graph.outputs))


def _in_double(attribute: Any) -> Any:
    match attribute:
        case DType() if attribute == f32:
            return f64
        case Data() if attribute.array.dtype == np.float32:
            return Data(attribute.array.astype(np.float64))
        case _:
            return attribute


def has_no_slope(node: Value) -> bool:
    """Its gradient is not the slope by what it asks for, or the function is a staircase of half precision."""
    op = node.op
    halves = isinstance(node.type, TensorType) and node.dtype.is_float and node.dtype.bits == 16
    return op.name == "stop_gradient" or getattr(op, "padding_idx", None) is not None or halves


def _sum(terms: Sequence[Value]) -> Value:
    found = terms[0]
    for term in terms[1:]:
        found = add(found, term)
    return found
