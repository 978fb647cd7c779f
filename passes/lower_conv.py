"""Convolutions of any rank, stride, dilation, padding and groups as matrix products over gathered patches.

The fallback for what no convolution kernel takes. Patches are gathered channels-last, [N, *T, taps, C]: one strided
slice of the padded image per tap of the kernel, side by side. Then all three members of the family are one product:
forward patches @ w, for the weight patches^T @ dy, for the input w @ dy spread back tap by tap.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule.ir.dims import Dim, dim_max, dim_product
from chainrule.ir.graph import Graph, Value, rewrite
from chainrule.ir.types import f32
from chainrule.ops.conv import Conv, ConvTranspose, ConvWeightGrad, kernel_of
from chainrule.ops.elementwise import add, cast
from chainrule.ops.matmul import matmul
from chainrule.ops.shaping import concat, flip, pad_constant, reshape, slice_sized, transpose
from chainrule.passes.base import Notes, Pass
from chainrule.passes.decompose import keeps_nothing


@dataclass(frozen=True)
class LowerConv(Pass):
    """Every convolution that `keeps` refuses becomes a matrix product over patches."""

    name: ClassVar[str] = "lower-conv"
    keeps: Callable[[Value], bool] = keeps_nothing

    def __str__(self) -> str:
        return self.name

    def run(self, graph: Graph, notes: Notes) -> Graph:
        def lowered(node: Value, inputs: tuple[Value, ...]) -> Value | None:
            if not isinstance(node.op, Conv | ConvTranspose | ConvWeightGrad) or self.keeps(node):
                return None
            notes.count(node.op.mnemonic)
            return lower(node, inputs)

        return rewrite(graph, lowered)


def lower(node: Value, inputs: tuple[Value, ...]) -> Value:
    """A convolution, transposed convolution or weight gradient, as a product. f16 and bf16 sum in f32."""
    op, dtype = node.op, node.tensor.dtype
    wide = inputs if dtype.bits >= 32 else tuple(cast(v, f32) for v in inputs)
    match op:
        case Conv():
            result = forward(op, wide[0], wide[1])
        case ConvTranspose():
            result = backward(op, wide[0], wide[1], node.tensor.shape[2:])
        case ConvWeightGrad():
            result = weight_gradient(op, wide[0], wide[1])
        case _:
            raise AssertionError(op)
    if len(wide) == 3:
        result = add(result, reshape(wide[2], (wide[2].tensor.shape[0], *(1 for _ in result.shape[2:]))))
    return result if result.tensor.dtype == dtype else cast(result, dtype)


def forward(op: Conv, x: Value, w: Value) -> Value:
    """x: [N, C, *S], w: [O, C/g, *K] -> [N, O, *T]."""
    kernel, groups = kernel_of(w.tensor), op.groups
    found = patches(op, x, kernel)  # [M, taps, C]
    image = image_of(x, op, kernel)
    taps = len(list(positions(kernel)))
    outs, inner = w.tensor.shape[0], w.tensor.shape[1]
    columns = transpose(reshape(w, (groups, outs // groups, inner, taps)), (0, 3, 2, 1))
    columns = reshape(columns, (groups, taps * inner, outs // groups))
    product = matmul(by_group(found, groups), columns)  # [g, M, O/g]
    return channels_first(merged_groups(product), x.tensor.shape[0], image)


def weight_gradient(op: ConvWeightGrad, x: Value, dy: Value) -> Value:
    """x: [N, C, *S], dy: [N, O, *T] -> [O, C/g, *K]."""
    groups, taps = op.groups, len(list(positions(op.kernel)))
    rows = by_group(patches(op, x, op.kernel), groups)  # [g, M, taps*C/g]
    slope = channels_last(dy)
    outs, inner = dy.tensor.shape[1], x.tensor.shape[1] // groups
    slope = by_group(reshape(slope, (dim_product(slope.tensor.shape[:-1]), 1, outs)), groups)  # [g, M, O/g]
    product = matmul(slope, rows, transpose_a=True)  # [g, O/g, taps*C/g]
    product = transpose(reshape(product, (groups, outs // groups, taps, inner)), (0, 1, 3, 2))
    return reshape(product, (outs, inner, *op.kernel))


def backward(op: ConvTranspose, x: Value, w: Value, sizes: Sequence[Dim]) -> Value:
    """x: [N, C, *S], w: [C, O/g, *K] -> [N, O, *sizes]. Stride 1: a convolution with the kernel turned round."""
    kernel, rank = kernel_of(w.tensor), len(op.stride)
    if all(s == 1 for s in op.stride):
        return as_convolution(op, x, w, sizes)
    groups, taps = op.groups, len(list(positions(kernel)))
    n, ins, outs = x.tensor.shape[0], x.tensor.shape[1], w.tensor.shape[1]
    rows = channels_last(x)
    rows = by_group(reshape(rows, (dim_product(rows.tensor.shape[:-1]), 1, ins)), groups)  # [g, M, C/g]
    columns = transpose(reshape(w, (groups, ins // groups, outs, taps)), (0, 1, 3, 2))
    product = matmul(rows, reshape(columns, (groups, ins // groups, taps * outs)))  # [g, M, taps*O/g]
    spread = reshape(product, (groups, *(n, *x.tensor.shape[2:]), taps, outs))
    order = (1, *range(2, 2 + rank), 2 + rank, 0, 3 + rank)  # [N, *S, taps, g, O/g]
    spread = reshape(transpose(spread, order), (n, *x.tensor.shape[2:], taps, groups * outs))
    total: Value | None = None
    for number, tap in enumerate(positions(kernel)):
        part = slice_sized(spread, (0,) * (1 + rank) + (number, 0), (n, *x.tensor.shape[2:], 1, groups * outs))
        part = placed(reshape(part, (n, *x.tensor.shape[2:], groups * outs)), op, tap, sizes)
        total = part if total is None else add(total, part)
    assert total is not None, "a kernel has at least one tap"
    return transpose(total, (0, 1 + rank, *range(1, 1 + rank)))


def as_convolution(op: ConvTranspose, x: Value, w: Value, sizes: Sequence[Dim]) -> Value:
    """A transposed convolution of stride 1: the image padded to the kernel's reach, the kernel reversed and swapped."""
    kernel, rank, groups = kernel_of(w.tensor), len(op.stride), op.groups
    ins, outs = w.tensor.shape[0], w.tensor.shape[1]
    turned = flip(w, tuple(range(2, 2 + rank)))
    turned = transpose(reshape(turned, (groups, ins // groups, outs, *kernel)), (0, 2, 1, *range(3, 3 + rank)))
    turned = reshape(turned, (groups * outs, ins // groups, *kernel))
    span = [op.dilation[i] * (kernel[i] - 1) for i in range(rank)]
    before = [span[i] - op.pad[i] for i in range(rank)]
    after = [sizes[i] - 1 - (x.tensor.shape[2 + i] - 1) + op.pad[i] for i in range(rank)]
    padded = pad_constant(x, (0, 0, *before), (0, 0, *after))
    return forward(Conv((1,) * rank, (0,) * (2 * rank), op.dilation, groups), padded, turned)


def placed(part: Value, op: ConvTranspose, tap: Sequence[int], sizes: Sequence[Dim]) -> Value:
    """One tap's share [N, *S, O] where it falls in the result [N, *sizes, O]: spread by the stride, shifted, cut."""
    rank = len(op.stride)
    image = part.tensor.shape[1:-1]
    for i, stride in enumerate(op.stride):
        if stride == 1:
            continue
        axis = 1 + i
        shape = part.tensor.shape
        opened = reshape(part, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
        room = [0] * opened.rank
        room[axis + 1] = stride - 1
        opened = pad_constant(opened, (0,) * opened.rank, room)
        part = reshape(opened, (*shape[:axis], shape[axis] * stride, *shape[axis + 1 :]))
    before = [tap[i] * op.dilation[i] - op.pad[i] for i in range(rank)]
    after = [sizes[i] - before[i] - image[i] * op.stride[i] for i in range(rank)]
    return pad_constant(part, (0, *before, 0), (0, *after, 0))


def patches(op: Conv | ConvWeightGrad, x: Value, kernel: Sequence[int]) -> Value:
    """The inputs under the kernel: [N, C, *S] -> [N * prod(T), taps, C], in the order of the image, then taps."""
    rank = len(op.stride)
    image = image_of(x, op, kernel)
    padded = pad_constant(channels_last(x), (0, *op.pad[:rank], 0), (0, *op.pad[rank:], 0))
    n, channels = x.tensor.shape[0], x.tensor.shape[1]
    parts: list[Value] = []
    for tap in positions(kernel):
        starts = (0, *(t * d for t, d in zip(tap, op.dilation, strict=True)), 0)
        part = slice_sized(padded, starts, (n, *image, channels), (1, *op.stride, 1))
        parts.append(reshape(part, (dim_product((n, *image)), 1, channels)))
    return concat(parts, 1)


def image_of(x: Value, op: Conv | ConvWeightGrad, kernel: Sequence[int]) -> tuple[Dim, ...]:
    """The spatial sizes of the convolution's result."""
    rank = len(op.stride)
    return tuple(
        dim_max(0, (x.tensor.shape[2 + i] + op.pad[i] + op.pad[i + rank] - op.dilation[i] * (kernel[i] - 1) - 1)
                // op.stride[i] + 1) for i in range(rank)
    )  # fmt: skip


def positions(kernel: Sequence[int]) -> itertools.product[tuple[int, ...]]:
    """The taps of a kernel in row-major order."""
    return itertools.product(*(range(k) for k in kernel))


def by_group(rows: Value, groups: int) -> Value:
    """[M, taps, C] -> [g, M, taps * C/g]."""
    count, taps, channels = rows.tensor.shape
    if groups == 1:
        return reshape(rows, (1, count, taps * channels))
    split = transpose(reshape(rows, (count, taps, groups, channels // groups)), (2, 0, 1, 3))
    return reshape(split, (groups, count, taps * (channels // groups)))


def merged_groups(product: Value) -> Value:
    """[g, M, O/g] -> [M, O]."""
    groups, count, outs = product.tensor.shape
    moved = product if groups == 1 else transpose(product, (1, 0, 2))
    return reshape(moved, (count, groups * outs))


def channels_last(x: Value) -> Value:
    """[N, C, *S] -> [N, *S, C]; a reshape where there is one channel."""
    shape = x.tensor.shape
    if shape[1] == 1:
        return reshape(x, (shape[0], *shape[2:], 1))
    return transpose(x, (0, *range(2, x.rank), 1))


def channels_first(rows: Value, n: Dim, image: Sequence[Dim]) -> Value:
    """[N * prod(T), O] -> [N, O, *T]."""
    rank = len(image)
    return transpose(reshape(rows, (n, *image, rows.tensor.shape[1])), (0, 1 + rank, *range(1, 1 + rank)))
