"""A graph as a list of native calls over storages.

Every value has a storage (an input's, weight's or output's array, a constant, or a temporary in the arena; or a part of
another storage, which may move with a loop's counter), and every node its kernel calls. The items of a program are the
steps of the driver one for one: kernel calls, copies, and the jumps of loops and branches. `assembly` makes one
of a graph; nothing here depends on the values of symbolic sizes: frames.py binds a program to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from chainrule.backends.llvm import runtime_steps as native
from chainrule.backends.llvm.kernels.region import region_of
from chainrule.backends.llvm.kernels.table import template_of
from chainrule.backends.llvm.records import Code
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Function
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Graph, Value
from chainrule.ir.lazy import lazy
from chainrule.ir.types import TensorType

Kind = Literal["input", "weight", "constant", "output", "temp", "part"]


@dataclass(frozen=True)
class Part:
    """Where a storage lies in another one: at offset + counter * stride, in bytes."""

    inside: int
    counter: int = 0
    stride: Dim = 0
    offset: Dim = 0


@dataclass
class Storage:
    """Where bytes live. index: the place among the graph's call inputs, weights, constants or outputs.

    first, last: the items between which a temporary must keep its bytes.
    """

    kind: Kind
    type: TensorType
    index: int = 0
    first: int = 0
    last: int = 0
    part: Part | None = None


@dataclass(frozen=True)
class Step:
    """One kernel call of the program. storages: one id per buffer of the function.

    operands: for each buffer the input of the node that it is, -1 for what is none.
    """

    code: Code
    storages: tuple[int, ...]
    operands: tuple[int, ...]
    dims: tuple[Dim, ...]
    node: Value
    why: str


@dataclass(frozen=True)
class Copy:
    """Bytes of one storage go to another."""

    source: int
    target: int


@dataclass(frozen=True)
class Repeat:
    """The begin of a loop of `length` rounds, which ends before the item `end`: its counter becomes 0."""

    counter: int
    length: Dim
    end: int = -1


@dataclass(frozen=True)
class Again:
    """The end of a loop of `length` rounds: the counter goes up, and on with the item `start` while it is less."""

    counter: int
    length: Dim
    start: int


Jumping = native.Jump | native.JumpUnless | native.SetCounter | native.FlipCounter | native.StopIfFailed
Item = Step | Copy | Repeat | Again | Jumping


@dataclass(frozen=True)
class Use:
    """How an item touches a storage."""

    item: int
    reads: bool
    writes: bool
    step: Step | None = None


@dataclass(frozen=True)
class Loop:
    """The items of a loop, both ends included. trips: how often they run, None where data decides."""

    first: int
    last: int
    trips: Dim | None


@dataclass
class Program:
    """What assemble makes. constants: the arrays of the constant storages, by index. begins: the first item of
    each node of the graph, in the order in which they are computed; the next node's where it has none.

    Storage ids in `native` items are those of the program, which frames.py makes buffers of.
    """

    graph: Graph
    storages: list[Storage] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)
    constants: list[np.ndarray] = field(default_factory=list)
    begins: dict[Value, int] = field(default_factory=dict)

    target: Target | None = None

    @property
    def steps(self) -> list[Step]:
        """The kernel calls, in the order in which they stand."""
        return [item for item in self.items if isinstance(item, Step)]

    @property
    def copies(self) -> list[Copy]:
        """The copies, in the order in which they stand."""
        return [item for item in self.items if isinstance(item, Copy)]

    @property
    def codes(self) -> list[Code]:
        """The distinct kernels, in order of first use."""
        return list(dict.fromkeys(step.code for step in self.steps))

    @lazy
    def functions(self) -> list[Function]:
        """The loops of the distinct kernels, for people and tests: built again, whatever the cache holds."""
        assert self.target is not None
        regions = [region_of(node) for node in dict.fromkeys(step.node for step in self.steps)]
        calls = [call for region in regions for call in template_of(region)(region, self.target)]
        return list(dict.fromkeys(call.function for call in calls))

    def chain(self, storage: int) -> Iterator[int]:
        """The storage, that which it is a part of, and so on to one that is whole."""
        yield storage
        while (part := self.storages[storage].part) is not None:
            storage = part.inside
            yield storage

    def uses(self, start: int = 0) -> dict[int, list[Use]]:
        """How the items from `start` on touch each storage, directly or through a part of it, in order."""
        found: dict[int, list[Use]] = {}
        for number in range(start, len(self.items)):
            for storage, use in _touched(number, self.items[number]):
                for whole in self.chain(storage):
                    found.setdefault(whole, []).append(use)
        return found

    def trips(self) -> list[list[Dim | None]]:
        """For each item the lengths of the loops that it stands in."""
        found: list[list[Dim | None]] = [[] for _ in self.items]
        for loop in self.loops:
            for i in range(loop.first, loop.last + 1):
                found[i].append(loop.trips)
        return found


def _touched(number: int, item: Item) -> Iterator[tuple[int, Use]]:
    match item:
        case Step(code, storages):
            for storage, mode in zip(storages, code.modes, strict=True):
                yield storage, Use(number, "r" in mode, "w" in mode, item)
        case Copy(source, target):
            yield source, Use(number, True, False)
            yield target, Use(number, False, True)
        case native.JumpUnless(cond):
            assert isinstance(cond, int)
            yield cond, Use(number, True, False)
        case _:
            pass


def live_ranges(program: Program) -> None:
    """Sets when each temporary must keep its bytes: what outlives a round of a loop does so for the whole loop."""
    for storage, uses in program.uses().items():
        first, last = uses[0].item, uses[-1].item
        for loop in program.loops:  # inner loops come before those around them
            if first < loop.first <= last < loop.last or loop.first <= first <= loop.last < last:
                first, last = min(first, loop.first), max(last, loop.last)
        program.storages[storage].first, program.storages[storage].last = first, last


def values_of(items: Sequence[Item]) -> list[Value | None]:
    """The node of each item that is a kernel call."""
    return [item.node if isinstance(item, Step) else None for item in items]
