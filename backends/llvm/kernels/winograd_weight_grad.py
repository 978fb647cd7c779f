"""The gradient of a convolution's weight by Winograd's tiles: transform x and dy, multiply, transform back.

    1. x: each tile of the padded image becomes one number in each of the (m + r - 1)^2 matrices [tiles, C].
    2. dy: each tile of m x m slopes likewise, by the transposed transform of outputs: [tiles, O].
    3. products: for each of the matrices the sum over tiles of x' dy: [C, O], a product that is deep and small.
    4. back: the transposed transform of weights makes each kernel of these.

Four kernels on temporaries: what the deep products gain (a quarter of the multiply-adds of direct sums) pays for the
transforms' way through memory. Of many channels and few tiles 3 and 4 are one kernel (`_blocks`), as the sums would be
by far the largest temporary: 512 by 512 channels of 32 images of 4x4 so take 4.3 ms instead of 7.9. The
depth is cut into blocks by its size alone, so results do not depend on threads.

Measured on one Zen 5 core: see benchmarks/training.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from chainrule.backends.llvm.kernels.conv_copy import padded_copy, rooms
from chainrule.backends.llvm.kernels.conv_shape import Geometry, geometry
from chainrule.backends.llvm.kernels.matmul_tile import (
    Multiplier,
    Tile,
    balanced_rows,
    most_rows,
    split_lanes,
    widest_panel,
)
from chainrule.backends.llvm.kernels.pack import spread_loop
from chainrule.backends.llvm.kernels.region import LANES, Kernel, KernelCall, Region, Temp, refuse
from chainrule.backends.llvm.kernels.winograd_lines import from_inputs, to_outputs
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, Reg, as_int, ceil_div, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.dims import Dim, as_dim, dim_product, floordiv
from chainrule.ir.graph import Value
from chainrule.ir.types import TensorType
from chainrule.ops.lowered import accumulated, panel_width
from chainrule.ops.lowered_winograd_grad import WinogradWeightGrad, turned
from chainrule.ops.toom_cook import Matrix, short_convolution

DEPTH = 256  # tiles that are summed in one chain: a block of dy' for one panel then stays in the second-level cache
BLOCK_TILES, LEAST_BLOCKS = 8, 12  # register tiles of a block that goes all the way, and how many must share the work
TILES = 12  # register tiles that take turns on a block

Sums = list[list[Reg]]
Values = list[list[LoopValue]]


def winograd_weight_grad(region: Region, target: Target) -> list[KernelCall]:
    """A padded copy of x if tiles touch its border, both transforms, the products, and the transform back."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, WinogradWeightGrad)
    op, (x, dy) = anchor.op, anchor.inputs
    if any(not isinstance(n, int) or n % LANES for n in (x.shape[-1], dy.shape[-1])):
        raise refuse(region, f"there is no kernel for {x.shape[-1]} and {dy.shape[-1]} channels")
    dtype = accumulated(anchor.tensor.dtype)
    matrices = math.prod(m + k - 1 for m, k in zip(op.tile, op.kernel, strict=True))
    count = dim_product((dy.shape[0], *(floordiv(n, m) for n, m in zip(dy.shape[1:-1], op.tile, strict=True))))
    rows = floordiv(as_dim(count), 2) * 2 + 1  # odd: matrices that lie 2^n bytes apart would share cache lines
    left = Temp(TensorType(dtype, (matrices, rows, x.shape[-1])))
    right = Temp(TensorType(dtype, (matrices, rows, dy.shape[-1])))
    sums = Temp(TensorType(dtype, (matrices, x.shape[-1], dy.shape[-1])))
    rules = [short_convolution(m, k) for m, k in zip(op.tile, op.kernel, strict=True)]
    calls: list[KernelCall] = []
    room: Temp | None = None
    probe = Kernel(region, target, "pad_image")
    g = geometry(probe, op.direct, probe.dims(x.tensor.shape), probe.dims(dy.tensor.shape[1:-1]))
    if g.touches_border:
        sizes: list[Dim] = [as_dim(n) + k - 1 for n, k in zip(dy.shape[1:-1], op.kernel, strict=True)]
        room = Temp(TensorType(dtype, (x.shape[0], *sizes, x.shape[-1])))
        calls.append(padded_copy(probe, x, g, room))
    calls.append(_transformed(_Side(region, target, "winograd_grad_x", anchor, x, room), left,
                              [r.inputs for r in rules]))  # fmt: skip
    calls.append(_transformed(_Side(region, target, "winograd_grad_dy", anchor, dy, None), right,
                              [turned(r.outputs) for r in rules]))  # fmt: skip
    back = [turned(r.weights) for r in rules]
    whole = _blocks(region, target, anchor, (left, right), count, back)
    if whole is not None:
        return [*calls, whole]
    calls.append(_products(region, target, (left, right, sums), count))
    calls.append(_back(region, target, anchor, sums, back))
    return calls


