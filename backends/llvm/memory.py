"""What a bound program keeps in memory: the arena, the step at which most of it is alive, and what is alive there."""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.backends.llvm.frames import Bound
from chainrule.backends.llvm.program import Program, Step
from chainrule.ir.plan import aligned

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
    """Bytes of weights and state, of the arena, and the most that are alive at one step; where that is, and what."""

    weight_bytes: int
    arena_bytes: int
    peak_bytes: int
    peak_kernel: str
    peak_place: str
    alive: tuple[Alive, ...]

    def __str__(self) -> str:
        lines = [f"weights and state  {_spelled(self.weight_bytes)}",
                 f"temporaries        {_spelled(self.arena_bytes)}"]  # fmt: skip
        if self.alive:
            lines.append(f"peak               {_spelled(self.peak_bytes)} in {self.peak_kernel}{_at(self.peak_place)}:")
        lines += [f"  {_spelled(a.nbytes):>10}  {a.type}  {a.kernel}{_at(a.place)}" for a in self.alive[:SHOWN]]
        rest = self.alive[SHOWN:]
        if rest:
            lines.append(f"  {_spelled(sum(a.nbytes for a in rest)):>10}  in {len(rest)} smaller ones")
        return "\n".join(lines)


def memory_report(program: Program, bound: Bound, weight_bytes: int) -> MemoryReport:
    """The report of a program that is bound to sizes, the largest temporaries first."""
    peak, most = 0, 0
    for item in range(len(program.items)):
        total = sum(aligned(i.size) for i in bound.intervals if i.first <= item <= i.last)
        if total > most:
            peak, most = item, total
    alive = [_alive(program, bound, storage, interval.size)
             for storage, interval in zip(bound.temps, bound.intervals, strict=True)
             if interval.first <= peak <= interval.last and interval.size]  # fmt: skip
    kernel, place = _named(program, peak)
    largest_first = tuple(sorted(alive, key=lambda a: -a.nbytes))
    return MemoryReport(weight_bytes, bound.plan.total, most, kernel, place, largest_first)


def _alive(program: Program, bound: Bound, storage: int, nbytes: int) -> Alive:
    made = program.storages[storage]
    kernel, place = _named(program, made.first)
    return Alive(nbytes, f"{made.type.dtype}{list(bound.shapes[storage])}".replace(" ", ""), kernel, place)


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
