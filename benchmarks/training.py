"""Training steps against PyTorch eager, PyTorch's inductor and JAX, all in one run, from the same weights.

    python benchmarks/training.py [--threads 1,2] [--only lenet,mlp] [--peers torch,inductor,jax] [--rounds 15]
                                  [--python torch=ENV/bin/python] [--json FILE]

Forward, loss, backward and update of one batch in f32, for the networks of benchmarks/training_nets.py. Every library
is a process of its own (benchmarks/training_peers.py), stopped while another is timed; they take turns, and medians are
compared. The loss of the fourth step must be ours before anything is timed. Peak memory is what a process grew by from
its imports to its third step, compiling included; our time to the first step is with an empty cache.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from training_nets import NETS
from turns import raced

from chainrule import nn

HERE = Path(__file__).resolve().parent
PEERS = ("torch", "inductor", "jax")
RTOL = 2e-3  # of the fourth loss, three updates after equal weights; bf16 has a bound of its own
OWN = ("chainrule", "chainrule_bf16")


def measure(name: str, threads: int, arguments: argparse.Namespace, pythons: dict[str, str]) -> dict[str, Any]:
    """One row: medians of all candidates, and the best peer's time over ours."""
    net = NETS[name]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.npz"
        np.savez(file, **{key: p.data for key, p in net.build(nn).named_parameters()})
        commands = {
            peer: [pythons.get(peer, sys.executable), str(HERE / "training_peers.py"), peer, name, str(file),
                   str(threads)]
            for peer in ("chainrule", *arguments.peers)}  # fmt: skip
        around = {"OMP_NUM_THREADS": str(threads), "CHAINRULE_NO_CACHE": "1"}
        running, failed = raced(commands, around, arguments.rounds, RTOL)
    medians = {c.name: statistics.median(c.times) for c in running}
    peers = {n: t for n, t in medians.items() if n not in OWN}
    row: dict[str, Any] = {
        "step": name, "threads": threads, "median_s": medians, "least_s": {c.name: min(c.times) for c in running},
        "failed": failed, "first_s": {c.name: c.facts["first"] for c in running},
        "peak_bytes": {c.name: c.facts["peak_bytes"] for c in running}, "goal": net.goal}  # fmt: skip
    if peers:
        best = min(peers, key=lambda n: peers[n])
        row |= {"best_peer": best, "best_over_ours": peers[best] / medians["chainrule"]}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", type=lambda t: t.split(","), default=list(NETS), metavar="NAME,NAME")
    parser.add_argument("--threads", type=lambda t: [int(n) for n in t.split(",")], default=[1])
    parser.add_argument("--peers", type=lambda t: t.split(","), default=list(PEERS))
    parser.add_argument("--python", action="append", default=[], metavar="LIBRARY=PATH")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", metavar="FILE", help="write the rows here, each as soon as it is measured")
    arguments = parser.parse_args()
    pythons = dict(text.split("=", 1) for text in arguments.python)
    rows: list[dict[str, Any]] = []
    for threads in arguments.threads:
        for name in arguments.only:
            rows.append(measure(name, threads, arguments, pythons))
            print(_line(rows[-1]), flush=True)
            if arguments.json:
                machine = platform.processor() or platform.machine()
                facts = {"machine": machine, "cpus": os.cpu_count(), "rows": rows}
                Path(arguments.json).write_text(json.dumps(facts, indent=1) + "\n")


def _line(row: dict[str, Any]) -> str:
    times = "  ".join(f"{n} {t * 1e3:.3g}" for n, t in sorted(row["median_s"].items(), key=lambda item: item[1]))
    ratio = f"{row['best_over_ours']:.2f} of {row['goal']}" if "best_peer" in row else "no peer"
    peaks = "  ".join(f"{n} {b / 1e6:.0f}" for n, b in row["peak_bytes"].items())
    gone = "".join(f"\n    {n}: {why}" for n, why in row["failed"].items())
    first = row["first_s"]["chainrule"]
    return (f"{row['step']:<12} threads {row['threads']}: {ratio}   ms: {times}   peak MB: {peaks}   "
            f"first step {first:.2f} s{gone}")  # fmt: skip


if __name__ == "__main__":
    main()
