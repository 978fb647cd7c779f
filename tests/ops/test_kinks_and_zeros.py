"""Derivatives where they are easily wrong: at kinks and bounds as in PyTorch, and second ones at zeros."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import chainrule as cr
from chainrule.frontend.tensor import Tensor


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
