"""Convolution with channels last as implicit matrix multiplication: no im2col, the epilogue and a pool in registers.

With channels last the taps of one kernel row are kw*C neighbouring floats, so a convolution is the product of
matmul_tile.py whose rows are pixels: for each kernel row, a run of scalars per pixel times rows of the packed panel. A
tile is `across` pixels of one row, or with a fused pool the windows of `across` pooled pixels, which are combined in
registers before the only store. Where the row is no multiple of the tile, the last tile lies over the one before.

An iteration makes some rows of one image for all panels. Windows that touch the border read a padded strip of these
rows (conv_copy.py); the others read x in place. Depths of more than matmul_tile.BLOCK steps are summed kernel row by
kernel row, all tiles of the iteration taking turns so that a block of the panel stays in the caches.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from chainrule.backends.llvm.kernels.conv_copy import copy_row, padded_copy, rooms
from chainrule.backends.llvm.kernels.conv_places import Area, Spot, area_of, rounds, spot_of, tiles_of_row
from chainrule.backends.llvm.kernels.conv_shape import Geometry, Phase, Plan, geometry, phases, plan, strip_columns
from chainrule.backends.llvm.kernels.matmul_tile import BLOCK, Ask, Multiplier, Tile, ahead, split_lanes
from chainrule.backends.llvm.kernels.pack import spread_loop
from chainrule.backends.llvm.kernels.pool import larger
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region, Temp
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, Reg, as_int, ceil_div, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.dims import as_dim
from chainrule.ir.graph import Input, Value
from chainrule.ir.types import DType, TensorType, i64
from chainrule.ops.lowered import PanelConv, PoolLast, accumulated
from chainrule.ops.lowered_grouped import GroupedConv
from chainrule.ops.lowered_pairs import PairConv

UNROLLED_STEPS = 12  # steps of a kernel row that are written out


def panel_conv(region: Region, target: Target) -> list[KernelCall]:
    """One kernel for each phase, after one that copies x into a padded temporary where no strip would do."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, PanelConv | GroupedConv)
    return [call for phase in phases(anchor.op) for call in _phase(region, target, anchor, phase)]


def _phase(region: Region, target: Target, anchor: Value, phase: Phase) -> list[KernelCall]:
    op = phase.op
    pool = pool_behind(region, anchor)
    window = pool.op.window if pool is not None and isinstance(pool.op, PoolLast) else (1,) * len(op.kernel)
    kernel = Kernel(region, target, f"conv_{region.name}"[:80])
    others = (v for node in region.body.nodes if node is not anchor for v in node.inputs)
    for value in dict.fromkeys(v for v in others if isinstance(v.op, Input)):
        kernel.input(region.body.inputs.index(value))  # in its own shape first: x may also be added to the result
    if phase.op is not anchor.op:
        for i in range(len(region.body.outputs)):
            kernel.output(i, mode="rw")  # what other phases wrote stays
    x = anchor.inputs[0]
    g = geometry(kernel, op, kernel.dims(x.tensor.shape), kernel.dims(op.sizes), window)
    g = replace(g, apart=_keeps_apart(phase, anchor))
    dtype = accumulated(anchor.tensor.dtype)
    width = int(anchor.inputs[1].tensor.shape[-1]) // g.group  # type: ignore[arg-type]
    outs = kernel.dim(op.channels) // g.groups
    stored = x.dtype if g.group > 1 else accumulated(x.dtype)
    cut = plan(g, target, dtype, width, outs, x.dtype != stored or not isinstance(x.op, Input))
    calls: list[KernelCall] = []
    source: Buffer | None = None
    if cut.reading == "copy":
        room = [(as_dim(n) - 1) * s + d * (k - 1) + 1
                for n, s, d, k in zip(op.sizes, op.stride, op.dilation, op.kernel, strict=True)]  # fmt: skip
        temp = Temp(TensorType(stored, (x.shape[0], *room, x.shape[-1])))
        pad = Kernel(region, target, "pad_image")
        seen = geometry(pad, op, pad.dims(x.tensor.shape), pad.dims(op.sizes), window)
        around = (cut.rows * g.window[1] - 1) * g.stride[1] if _skips_taps(g, 1) else None
        calls.append(padded_copy(pad, x, seen, temp, around))
        source = kernel.temp(temp, mode="r", shape=rooms(g))
    elif cut.reading == "in place":
        place = kernel.region.body.inputs.index(x)
        source = kernel.input(place, (g.batch, g.image[0], g.image[1], g.image[2] * g.channels))
    _Conv(kernel, anchor, pool, phase, g, cut, dtype, width, outs, source).write()
    return [*calls, kernel.built(f"{cut.reading}, tile {cut.across * math.prod(g.window)}x{width}")]


