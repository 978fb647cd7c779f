"""Samples of ops/norm.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.op import Op
from chainrule.ir.types import tensor
from chainrule.ops.norm import BatchNorm, BatchNormTraining, GroupNorm, InstanceNorm, LayerNorm, LpNormalize, RMSNorm
from chainrule.ops.norm_grad import NormGrad
from tests.ops.sample import BadSample, Sample, normal, uniform
from tests.ops.samples_elementwise import half

NAN, INF = np.float32(np.nan), np.float32(np.inf)
ROWS = np.array([[NAN, 1, 2, 3], [INF, 1, 2, 3], [-INF, INF, 0, 0], [1, 2, 3, 4]], np.float32)
# Rows whose deviation is small against eps, and rows whose mean is large against the deviation. Neither is fit for
# difference quotients: the step is not small against the deviation. Large eps stand in for the gradients.
SMALL = normal(3, 8, scale=1e-3)
SHIFTED = (1000 + normal(3, 8)).astype(np.float32)


def _layers() -> list[Sample]:
    x, g, b = normal(2, 3, 5), normal(5, seed=1), normal(5, seed=2)
    found: list[Sample] = []
    for op, affine in ((LayerNorm, (g, b)), (RMSNorm, (g,))):
        found += [
            Sample(op(), (x,), "plain"),
            Sample(op(), (x, *affine), "affine"),
            Sample(op(), (x, g), "gamma alone"),
            Sample(op(2), (x, normal(3, 5, seed=3)), "two axes"),
            Sample(op(3, 1e-3), (x,), "all axes, another eps"),
            Sample(op(1, 0.1), (normal(4),), "1-d, a large eps"),
            Sample(op(), (SMALL,), "deviation below sqrt(eps)", grad=()),
            Sample(op(1, 1e-12), (SMALL,), "small deviation, small eps", grad=()),
            Sample(op(), (SHIFTED,), "large mean", grad=()),
            Sample(op(), (np.full((2, 4), 3, np.float32),), "constant rows", grad=()),
            Sample(op(), (normal(3, 1),), "rows of one"),
            Sample(op(), (normal(0, 4), normal(4)), "empty batch"),
            Sample(op(), (normal(2, 0), normal(0)), "rows of nothing"),
            Sample(op(), (ROWS,), "NaN and infinities", grad=()),
            Sample(op(), tuple(v.astype(np.float64) for v in (x, *affine)), "f64"),
            Sample(op(), tuple(v.astype(np.float16) for v in (x, *affine)), "f16"),
            Sample(op(), tuple(half(v) for v in (x, *affine)), "bf16"),
        ]
    return found


def _gradients() -> list[Sample]:
    x, dy, g = normal(2, 3, 5), normal(2, 3, 5, seed=1), normal(5, seed=2)
    found: list[Sample] = []
    for centred in (True, False):
        op = NormGrad(centred=centred)
        what = "" if centred else ", RMS"
        found += [
            Sample(op, (x, dy, g), f"affine{what}"),
            Sample(op, (x, dy), f"plain{what}"),
            Sample(replace(op, trailing=2), (x, dy, normal(3, 5, seed=3)), f"two axes{what}"),
            Sample(replace(op, trailing=3, eps=1e-3), (x, dy), f"all axes, another eps{what}"),
            Sample(replace(op, eps=0.1), (normal(4), normal(4, seed=1), normal(4, seed=2)), f"1-d, a large eps{what}"),
            Sample(op, (SMALL, normal(3, 8, seed=1), normal(8)), f"deviation below sqrt(eps){what}", grad=()),
            Sample(op, (SHIFTED, normal(3, 8, seed=1), normal(8)), f"large mean{what}", grad=()),
            Sample(op, (np.full((2, 4), 3, np.float32), normal(2, 4)), f"constant rows{what}", grad=()),
            Sample(op, (normal(3, 1), normal(3, 1, seed=1), normal(1)), f"rows of one{what}", grad=(1, 2)),
            Sample(op, (normal(0, 4), normal(0, 4), normal(4)), f"empty batch{what}"),
            Sample(op, (normal(2, 0), normal(2, 0), normal(0)), f"rows of nothing{what}"),
            Sample(op, (ROWS, normal(4, 4), normal(4)), f"NaN and infinities{what}", grad=()),
            Sample(op, (normal(4, 4), ROWS, normal(4)), f"NaN and infinities in dy{what}", grad=()),
            Sample(op, tuple(v.astype(np.float64) for v in (x, dy, g)), f"f64{what}"),
            Sample(op, tuple(v.astype(np.float16) for v in (x, dy, g)), f"f16{what}"),
            Sample(op, tuple(half(v) for v in (x, dy)), f"bf16{what}"),
        ]
    return found


def _channel_norms() -> list[Sample]:
    x, g, b = normal(2, 4, 3, 2), normal(4, seed=1), normal(4, seed=2)
    ops: list[Op] = [GroupNorm(2), GroupNorm(1), GroupNorm(4), InstanceNorm()]
    found: list[Sample] = []
    for op in ops:
        found += [
            Sample(op, (x, g, b), "affine"),
            Sample(op, (x,), "plain"),
            Sample(op, (x, g), "gamma alone"),
            Sample(op, (normal(2, 4, 5),), "one spatial axis"),
            Sample(op, (normal(1, 4, 2, 2, 2), g, b), "three spatial axes"),
            Sample(op, (normal(0, 4, 3), g, b), "empty batch"),
            Sample(op, (uniform(-2**-9, 2**-9, 2, 4, 4), g, b), "small deviation", grad=(1, 2)),
            Sample(op, (x + np.float32(100), g, b), "large mean", grad=()),
        ]
    return [
        *found,
        Sample(GroupNorm(2), (normal(3, 4), g, b), "no spatial axis"),
        Sample(InstanceNorm(), (normal(3, 4), g, b), "no spatial axis: beta alone"),
        Sample(GroupNorm(2, 1e-2), tuple(v.astype(np.float64) for v in (x, g, b)), "f64, another eps"),
        Sample(InstanceNorm(1e-2), tuple(v.astype(np.float64) for v in (x, g, b)), "f64, another eps"),
        Sample(GroupNorm(2), tuple(v.astype(np.float16) for v in (x, g, b)), "f16"),
        Sample(InstanceNorm(), tuple(half(v) for v in (x, g, b)), "bf16"),
        Sample(GroupNorm(2), (ROWS[None], g, b), "NaN and infinities", grad=()),
        Sample(InstanceNorm(), (ROWS[None], g, b), "NaN and infinities", grad=()),
    ]


def _batch_norms() -> list[Sample]:
    x, g, b, m = normal(3, 2, 3, 2), normal(2, seed=1), normal(2, seed=2), normal(2, seed=3)
    v = uniform(0.5, 2.0, 2, seed=4)
    special = ROWS.reshape(2, 2, 4)
    return [
        Sample(BatchNorm(), (x, g, b, m, v)),
        Sample(BatchNorm(1e-2), (normal(4, 2), g, b, m, v), "no spatial axis, another eps"),
        Sample(BatchNorm(), (normal(2, 2, 3), g, b, m, v), "one spatial axis"),
        Sample(BatchNorm(), (normal(1, 2, 2, 2, 2), g, b, m, v), "three spatial axes"),
        Sample(BatchNorm(), (x, g, b, m, np.float32([1e-7, 3.0])), "variance below eps", grad=(0, 1, 2, 3)),
        Sample(BatchNorm(), (x, g, b, m, np.float32([0.0, -1.0])), "variance 0 and negative", grad=()),
        Sample(BatchNorm(), (normal(0, 2, 3), g, b, m, v), "empty batch"),
        Sample(BatchNorm(), (special, g, b, m, v), "NaN and infinities", grad=()),
        Sample(BatchNorm(), tuple(a.astype(np.float64) for a in (x, g, b, m, v)), "f64"),
        Sample(BatchNorm(), tuple(a.astype(np.float16) for a in (x, g, b, m, v)), "f16"),
        Sample(BatchNorm(), tuple(half(a) for a in (x, g, b, m, v)), "bf16"),
        Sample(BatchNormTraining(), (x, g, b)),
        Sample(BatchNormTraining(1e-2), (normal(4, 2), g, b), "no spatial axis, another eps"),
        Sample(BatchNormTraining(), (normal(2, 2, 3), g, b), "one spatial axis"),
        Sample(BatchNormTraining(), (normal(1, 2, 2, 2, 2), g, b), "three spatial axes, a batch of one"),
        Sample(BatchNormTraining(), (normal(1, 2), g, b), "one element: the variance is 0"),
        Sample(BatchNormTraining(), (uniform(-2**-9, 2**-9, 4, 2, 2), g, b), "small deviation", grad=(1, 2)),
        Sample(BatchNormTraining(), (x + np.float32(100), g, b), "large mean", grad=()),
        Sample(BatchNormTraining(), (normal(0, 2, 3), g, b), "empty batch: NaN statistics", grad=()),
        Sample(BatchNormTraining(), (special, g, b), "NaN and infinities", grad=()),
        Sample(BatchNormTraining(), tuple(a.astype(np.float64) for a in (x, g, b)), "f64"),
        Sample(BatchNormTraining(), tuple(a.astype(np.float16) for a in (x, g, b)), "f16"),
        Sample(BatchNormTraining(), tuple(half(a) for a in (x, g, b)), "bf16"),
    ]  # fmt: skip


def _lines() -> list[Sample]:
    x = normal(2, 4, 3)
    return [
        Sample(LpNormalize(), (x,)),
        Sample(LpNormalize(1.0, -1), (x,), "sum of magnitudes, last axis"),
        Sample(LpNormalize(3.0, 0), (x,), "p = 3, first axis"),
        Sample(LpNormalize(0.5, 0), (uniform(0.5, 2, 3),), "p = 0.5, 1-d"),
        Sample(LpNormalize(2.0, 1, 10.0), (x,), "eps above the norm"),
        Sample(LpNormalize(), (np.zeros((2, 3), np.float32),), "zeros stay", grad=()),
        Sample(LpNormalize(2.0, 1, 0.0), (np.float32([[0, 0], [3, 4]]),), "eps 0: zeros give NaN", grad=()),
        Sample(LpNormalize(), (ROWS,), "NaN and infinities", grad=()),
        Sample(LpNormalize(), (normal(3, 0),), "lines of nothing"),
        Sample(LpNormalize(), (normal(3, 1),), "lines of one", grad=()),
        Sample(LpNormalize(), (x.astype(np.float64),), "f64"),
        Sample(LpNormalize(), (x.astype(np.float16),), "f16"),
        Sample(LpNormalize(1.0), (half(x),), "bf16"),
    ]


SAMPLES: list[Sample] = [*_layers(), *_gradients(), *_channel_norms(), *_batch_norms(), *_lines()]

X = tensor("f32", ("N", 4, 3))
FOUR, THREE, TWO = tensor("f32", (4,)), tensor("f32", (3,)), tensor("f32", (2,))


def _channels_refused(op: Op) -> list[BadSample]:
    more = (FOUR,) * (len(op.args) - 3)
    return [
        BadSample(op, (X, TWO, FOUR, *more), ShapeError, "gamma is f32[2], x has 4 channels"),
        BadSample(op, (X, FOUR, THREE, *more), ShapeError, "beta is [4]"),
        BadSample(op, (FOUR, FOUR, FOUR, *more), ShapeError, "no channel axis"),
        BadSample(op, (X, FOUR, tensor("f64", (4,)), *more), DTypeError, "differ"),
        BadSample(op, (tensor("i32", (1, 4)), *(tensor("i32", (4,)),) * (2 + len(more))), DTypeError, "floats"),
        BadSample(op, (X,) * 6, ArgumentError, "inputs, 6 were given"),
    ]


BAD: list[BadSample] = [
    BadSample(LayerNorm(), (X, FOUR), ShapeError, "the normalised axes are [3]"),
    BadSample(LayerNorm(2), (X, tensor("f32", (4, 3)), THREE), ShapeError, "beta is f32[3]"),
    BadSample(LayerNorm(0), (X,), ArgumentError, "the last 0 axes"),
    BadSample(LayerNorm(4), (X,), ArgumentError, "x has 3"),
    BadSample(LayerNorm(1, -1e-5), (X,), ArgumentError, "eps=-1e-05 is negative"),
    BadSample(LayerNorm(), (tensor("i32", (4,)),), DTypeError, "floats"),
    BadSample(LayerNorm(), (X, tensor("f64", (3,))), DTypeError, "differ"),
    BadSample(LayerNorm(), (X, THREE, THREE, THREE), ArgumentError, "1 to 3 inputs"),
    BadSample(RMSNorm(), (X, FOUR), ShapeError, "gamma is f32[4]"),
    BadSample(RMSNorm(5), (X,), ArgumentError, "the last 5 axes"),
    BadSample(RMSNorm(), (X, THREE, THREE), ArgumentError, "1 to 2 inputs"),
    BadSample(NormGrad(), (X, X, FOUR), ShapeError, "the normalised axes are [3]"),
    BadSample(NormGrad(), (X, THREE), ShapeError, "dy is f32[3]"),
    BadSample(NormGrad(4), (X, X), ArgumentError, "x has 3"),
    BadSample(NormGrad(1, -1e-5), (X, X), ArgumentError, "eps=-1e-05 is negative"),
    BadSample(NormGrad(), (X,), ArgumentError, "2 or 3 inputs"),
    BadSample(GroupNorm(3), (X,), ShapeError, "4 channels do not split into 3 groups"),
    BadSample(GroupNorm(0), (X,), ArgumentError, "groups 0"),
    *_channels_refused(GroupNorm(2)),
    *_channels_refused(InstanceNorm()),
    *_channels_refused(BatchNorm()),
    *_channels_refused(BatchNormTraining()),
    BadSample(BatchNorm(float("nan")), (X, FOUR, FOUR, FOUR, FOUR), ArgumentError, "eps=nan"),
    BadSample(BatchNorm(), (X, FOUR, FOUR, FOUR, TWO), ShapeError, "var is f32[2]"),
    BadSample(LpNormalize(2.0, 3), (X,), ArgumentError, "axis 3"),
    BadSample(LpNormalize(0.0), (X,), ArgumentError, "p is positive"),
    BadSample(LpNormalize(2.0, 1, -1.0), (X,), ArgumentError, "eps is not negative"),
    BadSample(LpNormalize(), (tensor("i32", (2, 2)),), DTypeError, "floats"),
]
