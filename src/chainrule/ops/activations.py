"""Activations made of straight lines, with PyTorch's names, defaults and gradients at the kinks.

The smooth ones are in activations_smooth.py. f16 and bf16 decompose in f32, rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, f32
from chainrule.ops.arithmetic import clip
from chainrule.ops.basic import scalar_like, zeros_like
from chainrule.ops.compare import ge, gt, le, logical_and, lt
from chainrule.ops.elementwise import Binary, Unary, add, cast, div, in_double, mul, quiet, sub, where


def in_f32(function: Callable[[Value], Value], x: Value) -> Value:
    """function of x in f32 where x is narrower, rounded once at the end."""
    return function(x) if x.dtype.bits >= 32 else cast(function(cast(x, f32)), x.dtype)


def pair_in_f32(function: Callable[[Value, Value], Value], a: Value, b: Value) -> Value:
    """function of a and b in f32 where they are narrower, rounded once at the end."""
    return function(a, b) if a.dtype.bits >= 32 else cast(function(cast(a, f32), cast(b, f32)), a.dtype)


def number(value: float, x: Value) -> Value:
    """A number of x's element type."""
    return scalar_like(float(value), x)


class Relu(Unary):
    """0 where x < 0, else x: NaN stays NaN and -0 stays -0. The gradient at 0 is 0. Source: ONNX Relu-14."""

    name: ClassVar[str] = "relu"
    kinds: ClassVar[str] = "fi"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        return np.where(x < 0, np.zeros((), x.dtype), x)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        # The output says as much as the input, so that the input need not be kept for the backward pass.
        return (where(gt(output, zeros_like(output)), grads[0], zeros_like(output)),)


@dataclass(frozen=True)
class HardTanh(Unary):
    """x bounded to [low, high]; NaN stays. The gradient is 0 at the bounds too (clip's is not).

    Raises ArgumentError unless low < high. Source: PyTorch Hardtanh; ReLU6 is low=0, high=6.
    """

    name: ClassVar[str] = "hardtanh"
    gradient: ClassVar[str] = "vjp"
    low: float = -1.0
    high: float = 1.0

    def infer(self, *types: TensorType) -> TensorType:
        if not self.low < self.high:
            raise ArgumentError(f"low={self.low} is not below high={self.high}", help="give low < high")
        return Unary.infer(self, *types)

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        low, high = np.asarray(self.low).astype(x.dtype), np.asarray(self.high).astype(x.dtype)
        return np.where(x < low, low, np.where(x > high, high, x))

    def decompose(self, *inputs: Value) -> Value:
        return clip(inputs[0], self.low, self.high)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (x,) = inputs
        inside = logical_and(gt(output, number(self.low, x)), lt(output, number(self.high, x)))
        return (where(inside, grads[0], zeros_like(x)),)


