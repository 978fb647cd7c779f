"""The speeds that the first release promises, each paired in one run with its peer on the same threads.

    python benchmarks/spine.py [--threads 1] [--only lenet,mlp] [--json FILE]

Peers: onnxruntime for inference; PyTorch eager for the training step, where it is installed. Candidates take turns, and
medians are compared. Shares of the peak are against what the core is measured to reach in the same run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule.backends.llvm.profile import machine_peak
from chainrule.backends.llvm.target import host_target
from chainrule.frontend import nn, optim
from chainrule.models import LeNet, conv3x3, mlp
from chainrule.timing import paired, spelled

Row = dict[str, object]


def inference(name: str, model: nn.Module, spec: object, x: np.ndarray, threads: int, bound: float) -> Row:
    """Batch-1 latency against onnxruntime."""
    ours = cr.compile(model, spec, threads=threads)
    theirs = cr.compile(model, spec, backend="onnxruntime", threads=threads)
    times = paired({"ours": lambda: ours(x), "onnxruntime": lambda: theirs(x)}, rounds=21, seconds=2.0)
    ratio = times["ours"].median / times["onnxruntime"].median
    return {"what": name, "ours_s": times["ours"].median, "onnxruntime_s": times["onnxruntime"].median,
            "ratio": ratio, "goal": f"at most {bound}", "met": ratio <= bound}  # fmt: skip


def call_overhead(threads: int) -> Row:
    """What a call costs beyond its kernels: a program of one tiny kernel."""
    add = cr.compile(lambda x: x + 1.0, cr.spec(1), threads=threads)
    x = np.zeros(1, np.float32)
    seconds = paired({"call": lambda: add(x)})["call"].median
    return {"what": "one call's overhead", "ours_s": seconds, "goal": "under 3 us", "met": seconds < 3e-6}


def share_of_peak(name: str, flops: float, run: Callable[[], object], top: float) -> Row:
    """One core's speed on a kernel as a share of the peak."""
    seconds = paired({"ours": run})["ours"].median
    share = flops / seconds / top
    return {"what": name, "ours_s": seconds, "gflops": flops / seconds / 1e9, "share_of_peak": share,
            "goal": "at least 0.8 of peak", "met": share >= 0.8}  # fmt: skip


def matmul_1024(top: float) -> Row:
    """f32 1024 x 1024 x 1024, the second operand a weight."""
    layer = nn.Linear(1024, 1024, bias=False)
    x = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    net = cr.compile(layer, cr.spec(1024, 1024), threads=1)
    return share_of_peak("matmul 1024^3", 2 * 1024.0**3, lambda: net(x), top)


def conv_56(top: float) -> Row:
    """3x3, 64 to 64 channels, 56x56, NCHW in and out."""
    x = np.random.default_rng(0).standard_normal((1, 64, 56, 56)).astype(np.float32)
    net = cr.compile(conv3x3(), cr.spec(1, 64, 56, 56), threads=1)
    return share_of_peak("conv 3x3 64@56", 2.0 * 64 * 64 * 9 * 56 * 56, lambda: net(x), top)


