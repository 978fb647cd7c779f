"""Control flow: branches and loops are ops that hold graphs.

All that a body needs comes in through its inputs: first what its op says (carried values, slices), then the values
captured from around it. Bodies use the names of sizes of the graph around them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ChainruleError, DTypeError, ShapeError
from chainrule.ir.body import Body, Control, RunBody, body_of, tuple_of
from chainrule.ir.dims import Dim, dim_value
from chainrule.ir.graph import Graph, Input, Value, build, inline, new_input, rebuild, results
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, Type, bool_
from chainrule.ops.evaluate import run_body


def _plain(sizes: Mapping[str, int]) -> RunBody:
    return lambda body, arrays: run_body(body, arrays, sizes)


@dataclass(frozen=True)
class Cond(Control):
    """The outputs of one of two bodies. predicate: bool[], captured values -> the body's outputs.

    Only the body that is chosen runs. Both take the captured values and have outputs of the same types. Raises
    DTypeError for a predicate that is no bool, ShapeError for one that is no scalar and for bodies that do not fit.
    Source: ONNX If-19; jax.lax.cond.
    """

    name: ClassVar[str] = "cond"
    args: ClassVar[tuple[str, ...]] = ("predicate", "x*")
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "bodies"
    then: Body
    otherwise: Body

    def infer(self, *types: TensorType) -> Type:
        _expect_some(types, 1)
        _expect_flag("the predicate", types[0])
        for what, body in (("then", self.then), ("otherwise", self.otherwise)):
            _expect_inputs(what, body, types[1:])
        _expect_outputs("otherwise", self.otherwise, [v.tensor for v in self.then.outputs], "then gives")
        return _results_type([v.tensor for v in self.then.outputs])

    def executed(self, arrays: Sequence[Array], run: RunBody, sizes: Mapping[str, int]) -> tuple[Array, ...]:
        return tuple(run(self.then if bool(arrays[0]) else self.otherwise, arrays[1:]))

    def ref(self, *arrays: Array) -> Array | tuple[Array, ...]:
        return _bare(self.executed(arrays, _plain({}), {}))


@dataclass(frozen=True)
class Scan(Control):
    """A loop of `length` steps: carried values go from step to step, stacked ones are cut into slices and made of them.

    inputs: `carries` initial values, `scanned` arrays [length, ...], captured values. The body takes the carried
    values, a slice of each array, the captured values; it gives the next carried values and slices of results.
    -> the last carried values, then the results [length, ...]. reverse: step t has the slices length - 1 - t, also of
    results. A length of 0 gives the initial values and empty results. Raises ShapeError or DTypeError where a body does
    not fit, ArgumentError for a wrong count.
    Source: ONNX Scan-25 with all axes 0; jax.lax.scan.
    """

    name: ClassVar[str] = "scan"
    args: ClassVar[tuple[str, ...]] = ("x*",)
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "bodies"
    body: Body
    carries: int
    scanned: int
    length: Dim
    reverse: bool = False

    @property
    def captured(self) -> int:
        """How many values the body captures."""
        return len(self.body.inputs) - self.carries - self.scanned

    def infer(self, *types: TensorType) -> Type:
        _expect_counts(types, self.carries, self.scanned, len(self.body.outputs))
        if isinstance(self.length, int) and self.length < 0:
            raise ArgumentError(f"a length of {self.length} is negative", help="a scan has 0 steps or more")
        stacked = slice(self.carries, self.carries + self.scanned)
        slices = [_slice_type(i, t, self.length) for i, t in enumerate(types[stacked])]
        _expect_inputs("the body", self.body, [*types[: self.carries], *slices, *types[stacked.stop :]])
        _expect_outputs("the body", self.body, types[: self.carries], "it was given")
        made = [v.tensor for v in self.body.outputs[self.carries :]]
        return _results_type([*types[: self.carries], *(t.with_shape((self.length, *t.shape)) for t in made)])

    def executed(self, arrays: Sequence[Array], run: RunBody, sizes: Mapping[str, int]) -> tuple[Array, ...]:
        length = dim_value(self.length, sizes)
        carried = list(arrays[: self.carries])
        stacks = arrays[self.carries : self.carries + self.scanned]
        captured = arrays[self.carries + self.scanned :]
        made: list[Sequence[Array]] = []
        for step in range(length):
            place = length - 1 - step if self.reverse else step
            found = run(self.body, [*carried, *(x[place] for x in stacks), *captured])
            carried = list(found[: self.carries])
            made.append(found[self.carries :])
        ordered = made[::-1] if self.reverse else made
        outputs = [v.tensor for v in self.body.outputs[self.carries :]]
        return (*carried, *(_stacked([row[i] for row in ordered], t, sizes) for i, t in enumerate(outputs)))

    def ref(self, *arrays: Array) -> Array | tuple[Array, ...]:
        return _bare(self.executed(arrays, _plain({}), {}))


@dataclass(frozen=True)
class While(Control):
    """A loop that runs as long as its test holds. inputs: `carries` initial values, captured values.

    Both bodies take the carried and the captured values; `test` gives one bool, `body` the next carried values. -> the
    last carried values. max_trips: the body runs at most so often, whatever the test says; without a bound it must be
    the test that ends the loop, and there is no gradient.
    Raises ShapeError or DTypeError where a body does not fit, ArgumentError for a wrong count.
    Source: ONNX Loop-25 without scan outputs; jax.lax.while_loop.
    """

    name: ClassVar[str] = "while"
    args: ClassVar[tuple[str, ...]] = ("x*",)
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "bodies"
    test: Body
    body: Body
    carries: int
    max_trips: Dim | None = None

    @property
    def captured(self) -> int:
        """How many values the bodies capture."""
        return len(self.body.inputs) - self.carries

    def infer(self, *types: TensorType) -> Type:
        _expect_counts(types, self.carries, 0, len(self.body.outputs))
        _expect_inputs("the test", self.test, types)
        _expect_inputs("the body", self.body, types)
        if len(self.test.outputs) != 1:
            raise ArgumentError(f"the test gives {len(self.test.outputs)} values", help="it gives one bool")
        _expect_flag("the test's result", self.test.outputs[0].tensor)
        _expect_outputs("the body", self.body, types[: self.carries], "it was given")
        if len(self.body.outputs) != self.carries:
            raise ArgumentError(f"the body gives {len(self.body.outputs)} values for {self.carries} carried ones",
                                help="a loop without a count stacks nothing")  # fmt: skip
        return _results_type(types[: self.carries])

    def executed(self, arrays: Sequence[Array], run: RunBody, sizes: Mapping[str, int]) -> tuple[Array, ...]:
        left = None if self.max_trips is None else dim_value(self.max_trips, sizes)
        carried, captured = list(arrays[: self.carries]), arrays[self.carries :]
        while (left is None or left > 0) and bool(run(self.test, [*carried, *captured])[0]):
            carried = list(run(self.body, [*carried, *captured]))
            left = None if left is None else left - 1
        return tuple(carried)

    def ref(self, *arrays: Array) -> Array | tuple[Array, ...]:
        return _bare(self.executed(arrays, _plain({}), {}))


@dataclass(frozen=True)
class Checkpoint(Control):
    """The outputs of a body, whose gradient computes the body again instead of keeping what it computed.

    inputs: those of the body -> its outputs. The body stays apart from the nodes around it, so that nothing computed in
    it is shared with the second time. Raises ShapeError or DTypeError for inputs that do not fit.
    Source: Griewank and Walther, ACM TOMS 26(1), 2000; jax.checkpoint.
    """

    name: ClassVar[str] = "checkpoint"
    args: ClassVar[tuple[str, ...]] = ("x*",)
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "bodies"
    body: Body

    def infer(self, *types: TensorType) -> Type:
        _expect_inputs("the body", self.body, types)
        return _results_type([v.tensor for v in self.body.outputs])

    def executed(self, arrays: Sequence[Array], run: RunBody, sizes: Mapping[str, int]) -> tuple[Array, ...]:
        return tuple(run(self.body, arrays))

    def ref(self, *arrays: Array) -> Array | tuple[Array, ...]:
        return _bare(self.executed(arrays, _plain({}), {}))


@dataclass(frozen=True)
class CustomVjp(Op):
    """The outputs of a body whose gradient is stated by two other bodies.

    inputs: those of primal -> its outputs. forward takes the same and gives the outputs, then what backward needs.
    backward takes that, then one gradient for each output; it gives those of the inputs whose places are `wrt`.
    Raises ShapeError or DTypeError where bodies or inputs do not fit, ArgumentError for wrong counts.
    Source: jax.custom_vjp; torch.autograd.Function.
    """

    name: ClassVar[str] = "custom_vjp"
    args: ClassVar[tuple[str, ...]] = ("x*",)
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "vjp"
    primal: Body
    forward: Body
    backward: Body
    wrt: tuple[int, ...]

    def infer(self, *types: TensorType) -> Type:
        outputs = [v.tensor for v in self.primal.outputs]
        _expect_inputs("primal", self.primal, types)
        _expect_inputs("forward", self.forward, types)
        _expect_outputs("forward", self.forward, outputs, "primal gives")
        kept = [v.tensor for v in self.forward.outputs[len(outputs) :]]
        _expect_inputs("backward", self.backward, [*kept, *outputs])
        _expect_outputs("backward", self.backward, [types[i] for i in self.wrt], "the inputs are")
        return _results_type(outputs)

    def ref(self, *arrays: Array) -> Array | tuple[Array, ...]:
        return _bare(tuple(_plain({})(self.primal, arrays)))

    def decompose(self, *inputs: Value) -> Value | tuple[Value, ...]:
        found = inline(self.primal, inputs)
        return found[0] if len(found) == 1 else found

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        kept = inline(self.forward, inputs)[len(self.primal.outputs) :]
        found = dict(zip(self.wrt, inline(self.backward, (*kept, *grads)), strict=True))
        return [found.get(i) for i in range(len(inputs))]


def _bare(found: tuple[Array, ...]) -> Array | tuple[Array, ...]:
    return found[0] if len(found) == 1 else found


def _stacked(rows: Sequence[Array], type: TensorType, sizes: Mapping[str, int]) -> Array:
    if rows:
        return np.stack([np.asarray(row) for row in rows])
    return np.zeros((0, *(dim_value(d, sizes) for d in type.shape)), type.dtype.numpy)


def _results_type(types: Sequence[TensorType]) -> Type:
    if not types:
        raise ArgumentError("it has no result", help="carry or stack a value")
    return tuple_of(types)


def _slice_type(index: int, type: TensorType, length: Dim) -> TensorType:
    if type.rank == 0 or type.shape[0] != length:
        raise ShapeError(f"the stacked array {index} is {type}, the loop has {length} steps",
                         help="its first axis is that of the steps")  # fmt: skip
    return type.with_shape(type.shape[1:])


def _expect_some(types: Sequence[TensorType], count: int) -> None:
    if len(types) < count:
        raise ArgumentError(f"it takes at least {count} inputs, {len(types)} were given")


def _expect_counts(types: Sequence[TensorType], carries: int, scanned: int, outputs: int) -> None:
    if carries < 0 or scanned < 0:
        raise ArgumentError(f"{carries} carried and {scanned} stacked values are no counts")
    _expect_some(types, carries + scanned)
    if outputs < carries:
        raise ArgumentError(f"the body gives {outputs} values for {carries} carried ones",
                            help="it gives the next value of each")  # fmt: skip


def _expect_flag(what: str, type: TensorType) -> None:
    if type.dtype != bool_:
        raise DTypeError(f"{what} is {type}, not a bool", help="compare: x > 0")
    if type.rank != 0:
        raise ShapeError(f"{what} is {type}, not one bool", help="reduce it with any or all")


def _expect_inputs(what: str, body: Body, types: Sequence[TensorType]) -> None:
    if len(body.inputs) != len(types):
        raise ArgumentError(f"{what} takes {len(body.inputs)} values, {len(types)} were given")
    for value, type in zip(body.inputs, types, strict=True):
        assert isinstance(value.op, Input)
        if value.tensor != type:
            raise _unfit(f'{what} takes {value.tensor} as "{value.op.name_}", it was given {type}', value.tensor, type)


def _expect_outputs(what: str, body: Body, types: Sequence[TensorType], other: str) -> None:
    found = [v.tensor for v in body.outputs[: len(types)]]
    if len(found) != len(types):
        raise ArgumentError(f"{what} gives {len(found)} values, {other} {len(types)}")
    for i, (given, wanted) in enumerate(zip(found, types, strict=True)):
        if given != wanted:
            raise _unfit(f"{what} gives {given} as value {i}, {other} {wanted}", given, wanted)


def _unfit(cause: str, given: TensorType, wanted: TensorType) -> ChainruleError:
    kind = DTypeError if given.shape == wanted.shape else ShapeError
    return kind(cause, help="the types of a value stay the same from step to step and from branch to branch")


def cond(predicate: Value, then: Graph, otherwise: Graph, captured: Sequence[Value] = ()) -> tuple[Value, ...]:
    """The results of one of two graphs on the captured values."""
    bodies = [body_of(with_roles(branch, ["input"] * len(captured))) for branch in (then, otherwise)]
    return results(build(Cond(*bodies), predicate, *captured))


def checkpoint(body: Graph, inputs: Sequence[Value]) -> tuple[Value, ...]:
    """The outputs of a graph that is computed again for its gradient."""
    return results(build(Checkpoint(body_of(with_roles(body, ["input"] * len(inputs)))), *inputs))


def scan(body: Graph, init: Sequence[Value], stacked: Sequence[Value], captured: Sequence[Value], length: Dim,
         reverse: bool = False) -> tuple[Value, ...]:  # fmt: skip
    """The last carried values of a loop, then its stacked results."""
    op = Scan(loop_body(body, len(captured)), len(init), len(stacked), length, reverse)
    return results(build(op, *init, *stacked, *captured))


def while_(test: Graph, body: Graph, init: Sequence[Value], captured: Sequence[Value],
           max_trips: Dim | None = None) -> tuple[Value, ...]:  # fmt: skip
    """The last carried values of a loop with a test."""
    op = While(loop_body(test, len(captured)), loop_body(body, len(captured)), len(init), max_trips)
    return results(build(op, *init, *captured))


def loop_body(graph: Graph, captured: int) -> Body:
    """The graph as a loop's body: its last `captured` inputs have the role "param", the others "input"."""
    first = len(graph.inputs) - captured
    roles = ["param" if i >= first else "input" for i in range(len(graph.inputs))]
    return body_of(with_roles(graph, roles))


