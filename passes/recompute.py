"""Computes values again that the backward pass would otherwise wait for, until the temporaries fit a limit.

What is alive at the peak and read later is a candidate. Computed again it is a checkpoint around a copy of the same op,
which the later readers take: the same kernel on the same numbers, so every bit stays. Candidates are taken by the bytes
that they free per second of work; a value whose neighbours are computed again, too, counts their work as its own, so
that chains of such values stay short. After each round the real plan is made again, and only what it says counts.
Source: Chen, Xu, Zhang and Guestrin, arXiv 1604.06174, 2016; Kirisame and others, arXiv 2006.09616, 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from chainrule.errors import ArgumentError
from chainrule.ir.body import Control
from chainrule.ir.dims import dim_value
from chainrule.ir.graph import Get, Graph, Input, Value, new_input, rebuild, remapped, results
from chainrule.ir.op import Op
from chainrule.ir.types import TupleType
from chainrule.loc import using
from chainrule.ops import control
from chainrule.passes.base import Notes, Pass

ROUNDS = 100
STEPS = 16  # at most this share of the memory is freed in a round, so that the plan shows early where the peak moves
LARGEST_GROUP = 8  # values that are computed again for the sake of one
LEAST_SECONDS = 1e-7  # of a kernel: its call
SHOWN = 12  # lines about single values
# A reader of a value: a node of the graph, or the copy of it that computes it again.
Reader = tuple[Value, bool]


@dataclass(frozen=True)
class Measured:
    """What the plan of a graph says: bytes of temporaries, nodes in their order, and which is at work at the peak.

    seconds: the estimated work of each node. fixed: nodes that may find their data wrong, which run once.
    """

    nbytes: int
    order: Sequence[Value]
    peak: Value
    seconds: Mapping[Value, float]
    fixed: frozenset[Value]


@dataclass(frozen=True)
class Recompute(Pass):
    """Computes values again until the temporaries take at most max_bytes at the given sizes.

    measure: the plan of a graph. views: ops whose result lies where their input does.
    Raises ArgumentError, with the least that was reached, if that is not enough.
    """

    name: ClassVar[str] = "recompute"
    enters_bodies: ClassVar[bool] = False
    max_bytes: int
    dims: Mapping[str, int]
    measure: Callable[[Graph], Measured]
    views: tuple[type[Op], ...]

    def __str__(self) -> str:
        return f"{self.name}{{max-bytes={self.max_bytes}}}"

    def run(self, graph: Graph, notes: Notes) -> Graph:
        first = self.measure(graph)
        search = _Search(graph, self.dims, (Get, *self.views), first)
        made, now = _Copied(graph), first
        least = now.nbytes
        for _ in range(ROUNDS):
            excess = now.nbytes - self.max_bytes
            if excess <= 0 or not search.choose(made, now, min(excess, now.nbytes // STEPS)):
                break
            made = search.applied()
            now = self.measure(made.graph)
            least = min(least, now.nbytes)
        if now.nbytes > self.max_bytes:
            raise ArgumentError(f"max_bytes: the temporaries of {graph.name} take {least} bytes at least, "
                                f"{self.max_bytes} are allowed", notes=[f"keeping all values: {first.nbytes} bytes"],
                                help="allow more, or give a smaller batch")  # fmt: skip
        _tell(notes, search, first, now)
        return made.graph


def _tell(notes: Notes, search: _Search, first: Measured, now: Measured) -> None:
    chosen = sorted(search.chosen, key=search.nbytes, reverse=True)
    spent = sum(first.seconds.get(v, 0.0) for v in chosen)
    share = spent / max(sum(first.seconds.values()), LEAST_SECONDS)
    notes.count("computed again", len(chosen))
    notes.say(f"temporaries {first.nbytes} -> {now.nbytes} bytes: {len(chosen)} kernels run again, "
              f"an estimated {share:.1%} more work")  # fmt: skip
    for value in chosen[:SHOWN]:
        place = f"  @ {value.loc.short()}" if value.loc else ""
        notes.say(f"again: {search.nbytes(value)} bytes of {value.op.name} {value.type}{place}")
    if len(chosen) > SHOWN:
        notes.say(f"again: {sum(map(search.nbytes, chosen[SHOWN:]))} bytes of {len(chosen) - SHOWN} more")


@dataclass
class _Copied:
    """A graph in which some values are computed again. kept, again: what a node became, and its second time."""

    graph: Graph
    kept: dict[Value, Value] = field(default_factory=dict)
    again: dict[Value, Value] = field(default_factory=dict)

    def of(self, reader: Reader) -> Value:
        node, second = reader
        return self.again[node] if second else self.kept.get(node, node)


@dataclass(frozen=True)
class _Offer:
    """Values to compute again together: the bytes that this frees at the peak, and the seconds that it takes."""

    values: Sequence[Value]
    gain: int
    work: float


class _Search:
    """What was chosen so far. chosen: for each value the readers that still take it from its first time."""

    def __init__(self, graph: Graph, dims: Mapping[str, int], views: tuple[type[Op], ...], first: Measured) -> None:
        self.graph, self.dims, self.views, self.first = graph, dims, views, first
        self.chosen: dict[Value, frozenset[Reader]] = {}
        self.root: dict[Value, Value] = {}
        self.readers: dict[Value, list[Value]] = {}
        for node in graph.nodes:
            self.root[node] = self.root[node.inputs[0]] if isinstance(node.op, views) else node
            for root in self._sources(node):
                self.readers.setdefault(root, []).append(node)
        asked = {self.root[v] for v in graph.roots}
        self.may = {v: None for v in graph.nodes if self.root[v] is v and v.inputs and v not in asked
                     and v not in first.fixed and not isinstance(v.op, Control)}  # fmt: skip

    def _sources(self, node: Value) -> Iterable[Value]:
        """The values, where they lie, that a node reads; a view does not read what it is a view of."""
        read = node.inputs[1:] if isinstance(node.op, self.views) else node.inputs
        return dict.fromkeys(self.root[v] for v in read)

    def nbytes(self, value: Value) -> int:
        """The bytes of all results of a node; of what is no temporary none."""
        if not value.inputs:
            return 0
        types = value.type.items if isinstance(value.type, TupleType) else (value.type,)
        return sum(dim_value(t.size, self.dims) * t.dtype.itemsize for t in types)

    def choose(self, made: _Copied, now: Measured, excess: int) -> bool:
        """Chooses values that free `excess` bytes at the peak of the plan, or all that free some; False for none."""
        place = {node: i for i, node in enumerate(now.order)}
        peak = place[now.peak]
        last: dict[Value, int] = {}
        early: dict[Value, frozenset[Reader]] = {}
        for value in self.graph.nodes:
            if self.root[value] is value and value not in self.chosen:
                all_readers = [(u, second) for u in self.readers.get(value, ()) for second in (False, True)
                               if not second or u in self.chosen]  # fmt: skip
                at = {reader: place.get(made.of(reader), -1) for reader in all_readers}
                last[value] = max(at.values(), default=-1)
                early[value] = frozenset(reader for reader, i in at.items() if i <= peak)
        alive = {v for v in self.may if v in last and place.get(made.kept.get(v, v), peak) < peak < last[v]}
        freed = 0
        while freed < excess:
            offers = [offer for v in alive for offer in self._offers(v, last, peak) if offer.gain > 0]
            best = max(offers, key=lambda o: o.gain / o.work, default=None)
            if best is None:
                break
            alive.difference_update(best.values)
            self.chosen.update((v, early[v]) for v in best.values)
            freed += best.gain
        return freed > 0

    def _offers(self, value: Value, last: Mapping[Value, int], peak: int) -> Iterator[_Offer]:
        """A value alone, whose inputs must wait for it; and with the inputs that are gone by now, and theirs."""
        for most in (1, LARGEST_GROUP):
            group = [value]
            waiting: dict[Value, None] = {}
            for node in group:  # grows
                for v in self._sources(node):
                    if v in self.chosen or v in group or last.get(v, -1) > peak:
                        continue
                    if v in self.may and len(group) < most:
                        group.append(v)
                    else:
                        waiting[v] = None
            yield _Offer(group, self.nbytes(value) - sum(map(self.nbytes, waiting)), self._work(group))
            if not waiting:
                return

    def _work(self, group: Sequence[Value]) -> float:
        """The seconds of values and of all chosen ones that are linked to them, up and down."""
        seen = set(group)
        stack = [(value, up) for value in group for up in (True, False)]
        while stack:
            node, up = stack.pop()
            for other in self._sources(node) if up else self.readers.get(node, ()):
                if other in self.chosen and other not in seen:
                    seen.add(other)
                    stack.append((other, up))
        return sum(max(self.first.seconds.get(v, 0.0), LEAST_SECONDS) for v in seen)

    def applied(self) -> _Copied:
        """The graph with what is chosen computed again for all readers that are not among the early ones."""
        made = _Copied(self.graph)
        late: dict[Value, Value] = {}  # results, and views of them, of the second time
        for node in self.graph.nodes:
            made.kept[node] = rebuild(node, tuple(self._read(v, (node, False), made, late) for v in node.inputs))
            if node in self.chosen:
                taken = tuple(self._read(v, (node, True), made, late) for v in node.inputs)
                second = _again(node, taken)
                late.update(zip(results(node), second, strict=True))
                made.again[node] = second[0].inputs[0] if isinstance(second[0].op, Get) else second[0]
            elif isinstance(node.op, self.views) and node.inputs[0] in late and node not in late:
                late[node] = rebuild(node, (late[node.inputs[0]], *(made.kept[v] for v in node.inputs[1:])))
        made.graph = remapped(self.graph, made.kept)
        return made

    def _read(self, value: Value, reader: Reader, made: _Copied, late: Mapping[Value, Value]) -> Value:
        root = self.root[value]
        if root not in self.chosen or isinstance(reader[0].op, self.views) or reader in self.chosen[root]:
            return made.kept[value]
        return late[value]


def _again(node: Value, inputs: Sequence[Value]) -> tuple[Value, ...]:
    """The results of a node on these inputs, computed in a body of its own; constants lie in the body."""
    outer = dict.fromkeys(v for v in inputs if v.inputs or isinstance(v.op, Input))
    with using(()):
        held = {v: new_input(f"x{i}", v.tensor) for i, v in enumerate(outer)}
    inner = rebuild(node, tuple(held.get(v, v) for v in inputs))
    with using(node.locs):
        return control.checkpoint(Graph("again", tuple(held.values()), results(inner)), tuple(outer))
