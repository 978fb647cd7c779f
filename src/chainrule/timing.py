"""Paired timing: candidates take turns, so that a busy machine slows all of them alike, and medians are compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of one call of a candidate, over the rounds: median, least, and how many calls made one measurement."""

    median: float
    least: float
    calls: int


def paired(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int = 15, seconds: float = 1.0
) -> dict[str, Timing]:
    """The time of each candidate, measured round robin after a warm-up.

    rounds: how often each has its turn. seconds: about how long all turns of one candidate take together; a turn makes
    as many calls as fit in its share, at least one.
    """
    calls = {name: _calls_for(run, seconds / rounds) for name, run in candidates.items()}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            times[name].append(_time(run, calls[name]))
    return {n: Timing(statistics.median(t), min(t), calls[n]) for n, t in times.items()}


def _calls_for(run: Callable[[], object], seconds: float) -> int:
    """How many calls fit into the seconds, after a few to warm up."""
    run()
    once = min(_time(run, 1) for _ in range(3))
    return max(1, min(100_000, int(seconds / max(once, 1e-7))))


def _time(run: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def spelled(seconds: float) -> str:
    """A duration with three digits in a fitting unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"
