"""Samples of ops/lowered_pairs.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import bf16, tensor
from chainrule.ops.lowered_pairs import PackPairs, PairMatMul
from tests.ops.sample import BadSample, Sample, normal
from tests.ops.samples_elementwise import half

NAN, INF = np.float32(np.nan), np.float32(np.inf)

# Halfway between two bf16 either way, what overflows by rounding, what is below the smallest, and what is no number.
EDGES = np.array([[1 + 2.0**-8, 1 + 3 * 2.0**-8, 3.4e38, -3.4e38], [2.0**-134, -(2.0**-140), NAN, INF],
                  [0.0, -0.0, -INF, 2.0**-130]], np.float32)  # fmt: skip


def pairs(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers in bf16."""
    return half(normal(*shape, seed=seed))


def signed_ones(*shape: int) -> np.ndarray:
    """1 and -1 by turns: sums cancel."""
    return half(np.where(np.arange(int(np.prod(shape))) % 3 % 2, -1.0, 1.0).reshape(shape))


SAMPLES = [
    Sample(PackPairs(16), (normal(6, 16),)),
    Sample(PackPairs(16), (normal(7, 5),), "odd depth, fewer columns than a panel"),
    Sample(PackPairs(32), (normal(9, 71),), "odd depth, three panels"),
    Sample(PackPairs(24), (normal(5, 50),), "half a vector"),
    Sample(PackPairs(4), (EDGES,), "rounding, subnormals, infinities, NaN"),
    Sample(PackPairs(4, True), (EDGES,), "rounding, subnormals, infinities, NaN, transposed"),
    Sample(PackPairs(16), (pairs(7, 20),), "bf16"),
    Sample(PackPairs(16, True), (normal(20, 7),), "transposed, odd depth"),
    Sample(PackPairs(64, True), (normal(70, 40),), "transposed, two panels"),
    Sample(PackPairs(16, True), (pairs(33, 35),), "transposed, bf16"),
    Sample(PackPairs(1), (normal(1, 3),), "one row, panels of one column"),
    Sample(PackPairs(16), (normal(0, 3),), "no rows"),
    Sample(PackPairs(16), (normal(3, 0),), "no columns"),
    Sample(PackPairs(16, True), (normal(3, 0),), "no rows, transposed"),
    Sample(PairMatMul(6), (pairs(3, 8), pairs(1, 4, 32, seed=1))),
    Sample(PairMatMul(8), (pairs(1, 2), pairs(1, 1, 32, seed=1)), "one row, one step"),
    Sample(PairMatMul(70), (pairs(13, 32), pairs(2, 16, 128, seed=1)), "two panels, ragged both ways"),
    Sample(PairMatMul(24), (pairs(2, 3, 16), pairs(1, 8, 48, seed=1)), "a batch, half a vector"),
    Sample(PairMatMul(9), (signed_ones(7, 2700), signed_ones(1, 1350, 32)), "blocks of depth, cancellation"),
    Sample(PairMatMul(7), (half(EDGES), half(np.resize(EDGES, (1, 2, 32)))), "infinities, NaN"),
    Sample(PairMatMul(5), (pairs(2, 0), pairs(1, 0, 32)), "nothing to add up"),
    Sample(PairMatMul(5), (pairs(0, 4), pairs(1, 2, 32)), "no rows"),
    Sample(PairMatMul(0), (pairs(2, 4), pairs(0, 2, 32)), "no columns"),
]

BAD = [
    BadSample(PackPairs(16), (tensor("f16", (4, 4)),), DTypeError, "w is f16"),
    BadSample(PackPairs(16), (tensor("f32", (4,)),), ShapeError, "is not a matrix"),
    BadSample(PackPairs(0), (tensor("f32", (4, 4)),), ArgumentError, "width"),
    BadSample(PairMatMul(6), (tensor("f32", (3, 8)), tensor(bf16, (1, 4, 32))), DTypeError, "a is f32"),
    BadSample(PairMatMul(6), (tensor(bf16, (8,)), tensor(bf16, (1, 4, 32))), ShapeError, "is not a matrix"),
    BadSample(PairMatMul(6), (tensor(bf16, (3, 7)), tensor(bf16, (1, 4, 32))), ShapeError, "a has 7 columns"),
    BadSample(PairMatMul(6), (tensor(bf16, (3, 8)), tensor(bf16, (1, 4, 31))), ShapeError, "is not [P, S, 2*width]"),
    BadSample(PairMatMul(17), (tensor(bf16, (3, 8)), tensor(bf16, (1, 4, 32))), ShapeError, "does not hold 17 columns"),
]
