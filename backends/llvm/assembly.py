"""Makes the program of a graph, and lays out its branches and loops as jumps around the steps of their bodies.

A slice of a stacked array is a part of it that moves with the loop's counter, so it is read and written where it lies.
A carried value lives in one place if its next value can be written over it: if no step of the round reads the old one
later. Else it has two places that change roles after each round, by a counter that is 0 or 1: either way no round
copies what a kernel can write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chainrule.backends.llvm import runtime_steps as native
from chainrule.backends.llvm.assembler import Assembler, Layout, Level
from chainrule.backends.llvm.program import Again, Copy, Loop, Part, Program, Repeat
from chainrule.backends.llvm.records import Lowering
from chainrule.ir.body import Body, Control
from chainrule.ir.dims import Dim, floordiv
from chainrule.ir.graph import Graph, Value
from chainrule.ir.plan import ALIGNMENT
from chainrule.ir.types import TensorType, u8
from chainrule.ops.control import Checkpoint, Cond, Scan, While


def assemble(graph: Graph, lowering: Lowering, once: bool = False) -> Program:
    """The program of a graph whose every node the backend keeps. once: it runs once per set of weights."""
    return Assembler(graph, lowering, LAYOUTS, once).assembled()


def _nbytes(type: TensorType) -> Dim:
    return type.size * type.dtype.itemsize


@dataclass
class _Round:
    """A body while it is laid out. mark: the number of the first storage that is its own."""

    made: Assembler
    level: Level
    mark: int
    taken: set[int]

    def is_own(self, storage: int) -> bool:
        """True for a temporary that only this body's steps have touched, and that has no other role yet."""
        return storage >= self.mark and self.made.is_temp(storage) and storage not in self.taken

    def put(self, value: Value, place: int) -> None:
        """The value comes to lie at a place: there from the start if it can, else copied."""
        storage = self.level.at[value]
        if self.is_own(storage):
            self.taken.add(storage)
            self.made.place(storage, Part(place))
        else:
            self.made.emit(Copy(storage, place))


def _opened(made: Assembler, body: Body, inputs: Sequence[int]) -> _Round:
    level = Level(body, dict(zip(body.inputs, inputs, strict=True)))
    return _Round(made, level, len(made.program.storages), set())


def _run(made: Assembler, body: Body, inputs: Sequence[int]) -> _Round:
    """Lays out all nodes of a body."""
    opened = _opened(made, body, inputs)
    for node in body.nodes:
        made.node(node, opened.level)
    return opened


def lay_out_cond(made: Assembler, node: Value, level: Level) -> list[int]:
    """The flag, one body, a jump over the other body, the other body; both write to the same storages."""
    op = node.op
    assert isinstance(op, Cond)
    flag, *captured = (level.at[v] for v in node.inputs)
    results = [made.storage("temp", v.tensor) for v in op.then.outputs]
    test = made.emit(native.JumpUnless(flag, -1))
    _branch(made, op.then, captured, results)
    leave = made.emit(native.Jump(-1))
    made.program.items[test] = native.JumpUnless(flag, len(made.program.items))
    _branch(made, op.otherwise, captured, results)
    made.program.items[leave] = native.Jump(len(made.program.items))
    return results


def _branch(made: Assembler, body: Body, captured: Sequence[int], results: Sequence[int]) -> None:
    branch = _run(made, body, captured)
    for value, place in zip(body.outputs, results, strict=True):
        branch.put(value, place)


def lay_out_checkpoint(made: Assembler, node: Value, level: Level) -> list[int]:
    """The steps of the body, in their place."""
    op = node.op
    assert isinstance(op, Checkpoint)
    results = [made.storage("temp", v.tensor) for v in op.body.outputs]
    _branch(made, op.body, [level.at[v] for v in node.inputs], results)
    return results


@dataclass
class _Carries:
    """The carried values of a loop: where they lie, and the counter that says which of two places is the present one.
    """

    made: Assembler
    places: list[int]
    turn: int

    @staticmethod
    def begun(made: Assembler, initial: Sequence[int], types: Sequence[TensorType]) -> _Carries:
        """Places for carried values, with the initial ones in them."""
        places = [made.storage("temp", t) for t in types]
        turn = made.counter()
        made.emit(native.SetCounter(turn, 0))
        for source, place in zip(initial, places, strict=True):
            made.emit(Copy(source, place))
        return _Carries(made, places, turn)

    def advance(self, body: _Round, values: Sequence[Value], start: int) -> None:
        """The values are those of the next round. start: the first item of this one."""
        made, new = self.made, [self._next(body, v, i) for i, v in enumerate(values)]
        uses = made.program.uses(start)
        turns = False
        for storage, place in zip(new, self.places, strict=True):
            if storage == place:
                continue
            if made.may_replace(storage, place, uses):
                made.place(storage, Part(place))
                continue
            half = floordiv(_nbytes(made.program.storages[place].type) + ALIGNMENT - 1, ALIGNMENT) * ALIGNMENT
            both = made.storage("temp", TensorType(u8, (2 * half,)))
            made.place(place, Part(both, self.turn, half, 0))
            made.place(storage, Part(both, self.turn, -half, half))
            turns = True
        if turns:
            made.emit(native.FlipCounter(self.turn))

    def _next(self, body: _Round, value: Value, i: int) -> int:
        """A storage of the round's own that holds the next value of carry i, or its place where it stays as it is."""
        storage = body.level.at[value]
        if storage == self.places[i]:
            return storage
        if body.is_own(storage):
            body.taken.add(storage)
            return storage
        copy = self.made.storage("temp", value.tensor)
        self.made.emit(Copy(storage, copy))
        return copy


