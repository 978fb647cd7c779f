"""Functions on images [N, C, *S]: sampling to another size, and moving pixels between channels and space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, value_of, wrap
from chainrule.ir.dims import Dim, floordiv
from chainrule.ir.graph import Value
from chainrule.ops import resize, shaping

_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}


def interpolate(
    x: Operand,
    size: Any = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """x [N, C, *S] sampled to `size`, or to its size times scale_factor. Source: torch.nn.functional.interpolate.

    mode: "nearest", "nearest-exact", or "linear" / "bilinear" / "trilinear" for one, two, three spatial axes.
    """
    with located():
        value = value_of(x, "interpolate")
        rank = value.rank - 2
        if rank < 1:
            raise error(ShapeError, f"interpolate: x has {value.rank} axes", notes=[f"x: {value.type}"],
                        help="x is [N, C, *S]")  # fmt: skip
        coordinates, rounding = _sampling(mode, rank, align_corners)
        sizes = None if size is None else [*value.shape[:2], *_each("size", size, rank)]
        scales = None if scale_factor is None else [1.0, 1.0, *map(float, _each("scale_factor", scale_factor, rank))]
        kind = "nearest" if mode.startswith("nearest") else "linear"
        return wrap(resize.resize(value, sizes, scales, kind, coordinates, rounding))


def _sampling(mode: str, rank: int, align_corners: bool | None) -> tuple[str, str]:
    """Where output pixels lie in the input, and how a position becomes a pixel."""
    if mode == "nearest":
        return "asymmetric", "floor"
    if mode == "nearest-exact":
        return "half_pixel", "round_prefer_ceil"
    if _LINEAR.get(mode) != rank:
        fitting = next((name for name, count in _LINEAR.items() if count == rank), "nearest")
        raise error(ArgumentError, f"interpolate: mode {mode!r} does not fit {rank} spatial axes",
                    help=f"nearest, nearest-exact or {fitting}")  # fmt: skip
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
