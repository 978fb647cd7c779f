"""A program in the making: one walk over a graph gives every value a storage and every node its kernel calls.

It decides which storages are one: a reshape shares that of its input; a graph output or a state update is written in
place where no reader comes later, and copied at the end else. Kernels that may find their data wrong come before all
that changes state, so that a call that fails changes none. How
loops and branches are laid out stands in assembly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chainrule.backends.llvm import runtime_steps as native
from chainrule.backends.llvm.any_size import at_sizes, for_any_size
from chainrule.backends.llvm.kernels.region import Region, Temp, region_of, tensor_types
from chainrule.backends.llvm.kernels.table import VIEWS
from chainrule.backends.llvm.program import Copy, Item, Kind, Part, Program, Step, Storage, Use, live_ranges
from chainrule.backends.llvm.records import Call, Lowering
from chainrule.ir.body import Control, bodies
from chainrule.ir.graph import Get, Graph, Input, Value, reachable
from chainrule.ir.text import text
from chainrule.ir.types import TensorType
from chainrule.ops.basic import Constant
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.lowered import PanelMatMul
from chainrule.ops.matmul import MatMul
from chainrule.ops.reduce import Reduction
from chainrule.passes.schedule import scheduled


@dataclass
class Level:
    """A graph or body while it is laid out: the storage of each of its values so far."""

    graph: Graph
    at: dict[Value, int] = field(default_factory=dict)


class Assembler:
    """A program in the making. layouts: how loops and branches are laid out. once: it runs once per set of weights."""

    def __init__(self, graph: Graph, lowering: Lowering, layouts: Mapping[type[Control], Layout],
                 once: bool = False) -> None:  # fmt: skip
        self.graph = graph
        self.once = once
        self.layouts = layouts
        self.lowering = lowering
        self.program = Program(graph, target=lowering.target)
        self.counters = 1
        self._known: dict[Value, list[Call]] = {}
        self._shared: dict[str, list[Call]] = {}
        self._constants: dict[Value, int] = {}
        self._commit = 0

    def assembled(self) -> Program:
        """The whole program."""
        top = Level(self.graph)
        counts = {"input": 0, "weight": 0}
        for value in self.graph.inputs:
            assert isinstance(value.op, Input)
            kind: Kind = "input" if value.op.role == "input" else "weight"
            top.at[value] = self.storage(kind, value.tensor, index=counts[kind])
            counts[kind] += 1
        self._nodes(top)
        self._outputs(top)
        self._updates(top)
        live_ranges(self.program)
        return self.program

    def _nodes(self, top: Level) -> None:
        """All nodes; where state is updated, what kernels that may fail depend on first, and a stop behind it."""
        nodes = scheduled(self.graph)
        early: set[Value] = set()
        for node in reversed(nodes if self.graph.updates else ()):
            if node in early or self.fails(node):
                early.update((node, *node.inputs))
        for node in nodes:
            if node in early:
                self._top_node(node, top)
        if early:
            self._commit = self.emit(native.StopIfFailed())
        for node in nodes:
            if node not in early:
                self._top_node(node, top)

    def _top_node(self, node: Value, top: Level) -> None:
        self.program.begins[node] = len(self.program.items)
        self.node(node, top)

    def fails(self, node: Value) -> bool:
        """True if a kernel of the node, or of a node in its bodies, may find its data wrong."""
        inner = [n for body in bodies(node.op) for n in body.nodes]
        return any(call.code.fails for call in self._calls(node)) or any(self.fails(n) for n in inner)

    def _calls(self, node: Value) -> list[Call]:
        """The kernel calls of a node; none for what needs no code of its own."""
        if isinstance(node.op, (Input, Constant, Get, Control, *VIEWS)):
            return []
        if node not in self._known:
            region = region_of(node)
            self._known[node] = self._shared_calls(region) if self.once else self.lowering.calls(region)
        return self._known[node]

    def _shared_calls(self, region: Region) -> list[Call]:
        """The calls of kernels that other sizes have too, where the region can have such."""
        key = text(region.body, places=False)
        if key not in self._shared:
            shared = for_any_size(region)
            self._shared[key] = (
                self.lowering.calls(region) if shared is None
                else at_sizes(self.lowering.calls(shared.region), shared.sizes))  # fmt: skip
        return self._shared[key]

    def storage(self, kind: Kind, type: TensorType, *, index: int = 0, part: Part | None = None) -> int:
        """A new storage."""
        self.program.storages.append(Storage(kind, type, index, part=part))
        return len(self.program.storages) - 1

    def place(self, storage: int, part: Part) -> None:
        """Makes a temporary a part of another storage."""
        assert self.program.storages[storage].kind == "temp"
        self.program.storages[storage].kind = "part"
        self.program.storages[storage].part = part

    def counter(self) -> int:
        """A counter that nothing else uses. Counter 0 stays 0."""
        self.counters += 1
        return self.counters - 1

    def emit(self, item: Item) -> int:
        """Appends an item; returns its place."""
        self.program.items.append(item)
        return len(self.program.items) - 1

    def is_temp(self, storage: int) -> bool:
        return self.program.storages[storage].kind == "temp"

    def node(self, node: Value, level: Level) -> None:
        """Lays out a node whose inputs are laid out."""
        op = node.op
        if isinstance(op, Input | Get) or node in level.at:
            return
        if isinstance(op, Constant):
            self._constant(node, op, level)
        elif isinstance(op, VIEWS):
            level.at[node] = level.at[node.inputs[0]]
        elif isinstance(op, Control):
            self.give(node, self.layouts[type(op)](self, node, level), level)
        else:
            self._kernels(node, level)

    def give(self, node: Value, storages: Sequence[int], level: Level) -> None:
        """The results of a node lie in these storages."""
        if isinstance(node.type, TensorType):
            level.at[node] = storages[0]
        for user in level.graph.users[node]:
            if isinstance(user.op, Get):
                level.at[user] = storages[user.op.index]

    def _constant(self, node: Value, op: Constant, level: Level) -> None:
        if node not in self._constants:
            self._constants[node] = self.storage("constant", node.tensor, index=len(self.program.constants))
            self.program.constants.append(op.data.array)
        level.at[node] = self._constants[node]

    def _kernels(self, node: Value, level: Level) -> None:
        outputs = [self.storage("temp", t) for t in tensor_types(node)]
        temps: dict[Temp, int] = {}
        for call in self._calls(node):
            storages: list[int] = []
            operands: list[int] = []
            for place in call.buffers:
                operands.append(-1)
                if isinstance(place, Temp):
                    if place not in temps:
                        temps[place] = self.storage("temp", place.type)
                    storages.append(temps[place])
                elif place[0] == "input":
                    storages.append(level.at[node.inputs[place[1]]])
                    operands[-1] = place[1]
                else:
                    storages.append(outputs[place[1]])
            self.emit(Step(call.code, tuple(storages), tuple(operands), call.dims, node, call.why))
        self.give(node, outputs, level)

    def _outputs(self, top: Level) -> None:
        for i, value in enumerate(self.graph.outputs):
            storage = self.program.storages[self._whole(top.at[value])]
            if storage.kind == "temp":
                storage.kind, storage.index, storage.type = "output", i, value.tensor  # the view that the caller sees
            else:
                self.emit(Copy(top.at[value], self.storage("output", value.tensor, index=i)))

    def _whole(self, storage: int) -> int:
        """The storage whose bytes this one is from the first to the last; itself where it is less or moves."""
        part = self.program.storages[storage].part
        while part is not None and (part.stride, part.offset) == (0, 0):
            if self.program.storages[part.inside].type != self.program.storages[storage].type:
                break
            storage = part.inside
            part = self.program.storages[storage].part
        return storage

    def _updates(self, top: Level) -> None:
        """Each new value of state is written where the state is, if that is safe, else copied there at the end."""
        pairs = [(top.at[new], top.at[state]) for state, new in self.graph.updates]
        late = [(s, t) for s, t in pairs if s != t and not self.is_temp(s)]
        # State that becomes the old value of other state is rescued first, whatever the order of the updates (a swap).
        late = [(self._rescued(s) if self.program.storages[s].kind == "weight" else s, t) for s, t in late]
        uses = self.program.uses()
        for source, target in pairs:
            if source == target or not self.is_temp(source):
                continue
            if self._safe_in_place(source, target, uses):
                self.program.storages[source].kind = "weight"
                self.program.storages[source].index = self.program.storages[target].index
            else:
                late.append((source, target))
        for source, target in late:
            self.emit(Copy(source, target))

    def _rescued(self, source: int) -> int:
        copy = self.storage("temp", self.program.storages[source].type)
        self.emit(Copy(source, copy))
        return copy

    def _safe_in_place(self, source: int, target: int, uses: dict[int, list[Use]]) -> bool:
        """True if one step, after which the call cannot fail, writes the new value and none reads the old one later."""
        writes = [use for use in uses.get(source, ()) if use.writes]
        if len(writes) != 1 or writes[0].step is None or writes[0].item < self._commit:
            return False
        if any(loop.first <= writes[0].item <= loop.last for loop in self.program.loops):
            return False
        return self.may_replace(source, target, uses)

    def may_replace(self, source: int, target: int, uses: dict[int, list[Use]]) -> bool:
        """True if nothing reads `target` after `source` is first written, and a step that does both reads it in step.
        """
        writes = [use for use in uses.get(source, ()) if use.writes]
        if not writes:
            return False
        shape = self.program.storages[target].type.shape
        for use in uses.get(target, ()):
            if use.item > writes[0].item:
                return False
            if use.item == writes[0].item and not (len(writes) == 1 and self._in_step(use, target, shape)):
                return False
        return True

    def _in_step(self, use: Use, target: int, shape: Sequence[object]) -> bool:
        if use.step is None:
            return False
        places = {operand for storage, operand in zip(use.step.storages, use.step.operands, strict=True)
                  if target in self.program.chain(storage) and operand >= 0}  # fmt: skip
        return _elementwise_reads(use.step.node, places, shape)


# The storages of the results of a loop or branch, laid out at a level.
Layout = Callable[[Assembler, Value, Level], Sequence[int]]
WRITES_ONCE = (MatMul, PanelMatMul, Reduction)  # anchors whose templates write an element once, with its epilogue


def _elementwise_reads(node: Value, operands: set[int], shape: Sequence[object]) -> bool:
    """True if a kernel reads an element of these inputs only when it makes the same element of its own results."""
    region: Region = region_of(node)
    body, anchor = region.body, region.anchor
    places = [body.inputs[i] for i in sorted(operands)]
    if not all(inner.tensor.shape == shape == body.outputs[0].tensor.shape for inner in places):
        return False
    if anchor is not None and (not isinstance(anchor.op, WRITES_ONCE) or set(places) & set(reachable((anchor,)))):
        return False
    behind = [n for inner in places for n in region.epilogue_of(inner)]
    return all(isinstance(n.op, Elementwise) and n.tensor.shape == shape for n in behind)
