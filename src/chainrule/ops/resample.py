"""Resampling along one axis in all the ways that ONNX's Resize knows: cubic, smoothing, of a cut, by any coordinates.

`resize` is the op for nearest and linear sampling; what goes beyond it is composed here of gathers with weights. Sizes
may be symbolic, but for smoothing: how many elements a place mixes then follows from the ratio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from chainrule.errors import ArgumentError, NotSupported
from chainrule.ir.dims import Dim, DimExpr
from chainrule.ir.graph import Value
from chainrule.ir.types import f32, f64, i64
from chainrule.ops.arithmetic import ceil, clip, floor
from chainrule.ops.basic import constant, full, scalar_like
from chainrule.ops.compare import gt, le, logical_and, lt
from chainrule.ops.elementwise import abs, add, cast, div, maximum, minimum, mul, sub, where
from chainrule.ops.indexing import gather
from chainrule.ops.ranges import iota
from chainrule.ops.shaping import reshape

COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
               "tf_half_pixel_for_nn", "tf_crop_and_resize")  # fmt: skip


@dataclass(frozen=True)
class Sampling:
    """How an axis is sampled. mode: "nearest", "linear" or "cubic". scale: new size over old; 0 for that of the sizes.

    coordinates, rounding (of nearest), cubic_a, antialias (smooth before shrinking), exclude_outside (elements beyond
    the ends do not count, the others' weights sum to 1) and the region start to end, in parts of the axis, of
    "tf_crop_and_resize": as ONNX has them. Source: ONNX Resize-19.
    """

    mode: str = "linear"
    scale: float = 0.0
    coordinates: str = "half_pixel"
    rounding: str = "round_prefer_floor"
    cubic_a: float = -0.75
    antialias: bool = False
    exclude_outside: bool = False
    start: float = 0.0
    end: float = 1.0


def resampled(x: Value, axis: int, size: Dim, how: Sampling) -> Value:
    """x sampled at `size` places of one axis; in f32 where it is narrower or integer, then cast back without rounding.

    Raises ArgumentError for unknown names, NotSupported for smoothing by a ratio that is not known.
    """
    if how.coordinates not in COORDINATES or how.mode not in ("nearest", "linear", "cubic"):
        raise ArgumentError(f"resample: {how.mode!r} by {how.coordinates!r} is not known",
                            help="coordinates: " + ", ".join(COORDINATES))  # fmt: skip
    places = places_of(size, x.shape[axis], how)
    last = maximum(_number(x.shape[axis] - 1), _number(0))
    if how.mode == "nearest":
        return gather(x, cast(_bounded(_rounded(places, how.rounding), last), i64), axis)
    wide = x if x.dtype.is_float and x.dtype.bits > 16 else cast(x, f32)
    found = _mixed(wide, axis, places, last, how, _shrinking(size, x.shape[axis], how))
    return cast(found, x.dtype)


def outside(size: Dim, dim: Dim, how: Sampling) -> Value:
    """Which of the places lie beyond the ends of the axis: bool[size]."""
    places = places_of(size, dim, how)
    inside = logical_and(le(_number(0), places), le(places, _number(dim - 1)))
    return where(inside, full(False, (size,), inside.dtype), full(True, (size,), inside.dtype))


def places_of(size: Dim, dim: Dim, how: Sampling) -> Value:
    """Where the new elements lie on the old axis: f64[size]."""
    i, one = iota((size,), 0, f64), _number(1)
    scale = constant(how.scale, f64) if how.scale else div(_number(size), _number(dim))
    whole = mul(scale, _number(dim)) if how.scale else _number(size)  # the new size before it was rounded down
    match how.coordinates:
        case "asymmetric":
            return div(i, scale)
        case "align_corners":
            room = where(gt(whole, one), sub(whole, one), one)
            return where(gt(whole, one), div(mul(i, _number(dim - 1)), room), mul(i, _number(0)))
        case "tf_crop_and_resize":
            return _cropped(i, size, dim, how)
        case "tf_half_pixel_for_nn":
            return div(add(i, _number(0.5)), scale)
        case "half_pixel_symmetric":
            shift = mul(div(_number(dim), _number(2)), sub(one, div(_number(size), whole)))
            return add(shift, sub(div(add(i, _number(0.5)), scale), _number(0.5)))
        case coordinates:
            centred = sub(div(add(i, _number(0.5)), scale), _number(0.5))
            if coordinates == "pytorch_half_pixel":
                return where(gt(_number(size), one), centred, mul(i, _number(0)))
            return centred


def _cropped(i: Value, size: Dim, dim: Dim, how: Sampling) -> Value:
    """Evenly from start to end; a single place in the middle."""
    last, one = _number(dim - 1), _number(1)
    step = div(mul(constant(how.end - how.start, f64), last), maximum(_number(size - 1), one))
    even = add(mul(constant(how.start, f64), last), mul(i, step))
    middle = mul(constant(0.5 * (how.start + how.end), f64), last)
    return where(gt(_number(size), one), even, middle)


def _shrinking(size: Dim, dim: Dim, how: Sampling) -> float:
    """The ratio by which the kernel widens: below 1 only where it smooths before shrinking."""
    if not how.antialias:
        return 1.0
    if how.scale:
        return min(1.0, how.scale)
    if isinstance(size, DimExpr) or isinstance(dim, DimExpr):
        raise NotSupported(f"resample: smoothing from the size {dim} to {size}",
                           help="give scales, or sizes that are numbers")  # fmt: skip
    return min(1.0, size / dim)


def _mixed(x: Value, axis: int, places: Value, last: Value, how: Sampling, ratio: float) -> Value:
    """The sum of the elements around each place, by the kernel's weights."""
    reach = math.ceil((1 if how.mode == "linear" else 2) / ratio)
    base, size = floor(places), places.shape[0]
    taps = [add(base, _number(offset)) for offset in range(1 - reach, reach + 1)]
    weights = [_weight(mul(sub(tap, places), _number(ratio)), how) for tap in taps]
    if how.exclude_outside:
        inside = [logical_and(le(_number(0), tap), le(tap, last)) for tap in taps]
        weights = [where(kept, w, mul(w, _number(0))) for kept, w in zip(inside, weights, strict=True)]
    if how.exclude_outside or how.antialias:
        total = weights[0]
        for weight in weights[1:]:
            total = add(total, weight)
        weights = [div(weight, total) for weight in weights]
    found: Value | None = None
    for tap, weight in zip(taps, weights, strict=True):
        aligned = reshape(cast(weight, x.dtype), [size if i == axis else 1 for i in range(x.rank)])
        part = mul(gather(x, cast(_bounded(tap, last), i64), axis), aligned)
        found = part if found is None else add(found, part)
    assert found is not None
    return found


def _weight(distance: Value, how: Sampling) -> Value:
    """The kernel at a distance: a triangle, or the cubic of R. Keys (IEEE Trans. ASSP 29, 1981)."""
    d = abs(distance)
    if how.mode == "linear":
        return clip(sub(_number(1), d), 0.0, 1.0)
    a = how.cubic_a
    near = add(mul(mul(d, d), sub(mul(d, _number(a + 2)), _number(a + 3))), _number(1))
    far = sub(mul(add(mul(sub(mul(d, _number(a)), _number(5 * a)), d), _number(8 * a)), d), _number(4 * a))
    return where(le(d, _number(1)), near, where(lt(d, _number(2)), far, mul(d, _number(0))))


def _rounded(places: Value, rounding: str) -> Value:
    match rounding:
        case "round_prefer_floor":
            return ceil(sub(places, _number(0.5)))
        case "round_prefer_ceil":
            return floor(add(places, _number(0.5)))
        case "floor":
            return floor(places)
        case "ceil":
            return ceil(places)
        case _:
            raise ArgumentError(f"resample: the rounding {rounding!r} is not known")


def _bounded(places: Value, last: Value) -> Value:
    return minimum(maximum(places, _number(0)), last)


def _number(value: Dim | float) -> Value:
    """A number or a symbolic size as an f64 scalar."""
    return constant(value, f64) if isinstance(value, int | float) else scalar_like(value, constant(0.0, f64))
