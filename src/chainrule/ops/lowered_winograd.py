"""Convolutions of stride 1 by Winograd's tiles: fewer products between transformed tiles and transformed weights.

Only the compiler makes these ops. An axis with a tile of m > 1 is transformed: tiles of m outputs are made from
m + kernel - 1 inputs by as many products (ops/toom_cook.py); an axis with a tile of 1 is summed tap by tap. Over two
axes F(4x4, 3x3) takes 36 products for 16 outputs instead of 144.

What it costs is accuracy: errors are bounded by the sums of the transformed numbers' sizes (class W), so that a large
pixel spoils the digits of its whole tile, and an infinity or NaN may make every output of its tile NaN. Source: Lavin
and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import Dim
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType
from chainrule.ops.elementwise import expect_inputs
from chainrule.ops.lowered import (
    MADE_LATE,
    accumulated,
    check_axes,
    check_bias,
    from_panels,
    padded_room,
    panel_count,
    with_bias,
)
from chainrule.ops.matmul import accumulator, require_product
from chainrule.ops.shape_rules import same_dtype
from chainrule.ops.toom_cook import Matrix, has_points, short_convolution


def products_of(tile: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    """Products along each axis; 1 along an axis that is summed tap by tap."""
    return tuple(m + k - 1 if m > 1 else 1 for m, k in zip(tile, kernel, strict=True))


def direct_taps(tile: Sequence[int], kernel: Sequence[int]) -> int:
    """Taps that are summed one by one."""
    return math.prod(k for m, k in zip(tile, kernel, strict=True) if m == 1)


def _require_tiles(tile: Sequence[int], kernel: Sequence[int]) -> None:
    if len(tile) != len(kernel) or not any(m > 1 for m in tile):
        raise ArgumentError(f"tile {tuple(tile)} has no axis of more than 1, or not one number for each axis of kernel")
    for m, k in zip(tile, kernel, strict=True):
        if m < 1 or (m > 1 and not has_points(m, k)):
            raise ArgumentError(f"there are no points for tiles of {m} outputs and kernels of {k} taps")


def transformed(x: Array, axis: int, matrix: Matrix, absolute: bool = False) -> Array:
    """The matrix applied along an axis. What it multiplies by 0 is left out, so that 0 * inf is no NaN."""
    parts = np.moveaxis(x, axis, 0)
    sums: list[Array] = []
    for row in matrix:
        terms = [part * x.dtype.type(abs(c) if absolute else c) for c, part in zip(row, parts, strict=True) if c]
        sums.append(np.add.reduce(terms))
    return np.moveaxis(np.stack(sums), 0, axis)


@dataclass(frozen=True)
class WinogradWeights(Op):
    """A packed kernel, transformed. panels: [1, P, prod(kernel)*C, width] of PackKernel ->
    [products, P, direct taps*C, width], products in row-major order of the axes.

    Computed in float64 and rounded once. Raises ArgumentError where there are no points for a tile, ShapeError for
    panels of more than one group or another kernel. Source: Lavin and Gray, 2016.
    """

    name: ClassVar[str] = "winograd_weights"
    args: ClassVar[tuple[str, ...]] = ("panels",)
    tolerance: ClassVar[str] = "W"
    gradient: ClassVar[str] = MADE_LATE
    kernel: tuple[int, ...]
    tile: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (panels,) = types
        require_product(panels.dtype)
        _require_tiles(self.tile, self.kernel)
        depth = panels.shape[2] if panels.rank == 4 else -1
        ins = depth // math.prod(self.kernel)
        if panels.rank != 4 or panels.shape[0] != 1 or ins * math.prod(self.kernel) != depth:
            raise ShapeError(f"{panels} is not [1, P, prod{self.kernel}*C, width]")
        rows = ins * direct_taps(self.tile, self.kernel)
        shape = (math.prod(products_of(self.tile, self.kernel)), panels.shape[1], rows, panels.shape[3])
        return panels.with_shape(shape)

    def ref(self, *arrays: Array) -> Array:
        (panels,) = arrays
        return self._made(panels.astype(np.float64), False).astype(panels.dtype)

    def magnitude(self, *arrays: Array) -> Array:
        """The sums of the sizes of what is added up."""
        return self._made(np.abs(arrays[0]), True)

    def _made(self, panels: Array, absolute: bool) -> Array:
        _, count, depth, width = panels.shape
        rank = len(self.kernel)
        w = panels.reshape(count, *self.kernel, depth // math.prod(self.kernel), width)
        for axis, (m, k) in enumerate(zip(self.tile, self.kernel, strict=True)):
            if m > 1:
                w = transformed(w, 1 + axis, short_convolution(m, k).weights, absolute)
        moved = [1 + axis for axis in range(rank) if self.tile[axis] > 1]
        left = [1 + axis for axis in range(rank) if self.tile[axis] == 1]
        w = np.transpose(w, (*moved, 0, *left, rank + 1, rank + 2))
        return np.ascontiguousarray(w.reshape(math.prod(w.shape[: len(moved)]), count, -1, width))


@dataclass(frozen=True)
class WinogradConv(Op):
    """PanelConv of stride 1, one group and no dilation, by tiles.

    x: [N, *S, C], panels: [products, P, direct taps*C, width] of WinogradWeights, bias: [channels] ->
    [N, *sizes, channels], y[n,p,o] = sum over k,c of x[n, p + k - pad, c] * w[k,c,o] (+ bias[o]); 0 outside of x. pad:
    the begin of each axis. An infinity or NaN spreads over the outputs of each tile that reads it. Raises ShapeError
    when the panels do not fit, ArgumentError where there are no points for a tile. Source: Lavin and Gray, 2016.
    """

    name: ClassVar[str] = "winograd_conv"
    args: ClassVar[tuple[str, ...]] = ("x", "panels", "bias")
    tolerance: ClassVar[str] = "W"
    gradient: ClassVar[str] = MADE_LATE
    kernel: tuple[int, ...]
    tile: tuple[int, ...]
    pad: tuple[int, ...]
    channels: Dim
    sizes: tuple[Dim, ...]

    def infer(self, *types: TensorType) -> TensorType:
        if len(types) not in (2, 3):
            raise ArgumentError(f"it takes 2 or 3 inputs, {len(types)} were given")
        x, panels = types[:2]
        check_axes(x, self.kernel, self.tile, self.pad, self.sizes)
        _require_tiles(self.tile, self.kernel)
        same_dtype(x.with_dtype(accumulated(x.dtype)), panels)
        width = panels.shape[-1]
        if panels.rank != 4 or not isinstance(width, int) or panels.shape[:3] != (
                math.prod(products_of(self.tile, self.kernel)), panel_count(self.channels, width),
                x.shape[-1] * direct_taps(self.tile, self.kernel)):  # fmt: skip
            raise ShapeError(f"{panels} does not hold {self.channels} channels of tiles {self.tile} for {x}")
        check_bias(types, x.dtype, self.channels)
        return x.with_shape((x.shape[0], *self.sizes, self.channels))

    def ref(self, *arrays: Array) -> Array:
        return self._made(arrays, False)

    def magnitude(self, *arrays: Array) -> Array:
        """What the errors are in proportion to: the same sums over the sizes of all that is added up."""
        return self._made([np.abs(a) for a in arrays], True)

    def _made(self, arrays: Sequence[Array], absolute: bool) -> Array:
        x, panels = arrays[0].astype(accumulator(arrays[0].dtype), copy=False), arrays[1]
        rank, ones = len(self.kernel), (1,) * len(self.kernel)
        sizes = [int(n) for n in self.sizes]
        counts = [-(-n // m) for n, m in zip(sizes, self.tile, strict=True)]
        room, _ = padded_room(x, self.kernel, ones, self.pad, ones, [n * m for n, m in zip(
            counts, self.tile, strict=True)], ones)  # fmt: skip
        weight = from_panels(panels, int(self.channels))
        direct = [k if m == 1 else 1 for m, k in zip(self.tile, self.kernel, strict=True)]
        weight = weight.reshape(*products_of(self.tile, self.kernel), *direct, x.shape[-1], int(self.channels))
        with np.errstate(all="ignore"):
            tiles = self._tiles(room, counts, absolute)
            y = self._outputs(self._products(tiles, weight, direct, counts), absolute)
            order = (rank, *(axis for i in range(rank) for axis in (rank + 1 + i, i)), 2 * rank + 1)
            full = [c * m for c, m in zip(counts, self.tile, strict=True)]
            y = np.transpose(y, order).reshape(x.shape[0], *full, int(self.channels))
            y = y[(slice(None), *(slice(0, n) for n in sizes))]
            return with_bias(np.ascontiguousarray(y), arrays)

    def _tiles(self, room: Array, counts: Sequence[int], absolute: bool) -> Array:
        """[*products, N, *places, C]: the transformed tiles; places are tiles, or pixels of an axis without tiles."""
        tiles = room
        for axis, (m, k) in enumerate(zip(self.tile, self.kernel, strict=True)):
            place = 2 * axis + 1  # behind the products of the axes before, and the batch
            if m == 1:
                tiles = np.expand_dims(tiles, axis)
                continue
            parts = [np.take(tiles, range(j, j + counts[axis] * m, m), place) for j in range(m + k - 1)]
            made = transformed(np.stack(parts), 0, short_convolution(m, k).inputs, absolute)
            tiles = np.moveaxis(made, 0, axis)
        return tiles

    def _products(self, tiles: Array, weight: Array, direct: Sequence[int], counts: Sequence[int]) -> Array:
        """[*products, N, *places, channels]: tap by tap along the axes that are not transformed."""
        rank = len(self.kernel)
        total: Array | None = None
        for tap in itertools.product(*map(range, direct)):
            windows = tuple(slice(t, t + n) for t, n in zip(tap, counts, strict=True))
            part = tiles[(slice(None),) * (rank + 1) + windows]
            matrix = weight[(slice(None),) * rank + tap].reshape(*weight.shape[:rank], *(1,) * rank, *weight.shape[-2:])
            product = np.matmul(part, matrix)
            total = product if total is None else total + product
        assert total is not None, "a kernel has at least one tap"
        return total

    def _outputs(self, products: Array, absolute: bool) -> Array:
        """[*tile, N, *places, channels]."""
        for axis, (m, k) in enumerate(zip(self.tile, self.kernel, strict=True)):
            if m > 1:
                products = transformed(products, axis, short_convolution(m, k).outputs, absolute)
        return products


OPS: tuple[type[Op], ...] = (WinogradWeights, WinogradConv)
