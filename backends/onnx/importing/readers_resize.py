"""ONNX's Resize of all versions, and Upsample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.backends.onnx import told
from chainrule.backends.onnx.node import Given, Read, Reader, shortest
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import Dim, DimExpr
from chainrule.ir.graph import Value, build
from chainrule.ops import elementwise as el
from chainrule.ops import shaping as sh
from chainrule.ops.basic import scalar_like
from chainrule.ops.compare import logical_or
from chainrule.ops.resample import Sampling, outside, resampled
from chainrule.ops.resize import Resize, resize, scaled
from chainrule.ops.shape_rules import axis_of

_PLAIN = frozenset({"half_pixel", "asymmetric", "pytorch_half_pixel"})  # what the op resize means by these is the same


def upsampled(given: Given) -> Read:
    """Upsample, and Resize before opset 11: by scales, from the places i / scale."""
    x = given.value(0)
    factors = given.attribute("scales") if given.opset < 9 and given.op_type == "Upsample" else None
    if factors is None:
        factors = tuple(float(s) for s in given.content(1).reshape(-1).tolist())
    if not isinstance(factors, tuple):
        raise ModelError(f"{given.op_type}: the scales are missing")
    mode = "nearest" if given.word("mode", "nearest") == "nearest" else "linear"
    return resize(x, None, [float(s) for s in factors], mode, "asymmetric", "floor")


def resized(given: Given) -> Read:
    """By scales or sizes; what the op resize has no word for is sampled axis by axis."""
    if given.opset < 11:
        return upsampled(given)
    x = given.value(0)
    axes = tuple(axis_of(a, x.rank) for a in given.vector("axes") or range(x.rank))
    sizes, scales = _targets(given, x, axes)
    how = _sampling(given)
    plain = how.coordinates in _PLAIN or (how.coordinates == "align_corners" and _are_ratios(x, sizes, scales))
    if plain and how.mode != "cubic" and not how.antialias and not how.exclude_outside:
        if x.dtype.is_float or how.mode == "nearest":
            return build(Resize(tuple(sizes), tuple(scales), how.mode, how.coordinates, how.rounding), x)
    region = _region(given, axes, x.rank) if how.coordinates == "tf_crop_and_resize" else None
    return _axis_by_axis(x, sizes, scales, how, region, given.fraction("extrapolation_value", 0.0))


def _are_ratios(x: Value, sizes: Sequence[Dim], scales: Sequence[float]) -> bool:
    """True where no size was rounded down: ONNX lays corners by what it was before."""
    return all(scale == 0 or scale == int(scale) or (isinstance(dim, int) and dim * scale == size)
               for dim, size, scale in zip(x.shape, sizes, scales, strict=True))  # fmt: skip


def _sampling(given: Given) -> Sampling:
    return Sampling(
        given.word("mode", "nearest"),
        coordinates=given.word("coordinate_transformation_mode", "half_pixel"),
        rounding=given.word("nearest_mode", "round_prefer_floor"),
        cubic_a=given.fraction("cubic_coeff_a", -0.75),
        antialias=bool(given.whole("antialias", 0)),
        exclude_outside=bool(given.whole("exclude_outside", 0)),
    )


def _targets(given: Given, x: Value, axes: Sequence[int]) -> tuple[list[Dim], list[float]]:
    """The new size of each axis and its scale, 0 where that is the ratio of the sizes."""
    sizes, scales = list(x.shape), [0.0] * x.rank
    if given.has(3):
        policy = given.word("keep_aspect_ratio_policy", "stretch")
        numbers = policy != "stretch" or given.whole("antialias", 0)  # what is computed from them takes no symbols
        for axis, size in zip(axes, given.dims(3) if numbers else told.sizes(given, 3), strict=True):
            sizes[axis] = size
        return (sizes, scales) if policy == "stretch" else _in_proportion(x, sizes, axes, policy)
    for axis, factor in zip(axes, given.content(2).reshape(-1).tolist(), strict=True):
        scales[axis] = shortest(np.float32(factor))
        if not (math.isfinite(scales[axis]) and scales[axis] > 0):
            raise ModelError(f"Resize: the scale {factor} of axis {axis} is no number above 0")
        sizes[axis] = scaled(x.shape[axis], scales[axis])
    return sizes, scales


def _in_proportion(x: Value, sizes: Sequence[Dim], axes: Sequence[int],
                   policy: str) -> tuple[list[Dim], list[float]]:  # fmt: skip
    """One scale for all axes: the smallest of their ratios ("not_larger") or the largest ("not_smaller")."""
    if policy not in ("not_larger", "not_smaller"):
        raise ModelError(f"Resize: the policy {policy!r} is unknown")
    pairs = [(sizes[a], x.shape[a]) for a in axes]
    if any(isinstance(d, DimExpr) for pair in pairs for d in pair):
        raise NotSupported(f"Resize: the policy {policy} with symbolic sizes", help="give the image's sizes as numbers")
    ratios = [int(size) / int(dim) for size, dim in pairs]  # type: ignore[arg-type]
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    kept, scales = list(x.shape), [0.0] * x.rank
    for axis in axes:
        kept[axis] = math.floor(scale * int(x.shape[axis]) + 0.5)  # type: ignore[arg-type]
        scales[axis] = scale
    return kept, scales


def _region(given: Given, axes: Sequence[int], rank: int) -> list[tuple[float, float]]:
    """The part of each axis that is sampled."""
    found = [(0.0, 1.0)] * rank
    numbers = [float(n) for n in given.content(1).reshape(-1).tolist()]
    if len(numbers) != 2 * len(axes):
        raise ModelError(f"Resize: the region of interest holds {len(numbers)} numbers for {len(axes)} axes")
    for i, axis in enumerate(axes):
        found[axis] = numbers[i], numbers[i + len(axes)]
    return found


def _axis_by_axis(x: Value, sizes: Sequence[Dim], scales: Sequence[float], how: Sampling,
                  region: Sequence[tuple[float, float]] | None, filler: float) -> Value:  # fmt: skip
    found, beyond = x, None
    for axis, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
        start, end = region[axis] if region is not None else (0.0, 1.0)
        if size == x.shape[axis] and scale in (0.0, 1.0) and (start, end) == (0.0, 1.0):
            continue
        own = Sampling(how.mode, scale, how.coordinates, how.rounding, how.cubic_a, how.antialias,
                       how.exclude_outside, start, end)  # fmt: skip
        found = resampled(found, axis, size, own)
        if region is not None:
            cut = sh.reshape(outside(size, x.shape[axis], own), [size if i == axis else 1 for i in range(x.rank)])
            beyond = cut if beyond is None else logical_or(beyond, cut)
    return found if beyond is None else el.where(beyond, scalar_like(filler, found), found)


READERS: Mapping[str, Reader] = {"Resize": resized, "Upsample": upsampled}
