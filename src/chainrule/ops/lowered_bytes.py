"""Products and convolutions of bytes with packed weights, made by the compiler for processors that multiply bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.dims import Dim
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, f32, i8, i32, u8
from chainrule.ops.conv import taps
from chainrule.ops.elementwise import expect_inputs
from chainrule.ops.lowered import MADE_LATE, check_axes, check_groups, from_groups, padded_room, panel_count

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
class ByteConv(Op):
    """Convolution of an image of bytes with its channels last by a packed weight. x: u8[N, *S, C],
    panels: i8[groups, P, steps, 4*width] -> i32[N, *sizes, channels].

    The attributes are PanelConv's; outside of x every byte is `fill`. The depth goes run by run of what lies in a row:
    all taps of a kernel row, or with groups or dilation along the row one tap; a run of n bytes takes ceil(n/4) steps,
    and step s, place 4*j + i of a panel holds the weight of byte 4*s + i of the run for column j, which must be 0
    beyond its end.
    Sums wrap in 32 bits. Raises DTypeError for other element types, ShapeError when the panels do not fit,
    ArgumentError for a fill that is no byte. Source: ONNX ConvInteger-10, QLinearConv-10.
    """

    name: ClassVar[str] = "byte_conv"
    args: ClassVar[tuple[str, ...]] = ("x", "panels")
    gradient: ClassVar[str] = MADE_LATE
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    channels: int
    sizes: tuple[Dim, ...]
    fill: int = 0

    @property
    def spread(self) -> tuple[int, ...]:
        """The image is never spread."""
        return (1,) * len(self.kernel)

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        x, panels = types
        if (x.dtype, panels.dtype) != (u8, i8):
            raise DTypeError(f"x is {x.dtype}, the panels are {panels.dtype}", help="it takes u8 and i8")
        if not 0 <= self.fill <= 255:
            raise ArgumentError(f"fill {self.fill} is no u8")
        check_axes(x.with_dtype(f32), self.kernel, self.stride, self.pad, self.dilation, self.sizes)
        ins, width = x.shape[-1], panels.shape[-1]
        fits = isinstance(ins, int) and isinstance(width, int) and panels.rank == 4 and not (
            ins % self.groups or self.channels % self.groups or width % GROUP) and width > 0  # fmt: skip
        if not fits or panels.shape != self._panels(int(ins), int(width) // GROUP):  # type: ignore[arg-type]
            raise ShapeError(f"{panels} does not hold {self.channels} channels of {self.groups} groups for {x}")
        return TensorType(i32, (x.shape[0], *self.sizes, self.channels))

    def _panels(self, ins: int, width: int) -> tuple[Dim, ...]:
        count, length = runs_of(self.kernel, ins // self.groups, self.groups, self.dilation)
        panels = panel_count(self.channels // self.groups, width)
        return (self.groups, panels, count * -(-length // GROUP), width * GROUP)

    def ref(self, *arrays: Array) -> Array:
        x, panels = arrays[0].astype(np.int64) - self.fill, arrays[1].astype(np.int64)
        ins, outs = x.shape[-1] // self.groups, self.channels // self.groups
        count, length = runs_of(self.kernel, ins, self.groups, self.dilation)
        rows = from_groups(panels, GROUP, outs).reshape(self.groups, count, -1, outs)[:, :, :length]
        weight = rows.reshape(self.groups, *self.kernel, ins, outs)
        room, sizes = padded_room(x, self.kernel, self.stride, self.pad, self.dilation, self.sizes, self.spread)
        y = np.zeros((x.shape[0], *sizes, self.groups, outs), np.int64)
        for tap, window in taps(self.kernel, sizes, self.stride, self.dilation):
            part = room[(slice(None), *window)].reshape(x.shape[0], *sizes, self.groups, 1, ins)
            y += np.matmul(part, weight[(slice(None), *tap)])[..., 0, :]
        y += self.fill * weight.sum(axis=tuple(range(1, weight.ndim - 1)))
        return y.reshape(x.shape[0], *sizes, self.channels).astype(np.int32)


def runs_of(kernel: Sequence[int], ins: int, groups: int, dilation: Sequence[int]) -> tuple[int, int]:
    """How many runs of neighbouring bytes a window has, and their length; ins: channels of a group."""
    if groups == 1 and dilation[-1] == 1:
        return math.prod(kernel[:-1]), kernel[-1] * ins
    return math.prod(kernel), ins


OPS: tuple[type[Op], ...] = (ByteMatMul, ByteConv)
