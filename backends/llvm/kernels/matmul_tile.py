"""The register tile that products and convolutions share: rows of scalars times vectors of columns, summed in depth.

One step of the depth loads the tile's columns of B once and multiplies them by one scalar of each row of A, into
rows x columns accumulators that never leave the registers. The tile is chosen so that accumulators, one row of B and
one broadcast fit the register file (target.gemm_tiles): then the loop runs at the multiplier's peak.

A depth beyond BLOCK is summed in blocks whose sums are added up in a scratch tile: a chain of n roundings errs by about
sqrt(n)/6 of a unit where all terms have one sign, and blocks keep that below the promised 16 units. Blocks depend on
the depth alone, so results are equal on every target and for every number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from chainrule.backends.llvm.target import Target, gemm_tiles
from chainrule.backends.loops import Buffer, Builder, Int, Reg, as_int, ceil_div
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.types import DType, bf16, i32, u8
from chainrule.ops.lowered import accumulated

BLOCK = 640  # steps of depth summed in one chain of roundings
MOST_ROWS = 28  # of a tile: one vector of sums each, and B and a broadcast beside them
WAYS, SET_BYTES = 8, 4096  # lines SET_BYTES apart share the WAYS places of one set of the first-level cache
LINE = 64  # bytes of a cache line
FAR_BYTES = 128 * 1024  # of panels that are not in the caches near the core when a program comes back to them
TOTALS_BYTES = 64 * 1024  # of sums that wait for the next block of depth
ROW_COST = 0.3  # of a tile that is not there: reading B and the loop cost a part that more rows share

Ask = Callable[[Int], None]  # (step of the block) -> prefetches

Left = Callable[[int, Int], LoopValue]  # (row of the tile, step of the depth) -> the scalar of A
Right = Callable[[Int, int, int], LoopValue]  # (step, first column within the tile, lanes) -> a vector of B


@dataclass(frozen=True)
class Tile:
    """rows x the vectors' lanes. dtype: of the sums."""

    dtype: DType
    rows: int
    lanes: tuple[int, ...]

    @property
    def starts(self) -> tuple[int, ...]:
        """The first column of each vector."""
        return tuple(sum(self.lanes[:i]) for i in range(len(self.lanes)))

    @property
    def columns(self) -> int:
        return sum(self.lanes)


def vector_lanes(dtype: DType) -> int:
    """Lanes of the widest vector of sums: 64 bytes, one register with AVX-512 and two with AVX2."""
    return 64 // accumulated(dtype).itemsize


def widest_panel(target: Target, dtype: DType) -> int:
    """Columns of the widest panel for an element type."""
    return gemm_tiles(target)[0][1] * 4 // accumulated(dtype).itemsize


