"""Loops that carry a tensor and do no more to it than to append: what they append is stacked, and joined behind it.

So the size that changes from round to round stays out of the body: no frame of a round depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chainrule.backends.onnx.node import Arranged, Body, Entry, Subgraph
from chainrule.errors import NotSupported
from chainrule.ir.dims import symbol
from chainrule.ir.graph import Input, Value, new_input, reachable, symbols_of
from chainrule.ops import shaping as sh
from chainrule.ops.shape_rules import axis_of


@dataclass(eq=False)
class Around:
    """A graph in an attribute that is read in another way than it is written."""

    graph: Subgraph

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.graph.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.graph.outputs


def growing(held: Sequence[Value], after: Sequence[Value]) -> dict[int, int]:
    """Which carried values become themselves with something behind them, each with the axis along which it grows."""
    return {i: axis_of(new.op.axis, new.rank) for i, (old, new) in enumerate(zip(held, after, strict=True))
            if isinstance(new.op, sh.Concat) and new.inputs[0] is old and old not in new.inputs[1:]}  # fmt: skip


@dataclass(eq=False)
class Gathering(Around):
    """The body of a loop that appends to carried values, as one without them: it gives what it appends, at the end.

    before: these values in front of the loop, by their place among the carried ones; axes: along which they grow.
    """

    before: Mapping[int, Value]
    axes: Mapping[int, int]
    carried: int
    appended: list[Value] = field(default_factory=list[Value])

    def inlined(self, arguments: Sequence[Entry]) -> list[Entry]:
        raise NotSupported("Loop: it carries a tensor that grows")

    def body(self, inputs: Sequence[Value | Entry], arranged: Arranged = list) -> Body:
        grown = {i: self._holder(i) for i in self.before}
        tensors = iter(inputs[2:])
        held = [grown[i] if i in grown else next(tensors) for i in range(self.carried)]
        found = self.graph.body([*inputs[:2], *held], lambda entries: arranged(self._arranged(entries, grown)))
        self._refuse_reading(found, grown)
        own = tuple(v for v in found.graph.inputs if v not in grown.values())
        return Body(found.graph.replace(inputs=own), found.captured)

    def _holder(self, place: int) -> Value:
        """An input that stands for the value in any round: its size along the axis is a symbol of its own."""
        shape = list(self.before[place].shape)
        shape[self.axes[place]] = symbol(f"_grown{place}")
        return new_input(f"_grown{place}", self.before[place].tensor.with_shape(shape))

    def _arranged(self, entries: Sequence[Entry], grown: Mapping[int, Value]) -> list[Entry]:
        after = entries[1 : 1 + self.carried]
        if growing(list(grown.values()), [after[i].value() for i in grown]).keys() != set(range(len(grown))):
            raise NotSupported("Loop: it does more to a tensor that grows than to append to it")
        self.appended = [_behind(after[i].value(), axis) for i, axis in self.axes.items()]
        tensors = [e for i, e in enumerate(after) if i not in grown]
        return [entries[0], *tensors, *entries[1 + self.carried :], *(Entry(v, None, v.dtype) for v in self.appended)]

    def _refuse_reading(self, body: Body, grown: Mapping[int, Value]) -> None:
        names = {value.op.name_ for value in grown.values() if isinstance(value.op, Input)}
        if any(names & symbols_of(node) for node in reachable(body.graph.roots)):
            raise NotSupported("Loop: it reads a tensor that grows from round to round")

    def joined(self, place: int, stacked: Value) -> Value:
        """The carried value after all rounds. stacked: what each of them appended, along a first axis."""
        return sh.concat([self.before[place], along(stacked, self.axes[place])], self.axes[place])


def _behind(joined: Value, axis: int) -> Value:
    """What stands behind the first part."""
    rest = joined.inputs[1:]
    return rest[0] if len(rest) == 1 else sh.concat(rest, axis)


def along(rows: Value, axis: int) -> Value:
    """Elements that stand along a first axis, one behind the other along an axis that they have."""
    shape = rows.shape[1:]
    order = [*range(1, axis + 1), 0, *range(axis + 1, rows.rank)]
    beside = rows if axis == 0 else sh.transpose(rows, order)
    return sh.reshape(beside, (*shape[:axis], rows.shape[0] * shape[axis], *shape[axis + 1 :]))
