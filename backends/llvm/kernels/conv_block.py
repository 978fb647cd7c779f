"""A depthwise convolution between two 1x1 convolutions, row by row: the wide image between them stays in the caches.

For each row of the result: the rows of the wide image that its windows reach and that are not there yet (`expand`, a
product of pixels) go into a ring of RING rows; the depthwise convolution makes one row of them; its pixels times the
second weight (`project`) are a row of the result. A parallel iteration makes some rows of one image, and makes again
the few rows of the wide image that the iteration before had. Without a first product the windows read x in place.

Sums are those of the three kernels alone, in the same order. Measured on one Zen 5 core: MobileNetV2 at batch 8 takes
23.5 instead of 29.1 ms, at batch 1 2.84 instead of 2.92; the same for maps of 28 and fewer gains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chainrule.backends.llvm.kernels.conv_channels import ChannelRow, ChannelRows, most_pixels
from chainrule.backends.llvm.kernels.conv_shape import Geometry, geometry
from chainrule.backends.llvm.kernels.matmul_tile import (
    BLOCK,
    Multiplier,
    Tile,
    balanced_rows,
    most_rows,
    rows_apart,
    split_lanes,
)
from chainrule.backends.llvm.kernels.pack import spread_loop
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, ceil_div, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.graph import Value
from chainrule.ir.types import f32
from chainrule.ops.lowered import ChannelConv, PanelMatMul

RING = 4  # rows of the wide image that are kept: a window's three, and a power of two
BLOCKS = 4  # parallel iterations of one image
WIDE_BYTES = 1024 * 1024  # of the wide image: a smaller one stays in the second-level cache between three kernels
SCRATCH_BYTES = 224 * 1024  # for the ring and a filtered row

Get = Callable[[Int, Int], LoopValue]  # (pixel of the row, step of the depth) -> a scalar
Put = Callable[[Int, Int, LoopValue, Int | None], None]  # (pixel, first channel, values, how many of them)


def takes_block(expand: Value | None, conv: Value, project: Value) -> bool:
    """True for blocks that this kernel computes faster than three: images of f32 whose wide form is large."""
    op, wide = conv.op, conv.inputs[0]
    assert isinstance(op, ChannelConv) and isinstance(project.op, PanelMatMul)
    parts = [part for part in (expand, conv, project) if part is not None]
    sizes = (*wide.shape[1:], *conv.shape[1:])
    if not all(isinstance(n, int) and n > 0 for n in sizes):
        return False
    if any(part.dtype != f32 or part.rank != 4 for part in parts):
        return False
    if any(n != 1 for n in (*op.dilation, *op.spread)) or op.kernel[0] > RING - 1 or op.stride[0] > 2:
        return False
    if any(isinstance(part.op, PanelMatMul) and part.op.transpose_a for part in parts):
        return False
    high, across, channels = (int(n) for n in wide.shape[1:])  # type: ignore[arg-type]
    depths = [part.inputs[0].shape[-1] for part in parts if isinstance(part.op, PanelMatMul)]
    if not all(isinstance(n, int) and n <= BLOCK for n in depths):
        return False
    kept = channels * 4 * (int(conv.shape[2]) + (RING * across if expand is not None else 0))  # type: ignore[arg-type]
    return 4 * high * across * channels >= WIDE_BYTES and kept <= SCRATCH_BYTES


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
    """A block being written. expand, conv, project: the nodes that need loops."""

    kernel: Kernel
    target: Target
    g: Geometry
    expand: Value | None
    conv: Value
    project: Value

    def __post_init__(self) -> None:
        k, g = self.kernel.k, self.g
        wide = (g.image[2], g.channels)
        self.ring = None if self.expand is None else k.scratch("ring", f32, (RING, *wide))
        self.filtered = k.scratch("filtered", f32, (g.sizes[2], g.channels))
        rows = _Filter(self.kernel, self.conv, g, f32, most_pixels(g, self.target))
        rows.ring, rows.filtered, rows.result = self.ring, self.filtered, self.project.inputs[0]
        self.rows = rows

    @property
    def k(self) -> Builder:
        return self.kernel.k

    def write(self) -> None:
        """The parallel loop over stretches of rows, and the rows of each."""
        k, g = self.k, self.g
        self._count()
        high = g.sizes[1].const
        count = -(-high // BLOCKS)
        with spread_loop(k, (g.batch, as_int(-(-high // count)))) as (n, block):
            first = block * count
            with k.loop("y", first, imin(first + count, high)) as y:
                if self.expand is not None:
                    top = y * g.stride[1] - g.pad[1]
                    fresh = top + imin(y - first, 1) * (g.kernel[1] - g.stride[1])  # those above are in the ring
                    with k.loop("h", imax(0, fresh), imin(top + g.kernel[1], g.image[1])) as h:
                        self._expand_row(self.expand, n, h)
                self.rows.channels(n, as_int(0), y)
                self._project_row(n, y)

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
        wide, ring = self.conv.inputs[0], self.ring
        assert ring is not None

        def get(x: Int, step: Int) -> LoopValue:
            return self.kernel.read(expand.inputs[0], (n, h, x, step))

        def put(x: Int, c: Int, value: LoopValue, mask: Int | None) -> None:
            done = self.kernel.read(wide, (n, h, x, c), value.lanes, mask, {expand: value})
            self.k.store(ring, (h % RING, x, c), self.kernel.fit(done, value.lanes), mask=mask)

        self._product(expand, self.g.image[2], get, put)

    def _project_row(self, n: Int, y: Int) -> None:
        """A row of the result."""

        def get(x: Int, step: Int) -> LoopValue:
            return self.k.load(self.filtered, (x, step))

        def put(x: Int, c: Int, value: LoopValue, mask: Int | None) -> None:
            self.kernel.write((n, y, x, c), {self.project: value}, value.lanes, mask)

        self._product(self.project, self.g.sizes[2], get, put)

    def _product(self, node: Value, count: Int, get: Get, put: Put) -> None:
        """Pixels of a row times panels; the last tile of pixels lies over the one before."""
        k, panels = self.k, node.inputs[1]
        outs, width = self.kernel.dim(node.shape[-1]).const, int(panels.shape[-1])  # type: ignore[arg-type]
        depth = self.kernel.dim(node.inputs[0].shape[-1])
        most = most_rows(self.target, split_lanes(width, f32), f32, rows_apart(depth * f32.itemsize))
        rows = balanced_rows(count.const, most)

        def tiles(panel: Int, lanes: tuple[int, ...], rest: int | None) -> None:
            tile = Tile(f32, rows, lanes)

            def right(step: Int, start: int, n: int) -> LoopValue:
                return self.kernel.fit(self.kernel.read(panels, (panel, step, start), n), n)

            with k.loop("i", 0, ceil_div(count, rows)) as i:
                first = imin(i * rows, count - rows)
                sums = Multiplier(k, tile).summed(as_int(0), depth, lambda r, step: get(first + r, step), right)
                for r, row in enumerate(sums):
                    for start, register in zip(tile.starts, row, strict=True):
                        value = k.get(register)
                        left = None if rest is None or rest - start >= value.lanes else as_int(rest - start)
                        put(first + r, panel * width + start, value, left)

        if outs // width:
            with k.loop("p", 0, outs // width) as panel:
                tiles(panel, split_lanes(width, f32), None)
        if outs % width:
            tiles(as_int(outs // width), split_lanes(outs % width, f32), outs % width)


class _Filter(ChannelRows):
    """The depthwise part: reads rows of the ring (or x in place), and leaves its own row in `filtered`."""

    ring: Buffer | None
    filtered: Buffer
    result: Value

    def pixel(self, spot: ChannelRow, place: Sequence[Int], x: Int) -> LoopValue:
        if self.ring is None:
            return super().pixel(spot, place, x)
        return self.kernel.k.load(self.ring, (place[1] % RING, x, spot.channel), spot.lanes, mask=spot.mask)

    def put(self, spot: ChannelRow, x: Int, value: LoopValue) -> None:
        index = (spot.n, *self.g.outer((spot.z, spot.y, x)), spot.channel)
        done = self.kernel.read(self.result, index, spot.lanes, spot.mask, {self.anchor: value})
        self.kernel.k.store(self.filtered, (x, spot.channel), self.kernel.fit(done, spot.lanes), mask=spot.mask)
