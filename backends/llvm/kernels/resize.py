"""Resizing the last two axes of an image: each row written once, of rows of the source that are stretched once.

Nearest: a row of the result repeats elements of one row of the source. Linear: rows of the source are stretched on the
stack, where two of them stay until a later row of the result needs another, and are mixed by weights of the row. A row
that becomes 2, 4 or 8 times as long is stretched by shuffles (its weights are the same for every element), any other
one by gathers at positions that are computed once for a block of rows, in float64 as the op's meaning has them.

16M f32 made of 4M (Zen 5, one core): nearest 53 GB/s, of 55 that memory takes where four fifths are written; bilinear
40.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from chainrule.backends.llvm.kernels.grid import grid
from chainrule.backends.llvm.kernels.region import LANES, Kernel, KernelCall, Region
from chainrule.backends.llvm.kernels.shaping_rows import interleaved, known_sweep, lanes_of, whole_lines
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, ceil_div, imin
from chainrule.backends.loops import Value as V
from chainrule.ir.dims import dim_product
from chainrule.ir.graph import Value
from chainrule.ir.types import TensorType, f64, i32, i64
from chainrule.ops.resize import Resize, is_unchanged

ROWS = 64  # of the result that one parallel iteration makes: at the border of two, two rows are stretched again
STACK = 64 * 1024  # bytes of stretched rows and positions
FACTORS = (2, 4, 8)  # powers of two, whose places are the same in exact and in rounded arithmetic


def takes_resize(node: Value) -> bool:
    """True where only two neighbours change, of known sizes, and rows fit the stack."""
    op, x = node.op, node.inputs[0].tensor
    assert isinstance(op, Resize)
    if 0 in node.shape or x.rank == 0 or not (op.mode == "nearest" or x.dtype.bits >= 32):
        return False
    found = _pair(op, x)
    return found is not None and 4 * found[2].size * max(8, x.dtype.itemsize) <= STACK


def _pair(op: Resize, x: TensorType) -> tuple[int, _Axis, _Axis] | None:
    """The number of the last axis that changes, the one before it, and it; None where it cannot be so."""
    axes = list(zip(x.shape, op.sizes, op.scales, strict=True))
    changed = [i for i, (dim, size, scale) in enumerate(axes) if not is_unchanged(dim, size, scale)]
    last = changed[-1] if changed else x.rank - 1
    if any(i < last - 1 for i in changed) or not all(isinstance(d, int) for d in x.shape[last + 1 :]):
        return None
    made: list[_Axis] = []
    for dim, size, scale in [(1, 1, 0.0), *axes][last : last + 2]:
        if not isinstance(dim, int) or not isinstance(size, int):
            return None
        made.append(_Axis(op, dim, size, scale))
    return last, made[0], made[1]


def resize(region: Region, target: Target) -> list[KernelCall]:
    """One kernel for all images."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, Resize)
    op, x = anchor.op, anchor.inputs[0].tensor
    pair = _pair(op, x)
    assert pair is not None
    axis, rows, columns = pair
    inner = math.prod(int(d) for d in x.shape[axis + 1 :])
    kernel = Kernel(region, target, f"resize_{op.mode}")
    images = kernel.dim(dim_product(x.shape[: max(axis - 1, 0)]))
    last = () if inner == 1 else (inner,)
    source = kernel.input(0, (images, rows.dim, columns.dim, *last))
    into = kernel.output(0, (images, rows.size, columns.size, *last),
                         streams=whole_lines(x.dtype, inner if last else columns.size))  # fmt: skip
    kind = _Pixels if last else _Nearest if op.mode == "nearest" else _Linear
    made = kind(kernel.k, source, into, rows, columns)
    with grid(kernel, [images, ceil_div(as_int(rows.size), ROWS)]) as (image, block):
        made.prepare()
        with kernel.k.loop("y", block * ROWS, imin(block * ROWS + ROWS, rows.size)) as y:
            made.row(image, y)
    kernel.k.flops = math.prod(into.shape, start=as_int(4))
    return [kernel.built("pixels" if last else "by shuffles" if columns.factor else "by gathers")]


