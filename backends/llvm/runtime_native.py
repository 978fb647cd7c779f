"""The runtime's machine code, once per process: the table of outside functions, the pool's memory, the fork rule.

All of it stays for the life of the process and is never freed: workers may be inside the code at any moment, until the
process is gone. Frames are registered here, because a child of fork() must free those that other threads were running.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from chainrule.backends.llvm.jit import compile_text
from chainrule.backends.llvm.runtime_driver import API_FIELDS, FRAME_FIELDS, STRAIN_FIELDS, driver_text
from chainrule.backends.llvm.runtime_entry import bind_entry, entry_text, method_definition
from chainrule.backends.llvm.runtime_numpy import layout_is_known, numpy_functions
from chainrule.backends.llvm.runtime_outputs import EXPORTS as ALLOCATOR_EXPORTS
from chainrule.backends.llvm.runtime_outputs import (
    LEAST_BYTES,
    LOCK,
    STATE_BYTES,
    allocator,
    output_limit,
    outputs_text,
    reset_outputs,
)
from chainrule.backends.llvm.runtime_pool import (
    API,
    BARRIER_NS,
    BARRIER_PAUSES,
    IDLE_NS,
    IDLE_PAUSES,
    POOL_BYTES,
    has_pool,
    pool_text,
)
from chainrule.backends.llvm.target import host_target
from chainrule.errors import ChainruleError

# call_frame: i64 (frame, addresses, times or null). run: i64 (frame, buffers, threads, times or null). entry: fastcall.
# pauses: void (count).
EXPORTS = ("call_frame", "run", "entry", "pauses", *ALLOCATOR_EXPORTS)
# Set when the runtime is made, and not needed for the entry.
_OPTIONAL = ("set_allocator", "default_allocator", "output_allocator")
# Words of a frame that are true of one process alone: who runs it, and what was measured on its threads.
_OF_A_PROCESS = [FRAME_FIELDS.index(name) for name in ("busy", *STRAIN_FIELDS)]
_PAGE = 4096
_TIMED_PAUSES = 1000
_lock = threading.RLock()
_frames: weakref.WeakValueDictionary[int, FrameWords] = weakref.WeakValueDictionary()


class StepFailed(ChainruleError):
    """A step of a compiled program found something wrong with its data. status: as Frame.run returns it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"step {status >> 32} failed with code {status & 0xFFFFFFFF}")
        self.status = status

    @property
    def step(self) -> int:
        """Index of the step among the frame's flat steps."""
        return self.status >> 32

    @property
    def code(self) -> int:
        """What the kernel said, not 0."""
        return self.status & 0xFFFFFFFF


class FrameWords(np.ndarray):
    """The words of a frame. `keep` holds what the words point to, so that whoever holds the words is safe."""

    keep: object = None


@dataclass(frozen=True, slots=True)
class Native:
    """The linked runtime.

    call: int (frame address, addresses, times). entry: the METH_FASTCALL function's address, 0 where it cannot be used.
    threads: whether there is a pool. api, pool: addresses for the header of frames. outputs: the words of the allocator
    of outputs, 0 where there is none. kept_from: the bytes from which on an output's memory comes from it.
    """

    call: Callable[[int, Any, int | None], int]
    entry: int
    threads: bool
    api: int
    pool: int
    outputs: int
    kept_from: int


def native() -> Native:
    """The runtime for this machine, compiled and linked at the first use."""
    with _lock:
        return _native()


def runtime_text(triple: str) -> str:
    """The whole runtime for a system, as one LLVM module without undefined symbols."""
    return "\n".join([driver_text(), pool_text(triple), entry_text(), outputs_text()])


