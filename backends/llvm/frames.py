"""A program bound to the values of its symbolic sizes: extents, sizes, the arena and the native frame.

Binding is the slow path of a call with new sizes; the frame is kept and serves every later call with the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.backends.llvm import runtime_steps as native
from chainrule.backends.llvm.jit import Linked
from chainrule.backends.llvm.program import Program, Storage
from chainrule.backends.llvm.runtime import Frame, aligned_bytes
from chainrule.errors import ArgumentError
from chainrule.ir.dims import dim_value
from chainrule.ir.plan import Interval, Plan, check_plan
from chainrule.passes.plan_memory import plan_memory

# Below these estimates a step, or a whole program, costs less than waking a second thread does.
BYTES_PER_SECOND = 20e9
FLOPS_PER_SECOND = 50e9
SERIAL_STEP_SECONDS = 4e-6
SERIAL_PROGRAM_SECONDS = 60e-6
RELEASE_GIL_SECONDS = 10e-6
MAX_ARENA_BYTES = 1 << 44


@dataclass(frozen=True)
class BoundStep:
    """A step with numbers: parallel iterations, sizes, operations, and bytes of its arrays, each counted once."""

    extent: int
    sizes: tuple[int, ...]
    flops: int
    moved: int

    @property
    def seconds(self) -> float:
        """How long it is estimated to take on one thread."""
        return self.moved / BYTES_PER_SECOND + self.flops / FLOPS_PER_SECOND


@dataclass(frozen=True)
class Bound:
    """A program with numbers in place of symbols. shapes: of every storage."""

    shapes: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]
    steps: tuple[BoundStep, ...]
    plan: Plan
    intervals: tuple[Interval, ...]
    temps: tuple[int, ...]

    @property
    def seconds(self) -> float:
        """The estimated time of all steps on one thread."""
        return sum(step.seconds for step in self.steps)


def bind(program: Program, dims: Mapping[str, int]) -> Bound:
    """The program for these values of its symbols, with its memory plan made and proved."""
    shapes = tuple(tuple(dim_value(d, dims) for d in s.type.shape) for s in program.storages)
    for storage, shape in zip(program.storages, shapes, strict=True):
        if any(d < 0 for d in shape):
            raise ArgumentError(f"a tensor {storage.type} would have the shape {list(shape)} for {dict(dims)}",
                                help="the input is too small for this model")  # fmt: skip
    nbytes = tuple(_count(shape) * s.type.dtype.itemsize for s, shape in zip(program.storages, shapes, strict=True))
    temps = tuple(i for i, s in enumerate(program.storages) if s.kind == "temp")
    intervals = tuple(_interval(i, program.storages[i], nbytes[i]) for i in temps)
    plan = plan_memory(intervals)
    if plan.total > MAX_ARENA_BYTES:
        raise ArgumentError(f"this call would need {plan.total / 1e9:.1f} GB for its temporaries")
    check_plan(intervals, plan)
    steps = []
    for step in program.steps:
        sizes = tuple(dims[name] for name in step.dims)
        extent, flops = dim_value(step.code.extent, dims), dim_value(step.code.flops, dims)
        moved = sum(nbytes[i] for i in dict.fromkeys(step.storages))
        steps.append(BoundStep(extent, sizes, flops, moved))
    return Bound(shapes, nbytes, tuple(steps), plan, intervals, temps)


def _count(shape: Sequence[int]) -> int:
    count = 1
    for d in shape:
        count *= d
    return count


def _interval(i: int, storage: Storage, nbytes: int) -> Interval:
    return Interval(f"t{i} {storage.type}", nbytes, storage.first, storage.last)


def make_frame(program: Program, bound: Bound, code: Linked, weights: Sequence[np.ndarray], threads: int) -> Frame:
    """The native frame, with an arena of its own. weights: one array per param and state input, which it writes too."""
    arena = aligned_bytes(bound.plan.total)
    fixed: dict[int, int] = {}
    for i, offset in zip(bound.temps, bound.plan.offsets, strict=True):
        fixed[i] = arena.ctypes.data + offset
    for i, storage in enumerate(program.storages):
        if storage.kind == "weight":
            fixed[i] = weights[storage.index].ctypes.data
        elif storage.kind == "constant":
            fixed[i] = program.constants[storage.index].ctypes.data
    used = threads if bound.seconds > SERIAL_PROGRAM_SECONDS else 1
    return Frame(
        steps=native_steps(program, bound, code.address),
        n_buffers=len(program.storages),
        fixed=fixed,
        inputs=_ports(program, bound, "input"),
        outputs=_ports(program, bound, "output"),
        arena=arena,
        threads=used,
        keep_alive=(code, tuple(weights), tuple(program.constants)),
        release_gil=bound.seconds > RELEASE_GIL_SECONDS,
    )


def native_steps(program: Program, bound: Bound, address: Callable[[str], int]) -> list[native.Step]:
    """The program as steps of the driver. address: of a kernel, by its symbol."""
    steps: list[native.Step] = [
        native.Call(address(step.code.symbol), b.extent, b.seconds < SERIAL_STEP_SECONDS, step.storages, b.sizes)
        for step, b in zip(program.steps, bound.steps, strict=True)
    ]
    if program.commit is not None:
        steps.insert(program.commit, native.StopIfFailed())
    steps += [native.Copy(c.target, c.source, bound.sizes[c.source]) for c in program.copies]
    return steps


def _ports(program: Program, bound: Bound, kind: str) -> list[tuple[int, np.dtype, tuple[int, ...]]]:
    """(storage, dtype, shape) of the inputs or outputs, in the order of the call."""
    found = [
        (s.index, i, s.type.dtype.numpy, bound.shapes[i]) for i, s in enumerate(program.storages) if s.kind == kind
    ]
    return [(i, dtype, shape) for _, i, dtype, shape in sorted(found, key=lambda item: item[0])]
