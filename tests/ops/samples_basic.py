"""Samples of ops/basic.py: constants, filled arrays, sizes, regions."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.ir.graph import Graph, new_input
from chainrule.ir.types import bf16, bool_, f32, i8, tensor
from chainrule.ops.basic import Constant, Data, Full, Fuse, SizeOf, StopGradient
from chainrule.ops.elementwise import add, mul
from chainrule.ops.transcendental import tanh
from tests.ops.sample import BadSample, Sample, normal
from tests.ops.samples_elementwise import SPECIAL, half


def _region() -> Fuse:
    """tanh(a * b) + b, and a * b."""
    a, b = new_input("a", tensor("f64", (2, 3))), new_input("b", tensor("f64", (3,)))
    product = mul(a, b)
    return Fuse(Graph("body", (a, b), (add(tanh(product), b), product)))


REGION = _region()

SAMPLES: list[Sample] = [
    Sample(Constant(Data(SPECIAL)), (), "special values"),
    Sample(Constant(Data(half(normal(2, 3)))), (), "bf16"),
    Sample(Constant(Data(np.array(True))), (), "0-d bool"),
    Sample(Constant(Data(np.zeros((0, 2), np.int8))), (), "empty"),
    Sample(Full(-0.5, (2, 3)), (), "f32"),
    Sample(Full(float("nan"), (2,), bf16), (), "NaN in bf16"),
    Sample(Full(True, (), bool_), (), "0-d bool"),
    Sample(Full(-128, (0, 3), i8), (), "empty"),
    Sample(Full(0.1, (1,), f32), (), "rounds"),
    Sample(SizeOf(7), (), "a number"),
    Sample(StopGradient(), (normal(2, 3),), "f32", grad=()),
    Sample(StopGradient(), (np.array(7),), "0-d i64"),
    Sample(REGION, (normal(2, 3, dtype="float64"), normal(3, dtype="float64", seed=1)), "two results"),
]

BAD: list[BadSample] = [
    BadSample(StopGradient(), (), ArgumentError, "it takes 1 value, 0 were given"),
    BadSample(REGION, (tensor("f64", (2, 3)),), ArgumentError, "the region takes 2 values, 1 were given"),
]
