"""A Frame is a program with its buffers, ready to run natively on arrays of fixed shapes.

The words of a frame lie in one block: header, buffer pointers, ports (what inputs and outputs must be), shapes, slices
of buffers, sizes for kernels, steps. One thread at a time can be inside a frame; another is told so and makes its own.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.llvm.runtime_driver import (
    AS_TUPLE,
    BUSY,
    FRAME_FIELDS,
    FRAME_WORDS,
    PORT_FIELDS,
    PORT_WORDS,
    RELEASE_GIL,
    STEADY,
    STRAIN_FIELDS,
)
from chainrule.backends.llvm.runtime_native import FrameWords, StepFailed, make_entry, native, register_frame
from chainrule.backends.llvm.runtime_pool import MAX_THREADS
from chainrule.backends.llvm.runtime_steps import (
    Advance,
    Branch,
    Call,
    Copy,
    Encoded,
    FlatStep,
    FlipCounter,
    Jump,
    JumpUnless,
    Loop,
    Ref,
    SetCounter,
    Slice,
    Step,
    StopIfFailed,
    StoreCounter,
    While,
    Zero,
    encode,
    flatten,
    is_solo,
)
from chainrule.backends.llvm.runtime_threads import thread_count
from chainrule.errors import ArgumentError
from chainrule.ir.memory import aligned_bytes
from chainrule.ir.types import DType

__all__ = [
    "BUSY", "Advance", "Branch", "Call", "Copy", "FlatStep", "FlipCounter",
    "Frame", "Jump", "JumpUnless", "Loop", "Port", "Ref",
    "SetCounter", "Slice", "Step", "StepFailed", "StepTime", "StopIfFailed", "StoreCounter", "While", "Zero",
    "flatten", "thread_count",
]  # fmt: skip

_MAX_BYTES = 1 << 62  # the sum of an address and a size must fit a word


class Port(NamedTuple):
    """An input or output: its buffer id, and what an array must be to be passed."""

    buffer: int
    dtype: DType | np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def numpy(self) -> np.dtype[Any]:
        return self.dtype.numpy if isinstance(self.dtype, DType) else np.dtype(self.dtype)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.numpy.itemsize


class StepTime(NamedTuple):
    """Nanoseconds that a flat step took on the calling thread, waiting for the others included, over all its runs."""

    step: int
    ns: int
    runs: int


class Frame:
    """A program bound to its buffers.

    steps: as runtime_steps says. n_buffers: how many ids the steps use. fixed: addresses of buffers that stay
    (weights, places in the arena). inputs, outputs: (id, dtype, shape) of buffers that each call brings. arena,
    keep_alive: held as long as the frame or its entry lives (the memory of `fixed`, the kernels' code). threads: None
    for thread_count(); waking a sleeping thread costs 30 us, so a program below 100 us is best given 1. release_gil:
    False for a program below 10 us, whose entry then keeps the GIL (several threads always release it). as_tuple: what
    the entry returns; None for a tuple unless there is one output. steady: its threads share every run, even where
    that turns out slower than one alone (runtime_strain).
    Raises ArgumentError for ids, targets or sizes out of range.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        n_buffers: int,
        fixed: Mapping[int, int],
        inputs: Sequence[tuple[int, DType | np.dtype[Any], tuple[int, ...]]],
        outputs: Sequence[tuple[int, DType | np.dtype[Any], tuple[int, ...]]],
        arena: np.ndarray | None = None,
        threads: int | None = None,
        *,
        release_gil: bool = True,
        as_tuple: bool | None = None,
        steady: bool = False,
        keep_alive: object = None,
    ) -> None:
        self.steps: tuple[FlatStep, ...] = flatten(steps)
        self.inputs = tuple(Port(*p) for p in inputs)
        self.outputs = tuple(Port(*p) for p in outputs)
        self.as_tuple = len(self.outputs) != 1 if as_tuple is None else as_tuple
        if not self.as_tuple and len(self.outputs) != 1:
            raise ArgumentError(f"{len(self.outputs)} outputs can only be returned as a tuple")
        self._native = native()
        self.threads = _threads(threads, self.steps)
        ports = (*self.inputs, *self.outputs)
        flags = (RELEASE_GIL if release_gil or self.threads > 1 else 0) | (AS_TUPLE if self.as_tuple else 0)
        flags |= STEADY if steady else 0
        self._words = _frame_words(self.steps, n_buffers, fixed, ports, len(self.inputs), self.threads, flags)
        self._words.keep = (arena, keep_alive, tuple(p.numpy for p in ports))
        self._address = self._words.ctypes.data
        self._ports = len(ports)
        self._entry: Callable[..., Any] | None = None

    @property
    def entry(self) -> Callable[..., Any]:
        """entry(*inputs) or entry(*inputs, *outputs): runs the program on arrays and returns the output or a tuple.

        Returns NotImplemented, having done nothing, when an argument is not a C-contiguous, aligned ndarray of just the
        expected dtype and shape, when a given output is read-only or shares memory with another argument, or when
        another thread is inside the frame. Raises StepFailed(status) when a step failed. Arguments that share memory
        with `fixed` buffers are the caller's affair.
        """
        if self._entry is None:
            address = self._native.entry
            self._entry = make_entry(self._words, address) if address else PlainEntry(self)
        return self._entry

    def run(self, addresses: Sequence[int]) -> int:
        """The status of a run on memory at addresses, inputs first, then outputs.

        0, or BUSY when another thread is inside the frame, or the code of the first failing step | its index among
        `steps` << 32. The caller has checked the memory, and holds it. Releases the GIL.
        """
        return self._call(addresses, None)

    def profile(self, addresses: Sequence[int]) -> list[StepTime]:
        """Runs like `run`, and tells the time of every flat step that ran. Raises StepFailed; ArgumentError if busy."""
        times = np.zeros((len(self.steps), 2), np.int64)
        status = self._call(addresses, times.ctypes.data)
        if status == BUSY:
            raise ArgumentError("another thread runs the frame that is to be timed")
        if status != 0:
            raise StepFailed(status)
        return [StepTime(i, int(ns), int(runs)) for i, (ns, runs) in enumerate(times) if runs]

    def _call(self, addresses: Sequence[int], times: int | None) -> int:
        if len(addresses) != self._ports:
            raise ArgumentError(f"a run needs {self._ports} addresses, inputs then outputs; there are {len(addresses)}")
        table = (ctypes.c_void_p * self._ports)(*addresses)
        return self._native.call(self._address, table, times)


