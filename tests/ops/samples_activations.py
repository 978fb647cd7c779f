"""Samples of ops/activations.py and ops/activations_smooth.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.op import Op
from chainrule.ir.types import tensor
from chainrule.ops.activations import (
    HardShrink,
    HardSigmoid,
    HardSwish,
    HardTanh,
    LeakyRelu,
    PRelu,
    Relu,
    SoftShrink,
    Threshold,
)
from chainrule.ops.activations_smooth import (
    Celu,
    Elu,
    Gelu,
    Glu,
    LogSigmoid,
    Mish,
    Selu,
    Silu,
    Softplus,
    Softsign,
    TanhShrink,
)
from tests.ops.sample import BadSample, Sample, distinct, normal, uniform
from tests.ops.samples_elementwise import bad_unary, half, unary

# Off every kink (-3, -1, -0.5, 0, 0.5, 1, 3, 6) by more than the stencil's reach.
OFF_KINKS = np.array(
    [-40, -7.3, -3.2, -2.6, -1.4, -0.8, -0.3, -0.04, 0.05, 0.33, 0.7, 1.2, 2.9, 4.1, 8.5, 40], np.float32
)
KINKS = np.array([-6, -3, -1, -0.5, -0.0, 0, 0.5, 1, 3, 6], np.float32)
SMOOTH_AT_ZERO = np.append(OFF_KINKS, np.float32([0, -0.0, 1e-30, -1e-30, 1e-4]))

PIECEWISE: tuple[Op, ...] = (
    Relu(), HardTanh(), HardTanh(0.0, 6.0), HardTanh(-0.25, 2.5), LeakyRelu(), LeakyRelu(0.3), LeakyRelu(-0.5),
    HardSigmoid(), HardSwish(), SoftShrink(), SoftShrink(0.0), HardShrink(), HardShrink(1.0), Threshold(0.1, 20.0),
    Threshold(-0.5, -0.5),
)  # fmt: skip
SMOOTH: tuple[Op, ...] = (
    Gelu(), Gelu("tanh"), Silu(), Softplus(), Softplus(2.0), Softplus(0.5, 30.0), LogSigmoid(), Mish(), Softsign(),
    TanhShrink(),
)  # fmt: skip
EXPONENTIAL: tuple[Op, ...] = (Elu(), Elu(0.3), Elu(-1.0), Selu(), Celu(), Celu(2.0), Celu(0.5))


def _activation(op: Op, x: np.ndarray) -> list[Sample]:
    tail = uniform(-20, 20, 4, 16, seed=3)
    return [
        *unary(op, x),
        Sample(op, (x.astype(np.float64).reshape(2, -1)[:, :5],), "two axes"),
        Sample(op, (KINKS,), "at the kinks", grad=()),
        Sample(op, (tail,), "many", grad=()),
        Sample(op, (half(tail),), "many bf16", grad=()),
    ]


def _prelus() -> list[Sample]:
    x, w = distinct(2, 3, 4) + np.float32(0.06), np.array([0.1, -0.4, 0.0], np.float32)
    return [
        Sample(PRelu(), (x, w.reshape(3, 1)), "one slope per channel"),
        Sample(PRelu(), (x, np.float32(0.25).reshape(())), "one slope"),
        Sample(PRelu(), (x[0, :, 0], w), "one slope each"),
        Sample(PRelu(), (KINKS, np.float32([0.25])), "at the kink", grad=()),
        Sample(PRelu(), (half(x), half(w.reshape(3, 1))), "bf16"),
        Sample(PRelu(), (x[:0], w.reshape(3, 1)), "empty"),
    ]


def _glus() -> list[Sample]:
    return [
        Sample(Glu(), (normal(3, 8),)),
        Sample(Glu(0), (normal(4, 3, dtype="float64"),), "first axis"),
        Sample(Glu(-2), (normal(2, 4, 3),), "negative axis"),
        Sample(Glu(1), (half(normal(2, 6)),), "bf16"),
        Sample(Glu(), (normal(3, 0),), "empty halves"),
        Sample(Glu(), (uniform(-90, 90, 2, 10),), "far values", grad=()),
    ]


SAMPLES: list[Sample] = [
    *(s for op in PIECEWISE for s in _activation(op, OFF_KINKS)),
    *(s for op in SMOOTH for s in _activation(op, OFF_KINKS)),
    *(s for op in EXPONENTIAL for s in _activation(op, OFF_KINKS)),
    *(Sample(op, (SMOOTH_AT_ZERO.astype(np.float64),), "smooth at 0") for op in (Gelu(), Gelu("tanh"), Silu(), Mish())),
    Sample(Softplus(1.0, 2.0), (np.array([-3.0, 0.5, 1.9, 2.1, 9.0], np.float32),), "low threshold", grad=()),
    Sample(Softplus(threshold=np.inf), (np.array([-800.0, 0.0, 800.0]),), "no threshold"),
    Sample(Relu(), (np.array([-128, -1, 0, 1, 127], np.int8),), "int8"),
    *(Sample(op, (np.zeros(3, np.float32),), "slope 1/2 at 0") for op in (LogSigmoid(), Softplus(), Silu())),
    *_prelus(), *_glus(),
]  # fmt: skip

_F32 = (tensor("f32", (2,)),)

BAD: list[BadSample] = [
    *bad_unary(Relu(), "u8"),
    *(bad for op in (HardTanh(), LeakyRelu(), HardSigmoid(), HardSwish(), SoftShrink(), HardShrink(),
                     Threshold(0.0, 0.0), Gelu(), Silu(), Softplus(), LogSigmoid(), Mish(), Softsign(), TanhShrink(),
                     Elu(), Selu(), Celu()) for bad in bad_unary(op)),
    BadSample(HardTanh(1.0, 1.0), _F32, ArgumentError, "is not below"),
    BadSample(Gelu("sigmoid"), _F32, ArgumentError, 'approximate="sigmoid" is unknown'),
    BadSample(Softplus(0.0), _F32, ArgumentError, "beta is 0"),
    BadSample(Celu(0.0), _F32, ArgumentError, "alpha is 0"),
    BadSample(SoftShrink(-0.5), _F32, ArgumentError, "is negative"),
    BadSample(HardShrink(-0.5), _F32, ArgumentError, "is negative"),
    BadSample(PRelu(), (tensor("f32", (2, 3)), tensor("f32", (2,))), ShapeError, "do not broadcast"),
    BadSample(PRelu(), (tensor("f32", (2,)), tensor("f16", (2,))), DTypeError, "differ"),
    BadSample(Glu(), (tensor("f32", (2, 3)),), ShapeError, "no two halves"),
    BadSample(Glu(2), (tensor("f32", (2, 4)),), ArgumentError, "axis 2 is out of range"),
    BadSample(Glu(), (tensor("i32", (2, 4)),), DTypeError, "i32 is not among"),
]  # fmt: skip
