"""Smooth activations, with PyTorch's names, arguments and defaults.

The reference computes in float64 and rounds once; f16 and bf16 decompose in f32. At -inf the products x * sigmoid(x)
and their like are NaN, as 0 * inf is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import floordiv
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType
from chainrule.ops.activations import in_f32, number, pair_in_f32
from chainrule.ops.arithmetic import square
from chainrule.ops.basic import zeros_like
from chainrule.ops.compare import gt
from chainrule.ops.elementwise import (
    Unary,
    abs,
    add,
    div,
    expect_inputs,
    in_double,
    minimum,
    mul,
    neg,
    pair_in_double,
    sub,
    where,
)
from chainrule.ops.shape_rules import axis_of, require
from chainrule.ops.transcendental import complementary_error_function, erf, exp, expm1, log1p, logistic, sigmoid, tanh

SELU_ALPHA = 1.6732632423543772  # Klambauer et al. 2017, equation 14: the fixed point of mean 0 and variance 1
SELU_SCALE = 1.0507009873554805
GELU_SLOPE = math.sqrt(2.0 / math.pi)  # Hendrycks and Gimpel 2016: the tanh form and its cubic term
GELU_CUBIC = 0.044715


def _below_zero(x: Value) -> Value:
    """x where it is not positive, else 0: keeps the exponential of the unused branch, and its gradient, finite."""
    return where(gt(x, zeros_like(x)), zeros_like(x), x)


@dataclass(frozen=True)
class Elu(Unary):
    """x where x > 0, else alpha * (e^x - 1). The gradient at 0 is alpha. Source: ONNX Elu-22; Clevert et al. 2015."""

    name: ClassVar[str] = "elu"
    tolerance: ClassVar[str] = "C"
    gradient: ClassVar[str] = "decompose"
    alpha: float = 1.0

    def ref(self, *arrays: Array) -> Array:
        return in_double(lambda x: np.where(x > 0, x, self.alpha * np.expm1(x)), arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        def body(x: Value) -> Value:
            return where(gt(x, zeros_like(x)), x, mul(number(self.alpha, x), expm1(_below_zero(x))))

        return in_f32(body, inputs[0])


class Selu(Unary):
    """scale * elu(x, alpha) with the constants that keep mean 0 and variance 1. Source: ONNX Selu-22."""

    name: ClassVar[str] = "selu"
    tolerance: ClassVar[str] = "C"
    gradient: ClassVar[str] = "decompose"

    def ref(self, *arrays: Array) -> Array:
        return in_double(lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)), arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        return in_f32(lambda x: mul(number(SELU_SCALE, x), elu(x, SELU_ALPHA)), inputs[0])


@dataclass(frozen=True)
class Celu(Unary):
    """x where x > 0, else alpha * (e^(x/alpha) - 1): its slope at 0 is 1 for every alpha.

    Raises ArgumentError for alpha = 0. Source: ONNX Celu-12; Barron 2017.
    """

    name: ClassVar[str] = "celu"
    tolerance: ClassVar[str] = "C"
    gradient: ClassVar[str] = "decompose"
    alpha: float = 1.0

    def infer(self, *types: TensorType) -> TensorType:
        if self.alpha == 0:
            raise ArgumentError("alpha is 0, and x is divided by it", help="give an alpha other than 0")
        return Unary.infer(self, *types)

    def ref(self, *arrays: Array) -> Array:
        return in_double(lambda x: np.where(x > 0, x, self.alpha * np.expm1(x / self.alpha)), arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        def body(x: Value) -> Value:
            alpha = number(self.alpha, x)
            return where(gt(x, zeros_like(x)), x, mul(alpha, expm1(div(_below_zero(x), alpha))))

        return in_f32(body, inputs[0])


@dataclass(frozen=True)
class Gelu(Unary):
    """x * Phi(x), Phi the normal distribution function: exact ("none") or its tanh form ("tanh").

    exact: x/2 * (1 + erf(x/sqrt 2)); tanh: x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))).
    Raises ArgumentError for another name. Source: ONNX Gelu-20; Hendrycks and Gimpel 2016.
    """

    name: ClassVar[str] = "gelu"
    tolerance: ClassVar[str] = "C"
    gradient: ClassVar[str] = "vjp"
    approximate: str = "none"

    def infer(self, *types: TensorType) -> TensorType:
        if self.approximate not in ("none", "tanh"):
            raise ArgumentError(f'approximate="{self.approximate}" is unknown', help='it is "none" or "tanh"')
        return Unary.infer(self, *types)

    def ref(self, *arrays: Array) -> Array:
        if self.approximate == "none":
            return in_double(lambda x: 0.5 * x * complementary_error_function(-x / math.sqrt(2.0)), arrays[0])
        return in_double(lambda x: x * logistic(2.0 * GELU_SLOPE * (x + GELU_CUBIC * x * x * x)), arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        return in_f32(lambda x: mul(x, self.gate(x)), inputs[0])

    def gate(self, x: Value) -> Value:
        """Phi(x), or its tanh form."""
        half, one = number(0.5, x), number(1.0, x)
        if self.approximate == "none":
            return mul(half, add(one, erf(mul(x, number(math.sqrt(0.5), x)))))
        return mul(half, add(one, self.inner_tanh(x)))

    def inner_tanh(self, x: Value) -> Value:
        """The tanh of the tanh form."""
        cubic = mul(x, add(number(1.0, x), mul(number(GELU_CUBIC, x), square(x))))
        return tanh(mul(number(GELU_SLOPE, x), cubic))

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (pair_in_f32(lambda g, x: mul(g, add(self.gate(x), mul(x, self.gate_slope(x)))), grads[0], inputs[0]),)

    def gate_slope(self, x: Value) -> Value:
        """The derivative of the gate: the normal density, or its tanh form."""
        if self.approximate == "none":
            return mul(number(1.0 / math.sqrt(2.0 * math.pi), x), exp(mul(number(-0.5, x), square(x))))
        one, t = number(1.0, x), self.inner_tanh(x)
        inner = mul(number(GELU_SLOPE, x), add(one, mul(number(3.0 * GELU_CUBIC, x), square(x))))
        return mul(mul(number(0.5, x), sub(one, square(t))), inner)


class Silu(Unary):
    """x * sigmoid(x), also called swish. Source: ONNX Swish-24 with alpha=1; Elfwing et al. 2017."""

    name: ClassVar[str] = "silu"
    tolerance: ClassVar[str] = "C"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(lambda x: x * logistic(x), arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        return in_f32(lambda x: mul(x, sigmoid(x)), inputs[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        def body(g: Value, x: Value) -> Value:
            gate, one = sigmoid(x), number(1.0, x)
            return mul(g, mul(gate, add(one, mul(x, sub(one, gate)))))

        return (pair_in_f32(body, grads[0], inputs[0]),)


@dataclass(frozen=True)
class Softplus(Unary):
    """log(1 + e^(beta x)) / beta; x itself where beta * x > threshold.

    Raises ArgumentError for beta = 0. Source: PyTorch Softplus; ONNX Softplus-22 with beta=1 and no threshold.
    """

    name: ClassVar[str] = "softplus"
    tolerance: ClassVar[str] = "C"
    gradient: ClassVar[str] = "decompose"
    beta: float = 1.0
    threshold: float = 20.0

    def infer(self, *types: TensorType) -> TensorType:
        if self.beta == 0:
            raise ArgumentError("beta is 0, and the logarithm is divided by it", help="give a beta other than 0")
        return Unary.infer(self, *types)

    def ref(self, *arrays: Array) -> Array:
        def body(x: Array) -> Array:
            scaled = self.beta * x
            return np.where(scaled > self.threshold, x, np.logaddexp(0.0, scaled) / self.beta)

        return in_double(body, arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        def body(x: Value) -> Value:
            scaled, limit = mul(x, number(self.beta, x)), number(self.threshold, x)
            linear = gt(scaled, limit)
            # log(1 + e^s) = max(s, 0) + log(1 + e^-|s|) never overflows, whatever the threshold.
            bounded = where(linear, zeros_like(scaled), scaled)
            positive = where(gt(bounded, zeros_like(bounded)), bounded, zeros_like(bounded))
            curve = add(positive, log1p(exp(_minus_magnitude(bounded))))
            return where(linear, x, div(curve, number(self.beta, x)))

        return in_f32(body, inputs[0])


def _minus_magnitude(x: Value) -> Value:
    """-|x| whose derivative at 0 is 1: there it belongs to the branch x <= 0 of softplus."""
    return where(gt(x, zeros_like(x)), neg(x), x)


class LogSigmoid(Unary):
    """log(sigmoid(x)) = -log(1 + e^-x), finite for every finite x. Source: PyTorch LogSigmoid."""

    name: ClassVar[str] = "log_sigmoid"
    tolerance: ClassVar[str] = "C"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(lambda x: -np.logaddexp(0.0, -x), arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        return in_f32(lambda x: sub(minimum(x, zeros_like(x)), log1p(exp(neg(abs(x))))), inputs[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (mul(grads[0], sigmoid(neg(inputs[0]))),)


class Mish(Unary):
    """x * tanh(log(1 + e^x)). Source: ONNX Mish-22; Misra 2019."""

    name: ClassVar[str] = "mish"
    tolerance: ClassVar[str] = "C"
    gradient: ClassVar[str] = "decompose"

    def ref(self, *arrays: Array) -> Array:
        return in_double(lambda x: x * np.tanh(np.logaddexp(0.0, x)), arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        return in_f32(lambda x: mul(x, tanh(softplus(x))), inputs[0])


class Softsign(Unary):
    """x / (1 + |x|). NaN at the infinities. Source: ONNX Softsign-22."""

    name: ClassVar[str] = "softsign"
    tolerance: ClassVar[str] = "C"
    gradient: ClassVar[str] = "decompose"

    def ref(self, *arrays: Array) -> Array:
        return in_double(lambda x: x / (1.0 + np.abs(x)), arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        return in_f32(lambda x: div(x, add(number(1.0, x), abs(x))), inputs[0])


class TanhShrink(Unary):
    """x - tanh(x). Source: PyTorch Tanhshrink."""

    name: ClassVar[str] = "tanhshrink"
    tolerance: ClassVar[str] = "C"
    gradient: ClassVar[str] = "decompose"

    def ref(self, *arrays: Array) -> Array:
        return in_double(lambda x: x - np.tanh(x), arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        return in_f32(lambda x: sub(x, tanh(x)), inputs[0])


@dataclass(frozen=True)
class Glu(Op):
    """The first half of an axis times the sigmoid of the second. x: [..., 2n, ...] -> [..., n, ...].

    Raises ShapeError for an odd axis; of a symbolic one that is odd at run time the last element is left out.
    Source: PyTorch GLU; Dauphin et al. 2016.
    """

    name: ClassVar[str] = "glu"
    args: ClassVar[tuple[str, ...]] = ("x",)
    tolerance: ClassVar[str] = "C"
    gradient: ClassVar[str] = "decompose"
    axis: int = -1

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        require("f", x)
        axis = axis_of(self.axis, x.rank)
        dim = x.shape[axis]
        if isinstance(dim, int) and dim % 2:
            raise ShapeError(f"axis {axis} has {dim} elements: it has no two halves", help="give it an even size")
        return x.with_shape((*x.shape[:axis], floordiv(dim, 2), *x.shape[axis + 1 :]))

    def ref(self, *arrays: Array) -> Array:
        a, b = self.halves(arrays[0])
        return pair_in_double(lambda a, b: a * logistic(b), a, b)

    def halves(self, x: Array) -> tuple[Array, Array]:
        """The first and the second half of the axis."""
        along = np.moveaxis(x, self.axis, 0)
        half = len(along) // 2
        return np.moveaxis(along[:half], 0, self.axis), np.moveaxis(along[half : 2 * half], 0, self.axis)

    def magnitude(self, *arrays: Array) -> Array:
        """The scale of absolute errors: the first half."""
        return np.abs(self.halves(arrays[0])[0])

    def decompose(self, *inputs: Value) -> Value:
        from chainrule.ops.shaping import narrow

        (x,) = inputs
        axis = axis_of(self.axis, x.rank)
        half = floordiv(x.shape[axis], 2)
        a, b = narrow(x, axis, 0, half), narrow(x, axis, half, half)
        return pair_in_f32(lambda a, b: mul(a, sigmoid(b)), a, b)


def elu(x: Value, alpha: float = 1.0) -> Value:
    """x where x > 0, else alpha * (e^x - 1)."""
    return build(Elu(alpha), x)


def selu(x: Value) -> Value:
    """The self-normalising elu."""
    return build(Selu(), x)


def celu(x: Value, alpha: float = 1.0) -> Value:
    """x where x > 0, else alpha * (e^(x/alpha) - 1)."""
    return build(Celu(alpha), x)


def gelu(x: Value, approximate: str = "none") -> Value:
    """x * Phi(x), exact ("none") or in its tanh form ("tanh")."""
    return build(Gelu(approximate), x)


def silu(x: Value) -> Value:
    """x * sigmoid(x)."""
    return build(Silu(), x)


def softplus(x: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    """log(1 + e^(beta x)) / beta; x where beta * x > threshold."""
    return build(Softplus(beta, threshold), x)


def log_sigmoid(x: Value) -> Value:
    """log(sigmoid(x))."""
    return build(LogSigmoid(), x)


def mish(x: Value) -> Value:
    """x * tanh(softplus(x))."""
    return build(Mish(), x)


def softsign(x: Value) -> Value:
    """x / (1 + |x|)."""
    return build(Softsign(), x)


def tanhshrink(x: Value) -> Value:
    """x - tanh(x)."""
    return build(TanhShrink(), x)


def glu(x: Value, axis: int = -1) -> Value:
    """The first half of an axis times the sigmoid of the second."""
    return build(Glu(axis + x.rank if -x.rank <= axis < 0 else axis), x)


OPS: tuple[type[Op], ...] = (Elu, Selu, Celu, Gelu, Silu, Softplus, LogSigmoid, Mish, Softsign, TanhShrink, Glu)
