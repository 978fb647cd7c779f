"""Measures the matmul micro-kernel written in the loop IR against the core's fused multiply-add peak.

    taskset -c 1 python benchmarks/micro_gemm.py [rows] [columns] [K]

The kernel is one register tile over packed B: C[rows, columns] = A[rows, K] @ B[K, columns], with K and the row
stride as
run-time sizes, then as constants. The peak is measured by the same route: a loop of independent multiply-adds.
"""

from __future__ import annotations

import ctypes
import sys
import time

import numpy as np

from chainrule.backends.llvm.jit import Compiled, assembly, compile_functions, function_module
from chainrule.backends.llvm.target import host_target
from chainrule.backends.loops import Builder, Function
from chainrule.ir.types import f32

ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)


def gemm(rows: int, columns: int, lanes: int, depth: int | None) -> Function:
    """C tile += A rows times packed B; depth None makes K and the row stride run-time sizes."""
    k = Builder("micro_gemm")
    n = k.size("K") if depth is None else depth
    stride = k.size("LDA") if depth is None else depth
    repeats = k.size("R")
    a = k.buffer("a", f32, (rows, stride))
    b = k.buffer("b", f32, (n, columns), align=64)
    c = k.buffer("c", f32, (rows, columns), mode="w", align=64)
    vectors = range(0, columns, lanes)
    with k.loop("again", 0, repeats):
        acc = [[k.reg(k.const(0.0, f32, lanes)) for _ in vectors] for _ in range(rows)]
        with k.loop("k", 0, n) as kk:
            right = [k.load(b, (kk, j), lanes) for j in vectors]
            for r in range(rows):
                left = k.splat(k.load(a, (r, kk)), lanes)
                for register, column in zip(acc[r], right, strict=True):
                    k.set(register, k.fma(left, column, k.get(register)))
        for r in range(rows):
            for register, j in zip(acc[r], vectors, strict=True):
                k.store(c, (r, j), k.get(register))
    return k.build()


def peak(lanes: int) -> Function:
    """24 independent chains of multiply-adds (12 where registers are few)."""
    k = Builder("peak")
    repeats = k.size("R")
    out = k.buffer("out", f32, (lanes,), mode="w")
    chains = 24 if host_target().vector_registers == 32 else 12
    registers = [k.reg(k.const(1.0 + i, f32, lanes)) for i in range(chains)]
    x = k.splat(k.load(k.buffer("x", f32, (1,)), (0,)), lanes)
    with k.loop("again", 0, repeats):
        for register in registers:
            k.set(register, k.fma(x, x, k.get(register)))
    total = k.get(registers[0])
    for register in registers[1:]:
        total = k.add(total, k.get(register))
    k.store(out, (0,), total)
    return k.build()


def best_seconds(compiled: Compiled, fn: Function, arrays: list[np.ndarray], sizes: list[int]) -> float:
    """The shortest of many short calls."""
    call = ENTRY(compiled.address(fn))
    buffers = (ctypes.c_void_p * len(arrays))(*(x.ctypes.data for x in arrays))
    values = (ctypes.c_int64 * len(sizes))(*sizes)
    status = ctypes.c_int64(0)
    best = 1e9
    for _ in range(300):
        start = time.perf_counter()
        call(buffers, values, 0, 1, ctypes.byref(status))
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    rows, columns, depth = (int(x) for x in [*sys.argv[1:], "6", "64", "256"][:3])
    if len(sys.argv) < 4:
        rows, columns, depth = 6, 64, 256
    target = host_target()
    top = peak(target.f32_lanes)
    lanes = min(16, columns)
    kernels = {"run-time K": gemm(rows, columns, lanes, None), "constant K": gemm(rows, columns, lanes, depth)}
    start = time.perf_counter()
    compiled = compile_functions([top, *kernels.values()])
    print(f"{target.cpu}: compiled in {(time.perf_counter() - start) * 1e3:.1f} ms")
    if "-S" in sys.argv:
        print(assembly(function_module(kernels["run-time K"], target)[1], target))
    rng = np.random.default_rng(0)
    a = rng.standard_normal((rows, depth), np.float32)
    b = rng.standard_normal((depth, columns), np.float32)
    c = np.zeros((rows, columns), np.float32)
    turns = 100_000
    chains = 24 if target.vector_registers == 32 else 12
    seconds = best_seconds(compiled, top, [np.zeros(target.f32_lanes, np.float32), np.ones(1, np.float32)], [turns])
    most = 2 * target.f32_lanes * chains * turns / seconds / 1e9
    print(f"peak {most:.1f} GFLOP/s")
    for name, fn in kernels.items():
        repeats = max(1, 20_000_000 // (rows * columns * depth))
        sizes = [depth, depth, repeats] if name == "run-time K" else [repeats]
        seconds = best_seconds(compiled, fn, [a, b, c], sizes)
        speed = 2 * rows * columns * depth * repeats / seconds / 1e9
        error = float(np.max(np.abs(c - a.astype(np.float64) @ b)))
        print(f"{rows}x{columns} K={depth} {name}: {speed:.1f} GFLOP/s = {speed / most:.1%} of peak, error {error:.1e}")


if __name__ == "__main__":
    main()
