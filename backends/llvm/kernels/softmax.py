"""Softmax and its logarithm along any axis: the largest, the sum of the powers, the map. The sweeps: reduce_lines.py.

The logarithm's sum is taken in float64: next to a largest element of 0, the result is log(1 + small), whose digits a
float32 sum would drop.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.backends.llvm.kernels import vector_math as vm
from chainrule.backends.llvm.kernels.reduce_folds import Fold, State, Total, lowest
from chainrule.backends.llvm.kernels.reduce_lines import Phase, Recipe, map_lines
from chainrule.backends.llvm.kernels.reduce_space import Axis, space_of
from chainrule.backends.llvm.kernels.region import KernelCall, Region
from chainrule.backends.llvm.kernels.vector_math.exp import exp_of_negative
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Builder, Int
from chainrule.backends.loops import Value as V
from chainrule.ir.types import DType, f32, f64
from chainrule.ops.shape_rules import axis_of
from chainrule.ops.softmax import AlongAxis, LogSoftmax


@dataclass(frozen=True)
class Peak(Fold):
    """The largest number, NaN passed over: the powers bring NaN back."""

    @property
    def neutral(self) -> float | int:
        return lowest(self.dtype)

    def start(self, k: Builder, lanes: int) -> State:
        return (k.const(self.neutral, self.dtype, lanes),)

    def step(self, k: Builder, state: State, x: V, at: Int) -> State:
        return (k.max(x, state[0]),)

    def merge(self, k: Builder, a: State, b: State) -> State:
        return (k.max(b[0], a[0]),)


class WideTotal(Total):
    """A sum of which every element is added in f64."""

    def start(self, k: Builder, lanes: int) -> State:
        return (k.const(0, f64, lanes),)

    def step(self, k: Builder, state: State, x: V, at: Int) -> State:
        return (k.add(state[0], k.cast(x, f64)),)

    def widen(self, k: Builder, state: State) -> State:
        return (state[0], k.const(0, f64, state[0].lanes)) if self.dtype == f64 else state


def softmax(region: Region, target: Target) -> list[KernelCall]:
    """The kernel of a softmax or log-softmax."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, AlongAxis)
    x = anchor.inputs[0].tensor
    along = axis_of(anchor.op.axis, x.rank)
    axes = [Axis(a, d, a == along, a) for a, d in enumerate(x.shape)]
    core = x.dtype if x.dtype.bits > 16 else f32
    recipe = _log_recipe(core) if isinstance(anchor.op, LogSoftmax) else _recipe(core)
    return map_lines(region, target, space_of(region, axes, lines=True), recipe)


def _recipe(dtype: DType) -> Recipe:
    return Recipe(
        (
            Phase(Peak(dtype), lambda k, x, n: x, lambda k, peak: peak),
            Phase(Total(dtype), lambda k, x, n: exp_of_negative(k, k.sub(x, n[0])),
                  lambda k, total: _inverse(k, total, dtype), keeps=True),
        ),
        lambda k, power, n, read: k.mul(power, n[1]),
    )  # fmt: skip


def _inverse(k: Builder, total: V, dtype: DType) -> V:
    return k.cast(k.div(k.const(1, total.dtype, total.lanes), total), dtype)


def _log_recipe(dtype: DType) -> Recipe:
    return Recipe(
        (
            Phase(Peak(dtype), lambda k, x, n: x, lambda k, peak: peak),
            Phase(WideTotal(dtype), lambda k, x, n: exp_of_negative(k, k.sub(x, n[0])),
                  lambda k, total: k.cast(vm.log(k, total), dtype)),
        ),
        lambda k, x, n, read: k.sub(k.sub(x, n[0]), n[1]),
    )  # fmt: skip
