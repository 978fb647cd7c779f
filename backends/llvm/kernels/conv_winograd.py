"""Convolution by Winograd's tiles: transform tiles of pixels, multiply them by transformed weights, transform back.

    1. inputs: for a vector of channels, the pixels under a block of tiles go to a padded strip; each tile is
       transformed from there, axis by axis, and its numbers go to one row of each of the (m + r - 1)^2 matrices.
    2. products: each matrix [tiles, channels] times its matrix of weights, with the register tile of matmul_tile.py.
    3. outputs: a vector of output channels of each tile is transformed back, gets its bias, runs through the epilogue
       (and a pool whose windows lie inside a tile) and is stored.

Where the weights are small, one parallel iteration runs all three on a block of tiles whose matrices fit the
second-level cache (on the stack). Where they are large they must be read once, not once per block: then the matrices of
all tiles are temporaries and the steps are kernels of their own, split by rows of tiles, by matrices and panels, and by
rows of tiles again. Where sizes are named and it depends on them, a program has the kernels of both
ways, and a call gives all images to one of them. An axis that is not transformed (the depth of C3D's kernels) is summed
tap by tap in the products.

Measured on one Zen 5 core of 272 GFLOP/s, 4x4 tiles, multiply-adds of direct sums per time over that peak: 64@56 3.0,
128@28 3.1, 256@14 2.7, 64@224 2.1. The products run at 80 to 93 % of the peak; they are four fifths of the time at
64@56 and two thirds at 64@224, where images come from memory.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from chainrule.backends.llvm.kernels.conv import combined, pool_behind
from chainrule.backends.llvm.kernels.conv_winograd_inputs import Area, Inputs, area_of, loop
from chainrule.backends.llvm.kernels.conv_winograd_product import Place, Products, register_rows
from chainrule.backends.llvm.kernels.conv_winograd_shape import Plan, Tiling, parts, plans, tiling
from chainrule.backends.llvm.kernels.pack import spread_loop
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region, Temp, refuse
from chainrule.backends.llvm.kernels.winograd_lines import to_outputs
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.dims import Dim, dim_product, floordiv
from chainrule.ir.graph import Value
from chainrule.ir.types import TensorType
from chainrule.ops.lowered import PoolLast
from chainrule.ops.lowered_winograd import WinogradConv
from chainrule.ops.toom_cook import short_convolution


def winograd_conv(region: Region, target: Target) -> list[KernelCall]:
    """One kernel for blocks of tiles, or one each for inputs, products and outputs."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, WinogradConv)
    shape = (*(1,) * (3 - len(anchor.op.kernel)), *anchor.op.tile)
    if shape[0] > 1 or (shape[1] == 1 and len(shape) - len(anchor.op.tile) < 2) or shape[2] == 1:
        raise refuse(region, f"tiles of {anchor.op.tile} outputs have no kernel")
    images = anchor.inputs[0].shape[0]
    t = tiling(_kernel(region, target, "winograd"), anchor)
    ways = plans(t, images, register_rows(t, target))
    return [call for cut in ways for call in _way(region, target, anchor, cut)]


def _way(region: Region, target: Target, anchor: Value, cut: Plan) -> list[KernelCall]:
    """The kernels of one way."""
    if cut.whole:
        return _in_steps(region, target, anchor, cut)
    kernel = _kernel(region, target, "winograd")
    t = _taken(kernel, anchor, cut)
    _blocks(kernel, anchor, t, cut, target)
    return [kernel.built(_why(t, cut))]


def _taken(kernel: Kernel, anchor: Value, cut: Plan) -> Tiling:
    """The geometry of one way. Where a call may take another, this one sees as many images as it is to make: none."""
    t = tiling(kernel, anchor)
    if cut.taken == 1:
        return t
    body, (batch, *_) = kernel.region.body, anchor.inputs[0].shape
    images = kernel.size(_images(anchor, cut), "images")
    for i, value in enumerate(body.inputs):
        if value.rank == anchor.rank and value.shape[0] == batch:
            kernel.input(i, (images, *value.shape[1:]))
    for i, value in enumerate(body.outputs):
        kernel.output(i, (images, *value.shape[1:]), mode="rw")  # what another way wrote stays
    return replace(t, batch=images)


