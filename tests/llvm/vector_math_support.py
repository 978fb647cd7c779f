"""What the tests of the vector functions share: kernels around one function, inputs, references, errors in ULP."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from chainrule.backends.llvm.jit import Compiled, compile_functions
from chainrule.backends.llvm.kernels import vector_math
from chainrule.backends.llvm.target import TARGETS, Target, host_target, named_target
from chainrule.backends.loops import Builder, Function, imin
from chainrule.ir.types import DType, f32, f64
from chainrule.ops.tolerance import LARGE_ANGLE, ULPS, UNIT, UNITS, ulp

Array = np.ndarray[Any, Any]
ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
BINARY = ("pow", "atan2")
COMPOSITE = ("gelu", "gelu_tanh", "silu", "softplus", "mish", "log_sigmoid")
NAMES = tuple(vector_math.__all__)


def kernel(name: str, dtype: DType, lanes: int) -> Function:
    """y[i] = name(x[i]) or name(x[i], z[i]) for i < n, `lanes` at a time."""
    k = Builder(name)
    n = k.size("n")
    inputs = [k.buffer(f"x{i}", dtype, (n,)) for i in range(2 if name in BINARY else 1)]
    output = k.buffer("y", dtype, (n,), mode="w")
    with k.loop("i", 0, (n + (lanes - 1)) // lanes, parallel=True) as i:
        count = imin(n - i * lanes, lanes)
        values = [k.load(x, (i * lanes,), lanes, mask=count) for x in inputs]
        k.store(output, (i * lanes,), getattr(vector_math, name)(k, *values), mask=count)
    return k.build()


@cache
def compiled(name: str, dtype: DType, lanes: int, target: Target) -> tuple[Compiled, Function]:
    """Machine code of the kernel."""
    function = kernel(name, dtype, lanes)
    return compile_functions([function], target), function


def apply(name: str, *arrays: Array, target: Target | None = None, lanes: int = 16) -> Array:
    """The vector function of one-dimensional arrays of one type."""
    dtype = f32 if arrays[0].dtype == np.float32 else f64
    code, function = compiled(name, dtype, lanes, target or host_target())
    held = [np.ascontiguousarray(a) for a in arrays]
    size = held[0].size
    output = np.empty(size, held[0].dtype)
    pointers = (ctypes.c_void_p * (len(held) + 1))(*(a.ctypes.data for a in held), output.ctypes.data)
    sizes, status = (ctypes.c_int64 * 1)(size), ctypes.c_int64(0)
    ENTRY(code.address(function))(
        ctypes.cast(pointers, ctypes.c_void_p),
        ctypes.cast(sizes, ctypes.c_void_p),
        0,
        -(-size // lanes),
        ctypes.addressof(status),
    )
    assert status.value == 0
    return output


def runnable_targets() -> list[Target]:
    """The host, and the named targets whose instructions the host has."""
    host = host_target()
    known = [t for t in TARGETS if t.is_x86 == host.is_x86 and set(t.features) <= set(host.features)]
    return [host, *(named_target(t.name) for t in known)]


# -- references ------------------------------------------------------------------------------------------------------


def logistic(x: Array) -> Array:
    """1 / (1 + e^-x) without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, x.dtype.type(1)) / (1 + small)


def by_mpmath(name: str) -> Callable[[Array], Array]:
    """An mpmath function of each element to 40 digits, rounded to long double."""

    def apply_one(x: Any) -> Any:
        import mpmath

        if not np.isfinite(x):
            return np.longdouble(float(getattr(mpmath, name)(float(x))))
        with mpmath.workdps(40):
            fraction, exponent = mpmath.frexp(getattr(mpmath, name)(mpmath.mpf(float(x))))
            high = float(fraction)
            return np.ldexp(np.longdouble(high) + np.longdouble(float(fraction - high)), int(exponent))

    # Beyond 100 the functions are constant, and mpmath's are slow or fail.
    return lambda x: np.array([apply_one(v) for v in np.where(np.isinf(x), x, np.clip(x, -100, 100))], np.longdouble)


