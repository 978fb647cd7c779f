"""Functions of class T: exponentials, logarithms, roots, powers, trigonometric and hyperbolic functions.

The reference computes in float64 and rounds once to the array's own float type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array
from chainrule.ops.basic import scalar_like
from chainrule.ops.elementwise import Unary, div, in_double, mul, quiet, sub


@dataclass(frozen=True)
class Exp(Unary):
    """e^x. 0 for -inf, inf beyond the type's range. Source: ONNX Exp-13."""

    name: ClassVar[str] = "exp"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.exp, *arrays)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (mul(grads[0], output),)


@dataclass(frozen=True)
class Log(Unary):
    """The natural logarithm. -inf for 0, NaN below 0. Source: ONNX Log-13."""

    name: ClassVar[str] = "log"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.log, *arrays)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (div(grads[0], inputs[0]),)


@dataclass(frozen=True)
class Sqrt(Unary):
    """The square root, correctly rounded. NaN below 0, -0 for -0; the gradient at 0 is inf. Source: ONNX Sqrt-13."""

    name: ClassVar[str] = "sqrt"
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.sqrt, *arrays)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (div(mul(grads[0], scalar_like(0.5, output)), output),)


@dataclass(frozen=True)
class Tanh(Unary):
    """The hyperbolic tangent. -1 and 1 at the infinities, -0 for -0. Source: ONNX Tanh-13."""

    name: ClassVar[str] = "tanh"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(np.tanh, *arrays)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (mul(grads[0], sub(scalar_like(1.0, output), mul(output, output))),)


@dataclass(frozen=True)
class Sigmoid(Unary):
    """1 / (1 + e^-x). 0 and 1 at the infinities. Source: ONNX Sigmoid-13."""

    name: ClassVar[str] = "sigmoid"
    tolerance: ClassVar[str] = "T"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return in_double(logistic, *arrays)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (mul(grads[0], mul(output, sub(scalar_like(1.0, output), output))),)


def logistic(x: Array) -> Array:
    """1 / (1 + e^-x) of float64, without overflow on either side."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


def exp(x: Value) -> Value:
    """e^x."""
    return build(Exp(), x)


def log(x: Value) -> Value:
    """The natural logarithm."""
    return build(Log(), x)


def sqrt(x: Value) -> Value:
    """The square root."""
    return build(Sqrt(), x)


def tanh(x: Value) -> Value:
    """The hyperbolic tangent."""
    return build(Tanh(), x)


def sigmoid(x: Value) -> Value:
    """1 / (1 + e^-x)."""
    return build(Sigmoid(), x)


OPS = (Exp, Log, Sqrt, Tanh, Sigmoid)
