"""The buffer plan: where every value of a compiled program lives.

A buffer is an interval of steps during which its bytes must not change. The planner (passes.plan_memory) gives each an
offset in one arena; `check_plan` proves, knowing nothing of how that was done, that no two live buffers overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chainrule.errors import ModelError

ALIGNMENT = 64  # bytes; one cache line, and one 512-bit vector


@dataclass(frozen=True)
class Interval:
    """One buffer: written at step `first`, read last at step `last` (both included), of `size` bytes."""

    name: str
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """An offset for each interval, in order; total is the arena's size, bound the most bytes alive at any step."""

    offsets: tuple[int, ...]
    total: int
    bound: int


def aligned(size: int) -> int:
    """The size rounded up to whole cache lines."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def peak(intervals: Sequence[Interval]) -> int:
    """The most bytes alive at one step: no plan can be smaller."""
    change: dict[int, int] = {}
    for item in intervals:
        change[item.first] = change.get(item.first, 0) + aligned(item.size)
        change[item.last + 1] = change.get(item.last + 1, 0) - aligned(item.size)
    highest = current = 0
    for step in sorted(change):
        current += change[step]
        highest = max(highest, current)
    return highest


def check_plan(intervals: Sequence[Interval], plan: Plan) -> None:
    """Raises ModelError naming two buffers that are alive at one step and share bytes, or one that leaves the arena."""
    live: list[tuple[int, int, Interval]] = []
    for item, offset in sorted(zip(intervals, plan.offsets, strict=True), key=lambda pair: pair[0].first):
        if item.size == 0:
            continue
        if offset < 0 or offset + item.size > plan.total or offset % ALIGNMENT:
            raise ModelError(f"memory plan: {item.name} at {offset} of {item.size} bytes is not in the arena")
        live = [entry for entry in live if entry[2].last >= item.first]
        for low, high, other in live:
            if offset < high and low < offset + item.size:
                raise ModelError(f"memory plan: {other.name} and {item.name} overlap at step {item.first}")
        live.append((offset, offset + item.size, item))


def describe(intervals: Sequence[Interval], plan: Plan) -> Mapping[str, int]:
    """Sizes for people: arena, bound, and the sum without any sharing."""
    return {"arena_bytes": plan.total, "bound_bytes": plan.bound, "sum_bytes": sum(aligned(i.size) for i in intervals)}
