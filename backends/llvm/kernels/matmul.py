"""Matrix products: packed panels or rows of B, rows of A as they lie, the epilogue on the register tile.

The result is cut into blocks of row tiles times panels; one parallel iteration makes one block, and asks for the next
panel meanwhile. A tile's rows are scalars of A read in place (few rows where they lie 4 KB apart, in one set of the
first-level cache), its columns one panel of B. Where M is no multiple of the tile's rows the last tile reads its last
row again instead of rows that are not there, and does not store them; M known only at run time gets tiles of one row as
well, for the batch of one.

Measured, one Zen 4 core, f32: see benchmarks/gemm.py; 97-99 % of the multiplier's peak from 256 to 1024.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from chainrule.backends.llvm.kernels.matmul_rows import with_merged_rows
from chainrule.backends.llvm.kernels.matmul_tile import (
    BLOCK,
    FAR_BYTES,
    TOTALS_BYTES,
    Ask,
    Depth,
    Multiplier,
    Tile,
    ahead,
    balanced_rows,
    beside,
    most_grouped_rows,
    rows_apart,
    split_lanes,
    vector_lanes,
    widest_panel,
)
from chainrule.backends.llvm.kernels.pack import spread_loop, write_panels
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region, Temp, broadcast_index
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, Reg, as_int, ceil_div, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Input, Value
from chainrule.ir.types import DType, TensorType
from chainrule.ops.lowered import PanelMatMul, accumulated, panel_count, panel_width
from chainrule.ops.matmul import MatMul

TILES = 8  # row tiles of one parallel iteration, where B stays in the caches
NEAR_A = 400 * 1024  # bytes of A that stay in the second-level cache while large panels pass by
ASKING = 8  # tiles of an iteration that fetch panels ahead for all, where it is not known how many there are
FEW_ITERATIONS = 8  # of a product: fewer could not be shared out evenly
TURNED_BLOCK = 128  # steps of depth that take turns where A is transposed: each takes another line, often a page away
SMALL_B = 256 * 1024  # bytes of B up to which it is read where it lies, when its rows are contiguous

# (indices of the leading axes, step of the depth, first column, lanes, mask) -> a vector of B
ReadB = Callable[[Sequence[Int], Int, Int, int, Int | None], LoopValue]
# (panel, first step and steps of a block, number of the tile in use, how many use the block) -> prefetches what follows
AskB = Callable[[Int, Int, Int, Int, int], Ask]


@dataclass(frozen=True)
class Product:
    """What both templates share. lead: leading axes of the result; m, n, k its sizes; width: columns of a panel.

    group: elements of A, one after another, that one step of the depth takes.
    """

    kernel: Kernel
    anchor: Value
    a: Value
    transposed: bool
    lead: tuple[Int, ...]
    m: Int
    n: Int
    depth: Int
    width: int
    group: int = 1

    @property
    def dtype(self) -> DType:
        return accumulated(self.anchor.tensor.dtype)

    @property
    def steps(self) -> Depth:
        """The depth, in short blocks where each step takes another line of A."""
        return Depth(self.depth, TURNED_BLOCK if self.transposed else BLOCK)


def panel_matmul(region: Region, target: Target) -> list[KernelCall]:
    """One kernel for a product with packed panels."""
    region = with_merged_rows(region)
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, PanelMatMul)
    a, panels = anchor.inputs
    kernel = Kernel(region, target, f"matmul_{region.name}"[:80])
    *lead, m = kernel.dims(anchor.tensor.shape[:-1])
    depth, width = kernel.dim(panels.tensor.shape[1]), int(panels.tensor.shape[2])  # type: ignore[arg-type]
    product = Product(kernel, anchor, a, anchor.op.transpose_a, tuple(lead), m, kernel.dim(anchor.op.columns), depth,
                      width)  # fmt: skip

    def read(at: Sequence[Int], step: Int, column: Int, lanes: int, mask: Int | None) -> LoopValue:
        return kernel.read(panels, (column // width, step, column % width), lanes)

    far = isinstance(panels.op, Input) and is_far(product)
    ask = following(kernel.k, kernel.input(region.body.inputs.index(panels))) if far else None
    write_product(product, target, read, padded=True, ask=ask)
    return [kernel.built(f"packed, tile {_tile_text(product, target)}")]


def matmul(region: Region, target: Target) -> list[KernelCall]:
    """A product of two arrays of matrices: B is read where it lies if that is fast, else packed into a temporary."""
    if region.anchor is not None and region.anchor.inputs[1].rank == 2:
        region = with_merged_rows(region)
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, MatMul)
    b = anchor.inputs[1]
    width = panel_width(anchor.tensor.shape[-1], widest_panel(target, anchor.tensor.dtype), anchor.tensor.dtype)
    if reads_in_place(anchor):
        if anchor.tensor.shape[-2] == 1:
            width = wide_row(anchor.tensor.shape[-1], target, anchor.tensor.dtype)
        kernel = Kernel(region, target, f"matmul_{region.name}"[:80])

        def rows(at: Sequence[Int], step: Int, column: Int, lanes: int, mask: Int | None) -> LoopValue:
            index = (*broadcast_index(b.tensor.shape[:-2], at), step, column)
            return kernel.fit(kernel.read(b, index, lanes, mask), lanes)

        write_product(_product(kernel, anchor, width), target, rows, padded=False)
        return [kernel.built("B in place")]
    k, n = b.tensor.shape[-2:] if not anchor.op.transpose_b else b.tensor.shape[:-3:-1]
    shape = (*b.tensor.shape[:-2], panel_count(n, width), k, width)
    temp = Temp(TensorType(accumulated(b.tensor.dtype), shape))
    pack = Kernel(region, target, "pack_b")
    write_panels(pack, b, pack.temp(temp, mode="w"), anchor.op.transpose_b)
    kernel = Kernel(region, target, f"matmul_{region.name}"[:80])
    panels = kernel.temp(temp, mode="r")

    def packed(at: Sequence[Int], step: Int, column: Int, lanes: int, mask: Int | None) -> LoopValue:
        index = (*broadcast_index(b.tensor.shape[:-2], at), column // width, step, column % width)
        return kernel.k.load(panels, index, lanes)

    product = _product(kernel, anchor, width)
    ask = following(kernel.k, panels) if b.rank == 2 and is_far(product) else None
    write_product(product, target, packed, padded=True, ask=ask)
    return [pack.built(), kernel.built("B packed")]


def following(k: Builder, panels: Buffer) -> AskB:
    """Prefetches of the block of panels behind the one in use."""

    def ask(panel: Int, low: Int, size: Int, tile: Int, tiles: int) -> Ask:
        return ahead(k, panels, (panel, low + size), size, tile, tiles)

    return ask


def _product(kernel: Kernel, anchor: Value, width: int) -> Product:
    assert isinstance(anchor.op, MatMul)
    a = anchor.inputs[0]
    *lead, m, n = kernel.dims(anchor.tensor.shape)
    depth = kernel.dim(a.tensor.shape[-2 if anchor.op.transpose_a else -1])
    return Product(kernel, anchor, a, anchor.op.transpose_a, tuple(lead), m, n, depth, width)


def reads_in_place(anchor: Value) -> bool:
    """True where packing B would cost more than it saves: its rows are contiguous and it is small, or A is."""
    assert isinstance(anchor.op, MatMul)
    b = anchor.inputs[1]
    if anchor.op.transpose_b:
        return False
    k, n, m = b.tensor.shape[-2], b.tensor.shape[-1], anchor.tensor.shape[-2]
    if not (isinstance(k, int) and isinstance(n, int)):
        return True
    return k * n * accumulated(b.tensor.dtype).itemsize <= SMALL_B or (isinstance(m, int) and m < 16)


def wide_row(columns: Dim, target: Target, dtype: DType) -> int:
    """Columns of a tile of one row of A: long stretches of B's rows, as its memory is all that counts then."""
    lanes = vector_lanes(dtype)
    most = max(1, (target.vector_registers - 8) * target.vector_bits // (64 * 8))
    known = most if not isinstance(columns, int) else -(-columns // lanes)
    return lanes * max(1, min(most, known))


def _tile_text(product: Product, target: Target) -> str:
    return f"{_rows(product, target, split_lanes(product.width, product.dtype))[0]}x{product.width}"


def write_product(product: Product, target: Target, read: ReadB, padded: bool, ask: AskB | None = None) -> None:
    """The loops of a product. padded: B may be read beyond its last column, within the last panel."""
    k = product.kernel.k
    panels = ceil_div(product.n, product.width)
    rows, ragged = _rows(product, target, split_lanes(product.width, product.dtype))
    tiles = block_tiles(product, rows)
    blocks = ceil_div(product.m, rows * tiles)
    batch = product.lead
    k.flops = math.prod(batch, start=2 * product.group * product.m * product.n * product.depth)
    # Panels go round within a block of rows: these stay in the second-level cache, and a panel is read once for all.
    with spread_loop(k, (*batch, blocks, panels)) as (*at, block, panel):
        for lanes, tail in _panel_kinds(k, product, panel):
            tile = Tile(product.dtype, rows, lanes)
            maker = _Maker(
                product, tile, Multiplier(k, tile, tiles), at, panel * product.width, tail, read, padded, ask
            )
            _write_block(maker, block, ragged)


def _panel_kinds(k: Builder, product: Product, panel: Int) -> Iterator[tuple[tuple[int, ...], bool]]:
    """(lanes, is the last and ragged one): opens the branch for each kind of panel that there is."""
    width, n = product.width, product.n
    full = split_lanes(width, product.dtype)
    if n.is_const and n.const % width == 0:
        yield full, False
        return
    if n.is_const and n.const < width:
        yield split_lanes(n.const, product.dtype), True
        return
    with k.when(k.cmp("lt", panel, n // width)):
        yield full, False
    with k.otherwise():
        yield (split_lanes(n.const % width, product.dtype) if n.is_const else full), True


def _rows(product: Product, target: Target, lanes: Sequence[int]) -> tuple[int, bool]:
    """Rows of a tile, and whether the last tile is ragged. Of an unknown number: a power of two, which divides most."""
    apart = as_int(1) if product.transposed else product.depth
    limit = rows_apart(apart * product.dtype.itemsize)  # a step takes as many bytes of a row as a sum has
    most = most_grouped_rows(target, lanes, product.dtype, product.group, limit)
    if not product.m.is_const:
        return 1 << (most.bit_length() - 1), True
    rows = balanced_rows(product.m.const, most)
    return rows, product.m.const % rows != 0


def is_far(product: Product) -> bool:
    """True when the panels come from beyond the second-level cache at each run of a program."""
    size = product.n * product.depth * product.dtype.itemsize
    return size.is_const and size.const >= FAR_BYTES


def far_beside(product: Product) -> list[Buffer]:
    """The arrays of the result's shape that the epilogue reads, such as an optimiser's, where they are large."""
    region, shape, dtype = product.kernel.region, product.anchor.tensor.shape, product.dtype
    if not all(isinstance(n, int) for n in shape) or math.prod(shape) * dtype.itemsize < FAR_BYTES:  # type: ignore[arg-type]
        return []
    return [product.kernel.input(i) for i, v in enumerate(region.body.inputs)
            if v not in product.anchor.inputs and v.tensor.shape == shape and v.dtype == dtype]  # fmt: skip


def block_tiles(product: Product, rows: int) -> int:
    """Row tiles of one parallel iteration: as many as A's place in the cache allows where B has to be fetched."""
    if not product.depth.is_const or not is_far(product):
        return TILES
    size, depth = product.dtype.itemsize, product.depth.const
    most = NEAR_A // max(1, rows * depth * size)
    if product.steps.blocks() is not None:
        most = min(most, TOTALS_BYTES // (rows * product.width * size))
    batch, panels = math.prod(product.lead, start=as_int(1)), -(-product.n.const // product.width)
    if not batch.is_const or not product.m.is_const:
        return max(TILES, most) if panels >= FEW_ITERATIONS else TILES
    total, columns = -(-product.m.const // rows), batch.const * panels
    blocks = max(-(-total // max(TILES, most)), -(-FEW_ITERATIONS // max(1, columns)))
    return max(1, -(-total // max(1, blocks)))


def _write_block(maker: _Maker, block: Int, ragged: bool) -> None:
    """All row tiles of a block for one panel."""
    product, rows, tiles = maker.product, maker.tile.rows, maker.multiplier.tiles
    k = product.kernel.k
    if product.m.is_const:
        first = block * tiles
        maker.sweep(first * rows, imin(tiles, ceil_div(product.m, rows) - first), ragged)
        return
    first = block * (rows * tiles)
    count = imin(rows * tiles, product.m - first)
    maker.sweep(first, count // rows, False)
    rest = count // rows * rows
    with k.when(k.cmp("gt", count - rest, 1)):
        replace(maker, multiplier=Multiplier(k, maker.tile)).sweep(first + rest, as_int(1), True)
    one = Tile(product.dtype, 1, maker.tile.lanes)
    with k.when(k.cmp("eq", count - rest, 1)):
        replace(maker, tile=one, multiplier=Multiplier(k, one)).sweep(first + rest, as_int(1), False)


@dataclass
class _Maker:
    """Makes the tiles of one panel."""

    product: Product
    tile: Tile
    multiplier: Multiplier
    at: Sequence[Int]
    column: Int
    tail: bool
    read: ReadB
    padded: bool
    ask: AskB | None

    def sweep(self, first: Int, count: Int, ragged: bool) -> None:
        """`count` tiles from row `first` on; ragged: rows beyond the last are not there.

        With several blocks of depth the tiles take turns within each, so that a block of B stays in the caches.
        """
        k, depth, rows = self.product.kernel.k, self.product.steps, self.tile.rows
        blocks = depth.blocks()
        if blocks is None:
            for lo, hi, maker in self._parts(count):
                with k.loop("i", lo, hi) as i:
                    sums = maker.sums(i, first + i * rows, ragged, as_int(0), depth.count)
                    self._store(first + i * rows, ragged, [[k.get(register) for register in row] for row in sums])
            return
        self.multiplier.clear(count)
        size = depth.block_size()
        with k.loop("kb", 0, blocks) as block:
            low = block * size
            high = imin(low + size, depth.count)
            for lo, hi, maker in self._parts(count):
                with k.loop("i", lo, hi) as i:
                    self.multiplier.collect(i, maker.sums(i, first + i * rows, ragged, low, high))
        with k.loop("i", 0, count) as i:
            self._store(first + i * rows, ragged, self.multiplier.collected(i))

    def _parts(self, count: Int) -> list[tuple[Int, Int, _Maker]]:
        """The tiles from one number to another, and who makes them: of many that are not counted only some ask."""
        zero = as_int(0)
        if self.ask is None or self.product.m.is_const or (count.is_const and count.const == 1):
            return [(zero, count, self)]
        asking = imin(count, ASKING)
        return [(zero, asking, self), (asking, count, replace(self, ask=None))]

    def sums(self, i: Int, row: Int, ragged: bool, lo: Int, hi: Int) -> list[list[Reg]]:
        """The sums of tile i, whose first row is `row`, over a range of the depth."""
        product = self.product
        last = product.m - 1
        places = [imin(row + r, last) if ragged and r else row + r for r in range(self.tile.rows)]
        at = broadcast_index(product.a.tensor.shape[:-2], self.at)

        narrow = product.kernel.input(product.kernel.region.body.inputs.index(product.a)) if product.group > 1 else None

        def left(r: int, step: Int) -> LoopValue:
            index = (*at, step, places[r]) if product.transposed else (*at, places[r], step * product.group)
            if narrow is not None:
                return product.kernel.k.load(narrow, index, product.group)
            return product.kernel.read(product.a, index)

        def right(step: Int, start: int, lanes: int) -> LoopValue:
            mask = None if self.padded else self._mask(start, lanes)
            return self.read(self.at, step, self.column + start, lanes, mask)

        asks: Ask | None = None
        tiles = self.multiplier.tiles if product.m.is_const else min(ASKING, self.multiplier.tiles)
        if self.ask is not None and tiles > 1:
            asks = self.ask(self.column // product.width, lo, hi - lo, i, tiles)
        return self.multiplier.summed(lo, hi, left, right, asks, self._beside(row, lo, hi))

    def _beside(self, row: Int, lo: Int, hi: Int) -> Sequence[tuple[int, Ask]]:
        """The prefetches of what the epilogue reads, where that comes from memory and all of the depth is one chain."""
        product = self.product
        arrays = far_beside(product)
        if not arrays or self.tail or product.steps.blocks() is not None:
            return ()
        asks = beside(product.kernel.k, arrays, (*self.at, row), self.column, self.tile)
        return asks if sum(steps for steps, _ in asks) <= (hi - lo).const else ()

    def _store(self, row: Int, ragged: bool, sums: Sequence[Sequence[LoopValue]]) -> None:
        k = self.product.kernel.k
        for r, values in enumerate(sums):
            if ragged and r:
                with k.when(k.cmp("lt", row + r, self.product.m)):
                    self._store_row(row + r, values)
            else:
                self._store_row(row + r, values)

    def _mask(self, start: int, lanes: int) -> Int | None:
        """How many lanes of a vector are columns of the product; None for all."""
        if not self.tail:
            return None
        left = self.product.n - self.column - start
        n, width = self.product.n, self.product.width
        if n.is_const:
            left = as_int(n.const % width - start if n.const >= width else n.const - start)
        return None if left.is_const and left.const >= lanes else left

    def _store_row(self, row: Int, sums: Sequence[LoopValue]) -> None:
        product, kernel = self.product, self.product.kernel
        for start, value in zip(self.tile.starts, sums, strict=True):
            mask = self._mask(start, value.lanes)
            if len(product.anchor.inputs) == 3:
                bias = kernel.read(product.anchor.inputs[2], (self.column + start,), value.lanes, mask)
                value = kernel.k.add(value, kernel.fit(bias, value.lanes))
            value = kernel.k.cast(value, product.anchor.tensor.dtype)
            kernel.write((*self.at, row, self.column + start), {product.anchor: value}, value.lanes, mask)
