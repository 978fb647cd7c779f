"""Errors of the frontend point at the user's own line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from chainrule import loc as locations
from chainrule.errors import ChainruleError

SomeError = TypeVar("SomeError", bound=ChainruleError)


def error(kind: type[SomeError], cause: str, *, notes: Sequence[str] = (), help: str = "") -> SomeError:
    """An error of this kind at the innermost line that is not chainrule's own."""
    places = locations.here()
    return kind(cause, loc=places[0] if places else None, notes=notes, help=help)


@contextmanager
def located() -> Iterator[None]:
    """Within this context, an error that was raised without a place gets the innermost user line of its traceback.

    Builders that refuse an argument before any node is built raise such errors.
    """
    try:
        yield
    except ChainruleError as problem:
        if problem.loc is None:
            problem.loc = locations.of_traceback(problem.__traceback__)
        raise
