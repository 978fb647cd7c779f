"""The promises of docs/numerics.md that a reference could break unseen, as written-out numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mpmath
import numpy as np
import pytest

from chainrule.backends.reference.interpreter import run
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.op import Op
from chainrule.ir.types import i8, i32, i64, type_of, u8
from chainrule.ops.activations import hardtanh, leaky_relu, relu, relu6
from chainrule.ops.arithmetic import FloorDivide, FMod, Remainder, Round, clip
from chainrule.ops.compare import ShiftLeft, ShiftRight
from chainrule.ops.elementwise import Cast, Div, abs, maximum, minimum
from chainrule.ops.reduce import AMax, AMin, ArgMax, ArgMin, Sum, amax, amin
from chainrule.ops.statistics import Var
from chainrule.ops.tolerance import ulp
from chainrule.ops.transcendental import Cbrt, Erf, Erfc, Exp, ExpM1, Log, Log1P, Pow, Rsqrt, Sigmoid, Tanh
from chainrule.ops.trigonometric import ACosH, ASinH, ATan2, ATanH, Cos, Sin, Tan
from chainrule.passes.autodiff import gradients

LOW, HIGH = -128, 127
A8 = np.array([7, -7, 7, -7, 5, LOW, LOW, LOW, 0], np.int8)
B8 = np.array([2, 2, -2, -2, 0, -1, 0, 1, 0], np.int8)


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (Div(), [3, -3, -3, 3, -1, LOW, -1, LOW, -1]),
        (FloorDivide(), [3, -4, -4, 3, -1, LOW, -1, LOW, -1]),
        (Remainder(), [1, 1, -1, -1, 5, 0, LOW, 0, 0]),
        (FMod(), [1, -1, 1, -1, 5, 0, LOW, 0, 0]),
    ],
    ids=lambda x: x.name if isinstance(x, Op) else "",
)
def test_integer_division_is_total(op: Op, expected: list[int]) -> None:
    for kind, low in (("int8", LOW), ("int32", -(2**31)), ("int64", -(2**63))):
        a, b = (np.where(x == LOW, low, x.astype(kind)).astype(kind) for x in (A8.astype(kind), B8.astype(kind)))
        wanted = [low if e == LOW else e for e in expected]
        assert op.ref(a, b).tolist() == wanted


def test_unsigned_division_by_zero_sets_all_bits_and_leaves_the_dividend() -> None:
    a, b = np.array([9, 9, 0], np.uint8), np.array([0, 2, 0], np.uint8)
    assert Div().ref(a, b).tolist() == FloorDivide().ref(a, b).tolist() == [255, 4, 255]
    assert Remainder().ref(a, b).tolist() == FMod().ref(a, b).tolist() == [9, 1, 0]


def test_shifts_clamp_their_counts() -> None:
    a, b = np.array([5, 5, 5, -5, -5, 5], np.int8), np.array([-1, 1, 8, 8, 100, 100], np.int8)
    assert ShiftLeft().ref(a, b).tolist() == [5, 10, 0, 0, 0, 0]
    assert ShiftRight().ref(a, b).tolist() == [5, 2, 0, -1, -1, 0]
    assert ShiftRight().ref(np.array([200], np.uint8), np.array([200], np.uint8)).tolist() == [0]


def test_floats_saturate_when_they_become_integers() -> None:
    x = np.array([1.9, -1.9, np.nan, np.inf, -np.inf, 300.0, 1e30], np.float32)
    assert Cast(i8).ref(x).tolist() == [1, -1, 0, 127, -128, 127, 127]
    assert Cast(u8).ref(x).tolist() == [1, 0, 0, 255, 0, 255, 255]
    assert Cast(i32).ref(x).tolist() == [1, -1, 0, 2**31 - 1, -(2**31), 300, 2**31 - 1]
    assert Cast(i64).ref(x).tolist() == [1, -1, 0, 2**63 - 1, -(2**63), 300, 2**63 - 1]
    assert Cast(i64).ref(np.array([2.0**63 - 1024, 2.0**63])).tolist() == [2**63 - 1024, 2**63 - 1]


def test_rounding_goes_to_the_even_neighbour_at_halves() -> None:
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997], np.float32)
    y = Round().ref(x)
    assert y.tolist() == [-2.0, -2.0, -0.0, 0.0, 2.0, 2.0, 0.0]
    assert np.signbit(y[2])


def test_a_nan_is_the_largest_and_the_smallest_and_its_first_place_is_given() -> None:
    x = np.array([1.0, np.nan, 3.0, np.nan], np.float32)
    assert np.isnan(AMax((0,)).ref(x)) and np.isnan(AMin((0,)).ref(x))
    assert int(ArgMax(0).ref(x)) == int(ArgMin(0).ref(x)) == 1


def test_the_first_of_ties_is_given() -> None:
    x = np.array([2, 5, 5, 2], np.int32)
    assert (int(ArgMax(0).ref(x)), int(ArgMin(0).ref(x))) == (1, 0)


def test_sums_keep_their_digits_along_every_axis() -> None:
    x = np.full((3, 100_000), 0.1, np.float32)
    exact = 100_000 * float(np.float32(0.1))
    for y in (Sum((1,)).ref(x), Sum((0,)).ref(x.T)):
        assert np.all(y == np.float32(exact))
    wide = np.random.default_rng(1).standard_normal((4096, 2))
    exact = [float(mpmath.fsum(wide[:, i])) for i in (0, 1)]
    assert np.all(np.abs(Sum((0,)).ref(wide) - exact) <= 4 * ulp(np.abs(wide).sum(0), type_of(wide).dtype))


def test_the_variance_of_numbers_far_from_zero_keeps_its_digits() -> None:
    x = np.array([1e8 + 1, 1e8 + 2, 1e8 + 3])
    assert float(Var((0,)).ref(x)) == pytest.approx(2 / 3, rel=1e-12)


Function = Callable[..., Value]


def slopes(function: Function, *arrays: Sequence[float]) -> list[list[float]]:
    """The gradient of the sum of a function's results with respect to each argument."""
    values = [np.array(a) for a in arrays]
    inputs = [new_input(f"x{i}", type_of(x)) for i, x in enumerate(values)]
    output = function(*inputs)
    seed = new_input("g", output.tensor)
    found = gradients([output], inputs, [seed])
    assert all(g is not None for g in found)
    graph = Graph("slopes", (*inputs, seed), tuple(g for g in found if g is not None))
    ones = np.ones([int(d) for d in output.shape])  # type: ignore[arg-type]
    return [g.tolist() for g in run(graph, [*values, ones])]