@cache
def _native() -> Native:
    target = host_target()
    library = compile_text(runtime_text(target.triple), EXPORTS, target)
    outside = _outside()
    api = np.array([outside.get(name, 0) for name in API_FIELDS], np.int64)
    pool = np.zeros((POOL_BYTES + _PAGE) // 8, np.int64)
    pool_address = -(-pool.ctypes.data // _PAGE) * _PAGE
    for thing in (library, api, pool):
        _keep_for_ever(thing)
    pause = _pause_ns(library.address("pauses"))
    header = {API: api.ctypes.data, BARRIER_PAUSES: int(BARRIER_NS / pause), IDLE_PAUSES: int(IDLE_NS / pause)}
    _reset_pool(pool_address, header)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _after_fork(pool_address, header))
    call_type = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    call = call_type(library.address("call_frame"))
    usable = layout_is_known() and all(outside.get(name) for name in API_FIELDS if name not in _OPTIONAL)
    entry = library.address("entry") if usable else 0
    limit = output_limit()
    known = entry and "linux" in target.triple and limit and all(outside.get(name) for name in _OPTIONAL[:2])
    outputs = _keep_outputs(api, [library.address(name) for name in ALLOCATOR_EXPORTS], limit) if known else 0
    kept_from = LEAST_BYTES if outputs else sys.maxsize
    return Native(call, entry, has_pool(target.triple), api.ctypes.data, pool_address, outputs, kept_from)


def _keep_outputs(api: np.ndarray, functions: list[int], limit: int) -> int:
    """Makes numpy's allocator for large outputs known to the entry; the address of its words."""
    state = np.zeros(STATE_BYTES // 8, np.int64)
    at = state.ctypes.data
    reset_outputs(at, api.ctypes.data, limit)
    for thing in (state, *(made := allocator(functions, at))):
        _keep_for_ever(thing)
    api[API_FIELDS.index("output_allocator")] = id(made[0])
    if hasattr(os, "register_at_fork"):

        def forget_unfinished() -> None:  # what another thread was doing at the fork is never finished in the child
            if state[LOCK // 8]:
                reset_outputs(at, api.ctypes.data, limit)

        os.register_at_fork(after_in_child=forget_unfinished)
    return at


def _keep_for_ever(thing: object) -> None:
    # A reference that nobody gives back: not even the interpreter's last collection frees the object.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _pause_ns(address: int) -> float:
    """Nanoseconds of one pause of a spinning thread."""
    pauses = ctypes.CFUNCTYPE(None, ctypes.c_int64)(address)
    taken: list[int] = []
    for _ in range(3):
        start = time.perf_counter_ns()
        pauses(_TIMED_PAUSES)
        taken.append(time.perf_counter_ns() - start)
    return max(0.5, min(taken) / _TIMED_PAUSES)


def _reset_pool(pool: int, header: Mapping[int, int]) -> None:
    ctypes.memset(pool, 0, POOL_BYTES)
    for offset, word in header.items():
        ctypes.c_int64.from_address(pool + offset).value = word


def _after_fork(pool: int, header: Mapping[int, int]) -> None:
    """The child has one thread: the pool has no workers and nobody runs a frame, whatever the copied memory says."""
    global _lock
    _lock = threading.RLock()
    _reset_pool(pool, header)
    for words in list(_frames.values()):
        words[_OF_A_PROCESS] = 0


def _outside() -> dict[str, int]:
    """Addresses of what the runtime's text calls, by name in API_FIELDS."""
    process, python = ctypes.CDLL(None), ctypes.pythonapi
    found = {"not_implemented": id(NotImplemented), "step_failed": id(StepFailed), **numpy_functions()}
    for name in API_FIELDS:
        if name not in found:
            found[name] = _address(python if name.startswith("Py") else process, name)
    return found


def _address(library: ctypes.CDLL, name: str) -> int:
    try:
        return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
    except AttributeError:
        return 0


@cache
def _entry_definition(address: int) -> Any:
    definition = method_definition(address)
    _keep_for_ever(definition)
    return definition


def make_entry(words: FrameWords, address: int) -> Callable[..., Any]:
    """The native callable of a frame; it keeps the frame's words, and what they keep, alive."""
    return bind_entry(_entry_definition(address), words)


def register_frame(words: FrameWords) -> None:
    """Lets a child of fork() know the frame."""
    _frames[words.ctypes.data] = words
