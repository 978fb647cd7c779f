"""Composite reductions: logsumexp, variance, standard deviation, norms. Each decomposes into simpler ops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.ir.dims import Dim, dim_max
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType
from chainrule.ops.activations import in_f32, number
from chainrule.ops.arithmetic import isinf, sign, square
from chainrule.ops.basic import scalar_like, zeros_like
from chainrule.ops.compare import eq
from chainrule.ops.elementwise import abs, add, div, mul, sub, where
from chainrule.ops.reduce import Axes, Reduction, amax, canonical_axes, count_of, kept, mean, sum
from chainrule.ops.transcendental import exp, log, sqrt


class LogSumExp(Reduction):
    """log(sum(e^x)) over axes, without overflow. -inf of nothing and of -inf alone. Source: ONNX ReduceLogSumExp-18."""

    name: ClassVar[str] = "logsumexp"
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return self.apply(_log_sum_exp, arrays[0])

    def magnitude(self, *arrays: Array) -> Array:
        """The scale of absolute errors: the largest element, the result, and 1 for the logarithm's argument."""
        (x,) = arrays
        largest = self.apply(lambda rows: np.max(np.abs(rows), axis=-1, initial=0.0), x)
        return largest + np.abs(self.ref(x)) + 1.0

    def decompose(self, *inputs: Value) -> Value:
        def body(x: Value) -> Value:
            top = amax(x, self.axes, keepdims=True)
            shift = where(isinf(top), zeros_like(top), top)
            total = log(sum(exp(sub(x, shift)), self.axes, keepdims=True))
            return sum(add(total, shift), self.axes, self.keepdims)  # of one element: takes the axes away

        return in_f32(body, inputs[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (x,) = inputs
        y = kept(output, x, self.axes)
        lowest = number(-np.inf, y)
        weights = exp(sub(x, where(eq(y, lowest), zeros_like(y), y)))
        return (mul(kept(grads[0], x, self.axes), weights),)


def _log_sum_exp(rows: Array) -> Array:
    top = np.max(rows, axis=-1, keepdims=True, initial=-np.inf)
    shift = np.where(np.isinf(top), 0.0, top)
    return np.log(np.add.reduce(np.exp(rows - shift), axis=-1)) + shift[..., 0]


@dataclass(frozen=True)
class Spread(Reduction):
    """A measure of how far elements lie from their mean. correction: taken off the count, not negative."""

    correction: int = 0

    def infer(self, *types: TensorType) -> TensorType:
        _require_correction(self.correction)
        return Reduction.infer(self, *types)


@dataclass(frozen=True)
class Var(Spread):
    """The variance over axes: sum((x - mean)^2) / (count - correction), in two passes.

    correction: 0 as numpy's ddof, 1 for the unbiased estimate (PyTorch's default). NaN where count <= correction.
    Raises ArgumentError for a negative correction. Source: numpy.var; PyTorch var.
    """

    name: ClassVar[str] = "var"
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return self.apply(lambda rows: variance(rows, self.correction), arrays[0])

    def magnitude(self, *arrays: Array) -> Array:
        """The variance, what an error of the mean adds to it, and the square of that error."""
        (x,) = arrays
        level = self.apply(mean_magnitude, x)
        y = self.ref(x)
        return y + 2.0 * np.sqrt(y) * level + 2.0**-22 * level * level

    def decompose(self, *inputs: Value) -> Value:
        def body(x: Value) -> Value:
            squares = sum(square(_centred(x, self.axes)), self.axes, self.keepdims)
            return div(squares, scalar_like(_freedom(x, self.axes, self.correction), squares))

        return in_f32(body, inputs[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (x,) = inputs
        share = div(kept(grads[0], x, self.axes), scalar_like(_freedom(x, self.axes, self.correction), x))
        return (mul(mul(number(2.0, x), share), _centred(x, self.axes)),)


@dataclass(frozen=True)
class Std(Spread):
    """The standard deviation over axes: sqrt(var). NaN where count <= correction; its gradient is 0 where it is 0.

    Raises ArgumentError for a negative correction. Source: numpy.std; PyTorch std.
    """

    name: ClassVar[str] = "std"
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return self.apply(lambda rows: np.sqrt(variance(rows, self.correction)), arrays[0])

    def magnitude(self, *arrays: Array) -> Array:
        """The deviation, and the level of the elements, to which an error of the mean is relative."""
        (x,) = arrays
        return self.ref(x) + self.apply(mean_magnitude, x)

    def decompose(self, *inputs: Value) -> Value:
        return in_f32(lambda x: sqrt(var(x, self.axes, self.keepdims, self.correction)), inputs[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (x,) = inputs
        y = kept(output, x, self.axes)
        scale = mul(y, scalar_like(_freedom(x, self.axes, self.correction), x))
        slope = where(eq(y, zeros_like(y)), zeros_like(y), div(kept(grads[0], x, self.axes), scale))
        return (mul(slope, _centred(x, self.axes)),)


def mean_magnitude(rows: Array) -> Array:
    """The mean of the absolute values along the last axis; 0 of nothing."""
    return np.add.reduce(np.abs(rows), axis=-1) / max(1, rows.shape[-1])


def variance(rows: Array, correction: int) -> Array:
    """The variance along the last axis, in two passes."""
    count = rows.shape[-1]
    mean = np.add.reduce(rows, axis=-1, keepdims=True) / np.float64(count)
    return np.add.reduce((rows - mean) ** 2, axis=-1) / np.float64(max(0, count - correction))


def _centred(x: Value, axes: Sequence[int]) -> Value:
    return sub(x, mean(x, axes, keepdims=True))


def _freedom(x: Value, axes: Sequence[int], correction: int) -> Dim:
    return dim_max(0, count_of(x, axes) - correction)


def _require_correction(correction: int) -> None:
    if correction < 0:
        raise ArgumentError(f"correction={correction} is negative", help="it is 0, or 1 for the unbiased estimate")


class L1Norm(Reduction):
    """sum(|x|) over axes. The gradient at 0 is 0. Source: ONNX ReduceL1-18."""

    name: ClassVar[str] = "l1_norm"
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return self.apply(lambda rows: np.add.reduce(np.abs(rows), axis=-1), arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        return sum(abs(inputs[0]), self.axes, self.keepdims)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (x,) = inputs
        return (mul(kept(grads[0], x, self.axes), sign(x)),)


class L2Norm(Reduction):
    """sqrt(sum(x^2)) over axes; squares may overflow. Its gradient is 0 where it is 0. Source: ONNX ReduceL2-18."""

    name: ClassVar[str] = "l2_norm"
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return self.apply(lambda rows: np.sqrt(np.add.reduce(rows * rows, axis=-1)), arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        return in_f32(lambda x: sqrt(sum(square(x), self.axes, self.keepdims)), inputs[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (x,) = inputs
        y = kept(output, x, self.axes)
        slope = where(eq(y, zeros_like(y)), zeros_like(y), div(kept(grads[0], x, self.axes), y))
        return (mul(slope, x),)


class SumSquare(Reduction):
    """sum(x^2) over axes. Source: ONNX ReduceSumSquare-18."""

    name: ClassVar[str] = "sum_square"
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return self.apply(lambda rows: np.add.reduce(rows * rows, axis=-1), arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        return in_f32(lambda x: sum(square(x), self.axes, self.keepdims), inputs[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (x,) = inputs
        return (mul(kept(grads[0], x, self.axes), mul(number(2.0, x), x)),)


def logsumexp(x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """log(sum(e^x)) over axes (all by default)."""
    return build(LogSumExp(canonical_axes(x, axes), keepdims), x)


def var(x: Value, axes: Axes = None, keepdims: bool = False, correction: int = 0) -> Value:
    """The variance over axes (all by default)."""
    return build(Var(canonical_axes(x, axes), keepdims, correction), x)


def std(x: Value, axes: Axes = None, keepdims: bool = False, correction: int = 0) -> Value:
    """The standard deviation over axes (all by default)."""
    return build(Std(canonical_axes(x, axes), keepdims, correction), x)


def l1_norm(x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """sum(|x|) over axes (all by default)."""
    return build(L1Norm(canonical_axes(x, axes), keepdims), x)


def l2_norm(x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """sqrt(sum(x^2)) over axes (all by default)."""
    return build(L2Norm(canonical_axes(x, axes), keepdims), x)


def sum_square(x: Value, axes: Axes = None, keepdims: bool = False) -> Value:
    """sum(x^2) over axes (all by default)."""
    return build(SumSquare(canonical_axes(x, axes), keepdims), x)


OPS: tuple[type[Op], ...] = (LogSumExp, Var, Std, L1Norm, L2Norm, SumSquare)
