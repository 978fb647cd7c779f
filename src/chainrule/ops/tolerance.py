"""The one table of tolerances: how far a result may be from the float64 reference, by the class of its op.

The classes are those of `Op.tolerance`. u is the unit roundoff of the result's type. y is what the op's own `ref` gives
in float64, S the scale of its rounding errors: `op.magnitude(*arrays)` where the op has that method (arrays in float64,
result of y's shape), else, for R and D, ref of the absolute values, which is sum |a_i| for sums and sum |a_i * b_i| for
products of matrices and convolutions.

    E  exact           bit-equal to ref in the arrays' own type; -0 and the places of NaN included
    B  basic           the same: IEEE, no contraction
    T  transcendental  2 ULP (pow, and sin, cos, tan beyond 1e4: 4)
    C  composite       4 ULP, or 4u * S where that is larger; S is the largest input at the element's place
    R  reduction       8u * S
    D  dot             16u * S
    G  gradient        float64 against a 4-point stencil: see DIFFERENCE_STEP, GRADIENT_RTOL, GRADIENT_ATOL
    M  model           1e-5 of the largest output
    W  Winograd        16u * S; S is what op.magnitude gives: the sum of the sizes of all that the transforms add up
    X  other framework the bound times 2
    Q  quantised       another framework's: integers one step apart, in one place of twenty at most; see steps_agree

f16 and bf16 results are computed in f32 and rounded once: half a ULP of their own, and the f32 bound of the class.
Element type, shape and the places of NaN are compared before any number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from chainrule.ir.op import Array, Op
from chainrule.ir.types import DType, as_dtype, bf16, f16, f32, f64

UNIT = {f32: 2.0**-24, f64: 2.0**-53, f16: 2.0**-11, bf16: 2.0**-8}
LEAST = {f32: 2.0**-149, f64: 2.0**-1074, f16: 2.0**-24, bf16: 2.0**-133}  # the smallest subnormals
LEAST_EXPONENT = {f32: -126, f64: -1022, f16: -14, bf16: -126}
PRECISION = {f32: 24, f64: 53, f16: 11, bf16: 8}

CLASSES = ("E", "B", "T", "C", "R", "D", "W")
ULPS = {"T": 2.0, "C": 4.0}
UNITS = {"C": 4.0, "R": 8.0, "D": 16.0, "W": 16.0}
OTHER_FRAMEWORK = 2.0
QUANTISED_SHARE = 1 / 20  # of numbers so near to the middle of two steps that another road rounds the other way
BYTES_RTOL = 2.0**-3  # of a recurrent layer whose inputs and states another framework rounds to 8 bits in each step
MODEL_RTOL = 1e-5
SIGMOID_ATOL = 2.0**-22  # of onnxruntime's sigmoid in f32: 0 below -18, up to 2.8 * 2^-24 off from -60 to 60, measured

DIFFERENCE_STEP = 2.0**-9
GRADIENT_RTOL = 1e-6
GRADIENT_ATOL = 1e-9
ADJOINT_RTOL = 1e-12
OPTIMIZER_RTOL = 1e-6  # a hundred updates in float64 against another framework, of the largest element

# Four ULP instead of two: pow doubles its logarithm's error, a large angle loses digits in its reduction.
FOUR_ULP = frozenset({"pow"})
LARGE_ANGLE = 1e4
ANGULAR = frozenset({"sin", "cos", "tan"})

# Which of -0 and 0 these give depends on the order of comparison, and is not promised.
UNSIGNED_ZERO = frozenset({"maximum", "minimum", "amax", "amin", "max_pool", "adaptive_max_pool", "global_max_pool",
                           "scatter_max", "scatter_min", "segment_max", "segment_min", "sort", "top_k"})  # fmt: skip

@runtime_checkable
class Scaled(Protocol):
    """An op that knows the scale S of its rounding errors."""

    def magnitude(self, *arrays: Array) -> Array | tuple[Array, ...]:
        """S for each element of the results, for float64 inputs."""
        ...


@dataclass(frozen=True)
class Verdict:
    """Whether a result is within its bound. worst: the largest error in units of the bound; reason: what is wrong."""

    ok: bool
    worst: float = 0.0
    reason: str = ""

    def __bool__(self) -> bool:
        return self.ok


def judge(op: Op, arrays: Sequence[Array], got: Array | Sequence[Array], *, factor: float = 1.0,
          own: Sequence[Array] | None = None, precise: Sequence[Array] | None = None) -> Verdict:  # fmt: skip
    """Whether `got`, an op's results for `arrays` computed elsewhere, is within the bound of the op's class.

    factor: 1, or OTHER_FRAMEWORK. own, precise: the reference's results in the arrays' own type and in float64, where
    they are known already or the op has no ref of its own.
    """
    results = (np.asarray(got),) if isinstance(got, np.ndarray | np.generic) else tuple(got)
    own = as_results(op.ref(*arrays)) if own is None else own
    if len(results) != len(own):
        return Verdict(False, np.inf, f"{len(own)} results expected, {len(results)} given")
    if precise is None:
        precise = own if op.tolerance in "EB" else as_results(op.ref(*widened(arrays)))
    verdicts = [_judge_one(op, arrays, i, y, own[i], precise[i], factor) for i, y in enumerate(results)]
    bad = [v for v in verdicts if not v.ok]
    return bad[0] if bad else Verdict(True, max((v.worst for v in verdicts), default=0.0))


def _judge_one(op: Op, arrays: Sequence[Array], index: int, y: Array, own: Array, y64: Array,
               factor: float) -> Verdict:  # fmt: skip
    if y.dtype != own.dtype or y.shape != own.shape:
        return Verdict(False, np.inf, f"{own.dtype}{list(own.shape)} expected, {y.dtype}{list(y.shape)} given")
    dtype = as_dtype(y.dtype)
    if not dtype.is_float or op.tolerance in "EB":
        return exactly(y, own, signed_zero=op.name not in UNSIGNED_ZERO)
    return within(y, y64, allowed_error(op, arrays, index, y64, dtype) * factor)


def as_results(result: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    """What ref gave, as a tuple of arrays."""
    return result if isinstance(result, tuple) else (result,)


def widened(arrays: Sequence[Array]) -> list[Array]:
    """The arrays with floats in float64; integers and bools as they are."""
    return [x.astype(np.float64) if as_dtype(x.dtype).is_float else x for x in arrays]


def exactly(y: Array, expected: Array, *, signed_zero: bool = True) -> Verdict:
    """Whether two arrays of one type and shape are bit-equal, any NaN being equal to any other."""
    with np.errstate(all="ignore"):
        same = np.asarray((y == expected) | ((y != y) & (expected != expected)))
        if as_dtype(y.dtype).is_float and signed_zero:
            same &= (np.signbit(y) == np.signbit(expected)) | (y != y)
    if same.all():
        return Verdict(True)
    return Verdict(False, np.inf, f"{int(np.sum(~same))} of {same.size} differ: " + _place(~same, y, expected))


def within(y: Array, y64: Array, bound: Array) -> Verdict:
    """Whether every element is within its bound of the float64 reference; NaN in the same places.

    An infinity is right where the reference, moved by the bound, rounds to it.
    """
    with np.errstate(all="ignore"):
        wide = y.astype(np.float64)
        bound = np.where(np.isfinite(bound), bound, 0.0)
        nan = np.isnan(wide) != np.isnan(y64)
        if nan.any():
            return Verdict(False, np.inf, "NaN in other places: " + _place(nan, y, y64))
        low, high = ((y64 + side * bound).astype(y.dtype).astype(np.float64) for side in (-1, 1))
        infinite = ~np.isfinite(wide) | ~np.isfinite(y64)
        wrong = infinite & ~np.isnan(wide) & ~((low <= wide) & (wide <= high))
        if wrong.any():
            return Verdict(False, np.inf, "infinity in other places: " + _place(wrong, y, y64))
        error = np.where(infinite, 0.0, np.abs(wide - y64))
        units = np.where(error == 0, 0.0, error / bound)
    worst = float(np.max(units, initial=0.0))
    if worst <= 1.0:
        return Verdict(True, worst)
    return Verdict(False, worst, f"{worst:.3g} times the bound: " + _place(units == worst, y, y64))


def _place(where: Array, y: Array, expected: Array) -> str:
    at = tuple(int(i) for i in np.argwhere(where)[0])
    return f"{y[at]!r} at {list(at)}, expected {expected[at]!r}"


def allowed_error(op: Op, arrays: Sequence[Array], index: int, y64: Array, dtype: DType) -> Array:
    """The largest absolute error of each element of result number `index`, in this type, by the op's class.

    arrays: the op's inputs; y64: that result of the reference in float64.
    """
    core = f32 if dtype.bits == 16 else dtype
    with np.errstate(all="ignore"):
        match op.tolerance:
            case "T":
                bound = _ulps(op, arrays) * ulp(y64, core)
            case "C":
                size = scale(op, arrays, index, y64)
                bound = np.maximum(ULPS["C"] * ulp(y64, core), UNITS["C"] * UNIT[core] * size)
            case "R" | "D" | "W":
                bound = UNITS[op.tolerance] * UNIT[core] * scale(op, arrays, index, y64) + LEAST[core]
            case _:
                raise AssertionError(f"{op.name}: class {op.tolerance} has no bound by op")
        return bound + 0.5 * ulp(y64, dtype) if dtype.bits == 16 else np.asarray(bound)


def _ulps(op: Op, arrays: Sequence[Array]) -> Array:
    if op.name in FOUR_ULP:
        return np.asarray(4.0)
    if op.name in ANGULAR:
        return np.where(np.abs(arrays[0].astype(np.float64)) > LARGE_ANGLE, 4.0, ULPS["T"])
    return np.asarray(ULPS["T"])


def scale(op: Op, arrays: Sequence[Array], index: int, y64: Array) -> Array:
    """S, the scale of the rounding errors of each element of result number `index`."""
    wide = widened(arrays)
    if isinstance(op, Scaled):
        return as_results(op.magnitude(*wide))[index]
    if op.tolerance == "C":
        return _largest_input(wide, y64)
    return np.abs(as_results(op.ref(*(np.abs(x) if x.dtype == np.float64 else x for x in wide)))[index])


def _largest_input(arrays: Sequence[Array], y64: Array) -> Array:
    """The largest |input| at each place of the result, or over all where an input has another shape."""
    largest = np.zeros(y64.shape)
    for x in arrays:
        if x.dtype != np.float64:
            continue
        size = np.where(np.isfinite(x), np.abs(x), 0.0)
        aligned = x.ndim <= y64.ndim and all(n in (1, m) for n, m in zip(x.shape[::-1], y64.shape[::-1]))
        largest = np.maximum(largest, size if aligned else np.max(size, initial=0.0))
    return largest


def ulp(y64: Array, dtype: DType) -> Array:
    """The distance between neighbours of an element type at each number; the subnormals' near 0."""
    _, exponent = np.frexp(np.where(np.isfinite(y64), y64, 0.0))
    exponent = np.where(y64 == 0, LEAST_EXPONENT[dtype], np.maximum(exponent - 1, LEAST_EXPONENT[dtype]))
    return np.ldexp(1.0, exponent - PRECISION[dtype] + 1)


