"""Reductions over any axes, with what is computed in front of and behind them in the same sweep.

On the merged space (reduce_space.py) there are two shapes. Rows: the last group is reduced; vectors run along it, four
states side by side, and meet at the row's end. Columns: the last group is kept; vectors run along it, four side by
side, and the reduced groups are loops around them. Where few results come from many elements, the outermost reduced
group is cut into parts of fixed size, which threads share, and a second kernel puts the parts together in order: the
cut follows from sizes alone, so results have the same bits for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from chainrule.backends.llvm.kernels.grid import grid
from chainrule.backends.llvm.kernels.reduce_folds import STEPS, Fold, State, fold_of
from chainrule.backends.llvm.kernels.reduce_space import Axis, Space, space_of
from chainrule.backends.llvm.kernels.region import LANES, Kernel, KernelCall, Region, Temp
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Builder, Int, Reg, as_int, ceil_div, imin
from chainrule.backends.loops import Value as V
from chainrule.ir.dims import Dim, dim_max, dim_product, floordiv
from chainrule.ir.types import TensorType, i64
from chainrule.ops.reduce import Position, Reduction
from chainrule.ops.shape_rules import axes_of

SIDE = 4  # vectors side by side: enough to hide an addition's latency
BLOCK = SIDE * STEPS * LANES
PART = 32768  # elements of one part of a reduction that is cut
WORTH_CUTTING = 65536  # reduced elements per result from which the second kernel pays
FEW = 64  # kept elements from which there is enough to share without cutting

At = Callable[[Int, int, Int | None], V]
Element = Callable[[Sequence[Int], int, Int | None], V]


def reduce(region: Region, target: Target) -> list[KernelCall]:
    """The kernels of a sum, mean, product, extremum or its place, any or all: one, or two where it is cut."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, Reduction | Position)
    op = anchor.op
    x = anchor.inputs[0].tensor
    reduced = axes_of(op.axes if isinstance(op, Reduction) else (op.axis,), x.rank)
    kept = [a for a in range(x.rank) if a not in reduced]
    axes = [Axis(a, x.shape[a], a in reduced,
                 None if a in reduced else a if op.keepdims else kept.index(a)) for a in range(x.rank)]  # fmt: skip
    space = space_of(region, axes)
    count = dim_product(x.shape[a] for a in reduced)
    fold = fold_of(op, x.dtype, space.along[-1], isinstance(count, int) and count < 2**31)
    made = _Reduce(region, target, space, fold, count)
    return made.cut() if _worth_cutting(space) else [made.whole()]


def _worth_cutting(space: Space) -> bool:
    kept, inner = space.count(space.kept), space.count(space.inner)
    many_kept = isinstance(kept, int) and kept >= FEW
    if isinstance(inner, int):
        return inner >= WORTH_CUTTING and not many_kept
    return isinstance(kept, int) and kept < FEW


