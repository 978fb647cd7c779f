"""Losses against their definitions, one term at a time, and the forms of their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from chainrule.backends.reference import run
from chainrule.errors import ArgumentError
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.types import type_of
from chainrule.ops.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_embedding_loss,
    hinge_embedding_loss,
    hinge_loss,
    huber_loss,
    kl_div,
    l1_loss,
    margin_ranking_loss,
    mse_loss,
    smooth_l1_loss,
    triplet_margin_loss,
)
from chainrule.ops.losses_class import cross_entropy, nll_loss
from chainrule.ops.softmax import log_softmax
from chainrule.ops.transcendental import sigmoid
from chainrule.passes.autodiff import gradients
from tests.ops.sample import integers, normal, uniform

Array = np.ndarray
Loss = Callable[..., Value]


def of(function: Loss, *arrays: Array) -> Array:
    inputs = [new_input(f"x{i}", type_of(a)) for i, a in enumerate(arrays)]
    return run(Graph("call", tuple(inputs), (function(*inputs),)), arrays)[0]


def slope(function: Loss, *arrays: Array) -> Array:
    """The gradient for the first input."""
    inputs = [new_input(f"x{i}", type_of(a)) for i, a in enumerate(arrays)]
    (grad,) = gradients([function(*inputs)], inputs[:1])
    assert grad is not None
    return run(Graph("slope", tuple(inputs), (grad,)), arrays)[0]


def cross_entropies(x: Array, target: Array, weight: Array, share: float,
                    ignored: int) -> tuple[list[float], list[float]]:  # fmt: skip
    """The terms and the weights that the mean divides by, row by row."""
    terms, counted = [], []
    for row, wanted in zip(x.astype(np.float64), target, strict=True):
        logs = [v - math.log(sum(math.exp(u - max(row)) for u in row)) - max(row) for v in row]
        if wanted == ignored:
            terms.append(0.0)
            continue
        smooth = -sum(w * v for w, v in zip(weight, logs, strict=True)) / len(row)
        terms.append(-(1 - share) * weight[wanted] * logs[wanted] + share * smooth)
        counted.append(weight[wanted])
    return terms, counted


@pytest.mark.parametrize("share", [0.0, 0.2])
@pytest.mark.parametrize("ignored", [-100, 1])
def test_cross_entropy_is_its_definition(share: float, ignored: int) -> None:
    x, weight = normal(6, 4, dtype="float64"), uniform(0.5, 2, 4, dtype="float64")
    target = np.array([0, 3, 1, 2, 1, ignored])
    terms, counted = cross_entropies(x, target, weight, share, ignored)
    for reduction, wanted in (("none", terms), ("sum", sum(terms)), ("mean", sum(terms) / sum(counted))):
        got = of(lambda a, t, w, r=reduction: cross_entropy(a, t, w, ignored, r, share), x, target, weight)
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_the_gradient_of_cross_entropy_is_softmax_minus_target() -> None:
    x, target = normal(5, 3, scale=30, dtype="float64"), np.array([0, 2, 1, 1, 0])
    powers = np.exp(x - x.max(1, keepdims=True))
    wanted = (powers / powers.sum(1, keepdims=True) - np.eye(3)[target]) / 5
    np.testing.assert_allclose(slope(cross_entropy, x, target), wanted, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(slope(cross_entropy, x, np.eye(3)[target]), wanted, rtol=1e-12, atol=1e-15)


def test_large_logits_give_finite_losses_and_gradients() -> None:
    x, target = np.float32([[1e30, -1e30, 0], [-3e38, 3e38, 0]]), np.array([0, 1])
    np.testing.assert_array_equal(of(cross_entropy, x, target), np.float32(0))
    assert np.isfinite(slope(cross_entropy, x, target)).all()
    logits, yes = np.float32([1e30, -1e30]), np.float32([1, 0])
    np.testing.assert_array_equal(of(binary_cross_entropy_with_logits, logits, yes), np.float32(0))
    assert np.isfinite(slope(binary_cross_entropy_with_logits, logits, yes)).all()


def test_a_masked_class_costs_nothing_where_it_is_not_the_target() -> None:
    x, target = np.array([[0.0, -np.inf, 0.0]]), np.array([2])
    np.testing.assert_allclose(of(cross_entropy, x, target), math.log(2), rtol=1e-12)
    np.testing.assert_allclose(slope(cross_entropy, x, target), [[0.5, 0, -0.5]], rtol=1e-12)


def test_ignored_targets_get_no_gradient() -> None:
    grad = slope(lambda x, t: cross_entropy(x, t, ignore_index=7), normal(3, 4), np.array([7, 1, 7]))
    assert not grad[[0, 2]].any()
    assert grad[1].all()


@pytest.mark.parametrize("target", [3, -1, 2**40])
def test_a_class_that_is_not_there_is_an_error_when_run(target: int) -> None:
    x, wrong = normal(2, 3), np.array([0, target])
    for loss in (cross_entropy, nll_loss):
        with pytest.raises(ArgumentError, match=f"target {target} is not one of 3 classes"):
            of(loss, x, wrong)
        inputs = [new_input("x", type_of(x)), new_input("t", type_of(wrong))]
        parts = loss(*inputs).op.decompose(*inputs)
        assert isinstance(parts, Value)
        with pytest.raises(ArgumentError, match="out of range"):
            run(Graph("parts", tuple(inputs), (parts,)), [x, wrong])


def test_nll_of_log_softmax_is_cross_entropy() -> None:
    x, t = normal(2, 3, 4, dtype="float64"), integers(0, 3, 2, 4)
    got = of(lambda a, b: nll_loss(log_softmax(a, 1), b), x, t)
    np.testing.assert_allclose(got, of(cross_entropy, x, t), rtol=1e-12)


def test_bce_of_a_sigmoid_is_bce_with_logits() -> None:
    x, t, w = normal(3, 4, dtype="float64"), uniform(0, 1, 3, 4, dtype="float64"), uniform(0, 2, 4, dtype="float64")
    for reduction in ("mean", "sum", "none"):
        got = of(lambda a, b, c, r=reduction: binary_cross_entropy_with_logits(a, b, c, r), x, t, w)
        want = of(lambda a, b, c, r=reduction: binary_cross_entropy(sigmoid(a), b, c, r), x, t, w)
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_pos_weight_weighs_the_yes() -> None:
    x, t, p = normal(3, 4, dtype="float64"), uniform(0, 1, 3, 4, dtype="float64"), uniform(1, 3, 4, dtype="float64")
    s = 1 / (1 + np.exp(-x))
    wanted = np.mean(-(p * t * np.log(s) + (1 - t) * np.log(1 - s)))
    got = of(lambda a, b, c: binary_cross_entropy_with_logits(a, b, pos_weight=c), x, t, p)
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_bce_is_finite_where_the_answer_is_certain() -> None:
    x, t = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])
    np.testing.assert_array_equal(of(lambda a, b: binary_cross_entropy(a, b, reduction="none"), x, t), [0, 0, 100, 100])
    np.testing.assert_allclose(slope(binary_cross_entropy, x, t) * 4, [0, 0, -1e12, 1e12])


def test_distances_are_their_definitions() -> None:
    x, t = np.array([0.0, 0.5, -2.0, 4.0]), np.zeros(4)
    cases: list[tuple[Loss, list[float]]] = [
        (lambda a, b: mse_loss(a, b, "none"), [0, 0.25, 4, 16]),
        (lambda a, b: l1_loss(a, b, "none"), [0, 0.5, 2, 4]),
        (lambda a, b: huber_loss(a, b, "none"), [0, 0.125, 1.5, 3.5]),
        (lambda a, b: huber_loss(a, b, "none", 2), [0, 0.125, 2, 6]),
        (lambda a, b: smooth_l1_loss(a, b, "none"), [0, 0.125, 1.5, 3.5]),
        (lambda a, b: smooth_l1_loss(a, b, "none", 2), [0, 0.0625, 1, 3]),
        (lambda a, b: smooth_l1_loss(a, b, "none", 0), [0, 0.5, 2, 4]),
    ]
    for loss, wanted in cases:
        np.testing.assert_array_equal(of(loss, x, t), wanted)
    np.testing.assert_array_equal(of(mse_loss, x, t), 20.25 / 4)
    np.testing.assert_array_equal(of(lambda a, b: mse_loss(a, b, "sum"), x, t), 20.25)


def test_huber_has_the_slope_of_its_parts_even_at_infinity() -> None:
    x = np.array([0.5, -2.0, 4.0, np.inf, -np.inf])
    grad = slope(lambda a, b: huber_loss(a, b, "sum"), x, np.zeros(5))
    np.testing.assert_array_equal(grad, [0.5, -1, 1, 1, -1])


def test_kl_div_is_zero_of_equals_and_its_definition_else() -> None:
    p = np.array([[0.25, 0.75], [0.5, 0.5]])
    q = np.array([[0.5, 0.5], [0.0, 1.0]])
    np.testing.assert_allclose(of(kl_div, np.log(p), p), 0, atol=1e-16)
    total = 0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75) + math.log(2)
    for reduction, wanted in (("sum", total), ("batchmean", total / 2), ("mean", total / 4)):
        np.testing.assert_allclose(of(lambda a, b, r=reduction: kl_div(a, b, r), np.log(p), q), wanted, rtol=1e-12)
    logs = of(lambda a, b: kl_div(a, b, "sum", True), np.log(q[:1]), np.log(p[:1]))
    np.testing.assert_allclose(logs, 0.25 * math.log(0.5) + 0.75 * math.log(1.5), rtol=1e-12)


def test_margins_are_their_definitions() -> None:
    x, t = np.array([0.5, 2.0, -1.0]), np.array([1.0, -1.0, -1.0])
    np.testing.assert_array_equal(of(lambda a, b: hinge_loss(a, b, "none"), x, t), [0.5, 3, 0])
    np.testing.assert_array_equal(of(lambda a, b: hinge_embedding_loss(a, b, reduction="none"), x, t), [0.5, 0, 2])
    ranking = of(lambda a, b, c: margin_ranking_loss(a, b, c, 1, "none"), x, np.zeros(3), t)
    np.testing.assert_array_equal(ranking, [0.5, 3, 0])
    a, b = np.array([[3.0, 4.0], [1.0, 0.0], [1.0, 0.0]]), np.array([[4.0, 3.0], [0.0, 2.0], [2.0, 0.0]])
    cosine = of(lambda a, b, c: cosine_embedding_loss(a, b, c, 0.25, "none"), a, b, t)
    np.testing.assert_allclose(cosine, [0.04, 0, 0.75], rtol=1e-9, atol=1e-12)


def test_triplets_want_the_negative_farther_by_the_margin() -> None:
    anchor, positive, negative = np.zeros((1, 2)), np.array([[3.0, 4.0]]), np.array([[6.0, 8.0]])
    far = of(lambda a, p, n: triplet_margin_loss(a, p, n, 6.0, eps=0.0), anchor, positive, negative)
    np.testing.assert_allclose(far, 1.0)
    swapped = of(lambda a, p, n: triplet_margin_loss(a, p, n, 6.0, eps=0.0, swap=True), anchor, positive, negative)
    np.testing.assert_allclose(swapped, 6.0)
    city = of(lambda a, p, n: triplet_margin_loss(a, p, n, 8.0, 1, eps=0.0), anchor, positive, negative)
    np.testing.assert_allclose(city, 1.0)
