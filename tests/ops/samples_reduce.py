"""Samples of ops/reduce.py, ops/statistics.py, ops/cumulative.py and ops/softmax.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.cumulative import CumProd, CumSum, LinearRecurrence
from chainrule.ops.reduce import All, AMax, AMin, Any, ArgMax, ArgMin, Mean, Prod, Reduction, Sum
from chainrule.ops.softmax import LogSoftmax, Softmax
from chainrule.ops.statistics import L1Norm, L2Norm, LogSumExp, Std, SumSquare, Var
from tests.ops.sample import BadSample, Sample, distinct, integers, normal, uniform
from tests.ops.samples_elementwise import half

NAN, INF = np.float32(np.nan), np.float32(np.inf)
FLOAT_REDUCTIONS: tuple[type[Reduction], ...] = (
    Sum,
    Mean,
    AMax,
    AMin,
    Prod,
    LogSumExp,
    Var,
    Std,
    L1Norm,
    L2Norm,
    SumSquare,
)
INT_REDUCTIONS: tuple[type[Reduction], ...] = (Sum, AMax, AMin, Prod)
LINES = np.array([[NAN, 1, 2], [INF, 1, -INF], [-INF, -INF, -INF], [INF, INF, 1], [0.0, -0.0, 0.0]], np.float32)


def _reduction(op: type[Reduction]) -> list[Sample]:
    x = distinct(2, 3, 4) * np.float32(0.37) + np.float32(0.11)
    return [
        Sample(op((1,)), (x,), "middle axis"),
        Sample(op((0, 2)), (x,), "two axes"),
        Sample(op((-1,), True), (x,), "keepdims, negative axis"),
        Sample(op((0, 1, 2)), (x,), "all axes"),
        Sample(op((1,)), (x.astype(np.float64),), "f64"),
        Sample(op((0, 1)), (x.transpose(2, 0, 1),), "a transposed array"),
        Sample(op((0,), True), (x[:1],), "axis of size 1", grad=() if op is Std else None),
        Sample(op((0,)), (x.astype(np.float16),), "f16"),
        Sample(op((-1, 0)), (half(x),), "bf16"),
        Sample(op((1,)), (LINES,), "NaN and infinities", grad=()),
        Sample(op((0,)), (normal(3, 0),), "empty result"),
        Sample(op((1,)), (normal(3, 0),), "of nothing", grad=()),
    ]


def _integer_reduction(op: type[Reduction]) -> list[Sample]:
    return [
        Sample(op((1,)), (integers(-9, 9, 2, 5),), "int64"),
        Sample(op((0,)), (np.array([100, 100, -128], np.int8),), "int8 wraps"),
        Sample(op((0, 1), True), (integers(0, 200, 3, 4, dtype="uint8"),), "uint8"),
        Sample(op((0,)), (np.zeros((0, 2), np.int32),), "int32 of nothing"),
    ]


def _extrema() -> list[Sample]:
    ties = np.array([[1, 3, 3], [2, 2, 2], [-1, -5, -1]], np.float32)
    found: list[Sample] = []
    for op in (AMax, AMin):
        found += [
            Sample(op((1,)), (ties,), "ties", grad=()),
            Sample(op(()), (ties,), "no axes", grad=(0,)),
            Sample(op((0,)), (np.array([2**53, 2**53 + 1]),), "integers that no double tells apart"),
        ]
    for position in (ArgMax, ArgMin):
        found += [
            Sample(position(1), (ties,), "ties: the first"),
            Sample(position(-1, True), (distinct(2, 3, 4),), "keepdims"),
            Sample(position(0), (distinct(2, 3, 4, dtype="float64"),), "first axis"),
            Sample(position(1), (LINES,), "NaN and infinities"),
            Sample(position(0), (np.array([5, -7, 5], np.int32),), "int32"),
            Sample(position(0), (np.array([0, 2**64 - 1], np.uint64),), "uint64"),
            Sample(position(1), (half(ties),), "bf16"),
            Sample(position(0), (ties.astype(np.float16),), "f16"),
            Sample(position(1), (normal(0, 3),), "empty result"),
            Sample(position(0), (np.array([3], np.int8),), "one element"),
        ]
    return found


def _truths() -> list[Sample]:
    x = np.array([[True, False], [False, False], [True, True]])
    return [
        sample
        for op in (Any, All)
        for sample in (
            Sample(op((1,)), (x,)),
            Sample(op((0, -1), True), (x,), "keepdims"),
            Sample(op((0,)), (np.zeros((0, 2), bool),), "of nothing"),
            Sample(op(()), (x,), "no axes"),
        )
    ]


def _designed() -> list[Sample]:
    """Inputs on which a careless algorithm loses digits: cancellation, a large mean, long rows."""
    rng = np.random.default_rng(5)
    pairs = rng.standard_normal(96).astype(np.float32)
    cancelling = np.concatenate([pairs * 1e4, -pairs * 1e4, pairs[:8] * 1e-3])[None]
    far = (1e4 + rng.standard_normal((2, 64)) * 1e-2).astype(np.float32)
    long = rng.uniform(0, 1, (1, 3000)).astype(np.float32)
    return [
        Sample(Sum((1,)), (cancelling,), "cancellation", grad=()),
        Sample(Sum((1,)), (long,), "long row", grad=()),
        Sample(Sum((0,)), (long.T,), "long column", grad=()),
        Sample(Mean((1,)), (far,), "large mean", grad=()),
        *(
            Sample(op((1,), False, c), (far,), f"large mean, correction {c}", grad=())
            for op in (Var, Std)
            for c in (0, 1)
        ),
        *(Sample(op((0,), False, 1), (normal(5, 3),), "correction 1") for op in (Var, Std)),
        Sample(Var((0,), False, 1), (normal(1, 3),), "fewer than the correction", grad=()),
        *(
            Sample(op((1,)), (np.full((2, 5), 3.25),), "no variance", grad=(0,) if op is Var else ())
            for op in (Var, Std)
        ),
        Sample(LogSumExp((1,)), (np.array([[1000.0, 1001.0], [-1000.0, -1001.0]], np.float32),), "far from 0"),
        Sample(LogSumExp((1,)), (uniform(-5, 5, 3, 40),), "long rows", grad=()),
        Sample(Prod((1,)), (np.array([[2.0, 0, 3], [0, 0, 5], [1, 2, 3]], np.float32),), "zeros"),
        Sample(Prod((0, 1)), (uniform(0.5, 1.5, 6, 6),), "two axes of many"),
        Sample(L2Norm((0,)), (np.zeros((2, 2)),), "of zeros", grad=()),
        Sample(L1Norm((0,)), (np.zeros((2, 2)),), "of zeros"),
    ]


def _running() -> list[Sample]:
    x = normal(2, 5, seed=4)
    found = [
        Sample(CumSum(1, exclusive, reverse), (x,), f"exclusive={exclusive}, reverse={reverse}")
        for exclusive in (False, True)
        for reverse in (False, True)
    ]
    found += [
        Sample(CumSum(1, True, True), (integers(-9, 9, 2, 4),), "int64"),
        Sample(CumSum(0), (uniform(0, 1, 1500),), "long", grad=()),
        Sample(CumProd(1), (np.array([[2.0, 0, 3, 0, 4], [1, 2, 3, 0.5, 0], [0, 1, 2, 3, 4]], np.float32),), "zeros"),
        Sample(CumProd(-1), (np.array([[7, 77, 7]], np.int8),), "int8 wraps"),
    ]
    for op in (CumSum, CumProd):
        found += [
            Sample(op(0), (x,), "first axis"),
            Sample(op(-2), (normal(2, 3, 2, dtype="float64"),), "negative axis"),
            Sample(op(0), (half(x),), "bf16"),
            Sample(op(1), (x.astype(np.float16),), "f16"),
            Sample(op(0), (normal(0, 3),), "empty"),
            Sample(op(1), (LINES,), "NaN and infinities", grad=()),
            Sample(op(0), (np.array([3.0]),), "one element"),
        ]
    return found


def _recurrences() -> list[Sample]:
    a, b = normal(3, 7, seed=1), normal(3, 7, seed=2)
    zeros = np.where(np.arange(7) % 3 == 1, 0, a).astype(np.float32)
    return [
        sample
        for reverse in (False, True)
        for sample in (
            Sample(LinearRecurrence(1, reverse), (a, b), f"reverse={reverse}"),
            Sample(LinearRecurrence(0, reverse), (a, b), f"first axis, reverse={reverse}"),
            Sample(LinearRecurrence(-2, reverse), (normal(2, 3, 2, dtype="float64"), normal(2, 3, 2, dtype="float64"))),
            Sample(LinearRecurrence(1, reverse), (zeros, b), f"zeros, reverse={reverse}"),
            Sample(LinearRecurrence(1, reverse), (LINES, LINES), f"NaN and infinities, reverse={reverse}", grad=()),
            Sample(LinearRecurrence(1, reverse), (zeros, b * np.float32(INF)), f"starts anew {reverse}", grad=()),
            Sample(LinearRecurrence(0, reverse), (half(a), half(b)), f"bf16, reverse={reverse}"),
            Sample(LinearRecurrence(1, reverse), (a.astype(np.float16), b.astype(np.float16)), f"f16, {reverse}"),
            Sample(LinearRecurrence(0, reverse), (normal(0, 3), normal(0, 3)), f"of nothing, reverse={reverse}"),
            Sample(LinearRecurrence(0, reverse), (normal(3, 0), normal(3, 0)), f"empty, reverse={reverse}"),
            Sample(LinearRecurrence(0, reverse), (normal(1, 3), normal(1, 3)), f"one step, reverse={reverse}"),
        )
    ]


def _softmaxes() -> list[Sample]:
    far = np.array([[1000, 0, -1000], [88, 89, -88], [0, 0, 0], [1e30, -1e30, 0]], np.float32)
    masked = np.array([[0, -INF, 1], [-INF, -INF, -INF], [INF, 0, 1], [NAN, 0, 1]], np.float32)
    return [
        sample
        for op in (Softmax, LogSoftmax)
        for sample in (
            Sample(op(), (normal(3, 7),)),
            Sample(op(0), (normal(3, 2, dtype="float64"),), "first axis"),
            Sample(op(-2), (normal(2, 3, 4),), "middle axis"),
            Sample(op(1), (far,), "far from 0", grad=()),
            Sample(op(1), (masked,), "masked", grad=()),
            Sample(op(1), (normal(4, 1),), "one class"),
            Sample(op(-1), (half(normal(2, 9)),), "bf16"),
            Sample(op(-1), (normal(2, 9, dtype="float16"),), "f16"),
            Sample(op(1), (normal(0, 3),), "empty"),
            Sample(op(1), (normal(3, 0),), "of nothing"),
            Sample(op(1), (uniform(-8, 8, 2, 100),), "long rows", grad=()),
        )
    ]


SAMPLES: list[Sample] = [
    *(s for op in FLOAT_REDUCTIONS for s in _reduction(op)),
    *(s for op in INT_REDUCTIONS for s in _integer_reduction(op)),
    *_extrema(), *_truths(), *_designed(), *_running(), *_recurrences(), *_softmaxes(),
]  # fmt: skip

_MATRIX = tensor("f32", (2, 3))
_EMPTY = tensor("f32", (2, 0))

BAD: list[BadSample] = [
    *(BadSample(op((2,)), (_MATRIX,), ArgumentError, "axis 2 is out of range") for op in FLOAT_REDUCTIONS),
    *(BadSample(op((1,)), (tensor("bool", (2,)),), ArgumentError, "axis 1 is out of range") for op in (Any, All)),
    *(BadSample(op((0, -2)), (_MATRIX,), ArgumentError, "name an axis twice") for op in FLOAT_REDUCTIONS),
    *(BadSample(op((0,)), (tensor("bool", (2,)),), DTypeError, "bool is not among") for op in FLOAT_REDUCTIONS),
    *(BadSample(op((0,)), (_MATRIX, _MATRIX), ArgumentError, "takes 1 inputs, 2") for op in FLOAT_REDUCTIONS),
    *(BadSample(op((0,)), (_MATRIX,), DTypeError, "f32 is not among") for op in (Any, All)),
    *(BadSample(op(2), (_MATRIX,), ArgumentError, "axis 2 is out of range")
      for op in (ArgMax, ArgMin, CumSum, CumProd, Softmax, LogSoftmax)),
    *(BadSample(op(0), (tensor("f32"),), ArgumentError, "axis 0 is out of range") for op in (ArgMax, CumSum, Softmax)),
    *(BadSample(op(1), (_EMPTY,), ShapeError, "axis 1 is empty") for op in (ArgMax, ArgMin)),
    *(BadSample(op(0), (tensor("bool", (2,)),), DTypeError, "bool is not among")
      for op in (ArgMax, ArgMin, CumSum, CumProd)),
    *(BadSample(op(0), (tensor("i32", (2,)),), DTypeError, "i32 is not among") for op in (Softmax, LogSoftmax)),
    *(BadSample(op((0,), False, -1), (_MATRIX,), ArgumentError, "correction=-1 is negative") for op in (Var, Std)),
    BadSample(Mean((0,)), (tensor("i32", (2,)),), DTypeError, "i32 is not among"),
    BadSample(LinearRecurrence(2), (_MATRIX, _MATRIX), ArgumentError, "axis 2 is out of range"),
    BadSample(LinearRecurrence(0), (_MATRIX,), ArgumentError, "takes 2 inputs, 1"),
    BadSample(LinearRecurrence(0), (_MATRIX, tensor("f32", (7,))), ShapeError, "b is f32[7]"),
    BadSample(LinearRecurrence(0), (tensor("i32", (2,)),) * 2, DTypeError, "i32 is not among"),
]  # fmt: skip
