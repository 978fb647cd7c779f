"""Quantities of recurrent cells are numpy arrays or graph values, and one formula serves both.

On arrays the formulas of recurrent_math.py are the meaning of the ops in recurrent_steps.py; on values (wrapped as
Symbol, so that + - * read the same) they are the decomposition of one step into simple ops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.ir.graph import Value
from chainrule.ir.op import Array
from chainrule.ops import activations as act
from chainrule.ops import activations_smooth as smooth
from chainrule.ops import transcendental as tr
from chainrule.ops.arithmetic import clip
from chainrule.ops.basic import full, scalar_like
from chainrule.ops.compare import gt
from chainrule.ops.elementwise import abs, add, cast, mul, neg, sub, where
from chainrule.ops.matmul import product
from chainrule.ops.shaping import expand, narrow, reshape, stack, unsqueeze

Quantity = Any  # a numpy array, or a Symbol


class Symbol:
    """A graph value that Python's operators build on, as they compute on arrays."""

    __array_priority__ = 1000

    def __init__(self, value: Value) -> None:
        self.value = value

    def _other(self, other: Symbol | float) -> Value:
        return other.value if isinstance(other, Symbol) else scalar_like(float(other), self.value)

    def __add__(self, other: Symbol | float) -> Symbol:
        return Symbol(add(self.value, self._other(other)))

    def __sub__(self, other: Symbol | float) -> Symbol:
        return Symbol(sub(self.value, self._other(other)))

    def __rsub__(self, other: float) -> Symbol:
        return Symbol(sub(self._other(other), self.value))

    def __mul__(self, other: Symbol | float) -> Symbol:
        return Symbol(mul(self.value, self._other(other)))

    def __neg__(self) -> Symbol:
        return Symbol(neg(self.value))


# -- what arrays and values do each in their way -----------------------------------------------------------------------


def row_at(x: Quantity, t: int) -> Quantity:
    """x[t]."""
    if isinstance(x, Symbol):
        return Symbol(reshape(narrow(x.value, 0, t, 1), x.value.shape[1:]))
    return x[t]


def columns(x: Quantity, start: int, size: Any) -> Quantity:
    """x[..., start*size : (start+1)*size]."""
    if isinstance(x, Symbol):
        return Symbol(narrow(x.value, -1, start * size, size))
    return x[..., start * size : (start + 1) * size]


def rows(r: Quantity, start: int, count: int, size: Any) -> Quantity:
    """`count` blocks of `size` rows of a matrix from block `start` on."""
    if isinstance(r, Symbol):
        return Symbol(narrow(r.value, 0, start * size, count * size))
    return r[start * size : (start + count) * size]


def joined(parts: Sequence[Quantity]) -> Quantity:
    """The parts side by side along the last axis."""
    if isinstance(parts[0], Symbol):
        from chainrule.ops.shaping import concat

        return Symbol(concat([p.value for p in parts], -1))
    return np.concatenate(parts, -1)


def product_with(a: Quantity, r: Quantity, turned: bool) -> Quantity:
    """a @ r, or a @ r.T with turned."""
    if isinstance(a, Symbol):
        return Symbol(product(a.value, r.value, False, turned))
    return a @ (r.T if turned else r)


def chosen(live: Quantity, a: Quantity, b: Quantity) -> Quantity:
    """a in the rows that are live, else b; live None is everywhere."""
    if live is None:
        return a
    if isinstance(a, Symbol):
        return Symbol(where(live, a.value, b.value if isinstance(b, Symbol) else scalar_like(b, a.value)))
    return np.where(live, a, np.asarray(b, a.dtype))


def live_at(lengths: Quantity, t: int) -> Quantity:
    """Which rows [N, 1] have a step at time t; None where all have."""
    if lengths is None:
        return None
    if isinstance(lengths, Symbol):
        return unsqueeze(gt(lengths.value, scalar_like(t, lengths.value)), 1)
    return (lengths > t)[:, None]


def stacked(parts: Sequence[Quantity], like: Quantity, size: Any) -> Quantity:
    """One array [T, N, size] of a quantity at every time; like: the state [N, H] that says what N is."""
    if isinstance(like, Symbol):
        shape = (like.value.shape[0], size)
        if not parts:
            return Symbol(full(0.0, (0, *shape), like.value.dtype))
        return Symbol(stack([expand(p.value, shape) for p in parts]))
    return np.stack(parts) if parts else np.zeros((0, len(like), size), like.dtype)


def widths(r: Quantity) -> Any:
    """H of recurrent weights [G*H, H]."""
    return r.value.shape[1] if isinstance(r, Symbol) else r.shape[1]


def times(x: Quantity, reverse: bool) -> range:
    """The places along the first axis in the order of time. A value's must be a number."""
    count = int(x.value.shape[0] if isinstance(x, Symbol) else x.shape[0])
    return range(count)[::-1] if reverse else range(count)


def number_like(value: float, x: Quantity) -> Quantity:
    """A number as a quantity of x's element type."""
    return Symbol(scalar_like(float(value), x.value)) if isinstance(x, Symbol) else np.asarray(value, x.dtype)


def bounded(x: Quantity, limit: float) -> Quantity:
    """x within +-limit; 0 is no limit."""
    if limit == 0.0:
        return x
    return Symbol(clip(x.value, -limit, limit)) if isinstance(x, Symbol) else np.clip(x, -limit, limit)


