"""A compiled graph with its weights: native code that is called with numpy arrays.

A call goes straight to the frame of the last sizes, whose native entry checks the arguments itself. Whatever that
entry does not take (other sizes, another dtype, a list, a frame in use by another thread) comes back as NotImplemented
and is sorted out here, in Python: a typed error, a conversion, or another frame.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from chainrule.backends.llvm.assembly import assemble
from chainrule.backends.llvm.cache import default_cache
from chainrule.backends.llvm.failures import failure
from chainrule.backends.llvm.frames import Bound, BoundStep, bind, make_frame
from chainrule.backends.llvm.jit import Linked
from chainrule.backends.llvm.kernels.table import VIEWS, keeps
from chainrule.backends.llvm.memory import MemoryReport, measured, memory_report
from chainrule.backends.llvm.pipeline import pipeline
from chainrule.backends.llvm.profile import KernelTime, Peak, machine_peak
from chainrule.backends.llvm.program import Program, Step, values_of
from chainrule.backends.llvm.records import Lowering
from chainrule.backends.llvm.runtime import Frame, StepFailed, thread_count
from chainrule.backends.llvm.target import Target, host_target
from chainrule.backends.loops import Function
from chainrule.backends.reference import bind_sizes, declared_and_given
from chainrule.errors import ArgumentError, ChainruleError
from chainrule.ir.graph import Graph
from chainrule.ir.memory import aligned_arrays
from chainrule.ir.op import Array
from chainrule.passes.base import Check, PassReport, Pipeline
from chainrule.passes.decompose import require_kept
from chainrule.passes.hoist import hoist
from chainrule.passes.recompute import Recompute

PROFILE_RUNS = 20
MAX_FRAMES = 64  # sizes kept bound per program; the oldest is dropped


_frames_lock = threading.Lock()


def _after_fork() -> None:
    """The thread that was making a frame, if one was, is not in the child."""
    global _frames_lock
    _frames_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True)
class MemoryLimit:
    """The most bytes that temporaries may take at these sizes."""

    max_bytes: int
    dims: Mapping[str, int]


@dataclass
class Unit:
    """One program with its code and its frames by sizes."""

    program: Program
    code: Linked
    weights: list[Array]
    threads: int
    frames: dict[tuple[int, ...], list[Frame]] = field(default_factory=dict)
    bounds: dict[tuple[int, ...], Bound] = field(default_factory=dict)

    def bound(self, dims: Mapping[str, int]) -> Bound:
        """The program bound to sizes, from memory when they came before."""
        key = tuple(dims[s] for s in self.program.graph.symbols)
        found = self.bounds.get(key)
        if found is None:
            found = self.bounds[key] = bind(self.program, dims)
        return found

    def frame(self, dims: Mapping[str, int], fresh: bool = False) -> Frame:
        """A frame for these sizes; fresh: one more, because those there are busy."""
        key = tuple(dims[s] for s in self.program.graph.symbols)
        with _frames_lock:
            frames = self.frames.setdefault(key, [])
            if fresh or not frames:
                frames.append(make_frame(self.program, self.bound(dims), self.code, self.weights, self.threads))
                while len(self.frames) > MAX_FRAMES:
                    self.frames.pop(next(iter(self.frames)))
            return frames[-1] if fresh else frames[0]

    def run(self, arrays: Sequence[Array], dims: Mapping[str, int]) -> list[Array]:
        """The outputs for checked arrays."""
        key = tuple(dims[s] for s in self.program.graph.symbols)
        for frame in list(self.frames.get(key, ())):
            result = frame.entry(*arrays)
            if result is not NotImplemented:
                return as_list(result)
        mine = make_frame(self.program, self.bound(dims), self.code, self.weights, self.threads)
        result = mine.entry(*arrays)
        assert result is not NotImplemented, "a fresh frame refused checked arrays"
        with _frames_lock:  # only now: a thread that found it before would have been inside it
            self.frames.setdefault(key, []).append(mine)
        return as_list(result)


def as_list(result: object) -> list[Array]:
    """What a native entry returns, as a list: nothing, one array, or a tuple."""
    if result is None:
        return []
    return list(result) if isinstance(result, tuple) else [result]  # type: ignore[list-item]


class LlvmExecutable:
    """A graph as native code. weights: one array per param and state input, in order; updates are written into them."""

    def __init__(
        self, graph: Graph, weights: Sequence[Array], *, threads: int | None = None, target: Target | None = None,
        passes: Pipeline | None = None, check: Check | None = None, limit: MemoryLimit | None = None,
    ) -> None:  # fmt: skip
        self.source = graph
        self.target = target or host_target()
        self.threads = thread_count() if threads is None else threads
        self.weights = list(weights)
        self.passes = passes or pipeline(self.target)
        self.graph, self.reports = self.passes.run(graph, check)
        require_kept(self.graph, keeps, "llvm")
        self._decided: tuple[str, ...] = ()
        self._split(self.graph, limit)

    reports: list[PassReport]
    stages: dict[str, float]  # seconds of what comes after the passes

    def _split(self, graph: Graph, limit: MemoryLimit | None) -> None:
        start = time.perf_counter()
        split = hoist(graph)
        places = {v: i for i, v in enumerate(graph.by_role("param", "state"))}
        lowering = Lowering(self.target, default_cache())
        main = assemble(split.main if limit is None else self._within(limit, split.main, lowering), lowering)
        self._prepare: Unit | None = None
        own = [self.weights[places[v]] for v in split.main.by_role("param", "state") if v in places]
        programs = [main]
        if split.prepared:
            prepare = assemble(split.prepare, lowering, once=True)
            programs.append(prepare)
        built = time.perf_counter()
        code = lowering.compiled(c for p in programs for c in p.codes)
        compiled = time.perf_counter()
        self._prepared: list[Array] = []
        if split.prepared:
            fixed = [self.weights[places[v]] for v in split.prepare.inputs]
            self._prepare = Unit(programs[1], code, fixed, self.threads)
            self._prepared = aligned_arrays((port.shape, port.numpy) for port in self._prepare.frame({}).outputs)
            self.refresh()
        self.stages = {"build kernels": built - start, "machine code": compiled - built,
                       "prepare weights": time.perf_counter() - compiled}  # fmt: skip
        self.main = Unit(main, code, own + self._prepared, self.threads)
        self.entry: Callable[..., object] = lambda *arrays: NotImplemented

    def _within(self, limit: MemoryLimit, graph: Graph, lowering: Lowering) -> Graph:
        """The graph with values computed again until its temporaries fit the limit."""
        missing = [name for name in graph.symbols if name not in limit.dims]
        if missing:
            raise ArgumentError(f"max_bytes: the size {missing[0]} is not known",
                                help=f'say for which sizes the limit holds: dims={{"{missing[0]}": 64}}')  # fmt: skip
        chosen = Recompute(limit.max_bytes, limit.dims, lambda g: measured(g, limit.dims, lowering), VIEWS)
        graph, reports = Pipeline("memory", (chosen,)).run(graph)
        self.reports = [*self.reports, *reports]
        self._decided = tuple(line for report in reports for line in report.notes.lines)
        return graph

    def refresh(self) -> None:
        """Computes again what is derived from the weights (packed panels, folded norms), after they were changed."""
        if self._prepare is not None:
            self._prepare.run(self._prepared, {})  # it takes no inputs: these are where its outputs go

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs for contiguous arrays of the declared dtypes. Raises ShapeError for shapes that do not fit."""
        called = self.source.called
        dims = bind_sizes(called, arrays)
        missing = [s for s in self.main.program.graph.symbols if s not in dims]
        if missing:
            raise ArgumentError(f"the size {missing[0]} follows from no input's shape",
                                notes=declared_and_given(called, arrays),
                                help=f'declare an axis as "{missing[0]}" itself')  # fmt: skip
        frame = self.main.frame(dims)
        self.entry = frame.entry
        try:
            return self.main.run(arrays, dims)
        except StepFailed as error:
            raise self.explained(error, arrays) from None

    def explained(self, error: ChainruleError, arrays: Sequence[Array]) -> ChainruleError:
        """What a failed call of `entry` on arrays means: the op, the user's line and what was wrong with the data."""
        if not isinstance(error, StepFailed):
            return error
        dims = bind_sizes(self.source.called, arrays)
        return failure(error.status, values_of(self.main.program.items), dims)

    def bound(self, dims: Mapping[str, int]) -> Bound:
        """The program bound to sizes: memory plan, extents, estimates."""
        return self.main.bound(dims)

    def memory_report(self, dims: Mapping[str, int]) -> MemoryReport:
        """The peak of the temporaries at these sizes, and what is alive there."""
        return memory_report(self.main.program, self.main.bound(dims), sum(w.nbytes for w in self.weights),
                             self._decided)  # fmt: skip

    @property
    def functions(self) -> Sequence[Function]:
        """The distinct kernels."""
        return self.main.program.functions

    @property
    def steps(self) -> Sequence[Step]:
        """The kernel calls of one run, in order."""
        return self.main.program.steps

    def profile(self, arrays: Sequence[Array]) -> tuple[list[KernelTime], Peak, int]:
        """The time of every kernel call in one run (the least of several), the machine's ceilings, and the threads."""
        dims = bind_sizes(self.source.called, arrays)
        frame = self.main.frame(dims, fresh=True)
        outputs = [np.empty(port.shape, port.numpy) for port in frame.outputs]
        addresses = [a.ctypes.data for a in (*arrays, *outputs)]
        least: dict[int, float] = {}
        runs: dict[int, int] = {}
        for _ in range(PROFILE_RUNS):
            for spent in frame.profile(addresses):
                least[spent.step] = min(least.get(spent.step, math.inf), spent.ns * 1e-9)
                runs[spent.step] = spent.runs
        places = [i for i, item in enumerate(self.main.program.items) if isinstance(item, Step)]
        rows = [_kernel_time(step, bound, least.get(i, 0.0), runs.get(i, 0))
                for i, step, bound in zip(places, self.steps, self.bound(dims).steps, strict=True)]  # fmt: skip
        return rows, machine_peak(self.target), frame.threads


def _kernel_time(step: Step, bound: BoundStep, seconds: float, runs: int) -> KernelTime:
    """runs: how often the call ran, which in a loop is not once."""
    where = step.node.loc
    return KernelTime(step.code.name, seconds, bound.flops * runs, bound.moved * runs, where.short() if where else "",
                      step.why)  # fmt: skip
