"""The share of a core's multiply-add peak that kernels reach: products, and the convolutions of ResNet-50, one thread.

    taskset -c 1 python benchmarks/shares.py [--sizes 512,1024,2048] [--rounds 5] [--json FILE]

A kernel's time is the least of several profiles of the whole net, its weights coming from wherever they lie by then.
The peak is measured by chains of multiply-adds in the same process. Convolutions by Winograd's tiles take fewer
multiply-adds than the direct sums that are counted, and are left out.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
from models import resnet50

import chainrule as cr
from chainrule.frontend import nn

LEAST_FLOPS = 10_000_000  # of a kernel that counts: ResNet-50's last product reads its weights from memory


def product(size: int) -> tuple[cr.Executable, list[np.ndarray]]:
    """A square matrix by a fixed weight."""
    made = cr.compile(nn.Linear(size, size, bias=False).eval(), cr.spec(size, size), threads=1)
    return made, [np.random.default_rng(0).standard_normal((size, size), np.float32)]


def net() -> tuple[cr.Executable, list[np.ndarray]]:
    """ResNet-50, one image."""
    cr.manual_seed(0)
    model, specs = resnet50.build()
    made = cr.compile(model, *specs, threads=1)
    return made, [np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)]


def rows_of(what: str, made: cr.Executable, arrays: list[np.ndarray], rounds: int) -> list[dict[str, Any]]:
    """Each product or direct convolution with the best share of several profiles."""
    found: list[dict[str, Any]] = []
    profiles = [made.profile(*arrays) for _ in range(rounds)]
    for kernels in zip(*profiles, strict=True):
        kernel = kernels[0]
        if kernel.flops < LEAST_FLOPS or "winograd" in kernel.kernel:
            continue
        peak = max(p.peak.flops for p in profiles)
        seconds = min(k.seconds for k in kernels)
        rate = kernel.flops / seconds
        found.append({"what": what, "kernel": kernel.kernel, "how": kernel.why, "us": round(seconds * 1e6, 1),
                      "gflops": round(rate / 1e9, 1), "share": round(rate / peak, 3)})  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=lambda t: [int(n) for n in t.split(",")], default=[512, 1024, 2048])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    rows = [row for size in options.sizes for row in rows_of(f"product {size}", *product(size), options.rounds)]
    rows += rows_of("ResNet-50", *net(), options.rounds)
    for row in rows:
        rate = f"{row['share']:6.1%} {row['gflops']:7.1f} GFLOP/s {row['us']:9.1f} us"
        print(f"{rate}  {row['what']}: {row['kernel']}, {row['how']}")
    work = [(row["gflops"] * row["us"], row["us"], row["share"]) for row in rows if row["what"] == "ResNet-50"]
    whole = sum(flops for flops, _, _ in work) / sum(us for _, us, _ in work)
    print(f"ResNet-50's direct kernels together: {whole:.1f} GFLOP/s")
    if options.json:
        facts = {"machine": platform.processor() or platform.machine(), "threads": 1, "rows": rows}
        Path(options.json).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