def _images(anchor: Value, cut: Plan) -> Dim:
    """Images that a call makes this way."""
    return anchor.inputs[0].shape[0] * cut.taken


def _why(t: Tiling, cut: Plan) -> str:
    return f"F({_by(t.tile)}, {_by(t.kernel)}), {cut.text}"


def takes_pool_in_tiles(conv: Value, pool: Value) -> bool:
    """True when a Winograd convolution can pool its tiles: windows side by side inside a tile, none cut by a border."""
    op = pool.op
    if not isinstance(conv.op, WinogradConv) or not isinstance(op, PoolLast) or op.window != op.stride:
        return False
    if any(op.pad) or any(d != 1 for d in op.dilation) or len(op.window) > 2:
        return False
    if any(m % w for m, w in zip(conv.op.tile, op.window, strict=True)):
        return False
    even = all(isinstance(n, int) and n % w == 0 for n, w in zip(conv.shape[1:-1], op.window, strict=True))
    return even or not op.ceil_mode


def _by(numbers: Sequence[int]) -> str:
    return "x".join(str(n) for n in numbers)


def _kernel(region: Region, target: Target, name: str) -> Kernel:
    """A kernel of the region, in which every input is seen in its own shape."""
    return Kernel(region, target, f"{name}_{region.name}"[:80])


def _blocks(kernel: Kernel, anchor: Value, t: Tiling, cut: Plan, target: Target) -> None:
    """All three steps, block by block."""
    k, tiles = kernel.k, cut.most
    left = k.scratch("v", t.dtype, (t.matrices, tiles | 1, t.row))
    right = k.scratch("m", t.dtype, (t.matrices, tiles | 1, t.out_row(1)))
    inputs, outputs = Inputs(kernel, anchor, t, cut, left), _Outputs(kernel, anchor, t, cut, right)
    products = Products(kernel, anchor, t, target, left, right, tiles, spare=cut.is_named)
    k.flops = math.prod(t.sizes, start=2 * t.batch * t.channels * t.outs) * math.prod(t.kernel)

    def panel_by_panel(area: Area, panel: Int, columns: int) -> None:
        """The products of all matrices with a panel, and its outputs: only these wait at a time."""
        count = imin(imax(0, area.rows) * area.pitch, tiles) if cut.is_named else as_int(tiles)
        with k.loop("t", 0, t.matrices) as matrix:
            products.write(matrix, panel, as_int(0), Place(as_int(0), as_int(0)), count)
        outputs.write(area, panel * t.width, columns)

    with spread_loop(k, (t.batch, *_grid(kernel, t, cut))) as (batch, plane, block, segment):
        area = area_of(kernel, t, cut, (batch, plane, block, segment), as_int(0))
        inputs.write(area, as_int(0), as_int(t.vectors))
        whole = t.outs // t.width
        with loop(k, "p", as_int(whole)) as panel:
            panel_by_panel(area, panel, t.width)
        if t.outs % t.width:
            panel_by_panel(area, as_int(whole), t.outs % t.width)


