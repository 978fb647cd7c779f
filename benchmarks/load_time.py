"""How long reading a model takes beyond protobuf's own parse: cr.load_onnx and onnx.load, by turns in one process.

Models are the ResNet-50 of benchmarks/models, as we export it, and FOLDER/**/*.onnx, where a folder is named.
Usage: python benchmarks/load_time.py [FOLDER] [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
from models import resnet50
from onnx_models import named

import chainrule as cr


@dataclass(frozen=True)
class LoadRow:
    """One model, medians in milliseconds. beyond_ms: of the differences of neighbouring runs."""

    name: str
    nodes: int
    ours_ms: float
    parse_ms: float
    beyond_ms: float


def measured(path: Path, name: str, rounds: int) -> LoadRow:
    """A model read by both, in alternating order, after one run of each."""
    nodes = len(onnx.load(path).graph.node)
    cr.load_onnx(path)
    ours, parse = list[float](), list[float]()
    for turn in range(rounds):
        pairs = [(ours, cr.load_onnx), (parse, onnx.load)]
        for times, load in pairs if turn % 2 == 0 else reversed(pairs):
            start = time.perf_counter()
            load(path)
            times.append(1e3 * (time.perf_counter() - start))
    beyond = [a - b for a, b in zip(ours, parse, strict=True)]
    return LoadRow(name, nodes, *(round(statistics.median(t), 2) for t in (ours, parse, beyond)))


def rows(folder: Path | None, rounds: int) -> list[LoadRow]:
    """ResNet-50, then the models of the folder; each is printed as it comes."""
    found: list[LoadRow] = []
    with tempfile.TemporaryDirectory() as place:
        exported = Path(place) / "resnet50.onnx"
        model, specs = resnet50.build()
        cr.export_onnx(model, exported, *specs, verify=False)
        paths = [(exported, "ResNet-50, exported here")]
        paths += [(path, named(path, folder)) for path in sorted(folder.rglob("*.onnx"))] if folder else []
        for path, name in paths:
            row = measured(path, name, rounds)
            found.append(row)
            print(f"{row.name:26} {row.nodes:5} nodes  load {row.ours_ms:8.2f} ms, parse {row.parse_ms:7.2f} ms, "
                  f"beyond {row.beyond_ms:8.2f} ms", flush=True)  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    found = rows(arguments.folder, arguments.rounds)
    if arguments.json is not None:
        record = {"machine": platform.machine(), "onnx": onnx.__version__, "rounds": arguments.rounds,
                  "models": [asdict(row) for row in found]}  # fmt: skip
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
