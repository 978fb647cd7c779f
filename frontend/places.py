"""Errors of the frontend point at the user's own line."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

from chainrule import loc as locations
from chainrule.errors import ChainruleError

SomeError = TypeVar("SomeError", bound=ChainruleError)


def error(kind: type[SomeError], cause: str, *, notes: Sequence[str] = (), help: str = "") -> SomeError:
    """An error of this kind at the innermost line that is not chainrule's own."""
    places = locations.here()
    return kind(cause, loc=places[0] if places else None, notes=notes, help=help)


class _Located:
    """What `located` gives. It has no state: one object serves every use."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None,
                 traceback: TracebackType | None) -> None:  # fmt: skip
        if isinstance(problem, ChainruleError) and problem.loc is None:
            places = locations.here()
            problem.loc = locations.of_traceback(traceback) or (places[0] if places else None)


_LOCATED = _Located()


def located() -> _Located:
    """Within this context, an error that was raised without a place gets the innermost line that is not chainrule's.

    That is one below the context, in the function that is traced, or else the line that led here.

    Builders that refuse an argument before any node is built raise such errors.
    """
    return _LOCATED
