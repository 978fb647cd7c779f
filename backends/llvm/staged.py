"""Programs whose sizes depend on data run in stages: each ends where sizes are told, and the next is bound to them.

A stage is a graph like any other, compiled for its symbols; its frames are kept by their values. What an earlier stage
computed and a later one needs is carried over as an array. A size that stands in no shape of a stage's inputs comes in
as the length of an array of bools that nothing reads. Where no size depends on data nothing of this file is used.

A branch or a loop in whose bodies data tells sizes is a stage of its own: what it says is done here, round by round,
and each of its bodies is a program of its own, in stages again.
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
from chainrule.backends.reference.interpreter import evaluate, size_told
from chainrule.errors import ArgumentError, ChainruleError
from chainrule.ir.body import Body, Control, bodies, tells_sizes, with_bodies_of
from chainrule.ir.dims import DimExpr, symbol
from chainrule.ir.graph import Get, Graph, Input, Value, input_name, new_input, on_inputs, rebuild, symbols_of
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

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """What runs as native code."""
        return (self.graph,)


@dataclass(frozen=True)
class Hosted:
    """A branch or a loop that runs round by round. gives: what takes its results, by their places."""

    node: Value
    gives: tuple[tuple[int, Value], ...]

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """What runs as native code: the stages of its bodies."""
        return tuple(part for body in bodies(self.node.op) for stage in stages(body) for part in stage.graphs)


@dataclass(frozen=True)
class _Cut:
    """Where the graph is cut: behind values that tell sizes, or around a node that is hosted."""

    tells: tuple[tuple[str, Value], ...] = ()
    hosted: Value | None = None


def stages(graph: Graph) -> list[Stage | Hosted]:
    """The graph cut where sizes are told."""
    cuts = _cuts(graph)
    ready: set[Value] = set()
    parts: list[tuple[list[Value], list[Value]]] = []  # roots, then the nodes of each stage
    for cut in cuts:
        roots = [v for v in cut.hosted.inputs if _is_carried(v)] if cut.hosted else [v for _, v in cut.tells]
        roots = list(graph.results) if cut is cuts[-1] else roots
        nodes = _needed(graph, roots, ready)
        parts.append((roots, nodes))
        ready.update(nodes)
        if cut.hosted is not None:
            ready.update((cut.hosted, *_parts(graph, cut.hosted)))
    found: list[Stage | Hosted] = []
    for i, (cut, (roots, nodes)) in enumerate(zip(cuts, parts, strict=True)):
        later = {v for _, more in parts[i + 1 :] for node in more for v in node.inputs}
        later |= {root for roots_after, _ in parts[i + 1 :] for root in roots_after}
        own = set(nodes)
        carried = [v for v in nodes if v in later and v not in roots and _is_carried(v)]
        made = roots if cut.hosted is None else [v for v in roots if v in own]
        gives = tuple(roots) if cut is cuts[-1] else (*dict.fromkeys(made), *carried)
        if gives or cut is cuts[-1]:
            found.append(_stage(graph, i, nodes, own, gives, cut is cuts[-1], cut.tells))
        if cut.hosted is not None:
            single = isinstance(cut.hosted.type, TensorType)
            found.append(Hosted(cut.hosted, ((0, cut.hosted),) if single else tuple(
                (v.op.index, v) for v in _parts(graph, cut.hosted) if isinstance(v.op, Get))))  # fmt: skip
    return found


def _parts(graph: Graph, node: Value) -> list[Value]:
    """What takes the results of a node that has several."""
    return [] if isinstance(node.type, TensorType) else [v for v in graph.users[node] if isinstance(v.op, Get)]


def _is_hosted(node: Value) -> bool:
    """True for a branch or a loop in whose bodies data tells sizes."""
    return any(tells_sizes(body) for body in bodies(node.op))


def _is_carried(value: Value) -> bool:
    """What no node computes is made again; of several results the parts are carried."""
    return bool(value.inputs) and isinstance(value.type, TensorType)


def _cuts(graph: Graph) -> list[_Cut]:
    """What ends the stages: sizes, those together that can be told by one, and what is hosted; last the results."""
    cuts: list[_Cut] = []
    hosted: set[Value] = set()
    open_names: set[str] = set()
    for name, value in graph.sizes:
        nodes = _needed(graph, [value], set())
        fresh = [node for node in nodes if node not in hosted and _is_hosted(node)]
        hosted.update(fresh)
        cuts += [_Cut(hosted=node) for node in fresh]
        if not cuts or cuts[-1].hosted or any(open_names & symbols_of(node) for node in nodes):
            cuts.append(_Cut())
            open_names = set()
        cuts[-1] = _Cut((*cuts[-1].tells, (name, value)))
        open_names.add(name)
    rest = [node for node in graph.nodes if node not in hosted and _is_hosted(node)]
    return [*cuts, *(_Cut(hosted=node) for node in rest), _Cut()]


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


def _stage(graph: Graph, number: int, nodes: Sequence[Value], own: set[Value], gives: Sequence[Value], last: bool,
           tells: tuple[tuple[str, Value], ...]) -> Stage:  # fmt: skip
    """One part as a graph, with inputs for what comes from the call, the weights and earlier stages."""
    outside = dict.fromkeys(v for node in nodes for v in node.inputs if v not in own)
    outside |= dict.fromkeys(v for v in gives if v not in own)
    updates = graph.updates if last else ()
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


@dataclass(frozen=True, eq=False)
class _Options:
    """How the parts of a program are made."""

    threads: int | None
    target: Target | None
    passes: Pipeline | None
    check: Check | None

    def program(self, graph: Graph, weights: Sequence[Array]) -> LlvmExecutable:
        """A part that tells no sizes."""
        return LlvmExecutable(graph, weights, threads=self.threads, target=self.target, passes=self.passes,
                              check=self.check)  # fmt: skip


class _BodyProgram:
    """A body as a program: what it captures comes in with each call, and so do sizes that none of its inputs has."""

    def __init__(self, body: Body, options: _Options) -> None:
        own = [new_input(input_name(v), v.tensor) for v in body.inputs]
        graph = on_inputs(body, own)
        told = {name for name, _ in graph.sizes}
        self.lengths = tuple(name for name in _untold(own, graph.nodes) if name not in told)
        carriers = tuple(new_input(f"length_{name}", TensorType(bool_, (symbol(name),))) for name in self.lengths)
        graph = Graph(body.name, (*own, *carriers), graph.outputs, sizes=graph.sizes)
        self.dtypes = [v.dtype.numpy for v in own]
        self.program = _StagedProgram(graph, [], options) if tells_sizes(graph) else options.program(graph, [])

    def run(self, arrays: Sequence[Array], sizes: Mapping[str, int]) -> list[Array]:
        """The body's outputs."""
        given = [np.asarray(a, dtype, order="C") for a, dtype in zip(arrays, self.dtypes, strict=True)]
        return self.program.run([*given, *(np.empty(sizes[name], np.bool_) for name in self.lengths)])

    @property
    def programs(self) -> Sequence[LlvmExecutable]:
        """What runs as native code."""
        return self.program.programs if isinstance(self.program, _StagedProgram) else [self.program]


