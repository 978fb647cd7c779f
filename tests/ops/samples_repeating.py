"""Samples of the ops in ops/repeating.py."""

from __future__ import annotations

import numpy as np
from ml_dtypes import bfloat16

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.repeating import PadBorder, Tile
from tests.ops.sample import BadSample, Sample, integers, normal

SAMPLES = [
    Sample(PadBorder((2,), (1,), "reflect"), (normal(4),), "reflect"),
    Sample(PadBorder((3, 0), (3, 1), "reflect"), (normal(4, 2),), "reflect, as far as it goes"),
    Sample(PadBorder((0, 1), (0, 2), "reflect"), (normal(0, 3),), "reflect, another axis empty"),
    Sample(PadBorder((0,), (0,), "reflect"), (normal(1),), "reflect by nothing"),
    Sample(PadBorder((2, 1), (0, 3), "edge"), (normal(2, 3),), "edge"),
    Sample(PadBorder((5,), (0,), "edge"), (normal(1),), "edge of one element"),
    Sample(PadBorder((2, 0, 1), (3, 0, 1), "wrap"), (normal(3, 2, 2),), "wrap, up to the whole axis"),
    Sample(PadBorder((), (), "wrap"), (np.asarray(normal()),), "wrap of a scalar"),
    Sample(PadBorder((1,), (1,), "edge"), (integers(0, 9, 3, dtype="int32"),), "edge, i32"),
    Sample(PadBorder((1,), (1,), "reflect"), (normal(3).astype(bfloat16),), "reflect, bf16"),
    Sample(Tile((2, 3)), (normal(2, 2),), "both axes"),
    Sample(Tile((1, 1)), (normal(2, 2),), "once"),
    Sample(Tile((0, 2)), (normal(2, 3),), "no times"),
    Sample(Tile((3,)), (normal(0),), "nothing, often"),
    Sample(Tile(()), (np.asarray(normal()),), "scalar"),
    Sample(Tile((4,)), (normal(1, dtype="float64"),), "f64"),
    Sample(Tile((2,)), (integers(0, 2, 3, dtype="bool"),), "bool"),
]

BAD = [
    BadSample(PadBorder((1,), (1,), "mirror"), (tensor("f32", (4,)),), ArgumentError, "'mirror'"),
    BadSample(PadBorder((4,), (0,), "reflect"), (tensor("f32", (4,)),), ShapeError, "too short for a reflect pad of 4"),
    BadSample(PadBorder((5,), (0,), "wrap"), (tensor("f32", (4,)),), ShapeError, "too short for a wrap pad of 5"),
    BadSample(PadBorder((1,), (0,), "edge"), (tensor("f32", (0,)),), ShapeError, "edge needs one element"),
    BadSample(PadBorder((-1,), (0,), "edge"), (tensor("f32", (3,)),), ArgumentError, "is negative"),
    BadSample(PadBorder((1,), (0,), "edge"), (tensor("f32", (3, 3)),), ArgumentError, "x has 2 axes"),
    BadSample(Tile((2,)), (tensor("f32", (3, 3)),), ArgumentError, "do not fit the 2 axes"),
    BadSample(Tile((-1,)), (tensor("f32", (3,)),), ArgumentError, "non-negative number"),
]
