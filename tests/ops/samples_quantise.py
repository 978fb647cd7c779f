"""Samples of ops/quantise.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ir.types import DType, i8, i16, i32, tensor, u8, u16
from chainrule.ops.quantise import Dequantize, Quantize, RoundTo
from tests.ops.sample import BadSample, Sample, integers, normal

HALVES = np.float32([-1e30, -2.5, -1.5, -0.5, -0.0, 0.5, 1.5, 2.5, 126.5, 127.5, 254.5, 255.5, 300, np.inf, -np.inf,
                     np.nan, 0.49999997, 8388609.0])  # fmt: skip
ENDS = {u8: (0, 1, 255), i8: (-128, -1, 127), u16: (0, 65535), i16: (-32768, 3)}


def _zero(dtype: DType, *numbers: int) -> np.ndarray:
    return np.asarray(numbers[0] if len(numbers) == 1 else numbers, dtype.numpy)


SAMPLES = [
    *(Sample(RoundTo(dtype), (HALVES, _zero(dtype, end)), f"{dtype}, zero point {end}")
      for dtype, ends in ENDS.items() for end in ends),
    Sample(RoundTo(i8), (HALVES.astype(np.float64), _zero(i8, 5)), "f64"),
    Sample(RoundTo(u8, 4), (HALVES, _zero(u8, 3)), "four bits"),
    Sample(RoundTo(i8, 4), (HALVES, _zero(i8, -8)), "four bits, signed"),
    Sample(RoundTo(u8), (normal(2, 3, 17, scale=90), _zero(u8, 0, 128, 255).reshape(3, 1)), "a zero point by channels"),
    Sample(RoundTo(u8), (np.float32(3.5), _zero(u8, 7)), "0-d"),
    Sample(RoundTo(u8), (np.zeros((0, 3), np.float32), _zero(u8, 7)), "empty"),
    Sample(Quantize(u8), (HALVES, np.float32(0.5), _zero(u8, 128))),
    Sample(Quantize(i8), (normal(3, 20, scale=9), np.float32([[0.5], [0.25], [2]]), _zero(i8, -128, 0, 127)[:, None]),
           "by rows"),
    Sample(Quantize(i16), (HALVES[1:-1].astype(np.float16), np.float16(0.5), _zero(i16, 3)), "half precision"),
    Sample(Quantize(u8), (np.zeros((2, 0), np.float32), np.float32(0.5), _zero(u8, 128)), "empty"),
    Sample(Dequantize(), (integers(0, 256, 3, 19, dtype="uint8"), np.float32(0.3), _zero(u8, 255))),
    Sample(Dequantize(), (integers(-128, 128, 2, 3, 5, dtype="int8"), np.float32([0.1, 0.2, 0.3])[:, None],
                             _zero(i8, -128, 0, 127)[:, None]), "by channels"),
    Sample(Dequantize(), (integers(-(2**31), 2**31, 9, dtype="int32"), np.float32(1e-4), _zero(i32, 0)), "i32"),
    Sample(Dequantize(), (integers(-128, 128, 9, dtype="int8"), np.float16(0.5), _zero(i8, 3)), "half precision"),
    Sample(Dequantize(), (np.uint8(9), np.float32(0.5), _zero(u8, 3)), "0-d"),
    Sample(Dequantize(), (np.zeros((0, 2), np.int8), np.float32(0.5), _zero(i8, 3)), "empty"),
]  # fmt: skip

X, ONE = tensor("f32", (2, 3)), tensor("f32", ())
BAD = [
    BadSample(RoundTo(i32), (X, tensor("i32", ())), DTypeError, "is no integer of 8 or 16 bits"),
    BadSample(RoundTo(u8), (X, tensor("i8", ())), DTypeError, "the zero point is i8"),
    BadSample(RoundTo(u8), (tensor("f16", (2,)), tensor("u8", ())), DTypeError, "x is f16"),
    BadSample(RoundTo(u8), (X, tensor("u8", (4, 2, 3))), ShapeError, "do not lie along"),
    BadSample(Quantize(u8), (X, ONE, tensor("i8", ())), DTypeError, "the zero point is i8"),
    BadSample(Quantize(u8), (X, tensor("f32", (5, 1, 1)), tensor("u8", ())), ShapeError, "do not lie along"),
    BadSample(Dequantize(), (tensor("u8", (2,)), ONE, tensor("i8", ())), DTypeError, "the zero point is i8"),
    BadSample(Dequantize(), (tensor("u8", (2,)), tensor("f32", (3, 1)), tensor("u8", ())), ShapeError, "do not lie"),
]
