"""Ops that gather a few numbers from each line of elements and then map the line by them: softmax, norms.

A recipe is a list of phases, each a fold over the line that gives one number, and a last map. Lines along the last
group (rows) of up to REGISTERS vectors of known length stay in registers from the first load to the store. Longer ones
are swept once per phase and once more, which the first-level cache serves, two lines in turn where they are short; the
later sweeps ask for lines to come. What a phase computes for every element (the powers of a softmax, a costly prologue)
is kept on the stack, or in the result's own place where it is long, or is computed again where neither is possible.
Lines along another group (columns) are taken LANES at a time, in vectors across them, from a copy on the stack where
that is small enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from chainrule.backends.llvm.kernels.grid import grid
from chainrule.backends.llvm.kernels.reduce_folds import Fold
from chainrule.backends.llvm.kernels.reduce_space import Space
from chainrule.backends.llvm.kernels.reduce_sweeps import (
    SIDE,
    Element,
    along_line,
    column_tile,
    fold_columns,
    fold_rows,
    masked,
    moved,
    nest,
    placed,
)
from chainrule.backends.llvm.kernels.region import LANES, Kernel, KernelCall, Region
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, ceil_div, imin
from chainrule.backends.loops import Value as V
from chainrule.ir.dims import dim_product
from chainrule.ir.graph import Input
from chainrule.ir.types import DType, f32, i64

REGISTERS = 8  # vectors of a line that stay in registers
SCRATCH = 64 * 1024  # bytes of lines that may go to the stack
GROUP = 2  # lines that take turns
AHEAD = 2  # lines
TURNS = 16 * 1024  # bytes of such lines: they and what is kept of them stay in the first-level cache
MANY = 32  # lines, of which threads get enough in groups

Numbers = Sequence[V]
Index = Sequence[Int]
Known = Callable[[Numbers, Index, int, Int | None], V]  # the line's value at an index, given the numbers so far


@dataclass(frozen=True)
class Phase:
    """One fold over a line. element(k, value, numbers): what is folded, from the line's value and the numbers so far.

    keeps: the element stands for the value from now on. number(k, folded): the number that the fold's result gives.
    """

    fold: Fold
    element: Callable[[Builder, V, Numbers], V]
    number: Callable[[Builder, V], V]
    keeps: bool = False


@dataclass(frozen=True)
class Recipe:
    """phases, then result(value, numbers, read) for every element; read(i): operand i of the anchor there."""

    phases: Sequence[Phase]
    result: Callable[[Builder, V, Numbers, Callable[[int], V]], V]


def map_lines(region: Region, target: Target, space: Space, recipe: Recipe) -> list[KernelCall]:
    """The kernel of a recipe over all lines of the space."""
    kernel = Kernel(region, target, f"lines_{region.name}"[:80])
    made = _Lines(kernel, space, recipe)
    if not space.along[-1]:
        made.columns()
    elif made.short:
        made.in_registers()
    else:
        made.rows()
    kernel.k.flops = kernel.dim(dim_product(space.dims)) * (8 + 2 * len(region.body.nodes))
    return [kernel.built("rows" if space.along[-1] else "columns")]


@dataclass
class _Lines:
    kernel: Kernel
    space: Space
    recipe: Recipe
    store: Buffer | None = field(init=False, default=None)
    in_output: bool = field(init=False, default=False)
    line: Int = field(init=False, default_factory=lambda: as_int(0))
    first: Int = field(init=False, default_factory=lambda: as_int(0))

    @property
    def k(self) -> Builder:
        return self.kernel.k

    @property
    def dtype(self) -> DType:
        """The type that is computed in."""
        assert self.kernel.region.anchor is not None
        dtype = self.kernel.region.anchor.inputs[0].tensor.dtype
        return dtype if dtype.bits > 16 else f32

    @property
    def plain(self) -> bool:
        """True when the line's values are loaded as they are."""
        assert self.kernel.region.anchor is not None
        return isinstance(self.kernel.region.anchor.inputs[0].op, Input)

    @property
    def short(self) -> bool:
        inner = [self.space.dims[g] for g in self.space.inner]
        return len(inner) == 1 and isinstance(inner[0], int) and inner[0] <= REGISTERS * LANES

    def count(self) -> V:
        """The number of elements of a line."""
        return self.k.value(self.kernel.dim(self.space.count(self.space.inner)), i64)

    # -- rows in registers ---------------------------------------------------------------------------------------------

    def in_registers(self) -> None:
        space, k = self.space, self.k
        (length,) = (space.dims[g] for g in space.inner)
        assert isinstance(length, int)
        masks = [min(LANES, length - i) for i in range(0, length, LANES)]
        with grid(self.kernel, [self.kernel.dim(space.dims[g]) for g in space.kept]) as place:
            index = placed(space, place)
            spots = [(moved(index, i * LANES), as_int(m) if m < LANES else None) for i, m in enumerate(masks)]
            values = [self.kernel.fit(space.read(self.kernel, at, LANES, mask), LANES) for at, mask in spots]
            numbers: list[V] = []
            for phase in self.recipe.phases:
                elements = [phase.element(k, v, numbers) for v in values]
                numbers.append(self._folded(phase, elements, [mask for _, mask in spots]))
                values = elements if phase.keeps else values
            for (at, mask), value in zip(spots, values, strict=True):
                self._write(at, value, numbers, mask)

    def _folded(self, phase: Phase, elements: Sequence[V], masks: Sequence[Int | None]) -> V:
        k, fold = self.k, phase.fold
        states = []
        for i, (x, mask) in enumerate(zip(elements, masks, strict=True)):
            x = x if mask is None else masked(k, x, mask, fold.neutral)
            states.append(fold.step(k, fold.start(k, LANES), x, as_int(i * LANES)))
        while len(states) > 1:
            pairs = [fold.merge(k, a, b) for a, b in zip(states[::2], states[1::2], strict=False)]
            states = pairs + states[2 * len(pairs) :]
        state = fold.across(k, fold.widen(k, states[0]))
        return phase.number(k, fold.finish(k, state, self.count()))

    # -- longer rows ---------------------------------------------------------------------------------------------------

    def rows(self) -> None:
        space, k = self.space, self.k
        ranges = {g: (as_int(0), self.kernel.dim(space.dims[g])) for g in space.inner}
        self._choose_store()
        found = [k.scratch(f"numbers{i}", self.dtype, (self.group,)) for i in range(len(self.recipe.phases))]
        with self._groups() as (place, count):
            value = self._first
            for i, phase in enumerate(self.recipe.phases):
                element, value = self._steps(i, phase, value)
                with self._line(place, count) as index:
                    numbers = [k.load(f, (self.line,)) for f in found[:i]]
                    get = self._asking(partial(element, numbers)) if i else partial(element, numbers)
                    state = phase.fold.across(k, fold_rows(self.kernel, space, phase.fold, index, ranges, get))
                    k.store(found[i], (self.line,), phase.number(k, phase.fold.finish(k, state, self.count())))
            with self._line(place, count) as index:
                numbers = [k.load(f, (self.line,)) for f in found]
                get = self._asking(partial(value, numbers))
                *outer, last = ranges
                with nest(k, [ranges[g] for g in outer]) as inner:
                    at = list(index)
                    for g, i in zip(outer, inner, strict=True):
                        at[g] = i
                    self._mapped(at, ranges[last][1], get, numbers)

    @property
    def size(self) -> int | None:
        """Bytes of all lines, where they are known."""
        elements = dim_product(self.space.dims)
        return elements * self.dtype.itemsize if isinstance(elements, int) else None

    @property
    def group(self) -> int:
        """Lines that take turns, a sweep each, so that what is done at a line's end overlaps with the next line.

        Of lines that come from memory one at a time is better: reads and writes alternate more often.
        """
        length, count, size = self.space.count(self.space.inner), self.space.count(self.space.kept), self.size
        if not isinstance(length, int) or length * self.dtype.itemsize * GROUP > TURNS or not self.space.kept:
            return 1
        few = isinstance(count, int) and count < MANY
        return 1 if few or (size is not None and size > self.kernel.target.l2) else GROUP

    @contextmanager
    def _groups(self) -> Iterator[tuple[list[Int], Int]]:
        """Parallel over groups of lines: places of the kept groups of axes, and how many lines there are from there."""
        kept = [self.kernel.dim(self.space.dims[g]) for g in self.space.kept]
        if self.group == 1:
            with grid(self.kernel, kept) as place:
                yield place, as_int(1)
            return
        with grid(self.kernel, [*kept[:-1], ceil_div(kept[-1], self.group)]) as place:
            first = place[-1] * self.group
            yield [*place[:-1], first], imin(kept[-1] - first, self.group)

    @contextmanager
    def _line(self, place: Sequence[Int], count: Int) -> Iterator[list[Int]]:
        """The index of each line of a group in turn; self.line is its number."""
        if self.group == 1:
            yield placed(self.space, place)
            return
        with self.k.loop("line", 0, count) as self.line:
            yield placed(self.space, [*place[:-1], place[-1] + self.line])
        self.line = as_int(0)

    def _asking(self, get: Element) -> Element:
        """get, and a prefetch of the same place AHEAD lines on, which come from memory in the first sweep alone.

        16M f32 in rows of 1024, without it and with it: softmax 5.0 and 2.9 ms, layer norm 4.3 and 2.8 ms.
        """
        space, k, size = self.space, self.k, self.size
        if not space.kept or (size is not None and size <= self.kernel.target.l1):
            return get

        def asking(at: Index, lanes: int, mask: Int | None) -> V:
            ahead = [i + AHEAD if g == space.kept[-1] else i for g, i in enumerate(at)]
            for buffer, place in space.streamed(self.kernel, ahead):
                k.prefetch(buffer, place)
            return get(at, lanes, mask)

        return asking

    def _mapped(self, index: list[Int], stop: Int, value: Element, numbers: Numbers) -> None:
        """The last sweep, over one stretch of the last group."""

        def put(i: Int, mask: Int | None) -> None:
            at = [*index[:-1], i]
            self._write(at, value(at, LANES, mask), numbers, mask)

        along_line(self.k, stop, put)

    def _choose_store(self) -> None:
        """Where kept values go: the result, the stack, or nowhere."""
        kernel, space = self.kernel, self.space
        if self.plain and self.space.along[-1] and not any(phase.keeps for phase in self.recipe.phases):
            return
        outputs = kernel.region.body.outputs
        inner = [space.dims[g] for g in space.inner] + ([] if space.along[-1] else [self.beside * LANES])
        size = dim_product(inner)
        small = isinstance(size, int) and size * self.dtype.itemsize <= SCRATCH
        shape = [int(d) if isinstance(d, int) else 0 for d in inner]
        if small and not space.along[-1]:
            # Lines across lie apart in memory, often by multiples of 4 KB, which the first-level cache takes badly.
            self.store = self.k.scratch("lines", self.dtype, shape)
        elif small and self.group * size * self.dtype.itemsize <= SCRATCH:
            self.store = self.k.scratch("line", self.dtype, [self.group, *shape])
        elif outputs == (kernel.region.anchor,) and outputs[0].tensor.dtype == self.dtype:
            self.store = space.output(kernel, 0, "rw")
            self.in_output = True

    def _steps(self, i: int, phase: Phase, value: Known) -> tuple[Known, Known]:
        """(what this phase folds, the line's value after it)."""
        moves = not self.plain or (not self.space.along[-1] and not self.in_output)
        first = i == 0 and moves and self.store is not None

        def computed(numbers: Numbers, at: Index, lanes: int, mask: Int | None) -> V:
            x = self.kernel.fit(value(numbers, at, lanes, mask), lanes)
            if first and not phase.keeps:
                self._keep(at, x, mask)
            x = phase.element(self.k, x, numbers)
            if phase.keeps and self.store is not None:
                self._keep(at, x, mask)
            return x

        if self.store is not None and (first or phase.keeps):
            return computed, self._kept
        return computed, computed if phase.keeps else value

    def _first(self, numbers: Numbers, at: Index, lanes: int, mask: Int | None) -> V:
        return self.space.read(self.kernel, at, lanes, mask)

    def _keep(self, at: Index, x: V, mask: Int | None) -> None:
        assert self.store is not None
        self.k.store(self.store, self._spot(at), x, mask=mask)

    def _kept(self, numbers: Numbers, at: Index, lanes: int, mask: Int | None) -> V:
        assert self.store is not None
        return self.k.load(self.store, self._spot(at), lanes, mask=mask)

    def _spot(self, at: Index) -> tuple[Int, ...]:
        if self.in_output:
            return tuple(at)
        inner = [at[g] for g in self.space.inner]
        return (self.line, *inner) if self.space.along[-1] else (*inner, at[-1] - self.first)

    def _write(self, at: Index, value: V, numbers: Numbers, mask: Int | None) -> None:
        def read(operand: int) -> V:
            return self.space.read(self.kernel, at, LANES, mask, operand)

        self.space.write(self.kernel, at, self.recipe.result(self.k, value, numbers, read), LANES, mask)

    # -- columns -------------------------------------------------------------------------------------------------------

    def columns(self) -> None:
        space, kernel = self.space, self.kernel
        tiles = ceil_div(kernel.dim(space.dims[-1]), SIDE * LANES)
        outer = [kernel.dim(space.dims[g]) for g in space.kept[:-1]]
        self._choose_store()
        with grid(kernel, [*outer, tiles]) as place:
            for index, width, mask in column_tile(kernel, space, place):
                for u in range(0, width, min(self.beside, width)):
                    self._column(moved(index, u * LANES), min(self.beside, width), mask)

    @property
    def beside(self) -> int:
        """Vectors of lines across that are taken in step, as many as go to the stack: memory is read in longer pieces.

        16M f32 in 21 channels: softmax 8.9 ms one by one, 7.4 by four.
        """
        size = dim_product(self.space.dims[g] for g in self.space.inner)
        fits = isinstance(size, int) and size * SIDE * LANES * self.dtype.itemsize <= SCRATCH
        return SIDE if fits else 1

    def _column(self, index: list[Int], width: int, mask: Int | None) -> None:
        """width * LANES lines side by side."""
        space, k = self.space, self.k
        ranges = {g: (as_int(0), self.kernel.dim(space.dims[g])) for g in space.inner}
        numbers: list[list[V]] = [[] for _ in range(width)]
        value, self.first = self._first, index[-1]
        for i, phase in enumerate(self.recipe.phases):
            element, value = self._steps(i, phase, value)
            get = self._own(element, [tuple(own) for own in numbers])
            states = fold_columns(self.kernel, space, phase.fold, index, ranges, width, mask, get)
            for own, state in zip(numbers, states, strict=True):
                own.append(phase.number(k, phase.fold.finish(k, state, self.count())))
        get = self._own(value, numbers)
        with nest(k, list(ranges.values())) as place:
            at = list(index)
            for g, i in zip(ranges, place, strict=True):
                at[g] = i
            for u, own in enumerate(numbers):
                spot = moved(at, u * LANES)
                self._write(spot, self.kernel.fit(get(spot, LANES, mask), LANES), own, mask)

    def _own(self, known: Known, numbers: Sequence[Numbers]) -> Element:
        """The values of lines across, each vector with the numbers of its own."""
        return lambda at, lanes, mask: known(numbers[(at[-1] - self.first).const // LANES], at, lanes, mask)
