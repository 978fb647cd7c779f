"""What sizes given by name cost: programs compiled once for every batch or image size, beside those of fixed size.

    python benchmarks/extents.py [--only mlp,resnet18] [--threads 1] [--json FILE]

Both programs are of the same model and take turns in one process; the ratio is the median of fixed / named, so above
1 the program that serves every size is the faster one.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from paired import paired

import chainrule as cr

# Models whose size of the image, or number of frames, is named too; the sizes that are run.
SIZES: Mapping[str, Mapping[str, object]] = {
    "mobilenet": {"size": "S"}, "resnet18": {}, "lenet": {}, "mlp": {}, "lstm_lm": {}, "encoder_decoder": {},
    "bert": {}, "gpt_prefill": {}, "tdnn": {"frames": "S"}, "unet": {}, "alexnet": {}, "squeezenet": {},
}  # fmt: skip
BATCHES = (1, 8)
GOAL = 0.95


@dataclass(frozen=True)
class Row:
    """A model. ratio: the time of the program of fixed sizes over that of the one whose sizes are named."""

    model: str
    named: str
    batch: int
    fixed_us: float
    named_us: float
    ratio: float
    goal: str
    met: bool


def measured(name: str, more: Mapping[str, object], threads: int) -> list[Row]:
    """The rows of a model: its batch named, then its batch and image size."""
    build = importlib.import_module(f"models.{name}").build
    found: list[Row] = []
    for names in ({}, more) if more else ({},):
        model, specs = build("N", **names)
        served = cr.compile(model, *specs, threads=threads)
        for batch in BATCHES:
            fixed_model, fixed_specs = build(batch)
            fixed = cr.compile(fixed_model, *fixed_specs, threads=threads)
            arrays = [array_of(t.shape, t.dtype.name) for t in fixed.input_types]
            times = paired([partial(fixed, *arrays), partial(served, *arrays)])
            found.append(Row(name, ", ".join(["N", *map(str, names.values())]), batch, *times.median_us[:2],
                             times.ratios[0], f"at least {GOAL}", times.ratios[0] >= GOAL))  # fmt: skip
    return found


def array_of(shape: tuple[object, ...], dtype: str) -> np.ndarray:
    """Seeded data; small numbers where a model takes integers."""
    rng, sizes = np.random.default_rng(0), [int(str(n)) for n in shape]
    return rng.integers(0, 9, sizes) if dtype.startswith("i") else rng.standard_normal(sizes).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", type=lambda t: t.split(","), default=list(SIZES), metavar="NAME,NAME")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name in arguments.only:
        for row in measured(name, SIZES[name], arguments.threads):
            rows.append(row)
            print(f"{row.model:16} {row.named:6} batch {row.batch}  fixed {row.fixed_us:10.1f} us  "
                  f"named {row.named_us:10.1f} us  {row.ratio:5.3f}{'' if row.met else '  below ' + str(GOAL)}",
                  flush=True)  # fmt: skip
    if arguments.json:
        facts = {"date": time.strftime("%Y-%m-%d"), "threads": arguments.threads, "rows": [asdict(r) for r in rows]}
        Path(arguments.json).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
