"""Samples of ops/elementwise.py and ops/arithmetic.py."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.op import Op
from chainrule.ir.types import ALL_DTYPES, bf16, bool_, f32, f64, i8, i32, i64, tensor, u8, u32
from chainrule.ops.arithmetic import (
    Ceil,
    Clip,
    Floor,
    FloorDivide,
    FMod,
    IsFinite,
    IsInf,
    IsNaN,
    Reciprocal,
    Remainder,
    Round,
    Sign,
    Square,
    Trunc,
)
from chainrule.ops.elementwise import Abs, Add, BitCast, Cast, Div, Maximum, Minimum, Mul, Neg, Sub, Where
from tests.ops.sample import BadSample, Sample, distinct, integers, normal, uniform

# Every kind of float: zeros of both signs, halves, subnormals, the ends of the range, infinities, NaN.
SPECIAL = np.array([0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 2.5, 1e-40, -1e-40, 3.4e38, -3.4e38,
                    np.inf, -np.inf, np.nan], np.float32)  # fmt: skip
SPECIAL_PAIRS = (np.repeat(SPECIAL, len(SPECIAL)), np.tile(SPECIAL, len(SPECIAL)))
INT8_PAIRS = (
    np.repeat(np.array([-128, -127, -7, -1, 0, 1, 7, 127], np.int8), 8),
    np.tile(np.array([-128, -127, -3, -1, 0, 1, 3, 127], np.int8), 8),
)
UINT8_PAIRS = (np.repeat(np.array([0, 1, 7, 255], np.uint8), 4), np.tile(np.array([0, 1, 3, 255], np.uint8), 4))


def half(x: np.ndarray) -> np.ndarray:
    """The numbers as bf16."""
    return x.astype(ml_dtypes.bfloat16)


def to_f16(x: np.ndarray) -> np.ndarray:
    """The numbers as f16; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return x.astype(np.float16)


def away(x: np.ndarray) -> np.ndarray:
    """The numbers moved away from 0 by a half: dividing by them is smooth."""
    return x + np.sign(x) * x.dtype.type(0.5)


def binary(op: Op, *, ints: bool = True, special: bool = True) -> list[Sample]:
    """What every binary op meets: broadcasting on both sides, 0-d, empty, every element type, special values."""
    a, b = distinct(3, 4, seed=1), away(distinct(3, 4, seed=2) + np.float32(0.125))
    found = [
        Sample(op, (a, b)),
        Sample(op, (distinct(2, 1, 4, seed=3), away(distinct(3, 1, seed=4) + np.float32(0.0625))), "broadcast twice"),
        Sample(op, (a, b[0]), "broadcast a row"),
        Sample(op, (np.float32(1.5).reshape(()), b), "0-d left"),
        Sample(op, (np.float64(1.5).reshape(()), np.float64(-2.25).reshape(())), "0-d both"),
        Sample(op, (normal(0, 3), normal(3)), "empty"),
        Sample(op, (distinct(5, dtype="float64", seed=5), away(distinct(5, dtype="float64", seed=6) + 0.1))),
        Sample(op, (a.astype(np.float16), b.astype(np.float16))),
        Sample(op, (half(a), half(b)), "bf16"),
    ]
    if special:
        found.append(Sample(op, SPECIAL_PAIRS, "special values", grad=()))
    if ints:
        found += [
            Sample(op, INT8_PAIRS, "int8 limits"),
            Sample(op, UINT8_PAIRS, "uint8 limits"),
            Sample(op, (integers(-9, 9, 4, 3), integers(1, 9, 3)), "int64 broadcast"),
            Sample(op, (np.array([2**31 - 1, -(2**31), 5], np.int32), np.array([-1, -1, 0], np.int32)), "int32 limits"),
        ]
    return found


def unary(op: Op, x: np.ndarray, *, ints: bool = False) -> list[Sample]:
    """What every unary op meets, on values x where it is smooth: 0-d, empty, every float type, special values."""
    found = [
        Sample(op, (x,)),
        Sample(op, (x.astype(np.float64).reshape(1, -1),)),
        Sample(op, (x[:1].reshape(()),), "0-d"),
        Sample(op, (normal(0, 2),), "empty"),
        Sample(op, (to_f16(x),), "f16", grad=()),
        Sample(op, (half(x),), "bf16", grad=()),
        Sample(op, (SPECIAL,), "special values", grad=()),
    ]
    if ints:
        found += [Sample(op, (INT8_PAIRS[0],), "int8 limits"), Sample(op, (UINT8_PAIRS[0],), "uint8 limits")]
    return found


