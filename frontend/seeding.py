"""One seeded generator feeds the initialisers and the seeds of random keys.

It starts from seed 0, so a program gives the same numbers each time it runs; `manual_seed` sets it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.frontend.places import error

_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
_state: dict[str, np.random.Generator] = {}


def manual_seed(seed: int) -> np.random.Generator:
    """Sets the generator that initialisers and random keys are drawn from, and returns it."""
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise error(ArgumentError, f"manual_seed: {seed!r} is not a seed", help="use a non-negative int")
    with _lock:
        _state["default"] = np.random.Generator(np.random.Philox(seed))
        return _state["default"]


def default_generator() -> np.random.Generator:
    """The generator that initialisers draw from when they are given none."""
    found = _state.get("default")
    return manual_seed(0) if found is None else found


def state() -> Mapping[str, Any]:
    """Where the library's generator stands, for `replayed`."""
    return default_generator().bit_generator.state


@contextmanager
def replayed(drawn: Mapping[str, Any]) -> Iterator[None]:
    """Draws as they were from a state on; afterwards the generator stands where it stood."""
    generator, before = default_generator(), state()
    generator.bit_generator.state = drawn
    try:
        yield
    finally:
        generator.bit_generator.state = before


def fresh_seed() -> int:
    """A seed drawn from the library's generator."""
    return int(default_generator().integers(2**63))
