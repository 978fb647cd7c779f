"""Runtimes that take turns, each a process of its own that is stopped while another is timed: idle thread pools spin.

`candidates` starts them and `timed` measures them; `serve` is the other end, which such a process runs. It imports
nothing but numpy, so that it works in an environment that has only a runtime.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Call = Callable[[], list[np.ndarray]]
TURN_SECONDS = 0.15
WARM_CALLS = 3


@dataclass
class Candidate:
    """A runtime that is ready to be called. facts: what it said of its start, `ready` in seconds among them.

    calls: in one turn; times: seconds of one call, turn by turn.
    """

    name: str
    process: subprocess.Popen[str]
    facts: dict[str, Any]
    calls: int = 1
    times: list[float] = field(default_factory=list)

    def ask(self, line: str) -> dict[str, Any]:
        """Lets the process run until it has answered."""
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = _answer(self.process)
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def turn(self) -> float:
        """Seconds of one call, as the mean of a turn."""
        return float(self.ask(f"run {self.calls}")["seconds"]) / self.calls

    def result(self, folder: Path) -> list[np.ndarray]:
        """The outputs of one more call."""
        file = folder / f"{self.name}.npz"
        self.ask(f"save {file}")
        with np.load(file) as kept:
            return [kept[name] for name in kept.files]


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the process ended with {process.wait()}")
    return json.loads(line)


@contextmanager
def candidates(
    commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]
) -> Iterator[tuple[list[Candidate], dict[str, str]]]:
    """The runtimes that could be started by these commands, stopped, and why the others could not."""
    made: list[Candidate] = []
    failed: dict[str, str] = {}
    around = {**os.environ, **environment}
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        around.pop(name, None)
    try:
        for name, command in commands.items():
            with tempfile.TemporaryFile("w+") as errors:
                process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                                           text=True, env=around)  # fmt: skip
                try:
                    made.append(Candidate(name, process, _answer(process)))
                    process.send_signal(signal.SIGSTOP)
                except RuntimeError as problem:
                    errors.seek(0)
                    lines = errors.read().strip().splitlines()
                    failed[name] = lines[-1] if lines else str(problem)
        yield made, failed
    finally:
        for candidate in made:
            candidate.process.kill()
            candidate.process.wait()


def disagreements(found: Sequence[Candidate], rtol: float, looser: Mapping[str, float] | None = None) -> dict[str, str]:
    """The runtimes whose outputs are not those of the first; rtol is of the largest value, and looser for some."""
    with tempfile.TemporaryDirectory() as folder:
        results = {candidate.name: candidate.result(Path(folder)) for candidate in found}
    own = results[found[0].name]
    wrong: dict[str, str] = {}
    for name, outputs in results.items():
        for y, wanted in zip(outputs, own, strict=False):
            error = np.abs(y.reshape(-1) - wanted.reshape(-1)).max() if y.size == wanted.size else np.inf
            if not error <= (looser or {}).get(name, rtol) * max(1e-30, np.abs(wanted).max()):
                wrong[name] = f"its output differs by {error:.2g} where the largest value is {np.abs(wanted).max():.2g}"
    return wrong


def timed(running: Sequence[Candidate], rounds: int) -> None:
    """Fills `times` of all, by turns."""
    for candidate in running:
        once = min(candidate.turn() for _ in range(2))
        candidate.calls = max(1, int(TURN_SECONDS / once))
    for _ in range(rounds):
        for candidate in running:
            candidate.times.append(candidate.turn())


def raced(commands: Mapping[str, Sequence[str]], environment: Mapping[str, str], rounds: int, rtol: float,
          looser: Mapping[str, float] | None = None) -> tuple[list[Candidate], dict[str, str]]:  # fmt: skip
    """The runtimes that give what the first gives, timed by turns, and why the others fell out: see disagreements."""
    with candidates(commands, environment) as (found, failed):
        wrong = disagreements(found, rtol, looser)
        running = [candidate for candidate in found if candidate.name not in wrong]
        timed(running, rounds)
    return running, failed | wrong


def serve(load: Callable[[], Call], facts: Callable[[], dict[str, Any]] = dict) -> None:
    """Answers on standard output with seconds: of getting ready, of the first call, and of each "run COUNT" asked for.

    "save FILE" writes the outputs of one more call. What the runtime prints goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**facts: Any) -> None:
        answers.write(json.dumps(facts) + "\n")
        answers.flush()

    start = time.perf_counter()
    call = load()
    call()
    first = time.perf_counter() - start
    for _ in range(WARM_CALLS - 1):
        call()
    answer(ready=time.perf_counter() - start, first=first, **facts())
    for line in sys.stdin:
        word, rest = line.split()
        if word == "save":
            np.savez(rest, *call())
            answer(saved=rest)
            continue
        begin = time.perf_counter()
        for _ in range(int(rest)):
            call()
        answer(seconds=time.perf_counter() - begin)
