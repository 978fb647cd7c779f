"""A graph as a list of native calls over storages.

`assemble` walks the graph once: every value gets a storage (an input's, weight's or output's array, a constant, or a
temporary in the arena), every node its kernel calls. It decides which storages are one: a reshape shares that of its
input; a graph output or a state update is written in place where no reader comes later, and copied at the end else.
Kernels that may find their data wrong come before all that changes state, so that a call that fails changes none.
Nothing here depends on the values of symbolic sizes: frames.py binds a program to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from chainrule.backends.llvm.kernels.region import Region, Temp, region_of, tensor_types
from chainrule.backends.llvm.kernels.table import VIEWS, template_of
from chainrule.backends.llvm.records import Call, Code, Lowering
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Function
from chainrule.ir.graph import Get, Graph, Input, Value, reachable
from chainrule.ir.lazy import lazy
from chainrule.ir.types import TensorType
from chainrule.ops.basic import Constant, Data
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.lowered import PanelMatMul
from chainrule.ops.matmul import MatMul
from chainrule.ops.reduce import Reduction

Kind = Literal["input", "weight", "constant", "output", "temp"]


@dataclass
class Storage:
    """Where bytes live. index: the place among the graph's call inputs, weights, constants or outputs."""

    kind: Kind
    type: TensorType
    index: int = 0
    first: int = -1
    last: int = -1


@dataclass(frozen=True)
class Step:
    """One kernel call of the program. storages: one id per buffer of the function."""

    code: Code
    storages: tuple[int, ...]
    dims: tuple[str, ...]
    node: Value
    why: str


@dataclass(frozen=True)
class Copy:
    """Bytes of one storage go to another after all steps."""

    source: int
    target: int


@dataclass
class Program:
    """What assemble makes. constants: the arrays of the constant storages, by index.

    commit: the number of steps after which state may change, if none of them failed; None where nothing can fail or no
    state changes.
    """

    graph: Graph
    storages: list[Storage] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    constants: list[np.ndarray] = field(default_factory=list)
    commit: int | None = None

    target: Target | None = None

    @property
    def codes(self) -> list[Code]:
        """The distinct kernels, in order of first use."""
        return list(dict.fromkeys(step.code for step in self.steps))

    @lazy
    def functions(self) -> list[Function]:
        """The loops of the distinct kernels, for people and tests: built again, whatever the cache holds."""
        assert self.target is not None
        regions = [region_of(node) for node in dict.fromkeys(step.node for step in self.steps)]
        calls = [call for region in regions for call in template_of(region)(region, self.target)]
        return list(dict.fromkeys(call.function for call in calls))


def assemble(graph: Graph, lowering: Lowering) -> Program:
    """The program of a graph whose every node the backend keeps."""
    return _Assembler(graph, lowering).assembled()


