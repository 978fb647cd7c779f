"""Products of 8-bit integers in 32 bits: matrices and convolutions, exact. A fast kernel for either goes into the
backend's table; without one they are computed in wider types, in which nothing is lost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, DTypeError
from chainrule.ir.dims import dim_product
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, f32, f64, i32, i64
from chainrule.ops.conv import Conv
from chainrule.ops.elementwise import cast, expect_inputs
from chainrule.ops.matmul import MatMul

_PRODUCT = 255 * 255  # no product of two 8-bit numbers is larger
_EXACT_IN_F32 = 1 << 24  # whole numbers up to here


@dataclass(frozen=True)
class IntegerMatMul(Op):
    """The matrix product of 8-bit integers, i32. a: [.., M, K], b: [.., K, N], each i8 or u8 -> i32[.., M, N].

    Leading axes broadcast. Sums wrap in 32 bits. Raises DTypeError for other element types, ShapeError as MatMul does.
    Source: ONNX MatMulInteger-10 without zero points.
    """

    name: ClassVar[str] = "integer_matmul"
    args: ClassVar[tuple[str, ...]] = ("a", "b")
    gradient: ClassVar[str] = "zero"

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        _check_bytes(*types)
        return MatMul().infer(*(t.with_dtype(i32) for t in types))

    def ref(self, *arrays: Array) -> Array:
        return np.matmul(*(x.astype(np.int32) for x in arrays))

    def decompose(self, *inputs: Value) -> Value:
        a, b = inputs
        depth = a.shape[-1]
        if isinstance(depth, int) and depth * _PRODUCT <= _EXACT_IN_F32:
            return cast(build(MatMul(), cast(a, f32), cast(b, f32)), i32)
        return build(MatMul(), cast(a, i32), cast(b, i32))


@dataclass(frozen=True)
class IntegerConv(Op):
    """The convolution of 8-bit integers, i32. x: [N, C, *S], weight: [O, C/groups, *K], each i8 or u8 -> [N, O, *].

    The padding counts as `fill`. Sums wrap in 32 bits. Raises DTypeError for other element types, else as Conv does.
    Source: ONNX ConvInteger-10 without zero points.
    """

    name: ClassVar[str] = "integer_conv"
    args: ClassVar[tuple[str, ...]] = ("x", "weight")
    gradient: ClassVar[str] = "zero"
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    fill: int = 0

    @property
    def _conv(self) -> Conv:
        return Conv(self.stride, self.pad, self.dilation, self.groups)

    @property
    def _bare(self) -> Conv:
        """The convolution of an image that has its padding."""
        return replace(self._conv, pad=(0,) * len(self.pad)) if self.fill else self._conv

    def by_channels(self, weight: TensorType) -> bool:
        """True where each output channel sees one of the input alone."""
        return weight.shape[1] == 1 and self.groups == weight.shape[0] and self.groups > 1

    def _sides(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The padding before and behind each axis of [N, C, *S]."""
        rank = len(self.stride)
        return (0, 0, *self.pad[:rank]), (0, 0, *self.pad[rank:])

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        _check_bytes(*types)
        if not np.iinfo(types[0].dtype.numpy).min <= self.fill <= np.iinfo(types[0].dtype.numpy).max:
            raise ArgumentError(f"fill {self.fill} is no {types[0].dtype}")
        return self._conv.infer(*(t.with_dtype(f64) for t in types)).with_dtype(i32)

    def ref(self, *arrays: Array) -> Array:
        x, weight = (a.astype(np.float64) for a in arrays)
        if self.fill:
            x = np.pad(x, tuple(zip(*self._sides(), strict=True)), constant_values=self.fill)
        found = self._bare.ref(x, weight)  # exact: sums stay far below 2^53
        return found.astype(np.int64).astype(np.int32)

    def decompose(self, *inputs: Value) -> Value:
        from chainrule.ops.shaping import pad_constant

        x, weight = inputs
        if self.fill:
            x = pad_constant(x, *self._sides(), self.fill)
        depth = dim_product(weight.shape[1:])
        small = isinstance(depth, int) and depth * _PRODUCT <= _EXACT_IN_F32
        # Wider kernels may be made by Winograd's tiles in f32, which round; in f64 they never are.
        wide = f32 if small and (self.by_channels(weight.tensor) or all(k == 1 for k in weight.shape[2:])) else f64
        return cast(cast(build(self._bare, cast(x, wide), cast(weight, wide)), i64), i32)


def _check_bytes(*types: TensorType) -> None:
    wrong = [t for t in types if t.dtype.name not in ("i8", "u8")]
    if wrong:
        raise DTypeError(f"{wrong[0].dtype} is not among its element types", help="it takes i8, u8")


def integer_matmul(a: Value, b: Value) -> Value:
    """The matrix product of 8-bit integers, in i32."""
    return build(IntegerMatMul(), a, b)


OPS: tuple[type[Op], ...] = (IntegerMatMul, IntegerConv)
