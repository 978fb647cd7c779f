"""Resize agrees with onnxruntime, and works for symbolic sizes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from chainrule.backends.reference.interpreter import run
from chainrule.errors import ArgumentError
from chainrule.ir.dims import symbol
from chainrule.ir.graph import Graph, new_input
from chainrule.ir.types import tensor
from chainrule.ops.resize import COORDINATES, ROUNDINGS, Resize, resize
from chainrule.ops.tolerance import OTHER_FRAMEWORK, judge
from chainrule.passes.autodiff import gradients

IMAGE = np.random.default_rng(3).standard_normal((1, 2, 5, 6)).astype(np.float32)
# Ratios whose places are exact in f32, in which onnxruntime computes them: no rounding decides between neighbours.
SIZES = [(10, 12), (20, 3), (5, 6), (1, 24)]
FORMS = [("nearest", c, r) for c, r in product(COORDINATES, ROUNDINGS)] + [("linear", c, "floor") for c in COORDINATES]


def by_onnxruntime(x: np.ndarray, sizes: tuple[int, ...], mode: str, coordinates: str, rounding: str) -> np.ndarray:
    import onnxruntime
    from onnx import TensorProto, helper

    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode=mode, nearest_mode=rounding,
                            coordinate_transformation_mode=coordinates)  # fmt: skip
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes)],
        [helper.make_tensor("sizes", TensorProto.INT64, [len(sizes)], sizes)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mode, coordinates, rounding", FORMS)
def test_resize_is_that_of_onnxruntime(size: tuple[int, int], mode: str, coordinates: str, rounding: str) -> None:
    sizes = (1, 2, *size)
    op = Resize(sizes, (0.0,) * 4, mode, coordinates, rounding)
    found = by_onnxruntime(IMAGE, sizes, mode, coordinates, rounding)
    verdict = judge(op, [IMAGE], found, factor=OTHER_FRAMEWORK)
    assert verdict, verdict.reason


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scale, wanted", [(2.0, 10), (0.5, 2), (1.5, 7), (1.0, 5)])
def test_a_symbolic_size_is_scaled_and_gives_what_its_number_gives(mode: str, scale: float, wanted: int) -> None:
    scales = (1.0, 1.0, scale, 1.0)
    free, fixed = (new_input("x", tensor("f32", (1, 2, h, 6))) for h in ("H", 5))
    outputs = []
    for x in (free, fixed):
        y = resize(x, scales=scales, mode=mode)
        seed = new_input("g", y.tensor)
        (grad,) = gradients([y], [x], [seed])
        assert grad is not None and grad.type == x.type
        ones = np.ones((1, 2, wanted, 6), np.float32)
        outputs.append(run(Graph("resize", (x, seed), (y, grad)), [IMAGE, ones]))
    assert outputs[0][0].shape == (1, 2, wanted, 6)
    for got, want in zip(*outputs, strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_symbolic_size_is_resized_to_another() -> None:
    x = new_input("x", tensor("f32", (1, 1, "H")))
    like = new_input("like", tensor("f32", ("W",)))
    y = resize(x, (1, 1, symbol("W")), mode="linear", coordinates="align_corners")
    (found,) = run(Graph("resize", (x, like), (y,)), [np.array([[[0, 3, 6]]], np.float32), np.zeros(7, np.float32)])
    np.testing.assert_array_equal(found, [[[0, 1, 2, 3, 4, 5, 6]]])


def test_scales_that_do_not_fit_are_refused() -> None:
    x = new_input("x", tensor("f32", (1, "H")))
    with pytest.raises(ArgumentError, match="give either sizes or scales"):
        resize(x)
    with pytest.raises(ArgumentError, match="do not fit"):
        resize(x, scales=(1.0, 0.0))
    with pytest.raises(ArgumentError, match="the symbolic size H times"):
        resize(x, scales=(1.0, 0.31415926))
