"""Derivatives where they are easily wrong: at kinks and bounds as in PyTorch, and second ones at zeros."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.frontend.tensor import Tensor, wrap
from chainrule.ops.indexing_reduce import scatter_reduce


def slope(f: Callable[..., Tensor], *arrays: object, order: int = 1) -> np.ndarray:
    """The derivative of the sum of f by its first argument, this many times."""

    def total(*x: Tensor) -> Tensor:
        return f(*x).sum()

    for _ in range(order):
        inner = cr.grad(total)

        def total(*x: Tensor, inner: Callable[..., Tensor] = inner) -> Tensor:
            return inner(*x).sum()

    values = [np.asarray(a, np.float64) for a in arrays]
    return cr.compile(inner, *(cr.spec(*v.shape, dtype="f64") for v in values), backend="reference")(*values)


def test_hardswish_is_flat_at_its_lower_and_straight_at_its_upper_end():
    np.testing.assert_array_equal(slope(cr.hardswish, [-3.0, 0.0, 3.0]), [0.0, 0.5, 1.0])


def test_clip_passes_the_gradient_at_bounds_that_are_tensors_too():
    x = [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(slope(cr.clip, x, x, [5.0] * 3), [1, 1, 1])
    np.testing.assert_array_equal(slope(cr.clip, x, [0.0] * 3, x), [1, 1, 1])
    np.testing.assert_array_equal(slope(cr.clip, x, [2.0] * 3, [2.0] * 3), [0, 1, 0])
    np.testing.assert_array_equal(slope(lambda low, x: cr.clip(x, low, 9.0), [2.0] * 3, x), [1, 0, 0])


def test_clip_keeps_nan_of_any_argument():
    nan = np.float32(np.nan)
    x = np.float32([nan, 1, 1, 7])
    low, high = np.float32([0, nan, 0, 3]), np.float32([2, 2, nan, 2])
    np.testing.assert_array_equal(cr.clip(x, low, high), np.float32([nan, nan, nan, 2]))


def test_margin_losses_have_slope_one_at_their_margin():
    assert slope(lambda x: cr.hinge_embedding_loss(x, cr.asarray(np.array([-1.0])), reduction="sum"), [1.0]) == -1
    assert slope(lambda x: cr.margin_ranking_loss(x, x * 0, cr.asarray(np.array([1.0])), reduction="sum"), [0.0]) == -1


@pytest.mark.parametrize("x", [[2.0, 0.0, 3.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
def test_the_second_derivative_of_a_product_counts_zeros(x: list[float]):
    a, b, c = x
    np.testing.assert_allclose(slope(lambda x: cr.prod(x), x), [b * c, a * c, a * b])
    np.testing.assert_allclose(slope(lambda x: cr.prod(x), x, order=2), [b + c, a + c, a + b])


def test_the_derivatives_of_powers_at_zero_are_finite():
    assert slope(lambda x: x**0 * x, [0.0], order=2) == 0
    assert slope(lambda x: x**2, [0.0], order=2) == 2 and slope(lambda x: x**2, [0.0], order=3) == 0
    assert slope(lambda b, a: a**b, [2.0], [0.0], order=2) == 0


LINES_WITH_ZEROS = [[2.0, 0, 3, 0.5], [0, 2, 0, 3], [0, 0, 0, 1.5], [1, 2, 3, 4]]


def polynomial_slopes(found: Callable[[np.ndarray], Any], x: np.ndarray, order: int) -> np.ndarray:
    """Derivatives in all directions one after the other, exact: the function is linear in each element alone.

    slope() takes the sum of all partial derivatives each time; these are that sum's terms.
    """
    if order == 0:
        return np.asarray(found(x))
    total = np.zeros((x.size,) * order)
    for at in np.ndindex(*total.shape):
        if len(set(at)) == order:
            for signs in np.ndindex(*(2,) * order):
                moved = x.copy()
                moved[list(at)] = signs
                total[at] += (-1) ** (order - sum(signs)) * found(moved)
    return total.sum(axis=tuple(range(1, order)))


def scattered(x: Tensor, places: list[int], updates: Tensor) -> Tensor:
    """Updates multiplied in at places."""
    return wrap(scatter_reduce(x.value, cr.asarray(np.array(places)).value, updates.value, 0, "mul"))


@pytest.mark.parametrize("x", LINES_WITH_ZEROS)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives_of_running_products_count_zeros(x: list[float], order: int):
    weights = np.array([0.5, -1.0, 2.0, 3.0])
    base = np.array([2.0, 3.0])
    ways: list[tuple[Callable[[Tensor], Tensor], Callable[[np.ndarray], Any]]] = [
        (lambda x: cr.cumprod(x, 0) * cr.asarray(weights), lambda x: weights @ np.cumprod(x)),
        (lambda x: cr.cumprod(cr.flip(x, 0), 0) * cr.asarray(weights), lambda x: weights @ np.cumprod(x[::-1])),
        (lambda x: cr.prod(x), np.prod),
        (lambda x: scattered(cr.asarray(base), [0, 1, 0, -2], x), lambda x: 2 * x[0] * x[2] * x[3] + 3 * x[1]),
        (lambda x: scattered(x[:2], [1, -1], x[2:]), lambda x: x[0] + x[1] * x[2] * x[3]),
    ]
    for ours, exact in ways:
        want = polynomial_slopes(exact, np.array(x), order)
        np.testing.assert_allclose(slope(ours, x, order=order), want, atol=1e-12)


def test_an_infinity_at_one_place_leaves_the_gradient_at_others():
    x = [np.inf, 2.0, np.inf, 3.0]
    found = slope(lambda x: scattered(cr.asarray(np.ones(2)), [0, 1, 0, 1], x), x)
    np.testing.assert_array_equal(found, [np.inf, 3.0, np.inf, 2.0])
