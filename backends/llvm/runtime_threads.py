"""How many threads a process should use: what its user, its CPUs and its control groups allow."""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path

from chainrule.backends.llvm.runtime_pool import MAX_THREADS
from chainrule.errors import ArgumentError


def thread_count() -> int:
    """Threads that a parallel program uses unless told otherwise, at least 1.

    The least of CHAINRULE_NUM_THREADS, the CPUs that the process may run on, and its cgroup's CPU quota (rounded down:
    the split of work waits for its slowest part). Raises ArgumentError when the variable is not a positive number.
    """
    limits = [_allowed_cpus(), MAX_THREADS]
    quota = _cgroup_quota()
    if quota is not None:
        limits.append(max(1, math.floor(quota)))
    asked = os.environ.get("CHAINRULE_NUM_THREADS", "").strip()
    if asked:
        if not (asked.isascii() and asked.isdigit()) or int(asked) < 1:
            raise ArgumentError(
                f"CHAINRULE_NUM_THREADS is {asked!r}, not a number of threads",
                help="give it a number from 1 on, or unset it",
            )
        limits.append(int(asked))
    return max(1, min(limits))


def _allowed_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _cgroup_quota() -> float | None:
    return read_cgroup_quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))


def read_cgroup_quota(membership: Path, root: Path) -> float | None:
    """CPUs that the control groups of a process allow, the least of all levels; None where nothing limits them.

    membership: the process's /proc/self/cgroup. root: where the groups are mounted. Reads version 2 (cpu.max) and
    version 1 (cpu.cfs_quota_us, cpu.cfs_period_us in the hierarchy of the cpu controller).
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    found: list[float] = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = controllers.split(",")
        if number == "0" and not controllers:
            found += _quotas(root, path) + _quotas(root / "unified", path)
        elif "cpu" in names:
            for mount in dict.fromkeys((controllers, "cpu")):
                found += _quotas(root / mount, path)
    return min(found, default=None)


def _quotas(mount: Path, path: str) -> list[float]:
    """The limits of a group and all above it. A container may not see its own path: then what it sees as the root."""
    group = mount / path.strip("/")
    levels = [group, *group.parents]
    levels = levels[: levels.index(mount) + 1] if mount in levels else [mount]
    return [quota for level in levels if (quota := _quota_of(level)) is not None]


def _quota_of(group: Path) -> float | None:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()[:2]
        else:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        if quota == "max" or int(quota) <= 0:
            return None
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
