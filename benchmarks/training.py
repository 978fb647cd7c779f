"""Training steps, paired in one run with PyTorch eager: time of a step, and our time to compile from an empty cache.

    python benchmarks/training.py [--threads 1] [--only lenet,mlp,resnet18] [--json FILE]

Forward, loss, backward and update of one batch; both sides start from the same weights, and the first losses are
compared. ResNet-18 is the network for 32x32 images: a 3x3 convolution in front, no pool behind it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.models import LeNet, mlp
from chainrule.timing import paired

AGREES = 1e-3  # of the first losses, relative


def resnet18(layers: Any, relu: Any, base: Any) -> Any:
    """ResNet-18 on 32x32 of the layers of either library. Source: He et al. 2016."""

    class Block(base):
        def __init__(self, inside: int, outside: int, stride: int) -> None:
            super().__init__()
            self.conv1 = layers.Conv2d(inside, outside, 3, stride, 1, bias=False)
            self.bn1, self.bn2 = layers.BatchNorm2d(outside), layers.BatchNorm2d(outside)
            self.conv2 = layers.Conv2d(outside, outside, 3, 1, 1, bias=False)
            plain = stride == 1 and inside == outside
            self.shortcut = layers.Sequential() if plain else layers.Sequential(
                layers.Conv2d(inside, outside, 1, stride, bias=False), layers.BatchNorm2d(outside))  # fmt: skip
            self.plain = plain

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
            return relu(y + (x if self.plain else self.shortcut(x)))

    class Net(base):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = layers.Conv2d(3, 64, 3, 1, 1, bias=False), layers.BatchNorm2d(64)
            widths = (64, 64, 64, 128, 128, 256, 256, 512, 512)
            self.blocks = layers.Sequential(*(
                Block(widths[i], widths[i + 1], 2 if widths[i] != widths[i + 1] else 1) for i in range(8)))  # fmt: skip
            self.fc = layers.Linear(512, 10)

        def forward(self, x: Any) -> Any:
            return self.fc(self.blocks(relu(self.bn1(self.conv1(x)))).mean((2, 3)))

    return Net()


@dataclass(frozen=True)
class Case:
    """A step: shapes of one batch, the model and optimiser on both sides, and the ratio that is aimed at."""

    name: str
    shape: tuple[int, ...]
    ours: Callable[[], Any]
    theirs: Callable[[Any], Any]
    optimizer: optim.Optimizer
    their_optimizer: Callable[[Any, Any], Any]
    goal: float


def torch_lenet(n: Any) -> Any:
    return n.Sequential(
        n.Conv2d(1, 6, 5, padding=2), n.ReLU(), n.MaxPool2d(2), n.Conv2d(6, 16, 5), n.ReLU(), n.MaxPool2d(2),
        n.Flatten(), n.Linear(400, 120), n.ReLU(), n.Linear(120, 84), n.ReLU(), n.Linear(84, 10))  # fmt: skip


def torch_mlp(torch: Any) -> Any:
    sizes = (784, 2048, 2048, 10)
    parts: list[Any] = []
    for a, b in pairwise(sizes):
        parts += [torch.nn.Linear(a, b), torch.nn.ReLU()]
    return torch.nn.Sequential(*parts[:-1])


CASES = (
    Case("lenet", (64, 1, 28, 28), LeNet,
         lambda torch: torch_lenet(torch.nn),
         optim.SGD(0.01), lambda torch, p: torch.optim.SGD(p, 0.01), 2.5),
    Case("mlp", (128, 784), lambda: mlp(784, 2048, 2048, 10), torch_mlp, optim.Adam(1e-3),
         lambda torch, p: torch.optim.Adam(p, 1e-3), 1.25),
    Case("resnet18", (32, 3, 32, 32), lambda: resnet18(nn, cr.relu, nn.Module),
         lambda torch: resnet18(torch.nn, torch.relu, torch.nn.Module), optim.SGD(0.01, momentum=0.9),
         lambda torch, p: torch.optim.SGD(p, 0.01, momentum=0.9), 1.7),
)  # fmt: skip


def batch_of(case: Case) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal(case.shape).astype(np.float32), rng.integers(0, 10, case.shape[0])


def our_step(case: Case, model: Any, threads: int) -> Any:
    specs = (cr.spec(*case.shape), cr.spec(case.shape[0], dtype="i64"))
    return cr.training_step(model, cr.cross_entropy, case.optimizer, specs, threads=threads)


def their_step(case: Case, model: Any, torch: Any) -> Callable[[Any, Any], float]:
    optimizer = case.their_optimizer(torch, model.parameters())

    def step(x: Any, y: Any) -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def measured(case: Case, threads: int, seconds: float) -> dict[str, object]:
    """Both steps by turns."""
    import torch

    torch.set_num_threads(threads)
    x, y = batch_of(case)
    model, other = case.ours(), case.theirs(torch)
    with torch.no_grad():  # modules are in one order on both sides, and so are their parameters
        for mine, its in zip(dict(model.named_parameters()).values(), other.parameters(), strict=True):
            its.copy_(torch.from_numpy(mine.data))
    ours, theirs = our_step(case, model, threads), their_step(case, other, torch)
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    first, its_first = float(ours(x, y)), theirs(a, b)
    assert abs(first - its_first) <= AGREES * abs(its_first), f"{case.name}: first losses {first} and {its_first}"
    times = paired({"ours": lambda: ours(x, y), "torch": lambda: theirs(a, b)}, rounds=15, seconds=seconds)
    ratio = times["torch"].median / times["ours"].median
    return {"what": case.name, "threads": threads, "ours_s": times["ours"].median, "torch_s": times["torch"].median,
            "times_faster": ratio, "goal": case.goal, "met": ratio >= case.goal}  # fmt: skip


def compiling(name: str) -> float:
    """Seconds from the model to a step that has run once, with an empty cache, in a process of its own."""
    words = [sys.executable, __file__, "--compile", name]
    bare = os.environ | {"CHAINRULE_NO_CACHE": "1"}
    found = subprocess.run(words, env=bare, check=True, capture_output=True, text=True)
    return float(found.stdout.split()[-1])


def compile_once(name: str) -> None:
    """Prints the seconds."""
    case = next(c for c in CASES if c.name == name)
    cr.compile(lambda x: x + 1.0, cr.spec(2))(np.zeros(2, np.float32))
    model, (x, y) = case.ours(), batch_of(case)
    start = time.perf_counter()
    our_step(case, model, 1)(x, y)
    print(time.perf_counter() - start)


def main() -> None:
    """Prints a line for each case, and writes them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--compile", default="")
    arguments = parser.parse_args()
    if arguments.compile:
        compile_once(arguments.compile)
        return
    rows = []
    for case in CASES:
        if arguments.only and case.name not in arguments.only.split(","):
            continue
        row = measured(case, arguments.threads, arguments.seconds) | {"compile_cold_s": compiling(case.name)}
        rows.append(row)
        print({key: round(v, 5) if isinstance(v, float) else v for key, v in row.items()}, flush=True)
    if arguments.json:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
                   "threads": arguments.threads}  # fmt: skip
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
