"""Samples of ops/losses.py and ops/losses_class.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CosineEmbeddingLoss,
    HingeEmbeddingLoss,
    HingeLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    Loss,
    MarginRankingLoss,
    MSELoss,
    SmoothL1Loss,
    TripletMarginLoss,
)
from chainrule.ops.losses_class import CrossEntropyLoss, NLLLoss, SoftCrossEntropyLoss
from tests.ops.sample import BadSample, Sample, distinct, normal, uniform
from tests.ops.samples_elementwise import half

NAN, INF = np.float32(np.nan), np.float32(np.inf)
SPECIAL = np.array([NAN, INF, -INF, 0, 1], np.float32)
SIGNS = np.array([[1, -1, 1], [-1, 1, -1]], np.float32)


def _everywhere(op: Loss, inputs: tuple[np.ndarray, ...], grad: tuple[int, ...] | None = None) -> list[Sample]:
    """One call under every reduction, and in every float type."""
    found = [Sample(replace(op, reduction=r), inputs, r, grad=grad) for r in op.reductions]
    types = (("f64", lambda x: x.astype(np.float64)), ("f16", lambda x: x.astype(np.float16)), ("bf16", half))
    for label, convert in types:
        converted = tuple(x if x.dtype.kind in "iu" else convert(x) for x in inputs)
        found.append(Sample(op, converted, label, grad=grad if label == "f64" else ()))
    return found


def _at_the_edges(op: Loss, count: int = 2, grad: tuple[int, ...] | None = None) -> list[Sample]:
    none = replace(op, reduction="none")
    return [
        Sample(op, tuple(normal(seed=i) for i in range(count)), "0-d", grad=()),
        Sample(none, tuple(normal(0, 3) for _ in range(count)), "empty", grad=grad),
        Sample(replace(op, reduction="sum"), tuple(normal(0, 3) for _ in range(count)), "sum of nothing", grad=grad),
        Sample(op, tuple(normal(0, 3) for _ in range(count)), "mean of nothing", grad=()),
        Sample(none, (SPECIAL, *(np.ones(5, np.float32),) * (count - 1)), "NaN and infinities", grad=()),
        Sample(none, (np.float32([3, 3, 3]), *(np.float32([3, 3, 3]),) * (count - 1)), "equal", grad=()),
    ]


def _distances() -> list[Sample]:
    x, t = distinct(2, 3) * np.float32(0.73), normal(2, 3, seed=1)
    ops: list[Loss] = [MSELoss(), L1Loss(), HuberLoss(), HuberLoss("mean", 0.25), SmoothL1Loss(),
                       SmoothL1Loss("mean", 0.25), SmoothL1Loss("mean", 0.0)]  # fmt: skip
    found: list[Sample] = []
    for op in ops:
        found += [*_everywhere(op, (x, t)), *_at_the_edges(op)]
    at = np.float32([-1, 1, 0.5, 0])
    return [
        *found,
        Sample(HuberLoss("none"), (at, np.zeros(4, np.float32)), "at delta", grad=()),
        Sample(SmoothL1Loss("none"), (at, np.zeros(4, np.float32)), "at beta", grad=()),
        Sample(MSELoss(), (normal(3, 3, 3, 3), normal(3, 3, 3, 3, seed=1)), "four axes"),
    ]


def _binary() -> list[Sample]:
    p, x, t = uniform(0.1, 0.9, 2, 3), normal(2, 3, scale=3), uniform(0, 1, 2, 3, seed=1)
    sure = np.float32([0, 0, 1, 1])
    return [
        *_everywhere(BCELoss(), (p, t)),
        *_everywhere(BCEWithLogitsLoss(), (x, t)),
        *_everywhere(BCEWithLogitsLoss(), (x, t, uniform(0.5, 3, 3, seed=2))),
        Sample(BCELoss("none"), (sure, np.float32([0, 1, 0, 1])), "certain, right and wrong", grad=()),
        Sample(BCELoss("none"), (np.float32([1e-30, 1e-7, 1 - 2**-24, -0.5]), np.float32([0, 1, 0, 1])),
               "near the ends", grad=()),
        Sample(BCELoss(), (normal(0), normal(0)), "mean of nothing", grad=()),
        Sample(BCELoss(), (np.float32(0.25), np.float32(1)), "0-d"),
        *_at_the_edges(BCEWithLogitsLoss()),
        Sample(BCEWithLogitsLoss("none"), (np.float32([-200, 200, -200, 200]), sure), "large logits", grad=()),
        Sample(BCEWithLogitsLoss("none"), (x, t, np.float32(2)), "0-d pos_weight"),
        Sample(BCEWithLogitsLoss("none"), (x, t, uniform(1, 2, 2, 1)), "pos_weight stretches"),
    ]  # fmt: skip


def _divergence() -> list[Sample]:
    x, t = -uniform(0.5, 3, 2, 3), uniform(0.1, 1, 2, 3, seed=1)
    return [
        *_everywhere(KLDivLoss(), (x, t)),
        *_everywhere(KLDivLoss("mean", True), (x, np.log(t))),
        Sample(KLDivLoss("none"), (x, np.float32([[0, 0.5, 1], [0, 1, 0]])), "zeros in target", grad=(0,)),
        Sample(KLDivLoss("batchmean"), (x[:1], t[:1]), "a batch of one"),
        Sample(KLDivLoss("batchmean"), (normal(0, 3), normal(0, 3)), "batchmean of nothing", grad=()),
        Sample(KLDivLoss("none", True), (SPECIAL, np.zeros(5, np.float32)), "NaN and infinities", grad=()),
        Sample(KLDivLoss(), (np.float32(-1), np.float32(0.5)), "0-d"),
    ]


def _margins() -> list[Sample]:
    x, y = normal(2, 3, scale=2), normal(2, 3, seed=1)
    wide = normal(3, 4, seed=2)
    triple = (wide, normal(3, 4, seed=3), normal(3, 4, seed=4))
    signs = np.float32([1, -1, 0])
    zeros = np.zeros((3, 4), np.float32)
    return [
        *_everywhere(HingeLoss(), (x, SIGNS)),
        *_everywhere(HingeLoss("mean", 0.3), (x, y)),
        *_everywhere(HingeEmbeddingLoss(), (x, SIGNS), grad=(0,)),
        Sample(HingeEmbeddingLoss("none", 0.5), (x, SIGNS * np.float32(0.5)), "targets in between", grad=(0,)),
        *_at_the_edges(HingeLoss()),
        *_at_the_edges(HingeEmbeddingLoss(), grad=(0,)),
        *_everywhere(MarginRankingLoss(), (x, y, SIGNS)),
        *_everywhere(MarginRankingLoss("mean", 0.5), (x, y, SIGNS)),
        *_at_the_edges(MarginRankingLoss(), 3),
        *_everywhere(CosineEmbeddingLoss(), (wide, triple[1], np.float32([1, -1, 1])), grad=(0, 1)),
        *_everywhere(CosineEmbeddingLoss("mean", -0.9), (wide, triple[1], np.float32([-1, -1, 1])), grad=(0, 1)),
        Sample(CosineEmbeddingLoss("none"), (wide, wide, signs), "one way, target 0", grad=()),
        Sample(CosineEmbeddingLoss("none"), (zeros, wide, signs), "zeros", grad=()),
        Sample(CosineEmbeddingLoss(), (normal(4), normal(4, seed=1), np.float32(1)), "vectors", grad=(0, 1)),
        Sample(CosineEmbeddingLoss("sum"), (normal(0, 4), normal(0, 4), normal(0)), "sum of nothing", grad=(0, 1)),
        *_everywhere(TripletMarginLoss(), triple),
        *_everywhere(TripletMarginLoss("mean", 5.0, 1.0), triple),
        *_everywhere(TripletMarginLoss("mean", 5.0, 3.0, 1e-3, True), triple),
        Sample(TripletMarginLoss("none"), (wide, wide, wide), "all equal", grad=()),
        Sample(TripletMarginLoss("none", 1.0, 2.0, 0.0), (zeros, zeros, zeros), "all zeros, eps 0", grad=()),
        Sample(TripletMarginLoss("sum"), (normal(0, 4),) * 3, "sum of nothing"),
        Sample(TripletMarginLoss("none"), tuple(normal(2, 2, 3, seed=i) for i in range(3)), "three axes"),
    ]


def _classes() -> list[Sample]:
    logs = np.log(uniform(0.1, 0.9, 4, 3))
    target, weight = np.array([2, 0, 1, 0]), uniform(0.5, 2, 3, seed=1)
    ignoring = np.array([2, -100, 1, -100])
    found: list[Sample] = []
    for op, x in ((NLLLoss(), logs), (CrossEntropyLoss(), normal(4, 3)),
                  (CrossEntropyLoss("mean", -100, 0.1), normal(4, 3))):  # fmt: skip
        found += [
            *_everywhere(op, (x, target)),
            *_everywhere(op, (x, target, weight)),
            Sample(op, (x, ignoring), "ignore_index"),
            Sample(op, (x, ignoring, weight), "ignore_index, weights"),
            Sample(replace(op, ignore_index=0), (x, target, weight), "ignore_index is a class"),
            Sample(replace(op, reduction="sum"), (x, np.full(4, -100)), "all ignored, sum"),
            Sample(op, (x, np.full(4, -100)), "all ignored: NaN", grad=()),
            Sample(op, (x, target, np.float32([1, 1, 0])), "a class without weight", grad=(0,)),
            Sample(op, (x[0], np.array(1)), "one sample"),
            Sample(op, (x[0], np.array(1), weight), "one sample, weights"),
            Sample(op, (normal(2, 3, 2, 2), np.arange(8).reshape(2, 2, 2) % 3, weight), "images"),
            Sample(replace(op, reduction="none"), (normal(2, 3, 2), np.arange(4).reshape(2, 2) % 3), "lines"),
            Sample(replace(op, reduction="sum"), (normal(0, 3), np.zeros(0, np.int64)), "sum of nothing"),
            Sample(op, (normal(0, 3), np.zeros(0, np.int64)), "mean of nothing", grad=()),
            Sample(op, (x, target.astype(np.int32)), "int32 targets"),
            Sample(op, (x, target.astype(np.uint8)), "uint8 targets"),
            Sample(op, (normal(2, 1), np.zeros(2, np.int64)), "one class"),
        ]
    extreme = np.float32([[1e4, 0, -1e4], [-1e4, 1e4, 0], [300, 299, 298], [0, 0, 0]])
    unlikely = np.float32([[-INF, 0, 1], [0, -INF, 1], [NAN, 0, 1], [INF, 0, 0]])
    return [
        *found,
        Sample(CrossEntropyLoss("none"), (extreme, target), "large logits", grad=()),
        Sample(CrossEntropyLoss("none"), (unlikely, target), "NaN and infinities", grad=()),
        Sample(CrossEntropyLoss("mean", -100, 1.0), (normal(4, 3), target), "all weight smoothed"),
    ]


def _soft() -> list[Sample]:
    x, weight = normal(4, 3), uniform(0.5, 2, 3, seed=1)
    target = uniform(0, 1, 4, 3, seed=2)
    target /= target.sum(1, keepdims=True)
    op = SoftCrossEntropyLoss()
    return [
        *_everywhere(op, (x, target)),
        *_everywhere(op, (x, target, weight)),
        *_everywhere(SoftCrossEntropyLoss("mean", 0.1), (x, target, weight)),
        Sample(op, (x, np.eye(3, dtype=np.float32)[[2, 0, 1, 0]]), "certain targets", grad=(0,)),
        Sample(op, (x[0], target[0]), "one sample"),
        Sample(SoftCrossEntropyLoss("sum", 0.2), (normal(2, 3, 2, 2), uniform(0, 1, 2, 3, 2, 2), weight), "images"),
        Sample(SoftCrossEntropyLoss("sum"), (normal(0, 3), normal(0, 3)), "sum of nothing"),
        Sample(op, (normal(0, 3), normal(0, 3)), "mean of nothing", grad=()),
        Sample(SoftCrossEntropyLoss("none"), (np.float32([[1e4, 0, -1e4]]), np.float32([[0, 0.5, 0.5]])),
               "large logits", grad=()),
    ]  # fmt: skip


SAMPLES: list[Sample] = [*_distances(), *_binary(), *_divergence(), *_margins(), *_classes(), *_soft()]

A, B, I = tensor("f32", ("N", 3)), tensor("f32", ("N", 4)), tensor("i64", ("N",))
N3, NT = tensor("f32", (2, 3)), tensor("f32", (2,))
PAIRS: list[Loss] = [MSELoss(), L1Loss(), HuberLoss(), SmoothL1Loss(), BCELoss(), BCEWithLogitsLoss(), KLDivLoss(),
                     HingeLoss(), HingeEmbeddingLoss()]  # fmt: skip
TRIPLES: list[Loss] = [MarginRankingLoss(), TripletMarginLoss()]


def _refused() -> list[BadSample]:
    found: list[BadSample] = []
    for op in PAIRS:
        found += [
            BadSample(op, (A, B), ShapeError, "losses do not broadcast"),
            BadSample(op, (A, tensor("f32", (3,))), ShapeError, "target is [3]"),
            BadSample(op, (A, tensor("f64", ("N", 3))), DTypeError, "differ"),
            BadSample(op, (tensor("i32", (3,)),) * 2, DTypeError, "floats"),
            BadSample(op, (A,) * 4, ArgumentError, "4 were given"),
            BadSample(replace(op, reduction="average"), (A, A), ArgumentError, "'average' is unknown"),
        ]
    for op in TRIPLES:
        found += [
            BadSample(op, (A, A, B), ShapeError, "losses do not broadcast"),
            BadSample(op, (A, A), ArgumentError, "takes 3 inputs"),
            BadSample(replace(op, reduction="batchmean"), (A, A, A), ArgumentError, "is unknown"),
        ]
    for op in (NLLLoss(), CrossEntropyLoss()):
        found += [
            BadSample(op, (A, tensor("i64", (3,))), ShapeError, "target is [N]: x without its class axis"),
            BadSample(op, (A, tensor("i64", ("N", 1))), ShapeError, "target is [N,1], x is [N,3]"),
            BadSample(op, (A, tensor("f32", ("N",))), DTypeError, "integers"),
            BadSample(op, (tensor("f32", ()), tensor("i64", ())), ShapeError, "no class axis"),
            BadSample(op, (tensor("f32", (2, 0)), tensor("i64", (2,))), ShapeError, "there are no classes"),
            BadSample(op, (A, I, tensor("f32", (4,))), ShapeError, "weight is [3]"),
            BadSample(op, (A, I, tensor("f64", (3,))), DTypeError, "differ"),
            BadSample(op, (A,), ArgumentError, "2 or 3 inputs"),
            BadSample(replace(op, reduction="batchmean"), (A, I), ArgumentError, "is unknown"),
        ]
    return found


BAD: list[BadSample] = [
    *_refused(),
    BadSample(HuberLoss("mean", 0.0), (A, A), ArgumentError, "delta=0.0"),
    BadSample(SmoothL1Loss("mean", -1.0), (A, A), ArgumentError, "beta=-1.0"),
    BadSample(BCEWithLogitsLoss(), (A, A, tensor("f32", (2,))), ShapeError, "do not broadcast"),
    BadSample(BCEWithLogitsLoss(), (A, A, tensor("f32", (2, 1, 3))), ShapeError, "pos_weight broadcasts"),
    BadSample(KLDivLoss("batchmean"), (tensor("f32", ()),) * 2, ArgumentError, "no batch axis"),
    BadSample(CosineEmbeddingLoss(), (N3, N3, N3), ShapeError, "without the last axis"),
    BadSample(CosineEmbeddingLoss(), (tensor("f32", ()),) * 3, ShapeError, "without the last axis"),
    BadSample(CosineEmbeddingLoss(), (N3, tensor("f32", (2, 4)), NT), ShapeError, "b is [2,4]"),
    BadSample(TripletMarginLoss(), (tensor("f32", ()),) * 3, ShapeError, "no axis to measure along"),
    BadSample(TripletMarginLoss("mean", 1.0, 0.0), (A, A, A), ArgumentError, "p=0.0"),
    BadSample(CrossEntropyLoss("mean", -100, 1.5), (A, I), ArgumentError, "label_smoothing=1.5"),
    BadSample(SoftCrossEntropyLoss("mean", -0.1), (A, A), ArgumentError, "label_smoothing=-0.1"),
    BadSample(SoftCrossEntropyLoss(), (A, B), ShapeError, "losses do not broadcast"),
    BadSample(SoftCrossEntropyLoss(), (A, A, NT), ShapeError, "weight is f32[2]"),
    BadSample(SoftCrossEntropyLoss(), (A, A, A, A), ArgumentError, "2 or 3 inputs"),
]
