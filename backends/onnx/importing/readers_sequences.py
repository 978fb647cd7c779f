"""Ops on sequences and optionals, and the branches and loops that give them: see sequences.py for what they become.

A loop that appends to a sequence is a loop that stacks what it appends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from chainrule.backends.onnx.dtypes import dtype_of
from chainrule.backends.onnx.importing.growing import Around, along
from chainrule.backends.onnx.importing.readers_control import branch, loop, moved, unrolled_loop
from chainrule.backends.onnx.importing.sequences import Absent, Listed, Part
from chainrule.backends.onnx.node import Arranged, Body, Entry, Given, Read, Reader, undecided
from chainrule.backends.onnx.told import sizes
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import Dim, DimExpr
from chainrule.ir.graph import Value, new_input
from chainrule.ir.types import bool_, f32, i64
from chainrule.ops import shaping as sh
from chainrule.ops.control import scan
from chainrule.ops.shape_rules import axis_of

MOST_SINGLE = 64  # elements that a split array is held as one by one


def sequence(given: Given, position: int = 0) -> Listed:
    """An input that is a sequence."""
    found = given.entry(position)
    if not isinstance(found, Listed):
        raise ModelError(f"{given.op_type}: input {position} is no sequence")
    return found


def constructed(given: Given) -> Read:
    """The inputs as a sequence."""
    entries = [given.entry(i) for i in range(len(given.entries))]
    return Listed([Part(e) for e in entries], entries[0].dtype if entries else f32)


def empty(given: Given) -> Read:
    """A sequence without elements."""
    code = given.attribute("dtype")
    return Listed((), dtype_of(code) if isinstance(code, int) else f32)


def inserted(given: Given) -> Read:
    """One element more, at the end or before a position."""
    at_end = not given.has(2)
    return sequence(given).inserted(given.entry(1), None if at_end else given.content(2), at_end)


def erased(given: Given) -> Read:
    """One element less, the last or that at a position."""
    return sequence(given).erased(given.content(1) if given.has(1) else np.asarray(-1))


def element(given: Given) -> Read:
    """The element at a position."""
    return sequence(given).at(given.known(1), lambda: given.value(1))


def length(given: Given) -> Read:
    """The number of elements."""
    count = sequence(given).length()
    return Entry(None, np.asarray(count, object if isinstance(count, DimExpr) else np.int64), i64)


def split(given: Given) -> Read:
    """An array cut along an axis: by sizes, into pieces of a size, or into slices of 1, which may drop the axis."""
    x = given.value(0)
    axis = axis_of(given.whole("axis", 0), x.rank)
    if given.has(1):
        return Listed([Part(_entry(v)) for v in sh.split(x, _sizes(given, x.shape[axis]), axis)], x.dtype)
    count, keeps = x.shape[axis], bool(given.whole("keepdims", 1))
    if isinstance(count, DimExpr) or count > MOST_SINGLE:
        return Listed([Part(_entry(_slices(x, axis, keeps)), many=True)], x.dtype)
    slices = sh.split(x, count, axis) if count else ()
    return Listed([Part(_entry(v if keeps else sh.squeeze(v, axis))) for v in slices], x.dtype)


def _sizes(given: Given, dim: Dim) -> tuple[Dim, ...]:
    """The sizes of the pieces: stated, or all but the last one the same."""
    if given.value(1).rank == 1:
        return sizes(given, 1)
    (each,) = given.ints(1)
    if isinstance(dim, DimExpr):
        raise NotSupported(f"SplitToSequence: pieces of {each} of the size {dim} are in a number that is not known")
    if each < 1:
        raise ModelError(f"SplitToSequence: pieces of {each}")
    return tuple(min(each, dim - start) for start in range(0, dim, each))


def _slices(x: Value, axis: int, keeps: bool) -> Value:
    """The slices along an axis as rows."""
    rows = moved(x, axis, 0)
    return sh.unsqueeze(rows, axis + 1) if keeps else rows


def concatenated(given: Given) -> Read:
    """The elements along an axis that they have, or along a new one."""
    found = sequence(given)
    if not found.parts:
        raise ModelError("ConcatFromSequence: the sequence has no elements")
    if given.whole("new_axis", 0):
        rows = found.rows()
        return moved(rows, 0, axis_of(given.whole("axis"), rows.rank))
    pieces = [_joined(part, given.whole("axis")) for part in found.parts]
    return pieces[0] if len(pieces) == 1 else sh.concat(pieces, axis_of(given.whole("axis"), pieces[0].rank))


def _joined(part: Part, axis: int) -> Value:
    """The elements of a part one behind the other."""
    value = part.entry.value()
    if not part.many:
        return value
    return along(value, axis_of(axis, value.rank - 1))


def mapped(given: Given) -> Read:
    """A graph over the elements of sequences; further inputs may be tensors, the same in each call."""
    lists = {i: e for i, e in enumerate(given.entries) if isinstance(e, Listed)}
    first = sequence(given)
    if any(e.singles is None for e in lists.values()):
        return _scanned(given, lists)
    columns = {i: e.singles or [] for i, e in lists.items()}
    count = len(columns[0])
    if any(len(column) != count for column in columns.values()):
        raise ModelError("SequenceMap: its sequences differ in length")
    graph = given.graph("body")
    found = [graph.inlined([columns[i][n] if i in columns else given.entry(i) for i in range(len(given.entries))])
             for n in range(count)]  # fmt: skip
    made = [[row[i] for row in found] for i in range(len(graph.outputs))]
    return tuple(Listed([Part(e) for e in column], column[0].dtype if column else first.dtype) for column in made)


def _scanned(given: Given, lists: Mapping[int, Listed]) -> Read:
    """The graph over as many elements as there are: a scan."""
    rows = {i: e.rows() for i, e in lists.items()}
    others = {i: given.value(i) for i in range(len(given.entries)) if i not in rows}
    types = [rows[i].tensor.with_shape(rows[i].shape[1:]) if i in rows else others[i].tensor
             for i in range(len(given.entries))]  # fmt: skip
    own = [new_input(f"x{i}", t) for i, t in enumerate(types)]
    body = given.graph("body").body(own)
    inputs = (*(own[i] for i in rows), *(own[i] for i in others), *body.graph.inputs[len(own) :])
    found = scan(body.graph.replace(inputs=inputs), [], list(rows.values()),
                 [*others.values(), *body.captured], rows[0].shape[0])  # fmt: skip
    return tuple(Listed([Part(_entry(v), many=True)], v.dtype) for v in found)


def _entry(value: Value) -> Entry:
    return Entry(value, None, value.dtype)


def optional(given: Given) -> Read:
    """The input, or nothing."""
    return given.entry(0) if given.has(0) else Absent()


def has_element(given: Given) -> Read:
    """Whether an optional holds something; a tensor and a sequence do."""
    holds = given.has(0) and not isinstance(given.entry(0), Absent)
    return Entry(None, np.asarray(holds), bool_)


def held(given: Given) -> Read:
    """What an optional holds."""
    found = given.entry(0)
    return found if isinstance(found, Listed) else found.value()


@dataclass(eq=False)
class _Flat(Around):
    """A branch whose outputs may be sequences: as a body it gives their parts. form: of each output its parts.

    condition: what chooses this branch or the other.
    """

    condition: Value
    form: list[list[bool] | None] = field(default_factory=list[list[bool] | None])

    def inlined(self, arguments: Sequence[Entry]) -> list[Entry]:
        return self._holding(self.graph.inlined(arguments))

    def body(self, inputs: Sequence[Value | Entry], arranged: Arranged = list) -> Body:
        return self.graph.body(inputs, lambda found: arranged(self._arranged(found)))

    def _arranged(self, entries: Sequence[Entry]) -> list[Entry]:
        self._holding(list(entries))
        self.form = [[p.many for p in e.parts] if isinstance(e, Listed) else None for e in entries]
        return [part for e in entries for part in ([p.entry for p in e.parts] if isinstance(e, Listed) else [e])]


    def _holding(self, entries: list[Entry]) -> list[Entry]:
        """The entries. Raises Undecided where one is an optional that holds nothing: here only data would say so."""
        if any(isinstance(e, Absent) for e in entries):
            raise undecided("If: whether an optional holds something is not known when the model is loaded",
                            self.condition)  # fmt: skip
        return entries


def branch_of_any(given: Given) -> Read:
    """One of two graphs, whose outputs may be sequences that differ in their elements alone."""
    if given.known(0) is not None:
        return branch(given)
    graphs = {name: _Flat(graph, given.value(0)) for name, graph in given.graphs.items()}
    found = branch(replace(given, graphs=graphs))
    forms = [graph.form for graph in graphs.values()]
    if not all(any(f is not None for f in form) for form in forms) or not isinstance(found, tuple):
        return found
    if any(form != forms[0] for form in forms):
        raise NotSupported("If: its branches give sequences of other lengths")
    left = iter(found)
    entries = [[_as_entry(next(left)) for _ in form or [False]] for form in forms[0]]
    return tuple(row[0] if form is None else Listed([Part(e, many) for e, many in zip(row, form, strict=True)],
                                                    row[0].dtype if row else f32)
                 for row, form in zip(entries, forms[0], strict=True))  # fmt: skip


def _as_entry(found: Value | Entry | None) -> Entry:
    assert found is not None
    return _entry(found) if isinstance(found, Value) else found


@dataclass(eq=False)
class _Appending(Around):
    """The body of a loop that carries sequences, as one without: what it appends to them it gives at the end.

    lists: the sequences by their place among the carried values. gained: how many elements each gets in a round.
    """

    lists: Mapping[int, Listed]
    carried: int
    gained: list[int] = field(default_factory=list[int])

    def inlined(self, arguments: Sequence[Entry]) -> list[Entry]:
        raise NotSupported("Loop: it carries a sequence")

    def body(self, inputs: Sequence[Value | Entry], arranged: Arranged = list) -> Body:
        tensors = iter(inputs[2:])
        held = [Listed((), self.lists[i].dtype, holder=self.lists[i]) if i in self.lists else next(tensors)
                for i in range(self.carried)]  # fmt: skip
        return self.graph.body([*inputs[:2], *held], lambda found: arranged(self._arranged(found)))

    def _arranged(self, entries: Sequence[Entry]) -> list[Entry]:
        after = entries[1 : 1 + self.carried]
        new = [self._new(after[i], held) for i, held in self.lists.items()]
        self.gained = [len(row) for row in new]
        tensors = [e for i, e in enumerate(after) if i not in self.lists]
        return [entries[0], *tensors, *entries[1 + self.carried :], *(e for row in new for e in row)]

    def _new(self, after: Entry, held: Listed) -> list[Entry]:
        if not isinstance(after, Listed) or after.holder is not held or any(part.many for part in after.appended):
            raise NotSupported("Loop: it does more to a sequence that it carries than to append to it")
        return [part.entry for part in after.appended]


def loop_of_any(given: Given) -> Read:
    """A loop; sequences that it carries and appends to are stacked, others make it be unrolled."""
    init = [given.entry(i) for i in range(2, len(given.entries))]
    lists = {i: e for i, e in enumerate(init) if isinstance(e, Listed)}
    if not lists:
        return loop(given)
    body = _Appending(given.graph("body"), lists, len(init))
    tensors = tuple(e for i, e in enumerate(init) if i not in lists)
    try:
        found = loop(replace(given, entries=(*_first_two(given), *tensors), graphs={"body": body}))
    except NotSupported:
        return unrolled_loop(given)
    assert isinstance(found, tuple)
    return _with_sequences(found, body)


def _first_two(given: Given) -> tuple[Entry | None, Entry | None]:
    return given.entries[0], given.entries[1]


def _with_sequences(found: Sequence[Value | Entry | None], body: _Appending) -> Read:
    """The outputs of a loop, its sequences put together from what they held and what was stacked."""
    rows = list(found[len(found) - sum(body.gained) :])
    others = iter(found[: len(found) - len(rows)])
    carried: list[Value | Entry | None] = []
    grown = dict(zip(body.lists, body.gained, strict=True))
    for i in range(body.carried):
        if i not in grown:
            carried.append(next(others))
            continue
        new, rows = rows[: grown[i]], rows[grown[i] :]
        carried.append(_grown(body.lists[i], [_as_entry(v).value() for v in new]))
    return (*carried, *others)


def _grown(before: Listed, columns: Sequence[Value]) -> Listed:
    """A sequence with what rounds appended to it, the elements of a round in their order."""
    if not columns:
        return before
    if any(c.type != columns[0].type for c in columns):
        raise NotSupported("Loop: the elements that a round appends to a sequence have different types")
    whole, (count, *shape) = columns[0], columns[0].shape
    if len(columns) > 1:
        whole = sh.reshape(sh.stack(columns, 1), (count * len(columns), *shape))
    return Listed((*before.parts, Part(_entry(whole), many=True)), whole.dtype)


READERS: Mapping[str, Reader] = {
    "SequenceConstruct": constructed, "SequenceEmpty": empty, "SequenceInsert": inserted, "SequenceErase": erased,
    "SequenceAt": element, "SequenceLength": length, "SplitToSequence": split, "ConcatFromSequence": concatenated,
    "SequenceMap": mapped, "Optional": optional, "OptionalHasElement": has_element, "OptionalGetElement": held,
    "If": branch_of_any, "Loop": loop_of_any,
}  # fmt: skip
