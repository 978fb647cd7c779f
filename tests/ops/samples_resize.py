"""Samples of the ops in ops/resize.py."""

from __future__ import annotations

import numpy as np
from ml_dtypes import bfloat16

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.resize import COORDINATES, ROUNDINGS, Resize
from tests.ops.sample import BadSample, Sample, integers, normal

image, line = normal(1, 2, 3, 4), normal(1, 1, 5)

SAMPLES = [
    *(Sample(Resize((1, 1, 8), (0.0, 0.0, 0.0), "nearest", c, r), (line,), f"nearest 5 to 8, {c}, {r}")
      for c in COORDINATES for r in ROUNDINGS),
    *(Sample(Resize((1, 1, 8), (0.0, 0.0, 0.0), "linear", c), (line,), f"linear 5 to 8, {c}") for c in COORDINATES),
    *(Sample(Resize((1, 1, 3), (0.0, 0.0, 0.0), "linear", c), (line,), f"linear 5 to 3, {c}") for c in COORDINATES),
    *(Sample(Resize((1, 1, 1), (0.0, 0.0, 0.0), "linear", c), (line,), f"linear 5 to 1, {c}") for c in COORDINATES),
    Sample(Resize((1, 2, 6, 8), (1.0, 1.0, 2.0, 2.0), "nearest", "asymmetric", "floor"), (image,), "an image doubled"),
    *(Sample(Resize((1, 2, 6, 8), (0.0, 0.0, 2.0, 2.0), "nearest", c, r), (image,), f"an image doubled, {c}, {r}")
      for c in COORDINATES for r in ROUNDINGS),
    Sample(Resize((1, 2, 6, 8), (1.0, 1.0, 2.0, 2.0), "linear"), (image,), "an image doubled, linear"),
    Sample(Resize((1, 2, 2, 9), (0.0, 0.0, 0.0, 0.0), "linear", "align_corners"), (image,), "shorter and wider"),
    Sample(Resize((1, 1, 3), (1.0, 1.0, 0.7), "linear"), (line,), "a scale that is not the ratio of the sizes"),
    Sample(Resize((1, 1, 7), (1.0, 1.0, 1.5), "nearest"), (line,), "one and a half, nearest"),
    Sample(Resize((1, 1, 5), (0.0, 0.0, 0.0), "linear"), (line,), "the same size"),
    Sample(Resize((1, 4, 1), (0.0, 0.0, 0.0), "linear"), (normal(1, 1, 1),), "one element to four"),
    Sample(Resize((0, 1, 8), (0.0, 0.0, 0.0), "linear"), (normal(0, 1, 5),), "an empty batch"),
    Sample(Resize((1, 1, 0), (0.0, 0.0, 0.0), "linear"), (line,), "to nothing"),
    Sample(Resize((), (), "linear"), (np.asarray(normal()),), "scalar"),
    Sample(Resize((2, 4), (0.0, 0.0), "nearest"), (integers(-9, 9, 2, 3, dtype="int32"),), "nearest, i32"),
    Sample(Resize((2, 6), (0.0, 0.0), "nearest"), (integers(0, 2, 2, 3, dtype="bool"),), "nearest, bool"),
    Sample(Resize((2, 5), (0.0, 0.0), "linear"), (normal(2, 3, dtype="float16"),), "linear, f16"),
    Sample(Resize((3, 5), (0.0, 0.0), "linear"), (normal(2, 3).astype(bfloat16),), "linear, bf16"),
    Sample(Resize((4,), (0.0,), "nearest"), (np.array([np.nan, -0.0, np.inf], np.float32),), "special values", grad=()),
]

BAD = [
    BadSample(Resize((4,), (0.0,), "cubic"), (tensor("f32", (3,)),), ArgumentError, "'cubic' is not known"),
    BadSample(Resize((4,), (0.0,), "linear", "tf"), (tensor("f32", (3,)),), ArgumentError, "one of half_pixel"),
    BadSample(Resize((4,), (0.0,), "nearest", "asymmetric", "up"), (tensor("f32", (3,)),), ArgumentError, "'up'"),
    BadSample(Resize((4,), (0.0,), "linear"), (tensor("i64", (3,)),), DTypeError, "i64 is not among"),
    BadSample(Resize((4,), (0.0,)), (tensor("f32", (3, 3)),), ArgumentError, "give one for every axis"),
    BadSample(Resize((4,), (0.0,)), (tensor("f32", (0,)),), ShapeError, "there is nothing to sample"),
    BadSample(Resize((-4,), (0.0,)), (tensor("f32", (2,)),), ArgumentError, "not negative"),
    BadSample(Resize((4,), (-2.0,)), (tensor("f32", (2,)),), ArgumentError, "not negative"),
]
