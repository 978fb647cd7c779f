"""The geometry of a Winograd convolution, and how its tiles are cut into blocks; sizes alone decide.

Images of one and two axes are seen as three with sizes of 1. Rows of transformed tiles are an odd number of vectors
long, and there is an odd number of them in a matrix: the matrices then begin at different sets of the caches (measured
on 256@14: strides of a multiple of 4 KB cost a third).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chainrule.backends.llvm.kernels.matmul_tile import vector_lanes
from chainrule.backends.llvm.kernels.region import Kernel
from chainrule.backends.loops import Int, as_int, imax, imin
from chainrule.backends.loops.build import SCRATCH_BYTES
from chainrule.ir.dims import Dim, dim_max, dim_min, dim_product, floordiv
from chainrule.ir.graph import Value
from chainrule.ir.types import DType
from chainrule.ops.lowered import accumulated
from chainrule.ops.lowered_winograd import WinogradConv, products_of

BLOCK_BYTES = SCRATCH_BYTES * 4 // 5  # of a block's matrices before and after the products
STRIP_BYTES = 48 * 1024  # of the padded pixels that a block reads, one vector of channels
LEAST_TILES = 12  # in a block: fewer would read a panel of the weights too often
MOST_TILES = 28  # in a block: more gain nothing
WEIGHTS_NEAR = 1024 * 1024  # bytes of weights that stay in the second-level cache from block to block
WEIGHTS_FAR = 10 * 1024 * 1024  # bytes of weights that are not read once per block
MATRICES_NEAR = 16 * 1024 * 1024  # bytes of the matrices of all tiles that stay in the third-level cache


@dataclass(frozen=True)
class Tiling:
    """Sizes as three axes; channels and outs are known. products: along each axis. dtype: of the sums.

    tiles, counts: along each axis, as sizes of the graph and of the kernel.
    """

    batch: Int
    image: tuple[Int, ...]
    sizes: tuple[Int, ...]
    tiles: tuple[Dim, ...]
    counts: tuple[Int, ...]
    kernel: tuple[int, ...]
    tile: tuple[int, ...]
    pad: tuple[int, ...]
    channels: int
    outs: int
    width: int
    rank: int
    dtype: DType

    @property
    def products(self) -> tuple[int, ...]:
        return products_of(self.tile, self.kernel)

    @property
    def matrices(self) -> int:
        return math.prod(self.products)

    @property
    def flat(self) -> bool:
        """True when each plane of the result is made of the plane of the image at its place."""
        return self.kernel[0] == 1 and not self.pad[0] and self.sizes[0] == self.image[0]

    @property
    def lanes(self) -> int:
        return vector_lanes(self.dtype)

    @property
    def vectors(self) -> int:
        """Vectors of input channels."""
        return -(-self.channels // self.lanes)

    @property
    def panels(self) -> int:
        return -(-self.outs // self.width)

    @property
    def row(self) -> int:
        """Numbers of a transformed tile in a matrix."""
        return (self.vectors | 1) * self.lanes

    def out_row(self, panels: int) -> int:
        """Numbers of a tile's products with so many panels in a matrix."""
        return (-(-panels * self.width // self.lanes) | 1) * self.lanes

    @property
    def weight_bytes(self) -> int:
        return self.matrices * self.kernel[0] * self.channels * self.panels * self.width * self.dtype.itemsize

    def outer(self, index: Sequence[Int]) -> tuple[Int, ...]:
        """Three spatial indices as the tensor's own."""
        return tuple(index[3 - self.rank :])


def tiling(kernel: Kernel, anchor: Value) -> Tiling:
    """The geometry of a Winograd convolution, its sizes as the kernel's own."""
    op, x = anchor.op, anchor.inputs[0]
    assert isinstance(op, WinogradConv)
    rank = len(op.kernel)

    def three(values: Sequence[int], fill: int) -> tuple[int, ...]:
        return (fill,) * (3 - rank) + tuple(values)

    def sizes(shape: Sequence[Dim]) -> tuple[Int, ...]:
        return (as_int(1),) * (3 - rank) + kernel.dims(shape)

    tiles = (*(1,) * (3 - rank), *(parts(n, m) for n, m in zip(op.sizes, op.tile, strict=True)))
    counts = tuple(kernel.size(n, f"tiles{i}") for i, n in enumerate(tiles))
    return Tiling(kernel.dim(x.shape[0]), sizes(x.shape[1:-1]), sizes(op.sizes), tiles, counts, three(op.kernel, 1),
                  three(op.tile, 1), three(op.pad, 0), int(x.shape[-1]), int(op.channels),  # type: ignore[arg-type]
                  int(anchor.inputs[1].shape[-1]), rank, accumulated(anchor.dtype))  # type: ignore[arg-type]


def parts(size: Dim, part: Dim) -> Dim:
    """How many parts cover a size."""
    return floordiv(size + part - 1, part)


@dataclass(frozen=True)
class Plan:
    """How the tiles are cut up. whole: all tiles are transformed before any product; else block by block.

    rows, columns: tiles of a block, as sizes of the graph: a call of an image of named size chooses its own. most:
    tiles of a block at most, pixels: that the strip of a block holds (where rows are of any length, one of the longest
    more), wide: columns of tiles at most. taken: 1 where the call goes this way and else 0.
    """

    whole: bool
    rows: Dim
    columns: Dim
    most: int
    pixels: int
    wide: int
    taken: Dim = 1

    @property
    def is_named(self) -> bool:
        return not (isinstance(self.rows, int) and isinstance(self.columns, int))

    @property
    def text(self) -> str:
        """The block, for people."""
        return f"blocks of {self.most} tiles" if self.is_named else f"blocks of {self.rows}x{self.columns} tiles"

    def block(self, kernel: Kernel) -> tuple[Int, Int]:
        """Rows and columns of a block as the kernel's sizes."""
        rows, columns = kernel.size(self.rows, "block_rows"), kernel.size(self.columns, "block_columns")
        return (imax(1, rows), imin(imax(1, columns), self.wide)) if self.is_named else (rows, columns)


def plans(t: Tiling, images: Dim, rows: int) -> list[Plan]:
    """Blocks of so many tiles that their matrices stay in the second-level cache, or all tiles before any product.

    Blocks where the weights stay there, too, or where the matrices of all tiles would have to go to memory and back.
    What is one block is not cut up either: the threads would have nothing to share.
    Measured, us for blocks and for all at once: 64@56 349, 413; 128@28 311, 277; 128-256@56 3821, 3517; 128@112 7329,
    9234; 256@28 1796, 1473.

    images: of the batch; rows: of a register tile. Where it depends on sizes that are not known, there are both ways,
    of which each call takes one.
    """
    tiles = dim_product(t.tiles)
    per_tile = t.matrices * (t.row + t.out_row(1)) * t.dtype.itemsize
    most = BLOCK_BYTES // per_tile
    few = min(LEAST_TILES, max(1, tiles)) if isinstance(tiles, int) else LEAST_TILES
    whole, blocks = _cut(t, True, 1 << 30, rows), _cut(t, False, max(1, min(most, MOST_TILES)), rows)
    alone = isinstance(images, int) and isinstance(tiles, int) and images * -(-tiles // blocks.most) == 1
    if not t.flat or most < few or t.weight_bytes > WEIGHTS_FAR or alone:
        return [whole]
    if t.weight_bytes <= WEIGHTS_NEAR:
        return [blocks]
    near = MATRICES_NEAR // (t.matrices * (t.row + t.out_row(t.panels)) * t.dtype.itemsize)  # tiles
    near_all = dim_max(0, dim_min(1, near + 1 - images * tiles))
    far_all = dim_max(0, dim_min(1, images * tiles - near))
    return [replace(way, taken=taken) for way, taken in ((blocks, far_all), (whole, near_all)) if taken != 0]


def _cut(t: Tiling, whole: bool, most: int, register_rows: int) -> Plan:
    """Blocks of at most so many tiles, in even parts, whose strip is small. A call that chooses their form has
    room for whole register tiles of so many rows, and a half."""
    high, wide = t.tiles[1:]
    if isinstance(high, int) and isinstance(wide, int):
        rows, columns = _block(t, most, high, wide)
        return Plan(whole, rows, columns, rows * columns, math.prod(reach(t, rows, columns)), columns)
    most = min(most, MOST_TILES)
    while _most_pixels(t, most) * t.lanes * t.dtype.itemsize > STRIP_BYTES:
        most -= 1
    half = -(-register_rows // 2)
    most = max(1, most // half) * half
    columns = even_part(wide, most)
    rows = even_part(high, dim_max(1, floordiv(most, columns)))
    return Plan(whole, rows, columns, most, _most_pixels(t, most) + reach(t, 1, most)[1], most)


def even_part(count: Dim, most: Dim) -> Dim:
    """At most `most` of `count`, so that all parts are of nearly one size."""
    return dim_max(1, parts(count, dim_max(1, parts(count, most))))


def _most_pixels(t: Tiling, most: int) -> int:
    """Pixels that a block of so many tiles reads at most, whatever its form."""
    return max(math.prod(reach(t, most // columns, columns)) for columns in range(1, most + 1))


def _block(t: Tiling, most: int, high: int, wide: int) -> tuple[int, int]:
    """Rows and columns of a block of at most so many tiles of a known image."""
    columns = min(max(1, wide), most)
    while columns > 1 and _strip(t, 1, columns) > STRIP_BYTES:
        columns -= 1
    columns = -(-max(1, wide) // -(-max(1, wide) // columns))
    rows = min(max(1, high), max(1, most // columns))
    while rows > 1 and _strip(t, rows, columns) > STRIP_BYTES:
        rows -= 1
    return -(-max(1, high) // -(-max(1, high) // rows)), columns


def _strip(t: Tiling, rows: int, columns: int) -> int:
    return math.prod(reach(t, rows, columns)) * t.lanes * t.dtype.itemsize


def reach(t: Tiling, rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of pixels that a block of tiles reads."""
    return rows * t.tile[1] + t.kernel[1] - 1, columns * t.tile[2] + t.kernel[2] - 1

