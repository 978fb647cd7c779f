"""Transposes: blocks of vectors turned in registers.

Axes that stay side by side are merged first, so NCHW to NHWC is a batch of matrices. A permutation that keeps the
last axis copies rows. Any other one turns tiles of 16 by 16 (8 by 8 for 8-byte elements): 16 row loads, the shuffles
of `turned`, 16 row stores; a tile's ragged neighbours go element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chainrule.backends.llvm.kernels.grid import grid
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region
from chainrule.backends.llvm.kernels.shaping_rows import (
    blocks,
    copy_row,
    interleaved,
    known_sweep,
    lanes_of,
    long_sweep,
    nest,
    spread,
    sweep,
    whole_lines,
)
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, ceil_div
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.dims import Dim
from chainrule.ir.types import DType
from chainrule.ops.shaping import Transpose

SHORT = 4
BESIDE = 2  # tiles beside each other: two lines of the result
AHEAD_BYTES = 128  # of a row of the source
FAR_BYTES = 32 << 20


def transpose(region: Region, target: Target) -> list[KernelCall]:
    """Transpose: a copy of rows, or of turned tiles."""
    assert region.anchor is not None and isinstance(region.anchor.op, Transpose)
    op, (x,) = region.anchor.op, region.anchor.inputs
    shape, perm = merged_permutation(x.shape, op.perm)
    kernel = Kernel(region, target, "transpose")
    k, rank = kernel.k, len(perm)
    if rank > 1 and perm[-2] == rank - 1 and _is_short(shape[perm[-1]]):
        _put_together(kernel, shape, perm)
        return [kernel.built("interleaved rows")]
    if rank > 1 and perm[-1] == rank - 2 and _is_short(shape[-1]):
        _take_apart(kernel, shape, perm)
        return [kernel.built("rows taken apart")]
    source = kernel.input(0, kernel.dims(shape))
    into = kernel.output(0, kernel.dims([shape[p] for p in perm]), streams=whole_lines(x.dtype, shape[perm[-1]]))
    if rank == 1:
        blocks(k, into.shape[0], lambda start, n: copy_row(k, source, (start,), into, (start,), n))
    elif perm[-1] == rank - 1:
        _copy_rows(k, source, into, perm)
    elif _comes_from_memory(source, into, perm):
        _turn_from_memory(kernel, source, into, perm)
    else:
        _turn_tiles(k, source, into, perm)
    return [kernel.built()]


def _is_short(dim: Dim) -> bool:
    return isinstance(dim, int) and dim <= SHORT


def merged_permutation(shape: Sequence[Dim], perm: Sequence[int]) -> tuple[tuple[Dim, ...], tuple[int, ...]]:
    """The same movement of elements with as few axes as possible."""
    kept = [p for p in perm if shape[p] != 1]
    groups: list[list[int]] = []
    for p in kept:
        between = range(groups[-1][-1] + 1, p) if groups else range(0)
        if groups and p > groups[-1][-1] and all(shape[q] == 1 for q in between):
            groups[-1].append(p)
        else:
            groups.append([p])
    if not groups:
        return (1,), (0,)
    order = sorted(range(len(groups)), key=lambda g: groups[g][0])
    dims: list[Dim] = []
    for g in order:
        size: Dim = 1
        for p in groups[g]:
            size = size * shape[p]
        dims.append(size)
    return tuple(dims), tuple(order.index(g) for g in range(len(groups)))


def _source_index(perm: Sequence[int], index: Sequence[Int]) -> tuple[Int, ...]:
    """The source's index for an index of the result."""
    found = [as_int(0)] * len(perm)
    for p, i in zip(perm, index, strict=True):
        found[p] = i
    return tuple(found)


def _copy_rows(k: Builder, source: Buffer, into: Buffer, perm: Sequence[int]) -> None:
    zero = as_int(0)

    def row(index: tuple[Int, ...]) -> None:
        copy_row(k, source, _source_index(perm, (*index, zero)), into, (*index, zero), into.shape[-1])

    with spread(k, "i", into.shape) as i:
        nest(k, into.shape[1:-1], lambda rest: row((i, *rest)))


def tile_side(dtype: DType) -> int:
    """The rows and columns of a tile turned in registers."""
    return 8 if dtype.itemsize == 8 else 16


def _turn_tiles(k: Builder, source: Buffer, into: Buffer, perm: Sequence[int]) -> None:
    """Loops over the result's axes; the axis that is last in the source goes by tiles, and so does the last one."""
    rank, side = len(perm), tile_side(source.dtype)
    across = perm.index(rank - 1)  # the source's last axis, as an axis of the result
    small = all(d.is_const for d in into.shape) and _product(into.shape) <= 1024
    first = ceil_div(into.shape[0], side) if across == 0 else into.shape[0]
    with k.loop("i0", 0, first, parallel=not small) as i:
        start = i * side if across == 0 else i

        def inner(index: tuple[Int, ...]) -> None:
            axis = len(index)
            if axis == rank - 1:
                _Strip(k, source, into, perm, across, index).emit()
            elif axis == across:
                with k.loop(f"i{axis}", 0, ceil_div(into.shape[axis], side)) as t:
                    inner((*index, t * side))
            else:
                with k.loop(f"i{axis}", 0, into.shape[axis]) as j:
                    inner((*index, j))

        inner((start,))


