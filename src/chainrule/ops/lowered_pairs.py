"""Products and convolutions of bf16 with packed weights, made by the compiler for processors that multiply pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.dims import Dim
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, bf16, f32
from chainrule.ops.elementwise import expect_inputs
from chainrule.ops.lowered import (
    MADE_LATE,
    check_bias,
    check_groups,
    from_groups,
    in_panels,
    panel_count,
    require_width,
    with_bias,
)
from chainrule.ops.lowered_grouped import GroupedConv
from chainrule.ops.matmul import accumulator

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
    """y = a @ w (+ bias) in bf16, summed in f32 and rounded once. a: bf16[.., M, 2*S], panels: bf16[P, S, 2*width] of
    PackPairs, bias: bf16[columns] -> bf16[.., M, columns].

    Operands and sums below 2^-126 in size may count as zero: the instruction takes them so. Raises DTypeError for
    other element types, ShapeError where depths differ or the panels do not hold as many columns.
    Source: ONNX MatMul-13; Goto and van de Geijn, 2008, for the panels.
    """

    name: ClassVar[str] = "pair_matmul"
    args: ClassVar[tuple[str, ...]] = ("a", "panels", "bias")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = MADE_LATE
    columns: Dim

    def infer(self, *types: TensorType) -> TensorType:
        a, panels = _pairs(types)
        check_groups(a, panels, GROUP, self.columns)
        check_bias(types, bf16, self.columns)
        return TensorType(bf16, (*a.shape[:-1], self.columns))

    def ref(self, *arrays: Array) -> Array:
        """In the precision of the arrays, f32 for bf16."""
        a, panels = _wide(arrays)
        with np.errstate(all="ignore"):
            return with_bias(np.matmul(a, from_groups(panels, GROUP, int(self.columns))), arrays)


@dataclass(frozen=True)
class PairConv(GroupedConv):
    """GroupedConv of bf16, two to a step, summed in f32 with its bias and rounded once. x: bf16[N, *S, C],
    panels: bf16[groups, P, steps, 2*width], bias: bf16[channels] -> bf16[N, *sizes, channels].

    Outside of x, and between its pixels where it is spread, there are zeros. Small numbers as in PairMatMul. Raises
    DTypeError for other element types, ShapeError when panels or bias do not fit. Source: ONNX Conv-11,
    ConvTranspose-11.
    """

    name: ClassVar[str] = "pair_conv"
    args: ClassVar[tuple[str, ...]] = ("x", "panels", "bias")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = MADE_LATE
    group: ClassVar[int] = GROUP

    def infer(self, *types: TensorType) -> TensorType:
        x, panels = _pairs(types)
        self.check(x, panels)
        check_bias(types, bf16, self.channels)
        return x.with_shape((x.shape[0], *self.sizes, self.channels))

    def ref(self, *arrays: Array) -> Array:
        """In the precision of the arrays, f32 for bf16."""
        x, panels = _wide(arrays)
        with np.errstate(all="ignore"):
            return with_bias(self.summed(x, self.weight_of(panels, x.shape[-1])), arrays)


def _pairs(types: Sequence[TensorType]) -> tuple[TensorType, TensorType]:
    """The first two types. Raises ArgumentError unless there are two or three, DTypeError unless they are bf16."""
    if len(types) not in (2, 3):
        raise ArgumentError(f"it takes 2 or 3 inputs, {len(types)} were given")
    a, panels = types[:2]
    if (a.dtype, panels.dtype) != (bf16, bf16):
        raise DTypeError(f"its first input is {a.dtype}, the panels are {panels.dtype}", help="it takes bf16")
    return a, panels


def _wide(arrays: Sequence[Array]) -> tuple[Array, Array]:
    """The first two arrays in the precision that sums have."""
    wide = accumulator(arrays[0].dtype)
    return arrays[0].astype(wide, copy=False), arrays[1].astype(wide, copy=False)


OPS: tuple[type[Op], ...] = (PackPairs, PairMatMul, PairConv)
