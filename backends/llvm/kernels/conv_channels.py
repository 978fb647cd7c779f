"""Depthwise convolution with channels last: a vector of channels, some pixels of a row at a time, the image in place.

For each kernel row the tile's inputs are loaded once each and shared by its taps. Kernel rows beyond the border are
left out by the loop's limits. Along a row of known length the tiles that touch the border are written out, without the
taps that are not there; those between run in a loop. In rows of unknown length pixels at the border go one
by one, and so do all pixels of spread images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from chainrule.backends.llvm.kernels.conv_shape import Geometry, geometry
from chainrule.backends.llvm.kernels.matmul_tile import vector_lanes
from chainrule.backends.llvm.kernels.pack import spread_loop
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Int, Reg, as_int, ceil_div, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.graph import Value
from chainrule.ir.types import DType
from chainrule.ops.lowered import ChannelConv, accumulated

MOST_PIXELS = 8
UNKNOWN_ROW = 4  # pixels of a tile in rows of unknown length: few, so that short rows have tiles, too


def channel_conv(region: Region, target: Target) -> list[KernelCall]:
    """One kernel for a convolution of each channel by itself."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, ChannelConv)
    kernel = Kernel(region, target, f"conv_{region.name}"[:80])
    g = geometry(kernel, anchor.op, kernel.dims(anchor.inputs[0].tensor.shape), kernel.dims(anchor.op.sizes))
    dtype = accumulated(anchor.tensor.dtype)
    k = kernel.k
    k.flops = 2 * g.batch * math.prod(g.sizes, start=g.channels) * math.prod(g.kernel)
    most = most_pixels(g, target)
    width = int(anchor.inputs[1].tensor.shape[-1])  # type: ignore[arg-type]
    conv = ChannelRows(kernel, anchor, g, dtype, most)
    with spread_loop(k, (g.batch, g.sizes[0], g.sizes[1])) as (n, z, y):
        assert width == vector_lanes(dtype), "the layout pass packs channels by vectors"
        conv.channels(n, z, y)
    return [kernel.built(f"channels, {most} pixels")]


def most_pixels(g: Geometry, target: Target) -> int:
    """Pixels of a tile: sums, one kernel row of weights, and two inputs on their way, in vectors of 64 bytes."""
    registers = target.vector_registers * target.vector_bits // 512
    return max(1, min(MOST_PIXELS, registers - g.kernel[2] - 2))