def training_step(threads: int) -> Row:
    """LeNet, batch 64, SGD: one step against PyTorch eager."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 64)
    specs = (cr.spec("N", 1, 28, 28), cr.spec("N", dtype="i64"))
    step = cr.training_step(LeNet(), cr.cross_entropy, optim.SGD(0.01), specs, threads=threads)
    candidates: dict[str, Callable[[], object]] = {"ours": lambda: step(x, y)}
    if importlib.util.find_spec("torch") is not None:
        candidates["torch"] = torch_step(x, y, threads)
    times = paired(candidates, rounds=21, seconds=2.0)
    row: Row = {"what": "LeNet training step, batch 64, SGD", "ours_s": times["ours"].median}
    if "torch" in times:
        ratio = times["ours"].median / times["torch"].median
        row |= {"torch_s": times["torch"].median, "ratio": ratio, "goal": "faster than PyTorch eager", "met": ratio < 1}
    return row


def torch_step(x: np.ndarray, y: np.ndarray, threads: int) -> Callable[[], object]:
    """The same step in PyTorch eager."""
    import torch
    import torch.nn.functional as functional

    torch.set_num_threads(threads)
    layers = [torch.nn.Conv2d(1, 6, 5, padding=2), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Conv2d(6, 16, 5),
              torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(400, 120), torch.nn.ReLU(),
              torch.nn.Linear(120, 84), torch.nn.ReLU(), torch.nn.Linear(84, 10)]  # fmt: skip
    net = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    images, labels = torch.from_numpy(x), torch.from_numpy(y)

    def step() -> object:
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


CHILD = """
import sys, time
sys.path[:0] = {path!r}
import chainrule as cr
from chainrule.models import LeNet
cr.compile(lambda x: x + 1, cr.spec(2))
net = LeNet()
start = time.perf_counter()
cr.compile(net, cr.spec("N", 1, 28, 28), threads=1)
print(time.perf_counter() - start)
"""


def compile_times() -> list[Row]:
    """LeNet's compile time in new processes: with an empty cache, then with what that left."""
    program = CHILD.format(path=[p for p in sys.path if p])
    rows: list[Row] = []
    cold, warm = [], []
    for _ in range(5):
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"CHAINRULE_CACHE_DIR": folder}
            for into in (cold, warm):
                done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True)
                into.append(float(done.stdout))
    for name, times, bound in (("cold", cold, 1.0), ("from the cache", warm, 0.1)):
        seconds = sorted(times)[len(times) // 2]
        rows.append(
            {"what": f"LeNet compile, {name}", "ours_s": seconds, "goal": f"under {bound} s", "met": seconds < bound}
        )
    return rows


def main() -> int:
    """Runs what was asked for, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="comma-separated: lenet, mlp, train, call, peak, compile")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    rng, threads = np.random.default_rng(0), arguments.threads
    top = machine_peak(host_target()).flops
    parts: dict[str, Callable[[], Row | list[Row]]] = {
        "lenet": lambda: inference("LeNet-5, batch 1", LeNet(), cr.spec("N", 1, 28, 28),
                                   rng.standard_normal((1, 1, 28, 28)).astype(np.float32), threads, 0.7),
        "mlp": lambda: inference("MLP 784-2048-2048-10, batch 1", mlp(784, 2048, 2048, 10), cr.spec("N", 784),
                                 rng.standard_normal((1, 784)).astype(np.float32), threads, 1.0),
        "train": lambda: training_step(threads),
        "call": lambda: call_overhead(threads),
        "peak": lambda: [matmul_1024(top), conv_56(top)],
        "compile": compile_times,
    }  # fmt: skip
    wanted = arguments.only.split(",") if arguments.only else list(parts)
    rows: list[Row] = []
    for name in wanted:
        found = parts[name]()
        rows += found if isinstance(found, list) else [found]
    for row in rows:
        peer = next((f"{k.removesuffix('_s')} {spelled(float(str(v)))}" for k, v in row.items()
                     if k.endswith("_s") and k != "ours_s"), "")  # fmt: skip
        number = row.get("ratio", row.get("share_of_peak"))
        shown = "" if number is None else f"{float(str(number)):.2f}"
        mark = {True: "met", False: "MISSED"}.get(bool(row["met"]), "") if "met" in row else ""
        ours = spelled(float(str(row["ours_s"])))
        print(f"{row['what']:<36} {ours:>9}  {peer:<22} {shown:>5}  {row.get('goal', ''):<26} {mark}")
    if arguments.json:
        facts = {"date": time.strftime("%Y-%m-%d"), "machine": _machine(), "threads": threads, "peak_gflops": top / 1e9}
        Path(arguments.json).write_text(json.dumps(facts | {"rows": rows}, indent=2) + "\n", encoding="utf-8")
    return 0


def _machine() -> str:
    from chainrule.backends.llvm.target import host_target

    target = host_target()
    return f"{platform.machine()} {target.cpu}, {os.cpu_count()} cores, L2 {target.l2 // 1024} KiB"


if __name__ == "__main__":
    raise SystemExit(main())
