"""ONNX ops that read images between their elements: grids, regions, kernels that data deform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import Dim, dim_max, dim_product
from chainrule.ir.graph import Value
from chainrule.ir.types import f32
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import shaping as sh
from chainrule.ops.arithmetic import floor
from chainrule.ops.basic import constant, full, scalar_like, zeros_like
from chainrule.ops.compare import gt, logical_or, lt
from chainrule.ops.conv import kernel_of
from chainrule.ops.matmul import matmul
from chainrule.ops.ranges import iota
from chainrule.ops.sampling import sampled, wide

_MODES = {"bilinear": "linear", "bicubic": "cubic"}  # the names before opset 20


def grid_sample(given: Given) -> Read:
    """x at the places of a grid, whose numbers run from -1 to 1 over each axis, the last axis first."""
    x, grid = given.value(0), wide(given.value(1))
    named = given.word("mode", "linear" if given.opset >= 20 else "bilinear")
    centres, rank = bool(given.whole("align_corners", 0)), x.rank - 2
    outer = grid.shape[1:-1]
    points = sh.reshape(grid, (grid.shape[0], dim_product(outer), rank))
    places = [_stretched(_part(points, rank - 1 - axis), x.shape[2 + axis], centres) for axis in range(rank)]
    found = sampled(wide(x), places, _MODES.get(named, named), given.word("padding_mode", "zeros"), centres)
    image = sh.reshape(found, (x.shape[0], *outer, x.shape[1]))
    return el.cast(sh.transpose(image, (0, rank + 1, *range(1, rank + 1))), x.dtype)


def _part(points: Value, index: int) -> Value:
    """One coordinate of all points: [N, P]."""
    return sh.reshape(sh.narrow(points, points.rank - 1, index, 1), points.shape[:-1])


def _stretched(place: Value, size: Dim, centres: bool) -> Value:
    """-1 to 1 as a place of an axis: from the first element's centre to the last's, or from its far edges."""
    moved = el.add(place, scalar_like(1.0, place))
    half = scalar_like(0.5, place)
    if centres:
        return el.mul(el.mul(moved, scalar_like(size - 1, place)), half)
    return el.mul(el.sub(el.mul(moved, scalar_like(size, place)), scalar_like(1.0, place)), half)


def affine_grid(given: Given) -> Read:
    """The grid that an affine map makes of an even one: theta [N, r, r + 1] -> [N, *S, r], r axes."""
    theta, size = given.value(0), given.dims(1)
    image, rank = size[2:], theta.shape[1]
    if len(image) != rank or theta.rank != 3:
        raise ModelError(f"AffineGrid: {theta.type} does not map grids of the size {size}")
    centres = bool(given.whole("align_corners", 0))
    wide_theta = wide(theta)
    lines = [sh.expand(_even(axis, image, centres), image) for axis in reversed(range(len(image)))]
    ones = full(1.0, image, f32)
    points = sh.reshape(sh.stack([*lines, ones], len(image)), (dim_product(image), len(image) + 1))
    found = matmul(el.cast(points, wide_theta.dtype), wide_theta, transpose_b=True)
    return el.cast(sh.reshape(found, (theta.shape[0], *image, rank)), theta.dtype)


def _even(axis: int, image: Sequence[Dim], centres: bool) -> Value:
    """-1 to 1 in even steps along an axis: through the outermost elements' centres, or half a step within."""
    shape: list[Dim] = [1] * len(image)
    shape[axis] = image[axis]
    i = iota(shape, axis, f32)
    two, one = constant(2.0, f32), constant(1.0, f32)
    if centres:
        return el.sub(el.div(el.mul(i, two), scalar_like(dim_max(1, image[axis] - 1), i)), one)
    return el.sub(el.div(el.add(el.mul(i, two), one), scalar_like(image[axis], i)), one)


