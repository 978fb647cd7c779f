"""Folds over rows and columns of a merged space: the loops that reductions, softmax, norms and running sums share.

Rows: vectors along the last group, SIDE states side by side in blocks of BLOCK elements. Columns: vectors across, SIDE
side by side, STEPS places of the innermost reduced group at a time. Wide columns: a panel of them at a time, its wide
states on the stack, so that memory is read in stretches of several KB instead of one cache line per page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from chainrule.backends.llvm.kernels.grid import grid
from chainrule.backends.llvm.kernels.reduce_folds import STEPS, Fold, State
from chainrule.backends.llvm.kernels.reduce_space import Space
from chainrule.backends.llvm.kernels.region import LANES, Kernel
from chainrule.backends.loops import Buffer, Builder, Int, Reg, as_int, ceil_div, imax, imin
from chainrule.backends.loops import Value as V
from chainrule.ir.dims import dim_product
from chainrule.ir.types import i64

SIDE = 4  # vectors side by side: enough to hide an addition's latency
BLOCK = SIDE * STEPS * LANES
AHEAD = 8192  # bytes between what is read and what is asked for
AHEAD_ROWS = 2  # of such parts of rows
PANEL = 1024  # columns of a panel, at the most
LEAST_PANEL = 256

At = Callable[[Int, int, Int | None], V]
Element = Callable[[Sequence[Int], int, Int | None], V]
Ranges = dict[int, tuple[Int, Int]]


def registers(k: Builder, state: State) -> list[Reg]:
    """A state in registers."""
    return [k.reg(v) for v in state]


def current(regs: Sequence[Reg]) -> State:
    """The state that registers hold."""
    return tuple(r.get() for r in regs)


def assign(regs: Sequence[Reg], state: State) -> None:
    """Sets the registers of a state."""
    for reg, value in zip(regs, state, strict=True):
        reg.set(value)


def placed(space: Space, place: Sequence[Int]) -> list[Int]:
    """Places of the kept groups as an index of the space, 0 along the others."""
    index = [as_int(0)] * len(space.dims)
    for g, at in zip(space.kept, place, strict=True):
        index[g] = at
    return index


def moved(index: Sequence[Int], by: int) -> list[Int]:
    """An index moved along the last group."""
    return [*index[:-1], index[-1] + by]


def column_tile(kernel: Kernel, space: Space, place: Sequence[Int]) -> Iterator[tuple[list[Int], int, Int | None]]:
    """(index, vectors side by side, lanes of them that count) for the pieces of a tile of the last group.

    place: of the kept groups, the last counted in tiles. A whole tile is one piece; a partial one whole vectors and a
    rest. Yields inside the branches of the kernel, so that the caller's code lands there.
    """
    k = kernel.k
    size = kernel.dim(space.dims[-1])
    tile = SIDE * LANES
    start = place[-1] * tile
    index = placed(space, [*place[:-1], start])
    if size.is_const and size.const < tile:
        whole, rest = divmod(size.const, LANES)
        for u in range(whole):
            yield moved(index, u * LANES), 1, None
        if rest:
            yield moved(index, whole * LANES), 1, as_int(rest)
        return
    if size.is_const and size.const % tile == 0:
        yield index, SIDE, None
        return
    with k.when(k.cmp("ge", size - start, tile)):
        yield index, SIDE, None
    with k.otherwise(), k.loop("v", start, imin(start + tile, size), LANES) as at:
        yield [*index[:-1], at], 1, size - at


def fold_rows(kernel: Kernel, space: Space, fold: Fold, index: Sequence[Int], ranges: Ranges,
              element: Element | None = None) -> State:  # fmt: skip
    """The wide state, LANES lanes, of all elements in the ranges of the reduced groups, the last group one of them.

    element: what is folded at an index (with lanes and mask); the anchor's operand without it.
    """
    k = kernel.k
    get = element or (lambda at, lanes, valid: space.read(kernel, at, lanes, valid))
    regs, far = registers(k, fold.wide_start(k, LANES)), is_far(kernel, space, fold)
    *outer, last = ranges
    with nest(k, [ranges[g] for g in outer]) as place:
        at = list(index)
        for g, i in zip(outer, place, strict=True):
            at[g] = i

        def along(i: Int, lanes: int, mask: Int | None) -> V:
            if mask is None and far:
                ask_ahead(kernel, space, [*at[:-1], i + AHEAD // fold.dtype.itemsize])
            return kernel.fit(get([*at[:-1], i], lanes, mask), lanes)

        fold_lines(k, [Line(fold, along, regs)], *ranges[last])
    return current(regs)


def is_far(kernel: Kernel, space: Space, fold: Fold) -> bool:
    """True where what is folded surely comes from memory."""
    elements = dim_product(space.dims)
    return isinstance(elements, int) and elements * fold.dtype.itemsize >= kernel.target.l3


def ask_ahead(kernel: Kernel, space: Space, index: list[Int]) -> None:
    """Prefetches what the fold reads at a place."""
    for buffer, place in space.streamed(kernel, index):
        kernel.k.prefetch(buffer, place)


@dataclass(frozen=True)
class Line:
    """What is folded along a line: at(i, lanes, mask), and the wide state that it joins."""

    fold: Fold
    at: At
    regs: Sequence[Reg]


def fold_lines(k: Builder, lines: Sequence[Line], start: Int, stop: Int) -> None:
    """Joins the elements start <= i < stop of all lines to their states, in one sweep. start is a multiple of BLOCK."""
    blocks = stop // BLOCK * BLOCK
    length = stop - start
    if not length.is_const or length.const >= BLOCK:
        with k.loop("block", start, stop - (BLOCK - 1), BLOCK) as first:
            _fold_block(k, lines, first, first + BLOCK)
    if length.is_const:
        if length.const % BLOCK:
            _fold_block(k, lines, blocks, stop)
        return
    with k.when(k.cmp("lt", blocks, stop)):
        _fold_block(k, lines, blocks, stop)


def _fold_block(k: Builder, lines: Sequence[Line], start: Int, stop: Int) -> None:
    """At most BLOCK elements: SIDE narrow states, then the rest into one of them. start is a multiple of BLOCK."""
    tile = SIDE * LANES
    length = stop - start
    known = length.const if length.is_const else None
    count = SIDE if known is None or known >= tile else 1
    sides = [[registers(k, line.fold.start(k, LANES)) for line in lines] for _ in range(count)]
    if known is None or known >= tile:
        with k.loop("round", start, stop - (tile - 1), tile) as i:
            k.abreast([partial(_step, k, lines, i + u * LANES, side) for u, side in enumerate(sides)])
    if known is None or known % tile >= LANES:
        with k.loop("single", stop // tile * tile, stop - (LANES - 1), LANES) as i:
            _step(k, lines, i, sides[0])
    if known is None or known % LANES:
        with k.loop("tail", stop // LANES * LANES, stop, LANES) as i:
            _step(k, lines, i, sides[-1], stop - i)
    for line, *states in zip(lines, *sides, strict=True):
        while len(states) > 1:
            half = len(states) // 2
            for a, b in zip(states[:half], states[half:], strict=True):
                assign(a, line.fold.merge(k, current(a), current(b)))
            states = states[:half]
        assign(line.regs, line.fold.wide_merge(k, current(line.regs), line.fold.widen(k, current(states[0]))))


def _step(k: Builder, lines: Sequence[Line], place: Int, states: Sequence[Sequence[Reg]],
          mask: Int | None = None) -> None:  # fmt: skip
    """Joins LANES elements of every line, or the first few of them, to its narrow state."""
    for line, state in zip(lines, states, strict=True):
        x = line.at(place, LANES, mask)
        x = x if mask is None else masked(k, x, mask, line.fold.neutral)
        assign(state, line.fold.step(k, current(state), x, place))


def along_line(k: Builder, stop: Int, put: Callable[[Int, Int | None], None]) -> None:
    """put(i, lanes that count, None for all) for each vector of a line from 0, SIDE of them abreast."""
    tile, known = SIDE * LANES, stop.const if stop.is_const else None
    if known is None or known >= tile:
        with k.loop("i", 0, stop - (tile - 1), tile) as i:
            k.abreast([partial(put, i + u * LANES, None) for u in range(SIDE)])
    if known is None or known % tile >= LANES:
        with k.loop("i", stop // tile * tile, stop - (LANES - 1), LANES) as i:
            put(i, None)
    if known is not None and known % LANES == 0:
        return
    with k.loop("i", stop // LANES * LANES, stop, LANES) as i:
        put(i, stop - i)


def masked(k: Builder, x: V, count: Int | int, neutral: float | int | bool) -> V:
    """x in the first count lanes, the neutral number in the others."""
    valid = k.cmp("lt", k.iota(i64, x.lanes), k.splat(k.value(count, i64), x.lanes))
    return k.select(valid, x, k.const(neutral, x.dtype, x.lanes))


def fold_columns(kernel: Kernel, space: Space, fold: Fold, index: Sequence[Int], ranges: Ranges,
                 width: int, mask: Int | None, element: Element | None = None) -> list[State]:  # fmt: skip
    """The wide states of `width` vectors of columns, side by side, over the ranges of the reduced groups.

    element: what is folded at an index (with lanes and mask); the anchor's operand without it.
    """
    get = element or (lambda at, lanes, valid: space.read(kernel, at, lanes, valid))
    k = kernel.k
    totals = [registers(k, fold.wide_start(k, LANES)) for _ in range(width)]
    if not ranges:
        _fold_places(kernel, get, fold, index, [], mask, totals)
        return [current(t) for t in totals]
    *outer, last = ranges
    with nest(k, [ranges[g] for g in outer]) as place:
        at = list(index)
        for g, i in zip(outer, place, strict=True):
            at[g] = i
        start, stop = ranges[last]
        if not fold.blocked:
            _fold_places(kernel, get, fold, at, [(last, start, stop)], mask, totals)
        else:
            with k.loop("block", 0, ceil_div(stop - start, STEPS)) as block:
                first = start + block * STEPS
                _fold_places(kernel, get, fold, at, [(last, first, imin(first + STEPS, stop))], mask, totals)
    return [current(t) for t in totals]


def _fold_places(kernel: Kernel, get: Element, fold: Fold, index: Sequence[Int], along: Sequence[tuple[int, Int, Int]],
                 mask: Int | None, totals: Sequence[Sequence[Reg]]) -> None:  # fmt: skip
    k = kernel.k
    states = [registers(k, fold.start(k, LANES)) for _ in totals]
    with nest(k, [(start, stop) for _, start, stop in along]) as place:
        at = list(index)
        for (g, _, _), i in zip(along, place, strict=True):
            at[g] = i
        for u, state in enumerate(states):
            x = kernel.fit(get(moved(at, u * LANES), LANES, mask), LANES)
            assign(state, fold.step(k, current(state), x, place[0] if place else as_int(0)))
    for total, state in zip(totals, states, strict=True):
        assign(total, fold.wide_merge(k, current(total), fold.widen(k, current(state))))


@contextmanager
def nest(k: Builder, ranges: Sequence[tuple[Int, Int]]) -> Iterator[list[Int]]:
    """Loops within loops; the places of all of them."""
    if not ranges:
        yield []
        return
    with k.loop("j", *ranges[0]) as i, nest(k, ranges[1:]) as rest:
        yield [i, *rest]


@contextmanager
def column_tiles(kernel: Kernel, space: Space, more: Sequence[Int],
                 width: int) -> Iterator[tuple[list[Int], list[Int]]]:  # fmt: skip
    """Parallel over the kept groups but the last, further extents, and tiles of `width` columns."""
    outer = [kernel.dim(space.dims[g]) for g in space.kept[:-1]]
    tiles = ceil_div(kernel.dim(space.dims[-1]), width)
    with grid(kernel, [*outer, *more, tiles]) as place:
        yield [*place[: len(outer)], place[-1]], place[len(outer) : -1]


def panel_columns(columns: int, alone: bool) -> int:
    """The columns of a panel, in whole tiles: of all columns alone, else of at most half; 0 where it is too narrow."""
    tile = SIDE * LANES
    width = min(PANEL, -(-columns // (1 if alone else 2) // tile) * tile)
    return width if width >= (2 * tile if alone else LEAST_PANEL) else 0


def fold_panels(kernel: Kernel, space: Space, fold: Fold, ranges: Callable[[Sequence[Int]], Ranges], width: int,
                more: Sequence[Int], done: Callable[[list[Int], Sequence[Int], State, Int], None]) -> None:  # fmt: skip
    """Folds all columns, a panel of `width` at a time, and calls done(index, place, state, lanes that count) for each
    vector. place: along the further extents `more`, which the ranges of the reduced groups depend on.

    Measured on a Zen 5 core, sums of 16M f32: 1024 columns from 18 GB/s (tiles of 64 columns) to 43; wide arrays 36.
    """
    k, size = kernel.k, kernel.dim(space.dims[-1])
    panel = _Panel(kernel, space, fold, width)
    with column_tiles(kernel, space, more, width) as (place, further):
        first = place[-1] * width
        index = placed(space, [*place[:-1], first])
        length = imin(size - first, width)
        panel.clear()
        *outer, (last, (start, stop)) = ranges(further).items()
        with nest(k, [bounds for _, bounds in outer]) as where:
            at = list(index)
            for (g, _), i in zip(outer, where, strict=True):
                at[g] = i
            with k.loop("block", start, stop, STEPS) as top:
                with k.loop("row", top, imin(top + STEPS, stop)) as row:
                    at[last] = row
                    panel.take(at, length)
                panel.flush()
        with k.loop("j", 0, length, LANES) as j:
            done([*index[:-1], first + j], further, panel.state(j), length - j)


class _Panel:
    """States of a panel on the stack: narrow ones of a few rows, and wide ones where the fold has two levels."""

    def __init__(self, kernel: Kernel, space: Space, fold: Fold, width: int) -> None:
        self.kernel, self.space, self.fold, self.width = kernel, space, fold, width
        self.far = is_far(kernel, space, fold)
        probe, k = Builder("probe"), kernel.k
        room = width + LANES  # for all that proofs know, a row's last vector begins anywhere
        self.narrow = [k.scratch(f"some{i}", v.dtype, (room,)) for i, v in enumerate(fold.start(probe, 1))]
        self.wide = self.narrow
        if fold.blocked:
            self.wide = [k.scratch(f"all{i}", v.dtype, (room,)) for i, v in enumerate(fold.wide_start(probe, 1))]

    def clear(self) -> None:
        """All states as of no elements."""
        k = self.kernel.k
        with k.loop("j", 0, self.width, LANES) as j:
            self._put(self.narrow, j, self.fold.start(k, LANES))
            if self.fold.blocked:
                self._put(self.wide, j, self.fold.wide_start(k, LANES))

    def take(self, index: list[Int], length: Int) -> None:
        """Joins the first `length` columns of a row.

        One row at a time: memory is then read in order, which several rows by turns lose a third by.
        """
        k, tile = self.kernel.k, SIDE * LANES
        with k.loop("tile", 0, length - (tile - 1), tile) as j:
            for u in range(SIDE):
                self._take(index, j + u * LANES, None)
        if length.is_const and length.const % tile == 0:
            return
        with k.loop("rest", imax(length // tile * tile, 0), length, LANES) as j:
            self._take(index, j, length - j)

    def _take(self, index: list[Int], j: Int, mask: Int | None) -> None:
        at = [*index[:-1], index[-1] + j]
        if mask is None and self.far:
            ask_ahead(self.kernel, self.space, self.ahead(at))
        x = self.kernel.fit(self.space.read(self.kernel, at, LANES, mask), LANES)
        row = index[self.space.inner[-1]]
        self._put(self.narrow, j, self.fold.step(self.kernel.k, self._get(self.narrow, j), x, row))

    def ahead(self, at: list[Int]) -> list[Int]:
        """What is read some time later: behind it, or of a part of a row in the rows to come."""
        columns = self.space.dims[-1]
        if isinstance(columns, int) and columns <= self.width:
            return [*at[:-1], at[-1] + AHEAD // self.fold.dtype.itemsize]
        last = self.space.inner[-1]
        return [i + AHEAD_ROWS if g == last else i for g, i in enumerate(at)]

    def flush(self) -> None:
        """Joins the narrow states to the wide ones and begins them anew."""
        k, fold = self.kernel.k, self.fold
        if not fold.blocked:
            return
        with k.loop("j", 0, self.width, LANES) as j:
            more = fold.widen(k, self._get(self.narrow, j))
            self._put(self.wide, j, fold.wide_merge(k, self._get(self.wide, j), more))
            self._put(self.narrow, j, fold.start(k, LANES))

    def state(self, j: Int) -> State:
        """The wide states of LANES columns."""
        return self._get(self.wide, j)

    def _get(self, buffers: Sequence[Buffer], j: Int) -> State:
        return tuple(self.kernel.k.load(b, (j,), LANES) for b in buffers)

    def _put(self, buffers: Sequence[Buffer], j: Int, state: State) -> None:
        for buffer, value in zip(buffers, state, strict=True):
            self.kernel.k.store(buffer, (j,), value)
