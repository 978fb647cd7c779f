"""The gradient of a convolution for its weight: an outer product per pixel, summed in register tiles.

A row of the result is one element under one tap, a column an output channel. Rows of a run (one kernel row) are
neighbours in x, columns neighbours in dy: a step over pixels takes some scalars from one line of x and vectors of dy,
and nothing is packed. Depthwise, the rows are the taps of a kernel row and both sides are vectors of channels.

A parallel iteration sums some rows for one panel of columns over some images, whose sums a second kernel adds up in
their order. Sums go three levels deep (rows of an image in registers, images in scratch, blocks of images), because one
chain over all pixels would lose digits; sizes alone decide where they are cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chainrule.backends.llvm.kernels.conv_copy import padded_copy, rooms
from chainrule.backends.llvm.kernels.conv_shape import Geometry, geometry
from chainrule.backends.llvm.kernels.matmul_tile import (
    BLOCK,
    LINE,
    Multiplier,
    Tile,
    balanced_rows,
    most_rows,
    split_lanes,
    vector_lanes,
    widest_panel,
)
from chainrule.backends.llvm.kernels.pack import spread_loop
from chainrule.backends.llvm.kernels.region import LANES, Kernel, KernelCall, Region, Temp
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Int, Reg, as_int, ceil_div, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.dims import as_dim, floordiv
from chainrule.ir.graph import Value
from chainrule.ir.types import DType, TensorType
from chainrule.ops.lowered import WeightGradLast, accumulated, panel_width

TILES = 32  # row tiles that take turns on the same pixels
PIXELS = 32  # pixels summed in registers, at least: what they need of x and dy fits the first-level cache
CHAIN = 512  # sums of these that are added up in one chain
PART_ROWS, PART_COLUMNS = 192, 64  # about what one parallel iteration makes
ITERATIONS = 8  # parallel iterations that are wanted


def weight_grad_last(region: Region, target: Target) -> list[KernelCall]:
    """A padded copy of x if windows touch its border, the sums, and, with several blocks of images, their sum."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, WeightGradLast)
    op, (x, dy) = anchor.op, anchor.inputs
    dtype = accumulated(anchor.tensor.dtype)
    kernel = Kernel(region, target, "weight_grad")
    g = geometry(kernel, op, kernel.dims(x.tensor.shape), kernel.dims(dy.tensor.shape[1:-1]))
    calls: list[KernelCall] = []
    source: Buffer | None = None
    if g.touches_border:
        room = [(as_dim(n) - 1) * s + d * (k - 1) + 1
                for n, s, d, k in zip(dy.shape[1:-1], op.stride, op.dilation, op.kernel, strict=True)]  # fmt: skip
        temp = Temp(TensorType(dtype, (x.shape[0], *room, x.shape[-1])))
        pad = Kernel(region, target, "pad_image")
        calls.append(padded_copy(
            pad, x, geometry(pad, op, pad.dims(x.tensor.shape), pad.dims(dy.tensor.shape[1:-1])), temp))  # fmt: skip
        source = kernel.temp(temp, mode="r", shape=rooms(g))
    sums = _Sums(kernel, anchor, g, dtype, target, source)
    images = sums.images_per_block()
    blocks = floordiv(x.shape[0] + images - 1, images)
    if blocks in (0, 1):
        sums.write(images, None)
        return [*calls, kernel.built("one block of images")]
    partial = Temp(TensorType(dtype, (blocks, *anchor.tensor.shape)))
    sums.write(images, partial)
    return [*calls, kernel.built(f"blocks of {images} images"), _added_up(region, target, anchor, partial)]


