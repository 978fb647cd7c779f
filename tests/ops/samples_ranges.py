"""Samples of the ops in ops/ranges.py."""

from __future__ import annotations

import numpy as np
from ml_dtypes import bfloat16

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import bf16, bool_, f16, f32, f64, i8, i32, i64, tensor, u8, u32
from chainrule.ops.ranges import Iota, OneHot, Trilu
from tests.ops.sample import BadSample, Sample, integers, normal

labels = np.array([0, 2, 1, 2])
spoiled = np.array([[1.0, np.nan, 3.0], [np.inf, 5.0, 6.0], [7.0, -np.inf, -0.0]], np.float32)

SAMPLES = [
    Sample(Iota((5,), 0, i64), (), "i64"),
    Sample(Iota((2, 3), 1, f32), (), "columns, f32"),
    Sample(Iota((2, 3, 2), -2, i32), (), "negative axis, i32"),
    Sample(Iota((0, 3), 1, u32), (), "empty, u32"),
    Sample(Iota((300,), 0, u8), (), "u8 wraps"),
    Sample(Iota((130,), 0, i8), (), "i8 wraps"),
    Sample(Iota((9,), 0, f64), (), "f64"),
    Sample(Iota((4,), 0, f16), (), "f16"),
    Sample(Iota((260,), 0, bf16), (), "bf16 rounds"),
    Sample(OneHot(3), (labels,), "classes last"),
    Sample(OneHot(3, 0), (labels,), "classes first"),
    Sample(OneHot(4, 1, i64), (labels.reshape(2, 2).astype("int32"),), "classes between, i64 from i32"),
    Sample(OneHot(3), (np.array([-1, -3, -4, 3, 99]),), "from the end, and out of range"),
    Sample(OneHot(2, -1, bool_), (np.array(1, np.uint8),), "bool from a u8 scalar"),
    Sample(OneHot(0), (labels,), "no classes"),
    Sample(OneHot(3), (np.zeros((0,), np.int64),), "no indices"),
    Sample(OneHot(3, -1, bf16), (labels,), "bf16"),
    Sample(Trilu(True), (normal(3, 4),), "upper"),
    Sample(Trilu(False), (normal(4, 3),), "lower"),
    Sample(Trilu(True, 2), (normal(2, 3, 3),), "upper from the second diagonal, batch"),
    Sample(Trilu(False, -1), (normal(3, 3),), "lower without the diagonal"),
    Sample(Trilu(True, 9), (normal(3, 3),), "upper beyond the matrix"),
    Sample(Trilu(False, 9), (normal(3, 3),), "all of it"),
    Sample(Trilu(True), (spoiled,), "what is dropped does not count", grad=()),
    Sample(Trilu(True), (normal(0, 3),), "empty"),
    Sample(Trilu(False), (integers(-9, 9, 3, 3, dtype="int16"),), "i16"),
    Sample(Trilu(True, 1), (normal(3, 3).astype(bfloat16),), "bf16"),
]

BAD = [
    BadSample(Iota((3,), 1), (), ArgumentError, "axis 1 is out of range"),
    BadSample(Iota((), 0), (), ArgumentError, "out of range for 0 axes"),
    BadSample(Iota((3,), 0, bool_), (), DTypeError, "bool cannot count"),
    BadSample(OneHot(3), (tensor("f32", (4,)),), DTypeError, "f32 is not among"),
    BadSample(OneHot(3, 2), (tensor("i64", (4,)),), ArgumentError, "axis 2 is out of range"),
    BadSample(OneHot(-1), (tensor("i64", (4,)),), ArgumentError, "depth -1 is negative"),
    BadSample(Trilu(True), (tensor("f32", (4,)),), ShapeError, "a triangle needs two axes"),
]
