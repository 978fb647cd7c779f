"""The two forms of an image, channels first or last: which exist, and how one is made of the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value, build, rebuild
from chainrule.ir.types import TensorType
from chainrule.ops.basic import Full
from chainrule.ops.shaping import Expand, reshape, transpose
from chainrule.passes.base import Notes


@dataclass
class Forms:
    """The forms of every node that was visited. native: nodes that were made with their channels last."""

    notes: Notes
    plain: dict[Value, Value] = field(default_factory=dict)
    lasts: dict[Value, Value] = field(default_factory=dict)
    native: set[Value] = field(default_factory=set)

    def first(self, value: Value) -> Value:
        """The value with its channels where the user put them."""
        found = self.plain.get(value)
        if found is None and value in self.lasts:
            self.notes.count("channels put first")
            found = self.plain[value] = to_first(self.lasts[value])
        elif found is None:
            # A reshape of an image with its channels last waits for who uses it: a product may take it as it is.
            found = self.plain[value] = rebuild(value, (self.first(value.inputs[0]),))
        return found

    def last(self, value: Value) -> Value:
        """The value [N, C, *S] with its channels last."""
        found = self.lasts.get(value)
        if found is None:
            if isinstance(value.op, Full):
                found = build(replace(value.op, shape=last_shape(value.shape)))
            elif isinstance(value.op, Expand):
                found = build(Expand(last_shape(value.shape)), self.aligned(value.inputs[0], value.rank))
            else:
                self.notes.count("channels put last")
                found = to_last(self.first(value))
            self.lasts[value] = found
        return found

    def aligned(self, value: Value, rank: int) -> Value:
        """A value that broadcasts against [N, C, *S], as one that broadcasts against [N, *S, C]."""
        if value.rank == rank:
            return self.last(value)
        plain = self.first(value)
        if value.rank == 0:
            return plain
        return to_last(reshape(plain, (*(1,) * (rank - value.rank), *value.shape)))


def last_order(rank: int) -> tuple[int, ...]:
    """The axes of [N, C, *S] in the order N, *S, C."""
    return (0, *range(2, rank), 1)


def last_axis(axis: int, rank: int) -> int:
    """Where an axis of [N, C, *S] is with channels last."""
    return last_order(rank).index(axis)


def last_shape(shape: Sequence[Dim]) -> tuple[Dim, ...]:
    return tuple(shape[axis] for axis in last_order(len(shape)))


def last_type(type: TensorType) -> TensorType:
    return type.with_shape(last_shape(type.shape))


def to_last(x: Value) -> Value:
    """[N, C, *S] -> [N, *S, C]; a view where there is one channel or one pixel."""
    if x.shape[1] == 1 or all(d == 1 for d in x.shape[2:]):
        return reshape(x, last_shape(x.shape))
    return transpose(x, last_order(x.rank))


def to_first(x: Value) -> Value:
    """[N, *S, C] -> [N, C, *S]; a view where there is one channel or one pixel."""
    shape = (x.shape[0], x.shape[-1], *x.shape[1:-1])
    if x.shape[-1] == 1 or all(d == 1 for d in x.shape[1:-1]):
        return reshape(x, shape)
    return transpose(x, (0, x.rank - 1, *range(1, x.rank - 1)))
