"""Samples of the ops in ops/sorting.py."""

from __future__ import annotations

import numpy as np
from ml_dtypes import bfloat16

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.sorting import Argsort, Sort, TopK
from tests.ops.sample import BadSample, Sample, distinct, integers

ties = np.array([2.0, -0.0, 2.0, 0.0, -1.0, 2.0, -1.0], np.float32)
spoiled = np.array([np.nan, 3.0, -np.inf, np.nan, np.inf, 0.0], np.float32)
extreme = np.array([-128, 127, 0, -128, 127], np.int8)

SAMPLES = [
    Sample(Argsort(0), (distinct(9),), "ascending"),
    Sample(Argsort(-1, True), (distinct(3, 5),), "descending"),
    Sample(Argsort(0), (distinct(3, 4),), "by columns"),
    Sample(Argsort(0), (ties,), "ties keep their order"),
    Sample(Argsort(0, True), (ties,), "ties keep their order, descending"),
    Sample(Argsort(0), (spoiled,), "NaN last"),
    Sample(Argsort(0, True), (spoiled,), "NaN last, descending"),
    Sample(Argsort(0, True), (extreme,), "i8, descending through its limits"),
    Sample(Argsort(0, True), (np.array([0, 255, 3, 0], np.uint8),), "u8, descending"),
    Sample(Argsort(0, True), (np.array([True, False, True]),), "bool, descending"),
    Sample(Argsort(0), (ties.astype(bfloat16),), "bf16"),
    Sample(Argsort(1), (distinct(2, 0),), "empty axis"),
    Sample(Sort(0), (distinct(9),), "ascending"),
    Sample(Sort(-1, True), (distinct(3, 5, dtype="float64"),), "descending, f64"),
    Sample(Sort(0), (ties,), "ties", grad=()),
    Sample(Sort(0, True), (spoiled,), "NaN last, descending", grad=()),
    Sample(Sort(0, True), (extreme,), "i8, descending"),
    Sample(Sort(0), (distinct(0, 3),), "empty"),
    Sample(Sort(0), (distinct(1),), "one element"),
    Sample(TopK(3), (distinct(2, 6),), "the largest"),
    Sample(TopK(2, 0, False), (distinct(4, 3),), "the smallest of columns"),
    Sample(TopK(3), (ties,), "of ties the first", grad=()),
    Sample(TopK(3, -1, False), (ties,), "of ties the first, smallest", grad=()),
    Sample(TopK(5), (spoiled,), "NaN after numbers", grad=()),
    Sample(TopK(4), (distinct(4),), "all of them"),
    Sample(TopK(0), (distinct(2, 3),), "none"),
    Sample(TopK(1), (distinct(0, 3),), "of empty rows"),
    Sample(TopK(2), (integers(0, 9, 5, dtype="int32"),), "i32"),
    Sample(TopK(2), (distinct(5, dtype="float16"),), "f16"),
]

BAD = [
    BadSample(Argsort(1), (tensor("f32", (4,)),), ArgumentError, "axis 1 is out of range"),
    BadSample(Sort(0), (tensor("f32", ()),), ArgumentError, "out of range for 0 axes"),
    BadSample(TopK(5), (tensor("f32", (2, 4)),), ShapeError, "an axis of size 4 has no top 5"),
    BadSample(TopK(-1), (tensor("f32", (2, 4)),), ArgumentError, "k is -1"),
    BadSample(TopK(1, 2), (tensor("f32", (2, 4)),), ArgumentError, "axis 2 is out of range"),
]
