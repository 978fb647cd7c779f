"""Samples of the ops in ops/shaping.py."""

from __future__ import annotations

import numpy as np
from ml_dtypes import bfloat16

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.dims import symbol
from chainrule.ir.types import tensor
from chainrule.ops.shaping import Concat, Expand, Flip, Pad, Reshape, Slice, Transpose
from tests.ops.sample import BadSample, Sample, integers, normal

N = symbol("N")
odd = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45], np.float32)

SAMPLES = [
    Sample(Reshape((4, 6)), (normal(2, 3, 4),), "2,3,4 to 4,6"),
    Sample(Reshape((1,)), (np.asarray(normal()),), "a scalar to one element"),
    Sample(Reshape(()), (normal(1, 1),), "one element to a scalar"),
    Sample(Reshape((3, 0)), (normal(0, 5),), "empty to empty"),
    Sample(Reshape((2, 3)), (odd,), "special values kept", grad=()),
    Sample(Reshape((6,)), (integers(-9, 9, 2, 3, dtype="int8"),), "i8"),
    Sample(Reshape((3, 2)), (normal(2, 3, dtype="float64"),), "f64"),
    Sample(Reshape((3, 2)), (normal(2, 3).astype(bfloat16),), "bf16"),
    Sample(Transpose((1, 0)), (normal(3, 5),), "matrix"),
    Sample(Transpose((2, 0, 1)), (normal(2, 3, 4),), "a turn of three axes"),
    Sample(Transpose((0, 2, 3, 1)), (normal(2, 3, 1, 2),), "nchw to nhwc"),
    Sample(Transpose(()), (np.asarray(normal()),), "scalar"),
    Sample(Transpose((1, 0)), (normal(0, 3),), "empty"),
    Sample(Transpose((1, 0)), (integers(0, 2, 2, 3, dtype="bool"),), "bool"),
    Sample(Transpose((1, 0)), (normal(2, 3, dtype="float16"),), "f16"),
    Sample(Expand((2, 3)), (normal(1, 3),), "rows"),
    Sample(Expand((2, 3)), (normal(2, 1),), "columns"),
    Sample(Expand((4, 2, 3)), (normal(1, 1),), "new and stretched axes"),
    Sample(Expand((2, 2)), (np.asarray(normal()),), "scalar"),
    Sample(Expand((0, 3)), (normal(1, 3),), "to empty"),
    Sample(Expand((2, 0)), (normal(2, 0),), "from empty"),
    Sample(Expand((3, 2)), (integers(0, 9, 1, 2, dtype="uint16"),), "u16"),
    Sample(Concat(0), (normal(2, 3), normal(1, 3, seed=1)), "rows"),
    Sample(Concat(1), (normal(2, 3), normal(2, 0), normal(2, 2, seed=1)), "columns, one of them empty"),
    Sample(Concat(-1), (normal(2, 1, 2), normal(2, 1, 3, seed=1)), "negative axis"),
    Sample(Concat(0), (normal(3),), "one input"),
    Sample(Concat(0), (integers(0, 9, 2, dtype="int32"), integers(0, 9, 3, dtype="int32")), "i32"),
    Sample(Slice((1, 0), (2, 3), (1, 1)), (normal(4, 3),), "rows 1, 2"),
    Sample(Slice((0, 1), (2, 3), (3, 2)), (normal(5, 7),), "steps that leave a rest"),
    Sample(Slice((1,), (3,), (2,)), (normal(6),), "a step up to the last element"),
    Sample(Slice((2, 0), (0, 2), (1, 1)), (normal(2, 2),), "nothing, from the end"),
    Sample(Slice((7,), (0,), (1,)), (normal(3),), "nothing, from beyond the end"),
    Sample(Slice((4,), (1,), (9,)), (normal(5),), "one element by a step longer than the axis"),
    Sample(Slice((), (), ()), (np.asarray(normal()),), "scalar"),
    Sample(Slice((1,), (2,), (1,)), (integers(0, 2, 4, dtype="bool"),), "bool"),
    Sample(Pad((1, 0), (0, 2)), (normal(2, 3),), "around with 0"),
    Sample(Pad((1, 2), (3, 0), 7.5), (normal(2, 2),), "with a value"),
    Sample(Pad((2,), (1,), float("-inf")), (normal(3),), "with -inf (no difference quotient)", grad=()),
    Sample(Pad((-1, 0), (0, -2)), (normal(3, 4),), "negative amounts cut off"),
    Sample(Pad((-2,), (3,), 1.0), (normal(4),), "cut off in front, put behind"),
    Sample(Pad((5,), (-3,), 2.0), (normal(1),), "all of x is cut off again"),
    Sample(Pad((-4,), (1,)), (normal(3),), "more cut off than is there, then padded"),
    Sample(Pad((2, 1), (0, 0), -1.0), (normal(0, 2),), "around nothing"),
    Sample(Pad((), ()), (np.asarray(normal()),), "scalar"),
    Sample(Pad((1,), (1,), 9.0), (integers(-5, 5, 3, dtype="int64"),), "i64"),
    Sample(Pad((1,), (0,), 0.0), (normal(3).astype(bfloat16),), "bf16"),
    Sample(Flip((0,)), (normal(4),), "one axis"),
    Sample(Flip((0, 2)), (normal(2, 2, 3),), "two of three axes"),
    Sample(Flip((-1,)), (normal(2, 3),), "negative axis"),
    Sample(Flip((0,)), (normal(0, 2),), "empty"),
    Sample(Flip(()), (normal(2),), "no axis"),
    Sample(Flip((0,)), (odd,), "special values kept", grad=()),
    Sample(Flip((1,)), (integers(0, 200, 2, 3, dtype="uint8"),), "u8"),
]

