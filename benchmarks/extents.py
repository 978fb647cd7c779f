"""What sizes given by name cost: programs compiled once for every batch, image or length, beside those of
fixed size.

    python benchmarks/extents.py [--only mlp,resnet18] [--threads 1] [--batches 1,8] [--json FILE]

Both programs are of the same model and take turns in one process; the ratio is the median of fixed / named, so above
1 the program that serves every size is the faster one.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from paired import paired

import chainrule as cr

# Models, the arguments that name their sizes of image, frames or tokens, and the sizes that are run (their own first).
SIZES: Mapping[str, tuple[Mapping[str, str], tuple[int, ...]]] = {
    "mobilenet": ({"size": "S"}, (224,)), "resnet18": ({"size": "S"}, (224,)), "resnet50": ({"size": "S"}, (224,)),
    "squeezenet": ({"size": "S"}, (224,)), "unet": ({"size": "16*S"}, (256,)), "yolo": ({"size": "32*S"}, (416,)),
    "tdnn": ({"frames": "S"}, (300,)), "bert": ({"tokens": "S"}, (128, 1, 17, 37, 512)),
    "gpt_prefill": ({"tokens": "S"}, (128, 17, 37)), "gpt_decode": ({"cached": "S"}, (128, 37)),
    "lenet": ({}, ()), "mlp": ({}, ()), "lstm_lm": ({}, ()), "encoder_decoder": ({}, ()), "alexnet": ({}, ()),
}  # fmt: skip
GOAL = 0.95


@dataclass(frozen=True)
class Row:
    """A model. size: of its image, frames or tokens; 0 where it has one alone. ratio: the time of the program of fixed
    sizes over that of the one whose sizes are named."""

    model: str
    named: str
    batch: int
    size: int
    fixed_us: float
    named_us: float
    ratio: float
    goal: str
    met: bool


def measured(name: str, threads: int, batches: Sequence[int]) -> Iterator[Row]:
    """The rows of a model: its batch named, then its batch and its other size, run at several."""
    build, (more, sizes) = importlib.import_module(f"models.{name}").build, SIZES[name]
    for names, run in (({}, sizes[:1] or (0,)), (more, sizes)):
        if not run:
            continue
        served = compiled(build("N", **names), threads)
        for batch, size in ((b, s) for b in batches for s in run):
            fixed = compiled(build(batch, **dict.fromkeys(more, size)), threads)
            arrays = [array_of(t.shape, t.dtype.name) for t in fixed.input_types]
            times = paired([partial(call, fixed, arrays), partial(call, served, arrays)])
            yield Row(name, ", ".join(["N", *map(str, names.values())]), batch, size, *times.median_us[:2],
                      times.ratios[0], f"at least {GOAL}", times.ratios[0] >= GOAL)  # fmt: skip


def compiled(built: tuple[object, tuple[object, ...]], threads: int) -> cr.Executable:
    """The program of a model and its specs."""
    model, specs = built
    return cr.compile(model, *specs, threads=threads)


def call(program: cr.Executable, arrays: Sequence[np.ndarray]) -> object:
    """One call with a flat list of inputs."""
    return program.run(arrays)


def array_of(shape: tuple[object, ...], dtype: str) -> np.ndarray:
    """Seeded data; small numbers where a model takes integers."""
    rng, sizes = np.random.default_rng(0), [int(str(n)) for n in shape]
    return rng.integers(0, 9, sizes) if dtype.startswith("i") else rng.standard_normal(sizes).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", type=lambda t: t.split(","), default=list(SIZES), metavar="NAME,NAME")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=lambda t: [int(n) for n in t.split(",")], default=[1, 8], metavar="N,N")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name in arguments.only:
        for row in measured(name, arguments.threads, arguments.batches):
            rows.append(row)
            print(f"{row.model:16} {row.named:7} batch {row.batch} size {row.size:3}  fixed {row.fixed_us:10.1f} us  "
                  f"named {row.named_us:10.1f} us  {row.ratio:5.3f}{'' if row.met else '  below ' + str(GOAL)}",
                  flush=True)  # fmt: skip
    if arguments.json:
        facts = {"date": time.strftime("%Y-%m-%d"), "threads": arguments.threads, "rows": [asdict(r) for r in rows]}
        Path(arguments.json).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
