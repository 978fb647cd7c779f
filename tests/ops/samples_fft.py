"""Samples of the ops in ops/fft.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.fft import Dft, RealDft
from tests.ops.sample import BadSample, Sample, normal

SAMPLES = [
    Sample(Dft(), (normal(8, 2),), "forward"),
    Sample(Dft(1), (normal(2, 5, 2),), "backward, an odd length, a batch"),
    Sample(Dft(), (normal(1, 2),), "one number is its own transform"),
    Sample(Dft(), (normal(3, 96, 2),), "two factors", grad=()),
    Sample(Dft(1), (normal(2, 3, 70 * 4, 2),), "two factors, backward", grad=()),
    Sample(Dft(), (normal(1, 8192, 2),), "three factors of two", grad=()),
    Sample(Dft(), (normal(67, 2),), "a prime above the direct length"),
    Sample(Dft(1), (normal(2, 134, 2),), "twice a prime, backward", grad=()),
    Sample(Dft(), (normal(6, 2, scale=1e4) + 1e4,), "cancelling"),
    Sample(Dft(), (normal(0, 4, 2),), "no rows"),
    Sample(Dft(), (normal(4, 2, dtype="float16"),), "f16"),
    Sample(Dft(), (normal(96, 2, dtype="float64"),), "f64"),
    Sample(RealDft(), (normal(8),), "even"),
    Sample(RealDft(), (normal(2, 7),), "odd, a batch"),
    Sample(RealDft(), (normal(1),), "one number"),
    Sample(RealDft(), (normal(2, 600),), "a long even length, halved", grad=()),
    Sample(RealDft(), (normal(2, 1024),), "a power of two, halved", grad=()),
    Sample(RealDft(), (normal(525),), "a long odd length", grad=()),
    Sample(RealDft(), (normal(0, 6),), "no rows"),
    Sample(RealDft(), (np.float32([[1, np.nan, 2, 3, 0, 1], [1, 2, 3, 4, 5, 6]]),), "NaN in one line", grad=()),
    Sample(RealDft(), (np.float32([[0] * 149 + [np.nan]] * 2),), "NaN in halved lines", grad=()),
    Sample(RealDft(), (normal(6, dtype="float16"),), "f16"),
    Sample(RealDft(), (np.float64([1, 2, 3, 4, 5]),), "f64"),
]

BAD = [
    BadSample(Dft(), (tensor("f32", (4, 3)),), ShapeError, "x is [4,3], not [.., n, 2]"),
    BadSample(Dft(), (tensor("f32", (2,)),), ShapeError, "not [.., n, 2]"),
    BadSample(Dft(0), (tensor("f32", (4, 2)),), ArgumentError, "the sign 0 is neither"),
    BadSample(Dft(), (tensor("i32", (4, 2)),), DTypeError, "i32 is not among"),
    BadSample(RealDft(), (tensor("f32", (3, 0)),), ShapeError, "nothing to transform"),
    BadSample(RealDft(), (tensor("f32", ()),), ShapeError, "nothing to transform"),
    BadSample(RealDft(), (tensor("u8", (3,)),), DTypeError, "u8 is not among"),
]