def _in_steps(region: Region, target: Target, anchor: Value, cut: Plan) -> list[KernelCall]:
    """A kernel for each step, on temporaries that hold the matrices of all tiles."""
    op, x = anchor.op, anchor.inputs[0]
    assert isinstance(op, WinogradConv)
    first, second, third = (_kernel(region, target, f"winograd_{n}") for n in ("in", "mul", "out"))
    images = _images(anchor, cut)
    t = _taken(first, anchor, cut)
    why = _why(t, cut)
    depth: Sequence[Dim] = x.shape[1:-3] if t.rank == 3 else ()
    places, made = dim_product((images, *depth, *t.tiles[1:])), dim_product((images, *t.tiles))
    before = Temp(TensorType(t.dtype, (t.matrices, _odd(places), t.row)))
    after = Temp(TensorType(t.dtype, (t.matrices, _odd(made), t.out_row(t.panels))))
    flops = math.prod(t.sizes, start=2 * t.batch * t.channels * t.outs) * math.prod(t.kernel)

    def matrices(kernel: Kernel, t: Tiling, temp: Temp, mode: str) -> Buffer:
        """A temporary of a matrix for each product, [matrices, tiles, row], in the kernel's own sizes."""
        planes = t.image[0] if temp is before else t.counts[0]
        places = t.batch * planes * t.counts[1] * t.counts[2]
        return kernel.temp(temp, mode, (t.matrices, places // 2 * 2 + 1, temp.type.shape[2]))

    seen = replace(t, sizes=(t.image[0], *t.sizes[1:]), counts=(t.image[0], *t.counts[1:]), pad=(0, *t.pad[1:]),
                   tiles=(*depth, *t.tiles)[-3:], kernel=(1, *t.kernel[1:]))  # fmt: skip
    inputs = Inputs(first, anchor, seen, cut, matrices(first, t, before, "w"))
    first.k.flops = t.batch * math.prod(seen.counts) * (t.matrices * 8 * t.channels)
    with spread_loop(first.k, (t.batch, *_grid(first, seen, cut), as_int(t.vectors))) as (*place, vector):
        inputs.write(area_of(first, seen, cut, place, None), vector, as_int(1))

    t = _taken(second, anchor, cut)
    products = Products(second, anchor, t, target, matrices(second, t, before, "r"), matrices(second, t, after, "w"))
    second.k.flops = flops
    products.all_tiles()

    t = _taken(third, anchor, cut)
    outputs = _Outputs(third, anchor, t, cut, matrices(third, t, after, "r"))
    third.k.flops = t.batch * math.prod(t.counts) * (t.matrices * 8 * t.outs)
    with spread_loop(third.k, (t.batch, *_grid(third, t, cut))) as place:
        outputs.write(area_of(third, t, cut, place, None), as_int(0), t.outs)
    return [first.built(why), second.built(products.text), third.built(why)]


def _odd(count: Dim) -> Dim:
    """The next odd number."""
    return floordiv(count, 2) * 2 + 1


def _grid(kernel: Kernel, t: Tiling, cut: Plan) -> tuple[Int, Int, Int]:
    """Planes, and blocks of tiles along the other axes."""
    _, high, wide = t.tiles
    return t.counts[0], kernel.size(parts(high, cut.rows), "blocks"), kernel.size(parts(wide, cut.columns), "segments")


@dataclass(frozen=True)
class _Channels:
    """A vector of output channels: where it is in the matrices' rows, its first channel, how many there are."""

    column: Int
    channel: Int
    mask: int | None


@dataclass
class _Outputs:
    """The transform back. matrices: [products, tiles, out_row]."""

    kernel: Kernel
    anchor: Value
    t: Tiling
    cut: Plan
    matrices: Buffer
    patch: Buffer = field(init=False)
    pool: Value | None = field(init=False)

    def __post_init__(self) -> None:
        t = self.t
        self.pool = pool_behind(self.kernel.region, self.anchor)
        self.patch = self.kernel.k.scratch("sums", t.dtype, (t.tile[1], t.products[2] * t.lanes))

    @property
    def window(self) -> tuple[int, int]:
        """Rows and columns of the pool's windows."""
        if self.pool is None:
            return 1, 1
        assert isinstance(self.pool.op, PoolLast)
        return (1, *self.pool.op.window)[-2], self.pool.op.window[-1]

    def write(self, area: Area, first: Int, count: int) -> None:
        """The outputs of a block, `count` channels from `first` on, which lie at the begin of the matrices' rows."""
        k, lanes = self.kernel.k, self.t.lanes
        whole, rest = divmod(count, lanes)

        def tiles(column: Int, mask: int | None) -> None:
            with loop(k, "ty", area.rows) as y, loop(k, "tx", area.columns) as x:
                place = (area.batch, area.plane, area.top + y, area.side + x)
                self._tile(place, area.row(self.cut, y, x), _Channels(column, first + column, mask))

        if whole:
            with loop(k, "o", as_int(whole)) as o:
                tiles(o * lanes, None)
        if rest:
            tiles(as_int(whole * lanes), rest)

    def _tile(self, place: tuple[Int, Int, Int, Int], row: Int, c: _Channels) -> None:
        """Transforms one tile along its columns, then along its rows, stored one by one (a pool's in pairs)."""
        t, k, lanes = self.t, self.kernel.k, self.t.lanes
        high, wide = t.products[1:]
        across = short_convolution(t.tile[2], t.kernel[2]).outputs
        if high == 1:
            line = to_outputs(k, across, [k.load(self.matrices, (j, row, c.column), lanes) for j in range(wide)])
            self._store(place, as_int(0), [line], c)
            return
        down = short_convolution(t.tile[1], t.kernel[1]).outputs
        with k.loop("j", 0, wide) as j:
            values = [k.load(self.matrices, (j + i * wide, row, c.column), lanes) for i in range(high)]
            for i, value in enumerate(to_outputs(k, down, values)):
                k.store(self.patch, (i, j * lanes), value)
        step = self.window[0]
        with loop(k, "i", as_int(t.tile[1] // step)) as i:
            lines = [[k.load(self.patch, (i * step + r, j * lanes), lanes) for j in range(wide)] for r in range(step)]
            self._store(place, i, [to_outputs(k, across, line) for line in lines], c)

    def _store(self, place: tuple[Int, Int, Int, Int], i: Int, lines: Sequence[Sequence[LoopValue]],
               c: _Channels) -> None:  # fmt: skip
        """The outputs that lie in the image. i: row of the tile, or of its windows; lines: the row, or a window's."""
        t, k = self.t, self.kernel.k
        batch, plane, ty, tx = place
        high, wide = self.window
        y = ty * (t.tile[1] // high) + i
        rows, columns = t.sizes[1] // high, t.sizes[2] // wide

        across = t.tile[2] // wide
        even = _even(t.sizes[2], t.tile[2])

        def pixels(inside: bool) -> None:
            for j in range(across):
                x = tx * across + j
                with _where(k, x, columns, inside):
                    window = [line[j * wide : (j + 1) * wide] for line in lines]
                    self._pixel((batch, plane, y, x), window, c)

        with _where(k, y, rows, _even(t.sizes[1], t.tile[1])):
            with _where(k, tx * across + (across - 1), columns, even):
                pixels(True)
            if not even:
                with k.otherwise():
                    pixels(False)

    def _pixel(self, at: tuple[Int, Int, Int, Int], window: Sequence[Sequence[LoopValue]], c: _Channels) -> None:
        """One output, or the pool of a window of them. at: image, plane, row and column."""
        t, lanes = self.t, self.t.lanes
        batch, plane, y, x = at
        place = (batch, *t.outer((plane, y, x)), c.channel)
        if self.pool is None:
            known = {self.anchor: self._finished(window[0][0], c)}
            self.kernel.write(place, known, lanes, c.mask)
            return
        high, wide = self.window
        inputs: list[LoopValue] = []
        for dy, dx in itertools.product(range(high), range(wide)):
            index = (batch, *t.outer((plane, y * high + dy, x * wide + dx)), c.channel)
            known = {self.anchor: self._finished(window[dy][dx], c)}
            inputs.append(self.kernel.read(self.pool.inputs[0], index, lanes, c.mask, known))
        self.kernel.write(place, {self.pool: combined(self.kernel.k, self.pool, inputs)}, lanes, c.mask)

    def _finished(self, value: LoopValue, c: _Channels) -> LoopValue:
        """The convolution's own result: with its bias, rounded to its element type."""
        k = self.kernel.k
        if len(self.anchor.inputs) == 3:
            bias = self.kernel.read(self.anchor.inputs[2], (c.channel,), value.lanes, c.mask)
            value = k.add(value, self.kernel.fit(bias, value.lanes))
        return k.cast(value, self.anchor.tensor.dtype)


def _even(size: Int, tile: int) -> bool:
    """True where the last tile is whole."""
    return size.is_const and size.const % tile == 0


@contextmanager
def _where(k: Builder, at: Int, end: Int, always: bool) -> Iterator[None]:
    """The body where a place lies before the end; always: it certainly does."""
    if always:
        yield
        return
    with k.when(k.cmp("lt", at, end)):
        yield
