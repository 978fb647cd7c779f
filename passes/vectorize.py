"""Values for a whole batch at once: every node is built again with one more axis in front.

A node none of whose inputs depends on the example stays as it is. Elementwise ops, reductions, products and ops that
move elements take the axis as one more; ops that have a batch axis of their own take both as one. What has no rule is
vectorised through its decomposition, and what has none either runs in a scan over the batch: slower, and right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from chainrule.ir.body import bodies, tells_sizes
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Get, Graph, Input, Value, build, new_input, reachable, rebuild, results
from chainrule.ir.op import Op
from chainrule.ops import softmax
from chainrule.ops.control import Checkpoint, Scan, checkpoint, scan
from chainrule.ops.conv import Conv
from chainrule.ops.cumulative import CumProd, CumSum, LinearRecurrence
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.indexing import Gather, ScatterAdd, TakeAlongAxis
from chainrule.ops.matmul import MatMul
from chainrule.ops.pool import AvgPool, MaxPool
from chainrule.ops.reduce import Position, Reduction
from chainrule.ops.shape_rules import axes_of, axis_of
from chainrule.ops.shaping import Concat, Expand, Flip, Pad, Reshape, Slice, Transpose, expand, reshape, transpose
from chainrule.ops.sorting import Argsort, Sort, TopK

# Ops whose inputs all have the axis that they work along.
ALONG_AXIS = (Position, softmax.AlongAxis, CumSum, CumProd, LinearRecurrence, Argsort, Sort, TopK, Concat,
              TakeAlongAxis, ScatterAdd)  # fmt: skip


@dataclass(frozen=True)
class Batched:
    """The results of a node: each with one more axis in front, or for every example the same."""

    values: tuple[Value, ...]
    varies: bool


def vectorized(outputs: Sequence[Value], batched: Mapping[Value, Value], size: Dim,
               same: Mapping[Value, Value] | None = None) -> list[Value]:  # fmt: skip
    """The outputs for all examples, stacked.

    batched: the stacked values of the inputs that differ between examples; same: the values of those that do not.
    """
    done: dict[Value, Batched] = {value: Batched((stacked,), True) for value, stacked in batched.items()}
    done |= {value: Batched((outer,), False) for value, outer in (same or {}).items()}
    _vectorize(outputs, done, size)
    return [_stacked(done[v].values[0], done[v].varies, size) for v in outputs]


def _stacked(value: Value, varies: bool, size: Dim) -> Value:
    return value if varies else expand(value, (size, *value.shape))


def _vectorize(roots: Sequence[Value], done: dict[Value, Batched], size: Dim) -> None:
    """Fills `done` for all that the roots reach. Calls itself for decompositions only."""
    for node in reachable(roots):
        if node in done:
            continue
        if isinstance(node.op, Get):
            source = done[node.inputs[0]]
            done[node] = Batched((source.values[node.op.index],), source.varies)
        elif isinstance(node.op, Input) or not any(done[v].varies for v in node.inputs):
            inputs = [done[v].values[0] for v in node.inputs]
            done[node] = Batched(results(rebuild(node, inputs)), False)
        else:
            done[node] = Batched(_made(node, [done[v] for v in node.inputs], size), True)


def _made(node: Value, inputs: Sequence[Batched], size: Dim) -> tuple[Value, ...]:
    told = any(tells_sizes(body) for body in bodies(node.op))
    rule = next((rule for kinds, rule in RULES if isinstance(node.op, kinds) and not told), None)
    found = None if rule is None else rule(_Case(node, inputs, size))
    if found is not None:
        return found if isinstance(found, tuple) else results(found)
    holders = [new_input(f"x{i}", v.tensor) for i, v in enumerate(node.inputs)]
    parts = node.op.decompose(*holders)
    if parts is None:
        return _one_by_one(node, inputs, size)
    outputs = parts if isinstance(parts, tuple) else (parts,)
    done = dict(zip(holders, inputs, strict=True))
    _vectorize(outputs, done, size)
    return tuple(_stacked(done[v].values[0], done[v].varies, size) for v in outputs)


def _one_by_one(node: Value, inputs: Sequence[Batched], size: Dim) -> tuple[Value, ...]:
    """The node on one example after the other."""
    own = [new_input(f"x{i}", v.tensor) for i, v in enumerate(node.inputs)]
    varying = [i for i, part in enumerate(inputs) if part.varies]
    fixed = [i for i, part in enumerate(inputs) if not part.varies]
    graph = Graph(node.op.name, tuple(own[i] for i in (*varying, *fixed)), results(rebuild(node, own)))
    return scan(graph, [], [inputs[i].values[0] for i in varying], [inputs[i].values[0] for i in fixed], size)


@dataclass(frozen=True)
class _Case:
    """A node with its inputs for the batch."""

    node: Value
    inputs: Sequence[Batched]
    size: Dim

    def aligned(self, rank: int) -> list[Value]:
        """The inputs so that they broadcast to one axis more than this rank: with axes of size 1 behind the batch."""
        found: list[Value] = []
        for part in self.inputs:
            value = part.values[0]
            missing = rank + 1 - value.rank
            if part.varies and missing:
                value = reshape(value, (value.shape[0], *(1,) * missing, *value.shape[1:]))
            found.append(value)
        return found

    def stacked(self) -> list[Value]:
        """The inputs, all with the batch in front."""
        return [_stacked(part.values[0], part.varies, self.size) for part in self.inputs]

    def on(self, op: Op) -> Value:
        """Another op on the stacked inputs."""
        return build(op, *self.stacked())


def _elementwise(case: _Case) -> Value:
    return build(case.node.op, *case.aligned(case.node.rank))


def _product(case: _Case) -> Value:
    return build(case.node.op, *case.aligned(max(v.rank for v in case.node.inputs)))


def _reduction(case: _Case) -> Value:
    op = case.node.op
    assert isinstance(op, Reduction)
    return case.on(replace(op, axes=tuple(a + 1 for a in axes_of(op.axes, case.node.inputs[0].rank))))


def _along_axis(case: _Case) -> Value:
    op = case.node.op
    assert isinstance(op, ALONG_AXIS)
    return case.on(replace(op, axis=axis_of(op.axis, case.node.inputs[0].rank) + 1))


def _gather(case: _Case) -> Value | None:
    """Rows of a table that all examples share, or the same rows of each example's."""
    op, (x, places) = case.node.op, case.inputs
    assert isinstance(op, Gather)
    axis = axis_of(op.axis, case.node.inputs[0].rank)
    if x.varies and places.varies:
        return None
    if x.varies:
        return build(replace(op, axis=axis + 1), x.values[0], places.values[0])
    made = build(replace(op, axis=axis), x.values[0], places.values[0])
    return transpose(made, (axis, *(i for i in range(made.rank) if i != axis)))


