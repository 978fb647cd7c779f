"""Samples of the ops in ops/selecting.py and ops/suppression.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.selecting import NonZero, Unique
from chainrule.ops.suppression import BoxesKept, InTurn, NonMaxSuppression
from tests.ops.sample import BadSample, Sample, integers, uniform

sparse = np.array([[0, 1.5, -0.0], [np.nan, 0, np.inf]], np.float32)
ties = np.array([3, 1, 2, 1, 3, 3], np.int32)
boxes = np.array([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, -0.1, 1, 0.9], [1, 11, 0, 10], [0, 10.1, 1, 11.1],
                   [0, 100, 1, 101]]], np.float32)  # fmt: skip
scores = np.array([[[0.9, 0.75, 0.6, 0.95, 0.5, 0.3], [0.1, 0.1, 0.2, 0.2, 0.2, 0.1]]], np.float32)
_random_boxes, _random_scores = uniform(0, 4, 2, 12, 4), uniform(0, 1, 2, 3, 12, seed=1)

# As many boxes in a row as fill several vectors, with NaN, without area, and such that do not fit among them.
_tops, _heights = uniform(0, 9, 2, 3, 70), uniform(0, 3, 2, 3, 70, seed=1)
_in_turn = (_tops, _tops[:, :, ::-1].copy(), _tops + _heights, _tops[:, :, ::-1] + _heights, _tops > 1)
_with_nan = tuple(np.where(np.arange(70) == 3 * i, np.float32(np.nan), side) for i, side in enumerate(_in_turn[:4]))

SAMPLES = [
    Sample(NonZero(3), (sparse,), "NaN and -0"),
    Sample(NonZero(0), (np.zeros((2, 3), np.float32),), "nothing"),
    Sample(NonZero(0), (np.zeros((0, 3), np.float32),), "empty"),
    Sample(NonZero(1), (np.asarray(np.float32(2)),), "scalar"),
    Sample(NonZero(2), (np.array([True, False, True]),), "bool"),
    Sample(NonZero(4), (np.array([[[1]], [[2]], [[3]], [[4]]], np.int64),), "all, axes of one"),
    Sample(Unique(3), (ties,), "ties"),
    Sample(Unique(3, False), (ties,), "as they first occur"),
    Sample(Unique(0), (np.zeros(0, np.float32),), "empty"),
    Sample(Unique(1), (np.float32([7]),), "one"),
    Sample(Unique(5, False), (np.float32([4, -1, 2.5, 4, 0, 9, 2.5]),), "f32 (ties part under the stencil)", grad=()),
    Sample(Unique(4, False), (np.float32([4, -1, 2.5, 0]),), "f32 without ties"),
    Sample(Unique(6), (integers(0, 6, 40),), "many of a few"),
    Sample(BoxesKept(3, 0.5), (boxes, scores), "overlapping boxes"),
    Sample(BoxesKept(9, 0.5, 0.4), (boxes, scores), "a least score"),
    Sample(BoxesKept(2, 0.3, None, True), (_random_boxes, _random_scores), "centers"),
    Sample(BoxesKept(0, 0.5), (boxes, scores), "none of any class"),
    Sample(BoxesKept(4, 0.2), (_random_boxes, _random_scores), "two batches"),
    Sample(BoxesKept(4, 0.2), (np.zeros((1, 0, 4), np.float32), np.zeros((1, 2, 0), np.float32)), "no boxes"),
    Sample(InTurn(70, 0.1), _in_turn, "many rows"),
    Sample(InTurn(20, 0.4), _in_turn, "as many as may stay"),
    Sample(InTurn(70, 0.2), (*_with_nan, _in_turn[4]), "NaN", grad=()),
    Sample(InTurn(0, 0.2), _in_turn, "none may stay"),
    Sample(InTurn(5), tuple(x[:1, :1, :1] for x in _in_turn), "one box"),
    Sample(InTurn(5), tuple(x[:, :, :0] for x in _in_turn), "no boxes"),
    Sample(InTurn(9, 0.3), (*(x.astype(np.float16) for x in _in_turn[:4]), _in_turn[4]), "f16", grad=()),
    Sample(InTurn(9, 0.3), (*(x.astype(np.float64) for x in _in_turn[:4]), _in_turn[4]), "f64"),
    Sample(NonMaxSuppression(6, 3, 0.5), (boxes, scores), "overlapping boxes"),
    Sample(NonMaxSuppression(2, 9, 0.5, 0.4), (boxes, scores), "a least score"),
    Sample(NonMaxSuppression(0, 0, 0.5), (boxes, scores), "none"),
]
BAD = [
    BadSample(NonZero(1), (), ArgumentError, "it takes 1 inputs"),
    BadSample(Unique(1), (tensor("f32", (2, 2)),), ShapeError, "is no vector"),
    BadSample(BoxesKept(1), (tensor("f32", (1, 6, 5)), tensor("f32", (1, 1, 6))), ShapeError, "do not fit"),
    BadSample(InTurn(1), (*[tensor("f32", (1, 1, 6))] * 4, tensor("bool", (1, 1, 5))), ShapeError, "do not match"),
    BadSample(InTurn(1), (*[tensor("f32", (1, 1, 6))] * 4, tensor("i32", (1, 1, 6))), DTypeError, "fits is of bool"),
    BadSample(NonMaxSuppression(1, 1), (tensor("f32", (1, 6, 4)), tensor("f64", (1, 1, 6))), DTypeError, "one float"),
]