def gelu_tanh(x: Array) -> Array:
    """x * sigmoid(2u), u = sqrt(2/pi) * (x + 0.044715 x^3)."""
    slope = np.sqrt(8 / (4 * np.arctan(x.dtype.type(1))))
    return x * logistic(slope * (x + x.dtype.type(44715) / 1000000 * x * x * x))


def softplus(x: Array) -> Array:
    """ln(1 + e^x)."""
    return np.logaddexp(x.dtype.type(0), x)


REFERENCES: dict[str, Callable[..., Array]] = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log10": np.log10,
    "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "atan2": np.arctan2, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh,
    "acosh": np.arccosh, "atanh": np.arctanh, "cbrt": np.cbrt, "pow": np.power, "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": logistic, "silu": lambda x: x * logistic(x), "softplus": softplus,
    "log_sigmoid": lambda x: -softplus(-x), "mish": lambda x: x * np.tanh(softplus(x)), "gelu_tanh": gelu_tanh,
    "erf": by_mpmath("erf"), "erfc": by_mpmath("erfc"),
    "gelu": lambda x: x * by_mpmath("ncdf")(x),
}  # fmt: skip
SLOW_REFERENCES = ("erf", "erfc", "gelu")


def reference(name: str, *arrays: Array) -> Array:
    """The function in long double, where that is wider than float64 (the tests skip float64 where it is not)."""
    with np.errstate(all="ignore"):
        return np.asarray(REFERENCES[name](*(a.astype(np.longdouble) for a in arrays)))


# -- inputs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Range:
    """Where a function's interesting inputs lie, in float32 and float64."""

    single: tuple[float, float]
    double: tuple[float, float]


RANGES = {
    "exp": Range((-105, 90), (-746, 711)), "exp2": Range((-151, 129), (-1076, 1025)),
    "expm1": Range((-20, 89), (-40, 710)), "sinh": Range((-90, 90), (-711, 711)), "cosh": Range((-90, 90), (-711, 711)),
    "tanh": Range((-10, 10), (-20, 20)), "sigmoid": Range((-105, 20), (-746, 40)),
    "silu": Range((-105, 20), (-746, 40)), "mish": Range((-105, 20), (-746, 40)),
    "softplus": Range((-105, 20), (-746, 40)), "log_sigmoid": Range((-20, 105), (-40, 746)),
    "erf": Range((-5, 5), (-7, 7)), "erfc": Range((-3, 11), (-3, 28)), "acosh": Range((1, 5), (1, 5)),
    "sin": Range((-1e4, 1e4), (-1e4, 1e4)), "cos": Range((-1e4, 1e4), (-1e4, 1e4)),
    "tan": Range((-1e4, 1e4), (-1e4, 1e4)),
}  # fmt: skip


def random_inputs(name: str, dtype: DType, count: int, seed: int = 0) -> Array:
    """Uniform over the function's range, normal, near 1, and with random exponents over the whole type."""
    draw = np.random.default_rng(seed)
    span = RANGES.get(name, Range((-4, 4), (-4, 4)))
    low, high = span.single if dtype == f32 else span.double
    smallest, largest, digits = (-149, 128, 24) if dtype == f32 else (-1074, 1024, 53)
    part = count // 5
    signs = draw.choice([-1.0, 1.0], part)
    parts = [
        draw.uniform(low, high, part),
        draw.normal(size=part),
        1 + np.ldexp(draw.uniform(1, 2, part), draw.integers(-digits, -1, part)) * signs,
        np.ldexp(draw.uniform(1, 2, part), draw.integers(smallest, largest, part)) * signs,
        np.ldexp(draw.uniform(1, 2, part), draw.integers(-digits, 12, part)) * signs,
    ]
    return np.concatenate(parts).astype(dtype.numpy)


