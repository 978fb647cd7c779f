"""A training run that is killed again and again: a program for tests/test_resume.py, which runs it as a process.

It compiles once and forks a child for each life of the run. A child trains with a checkpoint after every batch until
SIGKILL ends it: sent by its parent at a random moment, or by itself at a stage of a save. The next child goes on from
the file. At last one child finishes the epoch, and another trains as far without being killed; both must agree.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.frontend.checkpoint import load_with_metadata
from chainrule.frontend.fit import Checkpoints

FOREVER = 10**6  # epochs
STAGES = ("before fsync", "after fsync", "before replace", "after replace")


def made(threads: int) -> tuple[Any, cr.ArrayData]:
    """The step and its data, the same in every process."""
    cr.manual_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((48, 1, 8, 8)).astype(np.float32), rng.integers(0, 4, 48)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2),
                          nn.Linear(144, 4))  # fmt: skip
    lr = optim.schedules.WarmUp(optim.schedules.Exponential(1e-3, 0.999), 5)
    specs = (cr.spec("N", 1, 8, 8), cr.spec("N", dtype="i64"))
    step = cr.training_step(model, cr.cross_entropy, optim.Adam(lr), specs, metrics=["accuracy"], seed=3,
                            threads=threads, ema=0.9, clip_norm=1.0)  # fmt: skip
    data = cr.ArrayData(x, y, batch_size=16, shuffle=True, seed=7, augment=cr.augment.Shift(1))
    step(x, y)
    return step, data


def train(step: Any, data: Any, epochs: int, path: Path) -> None:
    """Trains to the end of an epoch, and writes what must agree beside the checkpoint."""
    history = cr.fit(step, data, epochs, checkpoint=Checkpoints(path, every_steps=1), progress=False)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]
    state = {name: array.tobytes().hex() for name, array in sorted(step.state.items())}
    path.with_suffix(".json").write_text(json.dumps({"rows": rows, "state": state}))


def die_at(stage: str, save: int) -> None:
    """From now on this process ends itself at a stage of its save of this number, counted from 1."""
    count = itertools.count(1)

    def deadly(call: Callable[..., Any], before: str, after: str) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            mine = stage in (before, after) and next(count) == save
            if mine and stage == before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*arguments)
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return run

    os.fsync = deadly(os.fsync, *STAGES[:2])
    os.replace = deadly(os.replace, *STAGES[2:])


def life(work: Callable[[], None], seconds: float | None = None) -> bool:
    """A child that does this work; killed after so many seconds if given. True when SIGKILL ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or status == 0, "a child failed"
    return os.WIFSIGNALED(status)


def epoch_of(path: Path) -> int:
    """The epochs that a checkpoint holds as finished."""
    return int(json.loads(load_with_metadata(path)[1]["chainrule.fit"])["epoch"]) if path.exists() else 0


def main(folder: str, kills: int, inside: int, threads: int) -> None:
    """Prints the number of kills, the epochs trained, and whether the two runs agree."""
    chance = random.Random(1)
    step, data = made(threads)
    broken, whole = Path(folder) / "broken.safetensors", Path(folder) / "whole.safetensors"
    killed = 0
    for turn in range(kills):
        if turn % 10 < 10 * inside // kills:
            stage, save = STAGES[turn % 4], chance.randint(2, 5)

            def dying(stage: str = stage, save: int = save) -> None:
                die_at(stage, save)
                train(step, data, FOREVER, broken)

            killed += life(dying)
        else:
            killed += life(lambda: train(step, data, FOREVER, broken), chance.uniform(0.0, 0.06))
    epochs = epoch_of(broken) + 1
    life(lambda: train(step, data, epochs, broken))
    life(lambda: train(step, data, epochs, whole))
    left = sorted(p.name for p in Path(folder).iterdir() if p.suffix == ".tmp")
    same = broken.with_suffix(".json").read_text() == whole.with_suffix(".json").read_text()
    print(json.dumps({"killed": killed, "epochs": epochs, "same": same, "left": left}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