class _Assembler:
    def __init__(self, graph: Graph, lowering: Lowering) -> None:
        self.graph = graph
        self.lowering = lowering
        self.program = Program(graph, target=lowering.target)
        self.at: dict[Value, int] = {}
        self.readers: dict[int, list[tuple[int, Value]]] = {}
        self.writer: dict[int, int] = {}
        self.calls: dict[Value, list[Call]] = {}

    def assembled(self) -> Program:
        counts = {"input": 0, "weight": 0}
        for value in self.graph.inputs:
            assert isinstance(value.op, Input)
            kind: Kind = "input" if value.op.role == "input" else "weight"
            self.at[value] = self._storage(kind, value.tensor, counts[kind])
            counts[kind] += 1
        for node in self._order():
            self._node(node)
        if self.graph.updates and any(step.code.fails for step in self.program.steps):
            self.program.commit = 1 + max(i for i, step in enumerate(self.program.steps) if step.code.fails)
        self._outputs()
        self._updates()
        self._live_ranges()
        return self.program

    def _order(self) -> list[Value]:
        """The nodes, producers first; where state is updated, what kernels that may fail depend on before the rest."""
        nodes = self.graph.nodes
        if not self.graph.updates:
            return list(nodes)
        early: set[Value] = set()
        for node in reversed(nodes):
            if node in early or any(call.code.fails for call in self._calls(node)):
                early.update((node, *node.inputs))
        return [n for n in nodes if n in early] + [n for n in nodes if n not in early]

    def _calls(self, node: Value) -> list[Call]:
        """The kernel calls of a node; none for what needs no code."""
        if isinstance(node.op, (Input, Constant, Get, *VIEWS)):
            return []
        if node not in self.calls:
            self.calls[node] = self.lowering.calls(region_of(node))
        return self.calls[node]

    def _storage(self, kind: Kind, type: TensorType, index: int = 0) -> int:
        self.program.storages.append(Storage(kind, type, index))
        return len(self.program.storages) - 1

    def _node(self, node: Value) -> None:
        op = node.op
        if isinstance(op, Input) or node in self.at:
            return
        if isinstance(op, Constant):
            self._constant(node, op.data)
        elif isinstance(op, VIEWS):
            self.at[node] = self.at[node.inputs[0]]
        elif not isinstance(op, Get):
            self._kernels(node)

    def _constant(self, node: Value, data: Data) -> None:
        self.at[node] = self._storage("constant", node.tensor, len(self.program.constants))
        self.program.constants.append(data.array)

    def _kernels(self, node: Value) -> None:
        outputs = [self._storage("temp", t) for t in tensor_types(node)]
        temps: dict[Temp, int] = {}
        for call in self._calls(node):
            number = len(self.program.steps)
            storages: list[int] = []
            for i, place in enumerate(call.buffers):
                storage = self._placed(place, node, outputs, temps)
                storages.append(storage)
                if not isinstance(place, Temp) and place[0] == "input":
                    self.readers.setdefault(storage, []).append((number, node))
                elif "w" in call.code.modes[i]:
                    self.writer[storage] = number
            self.program.steps.append(Step(call.code, tuple(storages), call.dims, node, call.why))
        if len(outputs) == 1 and isinstance(node.type, TensorType):
            self.at[node] = outputs[0]
        for user in self.graph.users[node]:
            if isinstance(user.op, Get):
                self.at[user] = outputs[user.op.index]

    def _placed(
        self, place: tuple[str, int] | Temp, node: Value, outputs: Sequence[int], temps: dict[Temp, int]
    ) -> int:
        if isinstance(place, Temp):
            if place not in temps:
                temps[place] = self._storage("temp", place.type)
            return temps[place]
        kind, i = place
        return self.at[node.inputs[i]] if kind == "input" else outputs[i]

    def _outputs(self) -> None:
        for i, value in enumerate(self.graph.outputs):
            storage = self.program.storages[self.at[value]]
            if storage.kind == "temp":
                storage.kind, storage.index, storage.type = "output", i, value.tensor  # the view that the caller sees
            else:
                self._copied(self.at[value], self._storage("output", value.tensor, i))

    def _updates(self) -> None:
        """Each new value of state is written where the state is, if that is safe, else copied there at the end."""
        pairs = [(self.at[new], self.at[state]) for state, new in self.graph.updates]
        late = [(s, t) for s, t in pairs if s != t and self.program.storages[s].kind != "temp"]
        # State that becomes the old value of other state is rescued first, whatever the order of the updates (a swap).
        late = [(self._rescued(s) if self.program.storages[s].kind == "weight" else s, t) for s, t in late]
        for source, target in pairs:
            if source == target or self.program.storages[source].kind != "temp":
                continue
            if self._safe_in_place(source, target):
                self.program.storages[source].kind = "weight"
                self.program.storages[source].index = self.program.storages[target].index
            else:
                late.append((source, target))
        for source, target in late:
            self._copied(source, target)

    def _rescued(self, source: int) -> int:
        copy = self._storage("temp", self.program.storages[source].type)
        self._copied(source, copy)
        self.writer[copy] = len(self.program.steps)
        return copy

    def _copied(self, source: int, target: int) -> None:
        self.program.copies.append(Copy(source, target))
        end = len(self.program.steps)
        self.readers.setdefault(source, []).append(
            (end, self.graph.inputs[0] if self.graph.inputs else self.graph.outputs[0])
        )

    def _safe_in_place(self, source: int, target: int) -> bool:
        """True if nothing reads the state after its new value is written, and the writing sweep reads it in step."""
        if self.program.storages[source].kind != "temp" or source not in self.writer:
            return False
        written = self.writer[source]
        if self.program.commit is not None and written < self.program.commit:
            return False
        shape = self.program.storages[target].type.shape
        for step, node in self.readers.get(target, []):
            if step > written:
                return False
            if step == written and not _elementwise_reads(node, self.program, self.at, target, shape):
                return False
        return True

    def _live_ranges(self) -> None:
        end = len(self.program.steps)
        for i, storage in enumerate(self.program.storages):
            storage.first = self.writer.get(i, end)
            storage.last = max([storage.first, *(step for step, _ in self.readers.get(i, []))])
        for number, step in enumerate(self.program.steps):
            for i in step.storages:
                storage = self.program.storages[i]
                storage.first = min(storage.first, number)
                storage.last = max(storage.last, number)


WRITES_ONCE = (MatMul, PanelMatMul, Reduction)  # anchors whose templates write an element once, with its epilogue


def _elementwise_reads(
    node: Value, program: Program, at: dict[Value, int], target: int, shape: Sequence[object]
) -> bool:
    """True if a kernel reads an element of `target` only when it makes the same element of its own results."""
    region: Region = region_of(node)
    body, anchor = region.body, region.anchor
    places = [inner for value, inner in zip(node.inputs, body.inputs, strict=True) if at[value] == target]
    if not all(inner.tensor.shape == shape == body.outputs[0].tensor.shape for inner in places):
        return False
    if anchor is None:
        return all(isinstance(n.op, Elementwise | Input) or not n.inputs for n in body.nodes)
    if not isinstance(anchor.op, WRITES_ONCE) or set(places) & set(reachable((anchor,))):
        return False
    behind = [n for inner in places for n in region.epilogue_of(inner)]
    return all(isinstance(n.op, Elementwise) and n.tensor.shape == shape for n in behind)