def lay_out_scan(made: Assembler, node: Value, level: Level) -> list[int]:
    """Initial values, then rounds with slices of the stacked arrays; results are written into theirs."""
    op = node.op
    assert isinstance(op, Scan)
    given = [level.at[v] for v in node.inputs]
    outputs = op.body.outputs[op.carries :]
    stacks = [made.storage("temp", v.tensor.with_shape((op.length, *v.shape))) for v in outputs]
    carries = _Carries.begun(made, given[: op.carries], [v.tensor for v in op.body.outputs[: op.carries]])
    counter = made.counter()
    first = made.emit(Repeat(counter, op.length))
    stacked = op.body.inputs[op.carries : op.carries + op.scanned]
    slices = [_slice(made, op, x, v.tensor, counter) for x, v in zip(given[op.carries :], stacked)]
    targets = [_slice(made, op, y, v.tensor, counter) for y, v in zip(stacks, outputs, strict=True)]
    body = _opened(made, op.body, [*carries.places, *slices, *given[op.carries + op.scanned :]])
    early = _copied_first(body, outputs, targets)
    for inner in op.body.nodes:
        made.node(inner, body.level)
    carried = {body.level.at[v] for v in op.body.outputs[: op.carries]}
    for i, (value, target) in enumerate(zip(outputs, targets, strict=True)):
        if i not in early and body.level.at[value] in carried:
            made.emit(Copy(body.level.at[value], target))
        elif i not in early:
            body.put(value, target)
    carries.advance(body, op.body.outputs[: op.carries], first)
    last = made.emit(Again(counter, op.length, first + 1))
    made.program.items[first] = Repeat(counter, op.length, last + 1)
    made.program.loops.append(Loop(first, last, op.length))
    return [*carries.places, *stacks]


def _slice(made: Assembler, op: Scan, stack: int, type: TensorType, counter: int) -> int:
    """The part of a stacked array that belongs to the present round."""
    step = _nbytes(type)
    part = Part(stack, counter, step) if not op.reverse else Part(stack, counter, -step, (op.length - 1) * step)
    return made.storage("part", type, part=part)


def _copied_first(body: _Round, outputs: Sequence[Value], targets: Sequence[int]) -> set[int]:
    """Stacks the results that are there before the round begins: the old carry can then be written over."""
    found = {i for i, value in enumerate(outputs) if value in body.level.at}
    for i in sorted(found):
        body.made.emit(Copy(body.level.at[outputs[i]], targets[i]))
    return found


def lay_out_while(made: Assembler, node: Value, level: Level) -> list[int]:
    """Initial values, then rounds of test and body; the test's flag leaves the loop, and so does a bound."""
    op = node.op
    assert isinstance(op, While)
    given = [level.at[v] for v in node.inputs]
    carries = _Carries.begun(made, given[: op.carries], [v.tensor for v in op.body.outputs])
    counter = made.counter()
    first = len(made.program.items)
    if op.max_trips is not None:
        made.emit(Repeat(counter, op.max_trips))
    start = len(made.program.items)
    inputs = [*carries.places, *given[op.carries :]]
    flag_at = _run(made, op.test, inputs).level.at
    flag = flag_at[op.test.outputs[0]]
    test = made.emit(native.JumpUnless(flag, -1))
    body = _run(made, op.body, inputs)
    carries.advance(body, op.body.outputs, start)
    if made.fails(node):  # a loop whose numbers are wrong may never end
        made.emit(native.StopIfFailed())
    last = made.emit(native.Jump(start) if op.max_trips is None else Again(counter, op.max_trips, start))
    made.program.items[test] = native.JumpUnless(flag, last + 1)
    if isinstance(begin := made.program.items[first], Repeat) and op.max_trips is not None:
        made.program.items[first] = replace(begin, end=last + 1)
    made.program.loops.append(Loop(first, last, op.max_trips))
    return carries.places


LAYOUTS: Mapping[type[Control], Layout] = {
    Cond: lay_out_cond, Scan: lay_out_scan, While: lay_out_while, Checkpoint: lay_out_checkpoint,
}  # fmt: skip