def _keeps_apart(phase: Phase, anchor: Value) -> bool:
    """True where the taps of a kernel row are no run: a phase takes some of them, or the packed weight keeps each for
    itself (lowered_grouped.runs_of)."""
    assert isinstance(anchor.op, PanelConv | GroupedConv)
    return phase.step[-1] != 1 or (isinstance(anchor.op, GroupedConv) and anchor.op.spread[-1] != 1)


def pool_behind(region: Region, anchor: Value) -> Value | None:
    """The pool that the region computes on the convolution's tiles."""
    return next((n for n in region.body.nodes if isinstance(n.op, PoolLast)), None)


def takes_pool(conv: Value, pool: Value) -> bool:
    """True when a convolution's kernel can pool its tiles: windows side by side, none cut by the border."""
    op = pool.op
    if not isinstance(op, PoolLast) or op.window != op.stride or any(op.pad) or any(d != 1 for d in op.dilation):
        return False
    if not isinstance(conv.op, PanelConv | PairConv) or len(phases(conv.op)) > 1:
        return False
    if math.prod(op.window) > 4:
        return False
    even = all(isinstance(n, int) and n % w == 0 for n, w in zip(conv.shape[1:-1], op.window, strict=True))
    return even or not op.ceil_mode


@dataclass(frozen=True)
class _At:
    """A panel of a group. rest: columns of the last panel, None for a whole one."""

    group: Int
    panel: Int
    rest: Int | None


@dataclass(frozen=True)
class _Depth:
    """A run of steps: the tap, the panel's row of its first scalar, and which steps."""

    tap: tuple[Int, Int, Int]
    row: Int
    low: Int
    high: Int


