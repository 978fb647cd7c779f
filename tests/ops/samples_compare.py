"""Samples of ops/compare.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.op import Op
from chainrule.ir.types import tensor
from chainrule.ops.compare import (
    BitAnd,
    BitNot,
    BitOr,
    BitXor,
    Eq,
    Ge,
    Gt,
    Le,
    LogicalAnd,
    LogicalNot,
    LogicalOr,
    LogicalXor,
    Lt,
    Ne,
    ShiftLeft,
    ShiftRight,
)
from tests.ops.sample import BadSample, Sample, integers, normal
from tests.ops.samples_elementwise import INT8_PAIRS, SPECIAL_PAIRS, UINT8_PAIRS, bad_binary, bad_unary, half

COMPARISONS: tuple[Op, ...] = (Eq(), Ne(), Lt(), Le(), Gt(), Ge())
LOGIC: tuple[Op, ...] = (LogicalAnd(), LogicalOr(), LogicalXor())
BITS: tuple[Op, ...] = (BitAnd(), BitOr(), BitXor())
SHIFTS: tuple[Op, ...] = (ShiftLeft(), ShiftRight())
TRUTH = np.array([[True, True, False, False]]), np.array([[True, False, True, False]])


def _comparison(op: Op) -> list[Sample]:
    a, b = integers(0, 3, 4, 3, seed=1), integers(0, 3, 4, 3, seed=2)
    return [
        Sample(op, (a, b), "integers with ties"),
        Sample(op, (a.astype(np.float32), b[:1].astype(np.float32)), "broadcast a row"),
        Sample(op, (normal(2, 1, 3, seed=1), normal(4, 1, seed=2)), "broadcast both ways"),
        Sample(op, SPECIAL_PAIRS, "special values"),
        Sample(op, (half(a.astype(np.float32)), half(b.astype(np.float32))), "bf16"),
        Sample(op, (a.astype(np.float16), b.astype(np.float16)), "f16"),
        Sample(op, INT8_PAIRS, "int8"),
        Sample(op, UINT8_PAIRS, "uint8"),
        Sample(op, (np.array([2**64 - 1, 0], np.uint64), np.array([1, 0], np.uint64)), "uint64 above the sign"),
        Sample(op, (np.array([2**53 + 1]), np.array([2**53])), "integers that no double tells apart"),
        Sample(op, (np.float64(1).reshape(()), np.float64(1).reshape(())), "0-d"),
        Sample(op, (normal(0, 3), normal(3)), "empty"),
    ]


def _logic(op: Op) -> list[Sample]:
    return [
        Sample(op, TRUTH, "truth table"),
        Sample(op, (TRUTH[0], TRUTH[1].T), "broadcast"),
        Sample(op, (np.array(True), np.array(False)), "0-d"),
        Sample(op, (np.zeros((0, 2), bool), np.zeros(2, bool)), "empty"),
    ]


def _bits(op: Op) -> list[Sample]:
    return [
        Sample(op, INT8_PAIRS, "int8"),
        Sample(op, UINT8_PAIRS, "uint8"),
        Sample(op, (integers(-(2**40), 2**40, 4, 1), integers(-(2**40), 2**40, 3, seed=1)), "int64 broadcast"),
        Sample(op, (np.uint32(0xF0F0).reshape(()), np.uint32(0xFF00).reshape(())), "0-d"),
        Sample(op, (integers(0, 9, 0), integers(0, 9, 1)), "empty"),
    ]


def _shift(op: Op) -> list[Sample]:
    counts = np.array([-1, 0, 1, 7, 8, 31, 32, 63, 64, 100])
    values = np.array([[1], [-1], [-(2**31)], [12345], [2**62]])
    found = [
        Sample(op, (values.astype(kind), counts.astype(kind)), f"{kind} counts of every size")
        for kind in ("int8", "int32", "int64")
    ]
    found += [
        Sample(op, (values.astype(kind), np.abs(counts).astype(kind)), f"{kind} counts of every size")
        for kind in ("uint8", "uint32", "uint64")
    ]
    return [
        *found,
        Sample(op, (np.int32(-8).reshape(()), np.int32(1).reshape(())), "0-d"),
        Sample(op, (integers(0, 9, 0), integers(0, 9, 1)), "empty"),
    ]


SAMPLES: list[Sample] = [
    *(s for op in COMPARISONS for s in _comparison(op)),
    *(Sample(op, TRUTH, "bools") for op in (Eq(), Ne())),
    *(s for op in LOGIC for s in _logic(op)),
    Sample(LogicalNot(), TRUTH[:1]),
    Sample(LogicalNot(), (np.array(False),), "0-d"),
    *(s for op in BITS for s in _bits(op)),
    Sample(BitNot(), INT8_PAIRS[:1], "int8"),
    Sample(BitNot(), UINT8_PAIRS[:1], "uint8"),
    Sample(BitNot(), (integers(-5, 5, 2, 0),), "empty"),
    *(s for op in SHIFTS for s in _shift(op)),
]

_BOOLS = (tensor("bool", (2,)), tensor("bool", (3,)))

BAD: list[BadSample] = [
    *(bad for op in (Lt(), Le(), Gt(), Ge()) for bad in bad_binary(op)),
    *(BadSample(op, (tensor("i32"), tensor("i64")), DTypeError, "i32 and i64 differ") for op in (Eq(), Ne())),
    *(BadSample(op, _BOOLS, ShapeError, "do not broadcast") for op in (Eq(), Ne(), *LOGIC)),
    *(BadSample(op, (tensor("i8"), tensor("i8")), DTypeError, "i8 is not among") for op in LOGIC),
    *bad_unary(LogicalNot(), "f32"),
    *bad_unary(BitNot(), "f32"),
    *(bad for op in (*BITS, *SHIFTS) for bad in bad_binary(op, "f32", ("i32", "u8"))),
    BadSample(Eq(), (tensor("f32"),), ArgumentError, "takes 2 inputs, 1"),
]
