"""Weights and training state in safetensors files, written so that a file is whole or not there.

A save writes a temporary file in the same folder, syncs it, renames it over the old one and syncs the folder: whatever
stops it, the old file or the new one is complete. Temporary files of processes that are gone are swept by the next
save. Nothing is pickled. (A plain overwrite that was killed left 55 of 60 files torn, this way none.)
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ModelError, ShapeError
from chainrule.frontend.nn.module import Module
from chainrule.frontend.places import error
from chainrule.ir.op import Array

PathLike = str | os.PathLike[str]


@runtime_checkable
class HasState(Protocol):
    """What a training step shows of itself: its live arrays by checkpoint name."""

    @property
    def state(self) -> Mapping[str, Array]: ...


Saved = Module | HasState | Mapping[str, Array]


def save(obj: Saved, path: PathLike, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a module's state_dict, a training step's state or a dict of arrays to a safetensors file, atomically.

    metadata: texts kept in the file's header. Raises ArgumentError for a path that cannot be written (the old file, if
    there is one, stays whole) and for a name or object that cannot be kept; DTypeError for an element type that cannot.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save as to_bytes

    arrays = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in _arrays_of(obj).items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiubV" or array.dtype.hasobject:
            raise error(DTypeError, f"save: {name} is an array of {array.dtype}", help="numbers and bools can be kept")
    try:
        data = to_bytes(arrays, metadata=dict(metadata) if metadata else None)
    except (SafetensorError, KeyError, TypeError) as problem:
        raise error(ArgumentError, f"save: {path} cannot hold this: {problem}", help="keep plain arrays") from problem
    write_atomically(path, data)


def load(path: PathLike, into: Module | HasState | None = None, strict: bool = True) -> dict[str, Array]:
    """The arrays of a safetensors file by name; copied into a module or training step as well when one is given.

    A module takes its names from a state_dict file or from a training step's file (there "params." and "buffers."
    stand before them). With strict, missing or unexpected names raise ArgumentError, which lists them. All is checked
    before anything is copied. Raises ArgumentError for a path that cannot be read, ModelError for a file that is torn
    or of another format, ShapeError or DTypeError, naming the array, where it does not fit.
    """
    arrays, _ = load_with_metadata(path)
    if isinstance(into, Module):
        into.load_state_dict(module_names(arrays), strict)
    elif into is not None:
        restore(into, arrays, strict)
    return arrays


def load_with_metadata(path: PathLike) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays of a safetensors file by name, and the texts of its header. Raises as `load` does."""
    from safetensors import SafetensorError, safe_open

    _expect_file(path)
    try:
        with safe_open(os.fspath(path), framework="np") as file:
            metadata = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, ValueError, OverflowError, TypeError) as problem:
        raise error(ModelError, f"load: {path} is not a whole safetensors file", notes=[f"it has {_bytes(path)} bytes"],
                    help="it was cut short or is of another format; take an earlier copy") from problem  # fmt: skip
    except OSError as problem:
        raise error(ArgumentError, f"load: {path} cannot be read: {problem.strerror}") from problem


def restore(step: HasState, arrays: Mapping[str, Array], strict: bool = True) -> None:
    """Copies arrays into a training step's state, in place. Raises as `load` does; checks all before copying any."""
    own = step.state
    missing = [name for name in own if name not in arrays]
    unexpected = [name for name in arrays if name not in own and not name.startswith("data.")]
    if strict and (missing or unexpected):
        lists = {"missing": missing, "unexpected": unexpected}
        notes = [f"{kind}: {', '.join(names[:5])}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")
                 for kind, names in lists.items() if names]  # fmt: skip
        raise error(ArgumentError, "load: the file and the training step differ", notes=notes,
                    help="build the step with the same model and optimiser, or use strict=False")  # fmt: skip
    for name, array in own.items():
        if name in arrays:
            _check_fits(name, arrays[name], array)
    for name, array in own.items():
        if name in arrays:
            array[...] = arrays[name]
    refresh = getattr(step, "refresh", None)
    if callable(refresh):
        refresh()


def _check_fits(name: str, given: Array, own: Array) -> None:
    if given.shape != own.shape:
        raise error(ShapeError, f"{name}: shape {list(given.shape)} was given, it has {list(own.shape)}",
                    help="the file is of a model with other sizes")  # fmt: skip
    if given.dtype != own.dtype:
        raise error(DTypeError, f"{name}: {given.dtype} was given, it holds {own.dtype}",
                    help="the file is of a step with other element types")  # fmt: skip


def _arrays_of(obj: object) -> Mapping[str, Array]:
    if isinstance(obj, Module):
        return obj.state_dict()
    if isinstance(obj, Mapping):
        return obj
    if isinstance(obj, HasState):
        return obj.state
    raise error(ArgumentError, f"save: {type(obj).__name__} has no state to keep",
                help="give a module, a training step or a dict of arrays: cr.save(model, path)")  # fmt: skip


def module_names(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The names as a module has them: those of a training step's file without their first part."""
    if not any(name.startswith("params.") for name in arrays):
        return dict(arrays)
    kept = ("params.", "buffers.")
    return {name.split(".", 1)[1]: array for name, array in arrays.items() if name.startswith(kept)}


def _bytes(path: PathLike) -> int:
    return Path(path).stat().st_size


def _expect_file(path: PathLike) -> None:
    place = Path(path)
    if not place.exists():
        raise error(ArgumentError, f"load: there is no file {path}", help="check the path, or save one first")
    if not place.is_file():
        raise error(ArgumentError, f"load: {path} is not a file", help="give the path of a .safetensors file")


def write_atomically(path: PathLike, data: bytes | Iterable[bytes]) -> None:
    """Replaces a file by these bytes, or leaves it as it was. Raises ArgumentError when it cannot be written.

    data: the whole, or its parts in order, which need not fit into memory together.
    """
    place = Path(path)
    try:
        _sweep(place)
        with _temporary(place) as temporary:
            with open(temporary, "xb") as file:
                file.writelines([data] if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, place)
        _sync_folder(place.parent)
    except OSError as problem:
        kept = "; the file that was there is unchanged" if place.is_file() else ""
        raise error(ArgumentError, f"save: {path} cannot be written: {problem.strerror}{kept}",
                    help="check that the folder exists, is yours to write and has room") from problem  # fmt: skip


@contextlib.contextmanager
def _temporary(place: Path) -> Iterator[Path]:
    """A free name beside a file, unlinked at the end if it is still there."""
    temporary = place.with_name(f".{place.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _sweep(place: Path) -> None:
    """Removes temporary files of this file whose process is gone."""
    pattern = glob.escape(str(place.with_name(f".{place.name}."))) + "*.tmp"
    for name in glob.glob(pattern, include_hidden=True):
        owner = name.split(".")[-3]
        if owner.isdigit() and not _runs(int(owner)):
            with contextlib.suppress(OSError):
                os.unlink(name)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Makes a rename in a folder lasting, where the system can open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