@dataclass(frozen=True)
class _Axis:
    """One axis: `dim` elements become `size`."""

    op: Resize
    dim: int
    size: int
    scale: float

    @property
    def is_unchanged(self) -> bool:
        return is_unchanged(self.dim, self.size, self.scale)

    @property
    def factor(self) -> int:
        """How many elements of the result each one becomes, all by the same weights; else 0. 1: unchanged."""
        if self.is_unchanged:
            return 1
        if self.op.mode == "nearest":
            times = self.op.times(self.size, self.dim, self.scale)
            return times if times <= max(FACTORS) else 0
        factor = self.size // self.dim
        fits = factor in FACTORS and self.size == factor * self.dim and self.scale in (0.0, float(factor))
        return factor if fits and self.op.coordinates != "align_corners" else 0

    def offset(self, j: int) -> float:
        """How far from element i of the source the place of element factor * i + j is."""
        return j / self.factor if self.op.coordinates == "asymmetric" else (j + 0.5) / self.factor - 0.5

    def end(self, i: int) -> tuple[int, float]:
        """The element of the source before the place of element i, and the weight of the one behind it."""
        place = min(max(float(self.op.places(self.size, self.dim, self.scale)[i]), 0.0), self.dim - 1.0)
        return math.floor(place), place - math.floor(place)

    def place(self, k: Builder, i: V) -> V:
        """Where elements lie in the source: f64, within its ends."""
        found = self._unbounded(k, i)
        return k.min(k.max(found, 0.0), float(max(self.dim - 1, 0)))

    def _unbounded(self, k: Builder, i: V) -> V:
        if self.op.coordinates == "align_corners":
            return k.div(k.mul(i, float(self.dim - 1)), float(max(self.size - 1, 1)))
        s = self.scale or self.size / self.dim
        if self.op.coordinates == "asymmetric":
            return k.div(i, s)
        if self.op.coordinates == "pytorch_half_pixel" and self.size <= 1:
            return k.mul(i, 0.0)
        return k.sub(k.div(k.add(i, 0.5), s), 0.5)

    def rounded(self, k: Builder, places: V) -> V:
        """The elements that are nearest to places."""
        match self.op.rounding:
            case "round_prefer_floor":
                return k.ceil(k.sub(places, 0.5))
            case "round_prefer_ceil":
                return k.floor(k.add(places, 0.5))
            case "floor":
                return k.floor(places)
            case _:
                return k.ceil(places)


@dataclass
class _Rows:
    """Rows of one image: what nearest and linear share."""

    k: Builder
    source: Buffer
    into: Buffer
    rows: _Axis
    columns: _Axis

    def positions(self, put: Callable[[Int, V], None]) -> None:
        """put(first column, places) for all columns of the result."""
        k = self.k

        def piece(at: Int, lanes: int) -> None:
            first = k.value(at, f64)
            put(at, self.columns.place(k, first if lanes == 1 else k.add(k.splat(first, lanes), k.iota(f64, lanes))))

        known_sweep(k, self.columns.size, LANES, piece)

    def write(self, image: Int, y: Int, value: Callable[[Int, int], V]) -> None:
        """A row of the result from value(first column, lanes)."""
        known_sweep(self.k, self.columns.size, lanes_of(self.into.dtype),
                    lambda at, lanes: self.k.store(self.into, (image, y, at), value(at, lanes)))  # fmt: skip

    def nearest_row(self, y: Int) -> Int:
        """The row of the source that a row of the result repeats."""
        k, rows = self.k, self.rows
        if rows.is_unchanged:
            return y
        return k.index(k.cast(rows.rounded(k, rows.place(k, k.value(y, f64))), i64), 0, rows.dim)

    def round_columns(self) -> Buffer:
        """The elements that those of a row repeat."""
        k, columns = self.k, self.columns
        taken = k.scratch("taken", i32, (columns.size,))
        self.positions(lambda at, places: k.store(taken, (at,), k.cast(columns.rounded(k, places), i32)))
        return taken

    def weigh_columns(self) -> tuple[Buffer, Buffer]:
        """The elements before the places of a row's, and the weights of those behind them."""
        k, columns, dtype = self.k, self.columns, self.into.dtype
        lows, weights = k.scratch("lows", i32, (columns.size,)), k.scratch("weights", dtype, (columns.size,))

        def put(at: Int, places: V) -> None:
            low = k.floor(places)
            k.store(lows, (at,), k.cast(low, i32))
            k.store(weights, (at,), k.cast(k.sub(places, low), dtype))

        self.positions(put)
        return lows, weights

    def around(self, axis: _Axis, i: Int) -> tuple[Int, Int, V]:
        """The two elements of the source around the place of element i, and the weight of the second one."""
        k = self.k
        place = axis.place(k, k.value(i, f64))
        floor = k.floor(place)
        low = k.index(k.cast(floor, i64), 0, axis.dim)
        return low, imin(low + 1, axis.dim - 1), k.cast(k.sub(place, floor), self.into.dtype)

    def mixed(self, a: V, b: V, weight: V) -> V:
        """a and b by weights, of which one may be 0: times an infinity it is NaN."""
        k = self.k
        return k.add(k.mul(a, k.sub(k.const(1, weight.dtype, weight.lanes), weight)), k.mul(b, weight))


