"""Samples of ops/lowered_pool.py: those of the gradients of pools, with their channels moved."""

from __future__ import annotations

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.lowered_pool import AvgPoolGradLast, MaxPoolGradLast
from chainrule.ops.pool import AvgPoolGrad, MaxPoolGrad
from tests.ops.sample import BadSample, Sample, distinct, normal
from tests.ops.samples_pool import SAMPLES as POOLS


def _last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def _moved() -> list[Sample]:
    found: list[Sample] = []
    for sample in POOLS:
        op, inputs = sample.op, tuple(_last(x) for x in sample.inputs)
        if isinstance(op, MaxPoolGrad):
            made = MaxPoolGradLast(op.window, op.stride, op.pad, op.dilation, op.ceil_mode)
            found.append(Sample(made, inputs, sample.label, grad=()))
        elif isinstance(op, AvgPoolGrad):
            back = AvgPoolGradLast(op.size, op.window, op.stride, op.pad, op.ceil_mode, op.count_include_pad)
            found.append(Sample(back, inputs, sample.label, grad=()))
    return found


def _wide() -> list[Sample]:
    overlapping, beside = ((3, 3), (2, 2), (1, 1, 1, 1)), ((2, 2), (2, 2), (0, 0, 0, 0))
    found: list[Sample] = []
    for name, attributes in (("overlapping", overlapping), ("side by side", beside)):
        x = distinct(2, 9, 7, 37)
        count = 5 if name == "overlapping" else 4
        dy = normal(2, count, 4 if name == "overlapping" else 3, 37, seed=1)
        found += [Sample(MaxPoolGradLast(*attributes, (1, 1)), (x, dy), f"37 channels, {name}", grad=()),
                  Sample(AvgPoolGradLast((9, 7), *attributes), (dy,), f"37 channels, {name}", grad=())]  # fmt: skip
    return found


SAMPLES: list[Sample] = [*_moved(), *_wide()]

TWO = ((2, 2), (2, 2), (0, 0, 0, 0))
IMAGE, HALF = tensor("f32", (1, 4, 4, 2)), tensor("f32", (1, 2, 2, 2))

BAD: list[BadSample] = [
    BadSample(MaxPoolGradLast(*TWO, (1, 1)), (IMAGE, IMAGE), ShapeError, "the pool of x gives"),
    BadSample(MaxPoolGradLast(*TWO, (1, 1)), (tensor("f32", (4, 2)), HALF), ShapeError, "x has 2 axes"),
    BadSample(MaxPoolGradLast(*TWO, (1, 1)), (IMAGE, tensor("f64", (1, 2, 2, 2))), DTypeError, ""),
    BadSample(AvgPoolGradLast((4, 4), *TWO), (IMAGE,), ShapeError, "windows"),
    BadSample(AvgPoolGradLast((4, 4), *TWO), (tensor("i32", (1, 2, 2, 2)),), DTypeError, ""),
]
