"""The products of a Winograd convolution: for every matrix, transformed tiles times transformed weights.

A panel of a matrix's weights is read for all rows of tiles before the next. The next one is asked for while this one is
used: a panel is too short for the processor to see that it goes on elsewhere (measured on 256@28: 1464 -> 1105 us, on
128@28 421 -> 319). Sums of more than matmul_tile.BLOCK steps go by blocks, as in all products.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from chainrule.backends.llvm.kernels.conv_winograd_shape import Tiling
from chainrule.backends.llvm.kernels.matmul_tile import (
    BLOCK,
    Multiplier,
    Tile,
    balanced_rows,
    most_rows,
    split_lanes,
)
from chainrule.backends.llvm.kernels.pack import spread_loop
from chainrule.backends.llvm.kernels.region import Kernel
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, ceil_div, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.graph import Value

GROUP = 8  # row tiles whose sums wait for the next block of depth


@dataclass(frozen=True)
class Place:
    """Where products go: the first row and column of the matrices."""

    row: Int
    column: Int


@dataclass
class Products:
    """left: [matrices, places, row], right: [matrices, tiles, out_row]. tiles: rows of a call, None if not known; part:
    what they are a multiple of then, as with any number of images, or 0. spare: a call has at most so many, and both
    matrices have room for a whole number of register tiles."""

    kernel: Kernel
    anchor: Value
    t: Tiling
    target: Target
    left: Buffer
    right: Buffer
    tiles: int | None = None
    part: int = 0
    by_blocks: bool = True
    spare: bool = False
    made: dict[int, Multiplier] = field(default_factory=dict)

    @property
    def k(self) -> Builder:
        return self.kernel.k

    @property
    def text(self) -> str:
        """The register tile, for people."""
        return f"tile {self.rows}x{self.t.width}"

    @property
    def rows(self) -> int:
        most = register_rows(self.t, self.target)
        if self.tiles is not None and not self.spare:
            return balanced_rows(self.tiles, most)
        return most if self.part < most else balanced_rows(self.part, most)

    @property
    def rest(self) -> int:
        """The most rows that whole register tiles leave over."""
        return self.rows - math.gcd(self.part, self.rows) if self.part else self.rows - 1

    def all_tiles(self) -> None:
        """A parallel loop over matrices and panels, each for the tiles of all images."""
        t, k = self.t, self.k
        self.by_blocks = False
        across = t.counts[1] * t.counts[2]
        if t.flat:
            count = t.batch * t.counts[0] * across
            self.tiles = count.const if count.is_const else None
            image = t.counts[0] * across
            self.part = image.const if image.is_const else 0
            with spread_loop(k, (as_int(t.matrices), as_int(t.panels))) as (matrix, panel):
                self.write(matrix, panel, as_int(0), Place(as_int(0), panel * t.width), count)
            return
        self.tiles = across.const if across.is_const else None
        with (spread_loop(k, (as_int(t.matrices), as_int(t.panels))) as (matrix, panel), k.loop("n", 0, t.batch) as n,
              k.loop("z", 0, t.counts[0]) as z):  # fmt: skip
            low = imax(0, t.pad[0] - z)
            high = imin(t.kernel[0], t.image[0] + t.pad[0] - z)
            source = (n * t.image[0] + z - t.pad[0]) * across
            target = Place((n * t.counts[0] + z) * across, panel * t.width)
            self.write(matrix, panel, source, target, across, (low, high, across))

    def write(self, matrix: Int, panel: Int, source: Int, target: Place, count: Int,
              taps: tuple[Int, Int, Int] | None = None) -> None:  # fmt: skip
        """`count` tiles from row `source` on times one panel.

        taps: the range of the untransformed axis' taps, and the rows from one tap to the next.
        """
        part = _Part(self, matrix, panel, source, target, count, taps)
        rows = self.rows
        if count.is_const:
            part.sweep(rows, as_int(0), as_int(count.const // rows))
            if count.const % rows:
                part.sweep(count.const % rows, as_int(count.const // rows * rows), as_int(1))
            return
        half = -(-rows // 2)
        if self.spare:
            whole = (count + (rows - 1 - half)) // rows
            part.sweep(rows, as_int(0), whole)
            with self.k.when(self.k.cmp("gt", count, whole * rows)):
                part.sweep(half, whole * rows, as_int(1))
            return
        whole = count // rows
        part.sweep(rows, as_int(0), whole)
        if self.rest:
            part.rest(min(half, self.rest), whole * rows, 0)
        if self.rest > half:
            part.rest(self.rest, whole * rows, half)

    def multiplier(self, rows: int) -> Multiplier:
        """One for each height of tile, as its waiting sums are on the stack."""
        if rows not in self.made:
            tile = Tile(self.t.dtype, rows, split_lanes(self.t.width, self.t.dtype))
            self.made[rows] = Multiplier(self.k, tile, GROUP)
        return self.made[rows]


@dataclass(frozen=True)
class _Part:
    """The tiles of one call of Products.write."""

    products: Products
    matrix: Int
    panel: Int
    source: Int
    target: Place
    count: Int
    taps: tuple[Int, Int, Int] | None

    def rest(self, rows: int, first: Int, beyond: int) -> None:
        """A register tile of the rows from `first` on, where there are more than `beyond` and no more than `rows`."""
        k, left = self.products.k, self.count - first
        with k.when(k.and_(k.cmp("gt", left, beyond), k.cmp("le", left, rows))):
            self.sweep(rows, first, as_int(1), True)

    def sweep(self, rows: int, first: Int, count: Int, ragged: bool = False) -> None:
        """`count` register tiles from row `first` on; ragged: rows beyond the last are not there."""
        if count.is_const and count.const == 0:
            return
        k, t = self.products.k, self.products.t
        multiplier = self.products.multiplier(rows)
        if t.kernel[0] * t.channels <= BLOCK:
            with k.loop("i", 0, count) as i:
                k.forget()
                sums = multiplier.zeros()
                with self._taps() as (shift, tap):
                    self._accumulate(multiplier, sums, first + i * rows, ragged, shift, tap, (as_int(0), t.channels))
                self._store(first + i * rows, ragged, [[k.get(r) for r in row] for row in sums])
            return
        chunks = -(-t.channels // BLOCK)
        size = -(-t.channels // chunks)
        with k.loop("g", 0, ceil_div(count, GROUP)) as group:
            tiles = imin(GROUP, count - group * GROUP)
            base = first + group * (GROUP * rows)
            multiplier.clear(tiles)
            with self._taps() as (shift, tap), k.loop("kc", 0, chunks) as chunk, k.loop("i", 0, tiles) as i:
                sums = multiplier.zeros()
                span = chunk * size, imin(chunk * size + size, t.channels)
                self._accumulate(multiplier, sums, base + i * rows, ragged, shift, tap, span)
                multiplier.collect(i, sums)
            with k.loop("i", 0, tiles) as i:
                self._store(base + i * rows, ragged, multiplier.collected(i))

    @contextmanager
    def _taps(self) -> Iterator[tuple[Int, Int]]:
        """(rows to go on in the tiles, row of the panel) of each tap of the axis that is not transformed."""
        if self.taps is None:
            yield as_int(0), as_int(0)
            return
        low, high, pitch = self.taps
        with self.products.k.loop("tap", low, high) as tap:
            yield tap * pitch, tap * self.products.t.channels

    def _accumulate(self, multiplier: Multiplier, sums: Sequence[Sequence[object]], row: Int, ragged: bool, shift: Int,
                    tap: Int, span: tuple[Int, Int | int]) -> None:  # fmt: skip
        """The steps of a range of channels."""
        own, k = self.products, self.products.k
        last = self.count - 1
        places = [self.source + shift + (imin(row + r, last) if ragged and r else row + r)
                  for r in range(multiplier.tile.rows)]  # fmt: skip
        panels = own.anchor.inputs[1]

        def left(r: int, step: Int) -> LoopValue:
            return k.load(own.left, (self.matrix, places[r], step))

        def right(step: Int, start: int, lanes: int) -> LoopValue:
            index = (self.matrix, self.panel, tap + step, start)
            return own.kernel.fit(own.kernel.read(panels, index, lanes), lanes)

        with k.loop("k", *span) as step:
            self._prefetch(tap + step)
            multiplier.step(sums, step, left, right)  # type: ignore[arg-type]

    def _prefetch(self, row: Int) -> None:
        """Asks for the row of the next panel that this step's is of this one: of the next matrix, block by block."""
        own = self.products
        buffer = own.kernel.input(own.kernel.region.body.inputs.index(own.anchor.inputs[1]))
        line = 64 // own.t.dtype.itemsize
        after = (self.matrix + 1, self.panel) if own.by_blocks else (self.matrix, self.panel + 1)
        for start in range(0, own.t.width, line):
            own.k.prefetch(buffer, (*after, row, start))

    def _store(self, row: Int, ragged: bool, sums: Sequence[Sequence[LoopValue]]) -> None:
        own = self.products
        k = own.k
        starts = own.multiplier(len(sums)).tile.starts
        for r, values in enumerate(sums):
            def put(r: int = r, values: Sequence[LoopValue] = values) -> None:
                for start, value in zip(starts, values, strict=True):
                    k.store(own.right, (self.matrix, self.target.row + row + r, self.target.column + start), value)

            if ragged and r:
                with k.when(k.cmp("lt", row + r, self.count)):
                    put()
            else:
                put()


def register_rows(t: Tiling, target: Target) -> int:
    """The most rows of a register tile."""
    return most_rows(target, split_lanes(t.width, t.dtype), t.dtype)
