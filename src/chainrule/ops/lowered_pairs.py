"""The product of bf16 with packed weights, made by the compiler for processors that multiply pairs of bf16."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ir.dims import Dim
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, bf16, f32
from chainrule.ops.elementwise import expect_inputs
from chainrule.ops.lowered import MADE_LATE, check_groups, from_groups, in_panels, panel_count, require_width

GROUP = 2  # numbers of a row and of a column that one instruction multiplies and adds up


@dataclass(frozen=True)
class PackPairs(Op):
    """A matrix in panels of bf16, rows in pairs. w: [K, N], transposed: [N, K], in f32 or bf16 ->
    bf16[ceil(N/width), ceil(K/2), 2*width].

    panels[p, s, 2*j + i] is w[2*s + i, p*width + j], rounded once; places beyond row K or column N are zero. Raises
    DTypeError for other element types, ShapeError unless w is one matrix, ArgumentError for a width below 1.
    Source: the cast of ONNX Cast-13; Goto and van de Geijn, 2008, for the panels.
    """

    name: ClassVar[str] = "pack_pairs"
    args: ClassVar[tuple[str, ...]] = ("w",)
    gradient: ClassVar[str] = MADE_LATE
    width: int
    transposed: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (w,) = types
        require_width(self.width)
        if w.dtype not in (f32, bf16):
            raise DTypeError(f"w is {w.dtype}", help="it takes f32 and bf16")
        if w.rank != 2:
            raise ShapeError(f"{w} is not a matrix", help="w is [K, N], or [N, K] with transposed")
        depth, columns = w.shape if not self.transposed else w.shape[::-1]
        return TensorType(bf16, (panel_count(columns, self.width), panel_count(depth, GROUP), GROUP * self.width))

    def ref(self, *arrays: Array) -> Array:
        matrix = arrays[0].T if self.transposed else arrays[0]
        with np.errstate(all="ignore"):
            narrow = matrix.astype(bf16.numpy)
        even = np.concatenate([narrow, np.zeros((matrix.shape[0] % GROUP, matrix.shape[1]), bf16.numpy)])
        panels = in_panels(even, self.width)
        count, depth, width = panels.shape
        pairs = panels.reshape(count, depth // GROUP, GROUP, width)
        return np.ascontiguousarray(np.swapaxes(pairs, 2, 3)).reshape(count, depth // GROUP, GROUP * width)


@dataclass(frozen=True)
class PairMatMul(Op):
    """y = a @ w in bf16, summed in f32 and rounded once. a: bf16[.., M, 2*S], panels: bf16[P, S, 2*width] of PackPairs
    -> bf16[.., M, columns].

    Operands and sums below 2^-126 in size may count as zero: the instruction takes them so. Raises DTypeError for
    other element types, ShapeError where depths differ or the panels do not hold as many columns.
    Source: ONNX MatMul-13; Goto and van de Geijn, 2008, for the panels.
    """

    name: ClassVar[str] = "pair_matmul"
    args: ClassVar[tuple[str, ...]] = ("a", "panels")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = MADE_LATE
    columns: Dim

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        a, panels = types
        if (a.dtype, panels.dtype) != (bf16, bf16):
            raise DTypeError(f"a is {a.dtype}, the panels are {panels.dtype}", help="it takes bf16")
        check_groups(a, panels, GROUP, self.columns)
        return TensorType(bf16, (*a.shape[:-1], self.columns))

    def ref(self, *arrays: Array) -> Array:
        """In the precision of the arrays, f32 for bf16."""
        wide = np.dtype(np.float32) if arrays[0].dtype == bf16.numpy else arrays[0].dtype
        a, panels = (x.astype(wide, copy=False) for x in arrays)
        with np.errstate(all="ignore"):
            return np.matmul(a, from_groups(panels, GROUP, int(self.columns))).astype(arrays[0].dtype, copy=False)


OPS: tuple[type[Op], ...] = (PackPairs, PairMatMul)
