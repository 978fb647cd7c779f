"""How each reduction gathers elements: the state it keeps, how an element joins, how two states become one.

A state is a tuple of values of equal lanes. Sums of floats keep two levels: a narrow state takes at most STEPS elements
per lane in their own type, then joins a wide one, which is f64 for f32 elements, and for f64 elements a pair (sum,
error) by Knuth's two-sum (The Art of Computer Programming, vol. 2, 4.2.2). So the error of a sum is that of STEPS
additions whatever its length, at the price of one conversion per STEPS vectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chainrule.backends.loops import Builder, Int
from chainrule.backends.loops import Value as V
from chainrule.ir.op import Op
from chainrule.ir.types import DType, bool_, f32, f64, i32, i64, u8
from chainrule.ops import reduce as ops

State = tuple[V, ...]
STEPS = 16  # additions in the elements' own type before the wide state takes over: 16 of them err by at most 8.4 u


@dataclass(frozen=True)
class Fold:
    """The form of a fold over elements of one dtype (half precision arrives as f32). blocked: STEPS matters to it."""

    dtype: DType
    blocked = False

    @property
    def neutral(self) -> float | int | bool:
        """What an element that is not there counts as."""
        raise NotImplementedError

    def start(self, k: Builder, lanes: int) -> State:
        """The narrow state of no elements."""
        raise NotImplementedError

    def step(self, k: Builder, state: State, x: V, at: Int) -> State:
        """The narrow state with one more element in every lane. at: the (first) element's place along the line."""
        raise NotImplementedError

    def merge(self, k: Builder, a: State, b: State) -> State:
        """Two narrow states as one."""
        raise NotImplementedError

    def wide_start(self, k: Builder, lanes: int) -> State:
        """The wide state of no elements."""
        return self.start(k, lanes)

    def widen(self, k: Builder, state: State) -> State:
        """A narrow state as a wide one."""
        return state

    def wide_merge(self, k: Builder, a: State, b: State) -> State:
        """Two wide states as one."""
        return self.merge(k, a, b)

    def finish(self, k: Builder, state: State, count: V) -> V:
        """The result, from the wide state and the number of elements (i64)."""
        return state[0]

    def across(self, k: Builder, state: State) -> State:
        """All lanes of a wide state as one: lane j with lane j + n/2, then again."""
        while (lanes := state[0].lanes) > 1:
            half = lanes // 2
            low = tuple(k.shuffle(v, None, range(half)) for v in state)
            high = tuple(k.shuffle(v, None, range(half, lanes)) for v in state)
            state = self.wide_merge(k, low, high)
        return state


class Total(Fold):
    """A sum; integers wrap."""

    @property
    def neutral(self) -> int:
        return 0

    @property
    def blocked(self) -> bool:  # type: ignore[override]
        return self.dtype.is_float

    def start(self, k: Builder, lanes: int) -> State:
        return (k.const(0, self.dtype, lanes),)

    def step(self, k: Builder, state: State, x: V, at: Int) -> State:
        return (k.add(state[0], x),)

    def merge(self, k: Builder, a: State, b: State) -> State:
        return (k.add(a[0], b[0]),)

    def wide_start(self, k: Builder, lanes: int) -> State:
        match self.dtype.name:
            case "f32":
                return (k.const(0, f64, lanes),)
            case "f64":
                return (k.const(0, f64, lanes),) * 2
            case _:
                return self.start(k, lanes)

    def widen(self, k: Builder, state: State) -> State:
        match self.dtype.name:
            case "f32":
                return (k.cast(state[0], f64),)
            case "f64":
                return (state[0], k.const(0, f64, state[0].lanes))
            case _:
                return state

    def wide_merge(self, k: Builder, a: State, b: State) -> State:
        if self.dtype != f64:
            return self.merge(k, a, b)
        total = k.add(a[0], b[0])
        part = k.sub(total, a[0])
        lost = k.add(k.sub(a[0], k.sub(total, part)), k.sub(b[0], part))
        return total, k.add(k.add(a[1], b[1]), lost)

    def finish(self, k: Builder, state: State, count: V) -> V:
        if self.dtype != f64:
            return state[0]
        whole = k.add(*state)  # of infinities the error is NaN, and says nothing
        return k.select(k.cmp("eq", state[1], state[1]), whole, state[0])


class Average(Total):
    """A sum over its count; NaN of nothing."""

    def finish(self, k: Builder, state: State, count: V) -> V:
        return k.div(super().finish(k, state, count), k.cast(count, f64))


class Product(Fold):
    """A product, of floats in f64; integers wrap."""

    @property
    def neutral(self) -> int:
        return 1

    def start(self, k: Builder, lanes: int) -> State:
        return (k.const(1, f64 if self.dtype.is_float else self.dtype, lanes),)

    def step(self, k: Builder, state: State, x: V, at: Int) -> State:
        return (k.mul(state[0], k.cast(x, state[0].dtype)),)

    def merge(self, k: Builder, a: State, b: State) -> State:
        return (k.mul(a[0], b[0]),)


