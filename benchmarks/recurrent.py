"""LSTM and GRU against onnxruntime, by turns.

    python benchmarks/recurrent.py [--threads 1] [--only lstm,gru,model] [--json FILE]

onnxruntime runs what chainrule exports. benchmarks/training.py has the training step of a language model.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.timing import paired

Row = dict[str, object]

# (steps, rows, units): those of CODEGEN's table, and batches.
SHAPES = ((50, 1, 64), (100, 1, 128), (100, 1, 256), (100, 1, 384), (100, 1, 512), (32, 8, 512), (32, 16, 512))
WORDS, UNITS = 10_000, 512


class LanguageModel(nn.Module):
    """Words [T, N] -> scores of the next word [T, N, WORDS]: an embedding, two layers of LSTM, a linear layer."""

    def __init__(self) -> None:
        self.embed = nn.Embedding(WORDS, UNITS)
        self.lstm = nn.LSTM(UNITS, UNITS, 2)
        self.head = nn.Linear(UNITS, WORDS)

    def __call__(self, words: cr.Tensor) -> cr.Tensor:
        return self.head(self.lstm(self.embed(words))[0])


def row(what: str, peer: str, ours: Callable[[], object], theirs: Callable[[], object], seconds: float = 1.0) -> Row:
    times = paired({"ours": ours, "peer": theirs}, rounds=15, seconds=seconds)
    a, b = times["ours"], times["peer"]
    return {"what": what, "peer": peer, "ours_us": round(a.median * 1e6, 1), "peer_us": round(b.median * 1e6, 1),
            "peer_over_ours": round(b.median / a.median, 2), "of_minima": round(b.least / a.least, 2)}  # fmt: skip


def against_onnxruntime(what: str, model: object, spec: object, x: np.ndarray, threads: int) -> Row:
    ours, theirs = (cr.compile(model, spec, backend=b, threads=threads) for b in ("llvm", "onnxruntime"))  # type: ignore[arg-type]
    return row(what, "onnxruntime", lambda: ours(x), lambda: theirs(x))


def layers(kind: str, threads: int) -> list[Row]:
    """One layer, as many inputs as units."""
    found = []
    for steps, n, units in SHAPES:
        layer = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](units, units)
        x = np.random.default_rng(0).standard_normal((steps, n, units)).astype(np.float32)
        found.append(against_onnxruntime(f"{kind}, {steps} steps of {n}, {units} units", lambda v: layer(v)[0],  # noqa: B023
                                         cr.spec(steps, n, units), x, threads))  # fmt: skip
        print(found[-1], flush=True)
    return found


def language_model(threads: int) -> list[Row]:
    """64 steps of one row, and of eight."""
    model, found = LanguageModel(), []
    for n in (1, 8):
        words = np.random.default_rng(0).integers(0, WORDS, (64, n))
        found.append(against_onnxruntime(f"language model, 64 steps of {n}", model, cr.spec(64, n, dtype="i64"), words,
                                         threads))  # fmt: skip
        print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="lstm,gru,model")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[Row] = []
    for part in options.only.split(","):
        match part:
            case "model":
                rows += language_model(options.threads)
            case _:
                rows += layers(part, options.threads)
    if options.json:
        machine = f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}"
        options.json.write_text(json.dumps({"machine": machine, "threads": options.threads, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
