"""The memory that a training step needs, against PyTorch eager: each side in processes of its own.

    python benchmarks/memory.py [--only lenet,mlp] [--json FILE]

The networks are those of benchmarks/training_nets.py. What counts is the most that a process had in memory (VmHWM) in
three steps, less what it had after steps of a tiny model, when everything was loaded: weights, state, batch,
temporaries, and what our side keeps of compiling, but not what only compiling needs, which benchmarks/training.py
counts. Machine code comes from the cache, as in a second run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
from training_nets import NETS
from training_peers import LIBRARIES

SIDES = ("chainrule", "torch")
STEPS = 3


def resident(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def warm(side: str) -> None:
    """Runs tiny steps, so that what a library loads at its first use does not count."""
    x = np.zeros((2, 2), np.float32)
    if side == "torch":
        import torch

        for rule in (torch.optim.SGD, torch.optim.Adam):
            model = torch.nn.Linear(2, 2)
            optimizer = rule(model.parameters(), 0.1, fused=True)
            model(torch.from_numpy(x)).sum().backward()
            optimizer.step()
        return
    import chainrule as cr

    spec = cr.spec(2, 2)
    cr.training_step(cr.nn.Linear(2, 2), cr.mse_loss, cr.optim.Adam(), (spec, spec), threads=1)(x, x)


def measure(side: str, name: str) -> None:
    """Prints the bytes of one side."""
    from chainrule import nn

    warm(side)
    weights = {key: p.data for key, p in NETS[name].build(nn).named_parameters()}
    load = LIBRARIES[side](name, weights, 1)
    held = sum(array.nbytes for array in weights.values())  # given to the model, which has its own: not counted
    before = resident("VmRSS")
    step = load()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts from here
    for _ in range(STEPS):
        step()
    print(json.dumps({"peak": resident("VmHWM") - before, "weights": held}))


def compared(name: str) -> dict[str, object]:
    """Both sides of a network, in megabytes."""
    found: dict[str, dict[str, float]] = {}
    for side in (SIDES[0], *SIDES):  # the first run fills the cache
        words = [sys.executable, __file__, "--measure", side, name]
        out = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        found[side] = {key: round(value / 1e6, 1) for key, value in json.loads(out.splitlines()[-1]).items()}
    ours, theirs = (found[side]["peak"] for side in SIDES)
    return {"what": name, "weights_mb": found["torch"]["weights"], "ours_mb": ours, "torch_mb": theirs,
            "torch_over_ours": round(theirs / ours, 2)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(NETS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", nargs=2)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure)
        return
    rows = []
    for name in options.only.split(","):
        rows.append(compared(name))
        print(rows[-1], flush=True)
    if options.json:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "threads": 1}
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
