"""Where in the user's source a value came from.

The frontend and the graph builder ask `here()` for the innermost frame outside of chainrule. Passes that build nodes on
behalf of others set the place with `using(loc)`, so that a gradient node points at the forward line it belongs to.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from types import CodeType, FrameType, TracebackType


@dataclass(frozen=True, slots=True)
class Loc:
    """One place in a source file. line counts from 1; columns count from 0, end_column is one past the last.

    `name` is a label for places that are not Python source (an ONNX node); then file is the model's path and line 0.
    """

    file: str
    line: int
    column: int = 0
    end_column: int = 0
    name: str = ""

    def __str__(self) -> str:
        if self.line == 0:
            return f"{self.file}: {self.name}" if self.file else self.name
        return f"{os.path.basename(self.file)}:{self.line}:{self.column + 1}"

    def short(self) -> str:
        """file:line without the column, as the graph text prints it."""
        return f"{os.path.basename(self.file)}:{self.line}" if self.line else (self.name or self.file)


def parsed(text: str, file: str = "") -> Loc:
    """The place that `short` prints so. file: of the place, where the text is no line of source but a name."""
    source, _, line = text.rpartition(":")
    number = int(line) if line.isascii() and line.isdigit() and len(line) < 10 else 0
    found = Loc(source, number)
    return found if number and found.short() == text else Loc(file, 0, name=text)


_current: ContextVar[tuple[Loc, ...] | None] = ContextVar("chainrule_loc", default=None)


@contextmanager
def using(locs: tuple[Loc, ...]) -> Generator[None]:
    """Within this context, nodes are built at these places instead of at the caller's line."""
    token = _current.set(locs)
    try:
        yield
    finally:
        _current.reset(token)


def here() -> tuple[Loc, ...]:
    """The place to give to a node that is built now: the one set by `using`, else the user's own line."""
    fixed = _current.get()
    if fixed is not None:
        return fixed
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]  # the only way to a caller
    while frame is not None and _is_our_frame(frame):
        if frame.f_code.co_name == "main" and frame.f_code.co_filename.endswith("cli.py"):
            return ()  # what called the command line is a start script, no line that anyone wrote
        frame = frame.f_back
    return () if frame is None else (of_frame(frame),)


def of_frame(frame: FrameType) -> Loc:
    """The location that a frame is executing, with columns."""
    code = frame.f_code
    line, column, end = _position(code, frame.f_lasti)
    return Loc(code.co_filename, line or frame.f_lineno, column, end)


def of_traceback(traceback: TracebackType | None) -> Loc | None:
    """The innermost place of a traceback that is not chainrule's own: where the user's code raised."""
    found: Loc | None = None
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not _is_our_frame(traceback.tb_frame):
            line, column, end = _position(code, traceback.tb_lasti)
            found = Loc(code.co_filename, line or traceback.tb_lineno, column, end)
        traceback = traceback.tb_next
    return found


_positions: dict[tuple[CodeType, int], tuple[int, int, int]] = {}


def _position(code: CodeType, lasti: int) -> tuple[int, int, int]:
    key = (code, lasti)
    found = _positions.get(key)
    if found is None:
        found = (0, 0, 0)
        for i, (line, end_line, column, end_column) in enumerate(code.co_positions()):
            if i * 2 == lasti:
                same_line = end_line == line
                found = (line or 0, column or 0, (end_column or 0) if same_line else 0)
                break
        if len(_positions) > 100_000:
            _positions.clear()
        _positions[key] = found
    return found


_ours: dict[str, bool] = {}


def _is_our_frame(frame: FrameType) -> bool:
    """True for a frame of chainrule's own code, that which dataclasses made for it included."""
    filename = frame.f_code.co_filename
    if filename == "<string>":
        return str(frame.f_globals.get("__name__")).partition(".")[0] == "chainrule"
    return _is_ours(filename)


def _is_ours(filename: str) -> bool:
    known = _ours.get(filename)
    if known is None:
        path = os.path.realpath(filename)
        is_model = path == os.path.join(_roots()[0], "models.py")  # models that ship with us are written as users do
        known = _ours[filename] = (path.startswith(_roots()) and not is_model) or filename.startswith("<frozen")
    return known


@cache
def _roots() -> tuple[str, ...]:
    """The real folders of this package: its own and those that links lead to."""
    package = os.path.dirname(os.path.abspath(__file__))
    folders = [package, *(os.path.join(package, name) for name in ("frontend", "passes", "backends"))]
    return tuple(os.path.realpath(folder) + os.sep for folder in folders)