@dataclass(frozen=True)
class LeakyRelu(Unary):
    """x where x > 0, else slope * x. The gradient at 0 is slope. Source: ONNX LeakyRelu-16."""

    name: ClassVar[str] = "leaky_relu"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"
    slope: float = 0.01

    def ref(self, *arrays: Array) -> Array:
        return in_double(lambda x: np.where(x > 0, x, self.slope * x), arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        return in_f32(lambda x: where(gt(x, zeros_like(x)), x, mul(x, number(self.slope, x))), inputs[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (x,) = inputs
        (g,) = grads
        return (where(gt(x, zeros_like(x)), g, mul(g, number(self.slope, x))),)


class PRelu(Binary):
    """x where x > 0, else weight * x, as leaky_relu with a trained slope. weight: broadcasts against x.

    The result has the broadcast shape of both. A weight per channel of [N, C, H, W] has the shape [C, 1, 1].
    The gradient of x at 0 is weight. Source: ONNX PRelu-16; He et al. 2015.
    """

    name: ClassVar[str] = "prelu"
    args: ClassVar[tuple[str, ...]] = ("x", "weight")
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "decompose"

    def ref(self, *arrays: Array) -> Array:
        x, weight = arrays
        return np.where(x > 0, x, quiet(np.multiply, x, weight))

    def decompose(self, *inputs: Value) -> Value:
        x, weight = inputs
        return where(gt(x, zeros_like(x)), x, mul(x, weight))


class HardSigmoid(Unary):
    """(x + 3) / 6 bounded to [0, 1]. The gradient is 0 at the bounds. Source: ONNX HardSigmoid-22 with alpha = 1/6."""

    name: ClassVar[str] = "hardsigmoid"
    tolerance: ClassVar[str] = "C"
    gradient: ClassVar[str] = "decompose"

    def ref(self, *arrays: Array) -> Array:
        return in_double(lambda x: np.clip(x + 3.0, 0.0, 6.0) / 6.0, arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        return in_f32(lambda x: div(relu6(add(x, number(3.0, x))), number(6.0, x)), inputs[0])


class HardSwish(Unary):
    """x * hardsigmoid(x). The gradient is 0 at -3 and 1 at 3. Source: ONNX HardSwish-22; Howard et al. 2019."""

    name: ClassVar[str] = "hardswish"
    tolerance: ClassVar[str] = "C"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(lambda x: x * (np.clip(x + 3.0, 0.0, 6.0) / 6.0), arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        return in_f32(lambda x: mul(x, div(clip(add(x, number(3.0, x)), 0.0, 6.0), number(6.0, x))), inputs[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (x,) = inputs
        bent = add(div(x, number(3.0, x)), number(0.5, x))
        slope = where(le(x, number(-3.0, x)), zeros_like(x), where(ge(x, number(3.0, x)), number(1.0, x), bent))
        return (mul(grads[0], slope),)


@dataclass(frozen=True)
class SoftShrink(Unary):
    """x - bound above bound, x + bound below -bound, 0 between; NaN stays. The gradient at the bounds is 0.

    Raises ArgumentError for a negative bound. Source: PyTorch Softshrink; ONNX Shrink-9 with bias = lambd.
    """

    name: ClassVar[str] = "softshrink"
    tolerance: ClassVar[str] = "C"
    gradient: ClassVar[str] = "decompose"
    bound: float = 0.5

    def infer(self, *types: TensorType) -> TensorType:
        _require_bound(self.bound)
        return Unary.infer(self, *types)

    def ref(self, *arrays: Array) -> Array:
        return in_double(lambda x: x - np.clip(x, -self.bound, self.bound), arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        def body(x: Value) -> Value:
            up, down = number(self.bound, x), number(-self.bound, x)
            inner = where(logical_and(ge(x, down), le(x, up)), zeros_like(x), sub(x, up))
            return where(lt(x, down), sub(x, down), inner)

        return in_f32(body, inputs[0])


@dataclass(frozen=True)
class HardShrink(Unary):
    """0 where -bound <= x <= bound, else x; NaN stays. The gradient at the bounds is 0.

    bound: rounded to x's element type. Raises ArgumentError for a negative one.
    Source: PyTorch Hardshrink; ONNX Shrink-9 with bias = 0.
    """

    name: ClassVar[str] = "hardshrink"
    gradient: ClassVar[str] = "decompose"
    bound: float = 0.5

    def infer(self, *types: TensorType) -> TensorType:
        _require_bound(self.bound)
        return Unary.infer(self, *types)

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        bound = np.asarray(self.bound).astype(x.dtype)
        return np.where((x >= -bound) & (x <= bound), np.zeros((), x.dtype), x)

    def decompose(self, *inputs: Value) -> Value:
        (x,) = inputs
        inside = logical_and(ge(x, number(-self.bound, x)), le(x, number(self.bound, x)))
        return where(inside, zeros_like(x), x)


def _require_bound(bound: float) -> None:
    if not bound >= 0:
        raise ArgumentError(f"bound={bound} is negative", help="give a bound of 0 or more")


@dataclass(frozen=True)
class Threshold(Unary):
    """x where x > threshold, else value; NaN stays. The gradient at the threshold is 0.

    threshold, value: rounded to x's element type. Source: PyTorch Threshold; ONNX ThresholdedRelu-22 with value = 0.
    """

    name: ClassVar[str] = "threshold"
    gradient: ClassVar[str] = "decompose"
    threshold: float
    value: float

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        threshold, value = np.asarray(self.threshold).astype(x.dtype), np.asarray(self.value).astype(x.dtype)
        return np.where(x <= threshold, value, x)

    def decompose(self, *inputs: Value) -> Value:
        (x,) = inputs
        return where(le(x, number(self.threshold, x)), number(self.value, x), x)


def relu(x: Value) -> Value:
    """0 where x < 0, else x."""
    return build(Relu(), x)


def relu6(x: Value) -> Value:
    """x bounded to [0, 6]: hardtanh(x, 0, 6)."""
    return build(HardTanh(0.0, 6.0), x)


def hardtanh(x: Value, low: float = -1.0, high: float = 1.0) -> Value:
    """x bounded to [low, high]."""
    return build(HardTanh(low, high), x)


def leaky_relu(x: Value, slope: float = 0.01) -> Value:
    """x where x > 0, else slope * x."""
    return build(LeakyRelu(slope), x)


def prelu(x: Value, weight: Value) -> Value:
    """x where x > 0, else weight * x."""
    return build(PRelu(), x, weight)


def hardsigmoid(x: Value) -> Value:
    """(x + 3) / 6 bounded to [0, 1]."""
    return build(HardSigmoid(), x)


def hardswish(x: Value) -> Value:
    """x * hardsigmoid(x)."""
    return build(HardSwish(), x)


def softshrink(x: Value, bound: float = 0.5) -> Value:
    """x moved towards 0 by bound, 0 within."""
    return build(SoftShrink(bound), x)


def hardshrink(x: Value, bound: float = 0.5) -> Value:
    """x outside [-bound, bound], 0 within."""
    return build(HardShrink(bound), x)


def threshold(x: Value, threshold: float, value: float) -> Value:
    """x where it is above the threshold, else value."""
    return build(Threshold(threshold, value), x)


OPS: tuple[type[Op], ...] = (
    Relu,
    HardTanh,
    LeakyRelu,
    PRelu,
    HardSigmoid,
    HardSwish,
    SoftShrink,
    HardShrink,
    Threshold,
)
