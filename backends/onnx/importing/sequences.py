"""Sequences and optionals of ONNX: they are taken apart when the model is loaded, and no graph of ours holds one.

A sequence is known part by part: a single element, or as many as the first axis of an array is long, which is how
elements in a number that is not known are held (all of one shape). An optional is what it holds, or Absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.backends.onnx.node import Entry
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import Dim, DimExpr
from chainrule.ir.graph import Value
from chainrule.ir.op import Array
from chainrule.ir.types import DType, f32
from chainrule.ops import shaping as sh
from chainrule.ops.indexing import gather


@dataclass(frozen=True)
class Nesting:
    """How an input or an output of a model is held in tensors: as one, as a sequence of them, or not at all.

    many: of each part of a sequence whether it is as many elements as the first axis is long; None for a tensor.
    """

    many: tuple[bool, ...] | None = None
    absent: bool = False

    def built(self, arrays: Iterator[Array]) -> Array | list[Array] | None:
        """The value out of the next arrays."""
        if self.absent:
            return None
        if self.many is None:
            return next(arrays)
        parts = [(next(arrays), many) for many in self.many]
        return [np.asarray(row) for part, many in parts for row in (part if many else [part])]


TENSOR = Nesting()


class Absent(Entry):
    """An optional that holds nothing."""

    def __init__(self) -> None:
        super().__init__(None, None, f32)

    def value(self, role: str = "param") -> Value:
        """There is none."""
        raise ModelError("an optional that holds nothing is read", help="ask OptionalHasElement before")


@dataclass(frozen=True)
class Part:
    """One element, or, where it is many, those along the first axis of an array."""

    entry: Entry
    many: bool = False

    def rows(self) -> Value:
        """Its elements along a first axis."""
        value = self.entry.value()
        return value if self.many else sh.unsqueeze(value, 0)


class Listed(Entry):
    """A sequence. holder: stands for elements before these, which a body cannot see: it may only append.

    whole: gives all elements along a first axis, where a body sees the sequence from outside.
    """

    def __init__(self, parts: Sequence[Part], dtype: DType, holder: object = None,
                 whole: Callable[[], Value] | None = None) -> None:  # fmt: skip
        super().__init__(None, None, dtype)
        self._parts = tuple(parts)
        self.holder = holder
        self._whole = whole

    def value(self, role: str = "param") -> Value:
        """A sequence is no tensor."""
        raise NotSupported("a sequence stands where a tensor must", help="make one of it: ConcatFromSequence")

    @property
    def parts(self) -> tuple[Part, ...]:
        """All elements. Raises NotSupported where a body may only append."""
        if self.holder is not None:
            raise NotSupported("a loop reads the sequence that it appends to", help="carry the elements as a tensor")
        return self._parts

    @property
    def appended(self) -> tuple[Part, ...]:
        """The elements behind those that the holder stands for."""
        return self._parts

    @property
    def singles(self) -> list[Entry] | None:
        """The elements one by one; None where their number is not known."""
        return None if any(part.many for part in self.parts) else [part.entry for part in self.parts]

    def length(self) -> Dim:
        """How many elements there are."""
        count: Dim = 0
        for part in self.parts:
            count = count + (part.entry.value().shape[0] if part.many else 1)
        return count

    def rows(self) -> Value:
        """All elements along a first axis. Raises NotSupported where their shapes differ, ModelError for none."""
        if self._whole is not None:
            return self._whole()
        if not self.parts:
            raise ModelError("a sequence without elements is read")
        rows = [part.rows() for part in self.parts]
        if any(r.shape[1:] != rows[0].shape[1:] for r in rows):
            shapes = ", ".join(dict.fromkeys(sh.listed(r.shape[1:]) for r in rows))
            raise NotSupported(f"the elements of a sequence have different shapes: {shapes}",
                               help="which of them is meant must be known when the model is loaded")  # fmt: skip
        return rows[0] if len(rows) == 1 else sh.concat(rows, 0)

    def at(self, position: Array | None, index: Callable[[], Value]) -> Entry | Value:
        """The element at a position, from the end where it is negative; `index` gives it where it is not known."""
        singles = self.singles
        if position is not None and singles is not None:
            return singles[_place(position, len(singles))]
        rows, length = self.rows(), self.length()
        if position is not None and not isinstance(length, DimExpr):
            at = _place(position, length)
            return sh.reshape(sh.narrow(rows, 0, at, 1), rows.shape[1:])
        return gather(rows, sh.reshape(index(), ()), 0)

    def inserted(self, entry: Entry, position: Array | None, at_end: bool) -> Listed:
        """With one more element, at the end or before a position that is known."""
        if at_end:
            return Listed((*self._parts, Part(entry)), entry.dtype, self.holder)
        parts, place = self._single_parts(position, 1)
        return Listed((*parts[:place], Part(entry), *parts[place:]), entry.dtype)

    def erased(self, position: Array | None) -> Listed:
        """Without the element at a position that is known."""
        parts, place = self._single_parts(position, 0)
        return Listed((*parts[:place], *parts[place + 1 :]), self.dtype)

    def through(self, seen: Callable[[Entry], Entry], inside: Callable[[Value], Value]) -> Listed:
        """As the body of a loop or a branch sees it. seen: an entry there; inside: a value there."""
        whole = (lambda: inside(self.rows())) if len(self._parts) > 1 else None
        parts = [Part(seen(part.entry), part.many) for part in self._parts]
        return Listed(parts, self.dtype, self.holder, whole)

    def _single_parts(self, position: Array | None, room: int) -> tuple[tuple[Part, ...], int]:
        """The parts, each one element, and a position among so many and `room` more."""
        if position is None or self.singles is None:
            raise NotSupported("where a sequence changes is not known when the model is loaded")
        return self.parts, _place(position, len(self.parts), room)


def _place(position: Array, length: int, room: int = 0) -> int:
    """A position from the front; `room` places behind the end are positions too. Raises ModelError for no such one."""
    at = position.reshape(-1)[0] if position.size == 1 else None
    if not isinstance(at, int | np.integer) or not -length <= at < length + room:
        raise ModelError(f"a sequence of {length} elements has none at {position.tolist()}")
    return int(at) + length if at < 0 else int(at)
