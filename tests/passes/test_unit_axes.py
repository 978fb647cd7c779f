"""Axes of one element between transposes and at convolutions."""

from __future__ import annotations

import numpy as np

from chainrule.backends import reference
from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.types import tensor
from chainrule.ops.basic import scalar_like
from chainrule.ops.conv import conv
from chainrule.ops.shaping import reshape, transpose
from chainrule.ops.tolerance import OTHER_FRAMEWORK, models_agree
from chainrule.ops.transcendental import pow
from chainrule.passes.base import Pipeline
from chainrule.passes.canonicalize import RULES, Canonicalize
from chainrule.passes.check import checker
from chainrule.passes.rewrite import explain


def canonical(y: Value, *inputs: Value) -> Graph:
    check = checker(lambda graph, arrays: reference.run(graph, arrays, precise=True))
    return Pipeline("test", (Canonicalize(),)).run(Graph("g", inputs, (y,)), check)[0]


def names(graph: Graph) -> list[str]:
    return [n.op.name for n in graph.nodes if n.inputs]


def test_transposes_that_undo_each_other_around_an_axis_of_one_are_a_reshape() -> None:
    x = new_input("x", tensor("f32", ("N", "T", 5)))
    channels_first = reshape(transpose(x, (0, 2, 1)), (x.shape[0], 1, 5, x.shape[1]))
    y = transpose(channels_first, (0, 1, 3, 2))
    after = canonical(y, x)
    assert names(after) == ["reshape"] and after.outputs[0].type == y.type


def test_transposes_around_an_axis_of_one_become_one() -> None:
    x = new_input("x", tensor("f32", (2, 3, 4, 1)))
    after = canonical(transpose(reshape(transpose(x, (1, 0, 3, 2)), (3, 2, 4)), (2, 0, 1)), x)
    assert names(after).count("transpose") == 1


def test_other_reshapes_between_transposes_stay() -> None:
    x = new_input("x", tensor("f32", (2, 3, 4)))
    y = transpose(reshape(transpose(x, (1, 0, 2)), (3, 8)), (1, 0))
    assert names(canonical(y, x)) == ["transpose", "reshape", "transpose"]
    graph = Graph("g", (x,), (y,))
    assert "more than add or drop" in explain(graph, "transpose of a transpose with other axes of one = one transpose",
                                              RULES)  # fmt: skip


def test_a_convolution_along_one_element_loses_that_axis() -> None:
    x, w = new_input("x", tensor("f32", ("N", 3, 9, 1))), new_input("w", tensor("f32", (4, 3, 5, 1)), "param")
    b = new_input("b", tensor("f32", (4,)), "param")
    for bias in (None, b):
        y = conv(x, w, bias, (2, 1), (1, 0, 2, 0), (1, 1), 1)
        after = canonical(y, x, w, b)
        (node,) = (n for n in after.nodes if n.op.name == "conv")
        assert node.rank == 3 and after.outputs[0].type == y.type


def test_a_padded_axis_of_one_stays() -> None:
    x, w = new_input("x", tensor("f32", (1, 3, 9, 1))), new_input("w", tensor("f32", (4, 3, 5, 1)), "param")
    y = conv(x, w, None, (1, 1), (0, 1, 0, 1), (1, 1), 1)
    assert next(n for n in canonical(y, x, w).nodes if n.op.name == "conv").rank == 4


def test_the_square_as_a_power_is_a_product() -> None:
    x = new_input("x", tensor("f32", ("N",)))
    assert names(canonical(pow(x, scalar_like(2.0, x)), x)) == ["mul"]


def test_a_convolution_behind_a_reshape_of_an_image_compiles() -> None:
    x, w = new_input("x", tensor("f32", (2, 16, 8, 8))), new_input("w", tensor("f32", (16, 16, 3, 3)), "param")
    v = new_input("v", tensor("f32", (16, 16, 1)), "param")
    image = conv(x, w, None, (1, 1), (1, 1, 1, 1), (1, 1), 1)
    y = conv(reshape(image, (2, 16, 64)), v, None, (1,), (0, 0), (1,), 1)
    graph = Graph("g", (x, w, v), (y,))
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(i.shape).astype(np.float32) for i in graph.inputs]  # type: ignore[call-overload]
    (wanted,) = reference.run(graph, arrays, precise=True)
    (found,) = LlvmExecutable(graph, arrays[1:]).run(arrays[:1])
    assert models_agree(found, wanted, OTHER_FRAMEWORK)
