"""The memory that a training step needs, against PyTorch eager: each side in processes of its own.

    python benchmarks/memory.py [--only lenet,mlp,resnet18,lstm,transformer] [--json FILE]

What counts is the most that a process had in memory (VmHWM) in three steps, less what it had after a step of a tiny
model, when everything was loaded: weights, state, batch, temporaries, and what our side keeps of compiling. What a step
of ours keeps by its own account (weights with state, and temporaries) stands beside it. Machine code comes from the
cache, as in a second run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 3
CASES = ("lenet", "mlp", "resnet18", "lstm", "transformer")
SIDES = ("ours", "torch")
WIDTH, HEADS, TOKENS, ROWS = 768, 12, 128, 8  # of the transformer layers
Steps = tuple[Callable[..., object], tuple[Any, ...], Any]  # a step, its batch, and ours if it is that


def resident(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def our_step(name: str) -> Steps:
    """The step of a case, here."""
    import chainrule as cr
    from chainrule import nn, optim

    if name == "lstm":
        from recurrent import UNITS, WORDS, LanguageModel

        def loss(scores: cr.Tensor, wanted: cr.Tensor) -> cr.Tensor:
            return cr.cross_entropy(scores.reshape(-1, WORDS), wanted.reshape(-1))

        assert UNITS
        spec = cr.spec(32, 16, dtype="i64")
        step = cr.training_step(LanguageModel(), loss, optim.SGD(0.1), (spec, spec), threads=1)
        return step, words(WORDS), step
    if name == "transformer":
        layers = [nn.TransformerEncoderLayer(WIDTH, HEADS, batch_first=True, dropout=0.0) for _ in range(2)]
        spec = cr.spec(ROWS, TOKENS, WIDTH)
        step = cr.training_step(nn.Sequential(*layers), cr.mse_loss, optim.Adam(1e-3), (spec, spec), threads=1)
        return step, tokens(), step
    import training

    case = next(c for c in training.CASES if c.name == name)
    step = training.our_step(case, case.ours(), 1)
    return step, training.batch_of(case), step


def their_step(name: str) -> Steps:
    """The step of a case in PyTorch."""
    import torch
    import training

    torch.set_num_threads(1)
    if name in ("lstm", "transformer"):
        model, loss, optimizer, batch = their_sequences(name, torch)
    else:
        case = next(c for c in training.CASES if c.name == name)
        model, loss = case.theirs(torch), torch.nn.functional.cross_entropy
        optimizer, batch = case.their_optimizer(torch, model.parameters()), training.batch_of(case)

    def step(x: Any, y: Any) -> float:
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value.item()

    return step, tuple(torch.from_numpy(a) for a in batch), None


def their_sequences(name: str, torch: Any) -> tuple[Any, Any, Any, Any]:
    """Model, loss, optimiser and batch of the two networks for sequences."""
    if name == "transformer":
        layers = [torch.nn.TransformerEncoderLayer(WIDTH, HEADS, batch_first=True, dropout=0.0) for _ in range(2)]
        model = torch.nn.Sequential(*layers)
        return model, torch.nn.functional.mse_loss, torch.optim.Adam(model.parameters(), 1e-3), tokens()
    from recurrent import UNITS, WORDS

    class Theirs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(WORDS, UNITS)
            self.lstm = torch.nn.LSTM(UNITS, UNITS, 2)
            self.head = torch.nn.Linear(UNITS, WORDS)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(self.embed(x))[0])

    def loss(scores: Any, wanted: Any) -> Any:
        return torch.nn.functional.cross_entropy(scores.reshape(-1, WORDS), wanted.reshape(-1))

    model = Theirs()
    return model, loss, torch.optim.SGD(model.parameters(), 0.1), words(WORDS)


def words(count: int) -> tuple[np.ndarray, np.ndarray]:
    found = np.random.default_rng(0).integers(0, count, (33, 16))
    return found[:-1].copy(), found[1:].copy()


def tokens() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal((ROWS, TOKENS, WIDTH)).astype(np.float32) for _ in range(2))  # type: ignore[return-value]


def measure(side: str, name: str) -> None:
    """Prints the bytes of one side, as JSON."""
    import recurrent  # noqa: F401
    import training  # noqa: F401

    warm(side)
    before = resident("VmRSS")
    step, batch, ours = (our_step if side == "ours" else their_step)(name)
    built = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts from here
    for _ in range(STEPS):
        step(*batch)
    found = {"peak": resident("VmHWM") - before, "before_first_step": built - before}
    if ours is not None:
        kept = ours.memory()
        found |= {"weights_and_state": kept["weight_bytes"], "temporaries": kept["arena_bytes"]}
    print(json.dumps(found))


def warm(side: str) -> None:
    """Runs a tiny step, so that what a library loads at its first use does not count."""
    x = np.zeros((2, 2), np.float32)
    if side == "torch":
        import torch

        for rule in (torch.optim.SGD, torch.optim.Adam):
            model = torch.nn.Linear(2, 2)
            optimizer = rule(model.parameters(), 0.1)
            model(torch.from_numpy(x)).sum().backward()
            optimizer.step()
        return
    import chainrule as cr

    spec = cr.spec(2, 2)
    cr.training_step(cr.nn.Linear(2, 2), cr.mse_loss, cr.optim.Adam(), (spec, spec), threads=1)(x, x)


def compared(name: str) -> dict[str, object]:
    """Both sides of a case, in megabytes."""
    found = {}
    for side in ("ours", *SIDES):  # the first run fills the cache
        words = [sys.executable, __file__, "--measure", side, name]
        out = subprocess.run(words, check=True, capture_output=True, text=True, env=os.environ).stdout
        found[side] = {key: round(value / 1e6, 1) for key, value in json.loads(out.splitlines()[-1]).items()}
    return {"what": name, "ours_mb": found["ours"], "torch_mb": found["torch"],
            "torch_over_ours": round(found["torch"]["peak"] / found["ours"]["peak"], 2)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(CASES))
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
