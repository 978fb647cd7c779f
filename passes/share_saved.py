"""Computes once what is asked for twice: by the model without, and by its gradient with what the gradient needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from chainrule.ir.graph import Graph, Value, build, rewrite
from chainrule.ops.recurrent_steps import GruSteps, LstmSteps
from chainrule.passes.base import Notes, Pass


@dataclass(frozen=True)
class ShareSaved(Pass):
    """Recurrent steps beside the same steps that save more become those: their results are the first of them."""

    name: ClassVar[str] = "share-saved"

    def run(self, graph: Graph, notes: Notes) -> Graph:
        present = set(graph.nodes)

        def rule(node: Value, inputs: tuple[Value, ...]) -> Value | None:
            op = node.op
            if not isinstance(op, LstmSteps | GruSteps) or op.saves:
                return None
            if build(replace(op, saves=True), *node.inputs) not in present:
                return None
            notes.count(op.name)
            return build(replace(op, saves=True), *inputs)

        return rewrite(graph, rule)