class PlainEntry:
    """What Frame.entry is where the native one cannot be used: the same behaviour, in Python and through ctypes."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._ports = tuple((p.numpy, p.shape) for p in (*frame.inputs, *frame.outputs))
        self._inputs = len(frame.inputs)

    def __call__(self, *arrays: Any) -> Any:
        if len(arrays) not in (self._inputs, len(self._ports)):
            return NotImplemented
        for i, (array, (dtype, shape)) in enumerate(zip(arrays, self._ports)):
            if type(array) is not np.ndarray or array.dtype != dtype or array.shape != shape:
                return NotImplemented
            flags = array.flags
            if not (flags.c_contiguous and flags.aligned and (flags.writeable or i < self._inputs)):
                return NotImplemented
        for i in range(self._inputs, len(arrays)):
            if any(np.may_share_memory(arrays[i], other) for other in arrays[:i]):
                return NotImplemented
        results = arrays[self._inputs :]
        if not results:
            results = tuple(np.empty(shape, dtype) for dtype, shape in self._ports[self._inputs :])
        status = self._frame.run([a.ctypes.data for a in (*arrays[: self._inputs], *results)])
        if status == BUSY:
            return NotImplemented
        if status != 0:
            raise StepFailed(status)
        return results if self._frame.as_tuple else results[0]


def _threads(asked: int | None, steps: Sequence[FlatStep]) -> int:
    if asked is not None and not 1 <= asked <= MAX_THREADS:
        raise ArgumentError(f"threads is {asked}, not in 1..{MAX_THREADS}")
    control = JumpUnless | Jump | SetCounter | FlipCounter | Advance | StopIfFailed
    if all(is_solo(step) or isinstance(step, control) for step in steps):
        return 1
    return thread_count() if asked is None else asked


def _frame_words(
    steps: Sequence[FlatStep], n_buffers: int, fixed: Mapping[int, int], ports: Sequence[Port], n_inputs: int,
    threads: int, flags: int,
) -> FrameWords:  # fmt: skip
    ids = [*fixed, *(p.buffer for p in ports)]
    if any(not 0 <= i < n_buffers for i in ids) or any(n < 0 for p in ports for n in p.shape):
        raise ArgumentError(f"a buffer id of {sorted(ids)} is not in 0..{n_buffers - 1}, or a size is negative")
    if any(p.nbytes >= _MAX_BYTES for p in ports):
        raise ArgumentError(f"an array of {max(p.nbytes for p in ports)} bytes cannot be addressed")
    shapes = [n for p in ports for n in p.shape]
    buffers_at = 8 * FRAME_WORDS
    ports_at = buffers_at + 8 * n_buffers
    shapes_at = ports_at + 8 * PORT_WORDS * len(ports)
    sizes_at = shapes_at + 8 * len(shapes)
    code: Encoded = encode(steps, n_buffers, sizes_at)
    slices_at = sizes_at + 8 * len(code.sizes)
    steps_at = slices_at + 8 * len(code.slices)
    runtime = native()
    header = {
        "busy": 0, "threads": threads if runtime.threads else 1, "flags": flags, "api": runtime.api,
        "pool": runtime.pool, "steps_at": steps_at, "slices_at": slices_at, "buffers_at": buffers_at,
        "ports_at": ports_at, "counters": code.counters, "max_args": code.max_args, "inputs": n_inputs,
        "outputs": len(ports) - n_inputs, "failed": 0, **dict.fromkeys(STRAIN_FIELDS, 0),
    }  # fmt: skip
    words = [header[name] for name in FRAME_FIELDS] + [0] * (FRAME_WORDS - len(FRAME_FIELDS))
    words += [fixed.get(i, 0) for i in range(n_buffers)]
    words += _port_words(ports, shapes_at)
    words += [*shapes, *code.sizes, *code.slices, *code.steps]
    frame = aligned_bytes(8 * len(words)).view(np.int64).view(FrameWords)
    frame[:] = words
    register_frame(frame)
    return frame


def _port_words(ports: Sequence[Port], shapes_at: int) -> list[int]:
    words: list[int] = []
    for port in ports:
        dtype = port.numpy
        fields = {
            "buffer": port.buffer, "dtype": id(dtype), "type_number": dtype.num, "rank": len(port.shape),
            "shape_at": shapes_at, "nbytes": port.nbytes, "kept": int(port.nbytes >= native().kept_from),
        }  # fmt: skip
        words += [fields[name] for name in PORT_FIELDS] + [0] * (PORT_WORDS - len(PORT_FIELDS))
        shapes_at += 8 * len(port.shape)
    return words
