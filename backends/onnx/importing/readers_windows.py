"""ONNX ops that slide windows in ways chainrule has no op for: dilated sums, blocks put back, maxima put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.backends.onnx.importing.readers_images import padded, pads_of, window_of
from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import Dim, DimExpr, dim_max, dim_product
from chainrule.ir.graph import Value
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import shaping as sh
from chainrule.ops.activations import number
from chainrule.ops.activations_smooth import silu
from chainrule.ops.basic import constant, full, scalar_like, zeros_like
from chainrule.ops.conv import conv, conv_transpose, counts, reach
from chainrule.ops.indexing import index_add, scatter
from chainrule.ops.pool import avg_pool, max_pool, max_pool_with_indices, pooled
from chainrule.ops.pools import lp_pool
from chainrule.ops.ranges import iota
from chainrule.ops.reduce import lowest_of
from chainrule.ops.transcendental import pow, sqrt


def _kernel(given: Given) -> tuple[int, ...]:
    found = given.vector("kernel_shape")
    if not found:
        raise ModelError(f"{given.op_type}: the attribute kernel_shape is missing")
    return found


def window_sums(x: Value, kernel: Sequence[int], stride: Sequence[int], pads: Sequence[Dim], dilation: Sequence[int],
                ceil_mode: bool, border: float = 0.0) -> Value:  # fmt: skip
    """The sum over each window of x [N, C, *S]; the padding counts as `border`, what lies beyond it as 0."""
    rank, spans = len(kernel), reach(kernel, dilation)
    image = sh.pad_constant(x, (0, 0, *pads[:rank]), (0, 0, *pads[rank:]), border) if any(p != 0 for p in pads) else x
    if ceil_mode:
        places = pooled(x.tensor, kernel, stride, _numbers(pads), dilation, True)
        beyond = [dim_max(0, (count - 1) * step + span - size)
                  for count, step, span, size in zip(places, stride, spans, image.shape[2:], strict=True)]  # fmt: skip
        image = sh.pad_constant(image, (0,) * (rank + 2), (0, 0, *beyond))
    flat = sh.reshape(image, (dim_product(x.shape[:2]), 1, *image.shape[2:]))
    found = conv(flat, full(1.0, (1, 1, *kernel), x.dtype), None, stride, 0, dilation)
    return sh.reshape(found, (*x.shape[:2], *found.shape[2:]))


def _numbers(pads: Sequence[Dim]) -> tuple[int, ...]:
    """Pads that are known; ceil_mode has no say where they follow from the size."""
    return tuple(p if isinstance(p, int) else 0 for p in pads)


def _padded_pool(given: Given, kernel: Sequence[int]) -> tuple[Value, tuple[int, ...]]:
    """The image of a pool of maxima, and the pads that are left to the op."""
    x = given.value(0)
    return padded(given, x, kernel, *window_of(given, kernel), filler=lowest_of(x.dtype.numpy))


def max_pooling(given: Given) -> Read:
    """With pads that follow from the image, or with the places of the maxima in the whole of x."""
    x, kernel = given.value(0), _kernel(given)
    stride, dilation = window_of(given, kernel)
    ceil = bool(given.whole("ceil_mode", 0))
    image, pads = _padded_pool(given, kernel)
    if given.outputs < 2:
        return max_pool(image, kernel, stride, pads, dilation, ceil)
    if image is not x:
        raise NotSupported("MaxPool: indices with pads that follow from a symbolic size", help="give it a number")
    y, places = max_pool_with_indices(x, kernel, stride, pads, dilation, ceil)
    if given.whole("storage_order", 0):
        places = _column_major(places, x.shape[2:])
    images = iota((x.shape[0] * x.shape[1],))
    first = sh.reshape(el.mul(images, scalar_like(dim_product(x.shape[2:]), images)),
                       (*x.shape[:2], *(1,) * (x.rank - 2)))  # fmt: skip
    return y, el.add(places, first)


def _column_major(places: Value, image: Sequence[Dim]) -> Value:
    """Positions counted with the last axis fastest, counted with the first axis fastest."""
    found, step = zeros_like(places), 1
    for axis, size in enumerate(image):
        inner = scalar_like(dim_product(image[axis + 1 :]), places)
        line = el.div(places, inner)
        places = el.sub(places, el.mul(line, inner))
        found = el.add(found, el.mul(line, scalar_like(step, found)))
        step = step * size
    return found


def average_pooling(given: Given) -> Read:
    """With pads that follow from the image, or with gaps between the elements of a window."""
    x, kernel = given.value(0), _kernel(given)
    stride, dilation = window_of(given, kernel)
    pads, ceil = pads_of(given, kernel, stride, dilation, x.shape[2:]), bool(given.whole("ceil_mode", 0))
    counted = bool(given.whole("count_include_pad", 0))
    known = _numbers(pads)
    if all(d == 1 for d in dilation) and known == pads:
        return avg_pool(x, kernel, stride, known, ceil, counted)
    ones = full(1.0, (1, 1, *x.shape[2:]), x.dtype)
    count = window_sums(ones, kernel, stride, pads, dilation, ceil, 1.0 if counted else 0.0)
    return el.div(window_sums(x, kernel, stride, pads, dilation, ceil), count)


def lp_pooling(given: Given) -> Read:
    """The norm of each window; the padding counts as 0."""
    x, kernel = given.value(0), _kernel(given)
    stride, dilation = window_of(given, kernel)
    pads, ceil = pads_of(given, kernel, stride, dilation, x.shape[2:]), bool(given.whole("ceil_mode", 0))
    p = given.fraction("p", 2)
    if all(d == 1 for d in dilation) and all(p == 0 for p in pads):
        return lp_pool(x, p, kernel, stride, 0, ceil)
    powers = el.mul(x, x) if p == 2 else pow(el.abs(x), number(p, x))
    total = window_sums(powers, kernel, stride, pads, dilation, ceil)
    return sqrt(total) if p == 2 else pow(total, number(1.0 / p, x))


def global_norm(given: Given) -> Read:
    """The norm of each image."""
    x, p = given.value(0), given.fraction("p", 2)
    powers = el.mul(x, x) if p == 2 else pow(el.abs(x), number(p, x))
    total = red.sum(powers, range(2, x.rank), True)
    return sqrt(total) if p == 2 else pow(total, number(1.0 / p, x))


def blocks_to_image(given: Given) -> Read:
    """The columns of x added up where their blocks lie: a transposed convolution that copies."""
    x, image, block = given.value(0), given.dims(1), given.ints(2)
    rank = len(block)
    ones = (1,) * rank
    stride, dilation = given.vector("strides") or ones, given.vector("dilations") or ones
    pads = given.vector("pads") or (0,) * (2 * rank)
    size = int(np.prod(block))
    channels = x.shape[1] // size
    if not isinstance(channels, int):
        raise NotSupported(f"Col2Im: a symbolic number of channels {channels} is not built", help="give it a number")
    places = counts(image, block, stride, pads, dilation)
    if not x.dtype.is_float:
        return _added_in_place(x, channels, image, block, stride, pads, dilation)
    blocks = sh.reshape(x, (x.shape[0], channels * size, *places))
    unit = np.eye(size).reshape(size, 1, *block)
    weight = constant(np.tile(unit, (channels, *(1,) * (rank + 1))), x.dtype)
    return conv_transpose(blocks, weight, None, stride, pads, dilation, channels, 0, image)


def _added_in_place(x: Value, channels: int, image: Sequence[Dim], block: Sequence[int], stride: Sequence[int],
                    pads: Sequence[int], dilation: Sequence[int]) -> Value:  # fmt: skip
    """The same for integers, each column added where it lies; of bools, whether any holds."""
    rank = len(block)
    if any(isinstance(d, DimExpr) for d in image):
        raise NotSupported(f"Col2Im: of {x.dtype} to the symbolic size {image}", help="give it a number")
    sizes = [int(d) + pads[i] + pads[i + rank] for i, d in enumerate(image)]  # type: ignore[arg-type]
    lines = [np.arange(k)[:, None] * d + np.arange((n - d * (k - 1) - 1) // s + 1)[None, :] * s
             for k, d, s, n in zip(block, dilation, stride, sizes, strict=True)]  # fmt: skip
    at = np.zeros((1,) * (2 * rank), np.int64)
    for axis, line in enumerate(lines):
        shape = [1] * (2 * rank)
        shape[axis], shape[axis + rank] = line.shape
        at = at * sizes[axis] + line.reshape(shape)
    whole = x if x.dtype.is_int else el.cast(x, "u8")
    rows = sh.reshape(whole, (x.shape[0] * channels, at.size))
    total = index_add((rows.shape[0], int(np.prod(sizes))), constant(at.reshape(-1)), rows, 1)
    padded_image = sh.reshape(total, (x.shape[0], channels, *sizes))
    for axis in range(rank):
        padded_image = sh.narrow(padded_image, 2 + axis, pads[axis], image[axis])
    return el.cast(padded_image, x.dtype)


def max_unpooling(given: Given) -> Read:
    """Zeros with the maxima at their places, which count in the smallest image that they can come from."""
    x, places, kernel = given.value(0), given.value(1), _kernel(given)
    rank = len(kernel)
    stride, pads = given.vector("strides") or (1,) * rank, given.vector("pads") or (0,) * (2 * rank)
    image = [(x.shape[2 + i] - 1) * stride[i] - pads[i] - pads[i + rank] + kernel[i] for i in range(rank)]
    shape = (*x.shape[:2], *image)
    flat = full(0.0, (dim_product(shape),), x.dtype)
    count = (dim_product(x.shape),)
    found = sh.reshape(scatter(flat, sh.reshape(places, count), sh.reshape(x, count), 0), shape)
    if not given.has(2):
        return found
    wanted = given.dims(2)
    return sh.pad_constant(found, (0,) * x.rank, [w - d for w, d in zip(wanted, shape, strict=True)])


def centred(given: Given) -> Read:
    """Cut or padded with zeros to a size, evenly on both sides; the odd element is cut in front, or added behind."""
    x, wanted = given.value(0), given.dims(1)
    axes = given.vector("axes")
    before: list[Dim] = [0] * x.rank
    after: list[Dim] = [0] * x.rank
    for axis, size in zip(range(x.rank) if axes is None else axes, wanted, strict=True):
        missing, dim = size - x.shape[axis], x.shape[axis]
        grown, cut = dim_max(0, missing), dim_max(0, dim - size)
        before[axis] = grown // 2 - cut // 2
        after[axis] = missing - before[axis] if isinstance(missing, int) else grown - grown // 2 - (cut - cut // 2)
    return sh.pad_constant(x, before, after)


def causal_convolution(given: Given) -> Read:
    """Each channel convolved with its own past, which the last k - 1 elements carry to the next call."""
    x, weight = given.value(0), given.value(1)
    bias = given.value(2) if given.has(2) else None
    length = weight.shape[-1] - 1
    past = given.value(3, "state") if given.has(3) else full(0.0, (x.shape[0], x.shape[1], length), x.dtype)
    whole = sh.concat([past, x], 2)
    channels = weight.shape[0]
    if not isinstance(channels, int):
        raise NotSupported("CausalConvWithState: a symbolic number of channels is not built", help="give it a number")
    y = conv(whole, weight, bias, 1, 0, 1, channels)
    activation = given.word("activation", "none")
    if activation not in ("none", "silu", "swish"):
        raise ModelError(f"{given.op_type}: the activation {activation!r} is unknown")
    y = y if activation == "none" else silu(y)
    state = sh.narrow(whole, 2, whole.shape[2] - length, length)
    return (y, state)[: max(1, given.outputs)]


READERS: Mapping[str, Reader] = {
    "MaxPool": max_pooling, "AveragePool": average_pooling, "LpPool": lp_pooling, "GlobalLpPool": global_norm,
    "Col2Im": blocks_to_image,
    "MaxUnpool": max_unpooling, "CenterCropPad": centred, "CausalConvWithState": causal_convolution,
}  # fmt: skip
