"""Samples of ops/lowered_bytes.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.lowered_bytes import ByteMatMul
from tests.ops.sample import BadSample, Sample
from tests.ops.samples_integer_products import full, i8, u8


def lowest(*shape: int) -> np.ndarray:
    return np.full(shape, -128, np.int8)


SAMPLES = [
    Sample(ByteMatMul(6), (u8(3, 8), i8(1, 2, 32))),
    Sample(ByteMatMul(8), (full(1, 4), lowest(1, 1, 32)), "one row, one step, the lowest"),
    Sample(ByteMatMul(70), (u8(13, 32), i8(2, 8, 256)), "two panels, ragged both ways"),
    Sample(ByteMatMul(24), (u8(2, 3, 16), i8(1, 4, 96)), "a batch, half a vector"),
    Sample(ByteMatMul(9), (full(7, 2700), lowest(2, 675, 32)), "two blocks of depth"),
    Sample(ByteMatMul(5), (u8(2, 0), i8(1, 0, 32)), "nothing to add up"),
    Sample(ByteMatMul(5), (u8(0, 4), i8(1, 1, 32)), "no rows"),
]

BAD = [
    BadSample(ByteMatMul(6), (tensor("i8", (3, 8)), tensor("i8", (1, 2, 32))), DTypeError, "a is i8"),
    BadSample(ByteMatMul(6), (tensor("u8", (8,)), tensor("i8", (1, 2, 32))), ShapeError, "is not a matrix"),
    BadSample(ByteMatMul(6), (tensor("u8", (3, 7)), tensor("i8", (1, 2, 32))), ShapeError, "a has 7 columns"),
    BadSample(ByteMatMul(6), (tensor("u8", (3, 8)), tensor("i8", (1, 2, 30))), ShapeError, "is not [P, S, 4*width]"),
    BadSample(ByteMatMul(9), (tensor("u8", (3, 8)), tensor("i8", (1, 2, 32))), ShapeError, "does not hold 9 columns"),
]
