"""Samples with gradients, losses over drawn classes, memory addressing and weight norm against their formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions.random import key as key_of
from chainrule.ops.tolerance import ADJOINT_RTOL, GRADIENT_RTOL
from tests.frontend.agreement import assert_same, normal


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def test_a_reparameterised_gaussian_has_its_moments_and_slopes() -> None:
    mean, log_var = np.full((20_000,), 2.0), np.full((20_000,), np.log(9.0))
    key = key_of(1)
    sample = np.asarray(cr.reparameterize(mean, log_var, key))
    assert abs(sample.mean() - 2) < 0.1 and abs(sample.std() - 3) < 0.1
    slope = cr.grad(lambda lv: cr.reparameterize(cr.asarray(mean), lv, key).sum())
    found = cr.compile(slope, cr.spec(20_000, dtype="f64"), backend="reference")(log_var)
    np.testing.assert_allclose(found, (sample - 2) / 2, rtol=GRADIENT_RTOL, atol=GRADIENT_RTOL)
    assert_same(cr.gaussian_kl(mean[None, :2], log_var[None, :2]), [2 * 0.5 * (9 + 4 - 1 - np.log(9))])
    with pytest.raises(ShapeError, match="reparameterize: the shapes differ"):
        cr.reparameterize(mean, log_var[:3])


def test_gumbel_samples_come_with_the_shares_of_softmax_and_hard_ones_are_one_hot() -> None:
    logits = np.broadcast_to(np.log(np.float32([0.6, 0.3, 0.1])), (20_000, 3))
    hard = np.asarray(cr.gumbel_softmax(logits, 0.5, hard=True, key=key_of(3)))
    assert set(np.round(hard, 6).ravel().tolist()) == {0.0, 1.0}
    np.testing.assert_allclose(hard.mean(0), [0.6, 0.3, 0.1], atol=0.02)
    soft = np.asarray(cr.gumbel_softmax(logits, 0.5, key=key_of(3)))
    np.testing.assert_array_equal(soft.argmax(1), hard.argmax(1))
    x, weights, key = logits[:4].astype(np.float64), normal(4, 3), key_of(3)

    def slope(hard: bool) -> np.ndarray:
        f = cr.grad(lambda x: (cr.gumbel_softmax(x, 0.7, hard, key=key) * weights).sum())
        return cr.compile(f, cr.spec(4, 3, dtype="f64"), backend="reference")(x)

    assert_same(slope(True), slope(False))
    with pytest.raises(ArgumentError, match="tau=0 is not above 0"):
        cr.gumbel_softmax(logits, 0)


def test_log_uniform_samples_have_their_shares() -> None:
    drawn = np.asarray(cr.log_uniform_sample(40_000, 10, key_of(0)))
    shares = np.asarray(cr.log_uniform_share(np.arange(10), 10, "f64"))
    assert abs(shares.sum() - 1) < 1e-12 and drawn.min() == 0 and drawn.max() == 9
    np.testing.assert_allclose(np.bincount(drawn, minlength=10) / 40_000, shares, atol=0.01)


def test_losses_over_drawn_classes_are_those_computed_by_hand() -> None:
    x, w, b, y, key = normal(5, 3), normal(20, 3, seed=1), normal(20, seed=2), np.array([0, 3, 3, 19, 7]), key_of(5)
    drawn = np.asarray(cr.log_uniform_sample(8, 20, key))
    share = np.log((np.arange(20) + 2) / (np.arange(20) + 1)) / np.log(21)
    true = (x * w[y]).sum(1) + b[y] - np.log(8 * share[y])
    others = x @ w[drawn].T + b[drawn] - np.log(8 * share[drawn])
    others[drawn[None] == y[:, None]] = -np.inf
    both = np.concatenate([true[:, None], others], 1)
    near = {"rtol": GRADIENT_RTOL}  # shares are rounded to the logits' type from f64
    expected = np.log(np.exp(both).sum(1)) - true
    np.testing.assert_allclose(cr.sampled_softmax_loss(x, w, y, 8, b, "none", key), expected, **near)
    np.testing.assert_allclose(cr.sampled_softmax_loss(x, w, y, 8, b, key=key), expected.mean(), **near)
    expected = softplus(-true) + softplus(others).sum(1)
    np.testing.assert_allclose(cr.nce_loss(x, w, y, 8, b, "sum", key), expected.sum(), **near)
    negatives = np.array([[1, 2], [4, 4], [0, 19], [5, 6], [7, 8]])
    expected = softplus(-(x * w[y]).sum(1)) + softplus(np.einsum("nd,nkd->nk", x, w[negatives])).sum(1)
    np.testing.assert_allclose(cr.negative_sampling_loss(x, w, y, negatives, "none"), expected, **near)
    with pytest.raises(ShapeError, match="sampled_softmax_loss: the arguments do not fit"):
        cr.sampled_softmax_loss(x, w[:, :2], y, 8)
    with pytest.raises(ArgumentError, match="num_sampled=0"):
        cr.nce_loss(x, w, y, 0)


def test_word_vectors_learn_from_drawn_classes() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            cr.manual_seed(0)
            self.inside, self.outside = nn.Embedding(30, 8), nn.Parameter(np.zeros((30, 8), np.float32))

    def loss(model: Words, word: Any, near: Any) -> Any:
        return cr.nce_loss(model.inside(word), model.outside, near, 10)

    step = cr.training_step(Words(), loss, optim.Adam(0.05), (cr.spec("N", dtype="i64"), cr.spec("N", dtype="i64")))
    words = np.arange(30)
    losses = [float(step(words, (words + 1) % 30)) for _ in range(60)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_memory_is_addressed_by_content_and_by_location() -> None:
    memory, key = normal(2, 5, 3), normal(2, 3, seed=1)
    memory[0, 3] = 4 * key[0]
    w = np.asarray(cr.content_weights(memory, key, np.full((2, 1), 20.0)))
    lengths = np.linalg.norm(memory, axis=2) * np.linalg.norm(key, axis=1)[:, None]
    cosine = np.einsum("bnw,bw->bn", memory, key) / lengths
    e = np.exp(20 * cosine)
    np.testing.assert_allclose(w, e / e.sum(1, keepdims=True), rtol=GRADIENT_RTOL)
    assert w[0].argmax() == 3
    one = np.eye(5)[[4, 1]]
    ones, right = np.ones((2, 1)), np.tile([0.0, 0.0, 1.0], (2, 1))
    np.testing.assert_allclose(cr.location_weights(one, w, ones, right, ones), np.eye(5)[[0, 2]], atol=ADJOINT_RTOL)
    left = right[:, ::-1].copy()
    np.testing.assert_allclose(cr.location_weights(one, w, 0 * ones, left, ones), np.roll(w, -1, 1), atol=ADJOINT_RTOL)
    blurred = np.asarray(cr.location_weights(one, w, ones, np.tile([0.2, 0.6, 0.2], (2, 1)), 3 * ones))
    np.testing.assert_allclose(blurred[1], np.array([8, 216, 8, 0, 0]) / 232, atol=ADJOINT_RTOL)
    with pytest.raises(ShapeError, match="shift has no middle"):
        cr.location_weights(one, w, ones, right[:, :2], ones)


def test_memory_is_read_and_written_by_weights() -> None:
    memory, w = normal(2, 5, 3), np.abs(normal(2, 5, seed=1))
    erase, add = np.abs(normal(2, 3, seed=2)), normal(2, 3, seed=3)
    assert_same(cr.memory_read(memory, w), np.einsum("bn,bnw->bw", w, memory))
    expected = memory * (1 - np.einsum("bn,bw->bnw", w, erase)) + np.einsum("bn,bw->bnw", w, add)
    assert_same(cr.memory_write(memory, w, erase, add), expected)


@pytest.mark.parametrize(("layer", "dim"), [(lambda: nn.Linear(4, 3), 0), (lambda: nn.Conv2d(2, 3, 3), 1),
                                            (lambda: nn.Linear(4, 3), None)])  # fmt: skip
def test_weight_norm_keeps_what_a_layer_computes_and_trains_length_and_direction(layer: Any, dim: int | None) -> None:
    plain = layer()
    before = plain.weight.data.copy()
    x = normal(2, 4, dtype="float32") if before.ndim == 2 else normal(2, 2, 5, 5, dtype="float32")
    expected = np.asarray(plain(x))
    normed = nn.weight_norm(plain, dim=dim)
    assert normed is plain and isinstance(plain, type(layer())) and type(plain).__name__ == type(layer()).__name__
    assert_same(normed(x), expected)
    assert set(normed.state_dict()) == {"weight_g", "weight_v", "bias"}
    specs = (cr.spec(*x.shape), ())
    step = cr.training_step(normed, lambda y: (y * y).mean(), optim.SGD(0.1), specs, backend="reference")
    first = float(step(x))
    assert float(step(x)) < first and not np.array_equal(np.asarray(normed.weight), before)
    after = np.asarray(normed.weight)
    assert nn.remove_weight_norm(normed) is plain and set(plain.state_dict()) == {"weight", "bias"}
    np.testing.assert_array_equal(plain.weight.data, after)
    with pytest.raises(ArgumentError, match="'weight' is not normalised"):
        nn.remove_weight_norm(plain)
    with pytest.raises(ArgumentError, match="Linear has no parameter 'kernel'"):
        nn.weight_norm(nn.Linear(2, 2), "kernel")
