"""Whole models against the runtimes of others, all in one run, on the same weights and inputs.

    python benchmarks/inference.py [--only vgg,resnet18] [--batch 1,8] [--threads 1,2] [--peers onnxruntime,openvino]
                                   [--python openvino=ENV/bin/python] [--rounds 15] [--json FILE]

The models are the files in benchmarks/models: each has build(batch) -> (model, specs). They reach the peers by way of
our own ONNX export. Every runtime is a process of its own (benchmarks/peers.py), in an environment of its own where
--python says so; one runs at a time, and the others are stopped meanwhile, since idle thread pools spin. Candidates
take turns, and medians are compared; outputs are compared with ours before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from turns import raced

import chainrule as cr

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # a model may build on another: benchmarks.models
PEERS = ("onnxruntime", "openvino", "ncnn", "mnn", "torch", "inductor", "jax")
RTOL = 1e-4  # of the largest value: peers differ by rounding, Winograd and fused forms, not by more
LOOSER = {"mnn": 1e-3}  # its Winograd tiles are large: 3.4e-4 was seen
# The best peer's time over ours that each model is to reach at batch 1.
GOALS = {
    "vgg16": 1.45, "resnet18": 1.45, "resnet50": 1.3, "unet": 1.3, "yolo": 1.35, "c3d": 1.7, "alexnet": 1.25,
    "mobilenet": 1.25, "squeezenet": 1.15, "tdnn": 1.25, "dqn": 1.5, "lenet": 2.5, "mlp": 1.1, "lstm_lm": 1.15,
    "encoder_decoder": 2.0, "bert": 1.12, "gpt_prefill": 1.12, "gpt_decode": 1.05,
}  # fmt: skip


def measure(
    name: str, batch: int, threads: int, arguments: argparse.Namespace, pythons: dict[str, str]
) -> dict[str, Any]:
    """One row: medians of all candidates, and the best peer's time over ours."""
    source = HERE / "models" / f"{name}.py"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        options = {"batch": batch}
        arrays = exported(source, options, place)
        commands = {
            peer: [pythons.get(peer, sys.executable), str(HERE / "peers.py"), peer,
                   str(source if peer == "chainrule" else place / "net.onnx"), str(place / "inputs.npz"), str(threads)]
            for peer in ("chainrule", *arguments.peers)}  # fmt: skip
        around = {"OMP_NUM_THREADS": str(threads), "BENCH_OPTIONS": json.dumps(options)}
        running, failed = raced(commands, around, arguments.rounds, RTOL, LOOSER)
    medians = {c.name: statistics.median(c.times) for c in running}
    peers = {n: t for n, t in medians.items() if n != "chainrule"}
    best = min(peers, key=lambda n: peers[n]) if peers else ""
    row: dict[str, Any] = {"model": name, "batch": batch, "threads": threads, "median_s": medians, "failed": failed,
                           "inputs": {n: list(a.shape) for n, a in arrays.items()}, "best_peer": best,
                           "ready_s": {c.name: c.facts["ready"] for c in running}}  # fmt: skip
    if best:
        row |= {"best_over_ours": peers[best] / medians["chainrule"], "goal": GOALS.get(name) if batch == 1 else 1.05}
    if "onnxruntime" in peers:
        row["onnxruntime_over_ours"] = peers["onnxruntime"] / medians["chainrule"]
    return row


def exported(source: Path, options: Mapping[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """Writes what build(**options) gives as ONNX with seeded weights, and seeded inputs, which it returns."""
    spec = util.spec_from_file_location("model", source)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    traced = _written(module, options, folder / "net.onnx")
    if options.get("batch", 1) > 1:
        _written(module, {**options, "batch": 1}, folder / "single.onnx")
    rng = np.random.default_rng(0)
    limit = getattr(module, "VOCABULARY", 100)
    arrays: dict[str, np.ndarray] = {}
    for value in traced.graph.by_role("input"):
        shape, dtype = tuple(int(d) for d in value.shape), value.dtype.numpy
        whole = dtype.kind in "iu"
        arrays[value.op.name_] = (rng.integers(0, limit, shape) if whole else rng.standard_normal(shape)).astype(dtype)
    np.savez(folder / "inputs.npz", **arrays)
    return arrays


def _written(module: ModuleType, options: Mapping[str, Any], file: Path) -> cr.Traced:
    """The model of these options, traced, and written to a file."""
    cr.manual_seed(0)
    model, specs = module.build(**options)
    traced = cr.trace(model, specs)
    cr.export_onnx(traced, file, opset=18, verify=False)
    return traced


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    everything = sorted(p.stem for p in (HERE / "models").glob("*.py") if p.stem != "__init__")
    parser.add_argument("--only", type=lambda t: t.split(","), default=everything, metavar="NAME,NAME")
    parser.add_argument("--batch", type=lambda t: [int(n) for n in t.split(",")], default=[1])
    parser.add_argument("--threads", type=lambda t: [int(n) for n in t.split(",")], default=[1])
    parser.add_argument("--peers", type=lambda t: t.split(","), default=list(PEERS))
    parser.add_argument("--python", action="append", default=[], metavar="RUNTIME=PATH")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", metavar="FILE", help="write the rows here, each as soon as it is measured")
    arguments = parser.parse_args()
    pythons = dict(text.split("=", 1) for text in arguments.python)
    rows: list[dict[str, Any]] = []
    for name in arguments.only:
        for batch in arguments.batch:
            for threads in arguments.threads:
                rows.append(measure(name, batch, threads, arguments, pythons))
                print(_line(rows[-1]), flush=True)
                if arguments.json:
                    machine = platform.processor() or platform.machine()
                    facts = {"machine": machine, "cpus": os.cpu_count(), "rows": rows}
                    Path(arguments.json).write_text(json.dumps(facts, indent=1) + "\n")
    print(_summary(rows))


def _line(row: dict[str, Any]) -> str:
    times = "  ".join(f"{n} {t * 1e3:.3g}" for n, t in sorted(row["median_s"].items(), key=lambda item: item[1]))
    ratio = f"{row['best_over_ours']:.2f} of {row['goal']}" if row["best_peer"] else "no peer"
    gone = "".join(f"\n    {n}: {why}" for n, why in row["failed"].items())
    return f"{row['model']:<16} batch {row['batch']} threads {row['threads']}: {ratio}   ms: {times}{gone}"


def _summary(rows: Sequence[dict[str, Any]]) -> str:
    lines: list[str] = []
    for key in ("best_over_ours", "onnxruntime_over_ours"):
        ratios = [row[key] for row in rows if key in row and row["batch"] == 1]
        if ratios:
            mean = statistics.geometric_mean(ratios)
            lines.append(f"geometric mean of {key} at batch 1: {mean:.3f} ({len(ratios)} rows)")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