class _Nearest(_Rows):
    """Rows of repeated elements."""

    def prepare(self) -> None:
        """The positions of a row's elements, where they are gathered."""
        if self.columns.factor == 0:
            self.taken = self.round_columns()

    def row(self, image: Int, y: Int) -> None:
        """One row of the result."""
        k, row, factor = self.k, self.nearest_row(y), self.columns.factor
        if factor == 0:
            self.write(image, y, lambda at, n: k.gather(self.source, (image, row, as_int(0)),
                                                        k.load(self.taken, (at,), n)))  # fmt: skip
            return

        def repeated(at: Int, lanes: int) -> None:
            parts = interleaved(k, [k.load(self.source, (image, row, at), lanes)] * factor)
            for j, part in enumerate(parts):
                k.store(self.into, (image, y, at * factor + j * lanes), part)

        known_sweep(k, self.columns.dim, lanes_of(self.into.dtype), repeated)


class _Linear(_Rows):
    """Rows mixed of two stretched ones."""

    def prepare(self) -> None:
        """Nothing is stretched yet; the positions and weights of a row's elements, where they are gathered."""
        k, columns, dtype = self.k, self.columns, self.into.dtype
        if columns.factor == 1:
            return
        self.lines, self.held = k.scratch("lines", dtype, (2, columns.size)), k.scratch("held", i64, (2,))
        for slot in range(2):
            k.store(self.held, (slot,), k.const(-1, i64))
        if columns.factor == 0:
            self.lows, self.weights = self.weigh_columns()

    def row(self, image: Int, y: Int) -> None:
        """One row of the result."""
        if self.rows.is_unchanged:
            self.write(image, y, self.line(image, y))
            return
        low, high, weight = self.around(self.rows, y)
        first, second = self.line(image, low), self.line(image, high)
        self.write(image, y, lambda at, lanes: self.mixed(first(at, lanes), second(at, lanes), weight))

    def line(self, image: Int, row: Int) -> Callable[[Int, int], V]:
        """A row of the source, stretched: (first column, lanes) -> elements."""
        k = self.k
        if self.columns.factor == 1:
            return lambda at, lanes: k.load(self.source, (image, row, at), lanes)
        slot = row % 2
        with k.when(k.cmp("ne", k.load(self.held, (slot,)), k.value(row, i64))):
            self.stretch(image, row, slot)
            k.store(self.held, (slot,), k.value(row, i64))
        return lambda at, lanes: k.load(self.lines, (slot, at), lanes)

    def stretch(self, image: Int, row: Int, slot: Int) -> None:
        """Stretches a row of the source onto the stack."""
        k, columns, factor = self.k, self.columns, self.columns.factor

        def gathered(at: Int, lanes: int) -> None:
            low = k.load(self.lows, (at,), lanes)
            a, b = (k.gather(self.source, (image, row, as_int(0)), place) for place in (low, k.add(low, 1)))
            k.store(self.lines, (slot, at), self.mixed(a, b, k.load(self.weights, (at,), lanes)))

        def woven(at: Int, lanes: int) -> None:
            """Elements at + 1 and so on of the source, which have neighbours on both sides."""
            near = {d: k.load(self.source, (image, row, at + 1 + d), lanes) for d in self.reach}
            parts: list[V] = []
            for j in range(factor):
                low = math.floor(columns.offset(j))
                weight = k.const(columns.offset(j) - low, self.into.dtype, lanes)
                parts.append(self.mixed(near[low], near[low + 1], weight))
            for j, part in enumerate(interleaved(k, parts)):
                k.store(self.lines, (slot, (at + 1) * factor + j * lanes), part)

        if factor == 0:
            known_sweep(k, columns.size, lanes_of(self.into.dtype), gathered)
            return
        if columns.dim > 2:
            known_sweep(k, columns.dim - 2, lanes_of(self.into.dtype), woven)
        for column in sorted({*range(factor), *range(columns.size - factor, columns.size)}):
            low, weight = columns.end(column)
            a, b = (k.load(self.source, (image, row, at)) for at in (low, min(low + 1, columns.dim - 1)))
            k.store(self.lines, (slot, column), self.mixed(a, b, k.const(weight, self.into.dtype)))

    @property
    def reach(self) -> list[int]:
        """How far from an element those are that its parts are mixed of."""
        lows = [math.floor(self.columns.offset(j)) for j in range(self.columns.factor)]
        return list(range(min(lows), max(lows) + 2))


