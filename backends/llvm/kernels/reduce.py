"""Reductions over any axes, with what is computed in front of and behind them in the same sweep.

On the merged space (reduce_space.py) there are two shapes. Rows: the last group is reduced; vectors run along it, four
states side by side, and meet at the row's end. Columns: the last group is kept; vectors run along it, four side by
side, and the reduced groups are loops around them. Where few results come from many elements, the outermost reduced
group is cut into parts of fixed size, which threads share, and a second kernel puts the parts together in order: the
cut follows from sizes alone, so results have the same bits for any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.backends.llvm.kernels.grid import grid
from chainrule.backends.llvm.kernels.reduce_folds import STEPS, Fold, State, fold_of
from chainrule.backends.llvm.kernels.reduce_space import Axis, Space, space_of
from chainrule.backends.llvm.kernels.reduce_sweeps import (
    PANEL,
    SIDE,
    assign,
    column_tile,
    column_tiles,
    current,
    fold_columns,
    fold_panels,
    fold_rows,
    moved,
    panel_columns,
    placed,
    registers,
)
from chainrule.backends.llvm.kernels.region import LANES, Kernel, KernelCall, Region, Temp
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Builder, Int, as_int, imin
from chainrule.ir.dims import Dim, dim_max, dim_product, floordiv
from chainrule.ir.types import TensorType, i64
from chainrule.ops.reduce import Position, Reduction
from chainrule.ops.shape_rules import axes_of

PART = 32768  # elements of one part of a reduction that is cut
WORTH_CUTTING = 65536  # elements behind one row or tile of columns from which the second kernel pays
FAR = 1 << 18  # elements from which rows do not stay in a core's caches
FEW = 16  # rows or tiles of columns from which there is enough to share without cutting


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
    return made.cut() if _worth_cutting(space) or (made.in_parts and made.panel) else [made.whole()]


def _worth_cutting(space: Space) -> bool:
    """True where less than FEW rows or tiles of columns are many elements each, or an unknown number."""
    kept, inner = [space.dims[g] for g in space.kept], space.count(space.inner)
    if not space.inner or not all(isinstance(d, int) for d in kept):
        return isinstance(inner, int) and inner >= WORTH_CUTTING
    units = math.prod(int(d) for d in kept)
    width = 1
    if not space.along[-1]:
        width = min(int(kept[-1]), SIDE * LANES)
        units = units // max(int(kept[-1]), 1) * -(-int(kept[-1]) // (SIDE * LANES))
    return units < FEW and (not isinstance(inner, int) or inner * width >= WORTH_CUTTING)


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

    @property
    def panel(self) -> int:
        """The columns of a panel where they are so many that panels are shared among threads, else 0."""
        columns, inner = self.space.dims[-1], self.space.count(self.space.inner)
        if self.rows or not isinstance(columns, int) or not self.space.inner or inner == 0:
            return 0
        outer = self.space.count(self.space.kept[:-1])
        return panel_columns(columns, self.in_parts or (isinstance(outer, int) and outer >= FEW))

    @property
    def in_parts(self) -> bool:
        """True where rows from memory that are one panel each are shared among threads part by part.

        Panels of half a row each would read half a page at a time: 16M f32 in rows of 1024 at 33 GB/s instead of 43.
        """
        columns, inner = self.space.dims[-1], self.space.count(self.space.inner)
        if self.rows or not isinstance(columns, int) or not isinstance(inner, int):
            return False
        return len(self.space.dims) == 2 and columns <= PANEL and columns * inner >= FAR

    def kernel(self, what: str) -> Kernel:
        return Kernel(self.region, self.target, f"{what}_{self.region.name}"[:80])

    def whole(self) -> KernelCall:
        """One kernel from elements to results."""
        kernel = self.kernel("reduce")
        k = kernel.k
        ranges = {g: (as_int(0), kernel.dim(self.space.dims[g])) for g in self.space.inner}
        if self.rows:
            with grid(kernel, [kernel.dim(self.space.dims[g]) for g in self.space.kept]) as place:
                index = placed(self.space, place)
                state = self.fold.across(k, fold_rows(kernel, self.space, self.fold, index, ranges))
                self.finish(kernel, index, state, 1, None)
        elif self.panel:
            fold_panels(kernel, self.space, self.fold, lambda _: ranges, self.panel, [],
                        lambda at, _, s, m: self.finish(kernel, at, s, LANES, m))  # fmt: skip
        else:
            with column_tiles(kernel, self.space, [], SIDE * LANES) as (place, _):
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
        rows = self.space.dims[cut]
        if self.in_parts and isinstance(rows, int):
            return -(-rows // FEW // STEPS) * STEPS
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
                index = placed(self.space, place)
                state = fold_rows(kernel, space, self.fold, index, ranges(part))
                keep(index, part, self.fold.across(k, state), None)
        elif self.panel and self.in_parts:
            fold_panels(kernel, space, self.fold, lambda place: ranges(place[0]), self.panel, [extent],
                        lambda at, place, state, mask: keep(at, place[0], state, mask))  # fmt: skip
        else:
            with column_tiles(kernel, space, [extent], SIDE * LANES) as (place, (part,)):
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
                index = placed(self.space, place)
                self.finish(kernel, index, gathered(index, 1, None), 1, None)
        else:
            with column_tiles(kernel, self.space, [], SIDE * LANES) as (place, _):
                for index, width, mask in column_tile(kernel, self.space, place):
                    for u in range(width):
                        at = moved(index, u * LANES)
                        self.finish(kernel, at, gathered(at, LANES, mask), LANES, mask)
        return kernel.built("parts together")

    def finish(self, kernel: Kernel, index: Sequence[Int], state: State, lanes: int, mask: Int | None) -> None:
        count = kernel.k.value(kernel.dim(self.count), i64)
        self.space.write(kernel, index, self.fold.finish(kernel.k, state, count), lanes, mask)

    def flops(self, kernel: Kernel) -> None:
        kernel.k.flops = kernel.dim(dim_product(self.space.dims)) * len(self.region.body.nodes)