@dataclass
class _Conv:
    """One convolution being written. source: what is read in place; None for a strip, made per iteration."""

    kernel: Kernel
    anchor: Value
    pool: Value | None
    phase: Phase
    g: Geometry
    cut: Plan
    dtype: DType
    width: int
    outs: Int
    source: Buffer | None
    strip: Buffer | None = None
    waiting: dict[tuple[int, ...], Multiplier] = field(default_factory=dict)

    @property
    def k(self) -> Builder:
        return self.kernel.k

    @property
    def panels(self) -> Int:
        return ceil_div(self.outs, self.width)

    def write(self) -> None:
        """The parallel loop and, inside, panels, rows and tiles."""
        g, k, cut = self.g, self.k, self.cut
        k.flops = math.prod(g.sizes, start=2 * g.batch * g.channels * self.outs) * math.prod(g.kernel)
        grid = (
            g.batch, g.pooled[0], ceil_div(g.pooled[1], cut.rows),
            as_int(1) if cut.whole else ceil_div(tiles_of_row(g, cut), cut.span),
            as_int(g.groups) if cut.split else as_int(1), self.panels if cut.split else as_int(1),
        )  # fmt: skip
        with spread_loop(k, grid) as (batch, plane, block, segment, group, panel):
            area = area_of(g, cut, (batch, plane, block, segment))
            if cut.reading == "strip":
                self._fill_strip(area)
            if cut.split:
                self._panel(area, group, panel)
            elif g.groups == 1:
                self._panels(area, as_int(0))
            else:
                with k.loop("g", 0, g.groups) as each:
                    self._panels(area, each)

    def _panels(self, area: Area, group: Int) -> None:
        k, n = self.k, self.outs
        full = split_lanes(self.width, self.dtype)
        whole = n // self.width
        if not (whole.is_const and whole.const == 0):
            with k.loop("p", 0, whole) as panel:
                self._tiles(area, _At(group, panel, None), full)
        rest = n - whole * self.width
        if rest.is_const:
            if rest.const:
                self._tiles(area, _At(group, whole, rest), split_lanes(rest.const, self.dtype))
            return
        with k.when(k.cmp("gt", rest, 0)):
            self._tiles(area, _At(group, whole, rest), full)

    def _panel(self, area: Area, group: Int, panel: Int) -> None:
        """One panel, where they are split over iterations."""
        k, n = self.k, self.outs
        full = split_lanes(self.width, self.dtype)
        rest = n - n // self.width * self.width
        if rest.is_const and rest.const == 0:
            self._tiles(area, _At(group, panel, None), full)
            return
        with k.when(k.cmp("lt", panel, n // self.width)):
            self._tiles(area, _At(group, panel, None), full)
        with k.otherwise():
            last = split_lanes(rest.const, self.dtype) if rest.is_const else full
            self._tiles(area, _At(group, panel, rest), last)

    def _fill_strip(self, area: Area) -> None:
        """Copies the rows and columns that the iteration's windows reach."""
        g, k = self.g, self.k
        planes, rows, columns = self.cut.strip(g)
        if self.strip is None:
            x = self.anchor.inputs[0]
            stored = x.dtype if g.group > 1 else accumulated(x.dtype)
            self.strip = k.scratch("strip", stored, (planes, rows, g.channels * columns))
        low = area.first * (g.window[1] * g.stride[1])
        used = (area.count * g.window[1] - 1) * g.stride[1] + g.reach[1]
        read = strip_columns(g, area.columns) if self.cut.counted else as_int(columns)
        left = area.tile * (self.cut.across * g.window[2] * g.stride[2])
        with _loop(k, "sz", self.strip.shape[0]) as z, k.loop("sy", 0, used) as y:
            corner = (area.batch, area.plane * (g.window[0] * g.stride[0]) + z, low + y, left)
            copy_row(self.kernel, self.anchor.inputs[0], g, corner, read, self.strip, (z, y))

    # -- tiles ---------------------------------------------------------------------------------------------------------

    def _tiles(self, area: Area, at: _At, lanes: tuple[int, ...]) -> None:
        """All tiles of an iteration for one panel."""
        k, g, cut = self.k, self.g, self.cut
        tile = Tile(self.dtype, cut.across * math.prod(g.window), lanes)
        if cut.blocked:
            self._tiles_in_turns(area, at, tile)
            return
        multiplier = Multiplier(k, tile)
        stretches, tiles, _ = rounds(cut, area)
        with _loop(k, "y", stretches) as y, k.loop("i", 0, tiles) as i:
            spot = spot_of(k, g, cut, area, y, i)
            sums, turn = multiplier.zeros(), y * tiles + i
            with self._depth(area) as depth:
                self._accumulate(multiplier, sums, area, at, spot, depth, turn)
            self._store(area, at, spot, [[k.get(r) for r in row] for row in sums])

    def _tiles_in_turns(self, area: Area, at: _At, tile: Tile) -> None:
        """Block of depth by block, all tiles of the iteration: the block of the panel is read from memory once."""
        k, g, cut = self.k, self.g, self.cut
        if tile.lanes not in self.waiting:
            self.waiting[tile.lanes] = Multiplier(k, tile, cut.span * cut.rows)
        multiplier = self.waiting[tile.lanes]
        stretches, tiles, apart = rounds(cut, area)
        multiplier.clear(stretches * apart)
        with self._depth(area) as depth, _loop(k, "y", stretches) as y, k.loop("i", 0, tiles) as i:
            sums = multiplier.zeros()
            self._accumulate(multiplier, sums, area, at, spot_of(k, g, cut, area, y, i), depth, y * apart + i)
            multiplier.collect(y * apart + i, sums)
        with _loop(k, "y", stretches) as y, k.loop("i", 0, tiles) as i:
            self._store(area, at, spot_of(k, g, cut, area, y, i), multiplier.collected(y * apart + i))

    @contextmanager
    def _depth(self, area: Area) -> Iterator[_Depth]:
        """The loops over the kernel's taps down to a run of steps over neighbouring scalars."""
        g, k = self.g, self.k
        runs = g.runs()
        length = ceil_div(g.inner * (g.kernel[2] if runs else 1), g.group)
        chunks, size = as_int(1), length
        if not (length.is_const and length.const <= BLOCK):
            chunks = ceil_div(length, BLOCK)
            size = as_int(-(-length.const // chunks.const)) if length.is_const else as_int(BLOCK)
        with ExitStack() as stack:
            z, y, x = (as_int(0) if axis == 2 and runs else stack.enter_context(self._taps(area, axis))
                       for axis in range(3))  # fmt: skip
            chunk = stack.enter_context(_loop(k, "kc", chunks))
            yield _Depth((z, y, x), self._panel_row(z, y, x), chunk * size, imin(chunk * size + size, length))

    def _taps(self, area: Area, axis: int) -> AbstractContextManager[Int]:
        """The loop over the taps of an axis; where they lie far apart, over those that meet the image in this area."""
        g, k, name = self.g, self.k, ("kz", "ky", "kx")[axis]
        taps, apart, window, stride = g.kernel[axis], g.dilation[axis], g.window[axis], g.stride[axis]
        if not _skips_taps(g, axis):
            return _loop(k, name, as_int(taps))
        begin, count = ((area.plane, as_int(1)), (area.first, area.count),
                        (area.tile * self.cut.across, area.columns))[axis]  # fmt: skip
        first, last = begin * window * stride - g.pad[axis], ((begin + count) * window - 1) * stride - g.pad[axis]
        limits = ceil_div(0 - last, apart), (g.image[axis] - 1 - first) // apart + 1
        low, high = (k.index(k.value(limit, i64), 0, taps + 1) for limit in limits)
        return k.loop(name, low, high)

    def _panel_row(self, z: Int, y: Int, x: Int) -> Int:
        """The row of a tap's first channel in the panels, which hold the taps of all phases."""
        assert isinstance(self.anchor.op, PanelConv | GroupedConv)
        row, inner = as_int(0), self.g.inner
        taps = list(zip(self.g.outer((z, y, x)), self.anchor.op.kernel, self.phase.first, self.phase.step, strict=True))
        if self.g.group > 1:
            inner = ceil_div(self.g.run, self.g.group)
            taps = taps[:-1] if self.g.runs() else taps
        for tap, count, first, step in taps:
            row = row * count + first + tap * step
        return row * inner

    def _accumulate(self, multiplier: Multiplier, sums: Sequence[Sequence[Reg]], area: Area, at: _At, spot: Spot,
                    depth: _Depth, turn: Int) -> None:  # fmt: skip
        """The steps of one run for the tile whose turn it is."""
        g, k = self.g, self.k
        pixels = [(spot[j], offset) for j, offset in self._pixels()]

        def left(r: int, step: Int, rest: int | None) -> LoopValue:
            (pixel, (dz, dy, dx)) = pixels[r]
            column = (pixel.reads * g.window[2] + dx) * g.stride[2] * g.channels
            column = column + depth.tap[2] * (g.dilation[2] * g.channels) + at.group * g.inner + step * g.group
            z = dz * g.stride[0] + depth.tap[0] * g.dilation[0]
            y = dy * g.stride[1] + depth.tap[1] * g.dilation[1]
            if self.source is None:
                assert self.strip is not None
                return k.load(self.strip, (z, pixel.y * (g.window[1] * g.stride[1]) + y, column), g.group, mask=rest)
            place = (area.batch, area.plane * (g.window[0] * g.stride[0]) + z,
                     pixel.row * (g.window[1] * g.stride[1]) + y, column)  # fmt: skip
            found = k.load(self.source, place, g.group, mask=rest)
            return found if g.group > 1 else self.kernel.widened(found)

        def right(step: Int, start: int, lanes: int) -> LoopValue:
            index = (at.group, at.panel, depth.row + step, start * g.group)
            return self._weights(index, lanes * g.group)

        ask = self._ask(at, depth, turn)
        few = depth.high.is_const and depth.low.is_const and depth.high.const - depth.low.const <= UNROLLED_STEPS
        for low, high, rest in self._steps(depth):
            with k.loop("j", low, high, unroll=few) as step:
                if ask is not None:
                    ask(step)
                multiplier.step(sums, step, partial(left, rest=rest), right)

    def _steps(self, depth: _Depth) -> list[tuple[Int, Int, int | None]]:
        """(first step, end, numbers that a step takes of a pixel where these are not all): a run's last step stays
        within it, as what lies behind it may be infinite, and no zero of the weight takes that away."""
        g = self.g
        rest = g.run.const % g.group if g.group > 1 else 0
        if not rest:
            return [(depth.low, depth.high, None)]
        whole = g.run.const // g.group
        return [(depth.low, imin(depth.high, whole), None), (imax(depth.low, whole), depth.high, rest)]

    def _weights(self, index: Sequence[Int | int], lanes: int) -> LoopValue:
        """A vector of the packed weight; what is multiplied in groups stays as narrow as it is."""
        kernel, panels = self.kernel, self.anchor.inputs[1]
        if self.g.group > 1 and isinstance(panels.op, Input):
            return kernel.k.load(kernel.input(kernel.region.body.inputs.index(panels)), index, lanes)
        found = kernel.fit(kernel.read(panels, index, lanes), lanes)
        return kernel.k.cast(found, panels.dtype) if self.g.group > 1 else found

    def _ask(self, at: _At, depth: _Depth, turn: Int) -> Ask | None:
        """What fetches the block of the weight that comes next; steps are those of the run."""
        panels, tiles = self.anchor.inputs[1], self.cut.rows * self.cut.span
        if not self.cut.far or tiles < 2 or not isinstance(panels.op, Input) or self.phase.op is not self.anchor.op:
            return None
        buffer = self.kernel.input(self.kernel.region.body.inputs.index(panels))
        if self.cut.blocked:
            first, size = depth.row + depth.low, depth.high - depth.low
            ask = ahead(self.k, buffer, (at.group, at.panel, first + size), size, turn, tiles)
            return lambda step: ask(step - depth.low)
        size = buffer.shape[2]
        ask = ahead(self.k, buffer, (at.group, at.panel, size), size, turn, tiles)
        return lambda step: ask(depth.row + step)

    def _pixels(self) -> list[tuple[int, tuple[int, int, int]]]:
        """(pooled column, offset in its window) of each row of the tile."""
        deep, high, wide = (range(n) for n in self.g.window)
        return [(j, spot) for j in range(self.cut.across) for spot in itertools.product(deep, high, wide)]

    # -- results -------------------------------------------------------------------------------------------------------

    def _store(self, area: Area, at: _At, spot: Spot, sums: Sequence[Sequence[LoopValue]]) -> None:
        """The epilogue of a tile, pooled pixel by pooled pixel."""
        per, k = math.prod(self.g.window), self.k
        for j, pixel in enumerate(spot):
            part = sums[j * per : (j + 1) * per]
            if pixel.ragged:
                with k.when(k.cmp("lt", pixel.column, self.g.pooled[2])):
                    self._store_pixel(area, at, pixel.row, pixel.column, part)
            else:
                self._store_pixel(area, at, pixel.row, pixel.column, part)

    def _store_pixel(self, area: Area, at: _At, row: Int, px: Int, sums: Sequence[Sequence[LoopValue]]) -> None:
        g, k, start = self.g, self.k, 0
        inside = g.outer((area.plane, row, px))
        place = (area.batch, *(
            i * step + r for i, step, r in zip(inside, self.phase.step, self.phase.offset, strict=True)))  # fmt: skip
        for i, value in enumerate(sums[0]):
            lanes = value.lanes
            channel = at.group * self.outs + at.panel * self.width + start
            mask = self._mask(at, start, lanes)
            if self.pool is None:
                self.kernel.write((*place, channel), {self.anchor: self._finished(value, channel, mask)}, lanes, mask)
            else:
                inputs: list[LoopValue] = []
                for (_, (dz, dy, dx)), values in zip(self._pixels(), sums, strict=False):
                    pixel = g.outer((area.plane * g.window[0] + dz, row * g.window[1] + dy, px * g.window[2] + dx))
                    known = {self.anchor: self._finished(values[i], channel, mask)}
                    index = (area.batch, *pixel, channel)
                    inputs.append(self.kernel.read(self.pool.inputs[0], index, lanes, mask, known))
                pooled = combined(k, self.pool, inputs)
                self.kernel.write((*place, channel), {self.pool: pooled}, lanes, mask)
            start += lanes

    def _finished(self, value: LoopValue, channel: Int, mask: Int | None) -> LoopValue:
        """The convolution's own result: with its bias, rounded to its element type."""
        if len(self.anchor.inputs) == 3:
            bias = self.kernel.read(self.anchor.inputs[2], (channel,), value.lanes, mask)
            value = self.k.add(value, self.kernel.fit(bias, value.lanes))
        return self.k.cast(value, self.anchor.tensor.dtype)

    def _mask(self, at: _At, start: int, lanes: int) -> Int | None:
        if at.rest is None or (at.rest.is_const and at.rest.const - start >= lanes):
            return None
        return at.rest - start


def _skips_taps(g: Geometry, axis: int) -> bool:
    """True where the taps of an axis lie so far apart that those which meet nothing but padding are left out."""
    return g.dilation[axis] > 1 and g.spread[axis] == 1 and not g.fill


def combined(k: Builder, pool: Value, inputs: Sequence[LoopValue]) -> LoopValue:
    """The pool of the elements of one window."""
    assert isinstance(pool.op, PoolLast)
    result = inputs[0]
    for value in inputs[1:]:
        result = larger(k, result, value) if pool.op.kind == "max" else k.add(result, value)
    return result if pool.op.kind == "max" else k.div(result, k.const(len(inputs), result.dtype))


@contextmanager
def _loop(k: Builder, name: str, count: Int) -> Iterator[Int]:
    """A loop, or just its body where it runs once."""
    if count.is_const and count.const == 1:
        yield as_int(0)
        return
    with k.loop(name, 0, count) as i:
        yield i
