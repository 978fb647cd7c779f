"""A program bound to the values of its symbolic sizes: extents, sizes, the arena and the native frame.

Binding is the slow path of a call with new sizes; the frame is kept and serves every later call with the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.backends.llvm import runtime_steps as native
from chainrule.backends.llvm.jit import Linked
from chainrule.backends.llvm.memory_limit import require_room
from chainrule.backends.llvm.program import Again, Copy, Program, Repeat, Step, Storage
from chainrule.backends.llvm.runtime import Frame
from chainrule.errors import ArgumentError
from chainrule.ir.dims import dim_value
from chainrule.ir.memory import aligned_bytes
from chainrule.ir.plan import Interval, Plan, check_plan
from chainrule.passes.plan_memory import plan_memory

# Below these estimates a step, or a whole program, costs less than waking a second thread does.
BYTES_PER_SECOND = 20e9
FLOPS_PER_SECOND = 50e9
SERIAL_STEP_SECONDS = 4e-6
SERIAL_PROGRAM_SECONDS = 60e-6
RELEASE_GIL_SECONDS = 10e-6
MAX_ARENA_BYTES = 1 << 44
MAX_TENSOR_BYTES = 1 << 40
GUESSED_TRIPS = 16  # of a loop that ends when its data says so


@dataclass(frozen=True)
class BoundStep:
    """A step with numbers: parallel iterations, sizes, operations, and bytes of its arrays, each counted once.

    runs: how often it runs in a call, a guess where data decides.
    """

    extent: int
    sizes: tuple[int, ...]
    flops: int
    moved: int
    runs: int = 1

    @property
    def seconds(self) -> float:
        """How long one run is estimated to take on one thread."""
        return self.moved / BYTES_PER_SECOND + self.flops / FLOPS_PER_SECOND


@dataclass(frozen=True)
class Bound:
    """A program with numbers in place of symbols. shapes, sizes (bytes), refs: of every storage.

    lengths: of the loops that the items begin or end, by item.
    """

    shapes: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]
    steps: tuple[BoundStep, ...]
    plan: Plan
    intervals: tuple[Interval, ...]
    temps: tuple[int, ...]
    refs: tuple[native.Ref, ...]
    lengths: Mapping[int, int]

    @property
    def seconds(self) -> float:
        """The estimated time of all steps on one thread."""
        return sum(step.seconds * step.runs for step in self.steps)


def bind(program: Program, dims: Mapping[str, int]) -> Bound:
    """The program for these values of its symbols, with its memory plan made and proved."""
    shapes = tuple(tuple(dim_value(d, dims) for d in s.type.shape) for s in program.storages)
    for storage, shape in zip(program.storages, shapes, strict=True):
        if any(d < 0 for d in shape):
            raise ArgumentError(f"a tensor {storage.type} would have the shape {list(shape)} for {dict(dims)}",
                                help="the input is too small for this model")  # fmt: skip
    nbytes = tuple(_count(shape) * s.type.dtype.itemsize for s, shape in zip(program.storages, shapes, strict=True))
    _refuse_giants(program, shapes, nbytes)
    temps = tuple(i for i, s in enumerate(program.storages) if s.kind == "temp")
    intervals = tuple(_interval(i, program.storages[i], nbytes[i]) for i in temps)
    plan = plan_memory(intervals)
    if plan.total > MAX_ARENA_BYTES:
        raise ArgumentError(f"this call would need {plan.total / 1e9:.1f} GB for its temporaries")
    check_plan(intervals, plan)
    lengths = {i: dim_value(item.length, dims) for i, item in enumerate(program.items)
               if isinstance(item, Repeat | Again)}  # fmt: skip
    steps = []
    for step, around in zip(program.items, program.trips(), strict=True):
        if not isinstance(step, Step):
            continue
        sizes = tuple(dim_value(d, dims) for d in step.dims)
        runs = _count([GUESSED_TRIPS if trips is None else dim_value(trips, dims) for trips in around])
        extent, flops = dim_value(step.code.extent, dims), dim_value(step.code.flops, dims)
        every = sum(nbytes[i] for i in dict.fromkeys(step.storages))
        moved = every if step.code.moved is None else dim_value(step.code.moved, dims)
        steps.append(BoundStep(extent, sizes, flops, moved, runs))
    refs = tuple(_ref(program, i, dims) for i in range(len(program.storages)))
    return Bound(shapes, nbytes, tuple(steps), plan, intervals, temps, refs, lengths)


def _refuse_giants(program: Program, shapes: Sequence[tuple[int, ...]], nbytes: Sequence[int]) -> None:
    """Raises ArgumentError, with its line, for a step that makes a tensor larger than any memory."""
    if max(nbytes, default=0) <= MAX_TENSOR_BYTES:
        return
    for step in (item for item in program.items if isinstance(item, Step)):
        for i in step.storages:
            if nbytes[i] > MAX_TENSOR_BYTES:
                raise ArgumentError(f"{step.node.op.mnemonic}: a tensor of {list(shapes[i])} would take "
                                    f"{nbytes[i] / 1e9:.0f} GB", loc=step.node.loc,
                                    help="give the model smaller sizes")  # fmt: skip


def _count(shape: Sequence[int]) -> int:
    count = 1
    for d in shape:
        count *= d
    return count


def _ref(program: Program, storage: int, dims: Mapping[str, int]) -> native.Ref:
    """The buffer of a storage: the whole one that it is a part of, and how it moves in that with counters."""
    *parts, whole = program.chain(storage)
    offset, moves = 0, list[tuple[int, int]]()
    for i in parts:
        part = program.storages[i].part
        assert part is not None
        offset += dim_value(part.offset, dims)
        stride = dim_value(part.stride, dims)
        moves += [(part.counter, stride)] if stride else []
    if not moves:
        return native.Slice(whole, offset=offset) if offset else whole
    (counter, stride), *more = moves
    return native.Slice(whole, counter, stride, offset, tuple(more))


def _interval(i: int, storage: Storage, nbytes: int) -> Interval:
    return Interval(f"t{i} {storage.type}", nbytes, storage.first, storage.last)


def make_frame(program: Program, bound: Bound, code: Linked, weights: Sequence[np.ndarray], threads: int) -> Frame:
    """The native frame, with an arena of its own. weights: one array per param and state input, which it writes too."""
    require_room(bound.plan.total, sum(w.nbytes for w in weights))
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
    """The program as steps of the driver, one for each item. address: of a kernel, by its symbol."""
    numbers = iter(bound.steps)
    found: list[native.Step] = []
    for i, item in enumerate(program.items):
        match item:
            case Step():
                found.append(_call(item, next(numbers), bound, address(item.code.symbol)))
            case Copy(source, target):
                found.append(native.Copy(bound.refs[target], bound.refs[source], bound.sizes[target]))
            case Repeat(counter, _, end):
                found.append(native.SetCounter(counter, 0) if bound.lengths[i] > 0 else native.Jump(end))
            case Again(counter, _, start):
                found.append(native.Advance(counter, bound.lengths[i], start))
            case native.JumpUnless(storage, target):
                assert isinstance(storage, int)
                found.append(native.JumpUnless(bound.refs[storage], target))
            case _:
                found.append(item)
    return found


def _call(step: Step, numbers: BoundStep, bound: Bound, address: int) -> native.Call:
    serial = numbers.seconds < SERIAL_STEP_SECONDS
    return native.Call(address, numbers.extent, serial, tuple(bound.refs[i] for i in step.storages), numbers.sizes)


def _ports(program: Program, bound: Bound, kind: str) -> list[tuple[int, np.dtype, tuple[int, ...]]]:
    """(storage, dtype, shape) of the inputs or outputs, in the order of the call."""
    found = [
        (s.index, i, s.type.dtype.numpy, bound.shapes[i]) for i, s in enumerate(program.storages) if s.kind == kind
    ]
    return [(i, dtype, shape) for _, i, dtype, shape in sorted(found, key=lambda item: item[0])]
