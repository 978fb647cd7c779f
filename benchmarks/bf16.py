"""Models with products in bf16 (mixed="bf16") against the same in f32, by turns in one process.

Prints milliseconds of the best burst, the median of the paired ratios (above 1: bf16 is faster), and how far the
outputs are from those of f32: signal to noise, and the largest error over the largest output.
Usage: python benchmarks/bf16.py [--only resnet50] [--batch 1] [--threads 1] [--rounds 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from paired import paired

import chainrule as cr
from chainrule.backends.llvm.target import host_target
from chainrule.ops.tolerance import signal_to_noise
from chainrule.passes.check import largest_difference, sample_inputs

MODELS = ("resnet50", "resnet18", "vgg16", "yolo", "unet", "c3d", "bert", "gpt_prefill")


@dataclass(frozen=True)
class Result:
    """A model. f32_over_bf16: median of the paired ratios; decibels, error: of the outputs in bf16."""

    name: str
    f32_ms: float
    bf16_ms: float
    f32_over_bf16: float
    decibels: float
    error: float


def measured(name: str, batch: int, threads: int, rounds: int) -> Result:
    """One model, by turns."""
    model, specs = importlib.import_module(f"models.{name}").build(batch)
    wide, narrow = (cr.compile(model, *specs, threads=threads, mixed=mixed) for mixed in (None, "bf16"))
    given = [a for v, a in zip(wide.graph.inputs, sample_inputs(wide.graph, {}), strict=True) if v in set(
        wide.graph.by_role("input"))]  # fmt: skip
    found = paired((lambda: narrow(*given), lambda: wide(*given)), rounds)
    got, want = narrow.run(given)[0], wide.run(given)[0]
    return Result(name, found.best_us[1] / 1000, found.best_us[0] / 1000, 1 / found.ratios[0],
                  signal_to_noise(got, want), largest_difference(got, want) / float(np.abs(want).max()))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(MODELS))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results: list[Result] = []
    for name in args.only.split(","):
        found = measured(name, args.batch, args.threads, args.rounds)
        results.append(found)
        print(f"{name:<12} f32 {found.f32_ms:7.2f} ms  bf16 {found.bf16_ms:7.2f} ms (x{found.f32_over_bf16:.2f})  "
              f"{found.decibels:.1f} dB, {found.error:.2g} of the largest output", flush=True)  # fmt: skip
    if args.json:
        rows = [{k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in asdict(r).items()} for r in results]
        args.json.write_text(json.dumps({"machine": platform.machine(), "cpu": host_target().cpu, "batch": args.batch,
                                         "threads": args.threads, "models": rows}, indent=1) + "\n")  # fmt: skip


if __name__ == "__main__":
    main()
