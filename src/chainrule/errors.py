"""Every error that a user can see derives from ChainruleError and says where it came from and how to mend it.

An error is rendered in one form: kind and cause, the user's source line with a caret, the values
that took part, and a line of help. The excerpt is read lazily, when the message is asked for.
"""

from __future__ import annotations

import linecache
from collections.abc import Sequence

from chainrule.loc import Loc


class ChainruleError(Exception):
    """The base of all errors of chainrule.

    cause: one sentence, "op: what is wrong". loc: the user's line, if known. notes: lines about the values that took
    part ("x: f32[8,4]  from model.py:12"). help: what to do. apart: two sizes that had to be equal and may be.
    """

    def __init__(self, cause: str, *, loc: Loc | None = None, notes: Sequence[str] = (), help: str = "",
                 apart: tuple[object, object] | None = None) -> None:  # fmt: skip
        super().__init__(cause)
        self.cause = cause
        self.loc = loc
        self.notes = tuple(notes)
        self.help = help
        self.apart = apart

    def __str__(self) -> str:
        lines = [self.cause]
        if self.loc is not None:
            lines += excerpt(self.loc)
        lines += [f"   {note}" for note in self.notes]
        if self.help:
            lines.append(f"   help: {self.help}")
        return "\n".join(lines)


class ShapeError(ChainruleError, ValueError):
    """The shapes of the arguments do not fit together."""


class DTypeError(ChainruleError, TypeError):
    """The element types of the arguments do not fit the operation."""


class ArgumentError(ChainruleError, ValueError):
    """A call has a wrong argument: a bad name, number, option or value."""


class ModelError(ChainruleError, ValueError):
    """A file is not a valid model or weight file."""


class NumericsError(ChainruleError, ArithmeticError):
    """A value that was asked about is not finite."""


class NotSupported(ChainruleError, NotImplementedError):
    """This is not built. The message names the op and the way round."""


def excerpt(loc: Loc) -> list[str]:
    """The lines that show a location: an arrow line, then the source line with carets where it can be read."""
    lines = [f"  --> {loc}"]
    source = linecache.getline(loc.file, loc.line).rstrip("\n")
    if not source.strip():
        return lines
    number = f"{loc.line:>4}"
    lines.append(f" {number} | {source}")
    start = loc.column
    end = loc.end_column if loc.end_column > start else len(source)
    lines.append(f" {' ' * len(number)} | {' ' * start}{'^' * max(1, min(end, len(source)) - start)}")
    return lines
