"""Samples of ops/matmul.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.matmul import MatMul
from tests.ops.sample import BadSample, Sample, integers, normal, uniform
from tests.ops.samples_elementwise import half

NAN, INF = np.float32(np.nan), np.float32(np.inf)
SPECIAL = np.array([[NAN, 1], [INF, 1], [0, 1], [INF, -INF]], np.float32)


def _cancelling() -> tuple[np.ndarray, np.ndarray]:
    """Rows whose products nearly cancel: an absolute bound would miss what a componentwise one sees."""
    a = uniform(0.5, 1.0, 3, 64)
    a[:, 1::2] = -a[:, ::2]
    b = np.repeat(uniform(0.5, 1.0, 32, 2, seed=1), 2, 0)
    return a, b * (1 + np.float32(2**-12) * normal(64, 2, seed=2))


SAMPLES: list[Sample] = [
    Sample(MatMul(), (normal(2, 3), normal(3, 4, seed=1))),
    Sample(MatMul(True, False), (normal(3, 2), normal(3, 4, seed=1)), "transpose_a"),
    Sample(MatMul(False, True), (normal(2, 3), normal(4, 3, seed=1)), "transpose_b"),
    Sample(MatMul(True, True), (normal(3, 2), normal(4, 3, seed=1)), "both transposed"),
    Sample(MatMul(), (normal(2, 3, 4), normal(4, 5, seed=1)), "batch by matrix"),
    Sample(MatMul(False, True), (normal(2, 3, 4), normal(5, 4, seed=1)), "batch by weight [OUT, IN]"),
    Sample(MatMul(True, False), (normal(2, 4, 3), normal(4, 5, seed=1)), "batch transposed by matrix"),
    Sample(MatMul(), (normal(2, 3), normal(4, 3, 2, seed=1)), "matrix by batch"),
    Sample(MatMul(True, True), (normal(2, 1, 3, 2), normal(3, 4, 3, seed=1)), "batches stretch both ways, transposed"),
    Sample(MatMul(), (normal(1, 2, 3), normal(4, 3, 2, seed=1)), "a batch of one stretches"),
    Sample(MatMul(), (normal(1, 1), normal(1, 1, seed=1)), "one by one"),
    Sample(MatMul(), (normal(1, 5), normal(5, 1, seed=1)), "row by column"),
    Sample(MatMul(), (normal(3, 0), normal(0, 2)), "inner size 0 gives zeros"),
    Sample(MatMul(), (normal(0, 3), normal(3, 2)), "no rows"),
    Sample(MatMul(), (normal(0, 2, 3), normal(3, 2)), "empty batch"),
    Sample(MatMul(), _cancelling(), "nearly cancelling", grad=()),
    Sample(MatMul(), (SPECIAL, SPECIAL.T.copy()), "NaN, infinities and 0 * inf", grad=()),
    Sample(MatMul(), (normal(2, 3, dtype="float64"), normal(3, 4, seed=1, dtype="float64")), "f64"),
    Sample(MatMul(), (normal(2, 40, dtype="float16"), normal(40, 3, seed=1, dtype="float16")), "f16 sums in f32"),
    Sample(MatMul(), (np.full((1, 4096), 1, np.float16), np.ones((4096, 1), np.float16)), "f16 beyond 2048", grad=()),
    Sample(MatMul(False, True), (half(normal(2, 9)), half(normal(3, 9, seed=1))), "bf16"),
    Sample(MatMul(), (integers(-9, 9, 2, 3), integers(-9, 9, 3, 2, seed=1)), "int64"),
    Sample(MatMul(True, False), (np.full((2, 1), 2**30, np.int32), np.full((2, 2), 3, np.int32)), "int32 wraps"),
    Sample(MatMul(), (integers(0, 9, 2, 3, dtype="uint32"), integers(0, 9, 3, 2, dtype="uint32")), "uint32"),
    Sample(MatMul(), (np.full((1, 2), 2**63, np.uint64), np.full((2, 1), 3, np.uint64)), "uint64 wraps"),
]

BAD: list[BadSample] = [
    BadSample(MatMul(), (tensor("f32", (2, 3)), tensor("f32", (4, 5))), ShapeError, "a has 3, b has 4"),
    BadSample(MatMul(False, True), (tensor("f32", (2, 3)), tensor("f32", (3, 5))), ShapeError, "b is [...,N,K]"),
    BadSample(MatMul(), (tensor("f32", (3,)), tensor("f32", (3, 5))), ShapeError, "not both matrices"),
    BadSample(MatMul(), (tensor("f32", ()), tensor("f32", ())), ShapeError, "reshape a vector"),
    BadSample(MatMul(), (tensor("f32", (2, 3, 4)), tensor("f32", (5, 4, 3))), ShapeError, "do not broadcast"),
    BadSample(MatMul(), (tensor("f32", ("N", 3)), tensor("f32", ("N", 3))), ShapeError, "a has 3, b has N"),
    BadSample(MatMul(), (tensor("f32", (2, 3)), tensor("f64", (3, 2))), DTypeError, "f32 and f64 differ"),
    BadSample(MatMul(), (tensor("i8", (2, 3)), tensor("i8", (3, 2))), DTypeError, "i8 is not among"),
    BadSample(MatMul(), (tensor("bool", (2, 3)), tensor("bool", (3, 2))), DTypeError, "bool is not among"),
    BadSample(MatMul(), (tensor("f32", (2, 3)),), ArgumentError, "takes 2 inputs"),
]