def roi_align(given: Given) -> Read:
    """Each region cut into bins, each bin the mean (or the largest) of points spread over it."""
    x, rois, images = wide(given.value(0)), wide(given.value(1)), given.value(2)
    mode = given.word("mode", "avg")
    if mode not in ("avg", "max"):
        raise ModelError(f"RoiAlign: the mode {mode!r} is unknown")
    old = "output_half_pixel" if given.opset < 16 else "half_pixel"
    offset = 0.5 if given.word("coordinate_transformation_mode", old) == "half_pixel" else 0.0
    bins = given.whole("output_height", 1), given.whole("output_width", 1)
    scale, ratio = given.fraction("spatial_scale", 1.0), given.whole("sampling_ratio", 0)
    edges = el.sub(el.mul(rois, scalar_like(scale, rois)), scalar_like(offset, rois))
    points = [ratio or _points_in(given, axis, bins[axis], scale, offset) for axis in (0, 1)]
    lines = [_spread(edges, axis, bins[axis], points[axis], bool(ratio), offset) for axis in (0, 1)]
    return el.cast(_pooled(x, images, lines, bins, mode), given.value(0).dtype)


def _points_in(given: Given, axis: int, bins: int, scale: float, offset: float) -> int:
    """The most points that a bin of any region is wide; how many a region has follows from its own size."""
    rois = given.content(1).astype(np.float64)
    size = (rois[:, 3 - axis] - rois[:, 1 - axis]) * scale
    size = size if offset else np.maximum(size, 1.0)
    return max(1, int(np.ceil(size / bins).max(initial=1.0)))


def _spread(edges: Value, axis: int, bins: int, points: int, fixed: bool,
            offset: float) -> tuple[Value, Value]:  # fmt: skip
    """The places of the points along an axis, [R, bins * points], and the weight of each in its bin's mean."""
    begin, end = (sh.narrow(edges, 1, i, 1) for i in (1 - axis, 3 - axis))
    size = el.sub(end, begin)
    size = size if offset else el.maximum(size, scalar_like(1.0, size))
    each = el.div(size, scalar_like(float(bins), size))
    if fixed:
        count = scalar_like(float(points), size)
    else:
        count = el.maximum(el.neg(floor(el.neg(each))), scalar_like(1.0, size))  # rounded up
    step = constant(np.repeat(np.arange(bins), points).astype(np.float32))
    point = constant(np.tile(np.arange(points), bins).astype(np.float32))
    step, point = el.cast(step, begin.dtype), el.cast(point, begin.dtype)
    within = el.div(el.mul(el.add(point, scalar_like(0.5, point)), each), count)
    places = el.add(el.add(begin, el.mul(step, each)), within)
    weight = el.where(lt(point, count), el.div(scalar_like(1.0, count), count), zeros_like(count))
    return places, sh.expand(weight, places.shape)


