"""Samples of the ops in ops/integer_products.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.integer_products import IntegerConv, IntegerMatMul
from tests.ops.sample import BadSample, Sample, integers


def u8(*shape: int, seed: int = 0) -> np.ndarray:
    return integers(0, 256, *shape, seed=seed, dtype="uint8")


def i8(*shape: int, seed: int = 1) -> np.ndarray:
    return integers(-128, 128, *shape, seed=seed, dtype="int8")


def full(*shape: int) -> np.ndarray:
    return np.full(shape, 255, np.uint8)


PLAIN = IntegerConv((1, 1), (0, 0, 0, 0), (1, 1))

SAMPLES = [
    Sample(IntegerMatMul(), (u8(3, 5), i8(5, 2)), "u8 by i8"),
    Sample(IntegerMatMul(), (i8(2, 3, 4), u8(4, 3)), "a batch by one matrix"),
    Sample(IntegerMatMul(), (full(2, 300), full(300, 3)), "more than f32 holds"),
    Sample(IntegerMatMul(), (np.full((1, 300), 128, np.uint8), np.full((300, 1), -128, np.int8)), "the lowest"),
    Sample(IntegerMatMul(), (i8(5, 9), i8(9, 70)), "i8 by i8"),
    Sample(IntegerMatMul(), (u8(4, 7), u8(7, 17)), "u8 by u8"),
    Sample(IntegerMatMul(), (i8(1, 1), u8(1, 1)), "one number, i8 by u8"),
    Sample(IntegerMatMul(), (u8(2, 0), i8(0, 3)), "nothing to add up"),
    Sample(IntegerMatMul(), (u8(0, 4), i8(4, 3)), "no rows"),
    Sample(PLAIN, (u8(1, 2, 4, 4), i8(3, 2, 3, 3)), "u8 by i8"),
    Sample(IntegerConv((2, 1), (1, 0, 0, 1), (1, 2)), (i8(2, 1, 5, 5), i8(2, 1, 2, 2)), "strides, pads, dilation"),
    Sample(IntegerConv((1,), (1, 1), (1,), 2), (u8(1, 4, 6), u8(4, 2, 3)), "groups, one axis"),
    Sample(PLAIN, (full(1, 40, 3, 3), full(2, 40, 3, 3)), "more than f32 holds"),
    Sample(IntegerConv((2, 1), (1, 0, 2, 1), (1, 2), 1, 255), (u8(2, 3, 5, 6), i8(4, 3, 3, 2)), "filled with 255"),
    Sample(IntegerConv((1,), (2, 1), (1,), 3, -128), (i8(2, 3, 6), i8(3, 1, 3)), "by channels, filled with -128"),
    Sample(PLAIN, (u8(0, 2, 3, 3), i8(1, 2, 2, 2)), "no images"),
]

BAD = [
    BadSample(IntegerMatMul(), (tensor("i32", (2, 3)), tensor("i8", (3, 2))), DTypeError, "i32 is not among"),
    BadSample(IntegerMatMul(), (tensor("i8", (2, 3)), tensor("u8", (4, 2))), ShapeError, "the inner sizes differ"),
    BadSample(PLAIN, (tensor("f32", (1, 2, 4, 4)), tensor("i8", (3, 2, 3, 3))), DTypeError, "f32 is not among"),
    BadSample(IntegerConv((1,), (1, 1), (1,), 1, 256), (tensor("u8", (1, 2, 4)), tensor("i8", (3, 2, 3))),
              ArgumentError, "fill 256 is no u8"),
    BadSample(PLAIN, (tensor("u8", (1, 3, 4, 4)), tensor("i8", (3, 2, 3, 3))), ShapeError, "2 input channels"),
]