def special_inputs(dtype: DType) -> Array:
    """Zeros, infinities, NaN, the ends of the type, subnormals, ones, and the neighbours of each."""
    info = np.finfo(dtype.numpy)
    near_limits = [float(info.max), float(info.max) / 2, float(info.tiny), float(info.smallest_subnormal), np.inf]
    thresholds = [0.3, 0.8, 0.9, 1.2, 88.7, 103.97, 709.7, 745.1, 2.0**20, 2.0**23 + 1, 2.0**24 - 1, 2.0**28]
    found = [
        0.0,
        1.0,
        2.0,
        3.0,
        0.5,
        1.5,
        10.0,
        100.0,
        1e4,
        1e5,
        1e22,
        1e30,
        np.pi / 2,
        np.pi,
        *near_limits,
        *thresholds,
    ]
    values = np.array(found).astype(dtype.numpy)
    up = dtype.numpy.type(np.inf)
    with np.errstate(over="ignore"):
        near = np.concatenate([values, np.nextafter(values, up), np.nextafter(values, -up)])
    return np.concatenate([near, -near, np.array([np.nan, -np.nan], dtype.numpy), odd_nans(dtype)])


def odd_nans(dtype: DType) -> Array:
    """NaNs with every kind of payload: those bits must not leak into exponents."""
    quiet = 1 << (22 if dtype == f32 else 51)
    ones = 0x7F800000 if dtype == f32 else 0x7FF << 52
    payloads = [quiet, quiet | 1, quiet | 2, quiet | (quiet - 1), quiet | 0x155, quiet | 0x80]
    unsigned = np.uint32 if dtype == f32 else np.uint64
    return np.array([ones | p for p in payloads], unsigned).view(dtype.numpy)


# -- errors ----------------------------------------------------------------------------------------------------------


def allowed(name: str, dtype: DType, arrays: tuple[Array, ...], y: Array) -> Array:
    """The largest absolute error by the function's class."""
    spacing = ulp(y, dtype)
    if name in COMPOSITE:
        size = np.where(np.isfinite(arrays[0]), np.abs(arrays[0]), 0).astype(np.longdouble)
        return np.maximum(ULPS["C"] * spacing, UNITS["C"] * UNIT[dtype] * size)
    if name == "pow":
        return 4 * spacing
    if name in ("sin", "cos", "tan"):
        return np.where(np.abs(arrays[0]) > LARGE_ANGLE, 4.0, ULPS["T"]) * spacing
    return ULPS["T"] * spacing


def complaint(name: str, dtype: DType, arrays: tuple[Array, ...], got: Array, wanted: Array) -> str:
    """What is wrong with the worst element, or "" where all are within their bounds; NaN and infinities compare too."""
    with np.errstate(all="ignore"):
        rounded = wanted.astype(dtype.numpy)
        error = np.abs(got.astype(np.longdouble) - wanted) / allowed(name, dtype, arrays, wanted)
        infinite = np.isinf(got) | np.isinf(rounded)
        limit = np.longdouble(np.finfo(dtype.numpy).max)
        near_limit = np.abs(wanted) >= limit * (1 - 8 * np.longdouble(UNIT[dtype]))
        agrees = (got == rounded) | (near_limit & (np.sign(got) == np.sign(rounded)))
        error = np.where(infinite, np.where(agrees, 0, np.inf), error)
        error = np.where(
            np.isnan(got) | np.isnan(rounded), np.where(np.isnan(got) & np.isnan(rounded), 0, np.inf), error
        )
    worst = int(np.argmax(error))
    if error[worst] <= 1:
        return ""
    inputs = ", ".join(repr(a[worst]) for a in arrays)
    return f"{name}({inputs}) = {got[worst]!r}, expected {wanted[worst]!r}: {float(error[worst]):.3f} times the bound"