def _pooled(x: Value, images: Value, lines: Sequence[tuple[Value, Value]], bins: tuple[int, int],
            mode: str) -> Value:  # fmt: skip
    """The bins [R, C, bins..] of regions, from the points of both axes crossed."""
    (y, weight_y), (z, weight_x) = lines
    regions, rows, columns = y.shape[0], y.shape[1], z.shape[1]
    shape = (regions, rows, columns)
    places = [sh.reshape(sh.expand(sh.unsqueeze(y, 2), shape), (regions, rows * columns)),
              sh.reshape(sh.expand(sh.unsqueeze(z, 1), shape), (regions, rows * columns))]  # fmt: skip
    values = _corners(x, images, places, mode)  # [R, P, C]
    weight = sh.reshape(el.mul(sh.unsqueeze(weight_y, 2), sh.unsqueeze(weight_x, 1)), (regions, rows * columns, 1))
    if mode == "avg":
        values = el.mul(values, weight)
    else:
        values = el.where(gt(weight, zeros_like(weight)), values, scalar_like(-np.inf, values))
    parts = (regions, bins[0], rows // bins[0], bins[1], columns // bins[1], x.shape[1])
    apart = sh.reshape(values, parts)
    found = red.sum(apart, (2, 4)) if mode == "avg" else red.amax(apart, (2, 4))
    return sh.transpose(found, (0, 3, 1, 2))


def _corners(x: Value, images: Value, places: Sequence[Value], mode: str) -> Value:
    """x between its elements; 0 more than one element outside, the border within. -> [R, P, C].

    The largest ("max") is that of the four neighbours, each times its weight: so ONNX has it.
    """
    outside: Value | None = None
    bounded: list[Value] = []
    for place, size in zip(places, x.shape[2:], strict=True):
        beyond = logical_or(lt(place, scalar_like(-1.0, place)), gt(place, scalar_like(size, place)))
        outside = beyond if outside is None else logical_or(outside, beyond)
        bounded.append(el.minimum(el.maximum(place, zeros_like(place)), scalar_like(size - 1, place)))
    assert outside is not None
    found = (sampled(x, bounded, "linear", "border", images=images) if mode == "avg"
             else _largest_corner(x, images, bounded))  # fmt: skip
    return el.where(sh.unsqueeze(outside, 2), zeros_like(found), found)


def _largest_corner(x: Value, images: Value, places: Sequence[Value]) -> Value:
    found: Value | None = None
    for down in (0, 1):
        for right in (0, 1):
            taps, weight = [], None
            for place, step in zip(places, (down, right), strict=True):
                base = floor(place)
                part = el.sub(place, base)
                share = part if step else el.sub(scalar_like(1.0, part), part)
                taps.append(el.add(base, scalar_like(float(step), base)))
                weight = share if weight is None else el.mul(weight, share)
            assert weight is not None
            value = el.mul(sampled(x, taps, "nearest", "border", images=images), sh.unsqueeze(weight, 2))
            found = value if found is None else el.maximum(found, value)
    assert found is not None
    return found


def deformed_convolution(given: Given) -> Read:
    """A convolution each of whose elements is read at a place moved by an offset, and weighed by a mask."""
    x, weight, offset = wide(given.value(0)), wide(given.value(1)), wide(given.value(2))
    kernel = kernel_of(weight.tensor)
    if len(kernel) != 2:
        raise NotSupported(f"DeformConv: over {len(kernel)} axes", help="images of two axes are built")
    stride, dilation = given.vector("strides") or (1, 1), given.vector("dilations") or (1, 1)
    pads = given.vector("pads") or (0, 0, 0, 0)
    groups, parts = given.whole("group", 1), given.whole("offset_group", 1)
    taps, out = kernel[0] * kernel[1], offset.shape[2:]
    images, points = x.shape[0] * parts, taps * dim_product(out)
    moves = sh.reshape(offset, (images, taps, 2, *out))
    places = [sh.reshape(el.add(el.cast(_kernel_places(axis, kernel, stride, dilation, pads, out), moves.dtype),
                                sh.reshape(sh.narrow(moves, 2, axis, 1), (images, taps, *out))), (images, points))
              for axis in (0, 1)]  # fmt: skip
    channels = x.shape[1] // parts
    values = sampled(sh.reshape(x, (images, channels, *x.shape[2:])), places)  # [images, P, channels]
    if given.has(4):
        values = el.mul(values, sh.reshape(wide(given.value(4)), (images, points, 1)))
    pixels = dim_product(out)
    columns = sh.transpose(sh.reshape(values, (x.shape[0], parts, taps, pixels, channels)), (0, 1, 4, 2, 3))
    each = x.shape[1] // groups * taps
    columns = sh.reshape(columns, (x.shape[0], groups, each, pixels))
    y = matmul(sh.reshape(weight, (groups, weight.shape[0] // groups, each)), columns)
    y = sh.reshape(y, (x.shape[0], weight.shape[0], *out))
    if given.has(3):
        y = el.add(y, sh.reshape(wide(given.value(3)), (1, weight.shape[0], 1, 1)))
    return el.cast(y, given.value(0).dtype)


def _kernel_places(axis: int, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int],
                   pads: Sequence[int], out: Sequence[Dim]) -> Value:  # fmt: skip
    """Where each element of the kernel lies along an axis before it is moved: [1, taps, *out]."""
    steps = np.indices(tuple(kernel))[axis].reshape(-1) * dilation[axis] - pads[axis]
    fixed = constant(steps.astype(np.float32).reshape(1, -1, 1, 1))
    shape: list[Dim] = [1, 1, 1, 1]
    shape[2 + axis] = out[axis]
    return el.add(fixed, el.mul(iota(shape, 2 + axis, f32), constant(float(stride[axis]), f32)))


READERS: Mapping[str, Reader] = {
    "GridSample": grid_sample, "AffineGrid": affine_grid, "RoiAlign": roi_align, "DeformConv": deformed_convolution,
}  # fmt: skip
