"""A depthwise convolution between two 1x1 convolutions, row by row: the wide image between them stays in the caches.

For each row of the result: the rows of the wide image that its windows reach and that are not there yet (`expand`, a
product of pixels) go into a ring of RING rows; the depthwise convolution makes one row of them; its pixels times the
second weight (`project`) are a row of the result. A parallel iteration makes some rows of one image, and makes again
the few rows of the wide image that the iteration before had. Without a first product the windows read x in place.

Where sizes are named, a call gives rows and columns of an iteration: the ring has room for a stretch of columns, with
zeros where windows reach beyond the image.

Sums are those of the three kernels alone, in the same order. Measured on one Zen 5 core: MobileNetV2 at batch 8 takes
23.5 instead of 29.1 ms, at batch 1 2.84 instead of 2.92; the same for maps of 28 and fewer gains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from chainrule.backends.llvm.kernels.conv_channels import UNKNOWN_ROW, ChannelRow, ChannelRows, most_pixels
from chainrule.backends.llvm.kernels.conv_shape import Geometry, Number, geometry
from chainrule.backends.llvm.kernels.conv_winograd_shape import even_part, parts
from chainrule.backends.llvm.kernels.matmul_tile import (
    BLOCK,
    Multiplier,
    Tile,
    balanced_rows,
    most_rows,
    rows_apart,
    split_lanes,
    vector_lanes,
)
from chainrule.backends.llvm.kernels.pack import spread_loop
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, ceil_div, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.backends.loops.ints import IntLike
from chainrule.ir.dims import dim_max
from chainrule.ir.graph import Value
from chainrule.ir.types import f32, i64
from chainrule.ops.lowered import ChannelConv, PanelMatMul
from chainrule.passes.choose_conv import typical

RING = 4  # rows of the wide image that are kept: a window's three, and a power of two
BLOCKS = 4  # parallel iterations of one image
WIDE_BYTES = 1024 * 1024  # of the wide image: a smaller one stays in the second-level cache between three kernels
SCRATCH_BYTES = 224 * 1024  # for the ring and a filtered row
NONE = as_int(0)
LEAST_COLUMNS = 16  # of the result in a stretch: each makes a few wide pixels again

Get = Callable[[Int, Int], LoopValue]  # (pixel of the row, step of the depth) -> a scalar
Put = Callable[[Int, Int, LoopValue, Int | None], None]  # (pixel, first channel, values, how many of them)


def takes_block(expand: Value | None, conv: Value, project: Value) -> bool:
    """True for blocks that this kernel computes faster than three: images of f32 whose wide form is large."""
    op, wide = conv.op, conv.inputs[0]
    assert isinstance(op, ChannelConv) and isinstance(project.op, PanelMatMul)
    parts = [part for part in (expand, conv, project) if part is not None]
    sizes = (*wide.shape[1:], *conv.shape[1:])
    if any(n == 0 for n in sizes) or not isinstance(wide.shape[-1], int):
        return False
    if any(part.dtype != f32 or part.rank != 4 for part in parts):
        return False
    if any(n != 1 for n in (*op.dilation, *op.spread)) or op.kernel[0] > RING - 1 or op.stride[0] > 2:
        return False
    if any(isinstance(part.op, PanelMatMul) and part.op.transpose_a for part in parts):
        return False
    depths = [part.inputs[0].shape[-1] for part in parts if isinstance(part.op, PanelMatMul)]
    if not all(isinstance(n, int) and n <= BLOCK for n in depths):
        return False
    if 4 * typical(wide.shape[1]) * typical(wide.shape[2]) * wide.shape[-1] < WIDE_BYTES:
        return False
    most, across = _most_columns(expand, conv), conv.shape[2]
    return most >= (across if isinstance(across, int) else LEAST_COLUMNS)


def _most_columns(expand: Value | None, conv: Value) -> int:
    """Columns of the result for which there is room."""
    op, channels = conv.op, conv.inputs[0].shape[-1]
    assert isinstance(op, ChannelConv) and isinstance(channels, int)
    pixels, step = SCRATCH_BYTES // (4 * channels), op.stride[-1]
    if expand is None:
        return pixels
    across = conv.inputs[0].shape[2]
    if isinstance(across, int):
        return pixels - RING * across
    return (pixels - RING * (op.kernel[-1] - step)) // (1 + RING * step)


def is_block(region: Region) -> bool:
    """True for the region of a block."""
    kinds = {type(node.op) for node in region.body.nodes}
    return {ChannelConv, PanelMatMul} <= kinds


def conv_block(region: Region, target: Target) -> list[KernelCall]:
    """One kernel for the whole block."""
    conv = next(n for n in region.body.nodes if isinstance(n.op, ChannelConv))
    assert isinstance(conv.op, ChannelConv)
    behind = set(region.epilogue_of(conv))
    products = [n for n in region.body.nodes if isinstance(n.op, PanelMatMul)]
    project = next(n for n in products if n in behind)
    expand = next((n for n in products if n not in behind), None)
    kernel = Kernel(region, target, f"block_{region.name}"[:80])
    g = geometry(kernel, conv.op, kernel.dims(conv.inputs[0].tensor.shape), kernel.dims(conv.op.sizes))
    block = _Block(kernel, target, g, expand, conv, project)
    block.write()
    return [kernel.built(f"row by row, {'three' if expand else 'two'} convolutions")]


@dataclass
class _Block:
    """A block being written. expand, conv, project: the nodes that need loops. most: columns of the result in an
    iteration at most, 0 where the size of the image is known and all are; side, columns: those of this iteration. low,
    wide: the columns of the wide image that these are made of, shift: where the ring's rows hold the first."""

    kernel: Kernel
    target: Target
    g: Geometry
    expand: Value | None
    conv: Value
    project: Value
    most: int = field(init=False)
    side: Int = NONE
    low: Int = NONE
    shift: Int = NONE
    wide: Int = field(init=False)
    columns: Int = field(init=False)

    def __post_init__(self) -> None:
        k, g = self.kernel.k, self.g
        self.most = 0 if g.is_static else _most_columns(self.expand, self.conv)
        self.wide, self.columns = g.image[2], g.sizes[2]
        wide = as_int(self._reach(self.most)) if self.most else g.image[2]
        self.ring = None if self.expand is None else k.scratch("ring", f32, (RING, wide, g.channels))
        self.filtered = k.scratch("filtered", f32, (self.most or g.sizes[2], g.channels))
        inner = replace(g, image=(*g.image[:2], wide), pad=(*g.pad[:2], 0)) if self.most and self.expand else g
        most = most_pixels(g, self.target)
        rows = _Filter(self.kernel, self.conv, inner, f32, most, across=most if inner is not g else UNKNOWN_ROW)
        rows.ring, rows.filtered, rows.result = self.ring, self.filtered, self.project.inputs[0]
        self.rows = rows

    @property
    def k(self) -> Builder:
        return self.kernel.k

    def _reach(self, columns: Number) -> Number:
        """Columns of the wide image, and of what lies around it, that so many of the result are made of."""
        return (columns - 1) * self.g.stride[2] + self.g.kernel[2]

    def write(self) -> None:
        """The parallel loop over stretches of rows, and the rows of each."""
        k, g = self.k, self.g
        self._count()
        high, across = self.conv.shape[1:3]
        rows = even_part(high, dim_max(1, parts(high, BLOCKS)))
        columns = even_part(across, self.most) if self.most else across
        count, blocks = self.kernel.size(rows, "rows"), self.kernel.size(parts(high, rows), "blocks")
        with spread_loop(k, (g.batch, blocks, self.kernel.size(parts(across, columns), "segments"))) as (n, block, at):
            first = block * count
            self._begin(at * self.kernel.size(columns, "columns"), self.kernel.size(columns, "columns"))
            with k.loop("y", first, imin(first + count, g.sizes[1])) as y:
                if self.expand is not None:
                    top = y * g.stride[1] - g.pad[1]
                    fresh = top + imin(y - first, 1) * (g.kernel[1] - g.stride[1])  # those above are in the ring
                    with k.loop("h", imax(0, fresh), imin(top + g.kernel[1], g.image[1])) as h:
                        self._expand_row(self.expand, n, h)
                self.rows.channels(n, as_int(0), y)
                self._project_row(n, y)

    def _begin(self, side: Int, columns: Int) -> None:
        """Takes up a stretch of columns: zeros go to where the ring's rows lie outside of the wide image.

        What it holds is data to the verifier, and to the code generator, which would compute it in every inner loop.
        """
        if not self.most:
            return
        k, g = self.k, self.g
        image, left = g.image[2], side * g.stride[2] - g.pad[2]
        self.side, self.columns = side, self._number(imin(columns, g.sizes[2] - side), self.most)
        self.rows.first = side
        if self.ring is None:
            self.rows.span = (side, side + self.columns)
            return
        reach = self._reach(self.columns)
        self.rows.g = replace(self.rows.g, sizes=(*g.sizes[:2], self.columns))
        self.low, self.shift = self._number(imax(0, left), image), self._number(imax(0, 0 - left), g.pad[2])
        self.wide = self._number(imin(image, left + reach) - self.low, self._reach(self.most))
        lanes = vector_lanes(f32)
        for start, stop in ((as_int(0), self.shift), (self.shift + self.wide, reach)):
            with k.loop("r", 0, RING) as r, k.loop("x", start, stop) as x, k.loop("c", 0, g.channels, lanes) as c:
                k.store(self.ring, (r, x, c), k.const(0, f32, lanes), mask=imin(g.channels - c, lanes))

    def _number(self, value: Int, most: IntLike) -> Int:
        """A number from 0 to `most` that an iteration computes once."""
        return self.k.index(self.k.value(value, i64), 0, most + 1)

    def _count(self) -> None:
        """The estimate of the work."""
        g = self.g
        pixels = g.batch * math.prod(g.sizes)
        outs = self.kernel.dim(self.project.shape[-1])
        work = pixels * g.channels * (math.prod(g.kernel) + outs)
        if self.expand is not None:
            work = work + g.batch * math.prod(g.image) * g.channels * self.kernel.dim(self.expand.inputs[0].shape[-1])
        self.k.flops = 2 * work

    def _expand_row(self, expand: Value, n: Int, h: Int) -> None:
        """A row of the wide image, into its place in the ring."""
        wide, ring, low = self.conv.inputs[0], self.ring, self.low
        assert ring is not None

        def get(x: Int, step: Int) -> LoopValue:
            return self.kernel.read(expand.inputs[0], (n, h, low + x, step))

        def put(x: Int, c: Int, value: LoopValue, mask: Int | None) -> None:
            done = self.kernel.read(wide, (n, h, low + x, c), value.lanes, mask, {expand: value})
            self.k.store(ring, (h % RING, self.shift + x, c), self.kernel.fit(done, value.lanes), mask=mask)

        self._product(expand, self.wide, get, put)

    def _project_row(self, n: Int, y: Int) -> None:
        """A row of the result."""

        def get(x: Int, step: Int) -> LoopValue:
            return self.k.load(self.filtered, (x, step))

        def put(x: Int, c: Int, value: LoopValue, mask: Int | None) -> None:
            self.kernel.write((n, y, self.side + x, c), {self.project: value}, value.lanes, mask)

        self._product(self.project, self.columns, get, put)

    def _product(self, node: Value, count: Int, get: Get, put: Put) -> None:
        """Pixels of a row times panels; the last tile of pixels lies over the one before."""
        k, panels = self.k, node.inputs[1]
        outs, width = self.kernel.dim(node.shape[-1]).const, int(panels.shape[-1])  # type: ignore[arg-type]
        depth = self.kernel.dim(node.inputs[0].shape[-1])
        most = most_rows(self.target, split_lanes(width, f32), f32, rows_apart(depth * f32.itemsize))
        rows = balanced_rows(count.const, most) if count.is_const else most

        def tiles(panel: Int, lanes: tuple[int, ...], rest: int | None) -> None:
            def tile(rows: int, first: Int) -> None:
                made = Tile(f32, rows, lanes)
                sums = Multiplier(k, made).summed(as_int(0), depth, lambda r, step: get(first + r, step), right)
                for r, row in enumerate(sums):
                    for start, register in zip(made.starts, row, strict=True):
                        value = k.get(register)
                        left = None if rest is None or rest - start >= value.lanes else as_int(rest - start)
                        put(first + r, panel * width + start, value, left)

            def right(step: Int, start: int, n: int) -> LoopValue:
                return self.kernel.fit(self.kernel.read(panels, (panel, step, start), n), n)

            _cover(k, count, rows, tile)

        if outs // width:
            with k.loop("p", 0, outs // width) as panel:
                tiles(panel, split_lanes(width, f32), None)
        if outs % width:
            tiles(as_int(outs // width), split_lanes(outs % width, f32), outs % width)


def _cover(k: Builder, count: Int, rows: int, tile: Callable[[int, Int], None]) -> None:
    """tile(rows, first) for all of `count` pixels; the last lies over the one before. Where their number is not known,
    it has half the rows if these suffice, and fewer pixels than a tile has rows go one by one."""
    if count.is_const:
        with k.loop("i", 0, ceil_div(count, rows)) as i:
            tile(rows, imin(i * rows, count - rows))
        return
    half = -(-rows // 2)
    whole = (count + (rows - 1 - half)) // rows
    with k.when(k.cmp("ge", count, rows)):
        with k.loop("i", 0, whole) as i:
            tile(rows, imin(i * rows, count - rows))
        with k.when(k.cmp("gt", count, whole * rows)):
            tile(half, count - half)
    with k.otherwise(), k.loop("i", 0, count) as i:
        tile(1, i)


class _Filter(ChannelRows):
    """The depthwise part: reads rows of the ring (or x in place), and leaves its own row in `filtered`.

    first: the column of the result that `filtered` begins with. Columns are counted from there where rows of the ring
    hold a part of the wide image's.
    """

    ring: Buffer | None
    filtered: Buffer
    result: Value
    first: Int = NONE

    def pixel(self, spot: ChannelRow, place: Sequence[Int], x: Int) -> LoopValue:
        if self.ring is None:
            return super().pixel(spot, place, x)
        return self.kernel.k.load(self.ring, (place[1] % RING, x, spot.channel), spot.lanes, mask=spot.mask)

    def put(self, spot: ChannelRow, x: Int, value: LoopValue) -> None:
        at, column = (x - self.first, x) if self.ring is None else (x, x + self.first)
        index = (spot.n, *self.g.outer((spot.z, spot.y, column)), spot.channel)
        done = self.kernel.read(self.result, index, spot.lanes, spot.mask, {self.anchor: value})
        self.kernel.k.store(self.filtered, (at, spot.channel), self.kernel.fit(done, spot.lanes), mask=spot.mask)
