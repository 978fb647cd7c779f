"""A program that says where its numbers stop being finite: for debugging, at the price of one sum per value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from chainrule.ir.graph import Graph
from chainrule.ir.op import Array
from chainrule.passes.watch import watch

if TYPE_CHECKING:
    from chainrule.passes.base import PassReport


class Program(Protocol):
    """What a backend makes of a graph and its weights."""

    def run(self, arrays: Sequence[Array]) -> list[Array]: ...

    def refresh(self) -> None: ...


class WatchedProgram:
    """A program whose calls raise NumericsError, naming op and user line, at the first NaN or infinity they make.

    State is then put back to what it was before the call. weights: the arrays that make(graph) works on.
    """

    def __init__(self, graph: Graph, weights: Sequence[Array], make: Callable[[Graph], Program]) -> None:
        self.watched = watch(graph)
        self.weights = list(weights)
        self.changes = bool(graph.updates)
        self.inner = make(self.watched.graph)

    @property
    def reports(self) -> Sequence[PassReport]:
        """The passes that ran."""
        return getattr(self.inner, "reports", ())

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs for checked arrays."""
        before = [array.copy() for array in self.weights] if self.changes else []
        outputs = self.inner.run(arrays)
        count = len(outputs) - len(self.watched.watched)
        problem = self.watched.complaint(outputs[count:])
        if problem is None:
            return outputs[:count]
        for array, old in zip(self.weights, before, strict=False):
            array[...] = old
        raise problem

    def refresh(self) -> None:
        """Takes over weights that were changed."""
        self.inner.refresh()
