"""What a recurrent cell does with the sums of its gates, one vector of units of one row: written once, for registers.

The activations and their slopes repeat ops/recurrent_quantities.py for vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chainrule.backends.llvm.kernels import vector_math as vm
from chainrule.backends.loops import Builder
from chainrule.backends.loops import Value as V
from chainrule.ops.recurrent_math import Cell
from chainrule.ops.recurrent_quantities import Function

Formula = Callable[[Builder, V, float, float], V]


def _number(k: Builder, value: float, like: V) -> V:
    return k.const(value, like.dtype, like.lanes)


def _is_positive(k: Builder, x: V) -> V:
    return k.select(k.cmp("gt", x, 0.0), _number(k, 1.0, x), _number(k, 0.0, x))


def _relu(k: Builder, x: V, a: float, b: float) -> V:
    return k.select(k.cmp("lt", x, 0.0), _number(k, 0.0, x), x)


def _leaky(k: Builder, x: V, a: float, b: float) -> V:
    return k.select(k.cmp("lt", x, 0.0), k.mul(x, a), x)


def _threshold(k: Builder, x: V, a: float, b: float) -> V:
    return k.select(k.cmp("gt", x, a), x, _number(k, 0.0, x))


def _unit(k: Builder, x: V, a: float, b: float) -> V:
    line = k.add(k.mul(x, a), b)
    return k.minimum(k.maximum(line, _number(k, 0.0, x)), _number(k, 1.0, x))


def _elu(k: Builder, x: V, a: float, b: float) -> V:
    below = k.mul(vm.expm1(k, k.minimum(x, _number(k, 0.0, x))), a)
    return k.select(k.cmp("gt", x, 0.0), x, below)


def _elu_slope(k: Builder, y: V, a: float, b: float) -> V:
    return k.select(k.cmp("gt", y, 0.0), _number(k, 1.0, y), k.add(y, a))


def _softsign_slope(k: Builder, y: V, a: float, b: float) -> V:
    rest = k.sub(1.0, k.abs(y))
    return k.mul(rest, rest)


# name -> (function of x, slope as a function of y = f(x)).
FORMULAS: Mapping[str, tuple[Formula, Formula]] = {
    "sigmoid": (lambda k, x, a, b: vm.sigmoid(k, x), lambda k, y, a, b: k.mul(y, k.sub(1.0, y))),
    "tanh": (lambda k, x, a, b: vm.tanh(k, x), lambda k, y, a, b: k.sub(1.0, k.mul(y, y))),
    "relu": (_relu, lambda k, y, a, b: _is_positive(k, y)),
    "affine": (lambda k, x, a, b: k.add(k.mul(x, a), b), lambda k, y, a, b: _number(k, a, y)),
    "leaky_relu": (_leaky, lambda k, y, a, b: k.add(k.mul(_is_positive(k, y), 1.0 - a), a)),
    "thresholded_relu": (_threshold, lambda k, y, a, b: _is_positive(k, k.abs(y))),
    "scaled_tanh": (lambda k, x, a, b: k.mul(vm.tanh(k, k.mul(x, b)), a),
                    lambda k, y, a, b: k.add(k.mul(k.mul(y, y), -b / a), a * b)),
    "hard_sigmoid": (_unit, lambda k, y, a, b: k.mul(k.mul(_is_positive(k, y), _is_positive(k, k.sub(1.0, y))), a)),
    "elu": (_elu, _elu_slope),
    "softsign": (lambda k, x, a, b: k.div(x, k.add(1.0, k.abs(x))), _softsign_slope),
    "softplus": (lambda k, x, a, b: vm.softplus(k, x), lambda k, y, a, b: k.sub(1.0, vm.exp(k, k.neg(y)))),
}  # fmt: skip


@dataclass(frozen=True)
class CellCode:
    """Writes a cell's formulas into a kernel."""

    k: Builder
    cell: Cell

    def apply(self, function: Function, x: V) -> V:
        """An activation."""
        return FORMULAS[function.name][0](self.k, x, function.alpha, function.beta)

    def bounded(self, function: Function, x: V) -> V:
        """An activation of x within the cell's limit."""
        k, limit = self.k, self.cell.limit
        if limit:
            x = k.minimum(k.maximum(x, _number(k, -limit, x)), _number(k, limit, x))
        return self.apply(function, x)

    def slope(self, function: Function, y: V) -> V:
        """The derivative of an activation where its value is y."""
        return FORMULAS[function.name][1](self.k, y, function.alpha, function.beta)

    def bounded_slope(self, function: Function, y: V) -> V:
        """The derivative of a bounded activation: 0 where its bound is reached, as in Cell.slope."""
        k, limit = self.k, self.cell.limit
        slope = self.slope(function, y)
        if not limit:
            return slope
        low, high = (self.apply(function, _number(k, end, y)) for end in (-limit, limit))
        edge = k.mul(k.mul(k.sub(high, low), k.sub(high, low)), 2.0**-20)
        inside = k.sub(k.mul(k.sub(y, low), k.sub(high, y)), edge)
        return k.mul(slope, _is_positive(k, inside))

    def plus(self, a: V, b: V | None, c: V | None) -> V:
        """a + b * c, or a where there is no b."""
        return a if b is None or c is None else self.k.add(a, self.k.mul(b, c))

    # -- one step of a vector of units ---------------------------------------------------------------------------------

    def lstm(self, sums: Mapping[str, V], c: V, peepholes: Mapping[str, V]) -> tuple[dict[str, V], V, V]:
        """The gates, the next c and the next h, of the arguments of the gates by letter."""
        k = self.k
        f, g, y = self.cell.functions
        a = dict(sums)
        i = self.bounded(f, self.plus(a["i"], peepholes.get("i"), c))
        if self.cell.coupled:
            forget = k.sub(1.0, i)
        else:
            forget = self.bounded(f, self.plus(a["f"], peepholes.get("f"), c))
        new = self.bounded(g, a["g"])
        c_next = k.add(k.mul(forget, c), k.mul(i, new))
        o = self.bounded(f, self.plus(a["o"], peepholes.get("o"), c_next))
        return {"i": i, "f": forget, "g": new, "o": o}, c_next, k.mul(o, self.apply(y, c_next))

    def gru_gate(self, fed: V, back: V) -> V:
        """r or z."""
        return self.bounded(self.cell.functions[0], self.k.add(fed, back))

    def gru_new(self, fed: V, part: V) -> V:
        """n, of what the input gives and what the state does."""
        return self.bounded(self.cell.functions[1], self.k.add(fed, part))

    def gru_next(self, z: V, new: V, h: V) -> V:
        """(1 - z) n + z h."""
        k = self.k
        return k.add(k.mul(k.sub(1.0, z), new), k.mul(z, h))

    # -- one step backwards --------------------------------------------------------------------------------------------

    def lstm_back(self, a: Mapping[str, V], c: V, c_before: V, dh: V, dc: V,
                  peepholes: Mapping[str, V]) -> tuple[dict[str, V], V]:  # fmt: skip
        """The gradients of the gates' arguments, and of the c before the step. dh: of this step's h, all in all."""
        k = self.k
        f, g, y = self.cell.functions
        out = self.apply(y, c)
        d_o = k.mul(k.mul(dh, out), self.bounded_slope(f, a["o"]))
        dc = self.plus(k.add(dc, k.mul(k.mul(dh, a["o"]), self.slope(y, out))), d_o, peepholes.get("o"))
        d_i, d_f = k.mul(dc, a["g"]), k.mul(dc, c_before)
        if self.cell.coupled:
            d_i, d_f = k.sub(d_i, d_f), _number(k, 0.0, d_f)
        d_i, d_f = k.mul(d_i, self.bounded_slope(f, a["i"])), k.mul(d_f, self.bounded_slope(f, a["f"]))
        d_g = k.mul(k.mul(dc, a["i"]), self.bounded_slope(g, a["g"]))
        before = k.mul(dc, a["f"])
        before = self.plus(self.plus(before, d_i, peepholes.get("i")), d_f, peepholes.get("f"))
        return {"i": d_i, "f": d_f, "g": d_g, "o": d_o}, before
