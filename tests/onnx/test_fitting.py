"""Sizes that a model's author knew to be equal: one name for two, or a claim that each call checks."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import chainrule as cr
from chainrule.ir.text import text
from tests.onnx.models import model, node, seeded
from tests.onnx.test_import import assert_same


def halved_and_doubled() -> onnx.ModelProto:
    """x + resize(pool(x)): right for even images only."""
    return model([
        node("MaxPool", ["x"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Resize", ["small", "", "scales"], ["large"], mode="nearest", nearest_mode="floor",
             coordinate_transformation_mode="asymmetric"),
        node("Add", ["large", "x"], ["y"]),
    ], {"x": ["N", 3, "H", "W"]}, ["y"], {"scales": np.float32([1, 1, 2, 2])})  # fmt: skip


def test_a_model_that_fits_for_some_sizes_loads_and_runs_on_those() -> None:
    assert_same(halved_and_doubled(), seeded(2, 3, 4, 6))
    net = cr.compile(cr.load_onnx(halved_and_doubled()))
    x = seeded(1, 3, 8, 2)
    assert np.array_equal(net(x), cr.compile(cr.load_onnx(halved_and_doubled()), backend="reference")(x))


def test_sizes_that_halve_without_a_rest_are_found_when_an_export_is_checked() -> None:
    loaded = cr.load_onnx(halved_and_doubled())
    assert [n.op_type for n in cr.export_onnx(loaded).graph.node]  # checked against onnxruntime on the way


@pytest.mark.parametrize("backend", ["llvm", "reference"])
def test_other_sizes_are_refused_by_the_call(backend: str) -> None:
    net = cr.compile(cr.load_onnx(halved_and_doubled()), backend=backend)
    with pytest.raises(cr.ShapeError, match="it must be"):
        net(seeded(1, 3, 5, 4))


def test_two_names_of_one_size_become_one() -> None:
    proto = model([node("Concat", ["a", "b"], ["y"], axis=1)], {"a": ["N", 2], "b": ["M", 3]}, ["y"])
    loaded = cr.load_onnx(proto)
    assert [str(v.type) for v in loaded.graph.inputs] == ["f32[N,2]", "f32[N,3]"] or (
        [str(v.type) for v in loaded.graph.inputs] == ["f32[M,2]", "f32[M,3]"])  # fmt: skip
    assert "sized_as" not in text(loaded.graph)


def test_elements_that_an_author_knew_to_fit_are_put_into_other_rows() -> None:
    nodes = [node("Shape", ["z"], ["n"], start=0, end=1), node("Concat", ["n", "minus"], ["s"], axis=0),
             node("Reshape", ["x", "s"], ["y"])]  # fmt: skip
    proto = model(nodes, {"x": ["A", "B"], "z": ["N", 3]}, ["y"], {"minus": np.int64([-1])}, 18)
    assert_same(proto, seeded(4, 6), seeded(4, 3))
    assert_same(proto, seeded(4, 6), seeded(8, 3))
    with pytest.raises(cr.ShapeError, match="it must be"):
        cr.compile(cr.load_onnx(proto))(seeded(4, 6), seeded(5, 3))


def test_sizes_that_do_not_fit_are_answered_with_such_that_do() -> None:
    nodes = [node("MaxPool", ["x"], ["p"], kernel_shape=[2], strides=[2]),
             node("ConvTranspose", ["p", "w"], ["u"], strides=[2]), node("Add", ["x", "u"], ["y"])]  # fmt: skip
    net = cr.compile(cr.load_onnx(model(nodes, {"x": [1, 1, "N"]}, ["y"], {"w": seeded(1, 1, 2)})))
    with pytest.raises(cr.ShapeError, match="for other sizes, as N=2"):
        net(seeded(1, 1, 7))
    assert net(seeded(1, 1, 6)).shape == (1, 1, 6)


def test_an_axis_that_is_one_for_all_sizes_is_repeated() -> None:
    nodes = [node("Shape", ["x"], ["n"], start=0, end=1), node("Sub", ["zero", "n"], ["start"]),
             node("Slice", ["row", "start", "most", "zero"], ["one"]), node("Add", ["x", "one"], ["y"])]  # fmt: skip
    weights = {"zero": np.int64([0]), "most": np.int64([99]), "row": seeded(1, 3)}
    assert_same(model(nodes, {"x": ["N", 3]}, ["y"], weights, 18), seeded(4, 3))


def test_an_expansion_to_an_axis_that_is_one_repeats_nothing() -> None:
    nodes = [node("Slice", ["x", "zero", "one", "zero"], ["row"]), node("Shape", ["row"], ["shape"]),
             node("Expand", ["m", "shape"], ["y"])]  # fmt: skip
    proto = model(nodes, {"x": ["V", 3], "m": ["E", 3]}, ["y"], {"zero": np.int64([0]), "one": np.int64([1])}, 17)
    assert_same(proto, seeded(4, 3), seeded(6, 3))
    assert_same(proto, seeded(1, 3), seeded(0, 3))
    with pytest.raises(cr.ShapeError, match="it must be 1"):
        cr.compile(cr.load_onnx(proto))(seeded(0, 3), seeded(5, 3))


def test_channels_that_an_export_divided_by_the_batch_fit_where_that_is_one() -> None:
    nodes = [node("Reshape", ["x", "shape"], ["r"]), node("Conv", ["r", "w"], ["c"]),
             node("Split", ["c"], ["y", "z"], axis=1)]  # fmt: skip
    weights = {"shape": np.int64([1, -1, 3, 3]), "w": seeded(2, 4, 1, 1)}
    proto = model(nodes, {"x": ["N", 4, 3, 3]}, ["y", "z"], weights)
    assert_same(proto, seeded(1, 4, 3, 3))


def test_a_division_of_sizes_rounds_to_zero() -> None:
    nodes = [node("Shape", ["x"], ["n"], start=0, end=1), node("Sub", ["n", "one"], ["less"]),
             node("Div", ["less", "two"], ["half"]), node("Add", ["half", "one"], ["count"]),
             node("ConstantOfShape", ["count"], ["y"])]  # fmt: skip
    proto = model(nodes, {"x": ["N"]}, ["y"], {"one": np.int64([1]), "two": np.int64([2])}, 18)
    assert not cr.load_onnx(proto).graph.sizes  # it is known from the shape of x
    for count in (0, 1, 2, 5):
        assert_same(proto, seeded(count))


def test_a_free_size_that_can_only_be_one_number_is_checked() -> None:
    proto = model([node("MatMul", ["x", "w"], ["y"])], {"x": ["N", "K"]}, ["y"], {"w": seeded(4, 2)})
    assert_same(proto, seeded(3, 4))
    with pytest.raises(cr.ShapeError, match="K is 5; it must be 4"):
        cr.compile(cr.load_onnx(proto))(seeded(3, 5))


def test_sizes_that_never_agree_are_refused_at_load() -> None:
    proto = model([node("Concat", ["x", "z"], ["h"], axis=1), node("Add", ["h", "x"], ["y"])],
                  {"x": ["N", "K"], "z": ["N", 1]}, ["y"])  # fmt: skip
    with pytest.raises(cr.ModelError, match="do not broadcast"):
        cr.load_onnx(proto)


@pytest.mark.parametrize("dim", [-1, "?", "None"])
def test_sizes_without_a_name_are_free_each_by_itself(dim: int | str) -> None:
    proto = model([node("Relu", ["x"], ["y"])], {"x": ["N", 2]}, ["y"])
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, [dim, dim]))
    assert [str(v.type) for v in cr.load_onnx(proto).graph.inputs] == ["f32[x_0,x_1]"]