class _Pixels(_Rows):
    """Rows of pixels with their channels last: pixels repeated, or mixed of the four around their place."""

    def prepare(self) -> None:
        """The positions of a row's pixels."""
        if self.nearest:
            self.taken = self.round_columns()
        else:
            self.lows, self.weights = self.weigh_columns()

    @property
    def nearest(self) -> bool:
        """True where pixels are repeated."""
        return self.columns.op.mode == "nearest"

    def row(self, image: Int, y: Int) -> None:
        """One row of the result."""
        k, columns = self.k, self.columns
        inner, lanes = int(self.into.shape[-1]), lanes_of(self.into.dtype)
        read = self.repeated(image, y) if self.nearest else self.blended(image, y)
        with k.loop("x", 0, columns.size) as x:
            pixel = read(x)
            known_sweep(k, inner, lanes, lambda c, n: k.store(self.into, (image, y, x, c), pixel(c, n)))

    def repeated(self, image: Int, y: Int) -> Callable[[Int], Callable[[Int, int], V]]:
        """Column -> (first channel, lanes) -> channels of the nearest pixel."""
        k, row = self.k, self.nearest_row(y)

        def pixel(x: Int) -> Callable[[Int, int], V]:
            column = k.index(k.load(self.taken, (x,)), 0, self.columns.dim)
            return lambda c, n: k.load(self.source, (image, row, column, c), n)

        return pixel

    def blended(self, image: Int, y: Int) -> Callable[[Int], Callable[[Int, int], V]]:
        """Column -> (first channel, lanes) -> channels mixed of the pixels around the place."""
        k, dim = self.k, self.columns.dim
        lines, across = [y], None
        if not self.rows.is_unchanged:
            *lines, across = self.around(self.rows, y)

        def pixel(x: Int) -> Callable[[Int, int], V]:
            low = k.index(k.load(self.lows, (x,)), 0, dim)
            high, along = imin(low + 1, dim - 1), k.load(self.weights, (x,))

            def channels(c: Int, n: int) -> V:
                read = [[k.load(self.source, (image, row, at, c), n) for at in (low, high)] for row in lines]
                mixed = [self.mixed(a, b, along) for a, b in read]
                return mixed[0] if across is None else self.mixed(mixed[0], mixed[1], across)

            return channels

        return pixel