def bad_binary(op: Op, kind: str = "bool", taken: tuple[str, str] = ("f32", "f64")) -> list[BadSample]:
    """Shapes that do not broadcast, two element types, and one (kind) that the op does not take."""
    a, b = taken
    return [
        BadSample(op, (tensor(a, (2, 3)), tensor(a, (2,))), ShapeError, "do not broadcast"),
        BadSample(op, (tensor(a, ("N",)), tensor(a, ("M",))), ShapeError, "do not broadcast"),
        BadSample(op, (tensor(a, (2,)), tensor(b, (2,))), DTypeError, f"{a} and {b} differ"),
        BadSample(op, (tensor(kind, (2,)), tensor(kind, (2,))), DTypeError, f"{kind} is not among"),
        BadSample(op, (tensor("f32"),), ArgumentError, "takes 2 inputs, 1"),
    ]


def bad_unary(op: Op, kind: str = "i32") -> list[BadSample]:
    """An element type that the op does not take, and too many inputs."""
    return [
        BadSample(op, (tensor(kind, (2,)),), DTypeError, f"{kind} is not among"),
        BadSample(op, (tensor("f32"), tensor("f32")), ArgumentError, "takes 1 inputs, 2"),
    ]


def _casts() -> list[Sample]:
    numbers = np.concatenate([SPECIAL, np.array([-1.9, 1.9, 127.5, 300, -300, 3e9, -3e9, 1e30], np.float32)])
    edges = np.array([2.0**63, -(2.0**63), 2.0**63 - 1024, 2.0**64, 2.0**53 + 2, -0.99, 255.99], np.float64)
    found = [Sample(Cast(d), (numbers,), f"f32 to {d}", grad=()) for d in ALL_DTYPES]
    found += [Sample(Cast(d), (edges,), f"f64 edges to {d}", grad=()) for d in ALL_DTYPES]
    found += [Sample(Cast(d), (INT8_PAIRS[0],), f"int8 to {d}") for d in ALL_DTYPES]
    found += [Sample(Cast(d), (np.array([[True, False]]),), f"bool to {d}") for d in (f32, bf16, i64, u8, bool_)]
    return [
        *found,
        Sample(Cast(f64), (normal(2, 3),), "f32 to f64"),
        Sample(Cast(f32), (normal(2, 3, dtype="float64"),), "rounds to f32", grad=()),
        Sample(Cast(f64), (half(normal(5)),), "bf16 to f64"),
        Sample(Cast(f32), (normal(4, dtype="float16"),), "f16 to f32", grad=()),
        Sample(Cast(i32), (np.array([2**40 + 5, -1], np.int64),), "i64 to i32 wraps"),
        Sample(Cast(f32), (np.array(2**24 + 1, np.int64),), "0-d integer rounds"),
        Sample(Cast(f64), (normal(0, 2),), "empty"),
    ]


def _clips() -> list[Sample]:
    x = distinct(3, 8) + np.float32(0.06)
    found = [s for op in (Clip(-1.0, 1.0), Clip(high=0.5), Clip(low=-0.25)) for s in unary(op, x[0])]
    return [
        *found,
        Sample(Clip(), (SPECIAL,), "no bounds", grad=()),
        Sample(Clip(1.0, -1.0), (x,), "high wins over low"),
        Sample(Clip(-1.5, 1.5), (INT8_PAIRS[0],), "fractions on int8"),
        Sample(Clip(-1e9, 200.0), (UINT8_PAIRS[0],), "bounds beyond uint8"),
        Sample(Clip(-1e30, 1e30), (integers(-9, 9, 4),), "bounds beyond int64"),
        Sample(Clip(0.0, 0.1), (normal(4, dtype="float16"),), "bounds round to f16", grad=()),
    ]


def _wheres() -> list[Sample]:
    condition = np.array([[True, False, True], [False, False, True]])
    a, b = normal(2, 3, seed=1), normal(2, 3, seed=2)
    nan = np.array([np.nan, 1.0, np.inf], np.float32)
    return [
        Sample(Where(), (condition, a, b)),
        Sample(Where(), (condition[:1], a[:, :1], b), "broadcast"),
        Sample(Where(), (np.array(True), a[0], b), "0-d condition"),
        Sample(Where(), (condition, np.float32(1).reshape(()), np.float32(2).reshape(())), "0-d branches"),
        Sample(Where(), (condition, nan, b), "NaN does not spread", grad=(2,)),
        Sample(Where(), (condition, integers(-5, 5, 2, 3), integers(-5, 5, 3)), "integers"),
        Sample(Where(), (condition, ~condition, condition), "bools"),
        Sample(Where(), (condition, half(a), half(b)), "bf16"),
        Sample(Where(), (condition[:0], a[:0], b[:0]), "empty"),
    ]


