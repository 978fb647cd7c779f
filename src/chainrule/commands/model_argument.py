"""The MODEL argument that most commands take, and the inputs to run it on."""

from __future__ import annotations

import argparse
import importlib.util
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np

import chainrule as cr
from chainrule.errors import ArgumentError, ChainruleError
from chainrule.frontend.trace import Traced
from chainrule.ir.dims import dim_value
from chainrule.ir.types import TensorType, tensor
from chainrule.loc import Loc, of_traceback

LARGEST_INPUT = 1 << 32  # bytes of random numbers, which are made as f64
_SPEC = re.compile(r"(?:(\w+)=)?(\w+)\[([^\]]*)\]\Z")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL, --spec and --dim."""
    parser.add_argument(
        "model", metavar="MODEL", help="a model's name (lenet, mlp, digits, conv3x3), FILE.py:NAME, or FILE.onnx"
    )
    parser.add_argument("--spec", action="append", default=[], metavar="[NAME=]f32[N,1,28,28]",
                        help="the type of an input, once for each; needed for FILE.py:NAME")  # fmt: skip
    parser.add_argument(
        "--dim", action="append", default=[], metavar="N=8", help="a value for a symbolic size (else 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of random weights and inputs (default 0)")


@dataclass(frozen=True)
class Loaded:
    """A model from the command line, traced: what to compile, and values for its symbolic sizes.

    path: the ONNX file that it is from.
    """

    name: str
    traced: Traced
    dims: Mapping[str, int]
    path: Path | None = None

    def inputs(self, seed: int = 0) -> list[np.ndarray]:
        """Seeded arrays for the inputs at these sizes."""
        rng = np.random.default_rng(seed)
        return [random_array(v.tensor, self.dims, rng) for v in self.traced.graph.by_role("input")]


def load(arguments: argparse.Namespace) -> Loaded:
    """The model that the arguments name. Raises ArgumentError with what to write instead."""
    from chainrule.compiler import traced_of

    model, specs, name = find_model(arguments)
    traced = traced_of(model, specs, {}, None)
    dims = dict.fromkeys(traced.graph.symbols, 1) | parse_dims(arguments.dim)
    unknown = dims.keys() - set(traced.graph.symbols)
    if unknown:
        known = ", ".join(traced.graph.symbols) or "none"
        raise ArgumentError(f"--dim: the model has no size {sorted(unknown)[0]}", help=f"its symbolic sizes: {known}")
    return Loaded(name, traced, dims, Path(arguments.model) if _is_onnx(arguments.model) and not specs else None)


def _is_onnx(text: str) -> bool:
    return text.endswith(".onnx")


def find_model(arguments: argparse.Namespace) -> tuple[Any, tuple[Any, ...], str]:
    """The model itself that the arguments name, its specs, and its name."""
    cr.manual_seed(arguments.seed)
    model, specs, name = _find(arguments.model, [parse_spec(s) for s in arguments.spec])
    return model, tuple(specs), name


def find_step(text: str) -> cr.Step | None:
    """The training step that FILE.py:NAME names, or a function of that name returns; None for anything else."""
    file, _, attribute = text.rpartition(":")
    found = _from_file(Path(file), attribute) if file.endswith(".py") and Path(file).is_file() else None
    if callable(found) and not isinstance(found, cr.Step) and getattr(found, "__annotations__", {}).get("return"):
        returned = found.__annotations__["return"]
        found = found() if returned is cr.Step or str(returned).rpartition(".")[2] == "Step" else None
    return found if isinstance(found, cr.Step) else None


def _find(text: str, specs: list[Any]) -> tuple[Any, Sequence[Any], str]:
    from chainrule.models import MODELS

    if text in MODELS:
        entry = MODELS[text]
        return entry.build(), tuple(specs) or entry.specs, text
    if _is_onnx(text):
        if not Path(text).is_file():
            raise ArgumentError(f"{text}: there is no such file", help="check the path")
        return cr.load_onnx(text), tuple(specs), Path(text).stem
    file, colon, attribute = text.rpartition(":")
    if colon and file.endswith(".py"):
        found = _from_file(Path(file), attribute)
        if not specs and not hasattr(found, "traced"):
            raise ArgumentError(f"{text} needs the types of its inputs", help="e.g. --spec 'f32[N,3,32,32]'")
        return found, tuple(specs), attribute
    raise ArgumentError(
        f"{text} is not a model", help="give one of " + ", ".join(MODELS) + ", FILE.py:NAME or FILE.onnx"
    )


def _from_file(path: Path, attribute: str) -> Any:
    if not path.is_file():
        raise ArgumentError(f"{path}: there is no such file", help="check the path: FILE.py:NAME")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except ChainruleError:
        raise
    except Exception as problem:  # whatever a file of the user's does wrong, its line is the answer
        raise ArgumentError(f"{path} cannot be loaded: {type(problem).__name__}: {_first_line(problem)}",
                            loc=_place(problem), help="run it with python to see more") from problem  # fmt: skip
    found = getattr(module, attribute, None)
    if found is None:
        raise ArgumentError(
            f"{path} has no {attribute}", help="it has: " + ", ".join(n for n in vars(module) if n[0] != "_")
        )
    return found() if isinstance(found, type) else found


def _first_line(problem: Exception) -> str:
    text = problem.msg if isinstance(problem, SyntaxError) else str(problem)
    return text.split("\n")[0]


def _place(problem: Exception) -> Loc | None:
    """Where a file of the user's failed to load."""
    if isinstance(problem, SyntaxError) and problem.filename and problem.lineno:
        start = max((problem.offset or 1) - 1, 0)
        return Loc(problem.filename, problem.lineno, start, start + 1)
    return of_traceback(problem.__traceback__)


