"""Reverse-mode differentiation is the chain rule, applied to the nodes of a graph from last to first.

`gradients` builds the gradient of outputs with respect to any values. It asks each op for its vjp, or differentiates
the op's decomposition. Nodes of gradients carry the source lines of the forward nodes they belong to. The result is
ordinary nodes: differentiating again gives higher orders.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainrule import loc as locations
from chainrule.errors import ArgumentError, NotSupported
from chainrule.ir.graph import Get, Graph, Input, Value, inline, new_input, reachable, results
from chainrule.ir.types import TensorType
from chainrule.ops.basic import ones_like, zeros_like
from chainrule.ops.elementwise import add


def gradients(outputs: Sequence[Value], wrt: Sequence[Value],
              cotangents: Sequence[Value | None] | None = None) -> tuple[Value | None, ...]:  # fmt: skip
    """The gradient of sum(outputs * cotangents) with respect to each of wrt; None where nothing flows.

    cotangents: one value of the type of each output; None means ones, and then outputs must be scalars.
    Raises NotSupported, naming op and user line, when a path runs through an op that cannot be differentiated.
    """
    seeds = _seeds(outputs, cotangents)
    active = _between(outputs, wrt)
    members = set(active)
    sums: dict[Value, Value] = {}
    for output, seed in zip(outputs, seeds, strict=True):
        _accumulate(sums, output, seed)
    tuples: dict[Value, dict[int, Value]] = {}
    wanted = set(wrt)
    found: dict[Value, Value] = {}
    for node in reversed(active):
        grad = sums.pop(node, None)
        if node in wanted and grad is not None:
            found[node] = grad
        if isinstance(node.op, Get):
            if grad is not None:
                tuples.setdefault(node.inputs[0], {})[node.op.index] = grad
            continue
        parts = tuples.pop(node, None)
        if grad is None and parts is None:
            continue
        _propagate(node, {0: grad} if parts is None and grad is not None else parts or {}, members, sums)
    return tuple(found.get(v) for v in wrt)


def _seeds(outputs: Sequence[Value], cotangents: Sequence[Value | None] | None) -> list[Value | None]:
    if cotangents is None:
        for output in outputs:
            if output.tensor.rank != 0:
                raise ArgumentError(f"the gradient of a tensor {output.tensor} is not defined without cotangents",
                                    loc=output.loc, help="reduce it to a scalar, or use vjp")  # fmt: skip
        return [ones_like(v) for v in outputs]
    return list(cotangents)


def _between(outputs: Sequence[Value], wrt: Sequence[Value]) -> list[Value]:
    """The float nodes that lie on a path from wrt to the outputs, in order."""
    sources = set(wrt)
    depends: set[Value] = set()
    active: list[Value] = []
    for node in reachable(outputs):
        if node in sources or any(v in depends for v in node.inputs):
            if node in sources or _carries_gradient(node):
                depends.add(node)
                active.append(node)
    return active


def _carries_gradient(node: Value) -> bool:
    """Integer and bool values, and ops without slope, cut the path."""
    if isinstance(node.type, TensorType) and not node.type.dtype.is_float:
        return False
    return node.op.gradient != "zero"


def _accumulate(sums: dict[Value, Value], value: Value, grad: Value | None) -> None:
    if grad is None or not value.tensor.dtype.is_float:
        return
    assert grad.type == value.type, f"gradient of {value!r} has type {grad.type}"
    before = sums.get(value)
    sums[value] = grad if before is None else add(before, grad)


def _propagate(node: Value, grads: dict[int, Value], active: set[Value], sums: dict[Value, Value]) -> None:
    if isinstance(node.op, Input) or not any(v in active for v in node.inputs):
        return
    with locations.using(node.locs):
        filled = [grads[i] if i in grads else zeros_like(result) for i, result in enumerate(results(node))]
        for value, grad in zip(node.inputs, node_vjp(node, filled), strict=True):
            if value in active:
                _accumulate(sums, value, grad)


def node_vjp(node: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
    """The gradients for a node's inputs: from the op's vjp, or from that of its decomposition or its bodies."""
    op = node.op
    if op.gradient == "vjp":
        return op.vjp(node.inputs, node, grads)
    if op.gradient == "decompose":
        return _decomposed_vjp(node, grads)
    if op.gradient == "bodies":
        from chainrule.passes.autodiff_bodies import bodies_vjp

        return bodies_vjp(node, grads)
    raise NotSupported(f"{op.mnemonic}: there is no gradient through it", loc=node.loc,
                       help=op.gradient.removeprefix("none: ") + "; stop_gradient(x) cuts the path")  # fmt: skip


def _decomposed_vjp(node: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
    """The vjp of the decomposition, built on placeholders so that inputs that depend on each other stay apart."""
    places = [new_input(f"x{i}", v.tensor) for i, v in enumerate(node.inputs)]
    parts = node.op.decompose(*places)
    assert parts is not None, f"{node.op.name} says it decomposes"
    outputs = parts if isinstance(parts, tuple) else (parts,)
    seeds = [new_input(f"g{i}", v.tensor) for i, v in enumerate(outputs)]
    found = gradients(outputs, places, seeds)
    body = Graph(f"{node.op.name}_vjp", (*places, *seeds), tuple(g for g in found if g is not None))
    values = iter(inline(body, (*node.inputs, *grads)))
    return tuple(None if g is None else next(values) for g in found)
