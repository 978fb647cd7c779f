"""The geometry of a Winograd convolution, and how its tiles are cut into blocks; sizes alone decide.

Images of one and two axes are seen as three with sizes of 1. Rows of transformed tiles are an odd number of vectors
long, and there is an odd number of them in a matrix: the matrices then begin at different sets of the caches (measured
on 256@14: strides of a multiple of 4 KB cost a third).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.backends.llvm.kernels.matmul_tile import vector_lanes
from chainrule.backends.llvm.kernels.region import Kernel
from chainrule.backends.loops import Int, as_int, ceil_div
from chainrule.backends.loops.build import SCRATCH_BYTES
from chainrule.ir.dims import Dim
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
UNKNOWN_IMAGES, UNKNOWN_TILES = 4, 64  # what named sizes count as: images of a batch, tiles of an image
SPAN = 4  # tiles of a block each way where the image's size is not known


@dataclass(frozen=True)
class Tiling:
    """Sizes as three axes; channels and outs are known. products: along each axis. dtype: of the sums."""

    batch: Int
    image: tuple[Int, ...]
    sizes: tuple[Int, ...]
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
    def counts(self) -> tuple[Int, ...]:
        """Tiles along each axis."""
        return tuple(ceil_div(n, m) for n, m in zip(self.sizes, self.tile, strict=True))

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

    return Tiling(kernel.dim(x.shape[0]), sizes(x.shape[1:-1]), sizes(op.sizes), three(op.kernel, 1),
                  three(op.tile, 1), three(op.pad, 0), int(x.shape[-1]), int(op.channels),  # type: ignore[arg-type]
                  int(anchor.inputs[1].shape[-1]), rank, accumulated(anchor.dtype))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Plan:
    """How the tiles are cut up. whole: all tiles are transformed before any product; else block by block.

    rows, columns: tiles of a block.
    """

    whole: bool
    rows: int
    columns: int


def plan(t: Tiling) -> Plan:
    """Blocks of so many tiles that their matrices stay in the second-level cache, or all tiles before any product.

    Blocks where the weights stay there, too, or where the matrices of all tiles would have to go to memory and back.
    What is one block is not cut up either: the threads would have nothing to share.
    Measured, us for blocks and for all at once: 64@56 349, 413; 128@28 311, 277; 128-256@56 3821, 3517; 128@112 7329,
    9234; 256@28 1796, 1473.
    """
    per_tile = t.matrices * (t.row + t.out_row(1)) * t.dtype.itemsize
    most = BLOCK_BYTES // per_tile
    high, wide = (n.const if n.is_const else None for n in t.counts[1:])
    images = t.batch.const if t.batch.is_const else UNKNOWN_IMAGES
    tiles = UNKNOWN_TILES if high is None or wide is None else high * wide
    matrices = images * tiles * t.matrices * (t.row + t.out_row(t.panels)) * t.dtype.itemsize
    near = t.weight_bytes <= WEIGHTS_NEAR or (matrices > MATRICES_NEAR and t.weight_bytes <= WEIGHTS_FAR)
    rows, columns = _block(t, high, wide, max(1, min(most, MOST_TILES)))
    alone = t.batch.is_const and images * -(-tiles // (rows * columns)) == 1
    if t.kernel[0] > 1 or not near or most < min(LEAST_TILES, max(1, tiles)) or alone:
        return Plan(True, *_block(t, high, wide, 1 << 30))
    return Plan(False, rows, columns)


def _block(t: Tiling, high: int | None, wide: int | None, most: int) -> tuple[int, int]:
    """Rows and columns of a block of at most so many tiles, in even parts, whose strip is small."""
    columns = min(SPAN if wide is None else max(1, wide), most)
    while columns > 1 and _strip(t, 1, columns) > STRIP_BYTES:
        columns -= 1
    if wide:
        columns = -(-wide // -(-wide // columns))
    rows = min(SPAN if high is None else max(1, high), max(1, most // columns))
    while rows > 1 and _strip(t, rows, columns) > STRIP_BYTES:
        rows -= 1
    if high:
        rows = -(-high // -(-high // rows))
    return rows, columns


def _strip(t: Tiling, rows: int, columns: int) -> int:
    return math.prod(reach(t, rows, columns)) * t.lanes * t.dtype.itemsize


def reach(t: Tiling, rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of pixels that a block of tiles reads."""
    return rows * t.tile[1] + t.kernel[1] - 1, columns * t.tile[2] + t.kernel[2] - 1

