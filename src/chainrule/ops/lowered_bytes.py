"""The product of bytes with packed weights, made by the compiler for processors that multiply bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ir.dims import Dim
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, i8, i32, u8
from chainrule.ops.elementwise import expect_inputs
from chainrule.ops.lowered import MADE_LATE, from_panels, panel_count

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
        if a.rank < 2 or panels.rank != 3:
            raise ShapeError(f"{a} is not a matrix or {panels} is not [P, S, 4*width]")
        if a.shape[-1] != GROUP * panels.shape[1]:
            raise ShapeError(f"a has {a.shape[-1]} columns, the panels have {panels.shape[1]} groups of {GROUP} rows")
        width = panels.shape[2]
        if not isinstance(width, int) or width < GROUP or width % GROUP:
            raise ShapeError(f"{panels} is not [P, S, 4*width]")
        if panels.shape[0] != panel_count(self.columns, width // GROUP):
            raise ShapeError(f"{panels} does not hold {self.columns} columns")
        return TensorType(i32, (*a.shape[:-1], self.columns))

    def ref(self, *arrays: Array) -> Array:
        a, panels = (x.astype(np.int32) for x in arrays)
        count, steps, row = panels.shape
        rows = np.moveaxis(panels.reshape(count, steps, row // GROUP, GROUP), 3, 2)
        w = from_panels(rows.reshape(count, steps * GROUP, row // GROUP), int(self.columns))
        return np.matmul(a, w)


OPS: tuple[type[Op], ...] = (ByteMatMul,)