def models_agree(y: Array, y64: Array, factor: float = 1.0) -> Verdict:
    """Class M: whether a whole model's output is within 1e-5 of the largest one, and NaN in the same places."""
    if y.shape != y64.shape:
        return Verdict(False, np.inf, f"{list(y64.shape)} expected, {list(y.shape)} given")
    finite = np.where(np.isfinite(y64), np.abs(y64), 0.0)
    return within(y, y64, np.full(y64.shape, factor * MODEL_RTOL * float(np.max(finite, initial=0.0))))


def sigmoids_agree(y: Array, y64: Array) -> Verdict:
    """Class M before a sigmoid: whether y is one of an argument within 1e-5 of the largest.

    Where all results are tiny their own largest one is no measure: at -12 the argument's last digits are in them.
    """
    if y.shape != y64.shape:
        return models_agree(y, y64)
    with np.errstate(divide="ignore", invalid="ignore"):
        argument = np.log(y64) - np.log1p(-y64)
    largest = float(np.max(np.abs(argument[np.isfinite(argument)]), initial=0.0))
    return within(y, y64, MODEL_RTOL * largest * y64 * (1.0 - y64))


def steps_agree(y: Array, other: Array) -> Verdict:
    """Class Q: whether quantised numbers are those of another framework, which may round where two steps meet."""
    if (y.dtype, y.shape) != (other.dtype, other.shape):
        return Verdict(False, np.inf, f"{other.dtype}{list(other.shape)} expected, {y.dtype}{list(y.shape)} given")
    apart = np.abs(y.astype(np.int64) - other.astype(np.int64))
    worst, share = int(np.max(apart, initial=0)), float(np.mean(apart > 0)) if apart.size else 0.0
    few = share <= QUANTISED_SHARE or np.count_nonzero(apart) <= 1
    if worst <= 1 and few:
        return Verdict(True, float(worst))
    return Verdict(False, float(worst), f"{worst} steps apart, {share:.1%} differ: " + _place(apart == worst, y, other))


def gradients_agree(grad: Array, difference: Array) -> Verdict:
    """Class G: whether a float64 gradient agrees with a 4-point difference quotient."""
    if grad.shape != difference.shape:
        return Verdict(False, np.inf, f"{list(difference.shape)} expected, {list(grad.shape)} given")
    return within(grad, difference, GRADIENT_RTOL * np.abs(difference) + GRADIENT_ATOL)


def signal_to_noise(y: Array, exact: Array) -> float:
    """Ten times the logarithm of the signal's energy over the error's, in decibels; inf where nothing differs."""
    wanted = np.asarray(exact, np.float64)
    with np.errstate(all="ignore"):
        noise = float(np.sum(np.square(np.asarray(y, np.float64) - wanted)))
        signal = float(np.sum(np.square(wanted)))
        return np.inf if noise == 0 else float(10 * np.log10(signal / noise))
