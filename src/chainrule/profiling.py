"""A profile: where the time of one call goes, kernel by kernel, against what the machine can do at most."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from chainrule.timing import spelled

if TYPE_CHECKING:
    from chainrule.backends.llvm.profile import KernelTime, Peak


@dataclass(frozen=True)
class Profile(Sequence["KernelTime"]):
    """The kernel calls of one run, in order. peak: of one core; threads: how many cores worked.

    Prints as a table. A call's share is the time that the roofline allows for its flops and bytes, over the time it
    took: 100 % is the machine's limit. Data that caches hold may pass the limit of memory, and so 100 %.
    """

    rows: tuple[KernelTime, ...]
    peak: Peak
    threads: int = 1

    @overload
    def __getitem__(self, index: int) -> KernelTime: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[KernelTime]: ...
    def __getitem__(self, index: int | slice) -> KernelTime | Sequence[KernelTime]:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[KernelTime]:
        return iter(self.rows)

    @property
    def seconds(self) -> float:
        """The time of all calls."""
        return sum(row.seconds for row in self.rows)

    def limit(self, row: KernelTime) -> float:
        """The least seconds that the machine's ceilings allow for a call."""
        return max(row.flops / self.peak.flops, row.nbytes / self.peak.bandwidth) / self.threads

    def share(self, row: KernelTime) -> float:
        """How near a call is to the machine's limit: 1 is at it."""
        return self.limit(row) / row.seconds if row.seconds > 0 else 0.0

    def __str__(self) -> str:
        total = self.seconds or 1.0
        lines = [f"{'time':>9} {'':>5} {'GFLOP/s':>8} {'GB/s':>6} {'limit':>6}  kernel"]
        for row in self.rows:
            gflops, gbytes = _rate(row.flops, row.seconds), _rate(row.nbytes, row.seconds)
            lines.append(f"{spelled(row.seconds):>9} {row.seconds / total:>5.0%} {gflops:>8.1f} {gbytes:>6.1f} "
                         f"{self.share(row):>6.0%}  {row.kernel}  {row.place}  {row.why}".rstrip())  # fmt: skip
        ceilings = f"{self.peak.flops / 1e9:.0f} GFLOP/s and {self.peak.bandwidth / 1e9:.0f} GB/s"
        lines.append(f"{spelled(self.seconds)} in all on {self.threads} thread(s); a core reaches {ceilings}")
        return "\n".join(lines)

    def facts(self) -> list[dict[str, object]]:
        """One row per call as plain data, for JSON."""
        return [{**asdict(row), "gflops": _rate(row.flops, row.seconds), "gbytes": _rate(row.nbytes, row.seconds),
                 "share": self.share(row)} for row in self.rows]  # fmt: skip

    def chrome_trace(self, path: str | Path) -> Path:
        """Writes the calls as a trace for chrome://tracing or Perfetto: one after the other, from time 0."""
        at, events = 0.0, list[dict[str, object]]()
        for row, facts in zip(self.rows, self.facts(), strict=True):
            events.append({"name": row.kernel, "ph": "X", "ts": at * 1e6, "dur": row.seconds * 1e6, "pid": 0, "tid": 0,
                           "args": {k: v for k, v in facts.items() if k not in ("kernel", "seconds")}})  # fmt: skip
            at += row.seconds
        place = Path(path)
        place.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}))
        return place

    def roofline(self, path: str | Path) -> Path:
        """Writes a picture (SVG): each kernel's speed over its flops per byte, under the machine's two ceilings."""
        from chainrule.pictures.roofline import Point, roofline

        points = [Point(f"{row.kernel}  {row.place}", row.flops / row.nbytes, row.flops / row.seconds, row.seconds)
                  for row in self.rows if row.flops and row.nbytes and row.seconds > 0]  # fmt: skip
        place = Path(path)
        place.write_text(roofline(points, self.peak.flops * self.threads, self.peak.bandwidth * self.threads))
        return place


def _rate(amount: int, seconds: float) -> float:
    return amount / seconds / 1e9 if seconds > 0 else 0.0
