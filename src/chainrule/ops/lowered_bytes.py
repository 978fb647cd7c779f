"""Products and convolutions of bytes with packed weights, made by the compiler for processors that multiply bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, DTypeError
from chainrule.ir.dims import Dim
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, i8, i32, u8
from chainrule.ops.elementwise import expect_inputs
from chainrule.ops.lowered import MADE_LATE, check_groups, from_groups
from chainrule.ops.lowered_grouped import GroupedConv

GROUP = 4  # bytes of a row and of a column that one instruction multiplies and adds up


@dataclass(frozen=True)
class ByteMatMul(Op):
    """y = a @ w in i32. a: u8[.., M, 4*S], panels: i8[P, S, 4*width] -> i32[.., M, columns].

    Four rows of w lie together: panels[p, s, 4*j + i] is w[4*s + i, p*width + j]. Sums wrap in 32 bits. Raises
    DTypeError for other element types, ShapeError where depths differ or the panels do not hold as many columns.
    Source: ONNX MatMulInteger-10; Goto and van de Geijn, 2008, for the panels.
    """

    name: ClassVar[str] = "byte_matmul"
    args: ClassVar[tuple[str, ...]] = ("a", "panels")
    gradient: ClassVar[str] = MADE_LATE
    columns: Dim

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        a, panels = types
        if (a.dtype, panels.dtype) != (u8, i8):
            raise DTypeError(f"a is {a.dtype}, the panels are {panels.dtype}", help="it takes u8 and i8")
        check_groups(a, panels, GROUP, self.columns)
        return TensorType(i32, (*a.shape[:-1], self.columns))

    def ref(self, *arrays: Array) -> Array:
        a, panels = (x.astype(np.int32) for x in arrays)
        return np.matmul(a, from_groups(panels, GROUP, int(self.columns)))


@dataclass(frozen=True)
class ByteConv(GroupedConv):
    """GroupedConv of bytes, four to a step. x: u8[N, *S, C], panels: i8[groups, P, steps, 4*width] ->
    i32[N, *sizes, channels].

    Outside of x, and between its pixels where it is spread, every byte is `fill`. Sums wrap in 32 bits. Raises
    DTypeError for other element types, ShapeError when the panels do not fit, ArgumentError for a fill that is no byte.
    Source: ONNX ConvInteger-10, QLinearConv-10.
    """

    name: ClassVar[str] = "byte_conv"
    args: ClassVar[tuple[str, ...]] = ("x", "panels")
    gradient: ClassVar[str] = MADE_LATE
    group: ClassVar[int] = GROUP
    fill: int = 0

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        x, panels = types
        if (x.dtype, panels.dtype) != (u8, i8):
            raise DTypeError(f"x is {x.dtype}, the panels are {panels.dtype}", help="it takes u8 and i8")
        if not 0 <= self.fill <= 255:
            raise ArgumentError(f"fill {self.fill} is no u8")
        self.check(x, panels)
        return TensorType(i32, (x.shape[0], *self.sizes, self.channels))

    def ref(self, *arrays: Array) -> Array:
        x, panels = arrays[0].astype(np.int64) - self.fill, arrays[1].astype(np.int64)
        weight = self.weight_of(panels, x.shape[-1])
        y = self.summed(x, weight)
        y += self.fill * weight.sum(axis=tuple(range(1, weight.ndim - 1))).reshape(-1)
        return y.astype(np.int32)


OPS: tuple[type[Op], ...] = (ByteMatMul, ByteConv)