class _StagedProgram:
    """The stages of a graph as programs. weights: as of LlvmExecutable."""

    def __init__(self, graph: Graph, weights: Sequence[Array], options: _Options) -> None:
        self.graph = graph
        self.stages = stages(graph)
        self.stored = dict(zip(graph.by_role("param", "state"), weights, strict=True))
        self.parts = [self._made(stage, options) for stage in self.stages]

    def _made(self, stage: Stage | Hosted, options: _Options) -> LlvmExecutable | dict[Body, _BodyProgram]:
        if isinstance(stage, Hosted):
            return {body: _BodyProgram(body, options) for body in bodies(stage.node.op)}
        return options.program(stage.graph, [self.stored[v] for v in stage.graph.by_role("param", "state")])

    @property
    def programs(self) -> Sequence[LlvmExecutable]:
        """What runs as native code, the bodies of loops included."""
        return [program for part in self.parts for program in (
            [part] if isinstance(part, LlvmExecutable) else [p for body in part.values() for p in body.programs])]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs for contiguous arrays of the declared dtypes. Raises ShapeError for sizes that do not fit."""
        called = self.graph.called
        sizes = bind_sizes(called, arrays)
        held = self.stored | dict(zip(called.inputs, arrays, strict=True))
        outputs: list[Array] = []
        for stage, part in zip(self.stages, self.parts, strict=True):
            if isinstance(stage, Hosted):
                assert isinstance(part, dict)
                held |= _hosted(stage, part, held, sizes)
                continue
            assert isinstance(part, LlvmExecutable)
            given = [held[v] for v, own in zip(stage.takes, stage.graph.inputs, strict=False) if _is_argument(own)]
            outputs = part.run([*given, *(np.empty(sizes[name], np.bool_) for name in stage.lengths)])
            held |= dict(zip(stage.gives, outputs, strict=True))
            sizes |= {name: size_told(name, value, held[value]) for name, value in stage.tells}
        return outputs


def _hosted(stage: Hosted, programs: Mapping[Body, _BodyProgram], held: Mapping[Value, Array],
            sizes: Mapping[str, int]) -> dict[Value, Array]:  # fmt: skip
    """The results of a branch or a loop."""
    op = stage.node.op
    assert isinstance(op, Control)

    def run(body: Graph, arrays: Sequence[Array]) -> Sequence[Array]:
        assert isinstance(body, Body)
        return programs[body].run(arrays, sizes)

    found = op.executed([_number(v, held, sizes) for v in stage.node.inputs], run, sizes)
    return {value: np.asarray(found[place], value.dtype.numpy, order="C") for place, value in stage.gives}


def _number(value: Value, held: Mapping[Value, Array], sizes: Mapping[str, int]) -> Array:
    """A value that is there, or that no node computes."""
    return held[value] if value in held else evaluate(value, [], sizes, precise=False)[0]


class StagedExecutable:
    """A graph that tells sizes, as native code in stages. weights: as of LlvmExecutable."""

    def __init__(
        self, graph: Graph, weights: Sequence[Array], *, threads: int | None = None, target: Target | None = None,
        passes: Pipeline | None = None, check: Check | None = None,
    ) -> None:  # fmt: skip
        self.source = graph
        self.weights = list(weights)
        self.staged = _StagedProgram(graph, weights, _Options(threads, target, passes, check))
        self.parts = self.staged.programs
        self.reports: list[PassReport] = [report for part in self.parts for report in part.reports]
        self.graph = graph
        self.entry: Callable[..., object] = lambda *arrays: NotImplemented

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs for contiguous arrays of the declared dtypes. Raises ShapeError for sizes that do not fit."""
        return self.staged.run(arrays)

    def refresh(self) -> None:
        """Computes again what is derived from the weights, after they were changed."""
        for part in self.parts:
            part.refresh()

    def explained(self, error: ChainruleError, arrays: Sequence[Array]) -> ChainruleError:
        """The error itself: `run` has explained it."""
        return error

    def bound(self, dims: Mapping[str, int]) -> object:
        """There is no plan before the data is there."""
        names = [name for part in with_bodies_of(self.source) for name, _ in part.sizes]
        raise ArgumentError("the memory that a call needs depends on its data",
                            help=f"the sizes {', '.join(names)} do")

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
