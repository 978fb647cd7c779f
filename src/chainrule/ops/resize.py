"""Resizing of images, signals and volumes: nearest and linear, as gathers with weights, one axis after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import Dim, as_dim, floordiv
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, f32, f64, i64
from chainrule.ops.arithmetic import ceil, floor
from chainrule.ops.basic import constant, scalar_like
from chainrule.ops.compare import gt
from chainrule.ops.elementwise import add, cast, div, expect_inputs, maximum, minimum, mul, sub, where
from chainrule.ops.indexing import gather
from chainrule.ops.ranges import iota
from chainrule.ops.repeating import repeat
from chainrule.ops.shape_rules import require
from chainrule.ops.shaping import known_negative, listed, reshape

MODES = ("nearest", "linear")
COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@dataclass(frozen=True)
class Resize(Op):
    """x sampled at evenly spaced places along each axis. x: [d..] -> sizes. No smoothing before shrinking.

    Element i of an axis lies at the place p of x: (i + 1/2) / s - 1/2 for "half_pixel" (for "pytorch_half_pixel" 0 if
    the new size is 1), i / s for "asymmetric", i (d - 1) / (size - 1) for "align_corners". s is the axis's number in
    scales, or size / d where that is 0. "nearest" takes the element at the rounded place, "linear" mixes the two
    around it by weights, of which one may be 0 (times an infinity: NaN). Places beyond the ends count as the ends.
    Places are computed in float64; f16 and bf16 are mixed in f32.

    Only "linear" asks for floats. Raises ShapeError for an empty axis that is to grow, ArgumentError for unknown names.
    Source: ONNX Resize-19, modes nearest and linear, without antialias.
    """

    name: ClassVar[str] = "resize"
    args: ClassVar[tuple[str, ...]] = ("x",)
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "decompose"
    sizes: tuple[Dim, ...]
    scales: tuple[float, ...]
    mode: str = "nearest"
    coordinates: str = "half_pixel"
    rounding: str = "round_prefer_floor"

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        for value, known in ((self.mode, MODES), (self.coordinates, COORDINATES), (self.rounding, ROUNDINGS)):
            if value not in known:
                raise ArgumentError(f"{value!r} is not known here", help="one of " + ", ".join(known))
        if self.mode == "linear":
            require("f", x)
        if not len(self.sizes) == len(self.scales) == x.rank:
            raise ArgumentError(f"x has {x.rank} axes, {len(self.sizes)} sizes and {len(self.scales)} scales are given",
                                help="give one for every axis, batch and channels too")  # fmt: skip
        for axis, (dim, size, scale) in enumerate(zip(x.shape, self.sizes, self.scales, strict=True)):
            if known_negative(size) or not (math.isfinite(scale) and scale >= 0):
                raise ArgumentError(f"axis {axis} has the size {size} and the scale {scale}",
                                    help="sizes and scales are not negative")  # fmt: skip
            if dim == 0 and size != 0:
                raise ShapeError(f"axis {axis} of {listed(x.shape)} is empty", help="there is nothing to sample")
        return x.with_shape(self.sizes)

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        wide = x.astype(np.float32) if self.mode == "linear" and x.dtype.itemsize == 2 else x
        for axis, (size, scale) in enumerate(zip(self.sizes, self.scales, strict=True)):
            dim = wide.shape[axis]
            if is_unchanged(dim, size, scale):
                continue
            if dim == 0 and size:
                raise ShapeError(f"axis {axis} of {listed(x.shape)} is empty", help="there is nothing to sample")
            places = np.clip(self.places(int(size), dim, scale), 0.0, max(dim - 1.0, 0.0))
            if self.mode == "nearest":
                wide = np.take(wide, self._rounded(places).astype(np.int64), axis)
                continue
            low = np.floor(places)
            weight = (places - low).astype(wide.dtype).reshape([-1 if i == axis else 1 for i in range(wide.ndim)])
            first = np.take(wide, low.astype(np.int64), axis)
            second = np.take(wide, np.minimum(low + 1, max(dim - 1.0, 0.0)).astype(np.int64), axis)
            with np.errstate(all="ignore"):
                wide = first * (1 - weight) + second * weight
        return wide.astype(x.dtype)

    def places(self, size: int, dim: int, scale: float) -> Array:
        """Where the new elements lie, in float64."""
        i = np.arange(size, dtype=np.float64)
        if self.coordinates == "align_corners":
            return i * (dim - 1.0) / max(size - 1.0, 1.0)
        s = scale or size / dim
        if self.coordinates == "asymmetric":
            return i / s
        if self.coordinates == "pytorch_half_pixel" and size <= 1:
            return i * 0.0
        return (i + 0.5) / s - 0.5

    def _rounded(self, places: Array) -> Array:
        match self.rounding:
            case "round_prefer_floor":
                return np.ceil(places - 0.5)
            case "round_prefer_ceil":
                return np.floor(places + 0.5)
            case "floor":
                return np.floor(places)
            case _:
                return np.ceil(places)

    def decompose(self, *inputs: Value) -> Value:
        (x,) = inputs
        wide = cast(x, f32) if self.mode == "linear" and x.dtype.bits == 16 else x
        for axis in reversed(range(wide.rank)):  # rows are made longer before they are made more
            size, scale, dim = self.sizes[axis], self.scales[axis], wide.shape[axis]
            if is_unchanged(dim, size, scale):
                continue
            times = self.times(size, dim, scale)
            if times:
                wide = repeat(wide, times, axis)
                continue
            last = maximum(_number(dim - 1), _number(0))
            places = minimum(maximum(self._place_values(size, dim, scale), _number(0)), last)
            if self.mode == "nearest":
                wide = gather(wide, cast(self._rounded_values(places), i64), axis)
                continue
            low = floor(places)
            shape: list[Dim] = [size if i == axis else 1 for i in range(wide.rank)]
            weight = reshape(cast(sub(places, low), wide.dtype), shape)
            first = gather(wide, cast(low, i64), axis)
            second = gather(wide, cast(minimum(add(low, _number(1)), last), i64), axis)
            wide = add(mul(first, sub(scalar_like(1.0, wide), weight)), mul(second, weight))
        return cast(wide, x.dtype)

    def times(self, size: Dim, dim: Dim, scale: float) -> int:
        """How often each element stands in a row in the result, where that is the same for all of them; else 0."""
        floors = self.coordinates == "asymmetric" and self.rounding == "floor"
        nearest = self.coordinates in ("half_pixel", "pytorch_half_pixel") and self.rounding.startswith("round")
        if self.mode != "nearest" or not (floors or nearest) or dim == 0:
            return 0
        if not scale and isinstance(size, int) and isinstance(dim, int):
            scale = size / dim
        return int(scale) if scale == int(scale) and size == dim * int(scale) else 0

    def _place_values(self, size: Dim, dim: Dim, scale: float) -> Value:
        """The same as `places`, in ops."""
        i = iota((size,), 0, f64)
        if self.coordinates == "align_corners":
            return div(mul(i, _number(dim - 1)), maximum(_number(size - 1), _number(1)))
        s = constant(scale, f64) if scale else div(_number(size), _number(dim))
        if self.coordinates == "asymmetric":
            return div(i, s)
        centred = sub(div(add(i, _number(0.5)), s), _number(0.5))
        if self.coordinates == "pytorch_half_pixel":
            return where(gt(_number(size), _number(1)), centred, _number(0))
        return centred

    def _rounded_values(self, places: Value) -> Value:
        match self.rounding:
            case "round_prefer_floor":
                return ceil(sub(places, _number(0.5)))
            case "round_prefer_ceil":
                return floor(add(places, _number(0.5)))
            case "floor":
                return floor(places)
            case _:
                return ceil(places)


def is_unchanged(dim: Dim, size: Dim, scale: float) -> bool:
    """True for an axis that stays as it is."""
    return dim == size and scale in (0.0, 1.0)


def _number(value: Dim | float) -> Value:
    """A number or a symbolic size as an f64 scalar."""
    return constant(value, f64) if isinstance(value, int | float) else scalar_like(value, constant(0.0, f64))


def scaled(dim: Dim, scale: float) -> Dim:
    """floor(dim * scale); of a symbolic size when the scale is a simple fraction."""
    if isinstance(dim, int):
        return math.floor(dim * scale)
    ratio = Fraction(scale).limit_denominator(1024)
    if abs(float(ratio) - scale) > 1e-7 * abs(scale):
        raise ArgumentError(f"resize: the symbolic size {dim} times {scale} is not a size",
                            help="use a simple fraction such as 2, 0.5 or 1.5 as scale, or give sizes")  # fmt: skip
    return floordiv(dim * ratio.numerator, ratio.denominator)


def resize(x: Value, sizes: Sequence[Dim] | None = None, scales: Sequence[float] | None = None, mode: str = "nearest",
           coordinates: str = "half_pixel", rounding: str = "round_prefer_floor") -> Value:  # fmt: skip
    """x sampled to sizes, or to its sizes times scales (rounded down), one for every axis.

    mode: "nearest" or "linear". coordinates: "half_pixel", "asymmetric", "align_corners" or "pytorch_half_pixel".
    rounding (nearest): "round_prefer_floor", "round_prefer_ceil", "floor" or "ceil".
    """
    if (sizes is None) == (scales is None):
        raise ArgumentError("resize: give either sizes or scales", help="one number for every axis")
    if scales is not None:
        if len(scales) != x.rank or any(not (math.isfinite(s) and s > 0) for s in scales):
            raise ArgumentError(f"resize: the scales {tuple(scales)} do not fit {x.tensor}",
                                help="give one positive number for every axis, batch and channels too")  # fmt: skip
        sizes = [scaled(d, s) for d, s in zip(x.shape, scales, strict=True)]
    factors = tuple(float(s) for s in scales) if scales is not None else (0.0,) * len(sizes or ())
    return build(Resize(tuple(as_dim(s) for s in sizes or ()), factors, mode, coordinates, rounding), x)


OPS: tuple[type[Op], ...] = (Resize,)