@dataclass
class _Sums:
    """The kernel of the partial sums being written. source: the padded copy, None where x is read in place."""

    kernel: Kernel
    anchor: Value
    g: Geometry
    dtype: DType
    target: Target
    source: Buffer | None

    @property
    def depthwise(self) -> bool:
        op, (x, dy) = self.anchor.op, self.anchor.inputs
        assert isinstance(op, WeightGradLast)
        return op.groups > 1 and op.groups == x.shape[-1] and op.groups == dy.shape[-1]

    @property
    def runs(self) -> int:
        """How many runs of neighbouring rows there are."""
        kernel = self.g.kernel
        return kernel[0] * kernel[1] * (1 if self.depthwise or self.g.runs() else kernel[2])

    @property
    def length(self) -> Int:
        """Rows of a run."""
        if self.depthwise:
            return as_int(self.g.kernel[2])
        return self.g.inner * (self.g.kernel[2] if self.g.runs() else 1)

    @property
    def columns(self) -> Int:
        """Columns of one group."""
        outs = self.kernel.dim(self.anchor.inputs[1].tensor.shape[-1])
        return outs if self.depthwise else outs // self.g.groups

    @property
    def width(self) -> int:
        if self.depthwise:
            return vector_lanes(self.dtype)
        columns = self.columns
        known = columns.const if columns.is_const else self.anchor.inputs[1].tensor.shape[-1]
        return panel_width(known, widest_panel(self.target, self.dtype), self.dtype)

    @property
    def rows(self) -> int:
        most = most_rows(self.target, split_lanes(self.width, self.dtype), self.dtype, limit=28)
        return balanced_rows(self.length.const, most) if self.length.is_const else most

    def lines_per_block(self) -> int:
        """Rows of the image that are summed in registers."""
        width = self.g.sizes[2]
        return max(1, min(PIXELS // max(1, width.const), BLOCK)) if width.is_const else 1

    def images_per_block(self) -> int:
        """Images of a parallel iteration: few enough that chains stay short and threads have work."""
        height, depth, batch = self.g.sizes[1], self.g.sizes[0], self.g.batch
        lines = -(-height.const // self.lines_per_block()) if height.is_const else CHAIN
        chain = max(1, CHAIN // max(1, lines * (depth.const if depth.is_const else 1)))
        if not batch.is_const:
            return min(chain, 8)
        # Counted in parts of one size, whatever the target's tile is: where sums are cut must not depend on it.
        parts = ceil_div(self.length, PART_ROWS) * self.runs * ceil_div(self.columns, PART_COLUMNS)
        wanted = -(-ITERATIONS // max(1, parts.const)) if parts.is_const else 1
        return max(1, min(chain, -(-batch.const // wanted)))

    # -- loops ---------------------------------------------------------------------------------------------------------

    def write(self, images: int, partial: Temp | None) -> None:
        """The parallel loop over blocks of images, groups, runs, segments of a run, and panels."""
        g, k = self.g, self.kernel.k
        outs = self.kernel.dim(self.anchor.inputs[1].tensor.shape[-1])
        k.flops = 2 * g.batch * math.prod(g.sizes, start=outs) * g.inner * math.prod(g.kernel)
        segments = ceil_div(self.length, self.rows * TILES)
        groups = 1 if self.depthwise else g.groups
        blocks = ceil_div(g.batch, images) if partial is not None else as_int(1)
        grid = (blocks, as_int(groups), as_int(self.runs), segments, ceil_div(self.columns, self.width))
        with spread_loop(k, grid) as (block, group, run, segment, panel):
            for lanes, rest in self._panel_kinds(panel):
                place = _Place(block, group, run, segment, panel, rest)
                self._iteration(place, images, Tile(self.dtype, self.rows, lanes), partial)

    def _panel_kinds(self, panel: Int) -> Iterator[tuple[tuple[int, ...], Int | None]]:
        """(lanes, columns of a ragged panel): opens the branch for each kind there is."""
        k, n, width = self.kernel.k, self.columns, self.width
        full = split_lanes(width, self.dtype)
        rest = n - n // width * width
        last = split_lanes(rest.const, self.dtype) if rest.is_const and rest.const else full
        if rest.is_const and rest.const == 0:
            yield full, None
        elif n.is_const and n.const < width:
            yield last, rest
        else:
            with k.when(k.cmp("lt", panel, n // width)):
                yield full, None
            with k.otherwise():
                yield last, rest

    def _iteration(self, place: _Place, images: int, tile: Tile, partial: Temp | None) -> None:
        g, k = self.g, self.kernel.k
        multiplier = Multiplier(k, tile, TILES)
        first = place.segment * TILES
        count = imin(TILES, ceil_div(self.length, tile.rows) - first)
        multiplier.clear(count)
        lines = self.lines_per_block()
        low = place.block * images
        with (k.loop("n", low, imin(low + images, g.batch)) as n, _loop_over(self, "z", g.sizes[0]) as z,
              k.loop("yb", 0, ceil_div(g.sizes[1], lines)) as yb, k.loop("i", 0, count) as i):  # fmt: skip
            sums = multiplier.zeros()
            high = imin(yb * lines + lines, g.sizes[1])
            with k.loop("y", yb * lines, high) as y, k.loop("x", 0, g.sizes[2]) as x:
                if len(tile.lanes) > 1:  # a tile of single vectors loads as often as it multiplies
                    self._ask(place, (first + i) * tile.rows, i, self._later(lines, (n, z, y, x)))
                self._step(multiplier, sums, place, (first + i) * tile.rows, (n, z, y, x))
            multiplier.collect(i, sums)
        with k.loop("i", 0, count) as i:
            self._store(place, (first + i) * tile.rows, tile, multiplier.collected(i), partial)

    def _step(self, multiplier: Multiplier, sums: list[list[Reg]], place: _Place, row: Int,
              pixel: tuple[Int, Int, Int, Int]) -> None:  # fmt: skip
        """One pixel."""
        g = self.g
        n, z, y, x = pixel
        at = self._line(place, n, z, y)
        channel = place.panel * self.width
        lanes = multiplier.tile.lanes[0]
        last = self.length - 1
        ragged = not (self.length.is_const and self.length.const % multiplier.tile.rows == 0)

        def left(r: int, step: Int) -> LoopValue:
            j = imin(row + r, last) if ragged and r else row + r
            if self.depthwise:
                along = (x * g.stride[2] + j * g.dilation[2]) * g.channels + channel
                return self._x((*at, along), lanes, place.mask(0, lanes))
            return self._x((*at, self._element(place, j, x)), 1, None)

        def right(step: Int, start: int, width: int) -> LoopValue:
            index = (n, *g.outer((z, y, x)), place.group * self.columns + channel + start)
            value = self.kernel.read(self.anchor.inputs[1], index, width, place.mask(start, width))
            return self.kernel.fit(value, width)

        multiplier.step(sums, as_int(0), left, right)

    def _later(self, lines: int, pixel: tuple[Int, Int, Int, Int]) -> tuple[Int, Int, Int, Int]:
        """The same pixel of the next block of lines, of the next image where one block is all of it."""
        n, z, y, x = pixel
        height = self.g.sizes[1]
        return (n + 1, z, y, x) if height.is_const and height.const <= lines else (n, z, y + lines, x)

    def _ask(self, place: _Place, row: Int, tile: Int, pixel: tuple[Int, Int, Int, Int]) -> None:
        """Prefetches a tile's share of what a pixel needs: its scalars of x and one line of dy.

        The first tile of a block would wait for all of it. 3x3/2, 64 to 128, 32 images of 32x32: from 209 to 267
        GFLOP/s on a Zen 5 core.
        """
        g, k, dy = self.g, self.kernel.k, self.anchor.inputs[1]
        inputs = self.kernel.region.body.inputs
        if self.depthwise or any(v not in inputs for v in self.anchor.inputs):
            return
        n, z, y, x = pixel
        k.prefetch(self._image(), (*self._line(place, n, z, y), self._element(place, row, x)))
        line = LINE // dy.dtype.itemsize
        column = place.group * self.columns + place.panel * self.width + tile * line % self.width
        k.prefetch(self.kernel.input(inputs.index(dy)), (n, *g.outer((z, y, x)), column))

    def _line(self, place: _Place, n: Int, z: Int, y: Int) -> tuple[Int, Int, Int]:
        """The line of x under a run of taps."""
        g, tap = self.g, place.run // self._taps
        return (n, z * g.stride[0] + tap // g.kernel[1] * g.dilation[0],
                y * g.stride[1] + tap % g.kernel[1] * g.dilation[1])  # fmt: skip

    def _element(self, place: _Place, row: Int, x: Int) -> Int:
        """The place in its line of a row of the result."""
        g = self.g
        tap = place.run % self._taps * (g.dilation[2] * g.channels)
        return x * (g.stride[2] * g.channels) + tap + place.group * g.inner + row

    @property
    def _taps(self) -> int:
        """Runs in a line of x."""
        return self.g.kernel[2] if not self.depthwise and not self.g.runs() else 1

    def _image(self) -> Buffer:
        """x, or its padded copy, by lines."""
        if self.source is not None:
            return self.source
        g, i = self.g, self.kernel.region.body.inputs.index(self.anchor.inputs[0])
        return self.kernel.input(i, (g.batch, g.image[0], g.image[1], g.image[2] * g.channels))

    def _x(self, index: tuple[Int, ...], lanes: int, mask: Int | None) -> LoopValue:
        x = self.anchor.inputs[0]
        if self.source is None and x not in self.kernel.region.body.inputs:
            return self.kernel.fit(self.kernel.number(x), lanes)
        return self.kernel.widened(self.kernel.k.load(self._image(), index, lanes, mask=mask))

    def _store(self, place: _Place, row: Int, tile: Tile, sums: list[list[LoopValue]], partial: Temp | None) -> None:
        k = self.kernel.k
        ragged = not (self.length.is_const and self.length.const % tile.rows == 0)
        groups = 1 if self.depthwise else self.g.groups
        shape = (as_int(self.runs), self.length, as_int(groups), self.columns)
        if partial is None:
            to, lead = self.kernel.output(0, shape), ()
        else:
            blocks = self.kernel.dim(partial.type.shape[0])
            to, lead = self.kernel.temp(partial, mode="w", shape=(blocks, *shape)), (place.block,)

        def stored(r: int) -> None:
            for start, value in zip(tile.starts, sums[r], strict=True):
                index = (*lead, place.run, row + r, place.group, place.panel * self.width + start)
                k.store(to, index, k.cast(value, to.dtype), mask=place.mask(start, value.lanes))

        for r in range(tile.rows):
            if ragged and r:
                with k.when(k.cmp("lt", row + r, self.length)):
                    stored(r)
            else:
                stored(r)


@dataclass(frozen=True)
class _Place:
    """Which part of the result an iteration makes. rest: columns of the last panel, None for a whole one."""

    block: Int
    group: Int
    run: Int
    segment: Int
    panel: Int
    rest: Int | None

    def mask(self, start: int, lanes: int) -> Int | None:
        """How many lanes of a vector of columns are there; None for all."""
        if self.rest is None or (self.rest.is_const and self.rest.const - start >= lanes):
            return None
        return self.rest - start


@contextmanager
def _loop_over(sums: _Sums, name: str, count: Int) -> Iterator[Int]:
    if count.is_const and count.const == 1:
        yield as_int(0)
        return
    with sums.kernel.k.loop(name, 0, count) as i:
        yield i


def _added_up(region: Region, target: Target, anchor: Value, partial: Temp) -> KernelCall:
    """The sum over the blocks of images, in their order."""
    kernel = Kernel(region, target, "weight_grad_sum")
    k = kernel.k
    *lead, columns = kernel.dims(anchor.tensor.shape)
    rows = math.prod(lead, start=as_int(1))
    blocks = kernel.dim(partial.type.shape[0])
    source = kernel.temp(partial, mode="r", shape=(blocks, rows, columns))
    to = kernel.output(0, (rows, columns))
    with spread_loop(k, (rows,)) as (row,), k.loop("c", 0, ceil_div(columns, LANES)) as c:
        left = columns - c * LANES
        total = k.reg(k.const(0, source.dtype, LANES))
        with k.loop("b", 0, blocks) as b:
            k.set(total, k.add(k.get(total), k.load(source, (b, row, c * LANES), LANES, mask=left)))
        k.store(to, (row, c * LANES), k.cast(k.get(total), to.dtype), mask=left)
    return kernel.built("blocks of images added up")