def _moved(case: _Case) -> Value | None:
    """Ops that move elements: by their attributes, with an entry for the batch in front."""
    match case.node.op:
        case Reshape() as op:
            return case.on(replace(op, shape=(case.size, *op.shape)))
        case Transpose() as op:
            return case.on(replace(op, perm=(0, *(axis_of(p, case.node.rank) + 1 for p in op.perm))))
        case Expand() as op:
            return build(replace(op, shape=(case.size, *op.shape)), *case.aligned(len(op.shape)))
        case Slice() as op:
            return case.on(replace(op, starts=(0, *op.starts), sizes=(case.size, *op.sizes), steps=(1, *op.steps)))
        case Pad() as op:
            return case.on(replace(op, before=(0, *op.before), after=(0, *op.after)))
        case Flip() as op:
            return case.on(replace(op, axes=tuple(a + 1 for a in axes_of(op.axes, case.node.rank))))
        case _:
            return None


def _merged(case: _Case) -> Value | None:
    """Ops with a batch axis of their own: both as one, where nothing but the first input differs between examples."""
    if any(part.varies for part in case.inputs[1:]) or len(results(case.node)) > 1:
        return None
    x = case.inputs[0].values[0]
    flat = reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))
    made = build(case.node.op, flat, *(part.values[0] for part in case.inputs[1:]))
    return reshape(made, (x.shape[0], x.shape[1], *made.shape[1:]))


def _scan(case: _Case) -> tuple[Value, ...]:
    """A scan of the whole batch: slices and results have it behind the axis of the steps."""
    op, size = case.node.op, case.size
    assert isinstance(op, Scan)
    last = op.carries + op.scanned
    given = [_stacked(p.values[0], p.varies, size) for p in case.inputs[: op.carries]]
    given += [_turned(p.values[0]) if p.varies else p.values[0] for p in case.inputs[op.carries : last]]
    given += [p.values[0] for p in case.inputs[last:]]
    varies = [i < op.carries or part.varies for i, part in enumerate(case.inputs)]
    own = [new_input(f"x{i}", v.tensor.with_shape((size, *v.shape)) if changes else v.tensor)
           for i, (v, changes) in enumerate(zip(op.body.inputs, varies, strict=True))]  # fmt: skip
    done = {v: Batched((new,), changes) for v, new, changes in zip(op.body.inputs, own, varies, strict=True)}
    _vectorize(op.body.outputs, done, size)
    outputs = tuple(_stacked(done[v].values[0], done[v].varies, size) for v in op.body.outputs)
    body = Graph(op.body.name, tuple(own), outputs)
    found = scan(body, given[: op.carries], given[op.carries : last], given[last:], op.length, op.reverse)
    return (*found[: op.carries], *map(_turned, found[op.carries :]))


def _turned(x: Value) -> Value:
    """The first two axes exchanged."""
    return transpose(x, (1, 0, *range(2, x.rank)))


def _checkpoint(case: _Case) -> tuple[Value, ...]:
    op = case.node.op
    assert isinstance(op, Checkpoint)
    stacked = case.stacked()
    own = [new_input(f"x{i}", v.tensor) for i, v in enumerate(stacked)]
    outputs = vectorized(op.body.outputs, dict(zip(op.body.inputs, own, strict=True)), case.size)
    return checkpoint(Graph(op.body.name, tuple(own), tuple(outputs)), stacked)


Rule = Callable[[_Case], "Value | tuple[Value, ...] | None"]
RULES: tuple[tuple[type[Op] | tuple[type[Op], ...], Rule], ...] = (
    (Elementwise, _elementwise),
    (MatMul, _product),
    (Reduction, _reduction),
    (ALONG_AXIS, _along_axis),
    (Gather, _gather),
    ((Reshape, Transpose, Expand, Slice, Pad, Flip), _moved),
    ((Conv, MaxPool, AvgPool), _merged),
    (Scan, _scan),
    (Checkpoint, _checkpoint),
)
