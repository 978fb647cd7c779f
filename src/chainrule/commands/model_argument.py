"""The MODEL argument that most commands take, and the inputs to run it on."""

from __future__ import annotations

import argparse
import importlib.util
import math
import re
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np

import chainrule as cr
from chainrule.errors import ArgumentError, ChainruleError, ShapeError
from chainrule.frontend.trace import Traced
from chainrule.ir.dims import dim_value, solve_dim
from chainrule.ir.graph import input_name
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
    dims: dict[str, int]
    path: Path | None = None

    def inputs(self, seed: int = 0) -> list[np.ndarray]:
        """Seeded arrays for the inputs at these sizes."""
        rng = np.random.default_rng(seed)
        return [random_array(v.tensor, self.dims, rng) for v in self.traced.graph.by_role("input")]

    @contextmanager
    def at_its_sizes(self) -> Generator[None]:
        """What does not fit is told with the sizes that were chosen."""
        try:
            yield
        except ShapeError as error:
            if self.dims:
                chosen = ", ".join(f"{name}={size}" for name, size in self.dims.items())
                error.notes = (*error.notes, f"sizes: {chosen} (--dim NAME=SIZE chooses others)")
            raise


def load(arguments: argparse.Namespace) -> Loaded:
    """The model that the arguments name. Raises ArgumentError with what to write instead."""
    from chainrule.compiler import traced_of

    model, specs, name = find_model(arguments)
    traced = traced_of(model, specs, {}, None)
    dims = dict.fromkeys(traced.graph.symbols, 1) | stated_sizes(parse_dims(arguments.dim), traced.graph.symbols)
    return Loaded(name, traced, dims, Path(arguments.model) if _is_onnx(arguments.model) and not specs else None)


def stated_sizes(stated: Mapping[str, int], symbols: Sequence[str]) -> dict[str, int]:
    """The sizes by the model's own symbols; a name that a file spells with other characters ("dim.1") means dim_1."""
    found: dict[str, int] = {}
    for name, size in stated.items():
        own = name if name in symbols else re.sub(r"\W", "_", name, flags=re.ASCII)
        if own not in symbols:
            raise ArgumentError(f"--dim: the model has no size {name}",
                                help="its symbolic sizes: " + (", ".join(symbols) or "none"))  # fmt: skip
        found[own] = size
    return found


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
            wrong = "it is a folder" if Path(text).is_dir() else "there is no such file"
            raise ArgumentError(f"{text}: {wrong}", help="check the path")
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
    """The inputs from NAME=FILE.npy, FILE.npz or FILE.npy in order; seeded random ones where none is given.

    Sizes that the arrays have are those of the model from here on.
    """
    given = _given(loaded.traced.input_names, texts)
    for value in loaded.traced.graph.by_role("input"):
        array = given.get(input_name(value))
        for dim, size in zip(value.shape, () if array is None else array.shape, strict=False):
            solved = solve_dim(dim, size, {})
            if solved is not None:
                loaded.dims[solved[0]] = solved[1]
    return [given.get(n, r) for n, r in zip(loaded.traced.input_names, loaded.inputs(seed), strict=True)]


def _given(names: Sequence[str], texts: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of files by the inputs they are for."""
    given: dict[str, np.ndarray] = {}
    for text in texts:
        name, equals, file = text.rpartition("=")
        array = _read(Path(file if equals else text))
        left = [n for n in names if n not in given]
        if isinstance(array, dict):
            given |= array
        elif equals:
            given[name] = array
        elif left:
            given[left[0]] = array
        else:
            raise ArgumentError(f"{file}: every input has its array already", help=_inputs(names))
    unknown = given.keys() - set(names)
    if unknown:
        raise ArgumentError(f"{sorted(unknown)[0]} is not an input", help=_inputs(names))
    return given


def _inputs(names: Sequence[str]) -> str:
    return "the inputs are " + ", ".join(names)


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