def parse_spec(text: str) -> Any:
    """The spec that a text such as "x=f32[N,1,28,28]" means."""
    match = _SPEC.match(text.replace(" ", ""))
    if match is None:
        raise ArgumentError(f"--spec {text!r} is not a type", help="write f32[N,1,28,28], or x=f32[N,1,28,28]")
    dims = [int(d) if d.lstrip("-").isdigit() else d for d in match[3].split(",") if d]
    checked = tensor(match[2], dims)
    return cr.spec(*checked.shape, dtype=match[2], name=match[1])


def parse_dims(texts: Sequence[str]) -> dict[str, int]:
    """{"N": 8} from ["N=8"]."""
    found: dict[str, int] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        if not equals or not number.isdigit():
            raise ArgumentError(f"--dim {text!r} is not a size", help="write --dim N=8")
        found[name] = int(number)
    return found


def random_array(type: TensorType, dims: Mapping[str, int], rng: np.random.Generator) -> np.ndarray:
    """A seeded array of a type: Gaussian floats, integers 0 or 1."""
    shape = [dim_value(d, dims) for d in type.shape]
    if math.prod(shape) * 8 > LARGEST_INPUT:
        raise ArgumentError(f"an input would have the shape {shape}", help="choose smaller sizes: --dim N=8")
    if type.dtype.is_float:
        return rng.standard_normal(shape).astype(type.dtype.numpy)
    return rng.integers(0, 2, shape).astype(type.dtype.numpy)


def read_inputs(loaded: Loaded, texts: Sequence[str], seed: int) -> list[np.ndarray]:
    """The inputs from NAME=FILE.npy, FILE.npz or FILE.npy in order; seeded random ones where none is given."""
    given: dict[str, np.ndarray] = {}
    names = loaded.traced.input_names
    for text in texts:
        name, equals, file = text.rpartition("=")
        array = _read(Path(file if equals else text))
        if isinstance(array, dict):
            given |= array
        else:
            given[name if equals else next((n for n in names if n not in given), "?")] = array
    unknown = given.keys() - set(names)
    if unknown:
        raise ArgumentError(f"{sorted(unknown)[0]} is not an input", help="the inputs are " + ", ".join(names))
    return [given.get(n, r) for n, r in zip(names, loaded.inputs(seed), strict=True)]


def _read(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    try:
        found: Any = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return np.asarray(cast(Any, found))
        return {name: found[name] for name in found.files}
    except OSError as problem:
        why = problem.strerror or problem
        raise ArgumentError(f"{path}: it cannot be read: {why}", help="check the path") from problem
    except (ValueError, EOFError, KeyError, BadZipFile) as problem:
        cause = f"{path}: it is no .npy or .npz file of numbers"
        raise ArgumentError(cause, help="write it with numpy.save") from problem
