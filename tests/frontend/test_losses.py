"""Losses against their formulae in plain numpy, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.frontend import nn
from chainrule.frontend.functions import losses
from chainrule.frontend.grad import grad
from chainrule.frontend.trace import spec, trace
from tests.frontend.agreement import assert_same, normal, run_traced

X, Y, Z = normal(4, 5), normal(4, 5, seed=1), normal(4, 5, seed=2)
P = 1 / (1 + np.exp(-X))
T = (Y > 0).astype(np.float64)
SIGNS = np.where(Y > 0, 1.0, -1.0)
V = np.abs(Z) + 0.1
FAR = np.abs(X - Y)
LOGS = X - np.log(np.exp(X).sum(1, keepdims=True))
Q = np.exp(Y) / np.exp(Y).sum(1, keepdims=True)

ELEMENTWISE: list[tuple[nn.Module, tuple[Any, ...], Any]] = [
    (nn.MSELoss("none"), (X, Y), FAR**2), (nn.L1Loss("none"), (X, Y), FAR),
    (nn.HuberLoss("none", 0.7), (X, Y), np.where(FAR <= 0.7, FAR**2 / 2, 0.7 * (FAR - 0.35))),
    (nn.SmoothL1Loss("none", 0.7), (X, Y), np.where(FAR < 0.7, FAR**2 / 1.4, FAR - 0.35)),
    (nn.BCELoss(reduction="none"), (P, T), -(T * np.log(P) + (1 - T) * np.log(1 - P))),
    (nn.BCELoss(V[0], "none"), (P, T), -V[0] * (T * np.log(P) + (1 - T) * np.log(1 - P))),
    (nn.BCEWithLogitsLoss(reduction="none"), (X, T), -(T * np.log(P) + (1 - T) * np.log(1 - P))),
    (nn.BCEWithLogitsLoss(reduction="none", pos_weight=V[0]), (X, T),
     -(V[0] * T * np.log(P) + (1 - T) * np.log(1 - P))),
    (nn.KLDivLoss("none"), (LOGS, Q), Q * (np.log(Q) - LOGS)),
    (nn.KLDivLoss("none", log_target=True), (LOGS, np.log(Q)), Q * (np.log(Q) - LOGS)),
    (nn.HingeEmbeddingLoss(0.5, "none"), (X, SIGNS), np.where(SIGNS > 0, X, np.maximum(0, 0.5 - X))),
    (nn.MarginRankingLoss(0.5, "none"), (X, Z, SIGNS), np.maximum(0, 0.5 - SIGNS * (X - Z))),
    (nn.GaussianNLLLoss(reduction="none"), (X, Y, V), (np.log(V) + FAR**2 / V) / 2),
    (nn.GaussianNLLLoss(True, reduction="none"), (X, Y, V), (np.log(2 * np.pi * V) + FAR**2 / V) / 2),
    (nn.PoissonNLLLoss(reduction="none"), (X, V), np.exp(X) - V * X),
    (nn.PoissonNLLLoss(False, reduction="none"), (V, Y), V - Y * np.log(V + 1e-8)),
    (nn.SoftMarginLoss("none"), (X, SIGNS), np.log1p(np.exp(-SIGNS * X))),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(ELEMENTWISE)), ids=lambda i: f"{i}-{type(ELEMENTWISE[i][0]).__name__}")
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_elementwise_losses_have_their_formulae(index: int, reduction: str) -> None:
    loss, arguments, terms = ELEMENTWISE[index]
    loss.reduction = reduction
    wanted = {"none": lambda t: t, "mean": np.mean, "sum": np.sum}[reduction](terms)
    assert_same(loss(*arguments), wanted)
    traced = trace(loss, tuple(spec("N", *a.shape[1:], dtype="f64") for a in arguments))
    assert_same(run_traced(traced, *arguments), wanted)


def test_losses_of_rows() -> None:
    norm = np.linalg.norm
    cosine = (X * Y).sum(1) / (norm(X, axis=1) * norm(Y, axis=1))
    sides = SIGNS[:, 0]
    wanted = np.where(sides > 0, 1 - cosine, np.maximum(0, cosine - 0.1)).mean()
    assert_same(nn.CosineEmbeddingLoss(0.1)(X, Y, sides), wanted)
    near, away = norm(X - Y + 1e-6, axis=1), norm(X - Z + 1e-6, axis=1)
    assert_same(nn.TripletMarginLoss(0.5)(X, Y, Z), np.maximum(0, near - away + 0.5).mean())
    assert_same(nn.KLDivLoss("batchmean")(LOGS, Q), (Q * (np.log(Q) - LOGS)).sum() / 4)
    assert_same(losses.hinge_loss(X, SIGNS), np.maximum(0, 1 - SIGNS * X).mean())


CLASSES = np.array([0, 3, -100, 4])
WEIGHT = np.array([1.0, 2, 3, 4, 0.5])


def cross_entropy(weight: Any, reduction: str, smoothing: float, classes: Any = CLASSES) -> Any:
    kept = classes != -100
    factors = np.ones(5) if weight is None else weight
    rows = np.where(kept, classes, 0)
    hard = -LOGS[np.arange(4), rows] * factors[rows]
    smooth = -(LOGS * factors).sum(1) / 5
    terms = np.where(kept, (1 - smoothing) * hard + smoothing * smooth, 0)
    if reduction == "none":
        return terms
    return terms.sum() if reduction == "sum" else terms.sum() / factors[rows][kept].sum()


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_class_numbers(weight: Any, reduction: str, smoothing: float) -> None:
    loss = nn.CrossEntropyLoss(weight, reduction=reduction, label_smoothing=smoothing)
    wanted = cross_entropy(weight, reduction, smoothing)
    assert_same(loss(X, CLASSES), wanted)
    assert_same(run_traced(trace(loss, (spec("N", 5, dtype="f64"), spec("N", dtype="i64"))), X, CLASSES), wanted)
    if not smoothing:
        assert_same(nn.NLLLoss(weight, reduction=reduction)(LOGS, CLASSES), wanted)


def test_cross_entropy_of_probabilities_and_of_images() -> None:
    assert_same(losses.cross_entropy(X, Q), -(Q * LOGS).sum(1).mean())
    assert_same(losses.cross_entropy(X, Q, label_smoothing=0.2), -((0.8 * Q + 0.04) * LOGS).sum(1).mean())
    assert_same(losses.cross_entropy(X, np.eye(5)[[1, 2, 3, 0]]), losses.cross_entropy(X, np.array([1, 2, 3, 0])))
    image = normal(2, 5, 3)
    logs = image - np.log(np.exp(image).sum(1, keepdims=True))
    classes = np.array([[0, 1, 4], [2, 2, 3]])
    wanted = -np.take_along_axis(logs, classes[:, None], 1).mean()
    assert_same(losses.cross_entropy(image, classes), wanted)
    assert_same(losses.cross_entropy(X[0], np.array(2)), -LOGS[0, 2])


def test_the_gradient_of_cross_entropy_is_softmax_minus_target() -> None:
    classes = np.array([0, 3, 1, 4])
    assert_same(grad(lambda x: losses.cross_entropy(x, classes))(X), (np.exp(LOGS) - np.eye(5)[classes]) / 4)


def test_gradients_stay_finite_at_the_extremes() -> None:
    huge = np.array([[1e4, -1e4, 0.0]], np.float32)
    slope = grad(lambda x: losses.cross_entropy(x, np.array([1])))(huge)
    assert_same(slope, np.array([[1, -1, 0]], np.float32))
    logits, target = np.array([1e4, -1e4], np.float32), np.array([0, 1], np.float32)
    slope = grad(lambda x: losses.binary_cross_entropy_with_logits(x, target))(logits)
    assert_same(slope, np.array([0.5, -0.5], np.float32))


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: losses.mse_loss(X, Y[0]), ShapeError, "mse_loss: the shapes differ"),
    (lambda: losses.mse_loss(X, Y, "median"), ArgumentError, "mse_loss: reduction 'median' is not known"),
    (lambda: losses.cross_entropy(X, CLASSES[:3]), ShapeError, "cross_entropy: target is [3], x is [4,5]"),
    (lambda: losses.cross_entropy(X, T > 0), DTypeError, "cross_entropy: a target of bool is not understood"),
    (lambda: losses.nll_loss(X, T[:, 0]), DTypeError, "nll_loss: a target of f64 is not understood"),
    (lambda: losses.cross_entropy(X, CLASSES, label_smoothing=2), ArgumentError,
     "cross_entropy: label_smoothing=2.0 is not in [0, 1]"),
    (lambda: losses.kl_div(1.0, 2.0, "batchmean"), ShapeError, "kl_div: batchmean needs a batch axis"),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(REFUSED)))
def test_wrong_arguments_are_refused(index: int) -> None:
    call, kind, cause = REFUSED[index]
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.cause == cause  # type: ignore[attr-defined]
