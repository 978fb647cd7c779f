"""Sweeps over memory against the runtimes of others: elementwise chains, norms, reductions, movements, by size.

    python benchmarks/pointwise.py [--only softmax,gelu_erf] [--sizes 1k,64k,16M] [--threads 1]
                                   [--peers onnxruntime,openvino] [--python openvino=ENV/bin/python] [--json FILE]

The cases stand in pointwise_cases.py. As in inference.py runtimes are processes that take turns; each makes its outputs
anew at every call. The share of the copy bandwidth is of the bytes that must move at least, beside what our own kernel
of x + 1 moves over 64 MB, by stores past the caches.

Not memory but arithmetic bounds what has a polynomial: share_of_arithmetic compares a row with the case's time at 64k
elements, which the second-level cache serves, taken as often as elements ask for. Below that lie the two pipes for
multiply-adds: an exponential takes 11 of them for 16 elements, 5.5 cycles (6.1 measured, with loads and stores), the
tail of a GELU 15. A softmax of 16M elements at 4.1 GHz: 1.5 ms for its powers, 2.3 ms for its bytes.

What memory gives depends on the way of going through it, so the share of a copy is no share of a bound. Of C programs
on the same core (memory_gb_per_s in the results; numbers that are not zeros, which pass twice as fast): copies 61
GB/s, reads 65 where lines are asked for 8 KB ahead, writes 45, one part read and four written (nearest, bilinear) 55.
A transpose of 4096 x 4096 reached 37 in the best of 160 orders and blocks. At 16M elements slice, concat, gather,
nearest and the sum over the last axis have 84 to 88 % of a copy; nearest is at its own bound. What lacks: the sum
over the first axis (72 %; numpy's arrays begin 16 bytes into a line, and a column's sum reads and writes its state
for every line: 47 in C), the transpose (52 %, 85 % of the best order), bilinear (75 %), softmax (73 %), log-softmax
(64 %: its sum is taken in f64) and the chain of ten (53 %), which are at 80, 87 and 95 % of their arithmetic.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from inference import HERE, exported
from pointwise_cases import CASES, SIZES
from turns import raced

import chainrule as cr

PEERS = ("onnxruntime", "openvino", "torch", "inductor")
RTOL = 1e-4  # of the largest value
COPY_ELEMENTS = 1 << 24
IN_CACHE = "64k"


def measured(case: str, size: str, arguments: argparse.Namespace, pythons: Mapping[str, str]) -> dict[str, Any]:
    """One row: medians of all candidates, the best peer's time over ours, and gigabytes a second."""
    source, options = HERE / "pointwise_cases.py", {"case": case, "size": size}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        exported(source, options, place)
        commands = {
            name: [pythons.get(name, sys.executable), str(HERE / "peers.py"), name,
                   str(source if name == "chainrule" else place / "net.onnx"), str(place / "inputs.npz"),
                   str(arguments.threads)]
            for name in ("chainrule", *arguments.peers)}  # fmt: skip
        around = {"OMP_NUM_THREADS": str(arguments.threads),
                  "BENCH_OPTIONS": json.dumps(options), "BENCH_OUT": "fresh"}  # fmt: skip
        running, failed = raced(commands, around, arguments.rounds, RTOL)
    medians = {c.name: statistics.median(c.times) for c in running}
    peers = {n: t for n, t in medians.items() if n != "chainrule"}
    best = min(peers, key=lambda n: peers[n]) if peers else ""
    moved = 4 * CASES[case].moved(SIZES[size])
    row: dict[str, Any] = {"case": case, "elements": size, "median_s": medians, "failed": failed, "best_peer": best,
                           "gb_per_s": moved / medians["chainrule"] / 1e9}  # fmt: skip
    return row | ({"best_over_ours": peers[best] / medians["chainrule"]} if best else {})


def copy_bandwidth(threads: int) -> float:
    """GB/s that x + 1 reads and writes, over arrays far larger than the caches."""
    run = cr.compile(lambda x: x + 1.0, cr.spec(COPY_ELEMENTS), threads=threads)
    x = np.ones(COPY_ELEMENTS, np.float32)
    out = run(x)
    times: list[float] = []
    for _ in range(15):
        start = time.perf_counter()
        run(x, out=out)
        times.append(time.perf_counter() - start)
    return 8 * COPY_ELEMENTS / min(times) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", type=lambda t: t.split(","), default=list(CASES), metavar="NAME,NAME")
    parser.add_argument("--sizes", type=lambda t: t.split(","), default=list(SIZES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peers", type=lambda t: t.split(","), default=list(PEERS))
    parser.add_argument("--python", action="append", default=[], metavar="RUNTIME=PATH")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", metavar="FILE", help="write the rows here, each as soon as it is measured")
    arguments = parser.parse_args()
    pythons = dict(text.split("=", 1) for text in arguments.python)
    bandwidth = copy_bandwidth(arguments.threads)
    rows: list[dict[str, Any]] = []
    for case in arguments.only:
        for size in arguments.sizes:
            rows.append(measured(case, size, arguments, pythons))
            rows[-1]["share_of_copy"] = rows[-1]["gb_per_s"] / bandwidth
            _compared(rows)
            print(_line(rows[-1]), flush=True)
            if arguments.json:
                _write(Path(arguments.json), {"cpus": os.cpu_count(), "threads": arguments.threads,
                                              "copy_gb_per_s": bandwidth, "rows": rows})  # fmt: skip


def _compared(rows: Sequence[dict[str, Any]]) -> None:
    """Tells of the last row how far it is from the same work in the second-level cache, where that was measured."""
    row = rows[-1]
    cached = next((r for r in rows if r["case"] == row["case"] and r["elements"] == IN_CACHE), None)
    if cached is not None and row is not cached and SIZES[row["elements"]] > SIZES[IN_CACHE]:
        alone = cached["median_s"]["chainrule"] * (SIZES[row["elements"]] / SIZES[IN_CACHE])
        row["share_of_arithmetic"] = alone / row["median_s"]["chainrule"]


def _line(row: Mapping[str, Any]) -> str:
    times = "  ".join(f"{n} {t * 1e6:.4g}" for n, t in sorted(row["median_s"].items(), key=lambda item: item[1]))
    ratio = f"{row['best_over_ours']:5.2f}" if row["best_peer"] else "  -  "
    gone = "".join(f"\n    {n}: {why}" for n, why in row["failed"].items())
    bound = f"  {row['share_of_arithmetic']:4.0%} of arithmetic" if "share_of_arithmetic" in row else ""
    share = f"{row['share_of_copy']:5.0%} of copy{bound}"
    return f"{row['case']:<12} {row['elements']:>4} {ratio}  {share}   us: {times}{gone}"


def _write(path: Path, facts: Mapping[str, object]) -> None:
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
