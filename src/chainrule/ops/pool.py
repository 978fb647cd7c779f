"""Pools: the maximum or mean of windows, and the ops that their gradients are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, NotSupported, ShapeError
from chainrule.ir.dims import Dim, dim_min, floordiv
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType
from chainrule.ops.conv import Ints, check_window, numbers, pad_spatial, pads, reach, taps
from chainrule.ops.matmul import accumulator
from chainrule.ops.shape_rules import require, same_dtype, window_count


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
        (x,) = types
        require("fiu", x)
        return x.with_shape(self.pooled(x))

    def ref(self, *arrays: Array) -> Array:
        return _first_maxima(self, arrays[0], arrays[0])[0]

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
        x, dy = types
        same_dtype(x, dy)
        require("f", x)
        expected = self.pooled(x)
        if dy.shape != expected:
            raise ShapeError(f"dy is {dy}, the pool of x gives {x.with_shape(expected)}")
        return x

    def ref(self, *arrays: Array) -> Array:
        x, dy = arrays
        _, places = _first_maxima(self, x, x)
        dx = np.zeros((*x.shape[:2], int(np.prod(x.shape[2:]))), accumulator(dy.dtype))
        n, c, p = np.nonzero(places.reshape(*x.shape[:2], -1) >= 0)
        where = places.reshape(*x.shape[:2], -1)[n, c, p]
        np.add.at(dx, (n, c, where), dy.reshape(*x.shape[:2], -1)[n, c, p].astype(dx.dtype))
        return dx.reshape(x.shape).astype(dy.dtype, copy=False)

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
        x, v = types
        require("fiu", x)
        if x.shape != v.shape:
            raise ShapeError(f"x is {x}, v is {v}", help="v has one element for each of x")
        return v.with_shape(self.pooled(x))

    def ref(self, *arrays: Array) -> Array:
        x, v = arrays
        return _first_maxima(self, x, v)[0]

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        x, v = inputs
        if x.dtype != v.dtype or not v.dtype.is_float:
            raise NotSupported(f"{self.mnemonic}: no gradient for v of {v.dtype} at x of {x.dtype}",
                               help="cast v to the element type of x")  # fmt: skip
        back = MaxPoolGrad(self.window, self.stride, self.pad, self.dilation, self.ceil_mode)
        return None, build(back, x, grads[0])


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


def _first_maxima(op: MaxWindow, x: Array, v: Array) -> tuple[Array, Array]:
    """The elements of v where the windows of x are largest, and these places, counted within an image (-1: nowhere)."""
    rank = len(op.window)
    spans = reach(op.window, op.dilation)
    sizes = array_positions(x.shape[2:], spans, op.stride, op.pad, op.ceil_mode)
    # Room for the windows that ceil_mode lets stick out.
    room = [max(op.pad[i + rank], (sizes[i] - 1) * op.stride[i] + spans[i] - op.pad[i] - x.shape[2 + i])
            for i in range(rank)]  # fmt: skip
    widened = (*op.pad[:rank], *room)
    places = np.arange(int(np.prod(x.shape[2:])), dtype=np.int64).reshape(1, 1, *x.shape[2:])
    places = pad_spatial(places, widened, -1)
    xs, vs = pad_spatial(x, widened), pad_spatial(v, widened)
    floats = x.dtype.kind in "fV"  # numpy calls bfloat16 a void type
    best = np.full((*x.shape[:2], *sizes), -np.inf if floats else np.iinfo(x.dtype).min, x.dtype)
    taken = best.copy() if v is x else np.zeros(best.shape, v.dtype)
    found = np.full(best.shape, -1, np.int64)
    for _, window in taps(op.window, sizes, op.stride, op.dilation):
        value, place = xs[(..., *window)], np.broadcast_to(places[(..., *window)], best.shape)
        better = (value > best) | (np.isnan(value) & ~np.isnan(best)) if floats else value > best
        better = (place >= 0) & (better | (found < 0))
        best, found = np.where(better, value, best), np.where(better, place, found)
        taken = np.where(better, vs[(..., *window)], taken)
    return taken, found


def max_pool(x: Value, window: Ints, stride: Ints | None = None, pad: Ints = 0, dilation: Ints = 1,
             ceil_mode: bool = False) -> Value:  # fmt: skip
    """The largest element of each window of x [N, C, *S]; stride None means windows side by side."""
    rank = max(1, x.rank - 2)
    windows = numbers(window, rank, "window")
    strides = windows if stride is None else numbers(stride, rank, "stride")
    return build(MaxPool(windows, strides, pads(pad, rank), numbers(dilation, rank, "dilation"), ceil_mode), x)


OPS: tuple[type[Op], ...] = (MaxPool, MaxPoolGrad, MaxPoolTake)
