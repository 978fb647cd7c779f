"""Nested tuples, lists, dicts, named tuples and dataclasses are flattened to leaves, and built again from them.

None stands for itself and has no leaf. Dicts keep the order of their keys. Anything else is a leaf.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.errors import ArgumentError


@dataclass(frozen=True)
class Structure:
    """The form of a nested value without its leaves.

    kind: "leaf", "none", or the class of the container; keys: indices, dict keys or field names of the children.
    """

    kind: type | str
    keys: tuple[object, ...] = ()
    children: tuple[Structure, ...] = ()

    @property
    def count(self) -> int:
        """The number of leaves."""
        return 1 if self.kind == "leaf" else sum(child.count for child in self.children)

    def paths(self, prefix: str = "") -> Iterator[str]:
        """One dotted name for each leaf: "a.0", "" for a bare leaf."""
        if self.kind == "leaf":
            yield prefix
        for key, child in zip(self.keys, self.children, strict=True):
            yield from child.paths(f"{prefix}.{key}" if prefix else str(key))

    def build(self, leaves: Sequence[object]) -> object:
        """The nested value with these leaves in the order of `flatten`."""
        assert len(leaves) == self.count, f"{len(leaves)} leaves for {self.count}"
        return self._build(iter(leaves))

    def _build(self, leaves: Iterator[object]) -> object:
        if self.kind == "leaf":
            return next(leaves)
        if self.kind == "none":
            return None
        assert isinstance(self.kind, type)
        parts = [child._build(leaves) for child in self.children]
        if issubclass(self.kind, dict):
            return dict(zip(self.keys, parts, strict=True))
        if dataclasses.is_dataclass(self.kind):
            return self.kind(**{str(key): part for key, part in zip(self.keys, parts, strict=True)})
        if hasattr(self.kind, "_fields"):
            return self.kind(*parts)
        return tuple(parts) if issubclass(self.kind, tuple) else parts

    def leaves_of(self, value: object, what: str = "the arguments") -> list[object]:
        """The leaves of a value of this very form. Raises ArgumentError that says where it differs."""
        found: list[object] = []
        self._collect(value, what, found)
        return found

    def _collect(self, value: object, path: str, found: list[object]) -> None:
        if self.kind == "leaf":
            found.append(value)
            return
        kind, keys, parts = _open(value)
        if kind != self.kind and not (self._is_sequence() and kind in (tuple, list)):
            raise ArgumentError(f"{path}: {self.describe()} was expected, {_described(kind)} was given",
                                help="arguments are nested as the specs are")  # fmt: skip
        if set(keys) != set(self.keys):
            raise ArgumentError(f"{path}: entries {_listed(self.keys)} were expected, {_listed(keys)} were given",
                                help="arguments are nested as the specs are")  # fmt: skip
        by_key = dict(zip(keys, parts, strict=True))
        for key, child in zip(self.keys, self.children, strict=True):
            child._collect(by_key[key], f"{path}.{key}", found)

    def _is_sequence(self) -> bool:
        return self.kind in (tuple, list)

    def describe(self) -> str:
        """What a value of this form is called: "tuple of 2", "dict", "Point"."""
        return _described(self.kind) + (f" of {len(self.children)}" if self._is_sequence() else "")


@dataclass(frozen=True)
class Rows(Structure):
    """A list; of those leaves that are `many` every row is an element of it."""

    many: tuple[bool, ...] = ()

    def _build(self, leaves: Iterator[object]) -> object:
        parts = [(next(leaves), many) for many in self.many]
        return [row for part, many in parts for row in (_rows(part) if many else [part])]


def rows(many: Sequence[bool]) -> Rows:
    """The form of a list out of so many leaves."""
    return Rows(list, tuple(range(len(many))), (LEAF,) * len(many), tuple(many))


def _rows(part: object) -> Sequence[object]:
    return [np.asarray(row) for row in part] if isinstance(part, np.ndarray) else list(part)  # type: ignore[call-overload]


LEAF = Structure("leaf")
NOTHING = Structure("none")


def flatten(value: object) -> tuple[list[object], Structure]:
    """The leaves of a nested value in order, and its form."""
    leaves: list[object] = []
    return leaves, _flatten(value, leaves)


def _flatten(value: object, leaves: list[object]) -> Structure:
    kind, keys, parts = _open(value)
    if kind == "leaf":
        leaves.append(value)
    return Structure(kind, keys, tuple(_flatten(part, leaves) for part in parts))


def _open(value: object) -> tuple[type | str, tuple[object, ...], Sequence[object]]:
    """One level of a nested value: its kind, its keys and its parts."""
    if value is None:
        return "none", (), ()
    if isinstance(value, dict):
        return dict, tuple(value.keys()), list(value.values())  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value), tuple(range(len(value))), value
    if isinstance(value, tuple | list):
        return tuple if isinstance(value, tuple) else list, tuple(range(len(value))), value
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and not getattr(value, "is_leaf", False):
        names = tuple(item.name for item in dataclasses.fields(value))
        return type(value), names, [getattr(value, name) for name in names]
    return "leaf", (), ()


def _described(kind: type | str) -> str:
    return {"leaf": "one value", "none": "None"}.get(kind, kind) if isinstance(kind, str) else kind.__name__


def _listed(keys: Sequence[object]) -> str:
    return ", ".join(map(str, keys)) or "none"
