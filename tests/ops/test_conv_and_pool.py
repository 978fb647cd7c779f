"""The builders of ops/conv.py and ops/pool.py, against plain loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from chainrule.backends.reference import run
from chainrule.errors import ArgumentError, ChainruleError, NotSupported, ShapeError
from chainrule.ir.graph import Graph, Value, build, new_input
from chainrule.ir.types import tensor, type_of
from chainrule.ops.conv import conv, conv_transpose, conv_weight_grad
from chainrule.ops.pool import MaxPoolTake, avg_pool, max_pool, max_pool_with_indices
from chainrule.ops.pools import adaptive_avg_pool, adaptive_max_pool, global_avg_pool, lp_pool
from chainrule.passes.autodiff import gradients
from tests.ops.sample import distinct, normal

Array = np.ndarray


def of(function: Callable[..., Value], *arrays: Array) -> Array:
    inputs = [new_input(f"x{i}", type_of(a)) for i, a in enumerate(arrays)]
    return run(Graph("call", tuple(inputs), (function(*inputs),)), arrays)[0]


def naive(x: Array, w: Array, stride: tuple[int, int], pad: tuple[int, int, int, int], dilation: tuple[int, int],
          groups: int) -> Array:  # fmt: skip
    """The definition, one product at a time."""
    n, o = x.shape[0], w.shape[0]
    oh = (x.shape[2] + pad[0] + pad[2] - dilation[0] * (w.shape[2] - 1) - 1) // stride[0] + 1
    ow = (x.shape[3] + pad[1] + pad[3] - dilation[1] * (w.shape[3] - 1) - 1) // stride[1] + 1
    y = np.zeros((n, o, oh, ow))
    for at in np.ndindex(n, o, oh, ow):
        first = at[1] // (o // groups) * w.shape[1]
        for c, kh, kw in np.ndindex(*w.shape[1:]):
            h = at[2] * stride[0] + kh * dilation[0] - pad[0]
            v = at[3] * stride[1] + kw * dilation[1] - pad[1]
            if 0 <= h < x.shape[2] and 0 <= v < x.shape[3]:
                y[at] += x[at[0], first + c, h, v] * w[at[1], c, kh, kw]
    return y


CASES = [((1, 1), (0, 0, 0, 0), (1, 1), 1), ((2, 1), (1, 0, 2, 1), (1, 2), 2), ((3, 2), (0, 3, 1, 0), (2, 1), 1)]


@pytest.mark.parametrize("case", CASES)
def test_conv_is_its_definition(case: tuple[tuple[int, int], tuple[int, int, int, int], tuple[int, int], int]) -> None:
    stride, pad, dilation, groups = case
    x, w = normal(2, 4, 5, 6, dtype="float64"), normal(4, 4 // groups, 3, 2, seed=1, dtype="float64")
    got = of(lambda a, b: conv(a, b, None, stride, pad, dilation, groups), x, w)
    np.testing.assert_allclose(got, naive(x, w, *case), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_the_gradients_of_conv_are_the_adjoints_of_its_definition(case: tuple) -> None:  # type: ignore[type-arg]
    stride, pad, dilation, groups = case
    x, w = normal(1, 4, 5, 6, dtype="float64"), normal(4, 4 // groups, 3, 2, seed=1, dtype="float64")
    y = naive(x, w, *case)
    dy = normal(*y.shape, seed=2, dtype="float64")
    dw = of(lambda a, b: conv_weight_grad(a, b, (3, 2), stride, pad, dilation, groups), x, dy)
    dx = of(lambda a, b: conv_transpose(a, b, None, stride, pad, dilation, groups, output_size=(5, 6)), dy, w)
    other_x, other_w = normal(*x.shape, seed=3, dtype="float64"), normal(*w.shape, seed=4, dtype="float64")
    np.testing.assert_allclose(np.sum(dx * other_x), np.sum(dy * naive(other_x, w, *case)), rtol=1e-12)
    np.testing.assert_allclose(np.sum(dw * other_w), np.sum(dy * naive(x, other_w, *case)), rtol=1e-12)


def test_same_padding_keeps_the_size_and_puts_the_odd_one_last() -> None:
    x, w = normal(1, 1, 5, 5, dtype="float64"), normal(1, 1, 2, 4, seed=1, dtype="float64")
    got = of(lambda a, b: conv(a, b, pad="same"), x, w)
    np.testing.assert_allclose(got, naive(x, w, (1, 1), (0, 1, 1, 2), (1, 1), 1), rtol=1e-12)
    assert of(lambda a, b: conv(a, b, pad="valid"), x, w).shape == (1, 1, 4, 2)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"pad": "same", "stride": 2}, "padding 'same' with stride"),
    ({"pad": "reflect"}, "padding 'reflect'"),
    ({"stride": (1, 1, 1)}, "does not have 2 numbers"),
    ({"pad": (1, 1, 1)}, "does not have 2 or 4 numbers"),
])  # fmt: skip
def test_conv_explains_arguments_that_do_not_fit(arguments: dict[str, object], message: str) -> None:
    x, w = new_input("x", tensor("f32", (1, 1, 5, 5))), new_input("w", tensor("f32", (1, 1, 3, 3)))
    with pytest.raises(ArgumentError, match=message):
        conv(x, w, **arguments)  # type: ignore[arg-type]


def test_the_kernel_may_not_exceed_the_padded_image() -> None:
    x, w = new_input("x", tensor("f32", (1, 1, 4, 4))), new_input("w", tensor("f32", (1, 1, 7, 7)))
    with pytest.raises(ShapeError, match="a window of 7 does not fit into an axis of 4"):
        conv(x, w, pad=1)
    assert conv(x, w, pad=2).shape == (1, 1, 2, 2)


def test_indices_of_maxima_lead_back_to_them() -> None:
    x = distinct(2, 3, 5, 6)
    y = of(lambda a: max_pool_with_indices(a, 3, 2, 1)[0], x)
    places = of(lambda a: max_pool_with_indices(a, 3, 2, 1)[1], x)
    assert places.dtype == np.int64
    taken = np.take_along_axis(x.reshape(2, 3, -1), places.reshape(2, 3, -1), 2)
    np.testing.assert_array_equal(taken.reshape(y.shape), y)
    np.testing.assert_array_equal(of(lambda a: max_pool(a, 3, 2, 1), x), y)


def evenly(x: Array, size: int, axis: int, function: Callable[[Array, int], Array]) -> Array:
    n = x.shape[axis]
    parts = [np.take(x, range(i * n // size, -(-(i + 1) * n // size)), axis) for i in range(size)]
    return np.stack([function(part, axis) for part in parts], axis)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 6), (3, 4), (7, 7), (1, 4)])
def test_adaptive_pools_cover_the_image_evenly(size: tuple[int, int]) -> None:
    x = distinct(2, 2, 4, 6, dtype="float64")
    largest = evenly(evenly(x, size[0], 2, np.max), size[1], 3, np.max)
    np.testing.assert_array_equal(of(lambda a: adaptive_max_pool(a, size), x), largest)
    middle = evenly(evenly(x, size[0], 2, np.mean), size[1], 3, np.mean)
    np.testing.assert_allclose(of(lambda a: adaptive_avg_pool(a, size), x), middle, rtol=1e-12, atol=1e-12)


def test_adaptive_pools_keep_an_axis_that_is_none_and_take_symbolic_images_where_they_can() -> None:
    x = new_input("x", tensor("f32", ("N", 2, "H", 6)))
    assert adaptive_avg_pool(x, 1).shape == (x.shape[0], 2, 1, 1)
    assert adaptive_avg_pool(x, (None, 3)).shape == (*x.shape[:3], 3)
    assert adaptive_max_pool(x, (1, 4)).shape == (*x.shape[:2], 1, 4)
    with pytest.raises(NotSupported, match=r"axis 2 of .* has no fixed size"):
        adaptive_max_pool(x, (2, 4))
    for wrong in ((2, 2, 2), (0, 1), -1):
        with pytest.raises(ArgumentError, match="does not fit 2 spatial axes"):
            adaptive_avg_pool(x, wrong)


def test_lp_pool_is_the_norm_of_each_window() -> None:
    x = normal(1, 2, 6, dtype="float64")
    windows = np.abs(x.reshape(1, 2, 3, 2))
    for p in (1, 2, 3):
        wanted = np.sum(windows**p, -1) ** (1 / p)
        np.testing.assert_allclose(of(lambda a, p=p: lp_pool(a, p, 2), x), wanted, rtol=1e-12)
    with pytest.raises(ArgumentError, match="norm 0"):
        lp_pool(new_input("x", type_of(x)), 0, 2)


def test_global_pools_keep_the_axes() -> None:
    x = normal(2, 3, 4, 5, dtype="float64")
    np.testing.assert_allclose(of(global_avg_pool, x), x.mean((2, 3), keepdims=True), rtol=1e-12)


def test_a_pool_without_stride_goes_side_by_side() -> None:
    x = new_input("x", tensor("f32", (1, 2, 6, 9)))
    assert max_pool(x, (2, 3)).shape == avg_pool(x, (2, 3)).shape == (1, 2, 3, 3)


def test_symbolic_images_smaller_than_the_window_give_nothing() -> None:
    x = new_input("x", tensor("f32", ("N", 1, "W")))
    w = new_input("w", tensor("f32", (1, 1, 3)))
    graph = Graph("small", (x, w), (conv(x, w), max_pool(x, 3, 1), avg_pool(x, 3, 1)))
    for y in run(graph, [normal(2, 1, 2), normal(1, 1, 3)]):
        assert y.shape == (2, 1, 0)


def test_taking_at_maxima_of_another_type_has_no_gradient() -> None:
    x, v = new_input("x", tensor("i64", (1, 1, 4))), new_input("v", tensor("f32", (1, 1, 4)))
    y = build(MaxPoolTake((2,), (2,), (0, 0), (1,)), x, v)
    with pytest.raises(ChainruleError, match="cast v to the element type of x"):
        gradients([y], [v], [new_input("g", y.tensor)])
