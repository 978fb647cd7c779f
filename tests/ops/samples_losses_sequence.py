"""Samples of the ops in ops/losses_sequence.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.losses_sequence import CtcLoss
from tests.ops.sample import BadSample, Sample, normal

Array = np.ndarray


def logs(t: int, n: int, c: int, dtype: str = "float32", scale: float = 1.0) -> Array:
    """Log-probabilities."""
    x = normal(t, n, c, seed=t + n, scale=scale).astype(np.float64)
    return (x - np.log(np.sum(np.exp(x), -1, keepdims=True))).astype(dtype)


def ctc(x: Array, targets: list[list[int]], steps: list[int], labels: list[int], label: str, *, blank: int = 0,
        grad: tuple[int, ...] | None = None, dtype: str = "int64") -> Sample:  # fmt: skip
    shape = (len(targets), -1) if targets else (0, 0)
    arrays = (np.array(targets, dtype).reshape(shape), np.array(steps, dtype), np.array(labels, dtype))
    return Sample(CtcLoss(blank), (x, *arrays), label, grad)


SAMPLES = [
    ctc(logs(5, 2, 4), [[1, 2], [3, 3]], [5, 5], [2, 2], "two rows, one with a repeated label"),
    ctc(logs(6, 3, 5), [[1, 2, 3], [4, 9, -1], [2, 2, 2]], [6, 3, 5], [3, 1, 3], "ragged, padding of any kind"),
    ctc(logs(4, 2, 3), [[0, 1], [1, 0]], [4, 4], [2, 2], "another blank", blank=2, dtype="int32"),
    ctc(logs(3, 2, 3), [[1, 1], [1, 2]], [2, 3], [2, 2], "no path is long enough", grad=()),
    ctc(logs(3, 2, 3), [[1, 2], [1, 2]], [0, 0], [0, 1], "no steps", grad=()),
    ctc(logs(3, 1, 3), [[]], [3], [0], "no labels"),
    ctc(logs(2, 0, 3), [], [], [], "no rows"),
    ctc(logs(40, 1, 6, scale=20.0), [[1, 2, 3, 3, 5]], [40], [5], "steep", grad=()),
    ctc(logs(4, 2, 3, "float64"), [[1, 2], [2, 1]], [4, 3], [2, 2], "f64"),
    ctc(logs(4, 1, 3, "float16"), [[1, 2]], [4], [2], "f16"),
    ctc(np.where(logs(4, 1, 3) < -1.5, -np.inf, logs(4, 1, 3)).astype(np.float32), [[1, 2]], [4], [2],
        "probabilities of 0", grad=()),
]  # fmt: skip

X, Y, N = tensor("f32", (5, 2, 4)), tensor("i64", (2, 3)), tensor("i64", (2,))

BAD = [
    BadSample(CtcLoss(), (X, Y, N), ArgumentError, "takes 4"),
    BadSample(CtcLoss(), (tensor("f32", (5, 4)), Y, N, N), ShapeError, "[T,N,C] and [N,S] are expected"),
    BadSample(CtcLoss(), (X, Y, N, tensor("i64", (3,))), ShapeError, "are not of 2 rows"),
    BadSample(CtcLoss(), (X, tensor("f32", (2, 3)), N, N), DTypeError, "f32"),
    BadSample(CtcLoss(4), (X, Y, N, N), ArgumentError, "blank 4 is not one of 4 classes"),
]