@dataclass
class _Reduce:
    region: Region
    target: Target
    space: Space
    fold: Fold
    count: Dim

    @property
    def rows(self) -> bool:
        """True when the last group is reduced."""
        return self.space.along[-1]

    def kernel(self, what: str) -> Kernel:
        return Kernel(self.region, self.target, f"{what}_{self.region.name}"[:80])

    def whole(self) -> KernelCall:
        """One kernel from elements to results."""
        kernel = self.kernel("reduce")
        k = kernel.k
        ranges = {g: (as_int(0), kernel.dim(self.space.dims[g])) for g in self.space.inner}
        if self.rows:
            with grid(kernel, [kernel.dim(self.space.dims[g]) for g in self.space.kept]) as place:
                index = self.placed(place)
                state = self.fold.across(k, fold_rows(kernel, self.space, self.fold, index, ranges))
                self.finish(kernel, index, state, 1, None)
        else:
            with self.column_tiles(kernel, []) as (place, _):
                for index, width, mask in column_tile(kernel, self.space, place):
                    states = fold_columns(kernel, self.space, self.fold, index, ranges, width, mask)
                    for u, state in enumerate(states):
                        self.finish(kernel, moved(index, u * LANES), state, LANES, mask)
        self.flops(kernel)
        return kernel.built("rows" if self.rows else "columns")

    def cut(self) -> list[KernelCall]:
        """Parts first, then all parts of each result together."""
        cut = self.space.inner[0]
        per_part = self.part_size(cut)
        parts = floordiv(self.space.dims[cut] + per_part - 1, per_part)
        shape = tuple(parts if g == cut else 1 if along else d
                      for g, (d, along) in enumerate(zip(self.space.dims, self.space.along, strict=True)))  # fmt: skip
        probe = Builder("probe")
        temps = [Temp(TensorType(v.dtype, shape)) for v in self.fold.wide_start(probe, 1)]
        return [self.partial(cut, per_part, parts, temps), self.combined(cut, parts, temps)]

    def part_size(self, cut: int) -> Dim:
        """How many places of the outermost reduced group make a part."""
        along = self.space.along
        inner = self.space.count([g for g in range(len(along)) if g != cut and (along[g] or g > cut)])
        if isinstance(inner, int):
            return max(STEPS, PART // max(inner, 1)) if inner > 1 else PART
        return dim_max(1, floordiv(PART, dim_max(1, inner)))

    def partial(self, cut: int, per_part: Dim, parts: Dim, temps: Sequence[Temp]) -> KernelCall:
        """The wide state of every part."""
        kernel = self.kernel("reduce_parts")
        k, space = kernel.k, self.space
        size = kernel.dim(per_part)

        def ranges(part: Int) -> dict[int, tuple[Int, Int]]:
            found = {g: (as_int(0), kernel.dim(space.dims[g])) for g in space.inner}
            found[cut] = (part * size, imin(part * size + size, found[cut][1]))
            return found

        def keep(index: Sequence[Int], part: Int, state: State, mask: Int | None) -> None:
            at = tuple(part if g == cut else as_int(0) if space.along[g] else i for g, i in enumerate(index))
            for temp, value in zip(temps, state, strict=True):
                k.store(kernel.temp(temp, "w"), at, value, mask=mask)

        extent = kernel.dim(parts)
        if self.rows:
            with grid(kernel, [*(kernel.dim(space.dims[g]) for g in space.kept), extent]) as (*place, part):
                index = self.placed(place)
                state = fold_rows(kernel, space, self.fold, index, ranges(part))
                keep(index, part, self.fold.across(k, state), None)
        else:
            with self.column_tiles(kernel, [extent]) as (place, (part,)):
                for index, width, mask in column_tile(kernel, space, place):
                    states = fold_columns(kernel, space, self.fold, index, ranges(part), width, mask)
                    for u, state in enumerate(states):
                        keep(moved(index, u * LANES), part, state, mask)
        self.flops(kernel)
        return kernel.built("in parts")

    def combined(self, cut: int, parts: Dim, temps: Sequence[Temp]) -> KernelCall:
        """The parts of each result in order, and what follows."""
        kernel = self.kernel("reduce_combine")
        k = kernel.k

        def gathered(index: Sequence[Int], lanes: int, mask: Int | None) -> State:
            regs = registers(k, self.fold.wide_start(k, lanes))
            with k.loop("part", 0, kernel.dim(parts)) as part:
                at = tuple(part if g == cut else as_int(0) if self.space.along[g] else i for g, i in enumerate(index))
                found = tuple(k.load(kernel.temp(temp, "r"), at, lanes, mask=mask) for temp in temps)
                assign(regs, self.fold.wide_merge(k, current(regs), found))
            return current(regs)

        if self.rows:
            with grid(kernel, [kernel.dim(self.space.dims[g]) for g in self.space.kept]) as place:
                index = self.placed(place)
                self.finish(kernel, index, gathered(index, 1, None), 1, None)
        else:
            with self.column_tiles(kernel, []) as (place, _):
                for index, width, mask in column_tile(kernel, self.space, place):
                    for u in range(width):
                        at = moved(index, u * LANES)
                        self.finish(kernel, at, gathered(at, LANES, mask), LANES, mask)
        return kernel.built("parts together")

    def placed(self, place: Sequence[Int]) -> list[Int]:
        """Places of the kept groups as an index of the space, 0 along the others."""
        return placed(self.space, place)

    @contextmanager
    def column_tiles(self, kernel: Kernel, more: Sequence[Int]) -> Iterator[tuple[list[Int], list[Int]]]:
        """Parallel over the kept groups but the last, further extents, and tiles of the last."""
        outer = [kernel.dim(self.space.dims[g]) for g in self.space.kept[:-1]]
        tiles = ceil_div(kernel.dim(self.space.dims[-1]), SIDE * LANES)
        with grid(kernel, [*outer, *more, tiles]) as place:
            yield [*place[: len(outer)], place[-1]], place[len(outer) : -1]

    def finish(self, kernel: Kernel, index: Sequence[Int], state: State, lanes: int, mask: Int | None) -> None:
        count = kernel.k.value(kernel.dim(self.count), i64)
        self.space.write(kernel, index, self.fold.finish(kernel.k, state, count), lanes, mask)

    def flops(self, kernel: Kernel) -> None:
        kernel.k.flops = kernel.dim(dim_product(self.space.dims)) * len(self.region.body.nodes)


# -- pieces that softmax and norms share -------------------------------------------------------------------------------


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


def fold_rows(kernel: Kernel, space: Space, fold: Fold, index: Sequence[Int], ranges: dict[int, tuple[Int, Int]],
              element: Element | None = None) -> State:  # fmt: skip
    """The wide state, LANES lanes, of all elements in the ranges of the reduced groups, the last group one of them.

    element: what is folded at an index (with lanes and mask); the anchor's operand without it.
    """
    k = kernel.k
    get = element or (lambda at, lanes, valid: space.read(kernel, at, lanes, valid))
    regs = registers(k, fold.wide_start(k, LANES))
    *outer, last = ranges
    with nest(k, [ranges[g] for g in outer]) as place:
        at = list(index)
        for g, i in zip(outer, place, strict=True):
            at[g] = i

        def along(i: Int, lanes: int, mask: Int | None) -> V:
            return kernel.fit(get([*at[:-1], i], lanes, mask), lanes)

        fold_line(k, fold, along, *ranges[last], regs)
    return current(regs)


def fold_line(k: Builder, fold: Fold, at: At, start: Int, stop: Int, regs: Sequence[Reg]) -> None:
    """Joins at(i, lanes, mask), start <= i < stop, to the wide state in regs. start is a multiple of BLOCK."""
    blocks = stop // BLOCK * BLOCK
    length = stop - start
    if not length.is_const or length.const >= BLOCK:
        with k.loop("block", start, stop - (BLOCK - 1), BLOCK) as first:
            _fold_block(k, fold, at, first, first + BLOCK, regs)
    if length.is_const:
        if length.const % BLOCK:
            _fold_block(k, fold, at, blocks, stop, regs)
        return
    with k.when(k.cmp("lt", blocks, stop)):
        _fold_block(k, fold, at, blocks, stop, regs)


def _fold_block(k: Builder, fold: Fold, at: At, start: Int, stop: Int, regs: Sequence[Reg]) -> None:
    """At most BLOCK elements: SIDE narrow states, then the rest into one of them. start is a multiple of BLOCK."""
    tile = SIDE * LANES
    length = stop - start
    known = length.const if length.is_const else None
    sides = [registers(k, fold.start(k, LANES)) for _ in range(SIDE if known is None or known >= tile else 1)]
    if known is None or known >= tile:
        with k.loop("round", start, stop - (tile - 1), tile) as i:
            for u, side in enumerate(sides):
                assign(side, fold.step(k, current(side), at(i + u * LANES, LANES, None), i + u * LANES))
    if known is None or known % tile >= LANES:
        with k.loop("single", stop // tile * tile, stop - (LANES - 1), LANES) as i:
            assign(sides[0], fold.step(k, current(sides[0]), at(i, LANES, None), i))
    if known is None or known % LANES:
        with k.loop("tail", stop // LANES * LANES, stop, LANES) as i:
            x = masked(k, at(i, LANES, stop - i), stop - i, fold.neutral)
            assign(sides[-1], fold.step(k, current(sides[-1]), x, i))
    while len(sides) > 1:
        for a, b in zip(sides[: len(sides) // 2], sides[len(sides) // 2 :], strict=True):
            assign(a, fold.merge(k, current(a), current(b)))
        sides = sides[: len(sides) // 2]
    assign(regs, fold.wide_merge(k, current(regs), fold.widen(k, current(sides[0]))))


def masked(k: Builder, x: V, count: Int | int, neutral: float | int | bool) -> V:
    """x in the first count lanes, the neutral number in the others."""
    valid = k.cmp("lt", k.iota(i64, x.lanes), k.splat(k.value(count, i64), x.lanes))
    return k.select(valid, x, k.const(neutral, x.dtype, x.lanes))


def fold_columns(kernel: Kernel, space: Space, fold: Fold, index: Sequence[Int], ranges: dict[int, tuple[Int, Int]],
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
