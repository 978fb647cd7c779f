"""Samples of ops/transcendental.py and ops/trigonometric.py."""

from __future__ import annotations

import numpy as np

from chainrule.ir.op import Op
from chainrule.ops.transcendental import (
    Cbrt,
    Erf,
    Erfc,
    Exp,
    Exp2,
    ExpM1,
    Log,
    Log1P,
    Log2,
    Log10,
    Pow,
    Rsqrt,
    Sigmoid,
    Sqrt,
    Tanh,
)
from chainrule.ops.trigonometric import ACos, ACosH, ASin, ASinH, ATan, ATan2, ATanH, Cos, CosH, Sin, SinH, Tan
from tests.ops.sample import BadSample, Sample, distinct, integers, uniform
from tests.ops.samples_elementwise import SPECIAL, SPECIAL_PAIRS, bad_binary, bad_unary, half, unary

# Around 0, at one, over the whole range in which exp neither vanishes nor overflows f32, and just beyond.
LINE = np.array([-100, -88.5, -87.2, -20.5, -9.1, -5.5, -2.3, -1.0, -0.7, -1e-3, -1e-7, 1e-7, 1e-3, 0.4, 1.0, 1.9, 4.4,
                 8.8, 20.5, 88.7, 100], np.float32)  # fmt: skip
NEAR = np.array([-4.3, -2.1, -1.0, -0.5, -0.1, 0.1, 0.3, 0.9, 1.7, 3.3], np.float32)
ABOVE_ZERO = np.array([1e-38, 1e-20, 1e-3, 0.1, 0.5, 0.99, 1.0, 1.01, 2.0, 7.7, 1e3, 1e20, 3e38], np.float32)
WITHIN_ONE = np.array([-0.95, -0.6, -0.5, -0.2, -1e-4, 1e-4, 0.2, 0.5, 0.7, 0.95], np.float32)
ABOVE_ONE = np.array([1.05, 1.3, 2.0, 5.5, 100.0, 1e4], np.float32)
ANGLES = np.array([-1e6, -2e4, -9999.0, -100.0, 355.0, 1e3, 1e5, 1e8, 1e30, 22 / 7], np.float32)


def _smooth(op: Op, x: np.ndarray, wide: np.ndarray) -> list[Sample]:
    """x: where the gradient is checked; wide: values over the whole domain."""
    return [
        *unary(op, x),
        Sample(op, (wide,), "whole range", grad=()),
        Sample(op, (wide.astype(np.float64),), "whole range f64", grad=()),
        Sample(op, (half(wide),), "whole range bf16", grad=()),
        Sample(op, (x[:4].reshape(1, 2, 2),), "three axes"),
    ]


def _powers() -> list[Sample]:
    bases, exponents = (
        np.array([0.3, 0.9, 1.0, 2.2, 7.5], np.float32),
        np.array([-2.5, -1.0, 0.5, 2.0, 3.0], np.float32),
    )
    small = np.array([-3, -2, -1, 0, 1, 2, 3], np.int32)
    return [
        Sample(Pow(), (bases, exponents)),
        Sample(Pow(), (bases[:, None], exponents), "broadcast"),
        Sample(Pow(), (np.array([-1.5, -2.0, 2.0]), np.array([2.0, 3.0, 0.0])), "whole powers", grad=(0,)),
        Sample(Pow(), (np.zeros(3), np.array([2.0, 1.0, 3.0])), "of zero", grad=()),
        Sample(Pow(), (bases.reshape(5, 1), np.float32(2).reshape(())), "0-d exponent"),
        Sample(Pow(), SPECIAL_PAIRS, "special values", grad=()),
        Sample(Pow(), (bases.astype(np.float16), exponents.astype(np.float16)), "f16"),
        Sample(Pow(), (half(bases), half(exponents)), "bf16"),
        Sample(Pow(), (small[:, None], small), "integers of both signs"),
        Sample(Pow(), (integers(-9, 9, 3, 4), integers(0, 40, 4)), "int64 wraps"),
        Sample(Pow(), (np.array([2, 3, 255], np.uint8), np.array([8, 5, 255], np.uint8)), "uint8 wraps"),
        Sample(Pow(), (bases[:0], exponents[:0]), "empty"),
    ]


def _angles_of_points() -> list[Sample]:
    y, x = distinct(4, 3) + np.float32(0.1), distinct(4, 3, seed=7) - np.float32(0.15)
    return [
        Sample(ATan2(), (y, x)),
        Sample(ATan2(), (y[:, :1], x[:1]), "broadcast"),
        Sample(ATan2(), SPECIAL_PAIRS, "special values", grad=()),
        Sample(ATan2(), (y.astype(np.float64), x.astype(np.float64)), "f64"),
        Sample(ATan2(), (y.astype(np.float16), x.astype(np.float16)), "f16"),
        Sample(ATan2(), (half(y), half(x)), "bf16"),
        Sample(ATan2(), (np.float32(-1).reshape(()), np.float32(-2).reshape(())), "0-d"),
        Sample(ATan2(), (y[:0], x[:0]), "empty"),
    ]


EVERYWHERE: tuple[Op, ...] = (Exp(), Exp2(), ExpM1(), Tanh(), Sigmoid(), Erf(), Erfc(), ATan(), SinH(), CosH(), ASinH())
CYCLIC: tuple[Op, ...] = (Sin(), Cos(), Tan())
LOGARITHMIC: tuple[Op, ...] = (Log(), Log2(), Log10(), Sqrt(), Rsqrt())
BOUNDED: tuple[Op, ...] = (ASin(), ACos(), ATanH())
ALL_UNARY: tuple[Op, ...] = (*EVERYWHERE, *CYCLIC, *LOGARITHMIC, *BOUNDED, Log1P(), Cbrt(), ACosH())

SAMPLES: list[Sample] = [
    *(s for op in EVERYWHERE for s in _smooth(op, NEAR, LINE)),
    *(s for op in CYCLIC for s in _smooth(op, NEAR[1:9] * np.float32(0.6), np.concatenate([LINE, ANGLES]))),
    *(s for op in LOGARITHMIC for s in _smooth(op, ABOVE_ZERO[3:10], ABOVE_ZERO)),
    *(s for op in BOUNDED for s in _smooth(op, WITHIN_ONE[1:9], np.append(WITHIN_ONE, np.float32([-1, 1, 1.5])))),
    *_smooth(Log1P(), NEAR[3:], np.append(ABOVE_ZERO, WITHIN_ONE)),
    *_smooth(Cbrt(), NEAR[:4], np.append(ABOVE_ZERO, LINE)),
    *_smooth(ACosH(), ABOVE_ONE[1:], np.append(ABOVE_ONE, np.float32([1, 0.5]))),
    Sample(Exp(), (uniform(-80, 80, 6, 20),), "many", grad=()),
    Sample(Tanh(), (uniform(-9, 9, 6, 20),), "many", grad=()),
    Sample(Sigmoid(), (uniform(-30, 30, 6, 20),), "many", grad=()),
    Sample(Erf(), (uniform(-4, 4, 6, 20),), "many", grad=()),
    Sample(Log(), (np.append(SPECIAL, np.float32(1e-45)),), "subnormal", grad=()),
    *_powers(), *_angles_of_points(),
]  # fmt: skip

BAD: list[BadSample] = [
    *(bad for op in ALL_UNARY for bad in bad_unary(op)),
    *bad_binary(Pow()),
    *bad_binary(ATan2(), "i64"),
]
