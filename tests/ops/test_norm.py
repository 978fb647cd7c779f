"""Normalisations: what holds for all inputs, and the builders' arguments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from chainrule.backends.reference import run
from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.types import tensor, type_of
from chainrule.ops.norm import (
    batch_norm,
    batch_norm_training,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    lp_normalize,
    rms_norm,
)
from tests.ops.sample import normal, uniform

Array = np.ndarray


def of(function: Callable[..., Value | tuple[Value, ...]], *arrays: Array) -> list[Array]:
    inputs = [new_input(f"x{i}", type_of(a)) for i, a in enumerate(arrays)]
    found = function(*inputs)
    return run(Graph("call", tuple(inputs), found if isinstance(found, tuple) else (found,)), arrays)


def test_a_normalised_row_has_mean_zero_and_deviation_one() -> None:
    x = normal(3, 50, dtype="float64") * 7 + 100
    (y,) = of(lambda a: layer_norm(a, eps=0.0), x)
    np.testing.assert_allclose(y.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(1), 1, rtol=1e-12)
    (y,) = of(lambda a: rms_norm(a, eps=0.0), x)
    np.testing.assert_allclose(np.mean(y * y, 1), 1, rtol=1e-12)


def test_eps_counts_where_the_deviation_is_small() -> None:
    x = np.array([[1e-3, -1e-3]])
    for eps in (1e-5, 1e-6):
        np.testing.assert_allclose(of(lambda a, e=eps: layer_norm(a, eps=e), x)[0], x / np.sqrt(1e-6 + eps), rtol=1e-12)
        np.testing.assert_allclose(of(lambda a, e=eps: rms_norm(a, eps=e), x)[0], x / np.sqrt(1e-6 + eps), rtol=1e-12)


def test_group_norm_lies_between_instance_and_layer_norm() -> None:
    x, g, b = normal(2, 4, 3, dtype="float64"), normal(4, seed=1, dtype="float64"), normal(4, seed=2, dtype="float64")
    each = of(lambda a, p, q: group_norm(a, 4, p, q), x, g, b)[0]
    np.testing.assert_allclose(each, of(instance_norm, x, g, b)[0], rtol=1e-12)
    whole = of(lambda a: group_norm(a, 1), x)[0]
    np.testing.assert_allclose(whole, of(lambda a: layer_norm(a, trailing=2), x)[0], rtol=1e-12)


def test_training_statistics_put_into_inference_give_the_same_result() -> None:
    x, g, b = normal(4, 3, 5, dtype="float64"), normal(3, seed=1, dtype="float64"), normal(3, seed=2, dtype="float64")
    y, mean, var = of(batch_norm_training, x, g, b)
    np.testing.assert_allclose(mean, x.mean((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(var, x.var((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(of(batch_norm, x, g, b, mean, var)[0], y, rtol=1e-12)


def test_variance_survives_a_large_mean() -> None:
    x = (uniform(-1, 1, 4, 256) + np.float32(4096)).astype(np.float32)
    wide = x.astype(np.float64)
    wanted = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 1e-5)
    inputs = new_input("x", type_of(x))
    parts = layer_norm(inputs).op.decompose(inputs)
    assert isinstance(parts, Value)
    got = run(Graph("parts", (inputs,), (parts,)), [x])[0]
    scale = np.abs(wanted) + np.mean(np.abs(wide), 1, keepdims=True) / wide.std(1, keepdims=True) + 1
    assert np.max(np.abs(got - wanted) / scale) <= 8 * 2.0**-24


def test_lp_normalize_makes_lines_of_length_one() -> None:
    x = normal(3, 4, dtype="float64")
    np.testing.assert_allclose(np.sum(of(lp_normalize, x)[0] ** 2, 1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.sum(np.abs(of(lambda a: lp_normalize(a, 1, -2), x)[0]), 0), 1, rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_local_response_norm_is_its_definition(size: int) -> None:
    x = normal(2, 5, 3, 2, dtype="float64")
    wanted = np.empty_like(x)
    for c in range(5):
        near = x[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1]
        wanted[:, c] = x[:, c] / (2.0 + 0.5 * np.sum(near**2, 1) / size) ** 0.75
    got = of(lambda a: local_response_norm(a, size, 0.5, 0.75, 2.0), x)[0]
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_arguments_that_do_not_fit_are_explained() -> None:
    x, c = new_input("x", tensor("f32", (2, 3, 4))), new_input("c", tensor("f32", (3,)))
    with pytest.raises(ArgumentError, match="beta is given without gamma"):
        instance_norm(x, None, c)
    with pytest.raises(ArgumentError, match="size 0"):
        local_response_norm(x, 0)
    with pytest.raises(ShapeError, match="no channel axis"):
        local_response_norm(c, 3)
