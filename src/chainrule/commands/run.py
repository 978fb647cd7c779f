"""`chainrule run`: runs a model on arrays from files, or on seeded random ones, and sums its outputs up."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from chainrule.commands.model_argument import add_model_arguments, load, read_inputs
from chainrule.errors import ArgumentError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The inputs, the backend and where to put the outputs."""
    add_model_arguments(parser)
    parser.add_argument("--input", "-i", action="append", default=[], metavar="[NAME=]FILE",
                        help="an .npy file, or an .npz file of inputs by name; else random")  # fmt: skip
    parser.add_argument("--output", "-o", metavar="FILE", help="write the outputs to an .npz file")
    parser.add_argument("--backend", default="llvm", help="llvm (default), reference or onnxruntime")
    parser.add_argument("--threads", type=int, help="threads of one call (default: all cores)")


def run(arguments: argparse.Namespace) -> int:
    """Prints type, range and mean of every output."""
    import chainrule as cr

    loaded = load(arguments)
    inputs = read_inputs(loaded, arguments.input, arguments.seed)
    made = cr.compile(loaded.traced, backend=arguments.backend, threads=arguments.threads)
    with loaded.at_its_sizes():
        found = made.run(inputs)
    outputs = dict(zip(loaded.traced.graph.output_names or ("output",), found, strict=True))
    rows = {name: summary(array) for name, array in outputs.items()}
    if arguments.output:
        _save(Path(arguments.output), outputs)
    if arguments.json:
        print(json.dumps(rows))
        return 0
    for name, row in rows.items():
        print(
            f"{name}: {row['dtype']}{row['shape']}  "
            + ("  ".join(f"{k} {row[k]:.6g}" for k in ("min", "max", "mean") if k in row) or "empty")
        )
    return 0


def summary(array: np.ndarray) -> dict[str, object]:
    """dtype, shape, and the range of the numbers when there are any."""
    row: dict[str, object] = {"dtype": array.dtype.name, "shape": list(array.shape)}
    if array.size:
        wide = array.astype(np.float64)
        row |= {"min": float(wide.min()), "max": float(wide.max()), "mean": float(wide.mean())}
        row["finite"] = bool(np.isfinite(wide).all())
    return row


def _save(path: Path, outputs: dict[str, np.ndarray]) -> None:
    """Writes beside the file first, so that an error leaves an old file whole."""
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            np.savez(file, **outputs)  # type: ignore[arg-type]
        temporary.replace(path)
    except OSError as problem:
        raise ArgumentError(f"{path}: it cannot be written: {problem.strerror}",
                            help="check that the folder exists and is yours to write") from problem  # fmt: skip
    finally:
        temporary.unlink(missing_ok=True)
