"""Programs whose sizes depend on data run in stages: each ends where sizes are told, and the next is bound to them.

A stage is a graph like any other, compiled for its symbols; its frames are kept by their values. What an earlier stage
computed and a later one needs is carried over as an array. A size that stands in no shape of a stage's inputs comes in
as the length of an array of bools that nothing reads. Where no size depends on data nothing of this file is used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.program import Step
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Function
from chainrule.backends.reference import bind_sizes
from chainrule.backends.reference.interpreter import size_told
from chainrule.errors import ArgumentError, ChainruleError
from chainrule.ir.dims import DimExpr, symbol
from chainrule.ir.graph import Get, Graph, Input, Value, new_input, rebuild, symbols_of
from chainrule.ir.op import Array
from chainrule.ir.types import TensorType, bool_
from chainrule.passes.base import Check, PassReport, Pipeline


@dataclass(frozen=True)
class Stage:
    """A part of a program. takes: the values of the whole that its first inputs are; gives: those of its outputs.

    lengths: the symbols that its further call inputs are as long as. tells: the symbols that it computes.
    """

    graph: Graph
    takes: tuple[Value, ...]
    gives: tuple[Value, ...]
    lengths: tuple[str, ...]
    tells: tuple[tuple[str, Value], ...]


def stages(graph: Graph) -> list[Stage]:
    """The graph cut where sizes are told."""
    groups = _groups(graph)
    ready: set[Value] = set()
    parts: list[tuple[list[Value], list[Value]]] = []  # roots, then the nodes of each stage
    for roots in [*([v for _, v in group] for group in groups), list(graph.results)]:
        nodes = _needed(graph, roots, ready)
        parts.append((roots, nodes))
        ready.update(nodes)
    found: list[Stage] = []
    for i, (roots, nodes) in enumerate(parts):
        later = {v for _, more in parts[i + 1 :] for node in more for v in node.inputs}
        later |= {root for roots_after, _ in parts[i + 1 :] for root in roots_after}
        own = set(nodes)
        carried = [v for v in nodes if v in later and v not in roots and _is_carried(v)]
        last = i == len(parts) - 1
        gives = tuple(roots) if last else (*dict.fromkeys(roots), *carried)
        found.append(_stage(graph, i, nodes, own, gives, () if last else tuple(groups[i])))
    return found


def _is_carried(value: Value) -> bool:
    """What no node computes is made again; of several results the parts are carried."""
    return bool(value.inputs) and isinstance(value.type, TensorType)


def _groups(graph: Graph) -> list[list[tuple[str, Value]]]:
    """The sizes, those together that can be told by one stage."""
    groups: list[list[tuple[str, Value]]] = []
    open_names: set[str] = set()
    for name, value in graph.sizes:
        nodes = _needed(graph, [value], set())
        if not groups or any(open_names & symbols_of(node) for node in nodes):
            groups.append([])
            open_names = set()
        groups[-1].append((name, value))
        open_names.add(name)
    return groups


def _needed(graph: Graph, roots: Sequence[Value], ready: set[Value]) -> list[Value]:
    """The nodes that the roots need beside those that are ready, in the order of the graph."""
    found: set[Value] = set()
    stack = [r for r in roots if not (r in ready and _is_carried(r))]
    while stack:
        node = stack.pop()
        if node in found or isinstance(node.op, Input):
            continue
        found.add(node)
        stack.extend(v for v in node.inputs if not (v in ready and _is_carried(v)))
    parts = {user for node in found if not isinstance(node.type, TensorType) for user in graph.users[node]
             if isinstance(user.op, Get)}  # fmt: skip
    return [node for node in graph.nodes if node in found or node in parts]


def _stage(graph: Graph, number: int, nodes: Sequence[Value], own: set[Value], gives: Sequence[Value],
           tells: tuple[tuple[str, Value], ...]) -> Stage:  # fmt: skip
    """One part as a graph, with inputs for what comes from the call, the weights and earlier stages."""
    outside = dict.fromkeys(v for node in nodes for v in node.inputs if v not in own)
    outside |= dict.fromkeys(v for v in gives if v not in own)
    updates = () if tells else graph.updates
    outside |= dict.fromkeys(state for state, _ in updates)
    place = graph.order
    takes = sorted(outside, key=lambda v: place[v])
    onto = {v: v if isinstance(v.op, Input) else new_input(f"carried{i}", v.tensor) for i, v in enumerate(takes)}
    lengths = _untold(onto.values(), nodes)
    carriers = tuple(new_input(f"length_{name}", TensorType(bool_, (symbol(name),))) for name in lengths)
    done = dict(onto)
    for node in nodes:
        done[node] = rebuild(node, tuple(done[v] for v in node.inputs))
    count = len(gives) - len(updates)
    made = tuple(done[v] for v in gives)
    part = Graph(f"{graph.name}.{number}", (*onto.values(), *carriers), made[:count],
                 tuple((state, new) for (state, _), new in zip(updates, made[count:], strict=True)))  # fmt: skip
    return Stage(part, tuple(takes), tuple(gives[:count]), lengths, tells)


def _untold(inputs: Collection[Value], nodes: Iterable[Value]) -> tuple[str, ...]:
    """The symbols that nodes or the inputs' shapes mention and that are no axis of the inputs: an axis may be K + M."""
    told = {d.symbol_name() for v in inputs for d in v.shape if isinstance(d, DimExpr)}
    return tuple(sorted({name for value in (*inputs, *nodes) for name in symbols_of(value)} - told))


