"""Samples of ops/lowered_bytes.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.lowered_bytes import ByteConv, ByteMatMul
from chainrule.ops.lowered_grouped import GroupedConv
from tests.ops.sample import BadSample, Sample
from tests.ops.samples_integer_products import full, i8, u8


def lowest(*shape: int) -> np.ndarray:
    return np.full(shape, -128, np.int8)


def conv(kernel: tuple[int, ...], outs: int, sizes: tuple[int, ...], stride: int = 1, pad: int = 0, dilation: int = 1,
         groups: int = 1, fill: int = 0) -> ByteConv:  # fmt: skip
    rank = len(kernel)
    return ByteConv(kernel, (stride,) * rank, (pad,) * rank, (dilation,) * rank, groups, outs, sizes, (1,) * rank, fill)


def convolved(op: GroupedConv, x: np.ndarray, width: int, label: str, numbers: Callable[..., np.ndarray] = i8,
              bias: Sequence[np.ndarray] = ()) -> Sample:  # fmt: skip
    """A sample with a packed weight, 0 beyond the end of every run."""
    count, length = op.runs(x.shape[-1])
    steps, group = -(-length // op.group), op.group
    panels = numbers(op.groups, -(-op.channels // op.groups // width), count, steps, width, group)
    rows = np.moveaxis(panels, -1, -2).reshape(*panels.shape[:3], steps * group, width)
    rows[:, :, :, length:] = 0
    panels = np.moveaxis(rows.reshape(*panels.shape[:4], group, width), -1, -2)
    packed = np.ascontiguousarray(panels).reshape(*panels.shape[:2], count * steps, width * group)
    return Sample(op, (x, packed, *bias), label)


SAMPLES = [
    convolved(conv((3, 3), 5, (5, 6), pad=1), u8(2, 5, 6, 3), 8, "three channels"),
    convolved(conv((3, 3), 70, (3, 4), 2, 1, fill=255), u8(1, 5, 7, 4), 64, "stride, filled with 255"),
    convolved(conv((1, 1), 9, (4, 3), 2), full(1, 7, 5, 8), 16, "in place, the lowest"),
    convolved(conv((1, 1), 9, (7, 5)), u8(2, 7, 5, 7), 16, "seven channels alone"),
    convolved(conv((3,), 6, (9,), 1, 2, 2, fill=7), u8(2, 9, 5), 8, "one axis, dilation"),
    convolved(conv((3, 2), 6, (4, 5), 1, 1, 1, 2, fill=3), u8(1, 4, 4, 6), 8, "groups of three channels"),
    convolved(conv((2, 2, 3), 4, (2, 3, 4), fill=1), u8(1, 3, 4, 6, 1), 8, "three axes, one channel"),
    convolved(conv((3, 3), 8, (3, 3), pad=1, fill=200), u8(1, 3, 3, 300), 8, "two blocks of depth"),
    convolved(conv((3, 3), 8, (4, 40), pad=1), u8(0, 4, 40, 4), 8, "no images"),
    convolved(conv((3, 3), 33, (9, 40), pad=-1, fill=9), u8(1, 13, 44, 4), 40, "cut at the border"),
    Sample(ByteMatMul(6), (u8(3, 8), i8(1, 2, 32))),
    Sample(ByteMatMul(8), (full(1, 4), lowest(1, 1, 32)), "one row, one step, the lowest"),
    Sample(ByteMatMul(70), (u8(13, 32), i8(2, 8, 256)), "two panels, ragged both ways"),
    Sample(ByteMatMul(24), (u8(2, 3, 16), i8(1, 4, 96)), "a batch, half a vector"),
    Sample(ByteMatMul(9), (full(7, 2700), lowest(2, 675, 32)), "two blocks of depth"),
    Sample(ByteMatMul(5), (u8(2, 0), i8(1, 0, 32)), "nothing to add up"),
    Sample(ByteMatMul(5), (u8(0, 4), i8(1, 1, 32)), "no rows"),
]

BAD = [
    BadSample(conv((3, 3), 5, (5, 6), pad=1), (tensor("i8", (2, 5, 6, 3)), tensor("i8", (1, 1, 9, 32))), DTypeError,
              "x is i8"),
    BadSample(conv((3, 3), 5, (5, 6), pad=1), (tensor("u8", (2, 5, 6, 3)), tensor("i8", (1, 1, 7, 32))), ShapeError,
              "does not hold 5 channels"),
    BadSample(conv((1, 1), 5, (5, 6), fill=-1), (tensor("u8", (2, 5, 6, 4)), tensor("i8", (1, 1, 1, 32))),
              ArgumentError, "fill -1 is no u8"),
    BadSample(ByteMatMul(6), (tensor("i8", (3, 8)), tensor("i8", (1, 2, 32))), DTypeError, "a is i8"),
    BadSample(ByteMatMul(6), (tensor("u8", (8,)), tensor("i8", (1, 2, 32))), ShapeError, "is not a matrix"),
    BadSample(ByteMatMul(6), (tensor("u8", (3, 7)), tensor("i8", (1, 2, 32))), ShapeError, "a has 7 columns"),
    BadSample(ByteMatMul(6), (tensor("u8", (3, 8)), tensor("i8", (1, 2, 30))), ShapeError, "is not [P, S, 4*width]"),
    BadSample(ByteMatMul(9), (tensor("u8", (3, 8)), tensor("i8", (1, 2, 32))), ShapeError, "does not hold 9 columns"),
]
