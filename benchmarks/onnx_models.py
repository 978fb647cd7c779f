"""Any folder of ONNX models against onnxruntime: the same inputs, one thread against one, by turns in one process.

Models are FOLDER/**/*.onnx. Beside each may lie ref.npz with its inputs x0, x1, ...; else seeded random inputs are
made, free sizes taken as 1 or as --dim says. Prints milliseconds of the best burst, the median of the paired ratios
(below 1: ours is faster) and their geometric mean. --json prints one record, which can be kept: it holds no model.
Usage: python benchmarks/onnx_models.py FOLDER [--dim N=8] [--threads 1] [--rounds 15] [--only NAME] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from paired import paired

import chainrule as cr
from chainrule.backends.llvm.target import host_target
from chainrule.errors import ChainruleError
from chainrule.ir.dims import dim_symbols, dim_value
from chainrule.ir.types import TensorType

Array = np.ndarray


@dataclass(frozen=True)
class Result:
    """One model: milliseconds of the best burst of each, the median paired ratio, the largest relative difference."""

    name: str
    ours_ms: float
    peer_ms: float
    ratio: float
    difference: float


def named(path: Path, folder: Path) -> str:
    """What to call a model: its folder, or its file where it lies in the given folder itself."""
    parts = path.relative_to(folder)
    return str(parts.parent) if parts.name == "model.onnx" and len(parts.parts) > 1 else str(parts)


def inputs_of(path: Path, types: Sequence[TensorType], dims: Mapping[str, int]) -> list[Array]:
    """The inputs beside a model, or random ones of its types."""
    stored = path.with_name("ref.npz")
    if stored.exists():
        with np.load(stored) as arrays:
            return [arrays[f"x{i}"] for i in range(len(types))]
    rng = np.random.default_rng(0)
    sizes = {s: dims.get(s, 1) for t in types for d in t.shape for s in sorted(dim_symbols(d))}
    return [_random(rng, t, [dim_value(d, sizes) for d in t.shape]) for t in types]


def _random(rng: np.random.Generator, type: TensorType, shape: Sequence[int]) -> Array:
    if type.dtype.is_float:
        return rng.standard_normal(shape).astype(type.dtype.numpy)
    return rng.integers(0, 2, shape).astype(type.dtype.numpy)


def session(path: Path, threads: int) -> ort.InferenceSession:
    """The peer, as it comes, on so many threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if threads > 1:  # its idle threads would hold a core while ours are timed
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def measured(path: Path, name: str, dims: Mapping[str, int], threads: int, rounds: int) -> Result:
    """One model, by turns."""
    ours = cr.compile(cr.load_onnx(path), threads=threads)
    arrays = inputs_of(path, ours.input_types, dims)
    peer = session(path, threads)
    feeds = dict(zip([i.name for i in peer.get_inputs()], arrays, strict=True))
    found = paired((lambda: ours(*arrays), lambda: peer.run(None, feeds)), rounds)
    best = [us / 1000 for us in found.best_us]
    return Result(name, best[0], best[1], found.ratios[0], difference(ours.run(arrays), peer.run(None, feeds)))


def difference(ours: Sequence[Array], theirs: Sequence[Array]) -> float:
    """The largest difference of any output, relative to the output's largest number."""
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(ours, theirs, strict=True)]
    if any(a.shape != b.shape for a, b in pairs):
        return math.inf
    return max((float(np.abs(a - b).max() / (np.abs(b).max() or 1.0)) for a, b in pairs if a.size), default=0.0)


def record(results: Sequence[Result], threads: int) -> dict[str, object]:
    """What is kept: where it was measured, and each model's numbers."""
    mean = math.exp(sum(math.log(r.ratio) for r in results) / len(results))
    return {"machine": platform.machine(), "cpu": host_target().cpu, "threads": threads,
            "onnxruntime": ort.__version__, "geometric_mean": round(mean, 3),
            "models": [{k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in asdict(r).items()}
                       for r in results]}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dim", action="append", default=[], metavar="NAME=SIZE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    dims = {name: int(size) for name, _, size in (item.partition("=") for item in args.dim)}
    results: list[Result] = []
    for path in sorted(args.folder.rglob("*.onnx")):
        name = named(path, args.folder)
        if args.only and not any(word in name for word in args.only):
            continue
        try:
            result = measured(path, name, dims, args.threads, args.rounds)
        except ChainruleError as error:
            print(f"{name:28} refused: {error.cause}", file=sys.stderr)
            continue
        results.append(result)
        print(f"{name:28} {result.ours_ms:9.3f} ms, onnxruntime {result.peer_ms:9.3f} ms, ratio {result.ratio:.3f}, "
              f"difference {result.difference:.1e}", file=sys.stderr if args.json else sys.stdout)  # fmt: skip
    if results:
        found = record(results, args.threads)
        print(json.dumps(found, indent=1) if args.json else f"geometric mean {found['geometric_mean']}")
    return 0 if results else 1


if __name__ == "__main__":
    raise SystemExit(main())