class StagedExecutable:
    """A graph that tells sizes, as native code in stages. weights: as of LlvmExecutable."""

    def __init__(
        self, graph: Graph, weights: Sequence[Array], *, threads: int | None = None, target: Target | None = None,
        passes: Pipeline | None = None, check: Check | None = None,
    ) -> None:  # fmt: skip
        self.source = graph
        self.weights = list(weights)
        self.stages = stages(graph)
        stored = dict(zip(graph.by_role("param", "state"), weights, strict=True))
        self.parts = [LlvmExecutable(s.graph, [stored[v] for v in s.graph.by_role("param", "state")], threads=threads,
                                     target=target, passes=passes, check=check)
                      for s in self.stages]  # fmt: skip
        self.reports: list[PassReport] = [report for part in self.parts for report in part.reports]
        self.graph = graph
        self.entry: Callable[..., object] = lambda *arrays: NotImplemented

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs for contiguous arrays of the declared dtypes. Raises ShapeError for sizes that do not fit."""
        called = self.source.called
        sizes = bind_sizes(called, arrays)
        held: dict[Value, Array] = dict(zip(called.inputs, arrays, strict=True))
        outputs: list[Array] = []
        for stage, part in zip(self.stages, self.parts, strict=True):
            given = [held[v] for v, own in zip(stage.takes, stage.graph.inputs, strict=False) if _is_argument(own)]
            outputs = part.run([*given, *(np.empty(sizes[name], np.bool_) for name in stage.lengths)])
            held |= dict(zip(stage.gives, outputs, strict=True))
            sizes |= {name: size_told(name, value, held[value]) for name, value in stage.tells}
        return outputs

    def refresh(self) -> None:
        """Computes again what is derived from the weights, after they were changed."""
        for part in self.parts:
            part.refresh()

    def explained(self, error: ChainruleError, arrays: Sequence[Array]) -> ChainruleError:
        """The error itself: `run` has explained it."""
        return error

    def bound(self, dims: Mapping[str, int]) -> object:
        """There is no plan before the data is there."""
        raise ArgumentError("the memory that a call needs depends on its data",
                            help="the sizes " + ", ".join(name for name, _ in self.source.sizes) + " do")  # fmt: skip

    @property
    def functions(self) -> Sequence[Function]:
        """The distinct kernels of all stages."""
        return [function for part in self.parts for function in part.functions]

    @property
    def steps(self) -> Sequence[Step]:
        """The kernel calls of one run, in order."""
        return [step for part in self.parts for step in part.steps]


def _is_argument(value: Value) -> bool:
    assert isinstance(value.op, Input)
    return value.op.role == "input"
