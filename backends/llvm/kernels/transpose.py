"""Transposes: blocks of vectors turned in registers.

Axes that stay side by side are merged first, so NCHW to NHWC is a batch of matrices. A permutation that keeps the
last axis copies rows. Any other one turns tiles of 16 by 16 (8 by 8 for 8-byte elements): 16 row loads, the shuffles
of `turned`, 16 row stores; a tile's ragged neighbours go element by element.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region
from chainrule.backends.llvm.kernels.shaping_rows import blocks, copy_row, nest, spread
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, ceil_div
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.dims import Dim
from chainrule.ir.types import DType
from chainrule.ops.shaping import Transpose


def transpose(region: Region, target: Target) -> list[KernelCall]:
    """Transpose: a copy of rows, or of turned tiles."""
    assert region.anchor is not None and isinstance(region.anchor.op, Transpose)
    op, (x,) = region.anchor.op, region.anchor.inputs
    shape, perm = merged_permutation(x.shape, op.perm)
    kernel = Kernel(region, target, "transpose")
    source = kernel.input(0, kernel.dims(shape))
    into = kernel.output(0, kernel.dims([shape[p] for p in perm]))
    k = kernel.k
    if len(perm) == 1:
        blocks(k, into.shape[0], lambda start, n: copy_row(k, source, (start,), into, (start,), n))
    elif perm[-1] == len(perm) - 1:
        _copy_rows(k, source, into, perm)
    else:
        _turn_tiles(k, source, into, perm)
    return [kernel.built()]


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
                _strip(k, source, into, perm, across, index)
            elif axis == across:
                with k.loop(f"i{axis}", 0, ceil_div(into.shape[axis], side)) as t:
                    inner((*index, t * side))
            else:
                with k.loop(f"i{axis}", 0, into.shape[axis]) as j:
                    inner((*index, j))

        inner((start,))


def _product(sizes: Sequence[Int]) -> int:
    total = 1
    for size in sizes:
        total *= int(size)
    return total


def _strip(k: Builder, source: Buffer, into: Buffer, perm: Sequence[int], across: int, index: tuple[Int, ...]) -> None:
    """`side` rows of the result along `across`, from an index of all axes but the last on."""
    side = tile_side(source.dtype)
    begin, extent, length = index[across], into.shape[across], into.shape[-1]

    def at(c: Int, r: Int) -> tuple[Int, ...]:
        return (*index[:across], begin + c, *index[across + 1 :], r)

    def one_by_one(columns: Int, first: Int) -> None:
        with k.loop("c", 0, columns) as c, k.loop("r", first, length) as r:
            k.store(into, at(c, r), k.load(source, _source_index(perm, at(c, r))))

    def whole() -> None:
        with k.loop("t", 0, length // side) as t:
            zero = as_int(0)
            rows = [k.load(source, _source_index(perm, at(zero, t * side + r)), side) for r in range(side)]
            for c, column in enumerate(turned(k, rows)):
                k.store(into, at(as_int(c), t * side), column)
        if not (length.is_const and length.const % side == 0):
            one_by_one(as_int(side), length // side * side)

    if extent.is_const and extent.const % side == 0:
        whole()
        return
    if extent.is_const and extent.const < side:
        one_by_one(extent, as_int(0))
        return
    with k.when(k.cmp("ge", extent - begin, side)):
        whole()
    with k.otherwise():
        one_by_one(extent - begin, as_int(0))


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
