"""Matrix products with a fixed weight, and of two arrays, against onnxruntime and numpy, paired in one run.

Prints microseconds and GFLOP/s of the best burst, the share of the multiplier's peak (x threads), and the medians of
the paired ratios (below 1: ours is faster). `--json` prints one record per case. `--bf16` prints instead how many times
faster our own product by a weight is in bf16 than in f32.
Usage: env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE OPENBLAS_NUM_THREADS=1 python benchmarks/gemm.py [--threads 1]
       [--only 512] [--json] [--bf16]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from micro_gemm import best_seconds, peak
from onnx import helper
from paired import paired, session

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.jit import compile_functions
from chainrule.backends.llvm.target import host_target
from chainrule.ir.graph import Graph, build, new_input
from chainrule.ir.types import as_dtype, tensor
from chainrule.ops.matmul import MatMul

SIZES = (
    (64, 64, 64), (128, 128, 128), (256, 256, 256), (512, 512, 512), (768, 768, 768), (1024, 1024, 1024),
    (1, 1024, 1024), (1, 4096, 1024), (4, 1024, 1024), (8, 768, 768), (16, 768, 768), (128, 768, 768),
    (128, 768, 3072), (128, 3072, 768), (49, 2048, 512), (196, 1024, 256), (3136, 64, 64), (64, 784, 128),
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """m, k, n; fixed: B is a weight. best_us and ratios: ours, onnxruntime, numpy."""

    m: int
    k: int
    n: int
    fixed: bool
    ours_us: float
    onnxruntime_us: float
    numpy_us: float
    gflops: float
    share_of_peak: float
    ratio_onnxruntime: float
    ratio_numpy: float


def peak_gflops() -> float:
    """What independent multiply-adds reach on one core."""
    kernel, turns = peak(16), 200_000
    chains = 24 if host_target().vector_registers == 32 else 12
    code = compile_functions([kernel])
    seconds = best_seconds(code, kernel, [np.zeros(16, np.float32), np.ones(1, np.float32)], [turns])
    return 2 * 16 * chains * turns / seconds / 1e9


def measured(m: int, k: int, n: int, fixed: bool, threads: int, top: float) -> Result:
    """One product by turns."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    x = new_input("a", tensor("f32", (m, k)))
    w = new_input("b", tensor("f32", (k, n)), "param" if fixed else "input")
    made = LlvmExecutable(Graph("product", (x, w), (build(MatMul(), x, w),)), [b] if fixed else [], threads=threads)
    given = [a] if fixed else [a, b]
    made.run(given)
    entry = made.entry
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    theirs = session([node], {"a": a} if fixed else {"a": a, "b": b}, {"b": b} if fixed else {}, "y", threads)
    found = paired([lambda: entry(*given), theirs, lambda: a @ b])
    gflops = 2 * m * k * n / found.best_us[0] / 1e3
    return Result(m, k, n, fixed, *found.best_us, gflops, gflops / (top * threads), *found.ratios)


def gain_of_bf16(m: int, k: int, n: int, threads: int) -> float:
    """How many times faster a product by a fixed weight is in bf16 than in f32, by turns."""
    rng = np.random.default_rng(0)
    calls: list[Callable[[], object]] = []
    for name in ("f32", "bf16"):
        a, w = (rng.standard_normal(shape).astype(as_dtype(name).numpy) for shape in ((m, k), (k, n)))
        x, weight = new_input("a", tensor(name, (m, k))), new_input("b", tensor(name, (k, n)), "param")
        made = LlvmExecutable(Graph("product", (x, weight), (build(MatMul(), x, weight),)), [w], threads=threads)
        made.run([a])
        calls.append(partial(made.entry, a))
    best = paired(calls).best_us
    return best[0] / best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    if options.bf16:
        for m, k, n in (size for size in SIZES if options.only in "x".join(map(str, size))):
            print(f"{m} x {k} x {n}: {gain_of_bf16(m, k, n, options.threads):.2f}", flush=True)
        return
    top = peak_gflops()
    if not options.json:
        print(f"{host_target().cpu}, {options.threads} thread(s), peak {top:.1f} GFLOP/s a core")
        print(f"{'M x K x N':>18} {'B':>8} {'ours us':>9} {'ort us':>9} {'numpy us':>9} {'GFLOP/s':>8} {'peak':>6}"
              f" {'/ort':>6} {'/numpy':>6}")  # fmt: skip
    for m, k, n in SIZES:
        for fixed in (True, False):
            if options.only not in f"{m}x{k}x{n}":
                continue
            r = measured(m, k, n, fixed, options.threads, top)
            if options.json:
                print(json.dumps(asdict(r)), flush=True)
            else:
                print(f"{f'{m} x {k} x {n}':>18} {'weight' if fixed else 'array':>8} {r.ours_us:9.1f} "
                      f"{r.onnxruntime_us:9.1f} {r.numpy_us:9.1f} {r.gflops:8.1f} {r.share_of_peak:6.1%} "
                      f"{r.ratio_onnxruntime:6.2f} {r.ratio_numpy:6.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
