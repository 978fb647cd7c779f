"""Attention and positions as functions, against their formulas in numpy."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions import attention as functions
from chainrule.frontend.trace import spec, trace
from tests.frontend.agreement import assert_same, normal, run_traced

Array = np.ndarray


def attended(q: Array, k: Array, v: Array, keep: Array | None = None) -> Array:
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    scores = scores if keep is None else np.where(keep, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def test_heads_of_queries_share_heads_of_keys() -> None:
    q, k, v = normal(2, 6, 3, 4), normal(2, 2, 5, 4, seed=1), normal(2, 2, 5, 3, seed=2)
    wanted = attended(q, np.repeat(k, 3, 1), np.repeat(v, 3, 1))
    assert_same(functions.scaled_dot_product_attention(q, k, v, enable_gqa=True), wanted)
    with pytest.raises(ShapeError):
        functions.scaled_dot_product_attention(q, k, v)


def test_leading_axes_broadcast_and_sizes_are_free() -> None:
    q, k, v = normal(3, 2, 4, 4), normal(2, 5, 4, seed=1), normal(1, 5, 3, seed=2)
    assert_same(functions.scaled_dot_product_attention(q, k, v), attended(q, k, v))
    traced = trace(lambda a, b: functions.scaled_dot_product_attention(a, b, b, is_causal=True),
                   (spec("N", "T", 4, dtype="f64"), spec("N", "S", 4, dtype="f64")))  # fmt: skip
    for t, s in ((3, 5), (1, 1)):
        a, b = normal(2, t, 4), normal(2, s, 4, seed=1)
        assert_same(run_traced(traced, a, b), attended(a, b, b, np.tril(np.ones((t, s), bool))))


def test_dropped_weights_are_scaled_ones() -> None:
    q, v = np.zeros((1, 50, 4), np.float32), np.ones((1, 40, 1), np.float32)
    y = functions.scaled_dot_product_attention(q, np.zeros((1, 40, 4), np.float32), v, dropout_p=0.5)
    assert 0.8 < float(np.mean(y)) < 1.2 and np.std(y) > 0
    assert set(np.unique(np.round(np.asarray(y) * 20)).tolist()) <= set(range(41))


def test_sines_and_cosines_of_positions() -> None:
    found = functions.sinusoidal_positions(5, 6, dtype="f64")
    angles = np.arange(5)[:, None] * 10000.0 ** (-np.arange(0, 6, 2) / 6)
    assert_same(found, np.stack([np.sin(angles), np.cos(angles)], -1).reshape(5, 6))
    with pytest.raises(ArgumentError):
        functions.sinusoidal_positions(5, 3)


@pytest.mark.parametrize("interleaved", [False, True])
def test_turned_features_keep_their_length_and_depend_on_the_distance_alone(interleaved: bool) -> None:
    cosines, sines = functions.rotary_positions(9, 6, dtype="f64")
    a, b = (np.broadcast_to(normal(8, seed=s), (9, 8)) for s in (1, 2))
    q, k = (np.asarray(functions.rotary_embedding(x, cosines, sines, interleaved)) for x in (a, b))
    assert_same(np.linalg.norm(q, axis=-1), np.linalg.norm(a, axis=-1))
    assert_same(q[:, 6:], a[:, 6:])
    products = q @ k.T
    for distance in range(9):
        along = np.diagonal(products, distance)
        assert_same(along, np.full(9 - distance, along[0]))


def test_pairs_are_turned_by_the_angle_of_their_position() -> None:
    cosines, sines = functions.rotary_positions(3, 4, dtype="f64")
    x = normal(3, 4)
    apart = x[:, :2] + 1j * x[:, 2:]
    turned = apart * np.exp(1j * np.arange(3)[:, None] * np.array([1.0, 0.01]))
    assert_same(functions.rotary_embedding(x, cosines, sines), np.concatenate([turned.real, turned.imag], -1))
    beside = x[:, ::2] + 1j * x[:, 1::2]
    turned = beside * np.exp(1j * np.arange(3)[:, None] * np.array([1.0, 0.01]))
    wanted = np.stack([turned.real, turned.imag], -1).reshape(3, 4)
    assert_same(cr.rotary_embedding(x, cosines, sines, interleaved=True), wanted)
