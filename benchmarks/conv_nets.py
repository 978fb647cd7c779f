"""What convolutional nets cost beside their time: each kernel's share of the peak, memory over its bound, compiling.

    python benchmarks/conv_nets.py [--only mobilenet,resnet18] [--json FILE]

One thread, batch 1. Kernels are timed inside of the net, where weights come from memory, with convolutions as direct
sums (a share of the peak says nothing of Winograd's) and strict precision. Equal kernels on equal types are one row.
Compile times are of new processes, with an empty cache and with what that left, next to the time in which onnxruntime
makes a session of the same model.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import chainrule as cr

MODELS = ("alexnet", "c3d", "dqn", "mobilenet", "resnet18", "resnet50", "squeezenet", "tdnn", "yolo")
STARTS = 3  # processes of each kind
ROUNDS = 3
LEAST_FLOPS = 1e6  # of a kernel that is listed

COMPILES = """
import sys, time
sys.path[:0] = {path!r}
import importlib
import chainrule as cr
cr.compile(lambda x: x + 1, cr.spec(2))
model, specs = importlib.import_module("models.{name}").build()
clock, start = time.process_time(), time.perf_counter()
cr.compile(model, *specs, threads={threads})
print(time.perf_counter() - start, time.process_time() - clock)
"""
STARTS_SESSION = """
import time
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = {threads}
clock, start = time.process_time(), time.perf_counter()
onnxruntime.InferenceSession({path!r}, options, providers=["CPUExecutionProvider"])
print(time.perf_counter() - start, time.process_time() - clock)
"""


@dataclass
class KernelRow:
    """Calls of one kernel on one type of result. us: the mean of the calls' least times."""

    kernel: str
    result: str
    why: str
    calls: int
    us: float
    gflops: float
    share_of_peak: float


@dataclass
class NetRow:
    """A net. cold_s, warm_s, session_s: wall time and processor time, each the median of some processes."""

    model: str
    ms_of_kernels: float
    peak_gflops: float
    arena_bytes: int
    arena_bound_bytes: int
    cold_s: tuple[float, float]
    warm_s: tuple[float, float]
    onnxruntime_session_s: tuple[float, float]
    kernels: list[KernelRow]


def kernels_of(model: object, specs: tuple[object, ...]) -> tuple[list[KernelRow], float, float]:
    """The rows, the milliseconds of all kernels, and the peak in GFLOP/s."""
    net = cr.compile(model, *specs, threads=1, precision="strict")
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal([int(str(d)) for d in t.shape]).astype(np.float32) for t in net.input_types]
    profiles = [net.profile(*arrays) for _ in range(ROUNDS)]
    least = [min(rows, key=lambda row: row.seconds) for rows in zip(*profiles, strict=True)]
    results = [str(step.node.type) for step in net.program.steps]
    peak = profiles[0].peak.flops
    groups: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for row, result in zip(least, results, strict=True):
        groups.setdefault((row.kernel, result, row.why), []).append((row.seconds, row.flops))
    rows: list[KernelRow] = []
    for (kernel, result, why), calls in groups.items():
        seconds, flops = sum(s for s, _ in calls), sum(f for _, f in calls)
        if flops >= LEAST_FLOPS * len(calls):
            rows.append(KernelRow(kernel, result, why, len(calls), seconds / len(calls) * 1e6, flops / seconds / 1e9,
                                  flops / seconds / peak))  # fmt: skip
    return rows, sum(row.seconds for row in least) * 1e3, peak / 1e9


def _timed(program: str, environment: dict[str, str]) -> tuple[float, float]:
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    wall, clock = done.stdout.split()
    return float(wall), float(clock)


def compile_times(name: str, model: object, specs: tuple[object, ...], threads: int) -> list[tuple[float, float]]:
    """(wall, processor) seconds: cold, warm, onnxruntime's session; processes take turns."""
    found: list[list[tuple[float, float]]] = [[], [], []]
    path = [p for p in sys.path if p] + [str(Path(__file__).resolve().parent)]
    compiles = COMPILES.format(path=path, name=name, threads=threads)
    with tempfile.TemporaryDirectory() as folder:
        exported = os.path.join(folder, "net.onnx")
        cr.export_onnx(model, exported, *specs)
        session = STARTS_SESSION.format(path=exported, threads=threads)
        for turn in range(STARTS):
            environment = os.environ | {"CHAINRULE_CACHE_DIR": os.path.join(folder, f"cache{turn}")}
            for times, program in zip(found, (compiles, compiles, session), strict=True):
                times.append(_timed(program, environment))
    return [(statistics.median(w for w, _ in t), statistics.median(c for _, c in t)) for t in found]


def measured(name: str, threads: int) -> NetRow:
    """All about one net."""
    model, specs = importlib.import_module(f"models.{name}").build()
    rows, total, peak = kernels_of(model, specs)
    memory = cr.compile(model, *specs, threads=1).memory()
    cold, warm, session = compile_times(name, model, specs, threads)
    return NetRow(name, total, peak, memory["arena_bytes"], memory["arena_bound_bytes"], cold, warm, session, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", type=lambda t: t.split(","), default=list(MODELS), metavar="NAME,NAME")
    parser.add_argument("--threads", type=int, default=1, help="of what is compiled, not of the compiler")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    found: list[NetRow] = []
    for name in arguments.only:
        row = measured(name, arguments.threads)
        found.append(row)
        for kernel in row.kernels:
            print(f"{kernel.kernel[:36]:36} {kernel.result[:22]:22} {kernel.why[:30]:30} x{kernel.calls:<2} "
                  f"{kernel.us:8.1f} us {kernel.gflops:6.1f} GFLOP/s {kernel.share_of_peak:6.1%}")  # fmt: skip
        cold, warm, session = (f"{wall:.2f} ({clock:.2f})" for wall, clock in
                               (row.cold_s, row.warm_s, row.onnxruntime_session_s))  # fmt: skip
        print(f"{name}: kernels {row.ms_of_kernels:.2f} ms; arena {row.arena_bytes / 1e6:.2f} MB, bound "
              f"{row.arena_bound_bytes / 1e6:.2f}; seconds (of processor): cold {cold}, warm {warm}, "
              f"onnxruntime's session {session}", flush=True)  # fmt: skip
        if arguments.json:
            facts = {"date": time.strftime("%Y-%m-%d"), "cpus": os.cpu_count(), "nets": [asdict(r) for r in found]}
            Path(arguments.json).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
