"""The judge of results: what it lets pass, and what it does not."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from chainrule.ir.types import bf16, f16, f32, f64
from chainrule.ops.activations import Relu
from chainrule.ops.activations_smooth import Silu
from chainrule.ops.elementwise import Add, Cast, Maximum
from chainrule.ops.reduce import ArgMax, Mean, Sum
from chainrule.ops.softmax import Softmax
from chainrule.ops.tolerance import (
    OTHER_FRAMEWORK,
    gradients_agree,
    judge,
    models_agree,
    ulp,
)
from chainrule.ops.transcendental import Exp, Pow
from chainrule.ops.trigonometric import Sin

X = np.linspace(-3, 3, 7, dtype=np.float32)


def nudged(y: np.ndarray, steps: int) -> np.ndarray:
    """Every number moved up by this many neighbours of its type."""
    for _ in range(abs(steps)):
        y = np.nextafter(y, np.full_like(y, np.inf if steps > 0 else -np.inf))
    return y


def test_what_the_reference_gives_passes() -> None:
    for op in (Exp(), Silu(), Relu(), Sum((0,)), Softmax(0)):
        assert judge(op, (X,), op.ref(X)), op.name


def test_another_element_type_or_shape_or_count_of_results_does_not_pass() -> None:
    y = Exp().ref(X)
    assert "float64[7] given" in judge(Exp(), (X,), y.astype(np.float64)).reason
    assert "float32[1, 7] given" in judge(Exp(), (X,), y[None]).reason
    assert "1 results expected, 2 given" in judge(Exp(), (X,), (y, y)).reason


def test_basic_operations_are_exact_to_the_bit() -> None:
    y = Add().ref(X, X)
    assert judge(Add(), (X, X), y)
    assert not judge(Add(), (X, X), nudged(y, 1))


def test_the_sign_of_a_zero_counts_where_it_is_promised() -> None:
    zero = np.zeros(1, np.float32)
    assert not judge(Relu(), (zero,), -zero)
    assert judge(Maximum(), (zero, zero), -zero)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_transcendental_functions_have_two_ulp(dtype: str) -> None:
    x = X.astype(dtype)
    y = Exp().ref(x)
    assert judge(Exp(), (x,), nudged(y, 1))
    assert not judge(Exp(), (x,), nudged(y, 3))
    assert judge(Exp(), (x,), nudged(y, 3), factor=OTHER_FRAMEWORK)


def test_pow_and_large_angles_have_four_ulp() -> None:
    x = np.abs(X) + np.float32(0.5)
    assert judge(Pow(), (x, X), nudged(Pow().ref(x, X), 3))
    assert not judge(Pow(), (x, X), nudged(Pow().ref(x, X), 5))
    small, large = np.float32([100.0]), np.float32([20000.0])
    assert not judge(Sin(), (small,), nudged(Sin().ref(small), 3))
    assert judge(Sin(), (large,), nudged(Sin().ref(large), 3))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_results_are_rounded_once(dtype: type) -> None:
    x = X.astype(dtype)
    y = Exp().ref(x)
    step = ulp(y.astype(np.float64), f16 if dtype is np.float16 else bf16)
    assert judge(Exp(), (x,), y)
    assert not judge(Exp(), (x,), (y.astype(np.float64) + step).astype(dtype))


def test_composites_may_be_wrong_by_a_little_of_their_input() -> None:
    x = np.float32([-20.0])
    y = Silu().ref(x)
    assert judge(Silu(), (x,), y + np.float32(4e-6))
    assert not judge(Silu(), (x,), y + np.float32(8e-6))


def test_a_sum_is_judged_by_the_size_of_its_parts() -> None:
    x = np.float32([1e6, 1.0, -1e6])
    assert judge(Sum((0,)), (x,), np.float32(1.5).reshape(()))
    assert not judge(Sum((0,)), (x,), np.float32(3.0).reshape(()))
    assert not judge(Sum((0,)), (np.float32([0.25, 0.5, 0.25]),), np.float32(1.00001).reshape(()))


def test_a_naive_sum_of_many_is_refused() -> None:
    x = np.random.default_rng(0).uniform(0, 1, 200_000).astype(np.float32)
    running = np.cumsum(x, dtype=np.float32)[-1]
    assert judge(Sum((0,)), (x,), Sum((0,)).ref(x))
    assert not judge(Sum((0,)), (x,), running.reshape(()))


def test_softmax_that_skips_the_largest_is_refused() -> None:
    x = np.float32([200.0, 100.0])
    with np.errstate(all="ignore"):
        powers = np.exp(x)
        assert not judge(Softmax(0), (x,), powers / powers.sum())


def test_nan_and_infinities_are_in_the_same_places() -> None:
    x = np.float32([0.0, 100.0])
    assert "NaN" in judge(Exp(), (x,), np.float32([1.0, np.nan])).reason
    assert judge(Exp(), (x,), np.float32([1.0, np.inf]))
    assert "infinity" in judge(Exp(), (x,), np.float32([1.0, -np.inf])).reason
    assert "infinity" in judge(Exp(), (x,), np.float32([np.inf, np.inf])).reason
    assert not judge(Exp(), (x,), np.float32([1.0, 3e38]))


def test_at_the_end_of_the_range_both_infinity_and_the_largest_number_may_be_right() -> None:
    largest = np.finfo(np.float32).max
    x = np.float32([largest, largest * np.float32(0.25)])
    exact = float(np.mean(x.astype(np.float64)))
    assert judge(Mean((0,)), (x,), np.float32(exact).reshape(()))
    near = np.float32([largest, np.float32(2.0) ** 103])  # their sum lies half a step above the largest number
    assert judge(Sum((0,)), (near,), np.float32(np.inf).reshape(()))
    assert judge(Sum((0,)), (near,), np.float32(largest).reshape(()))


def test_integers_are_exact() -> None:
    assert judge(ArgMax(0), (X,), np.int64(6).reshape(()))
    assert not judge(ArgMax(0), (X,), np.int64(5).reshape(()))
    assert not judge(Cast(f16), (X,), X.astype(np.float16) * np.float16(1.001))


def test_the_worst_error_is_in_units_of_the_bound() -> None:
    y = Exp().ref(X)
    verdict = judge(Exp(), (X,), nudged(y, 1))
    assert 0.25 <= verdict.worst <= 0.76
    assert judge(Exp(), (X,), nudged(y, 4)).worst > 1.5


def test_a_step_between_neighbours_is_one_ulp() -> None:
    for dtype, numpy_type in ((f32, np.float32), (f64, np.float64), (f16, np.float16)):
        for value in (1.0, 1.5, 3.7, 1e-3, 0.0):
            number = numpy_type(value)
            assert ulp(np.float64(number), dtype) == float(np.nextafter(number, numpy_type(np.inf))) - float(number)


def test_gradients_and_models_have_their_bounds() -> None:
    y = np.array([1.0, -2.0, 0.0])
    assert gradients_agree(y * (1 + 5e-7), y)
    assert not gradients_agree(y * (1 + 5e-6), y)
    assert not gradients_agree(y[:2], y)
    assert models_agree((y + 1.9e-5).astype(np.float32), y)
    assert not models_agree((y + 2.2e-5).astype(np.float32), y)