def _quotients() -> list[Sample]:
    # Gradients are checked where no quotient is near a whole number: the stencil must not cross a jump.
    a = np.array([7.3, -7.3, 7.3, -7.3, 0.4, 5.9], np.float32)
    b = np.array([2.0, 2.0, -2.0, -2.0, 3.0, 1.1], np.float32)
    ties = np.array([6.0, -6.0, 0.0, -0.0, 1.0], np.float32), np.array([2.0, 2.0, -3.0, 3.0, 0.1], np.float32)
    found: list[Sample] = []
    for op in (FloorDivide(), Remainder(), FMod()):
        found += [
            Sample(op, (a, b)),
            Sample(op, (a[:, None], b[:2]), "broadcast"),
            Sample(op, ties, "whole quotients", grad=()),
            Sample(op, SPECIAL_PAIRS, "special values", grad=()),
            Sample(op, (a.astype(np.float64), b.astype(np.float64)), "f64"),
            Sample(op, (a.astype(np.float16), b.astype(np.float16)), "f16"),
            Sample(op, (half(a), half(b)), "bf16"),
            Sample(op, INT8_PAIRS, "int8 limits"),
            Sample(op, UINT8_PAIRS, "uint8 limits"),
            Sample(op, (np.array([-(2**63), 5, -5], np.int64), np.array([-1, 0, 3], np.int64)), "int64 limits"),
            Sample(op, (normal(0, 3), normal(1)), "empty"),
            Sample(op, (np.int32(-7).reshape(()), np.int32(2).reshape(())), "0-d"),
        ]
    return found


def _extrema() -> list[Sample]:
    found: list[Sample] = []
    for op in (Maximum(), Minimum()):
        found += binary(op)
        found.append(Sample(op, (np.zeros(3, np.float32), np.array([0, -0.0, 0], np.float32)), "zero ties", grad=()))
        found.append(Sample(op, (integers(0, 3, 9, seed=1), integers(0, 3, 9, seed=2)), "integer ties"))
    return found


SMOOTH = np.array([-3.7, -1.2, -0.4, 0.3, 1.1, 2.6, 9.3], np.float32)
HALVES = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997, 8388607.5, 1e9], np.float32)

SAMPLES: list[Sample] = [
    *_casts(),
    Sample(BitCast(i32), (SPECIAL,), "f32 to i32"),
    Sample(BitCast(f32), (np.array([0, 1, -1, 0x7F800000], np.int32),), "i32 to f32"),
    Sample(BitCast(u32), (normal(2, 3).T,), "a transposed array", grad=()),
    Sample(BitCast(bf16), (normal(3, dtype="float16"),), "f16 to bf16", grad=()),
    Sample(BitCast(u8), (np.array(-1, np.int8),), "0-d"),
    Sample(BitCast(i64), (np.zeros((0, 2)),), "empty", grad=()),
    *_wheres(),
    *binary(Add()), *binary(Sub()), *binary(Mul()), *binary(Div()), *_extrema(),
    *unary(Neg(), SMOOTH, ints=True), *unary(Abs(), SMOOTH, ints=True),
    Sample(Abs(), (np.zeros(3),), "slope 0 at 0", grad=(0,)),
    *unary(Sign(), SMOOTH, ints=True), *unary(Reciprocal(), SMOOTH), *unary(Square(), SMOOTH, ints=True),
    *_quotients(), *_clips(),
    *unary(Round(), HALVES), *unary(Floor(), HALVES), *unary(Ceil(), HALVES), *unary(Trunc(), HALVES),
    *unary(IsNaN(), SMOOTH), *unary(IsInf(), SMOOTH), *unary(IsFinite(), SMOOTH),
    Sample(Square(), (uniform(-3, 3, 4, 5, dtype="float64"),)),
]  # fmt: skip

BAD: list[BadSample] = [
    BadSample(Cast(f32), (), ArgumentError, "takes 1 inputs, 0"),
    BadSample(BitCast(f64), (tensor("f32", (2,)),), DTypeError, "f64 has 64"),
    BadSample(BitCast(i8), (tensor("bool", (2,)),), DTypeError, "bool is not among"),
    BadSample(Where(), (tensor("f32"), tensor("f32"), tensor("f32")), DTypeError, "not bool"),
    BadSample(Where(), (tensor("bool"), tensor("f32"), tensor("f16")), DTypeError, "differ"),
    BadSample(Where(), (tensor("bool", (2,)), tensor("f32", (3,)), tensor("f32")), ShapeError, "do not broadcast"),
    *(bad for op in (Add(), Sub(), Mul(), Div(), Maximum(), Minimum(), FloorDivide(), Remainder(), FMod())
      for bad in bad_binary(op)),
    *(bad for op in (Neg(), Abs(), Sign(), Square(), Clip()) for bad in bad_unary(op, "bool")),
    *(bad for op in (Reciprocal(), Round(), Floor(), Ceil(), Trunc(), IsNaN(), IsInf(), IsFinite())
      for bad in bad_unary(op)),
    BadSample(Clip(float("nan"), 1.0), (tensor("f32"),), ArgumentError, "a bound is NaN"),
]  # fmt: skip
