"""The reference behind the same face as compiled code: slow, node by node, and what all others are measured by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.backends.reference.interpreter import run
from chainrule.ir.graph import Graph
from chainrule.ir.op import Array


class ReferenceExecutable:
    """A graph run by the interpreter. weights: one array per param and state input; updates are written into them."""

    def __init__(self, graph: Graph, weights: Sequence[Array], *, precise: bool = False) -> None:
        self.graph = graph
        self.weights = list(weights)
        self.precise = precise

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs for arrays in the order of the call inputs. Raises ShapeError for shapes that do not fit."""
        given = iter(arrays)
        stored = dict(zip(self.graph.by_role("param", "state"), self.weights, strict=True))
        ordered = [stored[v] if v in stored else next(given) for v in self.graph.inputs]
        # Copies, before any state is written: a result, or a new value of state, may be the old state itself.
        results = [np.array(r) for r in run(self.graph, ordered, precise=self.precise)]
        count = len(self.graph.outputs)
        for (state, _), new in zip(self.graph.updates, results[count:], strict=True):
            np.copyto(stored[state], new, casting="same_kind")
        return results[:count]

    def refresh(self) -> None:
        """Nothing is derived from the weights: they are read at each call."""
