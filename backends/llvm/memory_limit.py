"""How much memory there is, so that a call that cannot fit says so before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from chainrule.errors import ArgumentError


def require_room(temporaries: int, weights: int) -> None:
    """Raises ArgumentError when temporaries and weights of these bytes are more than a process here can use."""
    limit = _limit_here()
    if limit is not None and temporaries + weights > limit:
        raise ArgumentError(f"this call would need {temporaries / 1e9:.1f} GB for its temporaries beside "
                            f"{weights / 1e9:.1f} GB of weights; there are {limit / 1e9:.1f} GB of memory",
                            help="give a smaller batch; memory_report() shows what is alive at the peak")  # fmt: skip


@cache
def _limit_here() -> int | None:
    return memory_limit()


def memory_limit(meminfo: Path = Path("/proc/meminfo"), membership: Path = Path("/proc/self/cgroup"),
                 root: Path = Path("/sys/fs/cgroup")) -> int | None:  # fmt: skip
    """Bytes that a process here can use: the machine's, or the least that its control groups allow. None: not known.

    Reads version 2 (memory.max) and version 1 (memory.limit_in_bytes) of the groups, which are mounted at root.
    """
    limits = [*_machine_bytes(_lines(meminfo)), *_group_bytes(_lines(membership), root)]
    return min(limits) if limits else None


def _machine_bytes(lines: Sequence[str]) -> list[int]:
    return [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")]


def _group_bytes(lines: Sequence[str], root: Path) -> list[int]:
    """The limits of the groups of a process and of all around them; "max" is none."""
    found: list[int] = []
    for line in lines:
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0":
            base, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        inside = Path(path.strip("/"))
        for group in (inside, *inside.parents):
            found += [int(text) for text in _lines(base / group / name) if text.strip().isdigit()]
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
