"""The order in which a program computes the nodes of a graph: one that frees memory early.

A walk from the results computes each node right before the first that needs it. Of the inputs of a node it takes the
one with the longest way behind it first: what is short to compute (a packed weight, a transposed activation, a value
computed again) comes last, when it is needed, and does not wait for the rest. Updates of state come in the order in
which they can be had, so that the gradient of a layer is gone before that of the layer in front is computed.
Source: Sethi and Ullman, JACM 17(4), 1970, whose order of operands this is with lengths in place of registers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainrule.ir.graph import Get, Graph, Value


def scheduled(graph: Graph) -> tuple[Value, ...]:
    """Every node of a graph once, producers before users.

    A new value of state comes after all readers of the old one that do not depend on it, where `graph.nodes` has them
    in front of it: it can then be written over the old one.
    """
    depth = _depths(graph)
    before = _readers_of_old_state(graph)
    updates = sorted((new for _, new in graph.updates), key=lambda v: depth[v])
    told = [value for _, value in graph.sizes]
    order: dict[Value, None] = {}
    stack = [(root, False) for root in reversed((*graph.inputs, *told, *graph.outputs, *updates))]
    while stack:
        node, ready = stack.pop()
        if node in order:
            continue
        if ready or not node.inputs:
            order[node] = None
            continue
        stack.append((node, True))
        needed = [v for v in (*node.inputs, *before.get(node, ())) if v not in order]
        stack.extend((v, False) for v in sorted(needed, key=lambda v: depth[v]))  # the deepest on top
    return tuple(order)


def _depths(graph: Graph) -> dict[Value, int]:
    """The length of the longest way from an input to each node."""
    depth: dict[Value, int] = {}
    for node in graph.nodes:
        depth[node] = 1 + max((depth[v] for v in node.inputs), default=-1)
    return depth


def _readers_of_old_state(graph: Graph) -> Mapping[Value, Sequence[Value]]:
    """For each node that makes a new value of state the readers of the old one that come before it in `graph.nodes`.

    Views and packed forms of the state count as the state itself: their readers are what shall come before, so that
    these do not wait in memory. All edges here and those of inputs lead forward in that order, so they make no cycle.
    """
    made_of = _made_of_state(graph)
    readers: dict[Value, list[Value]] = {}
    for node in graph.nodes:
        if node not in made_of:
            for state in dict.fromkeys(s for v in node.inputs for s in made_of.get(v, ())):
                readers.setdefault(state, []).append(node)
    place = graph.order
    found: dict[Value, list[Value]] = {}
    for state, new in graph.updates:
        maker = new.inputs[0] if isinstance(new.op, Get) else new
        found.setdefault(maker, []).extend(u for u in readers.get(state, ()) if place[u] < place[maker])
    return found


def _made_of_state(graph: Graph) -> dict[Value, tuple[Value, ...]]:
    """The nodes that are made of weights and state alone, with the state that is updated among these."""
    updated = {state for state, _ in graph.updates}
    found: dict[Value, tuple[Value, ...]] = {v: (v,) if v in updated else () for v in graph.by_role("param", "state")}
    for node in graph.nodes:
        if node.inputs and all(v in found for v in node.inputs):
            found[node] = tuple(dict.fromkeys(s for v in node.inputs for s in found[v]))
    return found
