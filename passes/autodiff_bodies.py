"""The gradients of branches and loops are branches and loops.

A branch's is a branch whose bodies are the gradients of its bodies. A scan's is a second scan, the other way round: it
carries the gradients of the carried values and, summed up over the steps, those of the captured ones. What it must know
of the forward steps, and cannot easily compute again, the forward scan stacks. That forward scan is built anew, with
more results; passes.merge_scans makes one of the two. A loop with a test is differentiated as a scan of as many steps
as it may have, each of which does nothing once the test has failed.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from chainrule.errors import NotSupported
from chainrule.ir.body import Body, bodies, body_of, tells_sizes
from chainrule.ir.graph import Get, Graph, Input, Value, build, inline, new_input, reachable, rebuild, results
from chainrule.ops.basic import Full, zeros_like
from chainrule.ops.control import Checkpoint, Cond, Scan, While, checkpoint, cond, scan
from chainrule.ops.elementwise import Elementwise, add
from chainrule.ops.shaping import Expand, Reshape, Transpose
from chainrule.passes.autodiff_sums import split

Gradients = Sequence[Value | None]


def bodies_vjp(node: Value, grads: Sequence[Value]) -> Gradients:
    """The gradients for the inputs of a branch or loop, given one gradient for each result."""
    if any(tells_sizes(body) for body in bodies(node.op)):
        raise NotSupported(f"{node.op.name}: there is no gradient where data tells sizes in a body", loc=node.loc,
                           help="multiply by a mask instead of taking elements")  # fmt: skip
    match node.op:
        case Cond():
            return _cond_vjp(node, node.op, grads)
        case Scan():
            return _scan_vjp(node, node.op, grads)
        case While():
            return _while_vjp(node, node.op, grads)
        case Checkpoint():
            return _checkpoint_vjp(node, node.op, grads)
        case _:
            raise AssertionError(f"{node.op.name} has no gradient of its bodies")


def _is_zero(grad: Value) -> bool:
    return isinstance(grad.op, Full) and grad.op.value == 0


def _seeded(body: Body, wanted: Sequence[int], label: str) -> dict[int, Value]:
    """A placeholder for the gradient of each of these outputs."""
    return {i: new_input(f"{label}{i}", body.outputs[i].tensor) for i in wanted}


def _pulled(body: Body, seeds: dict[int, Value]) -> list[Value | None]:
    """The gradient of each input of a body, for placeholders of the gradients of some outputs."""
    from chainrule.passes.autodiff import gradients

    floats = [v for v in body.inputs if v.dtype.is_float]
    found = dict(zip(floats, gradients([body.outputs[i] for i in seeds], floats, list(seeds.values())), strict=True))
    return [found.get(v) for v in body.inputs]


def _cond_vjp(node: Value, op: Cond, grads: Sequence[Value]) -> Gradients:
    wanted = [i for i, g in enumerate(grads) if g.dtype.is_float and not _is_zero(g)]
    branches = [(body, seeds := _seeded(body, wanted, "g"), _pulled(body, seeds)) for body in (op.then, op.otherwise)]
    reached = [i for i in range(len(op.then.inputs)) if any(found[i] is not None for _, _, found in branches)]
    if not reached:
        return [None] * len(node.inputs)
    graphs = []
    for body, seeds, found in branches:
        outputs = tuple(zeros_like(body.inputs[i]) if (g := found[i]) is None else g for i in reached)
        graphs.append(Graph(f"{body.name}_vjp", (*body.inputs, *seeds.values()), outputs))
    captured = [*node.inputs[1:], *(grads[i] for i in wanted)]
    made = dict(zip(reached, cond(node.inputs[0], graphs[0], graphs[1], captured), strict=True))
    return [None, *(made.get(i) for i in range(len(op.then.inputs)))]


def _checkpoint_vjp(node: Value, op: Checkpoint, grads: Sequence[Value]) -> Gradients:
    """The body once more, and its gradient behind it, in one body that keeps both from the nodes around."""
    wanted = [i for i, g in enumerate(grads) if g.dtype.is_float and not _is_zero(g)]
    seeds = _seeded(op.body, wanted, "g")
    found = _pulled(op.body, seeds)
    reached = [i for i, g in enumerate(found) if g is not None]
    if not reached:
        return found
    graph = Graph(f"{op.body.name}_vjp", (*op.body.inputs, *seeds.values()), tuple(_present(found[i]) for i in reached))
    made = dict(zip(reached, checkpoint(graph, [*node.inputs, *(grads[i] for i in wanted)]), strict=True))
    return [made.get(i) for i in range(len(node.inputs))]


@dataclass(frozen=True)
class _Backward:
    """One backward step of a scan. seeds: placeholders for gradients of outputs; found: the gradients of inputs."""

    seeds: dict[int, Value]
    found: list[Value | None]


def _backward_step(op: Scan, grads: Sequence[Value]) -> _Backward:
    """The gradient of a step; a carried value has one where its last value or any step needs it."""
    wanted = {i for i, g in enumerate(grads) if g.dtype.is_float and not _is_zero(g)}
    while True:
        seeds = _seeded(op.body, sorted(wanted), "g")
        found = _pulled(op.body, seeds)
        more = {i for i in range(op.carries) if found[i] is not None} - wanted
        if not more:
            return _Backward(seeds, found)
        wanted |= more


def _scan_vjp(node: Value, op: Scan, grads: Sequence[Value]) -> Gradients:
    step = _backward_step(op, grads)
    first = op.carries + op.scanned
    stacked = [i for i in range(op.carries, first) if step.found[i] is not None]
    captured = [i for i in range(first, len(op.body.inputs)) if step.found[i] is not None]
    slices = [_present(step.found[i]) for i in stacked]
    fixed = _same_in_every_step(op.body)
    parts = dict(zip(captured, split([_present(step.found[i]) for i in captured], slices, lambda v: v not in fixed),
                     strict=True))  # fmt: skip
    summed = {i: part.rest for i, part in parts.items() if part.rest is not None}
    operands = list(dict.fromkeys(v for part in parts.values() for term in part.late for v in term.operands))
    of_forward = [v for v in operands if v in op.body.order]
    made = list(dict.fromkeys([*slices, *(v for v in operands if v not in op.body.order)]))

    carried = [i for i in step.seeds if i < op.carries]
    sums = {i: new_input(f"sum{i}", op.body.inputs[i].tensor) for i in summed}
    after = [step.found[i] or zeros_like(op.body.inputs[i]) for i in carried]
    after += [add(sums[i], value) for i, value in summed.items()]
    if not after and not made:
        return [None] * len(op.body.inputs)
    kept = _Residuals(op, [*after, *made], of_forward)
    stacks = kept.stacked(node)
    given = [i for i in step.seeds if i >= op.carries]
    own = [*(step.seeds[i] for i in carried), *sums.values()]
    read = [*(step.seeds[i] for i in given), *kept.slices]
    body = Graph(f"{op.body.name}_vjp", (*own, *read, *kept.captures), tuple(kept.outputs))
    init = [*(grads[i] for i in carried), *(zeros_like(v) for v in sums.values())]
    found = scan(body, init, [*(grads[i] for i in given), *(stacks[v] for v in kept.read)],
                 [node.inputs[op.body.inputs.index(v)] for v in kept.captures], op.length, not op.reverse)  # fmt: skip

    places: dict[int, Value] = dict(zip([*carried, *summed], found))
    stacks |= dict(zip(made, found[len(own) :], strict=True))
    places |= {i: stacks[value] for i, value in zip(stacked, slices, strict=True)}
    for i, part in parts.items():
        for term in part.late:
            total = term.over_all(stacks.__getitem__)
            places[i] = add(places[i], total) if i in places else total
    return [places.get(i) for i in range(len(op.body.inputs))]


def _present(value: Value | None) -> Value:
    assert value is not None
    return value


class _Residuals:
    """What the backward steps of a scan take of its forward steps, to compute some values.

    captures: inputs of the forward body with the same value in every step. read: its stacked inputs, and what the
    forward scan stacks; slices: the backward step's placeholders for them. outputs: the values, made of these.
    wanted: values of the forward step that are stacked besides.
    """

    def __init__(self, op: Scan, values: Sequence[Value], wanted: Sequence[Value]) -> None:
        self.op = op
        self.forward = op.body.order
        self.fixed = _same_in_every_step(op.body)
        first, last = op.carries, op.carries + op.scanned
        self.scanned = op.body.inputs[first:last]
        saved = dict.fromkeys(v for v in wanted if v not in self.scanned)
        saved = saved | self._saved(values, set(saved))
        reached = _stopping_at(saved, values)
        self.captures = [v for v in op.body.inputs[last:] if v in reached]
        self.saved = list(saved)
        self.read = [v for v in (*self.scanned, *saved) if v in reached]
        done = {v: v if v in self.scanned else new_input(f"kept{i}", v.tensor) for i, v in enumerate(self.read)}
        self.slices = list(done.values())
        for node in reachable(values):
            if node not in done:
                done[node] = node if not node.inputs else rebuild(node, tuple(done[v] for v in node.inputs))
        self.outputs = [done[v] for v in values]

    def stacked(self, node: Value) -> dict[Value, Value]:
        """The stacked arrays: those that the scan was given, and results of the scan with more of them."""
        op = self.op
        found = {v: node.inputs[op.body.inputs.index(v)] for v in self.scanned}
        if self.saved:
            body = body_of(Graph(op.body.name, op.body.inputs, (*op.body.outputs, *self.saved)))
            made = results(build(replace(op, body=body), *node.inputs))
            found |= dict(zip(self.saved, made[len(op.body.outputs) :], strict=True))
        return found

    def _saved(self, values: Sequence[Value], already: set[Value]) -> dict[Value, None]:
        """Values of the forward step to stack: where the backward step's own nodes begin.

        What is the same in every step is computed again, and so is what is cheap: other views of a value, and exact
        arithmetic on values that are there in any case.
        """
        found: set[Value] = set()
        stack, seen = list(values), set[Value]()
        while stack:
            value = stack.pop()
            if value in seen or value in already:
                continue
            seen.add(value)
            if self._is_made_again(value):
                stack.extend(value.inputs)
            elif value not in self._at_hand:
                found.add(value)
        order = self.forward
        ordered = sorted(found, key=lambda v: order.get(v, len(order)))
        return {v: None for v in ordered if not self._is_made_of(v, found | already)}

    @property
    def _at_hand(self) -> tuple[Value, ...]:
        return self.op.body.inputs[self.op.carries :]

    def _is_made_again(self, value: Value) -> bool:
        if value in self._at_hand:
            return False
        if isinstance(value.op, Input):
            return value not in self.forward
        is_forward = value in self.forward or (isinstance(value.op, Get) and value.inputs[0] in self.forward)
        return not is_forward or value in self.fixed or isinstance(value.op, Expand | Reshape | Transpose)

    def _is_made_of(self, value: Value, saved: set[Value]) -> bool:
        """True for an exact elementwise value whose inputs are saved too, or there in any case."""
        if not isinstance(value.op, Elementwise) or value.op.tolerance not in "EB":
            return False
        return all(v in saved or v in self._at_hand or v in self.fixed for v in value.inputs)


def _same_in_every_step(body: Body) -> set[Value]:
    """The values that depend on captured values and constants alone."""
    found: set[Value] = set()
    for node in body.nodes:
        is_captured = isinstance(node.op, Input) and node.op.role == "param"
        if is_captured or (not isinstance(node.op, Input) and all(v in found for v in node.inputs)):
            found.add(node)
    return found


def _stopping_at(ends: Container[Value], values: Sequence[Value]) -> set[Value]:
    """What the values depend on, through anything but the ends, these included."""
    seen: set[Value] = set()
    stack = list(values)
    while stack:
        value = stack.pop()
        if value not in seen:
            seen.add(value)
            stack.extend(() if value in ends else value.inputs)
    return seen


def _while_vjp(node: Value, op: While, grads: Sequence[Value]) -> Gradients:
    if op.max_trips is None:
        raise NotSupported("while: there is no gradient through a loop without a bound", loc=node.loc,
                           help="state one: while_loop(..., max_trips=100)")  # fmt: skip
    held = tuple(new_input(f"c{i}", v.tensor) for i, v in enumerate(op.body.inputs))
    (going,) = inline(op.test, held)
    stays = Graph("stays", op.body.inputs, op.body.inputs[: op.carries])
    after = cond(going, op.body, stays, held)
    step = body_of(Graph("step", held, after))
    loop = build(Scan(step, op.carries, 0, op.max_trips), *node.inputs)
    return bodies_vjp(loop, grads)


