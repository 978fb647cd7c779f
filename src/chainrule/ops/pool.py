"""Pools: the maximum or mean of windows, and the ops that their gradients are. What is made of these: ops/pools.py.

Longer than most files: windows, positions and padding are one arithmetic that all pools share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, NotSupported, ShapeError
from chainrule.ir.dims import Dim, dim_min, dim_product, floordiv
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType
from chainrule.ops.conv import Ints, check_window, flat_image, numbers, pad_spatial, pads, reach, taps
from chainrule.ops.elementwise import expect_inputs
from chainrule.ops.matmul import accumulator
from chainrule.ops.ranges import iota
from chainrule.ops.shape_rules import require, same_dtype, window_count
from chainrule.ops.shaping import expand, listed, reshape


@dataclass(frozen=True)
class MaxWindow(Op):
    """What the three ops of max pooling share: a window that slides over the spatial axes of x [N, C, *S].

    pad: all begins, then all ends, each smaller than the window's reach. ceil_mode: the count of windows is rounded up,
    and a partial last window counts if it starts inside x or its begin padding.
    """

    gradient: ClassVar[str] = "vjp"
    window: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool = False

    @property
    def mnemonic(self) -> str:
        return f"{self.name}{len(self.window)}d"

    def pooled(self, x: TensorType) -> tuple[Dim, ...]:
        """The shape of the pool of x. Raises ShapeError when the window does not fit."""
        sizes = pooled(x, self.window, self.stride, self.pad, self.dilation, self.ceil_mode)
        return (*x.shape[:2], *sizes)


@dataclass(frozen=True)
class MaxPool(MaxWindow):
    """The largest element of each window.

    x: [N, C, *S] -> [N, C, *T], one to three spatial axes, T = (S + pads - dilation*(window-1) - 1)//stride + 1,
    rounded up with ceil_mode, where a window must then start inside x or its begin padding. pad: all begins, then all
    ends, each smaller than the window's reach; padding is never the maximum. NaN wins; the smallest value of the
    element type is the maximum of a window that meets no element. Any element type but bool. Raises ShapeError when
    the window exceeds the padded image. Source: ONNX MaxPool-12; torch.nn.functional.max_pool2d.
    """

    name: ClassVar[str] = "max_pool"
    args: ClassVar[tuple[str, ...]] = ("x",)
    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        require("fiu", x)
        return x.with_shape(self.pooled(x))

    def ref(self, *arrays: Array) -> Array:
        return _first_maxima(self, arrays[0])[0]

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (build(MaxPoolGrad(self.window, self.stride, self.pad, self.dilation, self.ceil_mode),
                      inputs[0], grads[0]),)  # fmt: skip


@dataclass(frozen=True)
class MaxPoolGrad(MaxWindow):
    """dx: each dy added at the place of its window's maximum in x, at the first place of several.

    x: [N, C, *S], dy: [N, C, *T] as MaxPool makes it -> [N, C, *S]. Where windows overlap the dy add up. The first NaN
    of a window is its maximum; the dy of a window that meets no element is dropped. Raises ShapeError when dy is not of
    the shape that MaxPool gives. Source: the gradient of ONNX MaxPool-12.
    """

    name: ClassVar[str] = "max_pool_grad"
    args: ClassVar[tuple[str, ...]] = ("x", "dy")
    tolerance: ClassVar[str] = "R"
    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        x, dy = types
        same_dtype(x, dy)
        require("f", x)
        expected = self.pooled(x)
        if dy.shape != expected:
            raise ShapeError(f"dy is {dy}, the pool of x gives {x.with_shape(expected)}")
        return x

    def ref(self, *arrays: Array) -> Array:
        x, dy = arrays
        _, places = _first_maxima(self, x)
        dx: Array = np.zeros((*x.shape[:2], math.prod(x.shape[2:])), accumulator(dy.dtype))
        n, c, p = np.nonzero(places >= 0)
        slopes: Array = dy.reshape(places.shape)[n, c, p]
        with np.errstate(all="ignore"):
            np.add.at(dx, (n, c, places[n, c, p]), slopes.astype(dx.dtype))
        return dx.reshape(x.shape).astype(dy.dtype, copy=False)

    def magnitude(self, *arrays: Array) -> Array:
        """The sum of |dy| at each place."""
        return self.ref(arrays[0], np.abs(arrays[1]))

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        take = MaxPoolTake(self.window, self.stride, self.pad, self.dilation, self.ceil_mode)
        return None, build(take, inputs[0], grads[0])


@dataclass(frozen=True)
class MaxPoolTake(MaxWindow):
    """The elements of v at the places where the windows of x have their maxima, at the first place of several.

    x: [N, C, *S], v: [N, C, *S] of any element type -> [N, C, *T] of v's, T as MaxPool makes it. It is the derivative
    of MaxPool at x along v, and with v = 0, 1, 2, ... the indices of the maxima. A window that meets no element gives
    0. Raises ShapeError when the shapes of x and v differ. Source: the second result of ONNX MaxPool-12, gathered.
    """

    name: ClassVar[str] = "max_pool_take"
    args: ClassVar[tuple[str, ...]] = ("x", "v")
    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        x, v = types
        require("fiu", x)
        if x.shape != v.shape:
            raise ShapeError(f"x is {x}, v is {v}", help="v has one element for each of x")
        return v.with_shape(self.pooled(x))

    def ref(self, *arrays: Array) -> Array:
        x, v = arrays
        best, places = _first_maxima(self, x)
        if v.size == 0:
            return np.zeros(best.shape, v.dtype)
        taken = np.take_along_axis(flat_image(v, v.shape[:2], len(self.window)), np.maximum(places, 0), 2)
        return np.where(places >= 0, taken, np.zeros((), v.dtype)).reshape(best.shape)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        x, v = inputs
        if x.dtype != v.dtype or not v.dtype.is_float:
            raise NotSupported(f"{self.mnemonic}: no gradient for v of {v.dtype} at x of {x.dtype}",
                               help="cast v to the element type of x")  # fmt: skip
        back = MaxPoolGrad(self.window, self.stride, self.pad, self.dilation, self.ceil_mode)
        return None, build(back, x, grads[0])


@dataclass(frozen=True)
class AvgPool(Op):
    """The mean of each window.

    x: [N, C, *S] floats -> [N, C, *T], one to three spatial axes, T = (S + pads - window)//stride + 1, rounded up with
    ceil_mode, where a window must then start inside x or its begin padding. The divisor of a window is the number of
    elements of x that it meets, with count_include_pad also the padding (but not what lies beyond it). Raises
    ShapeError when the window exceeds the padded image. Source: ONNX AveragePool-22; torch.nn.functional.avg_pool2d.
    """

    name: ClassVar[str] = "avg_pool"
    args: ClassVar[tuple[str, ...]] = ("x",)
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"
    window: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    ceil_mode: bool = False
    count_include_pad: bool = True

    @property
    def mnemonic(self) -> str:
        return f"avg_pool{len(self.window)}d"

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        require("f", x)
        ones = (1,) * len(self.window)
        return x.with_shape((*x.shape[:2], *pooled(x, self.window, self.stride, self.pad, ones, self.ceil_mode)))

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        sizes = array_positions(x.shape[2:], self.window, self.stride, self.pad, self.ceil_mode)
        padded = pad_spatial(x.astype(np.float64), room_for(x.shape[2:], sizes, self.window, self.stride, self.pad))
        total = np.zeros((*x.shape[:2], *sizes))
        with np.errstate(all="ignore"):
            for _, part in taps(self.window, sizes, self.stride, (1,) * len(sizes)):
                total += padded[(..., *part)]
            return (total / _divisors(self, x.shape[2:], sizes)).astype(x.dtype)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        back = AvgPoolGrad(inputs[0].shape[2:], self.window, self.stride, self.pad, self.ceil_mode,
                           self.count_include_pad)  # fmt: skip
        return (build(back, grads[0]),)


@dataclass(frozen=True)
class AvgPoolGrad(Op):
    """dx: each dy / divisor added to every element of its window.

    dy: [N, C, *T] floats, as AvgPool makes it from an image of `size` -> [N, C, *size]. Elements that no window meets
    get 0. Raises ShapeError when dy is not of the shape that AvgPool gives.
    Source: the gradient of ONNX AveragePool-22.
    """

    name: ClassVar[str] = "avg_pool_grad"
    args: ClassVar[tuple[str, ...]] = ("dy",)
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"
    size: tuple[Dim, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    ceil_mode: bool = False
    count_include_pad: bool = True

    @property
    def mnemonic(self) -> str:
        return f"avg_pool_grad{len(self.window)}d"

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (dy,) = types
        require("f", dy)
        if dy.rank != len(self.window) + 2 or len(self.size) != len(self.window):
            raise ShapeError(f"dy has {dy.rank} axes, {len(self.window) + 2} are expected",
                             help=f"dy is [N, C, *WINDOWS], size has {len(self.window)} numbers")  # fmt: skip
        x = dy.with_shape((*dy.shape[:2], *self.size))
        sizes = pooled(x, self.window, self.stride, self.pad, (1,) * len(self.window), self.ceil_mode)
        if dy.shape[2:] != sizes:
            raise ShapeError(f"dy is {dy}, the pool of an image of {listed(self.size)} has {listed(sizes)} windows")
        return x

    def ref(self, *arrays: Array) -> Array:
        (dy,) = arrays
        rank, sizes = len(self.window), tuple(int(d) for d in self.size)  # type: ignore[arg-type]
        widths = room_for(sizes, dy.shape[2:], self.window, self.stride, self.pad)
        room = [widths[i] + sizes[i] + widths[i + rank] for i in range(rank)]
        dx = np.zeros((*dy.shape[:2], *room))
        with np.errstate(all="ignore"):
            share = dy.astype(np.float64) / _divisors(self, sizes, dy.shape[2:])
            for _, part in taps(self.window, dy.shape[2:], self.stride, (1,) * rank):
                dx[(..., *part)] += share
        kept = tuple(slice(self.pad[i], self.pad[i] + sizes[i]) for i in range(rank))
        return dx[(..., *kept)].astype(dy.dtype)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        forward = AvgPool(self.window, self.stride, self.pad, self.ceil_mode, self.count_include_pad)
        return (build(forward, grads[0]),)


def pooled(x: TensorType, window: Sequence[int], stride: Sequence[int], pad: Sequence[int], dilation: Sequence[int],
           ceil_mode: bool) -> tuple[Dim, ...]:  # fmt: skip
    """The spatial sizes of a pool of x [N, C, *S]. Raises ShapeError or ArgumentError when the window does not fit."""
    rank = len(window)
    check_window(rank, window, stride, pad, dilation)
    if x.rank != rank + 2:
        raise ShapeError(f"x has {x.rank} axes, {rank + 2} are expected",
                         help=f"x is [N, C, *IMAGE] with {rank} spatial axes")  # fmt: skip
    spans = reach(window, dilation)
    for i in range(2 * rank):
        if pad[i] >= spans[i % rank]:
            raise ArgumentError(f"padding {pad[i]} is not smaller than the window's reach {spans[i % rank]}",
                                help="a window would lie in the padding alone")  # fmt: skip
    return tuple(_positions(x.shape[2 + i], window[i], stride[i], (pad[i], pad[i + rank]), dilation[i], ceil_mode)
                 for i in range(rank))  # fmt: skip


def _positions(size: Dim, window: int, stride: int, pad: tuple[int, int], dilation: int, ceil_mode: bool) -> Dim:
    whole = window_count(size, window, stride, pad, dilation)
    if not ceil_mode:
        return whole
    # Rounded up, the last window is partial; it counts only if it starts before the end of the image.
    rounded = window_count(size, window, stride, (pad[0], pad[1] + stride - 1), dilation)
    return dim_min(rounded, floordiv(size + pad[0] + stride - 1, stride))


def array_positions(sizes: Sequence[int], spans: Sequence[int], stride: Sequence[int], pad: Sequence[int],
                    ceil_mode: bool) -> tuple[int, ...]:  # fmt: skip
    """`pooled` for arrays: an image that came out too small at run time has no whole window."""
    found: list[int] = []
    for i, size in enumerate(sizes):
        room = size + pad[i] + pad[i + len(sizes)] - spans[i]
        if ceil_mode:
            partial = (size + pad[i] + stride[i] - 1) // stride[i]
            found.append(min(max(0, (room + stride[i] - 1) // stride[i] + 1), partial))
        else:
            found.append(max(0, room // stride[i] + 1))
    return tuple(found)


def room_for(image: Sequence[int], sizes: Sequence[int], spans: Sequence[int], stride: Sequence[int],
          pad: Sequence[int]) -> tuple[int, ...]:  # fmt: skip
    """The padding, begins then ends, that holds every window, also those that ceil_mode lets stick out."""
    rank = len(image)
    ends = (max(pad[i + rank], (sizes[i] - 1) * stride[i] + spans[i] - pad[i] - image[i]) for i in range(rank))
    return (*pad[:rank], *ends)


def _divisors(op: AvgPool | AvgPoolGrad, image: Sequence[int], sizes: Sequence[int]) -> Array:
    """What the sum of each window is divided by, of shape `sizes`."""
    rank = len(image)
    total = np.ones((1,) * rank)
    for i in range(rank):
        starts = np.arange(sizes[i]) * op.stride[i] - op.pad[i]
        last = image[i] + (op.pad[i + rank] if op.count_include_pad else 0)
        first = starts if op.count_include_pad else np.maximum(starts, 0)
        met = np.minimum(starts + op.window[i], last) - first
        total = total * met.reshape(-1, *(1,) * (rank - 1 - i))
    return total


def _first_maxima(op: MaxWindow, x: Array) -> tuple[Array, Array]:
    """The largest element of each window of x, and its place, counted within an image (-1: it meets none)."""
    spans = reach(op.window, op.dilation)
    sizes = array_positions(x.shape[2:], spans, op.stride, op.pad, op.ceil_mode)
    widened = room_for(x.shape[2:], sizes, spans, op.stride, op.pad)
    within = np.arange(math.prod(x.shape[2:]), dtype=np.int64).reshape(1, 1, *x.shape[2:])
    places, elements = pad_spatial(within, widened, -1), pad_spatial(x, widened)
    floats = x.dtype.kind in "fV"  # numpy calls bfloat16 a void type
    best: Array = np.full((*x.shape[:2], *sizes), -np.inf if floats else np.iinfo(x.dtype).min, x.dtype)
    found: Array = np.full(best.shape, -1, np.int64)
    for _, window in taps(op.window, sizes, op.stride, op.dilation):
        value, place = elements[(..., *window)], places[(..., *window)]
        better = (value > best) | (np.isnan(value) & ~np.isnan(best)) if floats else value > best
        better = (place >= 0) & (better | (found < 0))
        best, found = np.where(better, value, best), np.where(better, place, found)
    return best, flat_image(found, x.shape[:2], len(sizes))


def max_pool(x: Value, window: Ints, stride: Ints | None = None, pad: Ints = 0, dilation: Ints = 1,
             ceil_mode: bool = False) -> Value:  # fmt: skip
    """The largest element of each window of x [N, C, *S]; stride None means windows side by side."""
    rank = max(1, x.rank - 2)
    windows = numbers(window, rank, "window")
    strides = windows if stride is None else numbers(stride, rank, "stride")
    return build(MaxPool(windows, strides, pads(pad, rank), numbers(dilation, rank, "dilation"), ceil_mode), x)


def max_pool_with_indices(x: Value, window: Ints, stride: Ints | None = None, pad: Ints = 0, dilation: Ints = 1,
                          ceil_mode: bool = False) -> tuple[Value, Value]:  # fmt: skip
    """The largest element of each window and its position within the image, counted row by row, i64."""
    y = max_pool(x, window, stride, pad, dilation, ceil_mode)
    assert isinstance(y.op, MaxPool)
    op = y.op
    places = reshape(iota((dim_product(x.shape[2:]),)), (1, 1, *x.shape[2:]))
    take = MaxPoolTake(op.window, op.stride, op.pad, op.dilation, op.ceil_mode)
    return y, build(take, x, expand(places, x.shape))


def avg_pool(x: Value, window: Ints, stride: Ints | None = None, pad: Ints = 0, ceil_mode: bool = False,
             count_include_pad: bool = True) -> Value:  # fmt: skip
    """The mean of each window of x [N, C, *S]; stride None means windows side by side."""
    rank = max(1, x.rank - 2)
    windows = numbers(window, rank, "window")
    strides = windows if stride is None else numbers(stride, rank, "stride")
    return build(AvgPool(windows, strides, pads(pad, rank), ceil_mode, count_include_pad), x)


OPS: tuple[type[Op], ...] = (MaxPool, MaxPoolGrad, MaxPoolTake, AvgPool, AvgPoolGrad)
