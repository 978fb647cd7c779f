"""Softmax and its logarithm, each with its own stable form and derivative."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType
from chainrule.ops.activations import in_f32
from chainrule.ops.elementwise import div, expect_inputs, in_double, mul, sub
from chainrule.ops.reduce import amax, canonical_axis, sum
from chainrule.ops.shape_rules import axis_of, require
from chainrule.ops.transcendental import exp, log


@dataclass(frozen=True)
class AlongAxis(Op):
    """The form of a normalisation along one axis. x: floats [...] -> the same."""

    args: ClassVar[tuple[str, ...]] = ("x",)
    axis: int = -1

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        require("f", *types)
        axis_of(self.axis, types[0].rank)
        return types[0]

    def shifted(self, x: Array) -> Array:
        """x minus its largest along the axis."""
        return x - np.max(x, axis=self.axis, keepdims=True, initial=-np.inf)

    def total(self, x: Array) -> Array:
        """The pairwise sum along the axis, kept as 1."""
        rows = np.ascontiguousarray(np.moveaxis(x, self.axis, -1))
        return np.moveaxis(np.add.reduce(rows, axis=-1, keepdims=True), -1, self.axis)


class Softmax(AlongAxis):
    """e^x / sum(e^x) along an axis, computed from x minus the largest, so that it cannot overflow.

    A line of -inf alone, and one with NaN or inf, gives NaN. Source: ONNX Softmax-13.
    """

    name: ClassVar[str] = "softmax"
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        def body(x: Array) -> Array:
            powers = np.exp(self.shifted(x))
            return powers / self.total(powers)

        return in_double(body, arrays[0])

    def magnitude(self, *arrays: Array) -> Array:
        """The scale of errors: relative, growing with the distance from the largest."""
        (x,) = arrays
        far = np.where(np.isfinite(x), self.shifted(x), 0.0)
        return self.ref(x) * (1.0 + np.abs(far))

    def decompose(self, *inputs: Value) -> Value:
        def body(x: Value) -> Value:
            powers = exp(sub(x, amax(x, self.axis, keepdims=True)))
            return div(powers, sum(powers, self.axis, keepdims=True))

        return in_f32(body, inputs[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (g,) = grads
        return (mul(output, sub(g, sum(mul(g, output), self.axis, keepdims=True))),)


class LogSoftmax(AlongAxis):
    """x - log(sum(e^x)) along an axis, computed from x minus the largest. Source: ONNX LogSoftmax-13.

    A line of -inf alone, and one with NaN or inf, gives NaN.
    """

    name: ClassVar[str] = "log_softmax"
    tolerance: ClassVar[str] = "C"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        def body(x: Array) -> Array:
            shifted = self.shifted(x)
            return shifted - np.log(self.total(np.exp(shifted)))

        return in_double(body, arrays[0])

    def decompose(self, *inputs: Value) -> Value:
        def body(x: Value) -> Value:
            shifted = sub(x, amax(x, self.axis, keepdims=True))
            return sub(shifted, log(sum(exp(shifted), self.axis, keepdims=True)))

        return in_f32(body, inputs[0])

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        (g,) = grads
        return (sub(g, mul(exp(output), sum(g, self.axis, keepdims=True))),)


def softmax(x: Value, axis: int = -1) -> Value:
    """e^x / sum(e^x) along an axis."""
    return build(Softmax(canonical_axis(x, axis)), x)


def log_softmax(x: Value, axis: int = -1) -> Value:
    """x - log(sum(e^x)) along an axis."""
    return build(LogSoftmax(canonical_axis(x, axis)), x)


OPS: tuple[type[Op], ...] = (Softmax, LogSoftmax)