# -- activations -------------------------------------------------------------------------------------------------------


def _applied(on_arrays: Callable[[Array], Array], on_values: Callable[[Value], Value], x: Quantity) -> Quantity:
    return Symbol(on_values(x.value)) if isinstance(x, Symbol) else on_arrays(x)


def _logistic(x: Quantity) -> Quantity:
    return _applied(lambda a: tr.logistic(a).astype(a.dtype), tr.sigmoid, x)


def _tanh(x: Quantity) -> Quantity:
    return _applied(np.tanh, tr.tanh, x)


def _relu(x: Quantity) -> Quantity:
    return _applied(lambda a: np.where(a < 0, np.zeros((), a.dtype), a), act.relu, x)


def _magnitude(x: Quantity) -> Quantity:
    return _applied(np.abs, abs, x)


def _exp(x: Quantity) -> Quantity:
    return _applied(np.exp, tr.exp, x)


def is_positive(x: Quantity) -> Quantity:
    """1 where x > 0, else 0."""
    return _applied(lambda a: (a > 0).astype(a.dtype), lambda v: cast(gt(v, scalar_like(0.0, v)), v.dtype), x)


def _elu(x: Quantity, alpha: float) -> Quantity:
    return _applied(lambda a: np.where(a > 0, a, alpha * np.expm1(np.minimum(a, 0))).astype(a.dtype),
                    lambda v: smooth.elu(v, alpha), x)  # fmt: skip


def _leaky(x: Quantity, alpha: float) -> Quantity:
    return _applied(lambda a: np.where(a < 0, alpha * a, a).astype(a.dtype), lambda v: act.leaky_relu(v, alpha), x)


def _threshold(x: Quantity, alpha: float) -> Quantity:
    return _applied(lambda a: np.where(a > alpha, a, np.zeros((), a.dtype)), lambda v: act.threshold(v, alpha, 0.0), x)


def _unit(x: Quantity) -> Quantity:
    """x bounded to [0, 1]."""
    return _applied(lambda a: np.clip(a, 0, 1), lambda v: clip(v, 0.0, 1.0), x)


def _softsign(x: Quantity) -> Quantity:
    return _applied(lambda a: a / (1 + np.abs(a)), smooth.softsign, x)


def _softplus(x: Quantity) -> Quantity:
    return _applied(lambda a: np.logaddexp(a, np.zeros((), a.dtype)), smooth.softplus, x)


# name -> (function of x, slope as a function of y = f(x), largest slope where f has a kink else 0); a and b are alpha
# and beta. All but leaky_relu and elu with a negative alpha have a slope that y tells.
_Formula = tuple[Callable[[Any, float, float], Any], Callable[[Any, float, float], Any], Callable[[float], float]]
FORMULAS: dict[str, _Formula] = {
    "sigmoid": (lambda x, a, b: _logistic(x), lambda y, a, b: y * (1.0 - y), lambda a: 0.0),
    "tanh": (lambda x, a, b: _tanh(x), lambda y, a, b: 1.0 - y * y, lambda a: 0.0),
    "relu": (lambda x, a, b: _relu(x), lambda y, a, b: is_positive(y), lambda a: 1.0),
    "affine": (lambda x, a, b: x * a + b, lambda y, a, b: y * 0.0 + a, lambda a: np.abs(a)),
    "leaky_relu": (lambda x, a, b: _leaky(x, a), lambda y, a, b: is_positive(y) * (1.0 - a) + a,
                   lambda a: max(1.0, np.abs(a))),
    "thresholded_relu": (lambda x, a, b: _threshold(x, a), lambda y, a, b: is_positive(_magnitude(y)), lambda a: 1.0),
    "scaled_tanh": (lambda x, a, b: _tanh(x * b) * a, lambda y, a, b: (y * y) * (-b / a) + a * b, lambda a: 0.0),
    "hard_sigmoid": (lambda x, a, b: _unit(x * a + b), lambda y, a, b: is_positive(y) * is_positive(1.0 - y) * a,
                     lambda a: np.abs(a)),
    "elu": (lambda x, a, b: _elu(x, a),
            lambda y, a, b: is_positive(y) + (1.0 - is_positive(y)) * (y + a), lambda a: max(1.0, np.abs(a))),
    "softsign": (lambda x, a, b: _softsign(x), lambda y, a, b: (1.0 - _magnitude(y)) * (1.0 - _magnitude(y)),
                 lambda a: 0.0),
    "softplus": (lambda x, a, b: _softplus(x), lambda y, a, b: 1.0 - _exp(-y), lambda a: 0.0),
}  # fmt: skip


@dataclass(frozen=True)
class Function:
    """An activation of a cell, by name, with the two numbers that some take."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, x: Quantity) -> Quantity:
        return FORMULAS[self.name][0](x, self.alpha, self.beta)

    def slope(self, y: Quantity) -> Quantity:
        """The derivative where the function's value is y."""
        return FORMULAS[self.name][1](y, self.alpha, self.beta)

    def spread(self, y: Array) -> Array:
        """How much of an error of x arrives in y: the slope, or the steepest one of a function with a kink."""
        steepest = FORMULAS[self.name][2](self.alpha)
        return np.full_like(y, steepest) if steepest else np.abs(self.slope(y))
