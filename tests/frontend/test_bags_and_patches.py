"""Bags, patches, margins, distances and unpooling: native code against the reference, gradients too, and mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions.random import key as key_of
from chainrule.ops.tolerance import ADJOINT_RTOL
from tests.frontend.agreement import normal

Array = np.ndarray[Any, Any]

LABELS, BEGINS = np.array([0, 4, 4, 1, 2]), np.array([0, 2, 2])
DRAWN = np.random.default_rng(5).random((1, 2, 2))
TARGETS = np.array([[3, 0, -1, 1], [-1, 2, 2, 2]])
CASES: tuple[tuple[str, Callable[..., Any], tuple[Any, ...], Array], ...] = (
    ("bag", lambda w: cr.embedding_bag(LABELS.reshape(1, 5), w, mode="max"), (5, 3), normal(5, 3)),
    ("bag with offsets", lambda w: cr.embedding_bag(LABELS, w, BEGINS, padding_idx=1), (5, 3), normal(5, 3)),
    ("largest of bags", lambda w: cr.embedding_bag(LABELS, w, BEGINS, mode="max"), (5, 3), normal(5, 3)),
    ("fractional", lambda x: cr.fractional_max_pool2d(x, 2, 3, random_samples=DRAWN), (1, 2, 6, 7), normal(1, 2, 6, 7)),
    ("adaptive", lambda x: cr.adaptive_max_pool2d_with_indices(x, 3)[0], ("N", 2, 4, 7), normal(2, 2, 4, 7)),
    ("divisor", lambda x: cr.avg_pool2d(x, 3, 2, 1, True, divisor_override=5), (1, 2, 4, 7), normal(1, 2, 4, 7)),
    ("bicubic", lambda x: cr.interpolate(x, (5, 3), mode="bicubic"), (1, 2, 4, 7), normal(1, 2, 4, 7)),
    ("smoothed", lambda x: cr.interpolate(x, (3, 3), mode="bicubic", antialias=True), (1, 1, 7, 9), normal(1, 1, 7, 9)),
    ("unfold", lambda x: cr.unfold(x, (2, 3), padding=1, stride=2), ("N", 2, "H", "W"), normal(2, 2, 5, 4)),
    ("fold", lambda x: cr.fold(x, (4, 5), (2, 3)), ("N", 12, 9), normal(2, 12, 9)),
    ("unpool", lambda x: cr.max_unpool2d(*cr.max_pool2d_with_indices(x, 2), 2), ("N", 2, 4, 6), normal(2, 2, 4, 6)),
    ("cosine", lambda x: cr.cosine_similarity(x, x[::-1]), (4, 3), normal(4, 3)),
    ("distance", lambda x: cr.pairwise_distance(x, x[::-1], p=3.0), (4, 3), normal(4, 3)),
    ("margin", lambda x: cr.multi_margin_loss(x, np.array([3, 0]), p=2, reduction="none"), (2, 4), normal(2, 4)),
    ("labels", lambda x: cr.multilabel_margin_loss(x, TARGETS, reduction="none"), (2, 4), normal(2, 4)),
)


@pytest.mark.parametrize(("name", "f", "shape", "x"), CASES, ids=[case[0] for case in CASES])
def test_native_code_gives_the_reference_with_its_gradient(
    name: str, f: Callable[..., Any], shape: tuple[Any, ...], x: Array
) -> None:
    both = cr.value_and_grad(lambda x: (f(x) * cr.cos(f(x))).sum())
    native, plain = (cr.compile(both, cr.spec(*shape, dtype="f64"), backend=b)(x) for b in ("llvm", "reference"))
    for got, wanted in zip(native, plain, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=ADJOINT_RTOL, atol=ADJOINT_RTOL)


def test_fold_adds_up_what_unfold_takes_apart() -> None:
    x = normal(1, 2, 5, 4)
    times = np.asarray(cr.fold(cr.unfold(np.ones_like(x), 3, padding=1), (5, 4), 3, padding=1))
    assert times[0, 0].tolist() == [[4, 6, 6, 4], *([[6, 9, 9, 6]] * 3), [4, 6, 6, 4]]
    np.testing.assert_allclose(cr.fold(cr.unfold(x, 3, padding=1), (5, 4), 3, padding=1), times * x, rtol=ADJOINT_RTOL)


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    x = np.random.default_rng(0).standard_normal((200, 500))
    y = np.asarray(cr.alpha_dropout(x, 0.3, training=True, key=key_of(1)))
    assert abs(y.mean()) < 0.02 and abs(y.std() - 1) < 0.02
    whole = np.asarray(cr.alpha_dropout(np.ones((8, 8, 3)), 0.5, training=True, features=True, key=key_of(1)))
    assert np.ptp(whole, axis=2).max() == 0 and len(np.unique(whole)) == 2


def test_rrelu_draws_its_slopes() -> None:
    slopes = -np.asarray(cr.rrelu(-np.ones(10_000), 0.2, 0.4, training=True, key=key_of(2)))
    assert slopes.min() >= 0.2 and slopes.max() < 0.4 and abs(slopes.mean() - 0.3) < 0.005


def test_positions_before_the_first_bag_are_out_of_range() -> None:
    with pytest.raises(ArgumentError, match="out of range"):
        cr.embedding_bag(LABELS, normal(5, 3), np.array([1, 2]))


MISTAKES: tuple[tuple[Callable[[], object], type[Exception], str], ...] = (
    (lambda: cr.embedding_bag(LABELS, normal(5, 3)), ShapeError, "indices have 1 axes"),
    (lambda: cr.fractional_max_pool2d(normal(1, 1, 5, 5), 3, 4), ShapeError, r"windows of \[3, 3\] do not fit"),
    (lambda: nn.FractionalMaxPool2d(2), ArgumentError, "give either output_size or output_ratio"),
    (lambda: cr.avg_pool2d(normal(1, 1, 4, 4), 2, divisor_override=0), ArgumentError, "divisor_override is 0"),
    (lambda: nn.AvgPool1d(2, divisor_override=3), ArgumentError, "is for two and three axes"),
    (lambda: cr.interpolate(normal(1, 1, 4), 2, mode="linear", antialias=True), ArgumentError, "antialias with mode"),
    (lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 5, [3, 3]), ArgumentError, r"cutoffs \[3, 3\] of 5 classes"),
    (lambda: nn.EmbeddingBag(5, 3, mode="sums"), ArgumentError, "mode 'sums' is not known"),
    (lambda: cr.unfold(normal(1, 2, 3, 3), 4), ShapeError, "the window does not fit into the image"),
    (lambda: cr.unfold(normal(1, 2, 3, 3), 2, stride=0), ArgumentError, "stride=0"),
    (lambda: cr.fold(normal(1, 12, 8), (4, 5), (2, 3)), ShapeError, "the columns are not those of this image"),
    (lambda: cr.max_unpool2d(normal(1, 2, 3, 3), LABELS, 2), ShapeError, "the shapes differ"),
    (lambda: cr.multi_margin_loss(normal(2, 4), TARGETS), ShapeError, "input and target do not fit"),
    (lambda: cr.multilabel_margin_loss(normal(2, 4), TARGETS[0]), ShapeError, "input and target do not fit"),
    (lambda: cr.pairwise_distance(normal(2), normal(2), p=0), ArgumentError, "p=0 is not above 0"),
    (lambda: nn.Softmax2d()(normal(2, 2)), ShapeError, "Softmax2d: x has 2 axes"),
    (lambda: cr.rrelu(normal(2), 0.5, 0.1), ArgumentError, r"lower=0.5 is above upper=0.1"),
)  # fmt: skip


@pytest.mark.parametrize(("wrong", "kind", "said"), MISTAKES, ids=[case[2] for case in MISTAKES])
def test_mistakes_are_named(wrong: Callable[[], object], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        wrong()
