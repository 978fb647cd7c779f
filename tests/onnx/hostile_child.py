"""Runs hostile files in a child process with limits: `python -m tests.onnx.hostile_child NAME...`.

The child prints a line of JSON after each file, so that the parent knows which one ended it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SPACE = 500 << 20  # bytes of address space beyond what the imports take
HANG_SECONDS = 20


@dataclass(frozen=True)
class Outcome:
    """What came of one file. kind: "right", "refused" (a typed error), "escaped" (any other exception), "ended"."""

    name: str
    kind: str
    error: str = ""
    seconds: float = 0.0


def outcomes(names: Sequence[str]) -> Iterator[Outcome]:
    """Every file in child processes; one that ends its child is told as "ended", and the rest go on in another."""
    left = list(names)
    while left:
        done, last = _one_child(left)
        yield from done
        left = left[len(done) :]
        if left:
            yield Outcome(left[0], "ended", last)
            left = left[1:]


def _one_child(names: Sequence[str]) -> tuple[list[Outcome], str]:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.onnx.hostile_child", *names]
    done: list[Outcome] = []
    with tempfile.TemporaryFile("w+") as said:
        pipes = {"stdout": subprocess.PIPE, "stderr": said, "text": True}
        with subprocess.Popen(command, env=environment, cwd=root, **pipes) as child:  # type: ignore[call-overload]
            assert child.stdout is not None
            # A line that does not come ends the child: what hangs must not hang the suite.
            while (line := _line(child)) is not None:
                done.append(Outcome(**json.loads(line)))
            child.kill()
        said.seek(0)
        return done, f"status {child.returncode}: {said.read()[-600:]}"


def _line(child: subprocess.Popen[str]) -> str | None:
    """The next line that the child prints, None where it has ended or hangs."""
    found: list[str] = []
    assert child.stdout is not None
    reader = threading.Thread(target=lambda out: found.append(out.readline()), args=(child.stdout,), daemon=True)
    reader.start()
    reader.join(HANG_SECONDS)
    return found[0] if found and found[0] else None


def main(names: Sequence[str]) -> None:
    """The child's work."""
    import chainrule as cr
    from tests.onnx.hostile import one
    from tests.onnx.hostile_calls import CASES

    work = {"warm up": one("Relu", {"x": [2]}, works=True), **CASES}
    _outcome("warm up", work)
    del cr
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPACE, used + SPACE))
    for name in names:
        print(json.dumps(vars(_outcome(name, work))), flush=True)


def _outcome(name: str, work: Mapping[str, object]) -> Outcome:
    from chainrule.errors import ChainruleError

    with tempfile.TemporaryDirectory() as folder:
        case = work[name]
        made = case.make(Path(folder))  # type: ignore[attr-defined]
        start = time.perf_counter()
        try:
            _run(made, case.inputs)  # type: ignore[attr-defined]
            kind, error = "right", ""
        except ChainruleError as problem:
            kind, error = "refused", str(problem)
        except Exception as problem:  # noqa: BLE001  # the very thing that is looked for
            kind, error = "escaped", f"{type(problem).__name__}: {problem}"
        return Outcome(name, kind, error[:2000], time.perf_counter() - start)


def _run(made: bytes | Path, inputs: Sequence[np.ndarray]) -> None:
    """Loads, compiles, runs, and compares with the reference."""
    import chainrule as cr
    from chainrule.ops.tolerance import OTHER_FRAMEWORK, models_agree

    loaded = cr.load_onnx(made)
    compiled = cr.compile(loaded, threads=1)
    sizes = dict.fromkeys(loaded.graph.symbols, 1)
    arrays = list(inputs) or [_zeros(t, sizes) for t in compiled.input_types]
    found = compiled.run(arrays)
    wanted = cr.compile(loaded, backend="reference").run(arrays)
    for a, b in zip(found, wanted, strict=True):
        verdict = models_agree(a, np.asarray(b, np.float64), OTHER_FRAMEWORK)
        assert a.shape == b.shape and verdict, f"llvm is not the reference: {verdict.reason}"


def _zeros(type: object, sizes: Mapping[str, int]) -> np.ndarray:
    from chainrule.errors import ArgumentError
    from chainrule.ir.dims import dim_value

    shape = [dim_value(d, sizes) for d in type.shape]  # type: ignore[attr-defined]
    if np.prod([float(d) for d in shape]) > 1e7:
        raise ArgumentError(f"an input of {shape} cannot be made")
    return np.zeros(shape, type.dtype.numpy)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(sys.argv[1:])
