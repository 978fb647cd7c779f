"""The first step of a Winograd convolution: blocks of tiles of pixels, transformed, as rows of the matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from chainrule.backends.llvm.kernels.conv_winograd_shape import Plan, Tiling, reach
from chainrule.backends.llvm.kernels.region import Kernel
from chainrule.backends.llvm.kernels.winograd_lines import from_inputs
from chainrule.backends.loops import Buffer, Builder, Int, as_int, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.graph import Input, Value
from chainrule.ops.toom_cook import short_convolution


@dataclass(frozen=True)
class Area:
    """A block of tiles of a plane of an image. rows, columns: how many there are; start: the matrices' row of the
    first, pitch: rows from one row of tiles to the next."""

    batch: Int
    plane: Int
    top: Int
    side: Int
    rows: Int
    columns: Int
    start: Int
    pitch: Int

    def row(self, cut: Plan, y: Int, x: Int) -> Int:
        """The matrices' row of a tile; a block's own hold no more than its most tiles."""
        row = self.start + y * self.pitch + x
        return imin(row, cut.most - 1) if cut.is_named and self.start == 0 else row


def area_of(kernel: Kernel, t: Tiling, cut: Plan, place: Sequence[Int], start: Int | None) -> Area:
    """The block at a place of the grid. start: of its rows in the matrices; None where these hold all tiles."""
    batch, plane, block, segment = place
    planes, high, wide = t.counts
    most_rows, most_columns = cut.block(kernel)
    top, side = block * most_rows, segment * most_columns
    rows, columns = _left(high, top, most_rows), _left(wide, side, most_columns)
    if start is not None:
        pitch = imax(0, columns) if cut.is_named else most_columns
        return Area(batch, plane, top, side, rows, columns, start, pitch)
    return Area(batch, plane, top, side, rows, columns, ((batch * planes + plane) * high + top) * wide + side, wide)


def _left(count: Int, first: Int, most: Int) -> Int:
    if count.is_const and most.is_const and count.const % most.const == 0:
        return most
    return imin(most, count - first)


@dataclass
class Inputs:
    """The transform of pixels. matrices: [products, tiles, row], where it goes."""

    kernel: Kernel
    anchor: Value
    t: Tiling
    cut: Plan
    matrices: Buffer
    strip: Buffer = field(init=False)
    patch: Buffer = field(init=False)

    def __post_init__(self) -> None:
        t, k = self.t, self.kernel.k
        self.strip = k.scratch("strip", t.dtype, (self.cut.pixels, t.lanes))
        self.patch = k.scratch("patch", t.dtype, (t.products[1], t.products[2] * t.lanes))

    def write(self, area: Area, first: Int, count: Int) -> None:
        """The tiles of a block, `count` vectors of channels from `first` on."""
        k = self.kernel.k
        with loop(k, "c", count) as c:
            vector = first + c
            self._fill(area, vector)
            with loop(k, "ty", area.rows) as y, loop(k, "tx", area.columns) as x:
                self._tile(y, x, area.row(self.cut, y, x), vector * self.t.lanes)

    def _fill(self, area: Area, vector: Int) -> None:
        """Copies the pixels under a block to the strip, with zeros around the image."""
        t, k = self.t, self.kernel.k
        top, side = area.top * t.tile[1] - t.pad[1], area.side * t.tile[2] - t.pad[2]
        used, room = area.rows * t.tile[1] + t.kernel[1] - 1, self._room()
        left = imin(imax(0, 0 - side), room)
        start = imax(0, side)
        count = imin(t.image[2] - start, room - left)
        with k.loop("sy", 0, used) as y:
            source = top + y
            with k.when(k.and_(k.cmp("ge", source, 0), k.cmp("lt", source, t.image[1]))):
                self._zeros(y, as_int(0), left)
                with k.loop("px", 0, count) as x:
                    pixel = (area.batch, *t.outer((area.plane, source, start + x)))
                    self._ask_below(pixel, vector)
                    k.store(self.strip, self._spot(y, left + x), self._read(pixel, vector))
                self._zeros(y, left + imax(0, count), room)
            with k.otherwise():
                self._zeros(y, as_int(0), room)

    def _room(self) -> Int:
        """Pixels of a row of the strip."""
        return self.cut.block(self.kernel)[1] * self.t.tile[2] + self.t.kernel[2] - 1

    def _spot(self, y: Int, x: Int) -> tuple[Int, Int]:
        """The place of a pixel in the strip. Rows of a length that a call chooses are held within it for the verifier,
        which cannot know that a block of many columns has few rows."""
        begin, last = y * self._room(), self.cut.pixels - reach(self.t, 1, self.cut.wide)[1]
        return (imin(begin, last) if self.cut.is_named else begin) + x, as_int(0)

    def _ask_below(self, pixel: Sequence[Int], vector: Int) -> None:
        """Asks for the pixel that the block of tiles below reads here: vectors of channels lie too far apart for the
        processor to see the pattern. Measured: 64@224 9646 -> 8260 us, 128@112 5492 -> 5145, 64@56 310 -> 303."""
        x = self.anchor.inputs[0]
        if self.t.rank > 1 and isinstance(x.op, Input):
            buffer = self.kernel.input(self.kernel.region.body.inputs.index(x))
            *before, row, column = pixel
            below = row + self.cut.block(self.kernel)[0] * self.t.tile[1]
            self.kernel.k.prefetch(buffer, (*before, below, column, vector * self.t.lanes))

    def _zeros(self, y: Int, start: Int, stop: Int) -> None:
        k, t = self.kernel.k, self.t
        if start.is_const and stop.is_const and start.const >= stop.const:
            return
        with k.loop("z", start, stop) as x:
            k.store(self.strip, self._spot(y, x), k.const(0, t.dtype, t.lanes))

    def _read(self, pixel: Sequence[Int], vector: Int) -> LoopValue:
        """A vector of a pixel's channels, zeros behind the last."""
        t, kernel, k = self.t, self.kernel, self.kernel.k
        x = self.anchor.inputs[0]
        mask = None if t.channels % t.lanes == 0 else t.channels - vector * t.lanes
        found = kernel.read(x, (*pixel, vector * t.lanes), t.lanes, mask) if isinstance(x.op, Input) else (
            kernel.number(x))  # fmt: skip
        # One number for all channels: what it adds behind the last meets weights of zero, or is not read.
        return k.cast(kernel.fit(found, t.lanes), t.dtype)

    def _tile(self, y: Int, x: Int, row: Int, column: Int) -> None:
        """Transforms one tile along its rows, then along its columns."""
        t, k, lanes = self.t, self.kernel.k, self.t.lanes
        high, wide = t.products[1:]
        across = short_convolution(t.tile[2], t.kernel[2]).inputs

        def line(source: Int) -> list[LoopValue]:
            pixels = [k.load(self.strip, self._spot(source, x * t.tile[2] + j), lanes) for j in range(wide)]
            return from_inputs(k, across, pixels)

        if high == 1:
            for j, value in enumerate(line(y)):
                k.store(self.matrices, (j, row, column), value)
            return
        with k.loop("r", 0, high) as r:
            for j, value in enumerate(line(y * t.tile[1] + r)):
                k.store(self.patch, (r, j * lanes), value)
        down = short_convolution(t.tile[1], t.kernel[1]).inputs
        with k.loop("j", 0, wide) as j:
            values = [k.load(self.patch, (i, j * lanes), lanes) for i in range(high)]
            for i, value in enumerate(from_inputs(k, down, values)):
                k.store(self.matrices, (j + i * wide, row, column), value)


@contextmanager
def loop(k: Builder, name: str, count: Int) -> Iterator[Int]:
    """A loop, or just its body where it runs once."""
    if count.is_const and count.const == 1:
        yield as_int(0)
        return
    with k.loop(name, 0, count) as i:
        yield i
