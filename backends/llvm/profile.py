"""What a kernel call took and did, and what this machine's core can do at most: the numbers behind a roofline.

The two ceilings are measured by kernels of our own, the way all others are made: independent multiply-adds in
registers, and a copy of arrays that no cache holds. Source of the model: Williams, Waterman and Patterson, "Roofline:
an insightful visual performance model", CACM 52(4), 2009.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from chainrule.backends.llvm import runtime_steps as native
from chainrule.backends.llvm.jit import compile_functions
from chainrule.backends.llvm.runtime import Frame
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Builder, Function
from chainrule.ir.types import f32

TURNS = 50_000
COPIED_BYTES = 1 << 26  # twice the largest caches of one core's share
REPEATS = 5


@dataclass(frozen=True)
class KernelTime:
    """One kernel call of a program: the least seconds of several runs, and its estimates of work.

    flops: floating-point operations, a multiply-add counting two. nbytes: of all arrays that it reads or writes, each
    once. place: the user's line. why: how the kernel was chosen.
    """

    kernel: str
    seconds: float
    flops: int
    nbytes: int
    place: str
    why: str


@dataclass(frozen=True)
class Peak:
    """What one core reaches at most: operations per second, and bytes per second read and written together."""

    flops: float
    bandwidth: float


@cache
def machine_peak(target: Target) -> Peak:
    """The ceilings of one core for code of a target, measured now (about 0.3 s, once per process)."""
    chains = 24 if target.vector_registers >= 32 else 12
    chained = _multiply_adds(chains)
    flops = 2 * TURNS * chains * 16 / _least_seconds(chained, target, (16,), ())
    count = COPIED_BYTES // 4
    return Peak(flops, 2 * COPIED_BYTES / _least_seconds(_copy(count), target, (count,), (count,)))


def _multiply_adds(chains: int) -> Function:
    """Chains of multiply-adds that do not wait for each other."""
    k = Builder("peak_flops")
    out = k.buffer("out", f32, (16,), "rw")
    start = k.load(out, (0,), 16)
    registers = [k.reg(k.add(start, float(i))) for i in range(chains)]
    factor = k.const(0.999, f32, 16)
    with k.loop("i", 0, TURNS):
        for register in registers:
            register.set(k.fma(register.get(), factor, start))
    total = registers[0].get()
    for register in registers[1:]:
        total = k.add(total, register.get())
    k.store(out, (0,), total)
    return k.build()


def _copy(count: int) -> Function:
    """One array into another, four vectors at a time."""
    k = Builder("peak_bandwidth")
    to, source = k.buffer("out", f32, (count,), "w"), k.buffer("x", f32, (count,))
    with k.loop("i", 0, count, 64) as i:
        for part in range(0, 64, 16):
            k.store(to, (i + part,), k.load(source, (i + part,), 16))
    return k.build()


def _least_seconds(function: Function, target: Target, *shapes: tuple[int, ...]) -> float:
    arrays = [np.zeros(shape, np.float32) for shape in shapes if shape]
    code = compile_functions([function], target)
    fixed = {i: a.ctypes.data for i, a in enumerate(arrays)}
    call = native.Call(code[function], 1, True, tuple(range(len(arrays))))
    frame = Frame([call], len(arrays), fixed, [], [], None, 1, keep_alive=(code, arrays))
    return min(_seconds(lambda: frame.run([])) for _ in range(REPEATS))


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
