"""Compiled programs as files that need no Python: a shared object or object file, a C header, perhaps weights."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.errors import ArgumentError, NotSupported
from chainrule.frontend.checkpoint import PathLike, write_atomically
from chainrule.frontend.places import error

if TYPE_CHECKING:
    from chainrule.backends.llvm.aot import NativeProgram


def save_native(program: object, path: PathLike, weight_names: Sequence[str], *, dims: Mapping[str, int] | None = None,
                weights: str = "embedded", name: str | None = None) -> tuple[Path, ...]:  # fmt: skip
    """Writes a program of the LLVM backend as native code and returns the files that were written.

    path: NET.so (a shared object, x86-64) or NET.o (an object to be linked); NET.h is written beside it. dims: a number
    for each symbolic size. weights: "embedded" in the code, or "file": NET.weights, which the caller reads or maps and
    passes. name: the prefix of the C functions, by default the file's. Each file is replaced as a whole or not at all.

    Raises ArgumentError for another ending, a missing size or a name that C does not take; NotSupported for a program
    of another backend and for data that one shared object cannot hold.
    """
    from chainrule.backends.llvm.aot import native_program
    from chainrule.backends.llvm.c_header import header_text
    from chainrule.backends.llvm.elf import shared_object
    from chainrule.backends.llvm.executable import LlvmExecutable
    from chainrule.backends.llvm.staged import StagedExecutable

    place = Path(os.fspath(path))
    if place.suffix not in (".so", ".o"):
        raise error(ArgumentError, f"save: {place.name} ends in neither .so nor .o", help='net.save("net.so")')
    if weights not in ("embedded", "file"):
        raise error(ArgumentError, f"save: weights={weights!r}", help='use "embedded" or "file"')
    if isinstance(program, StagedExecutable):
        raise error(NotSupported, "save: a size follows from data, and native files have fixed sizes",
                    help="save the parts before and behind that op as programs of their own")  # fmt: skip
    if not isinstance(program, LlvmExecutable):
        raise error(NotSupported, "save: only programs of the llvm backend are native code",
                    help='compile with backend="llvm"')  # fmt: skip
    made = native_program(program, name or place.stem, weight_names, dims or {}, weights == "embedded")
    code = made.code if place.suffix == ".o" else shared_object(made.code, made.exports, place.name)
    apart = place.with_suffix(".weights")
    files = _files(made, place, code, header_text(made, "" if made.embedded else apart.name), apart)
    for file, data in files:
        write_atomically(file, data)
    return tuple(file for file, _ in files)


def _files(made: NativeProgram, place: Path, code: bytes, header: str, apart: Path) -> list[tuple[Path, bytes]]:
    files = [(place, code), (place.with_suffix(".h"), header.encode())]
    return files if made.embedded or not made.weights else [*files, (apart, made.weights)]


__all__ = ["save_native"]
