"""Numbers as small integers with a scale and a zero point: real = (integer - zero) * scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import DType, TensorType, f32, i32
from chainrule.ops.basic import scalar_like
from chainrule.ops.elementwise import Elementwise, add, cast, div, expect_inputs, minimum, mul, sub, where
from chainrule.ops.matmul import accumulator
from chainrule.ops.shape_rules import broadcast_shapes, require


def limits(dtype: DType, bits: int) -> tuple[int, int]:
    """The least and the largest number of an integer type, or of so many bits of it."""
    width = bits or dtype.bits
    return (-(1 << width - 1), (1 << width - 1) - 1) if dtype.is_signed else (0, (1 << width) - 1)


def _check(types: Sequence[TensorType], dtype: DType, zero: TensorType) -> None:
    """The integer type is one of 8 or 16 bits, and the zero point is of it; parameters broadcast against the array."""
    if not dtype.is_int or dtype.bits > 16:
        raise DTypeError(f"{dtype} is no integer of 8 or 16 bits", help="it takes i8, u8, i16, u16")
    if zero.dtype != dtype:
        raise DTypeError(f"the zero point is {zero.dtype}, the integers are {dtype}")
    if broadcast_shapes(*(t.shape for t in types)) != types[0].shape:
        raise ShapeError(f"parameters {', '.join(str(t) for t in types[1:])} do not lie along {types[0]}")


@dataclass(frozen=True)
class RoundTo(Elementwise):
    """rint(x) + zero as an integer type, saturated. x: f32 or f64, zero: `dtype` along x -> `dtype` of x's shape.

    Halves go to the even number; NaN counts as -inf. bits: to whose range it saturates where that is not the type's
    own. Raises DTypeError for types of more than 16 bits, ShapeError for a zero point that does not broadcast against
    x. Source: ONNX QuantizeLinear-21 behind its division.
    """

    name: ClassVar[str] = "round_to"
    args: ClassVar[tuple[str, ...]] = ("x", "zero")
    gradient: ClassVar[str] = "zero"
    dtype: DType
    bits: int = 0

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        x, zero = types
        require("f", x)
        if x.dtype.bits < 32:
            raise DTypeError(f"x is {x.dtype}", help="it takes f32, f64")
        _check(types, self.dtype, zero)
        return x.with_dtype(self.dtype)

    def ref(self, *arrays: Array) -> Array:
        x, zero = arrays[0].astype(np.float64), arrays[1].astype(np.float64)
        low, high = limits(self.dtype, self.bits)
        with np.errstate(all="ignore"):
            steps = np.rint(x)
            bounded = np.minimum(np.where(steps > low - zero, steps, low - zero), high - zero)
        return (bounded + zero).astype(self.dtype.numpy)

    def decompose(self, *inputs: Value) -> Value:
        from chainrule.ops.arithmetic import round as rounded
        from chainrule.ops.compare import gt

        x, zero = inputs
        whole = cast(zero, i32)
        low, high = (cast(sub(scalar_like(n, whole), whole), x.dtype) for n in limits(self.dtype, self.bits))
        steps = rounded(x)
        bounded = minimum(where(gt(steps, low), steps, low), high)
        return cast(add(cast(bounded, i32), whole), self.dtype)


@dataclass(frozen=True)
class Quantize(Op):
    """round(x / scale) + zero as an integer type, saturated. x: float, scale: float, zero: `dtype`, along x -> `dtype`.

    Half precision is divided in f32; the rest as RoundTo. Source: ONNX QuantizeLinear-21.
    """

    name: ClassVar[str] = "quantize"
    args: ClassVar[tuple[str, ...]] = ("x", "scale", "zero")
    gradient: ClassVar[str] = "zero"
    dtype: DType
    bits: int = 0

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(3, types)
        x, scale, zero = types
        require("f", x, scale)
        _check(types, self.dtype, zero)
        return x.with_dtype(self.dtype)

    def ref(self, *arrays: Array) -> Array:
        x, scale, zero = arrays
        wide = accumulator(x.dtype)
        with np.errstate(all="ignore"):
            return RoundTo(self.dtype, self.bits).ref(x.astype(wide) / scale.astype(wide), zero)

    def decompose(self, *inputs: Value) -> Value:
        x, scale, zero = inputs
        wide = f32 if x.dtype.bits == 16 else x.dtype
        return build(RoundTo(self.dtype, self.bits), div(cast(x, wide), cast(scale, wide)), zero)


@dataclass(frozen=True)
class Dequantize(Op):
    """(x - zero) * scale. x: integer of up to 32 bits, scale: float, zero: x's type, along x -> scale's type.

    Half precision is computed in f32. Raises DTypeError for a zero point of another type than x.
    Source: ONNX DequantizeLinear-21.
    """

    name: ClassVar[str] = "dequantize"
    args: ClassVar[tuple[str, ...]] = ("x", "scale", "zero")
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "decompose"

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(3, types)
        x, scale, zero = types
        require("iu", x)
        require("f", scale)
        if zero.dtype != x.dtype:
            raise DTypeError(f"the zero point is {zero.dtype}, the integers are {x.dtype}")
        if broadcast_shapes(*(t.shape for t in types)) != x.shape:
            raise ShapeError(f"parameters {scale}, {zero} do not lie along {x}")
        return x.with_dtype(scale.dtype)

    def ref(self, *arrays: Array) -> Array:
        x, scale, zero = arrays
        wide = accumulator(scale.dtype)
        with np.errstate(all="ignore"):
            whole = x.astype(np.int32) - zero.astype(np.int32)
            return (whole.astype(wide) * scale.astype(wide)).astype(scale.dtype)

    def decompose(self, *inputs: Value) -> Value:
        x, scale, zero = inputs
        wide = f32 if scale.dtype.bits == 16 else scale.dtype
        whole = sub(cast(x, i32), cast(zero, i32))
        return cast(mul(cast(whole, wide), cast(scale, wide)), scale.dtype)


OPS: tuple[type[Op], ...] = (RoundTo, Quantize, Dequantize)
