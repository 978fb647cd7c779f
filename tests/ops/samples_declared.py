"""Samples of the ops in ops/declared.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ir.dims import symbol
from chainrule.ir.types import tensor
from chainrule.ops.declared import SizedAs, Within
from tests.ops.sample import BadSample, Sample, integers, normal

N = symbol("N")

SAMPLES = [
    Sample(SizedAs((2, 3)), (normal(2, 3),), "a matrix"),
    Sample(SizedAs(()), (np.asarray(normal()),), "a scalar"),
    Sample(SizedAs((0, 1)), (normal(0, 1),), "empty"),
    Sample(SizedAs((3,)), (integers(0, 9, 3),), "i64"),
    Sample(Within(0, 9, "lengths"), (integers(0, 9, 40),), "i64"),
    Sample(Within(-3, -3), (np.int8([[-3], [-3]]),), "i8"),
    Sample(Within(1, 2**63 - 1), (np.uint64([1, 2**63 - 1]),), "u64"),
    Sample(Within(0, 1), (np.int32(1),), "a scalar"),
    Sample(Within(5, 1), (np.zeros((0, 2), np.int64),), "empty"),
]
BAD = [
    BadSample(SizedAs((2, 3)), (tensor("f32", (2,)),), ShapeError, "is never of the shape [2,3]"),
    BadSample(SizedAs((2,)), (tensor("f32", (3,)),), ShapeError, "is never of the shape [2]"),
    BadSample(Within(0, 1), (tensor("f32", (2,)),), DTypeError, ""),
    BadSample(SizedAs((N + 1,)), (tensor("f32", (N,)),), ShapeError, "only sizes with symbols"),
]