@dataclass(frozen=True)
class Extremum(Fold):
    """The largest or smallest. A second value turns NaN with the first NaN that is met and stays so."""

    largest: bool = True

    @property
    def neutral(self) -> float | int:
        return lowest(self.dtype) if self.largest else highest(self.dtype)

    def start(self, k: Builder, lanes: int) -> State:
        best = k.const(self.neutral, self.dtype, lanes)
        return (best, k.const(0, self.dtype, lanes)) if self.dtype.is_float else (best,)

    def _better(self, k: Builder, a: V, b: V) -> V:
        return k.max(a, b) if self.largest else k.min(a, b)

    def step(self, k: Builder, state: State, x: V, at: Int) -> State:
        best = self._better(k, x, state[0])  # keeps the best where x is NaN
        return (best, k.select(k.cmp("ne", x, x), x, state[1])) if self.dtype.is_float else (best,)

    def merge(self, k: Builder, a: State, b: State) -> State:
        best = self._better(k, b[0], a[0])
        return (best, k.select(k.cmp("ne", b[1], b[1]), b[1], a[1])) if self.dtype.is_float else (best,)

    def finish(self, k: Builder, state: State, count: V) -> V:
        if len(state) == 1:
            return state[0]
        return k.select(k.cmp("ne", state[1], state[1]), state[1], state[0])


@dataclass(frozen=True)
class Truth(Fold):
    """Whether any, or every, element holds; kept as bytes, which every target has vectors of."""

    every: bool = False

    @property
    def neutral(self) -> bool:
        return self.every

    def start(self, k: Builder, lanes: int) -> State:
        return (k.const(int(self.every), u8, lanes),)

    def step(self, k: Builder, state: State, x: V, at: Int) -> State:
        byte = k.cast(x, u8)
        return (k.and_(state[0], byte) if self.every else k.or_(state[0], byte),)

    def merge(self, k: Builder, a: State, b: State) -> State:
        return (k.and_(a[0], b[0]) if self.every else k.or_(a[0], b[0]),)

    def finish(self, k: Builder, state: State, count: V) -> V:
        return k.cast(state[0], bool_)


@dataclass(frozen=True)
class Place(Fold):
    """Where the largest or smallest is: the first of equals, the first NaN if there is one.

    rows: lanes are neighbours along the line, else they are lines of their own. index: i32 where the line is short.
    """

    largest: bool = True
    rows: bool = True
    index: DType = i64

    @property
    def neutral(self) -> float | int:
        return lowest(self.dtype) if self.largest else highest(self.dtype)

    def start(self, k: Builder, lanes: int) -> State:
        # Where nothing beats the neutral element, all elements are equal to it, and the first is at 0.
        return k.const(self.neutral, self.dtype, lanes), k.const(0, self.index, lanes)

    def _beats(self, k: Builder, a: V, b: V) -> V:
        better = k.cmp("gt" if self.largest else "lt", a, b)
        if not self.dtype.is_float:
            return better
        return k.or_(better, k.and_(k.cmp("ne", a, a), k.cmp("eq", b, b)))

    def step(self, k: Builder, state: State, x: V, at: Int) -> State:
        place = k.splat(k.value(at, self.index), x.lanes)
        if self.rows and x.lanes > 1:
            place = k.add(place, k.iota(self.index, x.lanes))
        better = self._beats(k, x, state[0])
        return k.select(better, x, state[0]), k.select(better, place, state[1])

    def merge(self, k: Builder, a: State, b: State) -> State:
        worse = self._beats(k, a[0], b[0])
        better = self._beats(k, b[0], a[0])
        earlier = k.and_(k.not_(worse), k.cmp("lt", b[1], a[1]))
        taken = k.or_(better, earlier)
        return k.select(taken, b[0], a[0]), k.select(taken, b[1], a[1])

    def finish(self, k: Builder, state: State, count: V) -> V:
        return k.cast(state[1], i64)


def lowest(dtype: DType) -> float | int:
    """-inf, or the smallest integer of the type."""
    return -math.inf if dtype.is_float else int(np.iinfo(dtype.numpy).min)


def highest(dtype: DType) -> float | int:
    """inf, or the largest integer of the type."""
    return math.inf if dtype.is_float else int(np.iinfo(dtype.numpy).max)


def fold_of(op: Op, dtype: DType, rows: bool, short: bool) -> Fold:
    """The fold of a reduction over elements of a type. rows: lanes lie along the line; short: i32 counts its places."""
    core = f32 if dtype.is_float and dtype.bits == 16 else dtype
    match op:
        case ops.Sum():
            return Total(core)
        case ops.Mean():
            return Average(core)
        case ops.Prod():
            return Product(core)
        case ops.AMax() | ops.AMin():
            return Extremum(core, isinstance(op, ops.AMax))
        case ops.Any() | ops.All():
            return Truth(core, isinstance(op, ops.All))
        case ops.ArgMax() | ops.ArgMin():
            return Place(core, isinstance(op, ops.ArgMax), rows, i32 if short else i64)
        case _:
            raise AssertionError(f"{op.name} is not a reduction")
