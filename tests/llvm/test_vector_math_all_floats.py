"""Every float32 there is: functions of one float32 are within their bound for all 2^32 inputs (slow)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from chainrule.backends.llvm.target import Target, host_target, named_target
from chainrule.ops.tolerance import ULPS
from tests.llvm.vector_math_support import Array, apply, logistic

CHUNK = 1 << 22
# erf by the library's own float64 function, which test_vector_math.py holds against mpmath.
WIDE: dict[str, Callable[[Array], Array]] = {
    "exp": np.exp, "log": np.log, "tanh": np.tanh, "sigmoid": logistic, "sin": np.sin, "cos": np.cos,
    "erf": lambda x: apply("erf", x), "rsqrt": lambda x: 1 / np.sqrt(x), "exp2": np.exp2, "expm1": np.expm1,
    "log2": np.log2, "log10": np.log10, "log1p": np.log1p, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "cbrt": np.cbrt,
}  # fmt: skip


def chunks(first: int = 0, last: int = 1 << 32) -> Iterator[Array]:
    """The float32 numbers whose bits are first <= bits < last."""
    for begin in range(first, last, CHUNK):
        yield np.arange(begin, min(begin + CHUNK, last), dtype=np.int64).astype(np.uint32).view(np.float32)


def worst_error(name: str, x: Array, target: Target) -> float:
    """The largest error of a function in ULP; infinite where NaN, an infinity or the sign of a zero is wrong."""
    with np.errstate(all="ignore"):
        return largest_distance(apply(name, x, target=target), WIDE[name](x.astype(np.float64)))


def largest_distance(got: Array, wanted: Array) -> float:
    """The largest distance of float32 results from float64 ones, in ULP of float32."""
    with np.errstate(all="ignore"):
        rounded = wanted.astype(np.float32)
        spacing = np.spacing(np.abs(np.where(np.isfinite(rounded), rounded, np.float32(1)))).astype(np.float64)
        error = np.abs(got.astype(np.float64) - wanted) / spacing
        overflow = np.isinf(got) & (np.abs(wanted) > np.finfo(np.float32).max * (1 - 2.0**-23))
        error[overflow & (np.sign(got) == np.sign(wanted))] = 0
        error[np.isnan(got) & np.isnan(wanted)] = 0
        error[np.isnan(got) != np.isnan(wanted)] = np.inf
        error[(got == 0) & (rounded == 0) & (np.signbit(got) != np.signbit(rounded))] = np.inf
    return float(np.max(error))


HOT = ("exp", "log", "tanh", "sigmoid", "sin", "cos", "erf", "rsqrt")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "target"), [*((n, "host") for n in WIDE), *((n, "x86-64-v2") for n in HOT)])
def test_every_float32_is_within_two_ulp(name: str, target: str) -> None:
    aim = named_target(target)
    if target != "host" and not (host_target().is_x86 and set(aim.features) <= set(host_target().features)):
        pytest.skip("this machine does not run that target")
    worst = max(worst_error(name, x, aim) for x in chunks())
    assert worst <= ULPS["T"]


@pytest.mark.parametrize("name", WIDE)
def test_every_257th_chunk_of_float32_is_within_two_ulp(name: str) -> None:
    size = 1 << 14
    starts = range(0, 1 << 32, size * 257)
    assert (
        max(worst_error(name, x, host_target()) for s in starts for x in chunks(s, min(s + size, 1 << 32))) <= ULPS["T"]
    )


def test_the_measure_sees_three_ulp_a_lost_nan_and_a_lost_sign() -> None:
    wanted = np.exp(np.linspace(0.5, 0.9, 64))
    got = wanted.astype(np.float32)
    assert largest_distance(got, wanted) <= 0.5
    got[7] += 3 * np.spacing(got[7])
    assert largest_distance(got, wanted) > ULPS["T"]
    zero = np.zeros(1, np.float32)
    assert largest_distance(zero, np.array([np.nan])) == np.inf
    assert largest_distance(zero, np.array([-0.0])) == np.inf
