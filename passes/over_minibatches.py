"""A training step becomes an epoch: the same step in a scan over minibatches."""

from __future__ import annotations

from chainrule.errors import ArgumentError
from chainrule.ir.dims import symbol
from chainrule.ir.graph import Graph, input_name, new_input
from chainrule.loc import using
from chainrule.ops import control

MINIBATCHES = "minibatches"  # the name of the axis in front


def over_minibatches(graph: Graph) -> Graph:
    """The graph of as many calls of a step as its inputs have minibatches, one after the other.

    Every input of a call gets an axis in front, [minibatches, ...], and so does every output; state is carried from one
    call to the next. Inputs and outputs keep their names and order. Raises ArgumentError for a graph that updates
    nothing or has no inputs, and where a size has the name of that axis.
    """
    batch = graph.by_role("input")
    if not graph.updates or not batch:
        raise ArgumentError(f"{graph.name}: only a training step runs over minibatches",
                            help="make one with cr.training_step")  # fmt: skip
    if MINIBATCHES in graph.symbols:
        raise ArgumentError(f"{graph.name}: a size is called {MINIBATCHES}", help="call it something else")
    count = symbol(MINIBATCHES)
    states = tuple(state for state, _ in graph.updates)
    fixed = tuple(v for v in graph.inputs if v not in states and v not in batch)
    body = graph.replace(inputs=(*states, *batch, *fixed), outputs=(*(new for _, new in graph.updates), *graph.outputs),
                         updates=(), output_names=())  # fmt: skip
    with using(()):
        stacks = {v: new_input(input_name(v), v.tensor.with_shape((count, *v.shape))) for v in batch}
    found = control.scan(body, states, tuple(stacks.values()), fixed, count)
    return Graph(f"{graph.name}_epoch", tuple(stacks.get(v, v) for v in graph.inputs), found[len(states) :],
                 tuple(zip(states, found, strict=False)), graph.output_names)  # fmt: skip
