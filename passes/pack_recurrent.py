"""Gives recurrent steps their weights in panels, as a node of its own: computed once where the weights are fixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from chainrule.ir.graph import Graph, Value, build, rewrite
from chainrule.ir.types import DType
from chainrule.ops.lowered import PackPanels, panel_width
from chainrule.ops.recurrent_base import Backward, Forward, Recurrence
from chainrule.ops.recurrent_steps import PackGates
from chainrule.passes.base import Notes, Pass
from chainrule.passes.pack import TILES, widest


def vector_of_each(dtype: DType, gates: int) -> int:
    """Units of a panel for a machine that is not known: 64 bytes of each gate, and four times that of a single one."""
    return 64 // dtype.itemsize * (4 if gates == 1 else 1)


@dataclass(frozen=True)
class PackRecurrent(Pass):
    """Steps take pack_gates(r), gradients of steps pack_panels(r).

    units(element type, gates): how many units a panel holds. tiles: as in pack-weights.
    """

    name: ClassVar[str] = "pack-recurrent"
    units: Callable[[DType, int], int] = vector_of_each
    tiles: tuple[tuple[int, int], ...] = TILES

    def __str__(self) -> str:
        return self.name

    def run(self, graph: Graph, notes: Notes) -> Graph:
        def rule(node: Value, inputs: tuple[Value, ...]) -> Value | None:
            op = node.op
            if not isinstance(op, Recurrence) or op.panel:
                return None
            at = 1 if isinstance(op, Forward) else 0
            r = inputs[at]
            if not r.tensor.is_static:
                return None
            notes.count(op.name)
            if isinstance(op, Forward):
                panel = self.units(r.dtype, op.gate_count)
                packed = build(PackGates(op.gate_count, panel), r)
            else:
                assert isinstance(op, Backward)
                panel = panel_width(r.shape[1], widest(self.tiles, r.dtype), r.dtype)
                packed = build(PackPanels(panel), r)
            return build(replace(op, panel=panel), *inputs[:at], packed, *inputs[at + 1 :])

        return rewrite(graph, rule)