def _comes_from_memory(source: Buffer, into: Buffer, perm: Sequence[int]) -> bool:
    """True for what is larger than the last cache and consists of whole tiles, two of them beside each other."""
    side, across = tile_side(source.dtype), perm.index(len(perm) - 1)
    return (all(d.is_const for d in source.shape) and _product(source.shape) * source.dtype.itemsize >= FAR_BYTES
            and into.shape[across].const % side == 0 and into.shape[-1].const % (BESIDE * side) == 0)  # fmt: skip


def _turn_from_memory(kernel: Kernel, source: Buffer, into: Buffer, perm: Sequence[int]) -> None:
    """Few rows of the source from end to end, their next lines asked for, whole lines of the result stored past caches.

    Memory is slow where addresses jump: the source is read in 32 places at a time, the result written in pieces of two
    lines. 4096 x 4096 f32 (Zen 5): 18 GB/s in tiles row by row, 28 with such stores, 35 in this order.
    """
    k, side, across = kernel.k, tile_side(source.dtype), perm.index(len(perm) - 1)
    others = [axis for axis in range(len(perm) - 1) if axis != across]
    extents = [*(into.shape[axis] for axis in others), into.shape[-1] // (BESIDE * side)]
    tiles = into.shape[across] // side
    with grid(kernel, extents) as (*place, block), k.loop("t", 0, tiles) as t, k.loop("beside", 0, BESIDE) as beside:
        index = [t * side] * (len(perm) - 1)
        for axis, at in zip(others, place, strict=True):
            index[axis] = at
        start = (block * BESIDE + beside) * side
        strip = _Strip(k, source, into, perm, across, tuple(index))
        for r in range(side):
            *row, first = _source_index(perm, strip.at(as_int(0), start + r))
            k.prefetch(source, (*row, first + AHEAD_BYTES // source.dtype.itemsize))
        strip.tile(start, side, side)


def _product(sizes: Sequence[Int]) -> int:
    total = 1
    for size in sizes:
        total *= int(size)
    return total


@dataclass(frozen=True)
class _Strip:
    """`side` rows of the result along `across`, from an index of all but the last axis."""

    k: Builder
    source: Buffer
    into: Buffer
    perm: Sequence[int]
    across: int
    index: tuple[Int, ...]

    def at(self, c: Int, r: Int) -> tuple[Int, ...]:
        """The index in the result of an element of the strip."""
        before, begin, behind = self.index[: self.across], self.index[self.across], self.index[self.across + 1 :]
        return (*before, begin + c, *behind, r)

    def emit(self) -> None:
        """The whole strip, or what is left of one at the end of its axis."""
        k, side = self.k, tile_side(self.source.dtype)
        begin, extent = self.index[self.across], self.into.shape[self.across]
        if extent.is_const and extent.const % side == 0:
            self.tiles(side)
        elif extent.is_const and extent.const < side:
            self.tiles(extent.const)
        else:
            with k.when(k.cmp("ge", extent - begin, side)):
                self.tiles(side)
            with k.otherwise():
                if extent.is_const:
                    self.tiles(extent.const % side)
                else:
                    self.one_by_one(extent - begin)

    def tiles(self, columns: int) -> None:
        """A known number of rows of the result (columns of the source), tile by tile."""
        k, side, length = self.k, tile_side(self.source.dtype), self.into.shape[-1]
        if length.is_const and length.const < side:
            self.tile(as_int(0), length.const, columns)
        elif length.is_const:
            self.long_tiles(length, columns)
        else:
            with k.when(k.cmp("ge", length, side)):
                self.long_tiles(length, columns)
            with k.otherwise():
                self.one_by_one(as_int(columns))

    def long_tiles(self, length: Int, columns: int) -> None:
        """Tiles along a row that is at least as long as a tile; the last one overlaps the one before it."""
        long_sweep(self.k, length, tile_side(self.source.dtype), lambda start, rows: self.tile(start, rows, columns))

    def tile(self, start: Int, rows: int, columns: int) -> None:
        """One tile: `rows` rows of the source from `start` on, of `columns` elements each."""
        k, side = self.k, tile_side(self.source.dtype)
        mask = None if columns == side else columns
        loaded = [k.load(self.source, _source_index(self.perm, self.at(as_int(0), start + r)), side, mask=mask)
                  for r in range(rows)]  # fmt: skip
        square = loaded + [loaded[0]] * (side - rows)
        for c, column in enumerate(turned(k, square)[:columns]):
            known_sweep(k, rows, side, lambda j, n, c=c, column=column: k.store(
                self.into, self.at(as_int(c), start + j), _part(k, column, int(j), n)))  # fmt: skip

    def one_by_one(self, columns: Int) -> None:
        """Element by element."""
        k = self.k
        with k.loop("c", 0, columns) as c, k.loop("r", 0, self.into.shape[-1]) as r:
            k.store(self.into, self.at(c, r), k.load(self.source, _source_index(self.perm, self.at(c, r))))


def _part(k: Builder, value: LoopValue, start: int, lanes: int) -> LoopValue:
    return value if lanes == value.lanes else k.shuffle(value, None, range(start, start + lanes))


def _put_together(kernel: Kernel, shape: Sequence[Dim], perm: Sequence[int]) -> None:
    """Rows interleaved: the source's last axis and a short axis become neighbours, [.., s, .., n] -> [.., n, s]."""
    k, short = kernel.k, int(shape[perm[-1]])
    source = kernel.input(0, kernel.dims(shape))
    outer = kernel.dims([shape[p] for p in perm[:-2]])
    length = source.shape[-1]
    into = kernel.output(0, (*outer, length * short))

    def row(index: Sequence[Int], start: Int, count: Int) -> None:
        def piece(j: Int, n: int) -> None:
            places = [_source_index(perm, (*index, start + j, as_int(r))) for r in range(short)]
            for i, vector in enumerate(interleaved(k, [k.load(source, place, n) for place in places])):
                k.store(into, (*index, (start + j) * short + i * n), vector)

        sweep(k, count, lanes_of(source.dtype), piece)

    _each_row(k, outer, length, row)


def _take_apart(kernel: Kernel, shape: Sequence[Dim], perm: Sequence[int]) -> None:
    """Rows taken apart: [.., n, s] with a short s becomes [.., s, .., n]."""
    k, short, across = kernel.k, int(shape[-1]), perm.index(len(perm) - 1)
    into = kernel.output(0, kernel.dims([shape[p] for p in perm]))
    length = into.shape[-1]
    source = kernel.input(0, (*kernel.dims(shape[:-2]), length * short))
    outer = [size for axis, size in enumerate(into.shape[:-1]) if axis != across]

    def row(index: Sequence[Int], start: Int, count: Int) -> None:
        def piece(j: Int, n: int) -> None:
            for r in range(short):
                place = (*index[:across], as_int(r), *index[across:])
                read = _source_index(perm, (*place, as_int(0)))[:-2]
                value = k.load(source, (*read, (start + j) * short + r), n, stride=short if n > 1 else 1)
                k.store(into, (*place, start + j), value)

        sweep(k, count, lanes_of(source.dtype), piece)

    _each_row(k, outer, length, row)


def _each_row(k: Builder, outer: Sequence[Int], length: Int, row: Callable[[Sequence[Int], Int, Int], None]) -> None:
    """row(index, start, count) for every index of the outer axes; a row alone is cut into blocks."""
    if not outer:
        blocks(k, length, lambda start, count: row((), start, count))
        return
    with spread(k, "i", (*outer, length)) as i:
        nest(k, outer[1:], lambda rest: row((i, *rest), as_int(0), length))


def turned(k: Builder, rows: Sequence[LoopValue]) -> list[LoopValue]:
    """A square of vectors transposed: inside 128-bit blocks by interleaving, then the blocks by even and odd ones."""
    side = rows[0].lanes
    block = max(1, min(side, 16 // rows[0].dtype.itemsize))
    low, high = _interleavings(side, block)
    found: list[LoopValue] = []
    for g in range(0, side, block):
        group = list(rows[g : g + block])
        for _ in range(block.bit_length() - 1):
            pairs = list(zip(group[: block // 2], group[block // 2 :], strict=True))
            group = [k.shuffle(a, b, order) for a, b in pairs for order in (low, high)]
        found += group
    evens, odds = _alternate_blocks(side, block)
    columns: list[list[LoopValue]] = []
    for j in range(block):
        line = found[j::block]
        for _ in range((side // block).bit_length() - 1):
            pairs = list(zip(line[::2], line[1::2], strict=True))
            line = [k.shuffle(a, b, order) for order in (evens, odds) for a, b in pairs]
        columns.append(line)
    return [columns[j][b] for b in range(side // block) for j in range(block)]


def _interleavings(side: int, block: int) -> tuple[list[int], list[int]]:
    """Lanes that take the first (second) halves of every block of two vectors in turn."""
    low: list[int] = []
    high: list[int] = []
    for start in range(0, side, block):
        for j in range(block // 2):
            low += [start + j, side + start + j]
            high += [start + block // 2 + j, side + start + block // 2 + j]
    return low, high


def _alternate_blocks(side: int, block: int) -> tuple[list[int], list[int]]:
    """Lanes that take the even (odd) blocks of two vectors one after another."""
    starts = [*range(0, 2 * side, block)]
    return [s + j for s in starts[::2] for j in range(block)], [s + j for s in starts[1::2] for j in range(block)]
