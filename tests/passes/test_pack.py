"""Which operand of a product is packed, and that the choice changes no bit."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.ir.dims import Dim, symbol
from chainrule.ir.graph import Graph, build, new_input
from chainrule.ir.op import Array
from chainrule.ir.types import TensorType, f32, type_of
from chainrule.ops.lowered import PackPanels, PanelMatMul
from chainrule.ops.matmul import MatMul
from chainrule.ops.shaping import Transpose
from chainrule.ops.tolerance import judge
from chainrule.passes.base import Notes
from chainrule.passes.pack import PackWeights


def product(a: tuple[Dim, ...], w: tuple[Dim, ...], role: str = "input", **how: bool) -> Graph:
    x, y = new_input("a", TensorType(f32, a)), new_input("w", TensorType(f32, w), role)  # type: ignore[arg-type]
    return Graph("product", (x, y), (build(MatMul(**how), x, y),))


def packed_shape(graph: Graph) -> tuple[Dim, ...] | None:
    """The shape of what is packed."""
    found = [n.inputs[0].shape for n in PackWeights().run(graph, Notes()).nodes if isinstance(n.op, PackPanels)]
    return found[0] if found else None


def test_of_a_weight_that_changes_and_few_rows_the_rows_are_packed() -> None:
    graph = PackWeights().run(product((16, 256), (512, 256), transpose_b=True), Notes())
    assert [type(n.op) for n in graph.nodes][-3:] == [PackPanels, PanelMatMul, Transpose]
    assert packed_shape(product((16, 256), (512, 256), transpose_b=True)) == (16, 256)


@pytest.mark.parametrize(
    "a, w, role, how",
    [((16, 256), (512, 256), "param", {"transpose_b": True}),  # packed once for all calls
     ((128, 256), (512, 256), "input", {"transpose_b": True}),  # as many numbers as the weight has
     ((symbol("N"), 256), (512, 256), "input", {"transpose_b": True}),
     ((256, 16), (512, 256), "input", {"transpose_a": True, "transpose_b": True}),
     ((2, 16, 256), (512, 256), "input", {"transpose_b": True})],
)  # fmt: skip
def test_elsewhere_the_weight_is(a: tuple[Dim, ...], w: tuple[Dim, ...], role: str, how: dict[str, bool]) -> None:
    assert packed_shape(product(a, w, role, **how)) == w


@pytest.mark.parametrize("rows", [0, 1, 3, 16, 33])
@pytest.mark.parametrize("depth", [250, 1300])
def test_either_way_has_the_same_bits(rows: int, depth: int) -> None:
    rng = np.random.default_rng(rows)
    a, w = (rng.standard_normal((n, depth)).astype(np.float32) for n in (rows, 517))

    def run(role: str, weights: list[Array], given: list[Array]) -> Array:
        graph = product(type_of(a).shape, type_of(w).shape, role, transpose_b=True)
        return LlvmExecutable(graph, weights, threads=2).run(given)[0]

    turned, plain = run("input", [], [a, w]), run("param", [w], [a])
    assert turned.tobytes() == plain.tobytes()
    assert judge(MatMul(transpose_b=True), [a, w], turned)
