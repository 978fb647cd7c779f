"""What a bound program keeps in memory: the arena, the step at which most of it is alive, and what is alive there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from chainrule.backends.llvm.assembly import assemble
from chainrule.backends.llvm.frames import Bound, bind
from chainrule.backends.llvm.program import Program, Step
from chainrule.backends.llvm.records import Lowering
from chainrule.ir.graph import Graph, Value
from chainrule.ir.plan import aligned
from chainrule.passes.recompute import Measured

SHOWN = 20  # rows of a printed report


@dataclass(frozen=True)
class Alive:
    """A temporary that is alive at the peak: its bytes, shape, the kernel that made it, and the user's line."""

    nbytes: int
    type: str
    kernel: str
    place: str


@dataclass(frozen=True)
class MemoryReport:
    """Bytes of weights and state, of the arena, and the most that are alive at one step; where that is, and what.

    decided: what was said of values that are computed again under a limit.
    """

    weight_bytes: int
    arena_bytes: int
    peak_bytes: int
    peak_kernel: str
    peak_place: str
    alive: tuple[Alive, ...]
    decided: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"weights and state  {_spelled(self.weight_bytes)}",
                 f"temporaries        {_spelled(self.arena_bytes)}"]  # fmt: skip
        if self.alive:
            lines.append(f"peak               {_spelled(self.peak_bytes)} in {self.peak_kernel}{_at(self.peak_place)}:")
        lines += [f"  {_spelled(a.nbytes):>10}  {a.type}  {a.kernel}{_at(a.place)}" for a in self.alive[:SHOWN]]
        rest = self.alive[SHOWN:]
        if rest:
            lines.append(f"  {_spelled(sum(a.nbytes for a in rest)):>10}  in {len(rest)} smaller ones")
        return "\n".join([*lines, *self.decided])


def memory_report(program: Program, bound: Bound, weight_bytes: int, decided: tuple[str, ...] = ()) -> MemoryReport:
    """The report of a program that is bound to sizes, the largest temporaries first."""
    peak, most = peak_of(bound)
    alive = [_alive(program, bound, storage, interval.size)
             for storage, interval in zip(bound.temps, bound.intervals, strict=True)
             if interval.first <= peak <= interval.last and interval.size]  # fmt: skip
    kernel, place = _named(program, peak)
    largest_first = tuple(sorted(alive, key=lambda a: -a.nbytes))
    return MemoryReport(weight_bytes, bound.plan.total, most, kernel, place, largest_first, decided)


def peak_of(bound: Bound) -> tuple[int, int]:
    """The first item at which most bytes of temporaries are alive, and how many these are."""
    change: Counter[int] = Counter()
    for interval in bound.intervals:
        change[interval.first] += aligned(interval.size)
        change[interval.last + 1] -= aligned(interval.size)
    items = sorted(change)
    totals = list(accumulate(change[item] for item in items))
    most = max(totals, default=0)
    return (items[totals.index(most)] if totals else 0), most


def _alive(program: Program, bound: Bound, storage: int, nbytes: int) -> Alive:
    made = program.storages[storage]
    kernel, place = _named(program, made.first)
    return Alive(nbytes, f"{made.type.dtype}{list(bound.shapes[storage])}".replace(" ", ""), kernel, place)


def measured(graph: Graph, dims: Mapping[str, int], lowering: Lowering) -> Measured:
    """What the plan of a graph at these sizes says, for choosing what to compute again."""
    program = assemble(graph, lowering)
    bound = bind(program, dims)
    peak, _ = peak_of(bound)
    numbers = iter(bound.steps)
    of_item = [next(numbers) if isinstance(item, Step) else None for item in program.items]
    order = list(program.begins)
    ends = [*list(program.begins.values())[1:], len(program.items)]
    seconds: dict[Value, float] = {}
    fixed: set[Value] = set()
    at_peak = order[-1]
    for node, end in zip(order, ends, strict=True):
        start = program.begins[node]
        seconds[node] = sum(step.seconds * step.runs for step in of_item[start:end] if step is not None)
        items = program.items[start:end]
        if any(isinstance(item, Step) and item.code.fails for item in items):
            fixed.add(node)
        if start <= peak < end:
            at_peak = node
    return Measured(bound.plan.total, order, at_peak, seconds, frozenset(fixed))


def _named(program: Program, item: int) -> tuple[str, str]:
    """The kernel of an item and the user's line that it comes from; "" of what is no kernel."""
    step = program.items[item] if item < len(program.items) else None
    if not isinstance(step, Step):
        return "", ""
    return step.code.name, step.node.loc.short() if step.node.loc else ""


def _at(place: str) -> str:
    return f"  @ {place}" if place else ""


def _spelled(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"