@dataclass
class ChannelRows:
    """Writes rows of a depthwise convolution. most: pixels of a tile; span: the columns of a row of unknown length that
    are made, None for all; across: pixels of a tile there."""

    kernel: Kernel
    anchor: Value
    g: Geometry
    dtype: DType
    most: int
    span: tuple[Int, Int] | None = None
    across: int = UNKNOWN_ROW

    def channels(self, n: Int, z: Int, y: Int) -> None:
        """One row of the result for all channels."""
        k, lanes = self.kernel.k, vector_lanes(self.dtype)
        whole = self.g.channels // lanes
        if not (whole.is_const and whole.const == 0):
            with k.loop("c", 0, whole) as c:
                self.row(n, z, y, c, lanes, None)
        rest = self.g.channels - whole * lanes
        if rest.is_const and rest.const:
            self.row(n, z, y, whole, lanes if rest.const > lanes // 2 else lanes // 2, rest)
        elif not rest.is_const:
            with k.when(k.cmp("gt", rest, 0)):
                self.row(n, z, y, whole, lanes, rest)

    def row(self, n: Int, z: Int, y: Int, block: Int, lanes: int, mask: Int | None) -> None:
        """One row of the result for one vector of channels."""
        g, count = self.g, self.g.sizes[2]
        spot = ChannelRow(n, z, y, block, block * vector_lanes(self.dtype), lanes, mask)
        if g.spread != (1, 1, 1):
            self._pixels(spot, as_int(0), count)
            return
        if not (count.is_const and g.image[2].is_const):
            self._unknown_row(spot)
            return
        across = min(self.most, count.const)
        if across == 0:
            return
        starts = [min(i * across, count.const - across) for i in range(-(-count.const // across))]
        inner = [s for s in starts if self._is_inside(s, across) and s % across == 0]
        if len(inner) < 2:
            inner = []
        for start in starts:
            if inner and start == inner[0]:
                with self.kernel.k.loop("x", start // across, inner[-1] // across + 1) as i:
                    self._tile(spot, [i * across + j for j in range(across)], self._known_taps)
            elif start not in inner:
                self._tile(spot, [as_int(start + j) for j in range(across)], self._known_taps)

    def _pixels(self, spot: ChannelRow, first: Int, end: Int) -> None:
        """Pixels one by one, their taps within the image."""
        if first == end:
            return
        with self.kernel.k.loop("x", first, end) as x:
            self._tile(spot, [x], self._taps_at_run_time)

    def _unknown_row(self, spot: ChannelRow) -> None:
        """A row of unknown length: tiles where all taps lie inside the image, single pixels before and behind.

        The last tile lies over the one before. A row that is too short for a tile is made of single pixels.
        """
        k, g, count = self.kernel.k, self.g, self.g.sizes[2]
        across = min(self.most, self.across)
        begin, end = self.span or (as_int(0), count)
        low = imin(end, imax(begin, -(-g.pad[2] // g.stride[2])))
        high = imin(end, (g.image[2] + g.pad[2] - g.reach[2]) // g.stride[2] + 1)
        with k.when(k.cmp("ge", high - low, across)):
            self._pixels(spot, begin, low)
            with k.loop("i", 0, ceil_div(high - low, across)) as i:
                start = imin(i * across + low, high - across)
                self._tile(spot, [start + j for j in range(across)], self._known_taps)
            self._pixels(spot, high, end)
        with k.otherwise():
            self._pixels(spot, begin, end)

    def _is_inside(self, start: int, across: int) -> bool:
        g = self.g
        first = start * g.stride[2] - g.pad[2]
        return first >= 0 and first + (across - 1) * g.stride[2] + g.reach[2] <= g.image[2].const

    def _tile(self, spot: ChannelRow, pixels: Sequence[Int], taps: Callable[..., None]) -> None:
        """The sums of some pixels over all kernel rows, and their epilogue."""
        k, g = self.kernel.k, self.g
        sums = [k.reg(k.const(0, self.dtype, spot.lanes)) for _ in pixels]
        with ExitStack() as stack:
            place: list[Int] = []
            steps: list[Int] = []
            for axis, at in ((0, spot.z), (1, spot.y)):
                low, high = tap_range(g, axis, at)
                if g.kernel[axis] == 1 and g.pad[axis] == 0 and g.spread[axis] == 1 and g.image[axis] == g.room[axis]:
                    tap = as_int(0)
                else:
                    tap = stack.enter_context(k.loop(f"k{axis}", low, high))
                where = at * g.stride[axis] - g.pad[axis] + tap * g.dilation[axis]
                if g.spread[axis] > 1:
                    stack.enter_context(k.when(k.cmp("eq", where % g.spread[axis], 0)))
                place.append(where // g.spread[axis])
                steps.append(tap)
            taps(spot, pixels, sums, place, steps[0] * g.kernel[1] + steps[1])
        for x, total in zip(pixels, sums, strict=True):
            value = k.get(total)
            if len(self.anchor.inputs) == 3:
                bias = self.kernel.read(self.anchor.inputs[2], (spot.channel,), spot.lanes, spot.mask)
                value = k.add(value, self.kernel.fit(bias, spot.lanes))
            self.put(spot, x, k.cast(value, self.anchor.tensor.dtype))

    def _known_taps(self, spot: ChannelRow, pixels: Sequence[Int], sums: Sequence[Reg], place: Sequence[Int],
                    row: Int) -> None:  # fmt: skip
        """One kernel row where it is known which taps lie inside the image."""
        k, g = self.kernel.k, self.g
        weights = [self._weight(spot, row, tap) for tap in range(g.kernel[2])]
        loaded: dict[Int, LoopValue] = {}
        for x, total in zip(pixels, sums, strict=True):
            for tap, weight in enumerate(weights):
                where = x * g.stride[2] - g.pad[2] + tap * g.dilation[2]
                if where.is_const and not 0 <= where.const < g.image[2].const:
                    continue
                if where not in loaded:
                    loaded[where] = self.pixel(spot, place, where)
                k.set(total, k.fma(loaded[where], weight, k.get(total)))

    def _taps_at_run_time(self, spot: ChannelRow, pixels: Sequence[Int], sums: Sequence[Reg], place: Sequence[Int],
                          row: Int) -> None:  # fmt: skip
        """One kernel row of one pixel, its taps between limits."""
        k, g = self.kernel.k, self.g
        low, high = tap_range(g, 2, pixels[0])
        with k.loop("k2", low, high) as tap, ExitStack() as stack:
            where = pixels[0] * g.stride[2] - g.pad[2] + tap * g.dilation[2]
            if g.spread[2] > 1:
                stack.enter_context(k.when(k.cmp("eq", where % g.spread[2], 0)))
            value = self.pixel(spot, place, where // g.spread[2])
            k.set(sums[0], k.fma(value, self._weight(spot, row, tap), k.get(sums[0])))

    def _weight(self, spot: ChannelRow, row: Int, tap: Int | int) -> LoopValue:
        index = (0, spot.block, row * self.g.kernel[2] + tap, 0)
        return self.kernel.fit(self.kernel.read(self.anchor.inputs[1], index, spot.lanes), spot.lanes)

    def pixel(self, spot: ChannelRow, place: Sequence[Int], x: Int) -> LoopValue:
        """The channels of the image at (plane, row) and a column."""
        index = (spot.n, *self.g.outer((*place, x)), spot.channel)
        return self.kernel.fit(self.kernel.read(self.anchor.inputs[0], index, spot.lanes, spot.mask), spot.lanes)

    def put(self, spot: ChannelRow, x: Int, value: LoopValue) -> None:
        """Takes the result of one pixel: computes what follows and stores it."""
        index = (spot.n, *self.g.outer((spot.z, spot.y, x)), spot.channel)
        self.kernel.write(index, {self.anchor: value}, spot.lanes, spot.mask)


@dataclass(frozen=True)
class ChannelRow:
    """A row of the result and a vector of channels. mask: how many of its lanes are there."""

    n: Int
    z: Int
    y: Int
    block: Int
    channel: Int
    lanes: int
    mask: Int | None


def tap_range(g: Geometry, axis: int, at: Int) -> tuple[Int, Int]:
    """The taps of a window that lie inside the (spread) image along an axis: from, to."""
    start = at * g.stride[axis] - g.pad[axis]
    low = ceil_div(imax(0, 0 - start), g.dilation[axis])
    end = (g.image[axis] - 1) * g.spread[axis] + 1
    return low, imin(g.kernel[axis], ceil_div(imax(0, end - start), g.dilation[axis]))