@dataclass(frozen=True)
class _Side:
    """One of the two images. room: its padded copy, None where it is read in place."""

    region: Region
    target: Target
    name: str
    anchor: Value
    image: Value
    room: Temp | None

    def source(self, kernel: Kernel, g: Geometry) -> Buffer:
        """The image as [N, rows, columns * channels]."""
        if self.room is not None:
            batch, _, high, wide = rooms(g)
            return kernel.temp(self.room, mode="r", shape=(batch, high, wide))
        n, high, wide, channels = kernel.dims(self.image.tensor.shape)
        place = kernel.region.body.inputs.index(self.image)
        return kernel.input(place, (n, high, wide * channels))


def _transformed(side: _Side, to: Temp, matrices: list[Matrix]) -> KernelCall:
    """Tiles of an image as matrices: along the rows of a tile into a patch, then along its columns."""
    op, (x, dy) = side.anchor.op, side.anchor.inputs
    assert isinstance(op, WinogradWeightGrad)
    kernel = Kernel(side.region, side.target, side.name)
    k = kernel.k
    g = geometry(kernel, op.direct, kernel.dims(x.tensor.shape), kernel.dims(dy.tensor.shape[1:-1]))
    source, result = side.source(kernel, g), kernel.temp(to, mode="w")
    channels = int(to.type.shape[2])  # type: ignore[arg-type]
    down, across = matrices
    high, wide = g.sizes[1] // op.tile[0], g.sizes[2] // op.tile[1]
    patch = k.scratch("patch", to.type.dtype, (len(down[0]), len(across) * LANES))
    k.flops = g.batch * high * wide * (len(down) * len(across) * channels * 8)
    with spread_loop(k, (g.batch, high)) as (n, ty), k.loop("tx", 0, wide) as tx:
        row = (n * high + ty) * wide + tx
        with k.loop("c", 0, channels // LANES) as c:
            with k.loop("r", 0, len(down[0])) as r:
                pixels = [kernel.widened(k.load(
                    source, (n, ty * op.tile[0] + r, (tx * op.tile[1] + j) * channels + c * LANES), LANES))
                    for j in range(len(across[0]))]  # fmt: skip
                for j, value in enumerate(from_inputs(k, across, pixels)):
                    k.store(patch, (r, j * LANES), value)
            with k.loop("j", 0, len(across)) as j:
                line = [k.load(patch, (i, j * LANES), LANES) for i in range(len(down[0]))]
                for i, value in enumerate(from_inputs(k, down, line)):
                    k.store(result, (j + i * len(across), row, c * LANES), value)
    return kernel.built("tiles")


@dataclass(frozen=True)
class _Deep:
    """The products of a register tile: `rows` channels of x, from one on, by neighbouring channels of dy."""

    k: Builder
    left: Buffer
    right: Buffer
    ins: int
    rows: int

    def registers(self, multiplier: Multiplier, matrix: Int, row: Int, column: Int, low: Int, high: Int) -> Sums:
        """The sums over a range of tiles. Rows behind the last channel repeat it."""

        def scalar(r: int, step: Int) -> LoopValue:
            at = imin(row + r, self.ins - 1) if self.ins % self.rows and r else row + r
            return self.k.load(self.left, (matrix, step, at))

        def vector(step: Int, start: int, count: int) -> LoopValue:
            return self.k.load(self.right, (matrix, step, column + start), count)

        return multiplier.summed(low, high, scalar, vector)

    def summed(self, multiplier: Multiplier, matrix: Int, row: Int, column: Int, low: Int, high: Int) -> Values:
        """The same as values."""
        found = self.registers(multiplier, matrix, row, column, low, high)
        return [[self.k.get(register) for register in line] for line in found]


def _products(region: Region, target: Target, temps: tuple[Temp, Temp, Temp], count: Dim) -> KernelCall:
    """sums[p, c, o] = sum over tiles t of left[p, t, c] * right[p, t, o]."""
    kernel = Kernel(region, target, "winograd_grad_mul")
    k = kernel.k
    left, right, sums = kernel.temp(temps[0], mode="r"), kernel.temp(temps[1], mode="r"), kernel.temp(temps[2], "w")
    dtype, (matrices, ins, outs) = temps[2].type.dtype, (int(n) for n in temps[2].type.shape)  # type: ignore[arg-type]
    depth = kernel.dim(count)
    width = panel_width(outs, widest_panel(target, dtype), dtype)
    k.flops = depth * (2 * matrices * ins * outs)
    rows = balanced_rows(ins, most_rows(target, split_lanes(width, dtype), dtype))
    segments, panels = -(-ins // (rows * TILES)), -(-outs // width)
    deep = _Deep(k, left, right, ins, rows)

    def part(place: tuple[Int, Int], first: Int, column: Int, lanes: tuple[int, ...]) -> None:
        tile = Tile(dtype, rows, lanes)
        multiplier = Multiplier(k, tile, TILES)
        matrix, segment = place
        tiles = imin(TILES, ceil_div(as_int(ins) - segment * (rows * TILES), rows))

        def store(i: Int, values: Values) -> None:
            for r, row in enumerate(values):
                _store_row(kernel, sums, (matrix, first + i * rows + r), column, tile, row, bool(ins % rows and r))

        if depth.is_const and depth.const <= DEPTH:
            with k.loop("i", 0, tiles) as i:
                store(i, deep.summed(multiplier, matrix, first + i * rows, column, as_int(0), depth))
            return
        multiplier.clear(tiles)
        with k.loop("kb", 0, ceil_div(depth, DEPTH)) as block, k.loop("i", 0, tiles) as i:
            low = block * DEPTH
            high = imin(low + DEPTH, depth)
            multiplier.collect(i, deep.registers(multiplier, matrix, first + i * rows, column, low, high))
        with k.loop("i", 0, tiles) as i:
            store(i, multiplier.collected(i))

    with spread_loop(k, (as_int(matrices), as_int(segments), as_int(panels))) as (matrix, segment, panel):
        first = segment * (rows * TILES)
        whole, rest = divmod(outs, width)
        if whole and rest:
            with k.when(k.cmp("lt", panel, whole)):
                part((matrix, segment), first, panel * width, split_lanes(width, dtype))
            with k.otherwise():
                part((matrix, segment), first, panel * width, split_lanes(rest, dtype))
        else:
            part((matrix, segment), first, panel * width, split_lanes(width if whole else rest, dtype))
    return kernel.built(f"tile {rows}x{width}")


def _blocks(region: Region, target: Target, anchor: Value, temps: tuple[Temp, Temp], count: Dim,
            back: list[Matrix]) -> KernelCall | None:  # fmt: skip
    """Products and the way back in one kernel, a block of all matrices at a time; None where that does not fit.

    The block stays in the second-level cache: of 512 by 512 channels the matrices would be 38 MB. It takes many
    channels and few tiles: blocks are what threads share, and the sums over tiles are one chain.
    """
    kernel = Kernel(region, target, "winograd_grad_mul")
    k = kernel.k
    left, right = (kernel.temp(temp, mode="r") for temp in temps)
    (matrices, _, ins), outs = temps[0].type.shape, int(temps[1].type.shape[2])  # type: ignore[arg-type]
    matrices, ins = int(matrices), int(ins)  # type: ignore[arg-type]
    dtype, depth = temps[0].type.dtype, kernel.dim(count)
    width = panel_width(outs, widest_panel(target, dtype), dtype)
    rows = balanced_rows(ins, most_rows(target, split_lanes(width, dtype), dtype))
    high = rows * BLOCK_TILES
    segments, panels = -(-ins // high), outs // width
    if not (depth.is_const and depth.const <= DEPTH and outs % width == 0 and segments * panels >= LEAST_BLOCKS):
        return None
    result = kernel.output(0, (len(back[0]), len(back[1]), ins, outs))
    sums = k.scratch("sums", dtype, (matrices, high + 1, width))  # of whole pages they would share cache lines
    patch = k.scratch("patch", dtype, (len(back[0]), len(back[1][0]) * LANES))
    k.flops = depth * (2 * matrices * ins * outs)
    deep, tile = _Deep(k, left, right, ins, rows), Tile(dtype, rows, split_lanes(width, dtype))
    multiplier = Multiplier(k, tile)
    with spread_loop(k, (as_int(segments), as_int(panels))) as (segment, panel):
        first, column = segment * high, panel * width
        there = imin(high, ins - first)
        with k.loop("matrix", 0, matrices) as matrix, k.loop("i", 0, ceil_div(there, rows)) as i:
            found = deep.summed(multiplier, matrix, first + i * rows, column, as_int(0), depth)
            for r, values in enumerate(found):
                for start, value in zip(tile.starts, values, strict=True):
                    k.store(sums, (matrix, i * rows + r, start), value)
        with k.loop("c", 0, there) as c, k.loop("o", 0, width // LANES) as o:
            _turn_back(k, back, (sums, c, o * LANES), patch, (result, first + c, column + o * LANES))
    return kernel.built(f"tile {rows}x{width}, and back")


def _store_row(kernel: Kernel, sums: Buffer, at: tuple[Int, Int], column: Int, tile: Tile, values: list[LoopValue],
               ragged: bool) -> None:  # fmt: skip
    """One row of a register tile; ragged: it may lie behind the last."""
    k = kernel.k

    def put() -> None:
        for start, value in zip(tile.starts, values, strict=True):
            k.store(sums, (*at, column + start), value)

    if not ragged:
        put()
        return
    with k.when(k.cmp("lt", at[1], sums.shape[1])):
        put()


def _back(region: Region, target: Target, anchor: Value, sums: Temp, matrices: list[Matrix]) -> KernelCall:
    """Every kernel from its numbers in the matrices: along their columns into a patch, then along its rows."""
    kernel = Kernel(region, target, "winograd_grad_out")
    k = kernel.k
    down, across = matrices
    source = kernel.temp(sums, mode="r")
    _, ins, outs = (int(n) for n in sums.type.shape)  # type: ignore[arg-type]
    result = kernel.output(0, (len(down), len(across), ins, outs))
    patch = k.scratch("patch", sums.type.dtype, (len(down), len(across[0]) * LANES))
    k.flops = as_int(len(down[0]) * len(across[0]) * ins * outs * 4)
    with spread_loop(k, (as_int(ins), as_int(outs // LANES))) as (c, o):
        _turn_back(k, matrices, (source, c, o * LANES), patch, (result, c, o * LANES))
    return kernel.built("kernels")


def _turn_back(k: Builder, matrices: list[Matrix], source: tuple[Buffer, Int, Int], patch: Buffer,
               target: tuple[Buffer, Int, Int]) -> None:  # fmt: skip
    """The kernels of a channel of x and a vector of channels of dy, each of both given with where they lie."""
    down, across = matrices
    (sums, *at), (result, *to) = source, target
    with k.loop("j", 0, len(across[0])) as j:
        line = [k.load(sums, (j + i * len(across[0]), *at), LANES) for i in range(len(down[0]))]
        for i, value in enumerate(to_outputs(k, down, line)):
            k.store(patch, (i, j * LANES), value)
    with k.loop("i", 0, len(down)) as i:
        line = [k.load(patch, (i, j * LANES), LANES) for j in range(len(across[0]))]
        for j, value in enumerate(to_outputs(k, across, line)):
            k.store(result, (i, j, *to), k.cast(value, result.dtype))
