"""Ops that exist in lowered graphs alone: what ONNX has without the promises that chainrule's own ops make.

Lowering puts the guards around them. Each has a `ref`, so that a lowered graph runs on the reference like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.ir.op import Array, Op
from chainrule.ir.types import DType, TensorType, TupleType, i64
from chainrule.ops.elementwise import Binary, Elementwise, expect_inputs, floored_quotient, quiet, truncated_quotient
from chainrule.ops.pool import MaxPool, MaxPoolTake, MaxWindow
from chainrule.ops.quantise import Dequantize, Quantize


class RawDiv(Binary):
    """a / b of integers without its fraction, b neither 0 nor -1. Source: ONNX Div-14."""

    name: ClassVar[str] = "raw_div"
    kinds: ClassVar[str] = "iu"

    def ref(self, *arrays: Array) -> Array:
        return truncated_quotient(*arrays)


@dataclass(frozen=True)
class RawMod(Binary):
    """The remainder of integers, b neither 0 nor -1: with the sign of a (fmod) or of b. Source: ONNX Mod-13."""

    name: ClassVar[str] = "raw_mod"
    kinds: ClassVar[str] = "iu"
    fmod: bool = False

    def ref(self, *arrays: Array) -> Array:
        a, b = arrays
        quotient = truncated_quotient(a, b) if self.fmod else floored_quotient(a, b)
        return quiet(np.subtract, a, quiet(np.multiply, quotient, b))


@dataclass(frozen=True)
class RawShift(Binary):
    """The bits of a moved by b places, b below the width. a, b: unsigned. Source: ONNX BitShift-11."""

    name: ClassVar[str] = "raw_shift"
    kinds: ClassVar[str] = "u"
    direction: str = "LEFT"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.left_shift if self.direction == "LEFT" else np.right_shift, *arrays)


@dataclass(frozen=True)
class RawCast(Elementwise):
    """x converted to an integer type that holds it; the fraction is dropped. Source: ONNX Cast-13."""

    name: ClassVar[str] = "raw_cast"
    args: ClassVar[tuple[str, ...]] = ("x",)
    dtype: DType

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        return types[0].with_dtype(self.dtype)

    def ref(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return arrays[0].astype(self.dtype.numpy)


@dataclass(frozen=True)
class MaxPoolPlaces(MaxWindow):
    """The largest element of each window, and its row-major place in the whole of x, the first of several.

    x: [N, C, *S] -> [N, C, *T] and i64 [N, C, *T]. Source: ONNX MaxPool-12 with both results.
    """

    name: ClassVar[str] = "max_pool_places"
    args: ClassVar[tuple[str, ...]] = ("x",)

    def infer(self, *types: TensorType) -> TupleType:
        expect_inputs(1, types)
        y = types[0].with_shape(self.pooled(types[0]))
        return TupleType((y, y.with_dtype(i64)))

    def ref(self, *arrays: Array) -> tuple[Array, Array]:
        (x,) = arrays
        form = (self.window, self.stride, self.pad, self.dilation, self.ceil_mode)
        places = np.arange(x.size, dtype=np.int64).reshape(x.shape)
        return MaxPool(*form).ref(x), MaxPoolTake(*form).ref(x, places)


@dataclass(frozen=True)
class QuantizeAlong(Op):
    """Quantize with one scale and zero point, or a row of them along an axis. x: f32, scale: f32, zero: `dtype`.

    Source: ONNX QuantizeLinear-13.
    """

    name: ClassVar[str] = "quantize_along"
    args: ClassVar[tuple[str, ...]] = ("x", "scale", "zero")
    dtype: DType
    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(3, types)
        return types[0].with_dtype(self.dtype)

    def ref(self, *arrays: Array) -> Array:
        x, *parameters = arrays
        return Quantize(self.dtype).ref(x, *(_along(p, x, self.axis) for p in parameters))


@dataclass(frozen=True)
class DequantizeAlong(Op):
    """Dequantize with one scale and zero point, or a row of them along an axis; without a zero point it is 0.

    Source: ONNX DequantizeLinear-13.
    """

    name: ClassVar[str] = "dequantize_along"
    args: ClassVar[tuple[str, ...]] = ("x", "scale", "zero")
    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        if len(types) not in (2, 3):
            raise ArgumentError(f"it takes 2 or 3 inputs, {len(types)} were given")
        return types[0].with_dtype(types[1].dtype)

    def ref(self, *arrays: Array) -> Array:
        x, scale, *zero = (arrays[0], *(_along(p, arrays[0], self.axis) for p in arrays[1:]))
        return Dequantize().ref(x, scale, *(zero or [np.zeros((), x.dtype)]))


def _along(parameter: Array, x: Array, axis: int) -> Array:
    """A row as it lies along an axis of x; one number as it is."""
    return parameter.reshape([-1 if i == axis else 1 for i in range(x.ndim)]) if parameter.ndim else parameter