def one_captured(own: int, parts: Sequence[tuple[Graph, Sequence[Value]]]) -> tuple[list[Graph], list[Value]]:
    """Graphs that capture the same values, for bodies of one op; and these values.

    own: how many inputs of each graph are no captures. parts: graphs with the values that their further inputs are.
    """
    captured = list(dict.fromkeys(v for _, values in parts for v in values))
    graphs: list[Graph] = []
    for graph, values in parts:
        holders = dict(zip(values, graph.inputs[own:], strict=True))
        inputs = (holders.get(v) or new_input(f"unused{i}", v.tensor, "param") for i, v in enumerate(captured))
        graphs.append(graph.replace(inputs=(*graph.inputs[:own], *inputs)))
    return graphs, captured


def with_roles(graph: Graph, roles: Sequence[str]) -> Graph:
    """The graph with other roles for its inputs."""
    onto: dict[Value, Value] = {}
    for value, role in zip(graph.inputs, roles, strict=True):
        assert isinstance(value.op, Input)
        onto[value] = value if value.op.role == role else new_input(value.op.name_, value.tensor, role)  # type: ignore[arg-type]
    return graph if all(a is b for a, b in onto.items()) else with_inputs(graph, onto)


def with_inputs(graph: Graph, onto: Mapping[Value, Value], outputs: Sequence[Value] | None = None) -> Graph:
    """The graph with inputs replaced by other inputs, one for each that the outputs need."""
    done = dict(onto)
    wanted = graph.outputs if outputs is None else tuple(outputs)
    for node in graph.replace(outputs=wanted).nodes:
        if node not in done:
            done[node] = rebuild(node, tuple(done[v] for v in node.inputs))
    inputs = tuple(dict.fromkeys(done[v] for v in graph.inputs))
    sizes = tuple((name, done[v]) for name, v in graph.sizes)
    return graph.replace(inputs=inputs, outputs=tuple(done[v] for v in wanted), sizes=sizes)


OPS: tuple[type[Op], ...] = (Cond, Scan, While, Checkpoint, CustomVjp)
