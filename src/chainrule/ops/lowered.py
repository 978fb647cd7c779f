"""Ops that only the compiler makes: products and convolutions over packed weights, images with their channels last.

A packed weight is a row of panels: panel p holds columns p*width ... of a matrix, row after row, so that a register
tile reads it in order; the last panel is filled up with zeros. Packing is a node of its own: where the weight is fixed,
passes.hoist computes it once. Images are [N, *S, C] here. Source of all: the ops of ops/matmul.py and ops/conv.py that
they stand for; Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008, for the panels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import Dim, floordiv
from chainrule.ir.op import Array, Op
from chainrule.ir.types import DType, TensorType, f32
from chainrule.ops.conv import kernel_of, taps
from chainrule.ops.elementwise import expect_inputs
from chainrule.ops.matmul import accumulator, require_product
from chainrule.ops.pool import AvgPool, MaxPool
from chainrule.ops.shape_rules import same_dtype

MADE_LATE = "none: the compiler makes it after differentiation"


def accumulated(dtype: DType) -> DType:
    """The element type of packed weights and of sums: f32 for half precision, else the type itself."""
    return f32 if dtype.is_float and dtype.bits == 16 else dtype


def panel_count(columns: Dim, width: int) -> Dim:
    """How many panels of a width hold that many columns."""
    return floordiv(columns + width - 1, width)


def panel_width(columns: Dim, widest: int, dtype: DType) -> int:
    """The width of panels for so many columns: the widest, or what holds few columns in whole half vectors of 32 bytes.

    widest: in elements of the type.
    """
    if not isinstance(columns, int) or columns > widest:
        return widest
    half = 32 // accumulated(dtype).itemsize
    return max(1, min(widest, -(-columns // half) * half))


def require_width(width: int) -> None:
    if width < 1:
        raise ArgumentError(f"width {width} is not a number >= 1")


def in_panels(matrix: Array, width: int) -> Array:
    """[..., K, N] -> [..., ceil(N/width), K, width], filled up with zeros."""
    *lead, depth, columns = matrix.shape
    panels = -(-columns // width)
    full = np.zeros((*lead, depth, panels * width), matrix.dtype)
    full[..., :columns] = matrix
    return np.swapaxes(full.reshape(*lead, depth, panels, width), -2, -3)


def from_panels(panels: Array, columns: int) -> Array:
    """[..., P, K, width] -> [..., K, columns]."""
    *lead, count, depth, width = panels.shape
    return np.swapaxes(panels, -2, -3).reshape(*lead, depth, count * width)[..., :columns]


def from_groups(panels: Array, group: int, columns: int) -> Array:
    """[.., P, S, group*width], `group` rows in each other -> the matrix [.., group*S, columns]."""
    *lead, steps, row = panels.shape
    apart = np.moveaxis(panels.reshape(*lead, steps, row // group, group), -1, -2)
    return from_panels(apart.reshape(*lead, steps * group, row // group), columns)


def check_groups(a: TensorType, panels: TensorType, group: int, columns: Dim) -> None:
    """Raises ShapeError unless a[.., M, group*S] can be multiplied with panels [P, S, group*width] of these columns."""
    width = panels.shape[-1]
    fits = isinstance(width, int) and width >= group and width % group == 0
    if a.rank < 2 or panels.rank != 3 or not fits:
        raise ShapeError(f"{a} is not a matrix or {panels} is not [P, S, {group}*width]")
    if a.shape[-1] != group * panels.shape[1]:
        raise ShapeError(f"a has {a.shape[-1]} columns, the panels have {panels.shape[1]} groups of {group} rows")
    if panels.shape[0] != panel_count(columns, int(width) // group):  # type: ignore[arg-type]
        raise ShapeError(f"{panels} does not hold {columns} columns")


@dataclass(frozen=True)
class PackPanels(Op):
    """A matrix in panels. w: [..., K, N], transposed: [..., N, K] -> [..., ceil(N/width), K, width].

    Places beyond column N are zero. Half precision is widened to f32. Raises ShapeError for less than 2 axes,
    ArgumentError for a width below 1. Source: Goto and van de Geijn, 2008.
    """

    name: ClassVar[str] = "pack_panels"
    args: ClassVar[tuple[str, ...]] = ("w",)
    gradient: ClassVar[str] = MADE_LATE
    width: int
    transposed: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (w,) = types
        require_product(w.dtype)
        require_width(self.width)
        if w.rank < 2:
            raise ShapeError(f"{w} is not a matrix", help="w is [..., K, N], or [..., N, K] with transposed")
        depth, columns = w.shape[-2:] if not self.transposed else w.shape[:-3:-1]
        shape = (*w.shape[:-2], panel_count(columns, self.width), depth, self.width)
        return TensorType(accumulated(w.dtype), shape)

    def ref(self, *arrays: Array) -> Array:
        w = arrays[0].astype(accumulator(arrays[0].dtype), copy=False)
        return in_panels(np.swapaxes(w, -1, -2) if self.transposed else w, self.width)


@dataclass(frozen=True)
class PanelMatMul(Op):
    """y = a @ w for a packed weight. a: [..., M, K] (transpose_a: [..., K, M]), panels: [P, K, width] ->
    [..., M, columns].

    Meaning and errors are those of MatMul with w = [K, columns]. Raises ShapeError when the panels do not hold as many
    columns. Source: ONNX MatMul-13; Goto and van de Geijn, 2008.
    """

    name: ClassVar[str] = "panel_matmul"
    args: ClassVar[tuple[str, ...]] = ("a", "panels")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = MADE_LATE
    columns: Dim
    transpose_a: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        a, panels = types
        require_product(a.dtype)
        same_dtype(a.with_dtype(accumulated(a.dtype)), panels)
        if a.rank < 2 or panels.rank != 3:
            raise ShapeError(f"{a} is not a matrix or {panels} is not [P, K, width]")
        m, k = a.shape[-2:] if not self.transpose_a else a.shape[:-3:-1]
        if k != panels.shape[1]:
            raise ShapeError(f"the inner sizes differ: a has {k}, the panels have {panels.shape[1]}")
        width = panels.shape[2]
        if not isinstance(width, int) or panels.shape[0] != panel_count(self.columns, width):
            raise ShapeError(f"{panels} does not hold {self.columns} columns")
        return a.with_shape((*a.shape[:-2], m, self.columns))

    def ref(self, *arrays: Array) -> Array:
        a, panels = arrays[0].astype(accumulator(arrays[0].dtype), copy=False), arrays[1]
        with np.errstate(all="ignore"):
            y = np.matmul(np.swapaxes(a, -1, -2) if self.transpose_a else a, from_panels(panels, int(self.columns)))
            return y.astype(arrays[0].dtype, copy=False)


def check_bias(types: Sequence[TensorType], dtype: DType, columns: Dim) -> None:
    if len(types) == 3 and types[2] != TensorType(dtype, (columns,)):
        raise ShapeError(f"bias is {types[2]}, the result has {columns} columns of {dtype}")


def with_bias(y: Array, arrays: Sequence[Array]) -> Array:
    if len(arrays) == 3:
        y = y + arrays[2].astype(y.dtype, copy=False)
    return y.astype(arrays[0].dtype, copy=False)


@dataclass(frozen=True)
class PackKernel(Op):
    """A convolution's weight in panels of output channels. w: [O, C/groups, *K] ->
    [groups, ceil(O/groups/width), prod(K)*C/groups, width], rows in the order (tap, input channel).

    backward: the weight of the convolution that is the gradient for the input: taps in reverse order, and in each group
    the two kinds of channels exchanged: [groups, ceil(C/groups/width), prod(K)*O/groups, width]. Half precision is
    widened to f32. Raises ShapeError when O is not a multiple of groups. Source: torch.nn.functional.conv2d's weight.
    """

    name: ClassVar[str] = "pack_kernel"
    args: ClassVar[tuple[str, ...]] = ("w",)
    gradient: ClassVar[str] = MADE_LATE
    width: int
    groups: int = 1
    backward: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (w,) = types
        require_product(w.dtype)
        require_width(self.width)
        if w.rank < 3:
            raise ShapeError(f"{w} is not [O, C/groups, *KERNEL]")
        outs, ins = w.shape[:2]
        part = floordiv(outs, self.groups)
        if part * self.groups != outs:
            raise ShapeError(f"{outs} output channels do not split into {self.groups} groups")
        rows, columns = (part, ins) if self.backward else (ins, part)
        depth = rows * math.prod(kernel_of(w))
        shape = (self.groups, panel_count(columns, self.width), depth, self.width)
        return TensorType(accumulated(w.dtype), shape)

    def ref(self, *arrays: Array) -> Array:
        w = arrays[0].astype(accumulator(arrays[0].dtype), copy=False)
        part, ins = w.shape[0] // self.groups, w.shape[1]
        w = w.reshape(self.groups, part, ins, math.prod(w.shape[2:]))
        matrix = np.transpose(w[..., ::-1], (0, 3, 1, 2)) if self.backward else np.transpose(w, (0, 3, 2, 1))
        return in_panels(matrix.reshape(self.groups, matrix.shape[1] * matrix.shape[2], matrix.shape[3]), self.width)


@dataclass(frozen=True)
class PanelConv(Op):
    """Convolution of an image with its channels last by a packed weight.

    x: [N, *S, C], panels: [groups, P, prod(kernel)*C/groups, width] of PackKernel, bias: [channels] ->
    [N, *sizes, channels], y[n,p,o] = sum over k,c of X[n, p*stride + k*dilation - pad, c] * w[k,c,o] (+ bias[o]) in
    each group, where X is x with spread - 1 zeros between neighbours, and 0 outside. pad: the begin of each axis; it
    may be negative. sizes: of the result, since what lies outside of X counts as 0 anyway. Raises ShapeError when the
    panels do not fit. Source: ONNX Conv-11, ConvTranspose-11 (with spread = its stride).
    """

    name: ClassVar[str] = "panel_conv"
    args: ClassVar[tuple[str, ...]] = ("x", "panels", "bias")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = MADE_LATE
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    channels: Dim
    sizes: tuple[Dim, ...]
    spread: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        if len(types) not in (2, 3):
            raise ArgumentError(f"it takes 2 or 3 inputs, {len(types)} were given")
        x, panels = types[:2]
        check_axes(x, self.kernel, self.stride, self.pad, self.dilation, self.sizes, self.spread)
        same_dtype(x.with_dtype(accumulated(x.dtype)), panels)
        ins, outs = floordiv(x.shape[-1], self.groups), floordiv(self.channels, self.groups)
        width = panels.shape[-1]
        fits = panels.rank == 4 and isinstance(width, int) and (ins * self.groups, outs * self.groups) == (
            x.shape[-1], self.channels) and panels.shape == (
            self.groups, panel_count(outs, width), ins * math.prod(self.kernel), width)  # fmt: skip
        if not fits:
            raise ShapeError(f"{panels} does not hold {self.channels} channels of {self.groups} groups for {x}")
        check_bias(types, x.dtype, self.channels)
        return x.with_shape((x.shape[0], *self.sizes, self.channels))

    def ref(self, *arrays: Array) -> Array:
        x, panels = arrays[0].astype(accumulator(arrays[0].dtype), copy=False), arrays[1]
        room, sizes = padded_room(x, self.kernel, self.stride, self.pad, self.dilation, self.sizes, self.spread)
        ins, outs = x.shape[-1] // self.groups, int(self.channels) // self.groups
        weight = from_panels(panels, outs).reshape(self.groups, *self.kernel, ins, outs)
        y = np.zeros((x.shape[0], *sizes, self.groups, outs), x.dtype)
        with np.errstate(all="ignore"):
            for tap, window in taps(self.kernel, sizes, self.stride, self.dilation):
                part = room[(slice(None), *window)].reshape(x.shape[0], *sizes, self.groups, 1, ins)
                y += np.matmul(part, weight[(slice(None), *tap)])[..., 0, :]
            return with_bias(y.reshape(x.shape[0], *sizes, int(self.channels)), arrays)


def check_axes(x: TensorType, *attributes: Sequence[object]) -> None:
    rank = len(attributes[0])
    if not 1 <= rank <= 3 or any(len(a) != rank for a in attributes):
        raise ArgumentError("its attributes are not of one number of spatial axes, 1 to 3")
    if x.rank != rank + 2:
        raise ShapeError(f"x has {x.rank} axes, {rank + 2} are expected", help="x is [N, *IMAGE, C]")
    if not x.dtype.is_float:
        raise ShapeError(f"{x.dtype} is not a float")


def padded_room(x: Array, kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int], dilation: Sequence[int],
          wanted: Sequence[Dim], spread: Sequence[int]) -> tuple[Array, tuple[int, ...]]:  # fmt: skip
    """x spread and moved by pad into the room that all windows reach, and the sizes of the result as numbers."""
    sizes = tuple(int(d) for d in wanted)
    reached = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(sizes, stride, dilation, kernel, strict=True)]
    room = np.zeros((x.shape[0], *(max(0, r) for r in reached), x.shape[-1]), x.dtype)
    target: list[slice] = [slice(None)]
    source: list[slice] = [slice(None)]
    for size, step, begin, end in zip(x.shape[1:-1], spread, pad, room.shape[1:-1], strict=True):
        first = max(0, -(begin // step)) if begin < 0 else 0
        last = min(size, max(first, (end - begin - 1) // step + 1))
        source.append(slice(first, last))
        target.append(slice(begin + first * step, begin + (last - 1) * step + 1, step) if last > first else slice(0, 0))
    room[tuple(target)] = x[tuple(source)]
    return room, sizes


@dataclass(frozen=True)
class ChannelConv(Op):
    """Convolution in which each output channel sees its own input channel only (depthwise), channels last.

    x: [N, *S, C], panels: [1, P, prod(kernel), width] of PackKernel (of the weight [C, 1, *K] as one group), bias: [C]
    -> [N, *sizes, C]; the rest as PanelConv. Source: ONNX Conv-11 with group = C.
    """

    name: ClassVar[str] = "channel_conv"
    args: ClassVar[tuple[str, ...]] = ("x", "panels", "bias")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = MADE_LATE
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    sizes: tuple[Dim, ...]
    spread: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        if len(types) not in (2, 3):
            raise ArgumentError(f"it takes 2 or 3 inputs, {len(types)} were given")
        x, panels = types[:2]
        check_axes(x, self.kernel, self.stride, self.pad, self.dilation, self.sizes, self.spread)
        same_dtype(x.with_dtype(accumulated(x.dtype)), panels)
        width = panels.shape[-1]
        if panels.rank != 4 or not isinstance(width, int) or panels.shape != (
                1, panel_count(x.shape[-1], width), math.prod(self.kernel), width):  # fmt: skip
            raise ShapeError(f"{panels} does not hold one kernel for each channel of {x}")
        check_bias(types, x.dtype, x.shape[-1])
        return x.with_shape((x.shape[0], *self.sizes, x.shape[-1]))

    def ref(self, *arrays: Array) -> Array:
        x, panels = arrays[0].astype(accumulator(arrays[0].dtype), copy=False), arrays[1]
        room, sizes = padded_room(x, self.kernel, self.stride, self.pad, self.dilation, self.sizes, self.spread)
        weight = from_panels(panels, x.shape[-1])[0].reshape(*self.kernel, x.shape[-1])
        y = np.zeros((x.shape[0], *sizes, x.shape[-1]), x.dtype)
        with np.errstate(all="ignore"):
            for tap, window in taps(self.kernel, sizes, self.stride, self.dilation):
                y += room[(slice(None), *window)] * weight[tap]
            return with_bias(y, arrays)


@dataclass(frozen=True)
class WeightGradLast(Op):
    """The gradient of a convolution for its weight, from images with their channels last.

    x: [N, *S, C], dy: [N, *T, O] -> [*kernel, C/groups, O], dw[k,c,o] = sum over n,p of
    dy[n,p,o] * x[n, p*stride + k*dilation - pad, c of o's group]; 0 outside of x. pad: the begin of each axis. An empty
    batch gives zeros. Raises ShapeError when channels do not split into the groups.
    Source: the gradient of ONNX Conv-11.
    """

    name: ClassVar[str] = "weight_grad_last"
    args: ClassVar[tuple[str, ...]] = ("x", "dy")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = MADE_LATE
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        x, dy = types
        same_dtype(x, dy)
        check_axes(x, self.kernel, self.stride, self.pad, self.dilation)
        if dy.rank != x.rank or dy.shape[0] != x.shape[0]:
            raise ShapeError(f"dy is {dy}, x is {x}: another batch or number of axes")
        parts = tuple(floordiv(type.shape[-1], self.groups) for type in types)
        if any(part * self.groups != type.shape[-1] for part, type in zip(parts, types, strict=True)):
            raise ShapeError(f"the channels of {x} and {dy} do not split into {self.groups} groups")
        return x.with_shape((*self.kernel, parts[0], dy.shape[-1]))

    def ref(self, *arrays: Array) -> Array:
        x, dy = (a.astype(accumulator(a.dtype), copy=False) for a in arrays)
        ones = (1,) * len(self.kernel)
        room, sizes = padded_room(x, self.kernel, self.stride, self.pad, self.dilation, dy.shape[1:-1], ones)
        parts, count = (x.shape[-1] // self.groups, dy.shape[-1] // self.groups), math.prod((x.shape[0], *sizes))
        slope = np.moveaxis(dy.reshape(count, self.groups, parts[1]), 1, 0)
        dw = np.zeros((*self.kernel, parts[0], self.groups, parts[1]), x.dtype)
        with np.errstate(all="ignore"):
            for tap, window in taps(self.kernel, sizes, self.stride, self.dilation):
                part = np.moveaxis(room[(slice(None), *window)].reshape(count, self.groups, parts[0]), 1, 0)
                dw[tap] = np.moveaxis(np.matmul(np.swapaxes(part, 1, 2), slope), 0, 1)
        return dw.reshape(*self.kernel, parts[0], dy.shape[-1]).astype(arrays[0].dtype, copy=False)


@dataclass(frozen=True)
class PoolLast(Op):
    """MaxPool or AvgPool of an image with its channels last. x: [N, *S, C] -> [N, *T, C].

    kind is "max" or "avg"; sizes, padding, partial windows, divisors, NaN and errors are those of MaxPool-12 and
    AveragePool-22. Source: ONNX MaxPool-12, AveragePool-22.
    """

    name: ClassVar[str] = "pool_last"
    args: ClassVar[tuple[str, ...]] = ("x",)
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = MADE_LATE
    kind: str
    window: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool = False
    count_include_pad: bool = True

    @property
    def first(self) -> Op:
        """The same pool of an image with its channels first."""
        if self.kind == "max":
            return MaxPool(self.window, self.stride, self.pad, self.dilation, self.ceil_mode)
        return AvgPool(self.window, self.stride, self.pad, self.ceil_mode, self.count_include_pad)

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        if self.kind not in ("max", "avg"):
            raise ArgumentError(f"kind {self.kind!r} is not max or avg")
        if x.rank < 3:
            raise ShapeError(f"x has {x.rank} axes, 3 to 5 are expected", help="x is [N, *IMAGE, C]")
        y = self.first.infer(x.with_shape((x.shape[0], x.shape[-1], *x.shape[1:-1])))
        assert isinstance(y, TensorType)
        return y.with_shape((y.shape[0], *y.shape[2:], y.shape[1]))

    def ref(self, *arrays: Array) -> Array:
        y = self.first.ref(np.moveaxis(arrays[0], -1, 1))
        assert isinstance(y, np.ndarray)
        return np.ascontiguousarray(np.moveaxis(y, 1, -1))


OPS: tuple[type[Op], ...] = (PackPanels, PanelMatMul, PackKernel, PanelConv, ChannelConv, WeightGradLast, PoolLast)
