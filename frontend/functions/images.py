"""Functions on images [N, C, *S]: sampling to another size, and moving pixels between channels and space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, value_of, wrap
from chainrule.ir.dims import Dim, as_dim, floordiv
from chainrule.ir.graph import Value, build
from chainrule.ops import pools, resample, resize, shaping

_SMOOTH = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}


def interpolate(
    x: Operand,
    size: Any = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """x [N, C, *S] sampled to `size`, or to its size times scale_factor. Source: torch.nn.functional.interpolate.

    mode: "nearest", "nearest-exact", "area" (adaptive_avg_pool), "bicubic" for two spatial axes, or "linear" /
    "bilinear" / "trilinear" for one, two, three. recompute_scale_factor: pixels lie as if the size had been given.
    antialias (of "bilinear" and "bicubic"): smooth before shrinking.
    """
    with located():
        value = value_of(x, "interpolate")
        rank = value.rank - 2
        if rank < 1:
            raise error(ShapeError, f"interpolate: x has {value.rank} axes", notes=[f"x: {value.type}"],
                        help="x is [N, C, *S]")  # fmt: skip
        if (size is None) == (scale_factor is None):
            raise error(ArgumentError, "interpolate: give either size or scale_factor", help="scale_factor=2, say")
        scales = [0.0] * rank if scale_factor is None else [float(s) for s in _each("scale_factor", scale_factor, rank)]
        sizes = _each("size", size, rank) if scale_factor is None else [
            resize.scaled(d, s) for d, s in zip(value.shape[2:], scales, strict=True)]  # fmt: skip
        if recompute_scale_factor:
            scales = [0.0] * rank
        return wrap(_resized(value, sizes, scales, mode, bool(align_corners), antialias))


def _resized(x: Value, sizes: list[Any], scales: list[float], mode: str, corners: bool, antialias: bool) -> Value:
    """x at these sizes. scales: by how much it grows, 0 for what the sizes say."""
    rank = len(sizes)
    if antialias and mode not in ("bilinear", "bicubic"):
        raise error(ArgumentError, f"interpolate: antialias with mode {mode!r}", help='"bilinear" or "bicubic"')
    if mode == "area":
        return pools.adaptive_avg_pool(x, sizes)
    coordinates, rounding = _sampling(mode, rank, corners)
    if mode == "bicubic" or antialias:
        return _smooth(x, sizes, scales, mode, coordinates, antialias)
    kind = "nearest" if mode.startswith("nearest") else "linear"
    op = resize.Resize((*x.shape[:2], *map(as_dim, sizes)), (0.0, 0.0, *scales), kind, coordinates, rounding)
    return build(op, x)


def _smooth(x: Value, sizes: list[Any], scales: list[float], mode: str, coordinates: str, antialias: bool) -> Value:
    """Cubic or smoothed samples, axis by axis. The cubic's slope is PyTorch's: -1/2 where it smooths, else -3/4."""
    how = resample.Sampling("cubic" if mode == "bicubic" else "linear", 0.0, coordinates, antialias=antialias,
                            cubic_a=-0.5 if antialias else -0.75, exclude_outside=antialias)  # fmt: skip
    for axis, (size, scale) in enumerate(zip(sizes, scales, strict=True), start=2):
        scale = 0.0 if coordinates == "align_corners" else scale
        x = resample.resampled(x, axis, as_dim(size), replace(how, scale=scale))
    return x


def _sampling(mode: str, rank: int, align_corners: bool) -> tuple[str, str]:
    """Where output pixels lie in the input, and how a position becomes a pixel."""
    if mode == "nearest":
        return "asymmetric", "floor"
    if mode == "nearest-exact":
        return "half_pixel", "round_prefer_ceil"
    if _SMOOTH.get(mode) != rank:
        fitting = " or ".join(name for name, count in _SMOOTH.items() if count == rank)
        raise error(ArgumentError, f"interpolate: mode {mode!r} does not fit {rank} spatial axes",
                    help=f"nearest, nearest-exact, area{', ' + fitting if fitting else ''}")  # fmt: skip
    return ("align_corners" if align_corners else "half_pixel"), "round_prefer_floor"


def _each(what: str, value: Any, rank: int) -> list[Any]:
    parts = list(value) if isinstance(value, tuple | list) else [value] * rank
    if len(parts) != rank:
        raise error(ArgumentError, f"interpolate: {what}={value!r} does not have {rank} numbers",
                    help="one for each spatial axis")  # fmt: skip
    return parts


def pixel_shuffle(x: Operand, upscale_factor: int) -> Tensor:
    """[N, C*r*r, H, W] -> [N, C, H*r, W*r]. Source: Shi et al. 2016; ONNX DepthToSpace-13 in mode CRD."""
    with located():
        value, r = value_of(x, "pixel_shuffle"), upscale_factor
        _expect_image("pixel_shuffle", value, r)
        n, channels, h, w = value.shape
        c = _parts("pixel_shuffle", value, channels, r * r)
        split = shaping.reshape(value, (n, c, r, r, h, w))
        return wrap(shaping.reshape(shaping.transpose(split, (0, 1, 4, 2, 5, 3)), (n, c, h * r, w * r)))


def pixel_unshuffle(x: Operand, downscale_factor: int) -> Tensor:
    """[N, C, H*r, W*r] -> [N, C*r*r, H, W]: the inverse of pixel_shuffle."""
    with located():
        value, r = value_of(x, "pixel_unshuffle"), downscale_factor
        _expect_image("pixel_unshuffle", value, r)
        n, c, height, width = value.shape
        h, w = _parts("pixel_unshuffle", value, height, r), _parts("pixel_unshuffle", value, width, r)
        split = shaping.reshape(value, (n, c, h, r, w, r))
        return wrap(shaping.reshape(shaping.transpose(split, (0, 1, 3, 5, 2, 4)), (n, c * (r * r), h, w)))


def channel_shuffle(x: Operand, groups: int) -> Tensor:
    """The channels of x [N, C, *S], written as [groups, C/groups], transposed. Source: Zhang et al. 2017."""
    with located():
        value = value_of(x, "channel_shuffle")
        if value.rank < 2 or groups < 1:
            cause = f"channel_shuffle: {groups} groups of {value.rank} axes"
            raise error(ShapeError, cause, notes=[f"x: {value.type}"], help="x is [N, C, *S], groups >= 1")
        n, channels, *rest = value.shape
        split = shaping.reshape(value, (n, groups, _parts("channel_shuffle", value, channels, groups), *rest))
        order = (0, 2, 1, *range(3, value.rank + 1))
        return wrap(shaping.reshape(shaping.transpose(split, order), value.shape))


def _expect_image(what: str, x: Value, factor: int) -> None:
    if x.rank != 4 or factor < 1:
        cause = f"x has {x.rank} axes" if x.rank != 4 else f"the factor is {factor}"
        raise error(ShapeError, f"{what}: {cause}", notes=[f"x: {x.type}"], help="x is [N, C, H, W], the factor >= 1")


def _parts(what: str, x: Value, size: Dim, count: int) -> Dim:
    whole = floordiv(size, count)
    if whole * count != size:
        raise error(ShapeError, f"{what}: {size} does not divide into {count} parts", notes=[f"x: {x.type}"],
                    help="choose a size that divides")  # fmt: skip
    return whole
