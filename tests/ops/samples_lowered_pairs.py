"""Samples of ops/lowered_pairs.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import bf16, tensor
from chainrule.ops.lowered_pairs import PackPairs, PairConv, PairMatMul
from tests.ops.sample import BadSample, Sample, normal
from tests.ops.samples_elementwise import half
from tests.ops.samples_lowered_bytes import convolved

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


def conv(kernel: tuple[int, ...], outs: int, sizes: tuple[int, ...], stride: int = 1, pad: int = 0, dilation: int = 1,
         groups: int = 1, spread: int = 1) -> PairConv:  # fmt: skip
    rank = len(kernel)
    axes = ((n,) * rank for n in (stride, pad, dilation))
    return PairConv(kernel, *axes, groups, outs, sizes, (spread,) * rank)


def convolution(op: PairConv, x: np.ndarray, width: int, label: str, bias: bool = False) -> Sample:
    return convolved(op, x, width, label, pairs, (pairs(op.channels, seed=2),) if bias else ())


def spoiled(*shape: int) -> np.ndarray:
    """An image with infinite and missing numbers in the first channel of some pixels."""
    x = pairs(*shape)
    x[:, 1, 2, 0], x[:, -1, -1, 0] = np.inf, np.nan
    return x


CONVOLUTIONS = [
    convolution(conv((3, 3), 5, (5, 6), pad=1), pairs(2, 5, 6, 3), 8, "three channels", bias=True),
    convolution(conv((3, 3), 70, (3, 4), 2, 1), pairs(1, 5, 7, 4), 64, "stride, two panels", bias=True),
    convolution(conv((1, 1), 9, (4, 3), 2), pairs(1, 7, 5, 8), 16, "in place"),
    convolution(conv((1, 1), 9, (7, 5)), pairs(2, 7, 5, 7), 16, "seven channels alone"),
    convolution(conv((3,), 6, (9,), 1, 2, 2), pairs(2, 9, 5), 8, "one axis, dilation"),
    convolution(conv((3, 2), 6, (4, 5), 1, 1, 1, 2), pairs(1, 4, 4, 6), 8, "groups of three channels"),
    convolution(conv((2, 2, 3), 4, (2, 3, 4)), pairs(1, 3, 4, 6, 1), 8, "three axes, one channel"),
    convolution(conv((3, 3), 8, (3, 3), pad=1), pairs(1, 3, 3, 451), 8, "two blocks of depth, an odd run", bias=True),
    convolution(conv((3, 3), 8, (4, 40), pad=1), pairs(0, 4, 40, 4), 8, "no images"),
    convolution(conv((3, 3), 33, (9, 40), pad=-1), pairs(1, 13, 44, 4), 40, "cut at the border"),
    convolution(conv((3, 3), 4, (7, 7), pad=1, spread=2), pairs(1, 4, 4, 3), 8, "spread, phases", bias=True),
    convolution(conv((3, 3), 4, (8, 8), pad=2, dilation=2, spread=2), pairs(1, 4, 4, 2), 8, "spread and dilated"),
    convolution(conv((3,), 6, (9,), pad=1, spread=2, groups=2), pairs(1, 5, 6), 8, "spread, groups of three"),
    convolution(conv((1, 2), 4, (4, 4)), spoiled(1, 4, 5, 1), 8, "infinite and missing neighbours of one channel"),
    convolution(conv((1, 1), 6, (4, 5), groups=2), spoiled(1, 4, 5, 6), 8, "infinite and missing in another group"),
]

SAMPLES = [
    *CONVOLUTIONS,
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
    Sample(PairMatMul(37), (pairs(2, 5, 8), pairs(2, 4, 64, seed=1), pairs(37, seed=2)), "a bias"),
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
    BadSample(conv((3, 3), 5, (5, 6), pad=1), (tensor("f32", (2, 5, 6, 3)), tensor(bf16, (1, 1, 15, 16))), DTypeError,
              "its first input is f32"),
    BadSample(conv((3, 3), 5, (5, 6), pad=1), (tensor(bf16, (2, 5, 6, 3)), tensor(bf16, (1, 1, 14, 16))), ShapeError,
              "does not hold 5 channels"),
    BadSample(conv((1, 1), 5, (5, 6)), (tensor(bf16, (2, 5, 6, 2)), tensor(bf16, (1, 1, 1, 16)), tensor(bf16, (4,))),
              ShapeError, "bias is"),
    BadSample(PairMatMul(6), (tensor(bf16, (3, 8)),), ArgumentError, "it takes 2 or 3 inputs"),
    BadSample(PackPairs(16), (tensor("f16", (4, 4)),), DTypeError, "w is f16"),
    BadSample(PackPairs(16), (tensor("f32", (4,)),), ShapeError, "is not a matrix"),
    BadSample(PackPairs(0), (tensor("f32", (4, 4)),), ArgumentError, "width"),
    BadSample(PairMatMul(6), (tensor("f32", (3, 8)), tensor(bf16, (1, 4, 32))), DTypeError,
              "its first input is f32"),
    BadSample(PairMatMul(6), (tensor(bf16, (8,)), tensor(bf16, (1, 4, 32))), ShapeError, "is not a matrix"),
    BadSample(PairMatMul(6), (tensor(bf16, (3, 7)), tensor(bf16, (1, 4, 32))), ShapeError, "a has 7 columns"),
    BadSample(PairMatMul(6), (tensor(bf16, (3, 8)), tensor(bf16, (1, 4, 31))), ShapeError, "is not [P, S, 2*width]"),
    BadSample(PairMatMul(17), (tensor(bf16, (3, 8)), tensor(bf16, (1, 4, 32))), ShapeError, "does not hold 17 columns"),
]
