"""Mixed precision: products in a narrow float type, all else (norms, losses, sums, state) as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chainrule.ir.graph import Graph, Value, build, rewrite
from chainrule.ir.types import as_dtype, f32
from chainrule.ops.conv import Conv, ConvTranspose
from chainrule.ops.einsum import Einsum
from chainrule.ops.elementwise import cast
from chainrule.ops.matmul import MatMul
from chainrule.passes.base import Notes, Pass

PRODUCTS = (MatMul, Conv, ConvTranspose, Einsum)


@dataclass(frozen=True)
class CastProducts(Pass):
    """Matrix products and convolutions of f32 read operands rounded to `dtype`; their sums stay f32 until the end.

    Run before differentiation, the gradients of these ops are products in `dtype` too, and those of weights arrive as
    f32: the weights themselves, which the optimiser moves, are never rounded.
    Source: Micikevicius et al. 2018; torch.autocast.
    """

    name: ClassVar[str] = "cast-products"
    dtype: str = "bf16"

    def run(self, graph: Graph, notes: Notes) -> Graph:
        narrow = as_dtype(self.dtype)

        def rule(node: Value, inputs: tuple[Value, ...]) -> Value | None:
            if not isinstance(node.op, PRODUCTS) or node.dtype != f32:
                return None
            notes.count(node.op.mnemonic)
            return cast(build(node.op, *(cast(v, narrow) for v in inputs)), f32)

        return rewrite(graph, rule)