BAD = [
    BadSample(Reshape((4, 2)), (tensor("f32", (3, 3)),), ShapeError, "[3,3] has 9 elements, [4,2] 8"),
    BadSample(Reshape((N, 3)), (tensor("f32", ("N", 4)),), ShapeError, "[N,4] has 4*N elements"),
    BadSample(Transpose((0, 0)), (tensor("f32", (2, 3)),), ArgumentError, "not a permutation of the 2 axes"),
    BadSample(Transpose((0, 2, 1)), (tensor("f32", (2, 3)),), ArgumentError, "name each of 0..1 once"),
    BadSample(Expand((2, 3)), (tensor("f32", (2, 2)),), ShapeError, "axis 1 of x is 2: neither 1 nor 3"),
    BadSample(Expand((3,)), (tensor("f32", (1, 3)),), ShapeError, "x has 2 axes"),
    BadSample(Concat(0), (tensor("f32", (2, 3)), tensor("f32", (2, 4))), ShapeError, "does not join"),
    BadSample(Concat(0), (tensor("f32", (2,)), tensor("f64", (2,))), DTypeError, "f32 and f64 differ"),
    BadSample(Concat(2), (tensor("f32", (2, 3)),), ArgumentError, "axis 2 is out of range"),
    BadSample(Concat(0), (), ArgumentError, "nothing to join"),
    BadSample(Concat(0), (tensor("f32", ()),), ArgumentError, "out of range for 0 axes"),
    BadSample(Slice((1,), (3,), (1,)), (tensor("f32", (3,)),), ShapeError, "3 elements from 1 leave axis 0 of size 3"),
    BadSample(Slice((0,), (3,), (2,)), (tensor("f32", (4,)),), ShapeError, "by 2 leave axis 0"),
    BadSample(Slice((0,), (N + 1,), (1,)), (tensor("f32", ("N",)),), ShapeError, "N+1 elements"),
    BadSample(Slice((0,), (1,), (0,)), (tensor("f32", (4,)),), ArgumentError, "step 0"),
    BadSample(Slice((0,), (1,), (1,)), (tensor("f32", (4, 4)),), ArgumentError, "x has 2 axes, 1 starts"),
    BadSample(Pad((1,), (1,)), (tensor("f32", (2, 2)),), ArgumentError, "one amount before and one after"),
    BadSample(Pad((-2,), (-2,)), (tensor("f32", (3,)),), ShapeError, "has size -1"),
    BadSample(Flip((0, -2)), (tensor("f32", (3, 2)),), ArgumentError, "name an axis twice"),
    BadSample(Flip((3,)), (tensor("f32", (3,)),), ArgumentError, "axis 3 is out of range"),
]