def test_gradients_at_kinks_and_ties_are_those_of_pytorch() -> None:
    assert slopes(relu, [-1.0, 0.0, 2.0]) == [[0.0, 0.0, 1.0]]
    assert slopes(abs, [-1.0, 0.0, 2.0]) == [[-1.0, 0.0, 1.0]]
    assert slopes(leaky_relu, [-1.0, 0.0, 2.0]) == [[0.01, 0.01, 1.0]]
    assert slopes(lambda x: clip(x, -1.0, 1.0), [-2.0, -1.0, 0.0, 1.0, 2.0]) == [[0.0, 1.0, 1.0, 1.0, 0.0]]
    assert slopes(hardtanh, [-2.0, -1.0, 0.0, 1.0, 2.0]) == [[0.0, 0.0, 1.0, 0.0, 0.0]]
    assert slopes(relu6, [0.0, 3.0, 6.0]) == [[0.0, 1.0, 0.0]]
    assert slopes(maximum, [1.0, 2.0, 3.0], [2.0, 2.0, 2.0]) == [[0.0, 0.5, 1.0], [1.0, 0.5, 0.0]]
    assert slopes(minimum, [1.0, 2.0, 3.0], [2.0, 2.0, 2.0]) == [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]
    assert slopes(lambda x: amax(x), [1.0, 4.0, 4.0, 0.0]) == [[0.0, 0.5, 0.5, 0.0]]
    assert slopes(lambda x: amin(x), [1.0, 1.0, 4.0, 1.0]) == [[1 / 3, 1 / 3, 0.0, 1 / 3]]