def split_lanes(columns: int, dtype: DType) -> tuple[int, ...]:
    """Vectors that hold so many columns: whole ones, and one of half the lanes where that is enough for the rest."""
    full = vector_lanes(dtype)
    whole, rest = divmod(columns, full)
    if rest == 0:
        return (full,) * whole
    return (full,) * whole + ((full // 2) if rest <= full // 2 else full,)


def most_rows(target: Target, lanes: Sequence[int], dtype: DType, limit: int = 8) -> int:
    """The most rows whose accumulators fit the registers next to one row of B and one broadcast."""
    bits = accumulated(dtype).bits
    registers = sum(max(1, n * bits // target.vector_bits) for n in lanes)
    return max(1, min(limit, (target.vector_registers - 1 - registers) // registers))


def most_grouped_rows(target: Target, lanes: Sequence[int], dtype: DType, group: int, limit: int = 8) -> int:
    """The most rows of a tile whose steps take `group` numbers: without an instruction for that, B and the broadcast
    take two registers instead of one, and a product one more. dtype: of the sums."""
    if group == 1 or (target.multiplies_pairs if dtype.is_float else target.multiplies_bytes):
        return most_rows(target, lanes, dtype, limit)
    registers = sum(max(1, n * 32 // target.vector_bits) for n in lanes)
    return max(1, min(limit, (target.vector_registers - 3 - 2 * registers) // registers))


def rows_apart(stride: Int) -> int:
    """The most rows of a tile whose scalars, so many bytes apart, do not drive each other out of an 8-way L1 cache.

    Measured at 4 KB: 14x32 falls to three quarters of the speed of 7x32.
    """
    if not stride.is_const:
        return WAYS
    return min(MOST_ROWS, WAYS * (SET_BYTES // math.gcd(SET_BYTES, max(1, stride.const))))


def balanced_rows(total: int, most: int) -> int:
    """Rows per tile, at most `most`, that cost the least: few beyond the end, and few tiles."""
    if total <= most:
        return max(1, total)
    return min(range(max(1, (most + 1) // 2), most + 1), key=lambda r: -(-total // r) * (r + ROW_COST))


def ahead(k: Builder, panels: Buffer, place: Sequence[Int], size: Int, tile: Int, tiles: int) -> Ask:
    """Prefetches the block of panels at `place`, shared out over the tiles of the block in use.

    place: the index of the block's first row; size: its rows, as many as the tiles' steps. The tile that is first to
    use a block would wait for nearly all of it: a step asks for 64 bytes in fewer cycles than memory delivers them in.
    All tiles of the block before have time enough: half a line a step where there are many, else one or more. Measured
    in ResNet-50, where all weights come from memory: 1x1 at 7x7 from 74 to 92 % of peak, at 14x14 from 88 to 96.
    """
    width, line = panels.shape[-1].const, LINE // panels.dtype.itemsize
    share = line // 2
    while share * tiles < width:
        share *= 2

    def ask(step: Int) -> None:
        start = (tile * size + step) * share  # beyond the row's end lies the next
        for offset in range(0, share, line):
            k.prefetch(panels, (*place, start + offset))

    return ask


def beside(k: Builder, arrays: Sequence[Buffer], at: Sequence[Int], column: Int, tile: Tile) -> list[tuple[int, Ask]]:
    """Prefetches what the epilogue of a tile reads beside the sums, a line of each array a step, and in how many steps.

    at: the index of the tile's first row. Its rows lie in as many pages, a few lines in each: nothing that a processor
    foresees, and all of it would be waited for at the end of the tile.
    """
    line = LINE // arrays[0].dtype.itemsize
    lines = tile.columns // line
    *lead, row = at

    def ask(array: Buffer, step: Int) -> None:
        k.prefetch(array, (*lead, row + step // lines, column + step % lines * line))

    return [(tile.rows * lines, partial(ask, array)) for array in arrays]


@dataclass(frozen=True)
class Depth:
    """The loops over the depth. count: its steps; most: of them in one block."""

    count: Int
    most: int = BLOCK

    def blocks(self) -> Int | None:
        """The number of blocks, None when one chain of sums takes it all."""
        if self.count.is_const and self.count.const <= self.most:
            return None
        return ceil_div(self.count, self.most)

    def block_size(self) -> Int:
        """Steps of a block: even parts where the depth is known."""
        if not self.count.is_const:
            return as_int(self.most)
        return as_int(-(-self.count.const // -(-self.count.const // self.most)))


@dataclass
class Multiplier:
    """Writes the sums of a tile into a kernel. tiles: how many tiles the totals hold, where the depth has blocks."""

    k: Builder
    tile: Tile
    tiles: int = 1
    _totals: Buffer | None = None

    def zeros(self) -> list[list[Reg]]:
        k, tile = self.k, self.tile
        return [[k.reg(k.const(0, tile.dtype, n)) for n in tile.lanes] for _ in range(tile.rows)]

    def step(self, sums: Sequence[Sequence[Reg]], at: Int, left: Left, right: Right) -> None:
        """One step of the depth."""
        tile = self.tile
        columns = [right(at, start, n) for start, n in zip(tile.starts, tile.lanes, strict=True)]
        for r in range(tile.rows):
            scalar = left(r, at)
            for register, column in zip(sums[r], columns, strict=True):
                self.add(register, scalar, column)

    def add(self, register: Reg, scalar: LoopValue, column: LoopValue) -> None:
        """One multiplication. Several narrow numbers in place of a scalar take as many of each column."""
        k = self.k
        if scalar.dtype in (u8, bf16):
            wide = k.bitcast(k.splat(k.bitcast(scalar, i32), column.lanes // scalar.lanes), scalar.dtype)
            k.set(register, k.dot(wide, column, k.get(register)))
            return
        wide = k.splat(scalar, column.lanes) if scalar.lanes == 1 else scalar
        if self.tile.dtype.is_float:
            k.set(register, k.fma(wide, column, k.get(register)))
        else:
            k.set(register, k.add(k.mul(wide, column), k.get(register)))

    def summed(self, lo: Int, hi: Int, left: Left, right: Right, ask: Ask | None = None,
               early: Sequence[tuple[int, Ask]] = ()) -> list[list[Reg]]:  # fmt: skip
        """The tile's sums over a range of the depth, in registers. early: asks in so many of the first steps only."""
        sums = self.zeros()
        for steps, asks in early:
            begin, lo = lo, lo + steps
            with self.k.loop("k", begin, lo) as at:
                asks(at - begin)
                self.step(sums, at, left, right)
        with self.k.loop("k", lo, hi) as at:
            if ask is not None:
                ask(at - lo)
            self.step(sums, at, left, right)
        return sums

    # -- totals of several blocks, in scratch memory -------------------------------------------------------------------

    def totals(self) -> Buffer:
        if self._totals is None:
            shape = (self.tiles * self.tile.rows, self.tile.columns)
            self._totals = self.k.scratch("totals", self.tile.dtype, shape)
        return self._totals

    def clear(self, count: Int) -> None:
        """Sets the totals of the first `count` tiles to zero."""
        with self.k.loop("z", 0, count * self.tile.rows) as r:
            for start, n in zip(self.tile.starts, self.tile.lanes, strict=True):
                self.k.store(self.totals(), (r, start), self.k.const(0, self.tile.dtype, n))

    def collect(self, i: Int, sums: Sequence[Sequence[Reg]]) -> None:
        """Adds the sums of a block to the totals of tile i."""
        k, totals = self.k, self.totals()
        for r, row in enumerate(sums):
            for register, start, n in zip(row, self.tile.starts, self.tile.lanes, strict=True):
                at = (i * self.tile.rows + r, start)
                k.store(totals, at, k.add(k.load(totals, at, n), k.get(register)))

    def collected(self, i: Int) -> list[list[LoopValue]]:
        """The totals of tile i."""
        first, pairs = i * self.tile.rows, list(zip(self.tile.starts, self.tile.lanes, strict=True))
        return [[self.k.load(self.totals(), (first + r, start), n) for start, n in pairs]
                for r in range(self.tile.rows)]  # fmt: skip
