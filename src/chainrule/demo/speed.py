"""Latency, throughput and compile time, measured here and now, ours and onnxruntime's in turns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule.backends.llvm.cache import Cache
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
    rows = []
    for what, x in (("latency of one image", one), (f"a batch of {BATCH} images", many)):
        times = paired({"ours": lambda x=x: ours(x), "theirs": lambda x=x: theirs(x)}, seconds=0.4)
        rows.append(Row(what, times["ours"].median, times["theirs"].median))
    cold, warm = compile_times(lambda: cr.compile(model, spec, threads=threads))
    loading = _seconds(lambda: cr.compile(model, spec, backend="onnxruntime", threads=threads).run([one]))
    return [*rows, Row("compile, cold", cold, None), Row("compile, from the cache", warm, loading)]


def compile_times(make: Callable[[], object]) -> tuple[float, float]:
    """Seconds to compile with an empty cache, then again with what that left in it, code in this process forgotten."""
    from chainrule.backends.llvm import jit

    with tempfile.TemporaryDirectory() as folder, jit.using_cache(Cache(Path(folder))):
        return _seconds(make), _seconds(make)


def _seconds(make: Callable[[], object]) -> float:
    start = time.perf_counter()
    make()
    return time.perf_counter() - start


