"""pow and atan2 are within their bounds and give C99's answer in every special case."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.llvm.target import Target
from chainrule.ir.types import DType, f32, f64
from tests.llvm.vector_math_support import Array, apply, complaint, reference, runnable_targets

DTYPES = [
    f32,
    pytest.param(f64, marks=pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="no wider reference")),
]
TARGETS = [pytest.param(t, id=t.name) for t in runnable_targets()]
COUNT = 40_000


def scaled(draw: np.random.Generator, low: int, high: int) -> Array:
    return np.ldexp(draw.uniform(1, 2, COUNT), draw.integers(low, high, COUNT))


def powers(dtype: DType) -> tuple[Array, Array]:
    """Bases and exponents whose powers cover the whole range of the type, near 1 and near over- and underflow."""
    draw = np.random.default_rng(1)
    smallest, largest, digits, top = (-149, 128, 24, 152) if dtype == f32 else (-1074, 1024, 53, 1080)
    with np.errstate(all="ignore"):
        wide = scaled(draw, smallest, largest).astype(dtype.numpy).astype(np.float64)
        near_one = (1 + scaled(draw, -digits, -2) * draw.choice([-1, 1], COUNT)).astype(dtype.numpy).astype(np.float64)
        usual = draw.uniform(0, 9, COUNT)
        whole = np.rint(draw.normal(size=COUNT) * 30)
        pairs = [
            (wide, draw.uniform(-top, top, COUNT) / np.log2(wide)),
            (near_one, draw.uniform(-top, top, COUNT) / np.log2(near_one)),
            (usual, draw.normal(size=COUNT)),
            (-usual, whole),
            (-wide, np.rint(draw.normal(size=COUNT))),
        ]
    return tuple(np.concatenate(side).astype(dtype.numpy) for side in zip(*pairs, strict=True))  # type: ignore[return-value]


def points(dtype: DType) -> tuple[Array, Array]:
    """(y, x) of all directions and magnitudes."""
    draw = np.random.default_rng(2)
    smallest, largest = (-149, 128) if dtype == f32 else (-1074, 1024)
    x = scaled(draw, smallest, largest) * draw.choice([-1, 1], COUNT)
    near = scaled(draw, smallest, largest)
    with np.errstate(all="ignore"):
        pairs = [
            (draw.normal(size=COUNT), draw.normal(size=COUNT)),
            (scaled(draw, smallest, largest) * draw.choice([-1, 1], COUNT), x),
            (near * draw.uniform(0.1, 6, COUNT) / 8, near / 8),
        ]
    return tuple(np.concatenate(side).astype(dtype.numpy) for side in zip(*pairs, strict=True))  # type: ignore[return-value]


def special_pairs(dtype: DType) -> tuple[Array, Array]:
    """Every pair of the special numbers."""
    info = np.finfo(dtype.numpy)
    one = [
        0.0,
        1.0,
        2.0,
        3.0,
        0.5,
        1.5,
        1e22,
        2.0**23 + 1,
        2.0**24 - 1,
        2.0**52 + 1,
        2.0**53 - 1,
        2.0**53,
        float(info.max),
    ]
    small = [
        float(info.tiny),
        float(info.smallest_subnormal),
        1 + float(info.eps),
        1 - float(info.eps) / 2,
        np.inf,
        np.nan,
    ]
    values = np.array(one + small).astype(dtype.numpy)
    values = np.concatenate([values, -values])
    a, b = np.meshgrid(values, values)
    return a.ravel(), b.ravel()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pow_is_within_four_ulp(dtype: DType, target: Target) -> None:
    x, y = powers(dtype)
    assert complaint("pow", dtype, (x, y), apply("pow", x, y, target=target), reference("pow", x, y)) == ""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_atan2_is_within_two_ulp(dtype: DType, target: Target) -> None:
    y, x = points(dtype)
    assert complaint("atan2", dtype, (y, x), apply("atan2", y, x, target=target), reference("atan2", y, x)) == ""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["pow", "atan2"])
def test_special_pairs_are_those_of_c99(name: str, dtype: DType, target: Target) -> None:
    a, b = special_pairs(dtype)
    got, wanted = apply(name, a, b, target=target), reference(name, a, b)
    assert complaint(name, dtype, (a, b), got, wanted) == ""
    numbers = ~np.isnan(wanted)
    assert np.array_equal(np.signbit(got)[numbers], np.signbit(wanted)[numbers])


@pytest.mark.parametrize("dtype", [f32, f64], ids=str)
def test_pow_follows_the_list_of_the_standard(dtype: DType) -> None:
    inf, nan = np.inf, np.nan
    cases = [
        (0.0, -3.0, inf), (-0.0, -3.0, -inf), (-0.0, -2.0, inf), (-0.0, -2.5, inf), (0.0, -inf, inf), (-0.0, -inf, inf),
        (-0.0, 3.0, -0.0), (0.0, 3.0, 0.0), (-0.0, 2.5, 0.0), (-1.0, inf, 1.0), (-1.0, -inf, 1.0), (1.0, nan, 1.0),
        (nan, 0.0, 1.0), (nan, -0.0, 1.0), (-8.0, 1 / 3, nan), (0.5, -inf, inf), (2.0, -inf, 0.0), (0.5, inf, 0.0),
        (-2.0, inf, inf), (-inf, -3.0, -0.0), (-inf, -2.0, 0.0), (-inf, 3.0, -inf), (-inf, 2.5, inf), (inf, -1.0, 0.0),
        (inf, 1.0, inf), (nan, 1.0, nan), (2.0, nan, nan), (inf, inf, inf), (0.0, inf, 0.0), (-inf, inf, inf),
    ]  # fmt: skip
    x, y, wanted = (np.array(side).astype(dtype.numpy) for side in zip(*cases, strict=True))
    got = apply("pow", x, y)
    for i, case in enumerate(cases):
        same = (
            np.isnan(got[i])
            if np.isnan(wanted[i])
            else got[i] == wanted[i] and np.signbit(got[i]) == np.signbit(wanted[i])
        )
        assert same, (case, got[i])
