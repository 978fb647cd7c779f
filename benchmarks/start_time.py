"""How long ResNet-50 takes to start: compiled from the cache and with an empty one, beside a session of onnxruntime.

Every start is a process of its own, which has first started a tiny model, so that imports and the library's own set-up
do not count; the ways take turns. "file": the exported model is read by cr.load_onnx before it is compiled.
Usage: python benchmarks/start_time.py [--threads 1] [--rounds 7] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import onnxruntime as ort
from models import lenet, resnet50

import chainrule as cr

WAYS = ("cache", "file", "cold", "onnxruntime")


def seconds(way: str, folder: Path, threads: int) -> float:
    """One start in this process, after one of a small model."""
    if way == "onnxruntime":
        _session(folder / "lenet.onnx", threads)
        start = time.perf_counter()
        _session(folder / "resnet50.onnx", threads)
        return time.perf_counter() - start
    small, specs = lenet.build()
    cr.compile(small, *specs, threads=threads)
    cr.load_onnx(folder / "lenet.onnx")
    if way == "file":
        start = time.perf_counter()
        cr.compile(cr.load_onnx(folder / "resnet50.onnx"), threads=threads)
    else:
        model, specs = resnet50.build()
        start = time.perf_counter()
        cr.compile(model, *specs, threads=threads)
    return time.perf_counter() - start


def _session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _child(way: str, folder: Path, cache: Path, threads: int) -> float:
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder), "--threads", str(threads)]
    environment = {**os.environ, "CHAINRULE_CACHE_DIR": str(cache)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


def measured(threads: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of every start, by way."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, build in (("lenet", lenet.build), ("resnet50", resnet50.build)):
            model, specs = build()
            cr.export_onnx(model, folder / f"{name}.onnx", *specs, verify=False)
        for way in ("cache", "file"):
            _child(way, folder, folder / "warm", threads)
        for turn in range(rounds):
            for way in WAYS if turn % 2 == 0 else reversed(WAYS):
                cache = folder / (f"cold{turn}" if way == "cold" else "warm")
                found[way].append(_child(way, folder, cache, threads))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way is not None:
        print(seconds(arguments.way, arguments.folder, arguments.threads))
        return
    found = measured(arguments.threads, arguments.rounds)
    medians = {way: round(statistics.median(times), 4) for way, times in found.items()}
    least = {way: round(min(times), 4) for way, times in found.items()}
    for way in WAYS:
        print(f"{way:12} median {medians[way]:.3f} s, least {least[way]:.3f} s")
    if arguments.json is not None:
        record = {"machine": platform.machine(), "threads": arguments.threads, "rounds": arguments.rounds,
                  "median_seconds": medians, "least_seconds": least}  # fmt: skip
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
