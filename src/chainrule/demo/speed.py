"""Latency, throughput and compile time, measured here and now, ours and onnxruntime's in turns."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import chainrule as cr
from chainrule.models import DigitsNet
from chainrule.timing import paired

BATCH = 256


@dataclass(frozen=True)
class Row:
    """One line of the table: seconds of ours and theirs; None where there is nothing to compare."""

    what: str
    ours: float
    theirs: float | None


def measure(model: DigitsNet, images: np.ndarray, threads: int | None) -> list[Row]:
    """The rows of the table."""
    spec = cr.spec("N", 1, 8, 8)
    ours = cr.compile(model, spec, threads=threads)
    theirs = cr.compile(model, spec, backend="onnxruntime", threads=threads)
    one, many = np.ascontiguousarray(images[:1]), np.ascontiguousarray(np.resize(images, (BATCH, 1, 8, 8)))
    rows: list[Row] = []
    for what, x in (("latency of one image", one), (f"a batch of {BATCH} images", many)):
        times = paired({"ours": lambda x=x: ours(x), "theirs": lambda x=x: theirs(x)}, seconds=0.4)
        rows.append(Row(what, times["ours"].median, times["theirs"].median))
    cold, warm = compile_times()
    loading = _seconds(lambda: cr.compile(model, spec, backend="onnxruntime", threads=threads).run([one]))
    return [*rows, Row("compile, cold", cold, None), Row("compile, from the cache", warm, loading)]


def compile_times() -> tuple[float, float]:
    """Seconds to compile the net with an empty cache, and again in a new process with what that left in it."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"CHAINRULE_CACHE_DIR": folder}
        environment.pop("CHAINRULE_NO_CACHE", None)
        times = [
            float(
                subprocess.run([sys.executable, "-c", CHILD], env=environment, check=True, capture_output=True).stdout
            )
            for _ in range(2)
        ]
    return times[0], times[1]


# Imports are not compile time: the child loads everything by compiling another, tiny function first.
CHILD = f"""
import sys, time
sys.path[:0] = {[p for p in sys.path if p]!r}
import chainrule as cr
from chainrule.models import DigitsNet
cr.compile(lambda x: x + 1, cr.spec(2))
model = DigitsNet()
start = time.perf_counter()
cr.compile(model, cr.spec("N", 1, 8, 8))
print(time.perf_counter() - start)
"""


def _seconds(make: Callable[[], object]) -> float:
    start = time.perf_counter()
    make()
    return time.perf_counter() - start
