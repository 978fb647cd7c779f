"""Gives every temporary a place in one arena, re-using bytes as soon as they are free."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

from chainrule.ir.plan import Interval, Plan, aligned, peak


def plan_memory(intervals: Sequence[Interval]) -> Plan:
    """Offsets by best fit, largest buffers first.

    Placing big buffers first and each into the tightest gap among those alive at the same time comes close to the bound
    (the most bytes alive at one step); the plan says how close.
    """
    order = sorted(range(len(intervals)), key=lambda i: (-aligned(intervals[i].size), intervals[i].first))
    placed: list[tuple[int, int, int, int]] = []  # (offset, end, first, last), sorted by offset
    offsets = [0] * len(intervals)
    total = 0
    for i in order:
        item = intervals[i]
        size = aligned(item.size)
        if size == 0:
            continue
        offset = _best_gap(placed, item, size)
        offsets[i] = offset
        insort(placed, (offset, offset + size, item.first, item.last))
        total = max(total, offset + size)
    return Plan(tuple(offsets), total, peak(intervals))


def _best_gap(placed: Sequence[tuple[int, int, int, int]], item: Interval, size: int) -> int:
    """The start of the smallest gap that holds size bytes among buffers alive with the item; else the end."""
    end = 0
    best: tuple[int, int] | None = None
    for low, high, first, last in placed:
        if last < item.first or first > item.last:
            continue
        gap = low - end
        if gap >= size and (best is None or gap < best[0]):
            best = (gap, end)
        end = max(end, high)
    return end if best is None else best[1]