EXACT: list[tuple[Op, Callable[..., object], list[float]]] = [
    (Exp(), mpmath.exp, [-80.0, -1.0, 1e-6, 0.3, 20.0, 88.0]),
    (ExpM1(), mpmath.expm1, [-20.0, -1e-6, 1e-6, 0.3, 5.0]),
    (Log(), mpmath.log, [1e-38, 0.999, 1.001, 7.0, 3e38]),
    (Log1P(), mpmath.log1p, [-0.9, -1e-6, 1e-6, 5.0]),
    (Tanh(), mpmath.tanh, [-9.0, -0.5, 1e-5, 0.54, 3.0]),
    (Sigmoid(), lambda x: 1 / (1 + mpmath.exp(-x)), [-80.0, -3.0, 0.1, 15.0]),
    (Erf(), mpmath.erf, [-3.0, -0.5, 1e-5, 0.9, 3.9]),
    (Erfc(), mpmath.erfc, [-3.0, 0.5, 5.0, 9.0]),
    (Rsqrt(), lambda x: 1 / mpmath.sqrt(x), [1e-38, 0.3, 1e30]),
    (Cbrt(), mpmath.cbrt, [1e-30, 0.3, 27.0]),
    (Sin(), mpmath.sin, [355.0, -1e5, 3.0, 1e-4]),
    (Cos(), mpmath.cos, [11.0, -1e5, 1.5707964, 1e-4]),
    (Tan(), mpmath.tan, [11.0, 1.5707964, -1e-4]),
    (ASinH(), mpmath.asinh, [-1e10, -1e-4, 0.5]),
    (ACosH(), mpmath.acosh, [1.0001, 2.0, 1e10]),
    (ATanH(), mpmath.atanh, [-0.9999, 1e-4, 0.5]),
]


@pytest.mark.parametrize(("op", "exact", "points"), EXACT, ids=[op.name for op, _, _ in EXACT])
def test_the_reference_is_the_function_to_half_a_step(
    op: Op, exact: Callable[..., object], points: list[float]
) -> None:
    with mpmath.workdps(40):
        for dtype, steps in ((np.float32, 0.501), (np.float64, 2.0)):
            x = np.array(points, dtype)
            wanted = [exact(mpmath.mpf(float(v))) for v in x]
            found = op.ref(x)
            unit = ulp(np.array([float(w) for w in wanted]), type_of(x).dtype)  # type: ignore[arg-type]
            errors = [float(mpmath.fabs(mpmath.mpf(float(f)) - w)) for f, w in zip(found, wanted)]
            assert np.all(np.array(errors) <= steps * unit), (dtype, errors / unit)


def test_powers_and_angles_of_two_arguments_are_exact_to_half_a_step() -> None:
    with mpmath.workdps(40):
        for op, exact in ((Pow(), mpmath.power), (ATan2(), mpmath.atan2)):
            a, b = np.float32([0.3, 1.0001, 7.5, 2e-5]), np.float32([20.5, 5e4, -3.3, 0.7])
            wanted = [exact(mpmath.mpf(float(p)), mpmath.mpf(float(q))) for p, q in zip(a, b)]
            unit = ulp(np.array([float(w) for w in wanted]), type_of(a).dtype)
            errors = [float(mpmath.fabs(mpmath.mpf(float(f)) - w)) for f, w in zip(op.ref(a, b), wanted)]
            assert np.all(np.array(errors) <= 0.501 * unit), (op.name, errors)
