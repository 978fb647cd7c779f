"""Ops of ai.onnx.ml against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import chainrule as cr
from tests.onnx.models import model, node, seeded
from tests.onnx.test_import import assert_same

CASES = {
    "scaler": node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.5, -1.0, 2.0], scale=[1.0, 2.0, 0.25]),
    "one scale": node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.5], scale=[2.0]),
    "max": node("Normalizer", ["x"], ["y"], domain="ai.onnx.ml", norm="L1"),
    "l2": node("Normalizer", ["x"], ["y"], domain="ai.onnx.ml", norm="L2"),
    "binarizer": node("Binarizer", ["x"], ["y"], domain="ai.onnx.ml", threshold=0.25),
    "linear": node("LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml", targets=2, intercepts=[1.0, 2.0],
                   coefficients=[0.5, 1.0, 2.0, -1.0, 0.0, 3.0]),
    "columns": node("ArrayFeatureExtractor", ["x", "places"], ["y"], domain="ai.onnx.ml"),
    **{f"svm, {kind}": node("SVMRegressor", ["x"], ["y"], domain="ai.onnx.ml", kernel_type=kind, n_supports=2,
                            rho=[0.5], kernel_params=[0.5, 0.25, 3.0], coefficients=[1.0, -2.0],
                            support_vectors=[0.5, 1.0, 2.0, -1.0, 0.0, 3.0])
       for kind in ("LINEAR", "POLY", "RBF", "SIGMOID")},
    "linear svm": node("SVMRegressor", ["x"], ["y"], domain="ai.onnx.ml", rho=[0.5], coefficients=[1.0, -2.0, 3.0],
                       kernel_type="LINEAR", n_supports=0, kernel_params=[0.0, 0.0, 3.0]),
}  # fmt: skip
CLASSIFIERS = {
    f"{count} scores, {transform}": node(
        "LinearClassifier", ["x"], ["y", "scores"], domain="ai.onnx.ml", post_transform=transform,
        coefficients=[0.5, 1.0, 2.0, -1.0, 0.0, 3.0, 1.0, 1.0, -1.0][: 3 * count], intercepts=[0.5, -1.0, 2.0][:count],
        classlabels_ints=[3, 5, 8][: max(2, count)])
    for transform in ("NONE", "SOFTMAX", "LOGISTIC") for count in (1, 3) if count == 3 or transform == "LOGISTIC"
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_op_on_columns_gives_what_onnxruntime_gives(name: str) -> None:
    weights = {"places": np.int64([2, 0])} if name == "columns" else None
    proto: onnx.ModelProto = model([CASES[name]], {"x": ["N", 3]}, ["y"], weights)
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    x = seeded(4, 3)
    x[0] = 0
    assert_same(proto, x)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_linear_classifier_gives_what_onnxruntime_gives(name: str) -> None:
    proto = model([CLASSIFIERS[name]], {"x": ["N", 3]}, ["y", "scores"])
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    assert_same(proto, seeded(9, 3))


def test_of_one_score_the_other_is_the_opposite() -> None:
    """So onnx's reference has it; onnxruntime says 1 - s where no post_transform is asked for."""
    given = node("LinearClassifier", ["x"], ["y", "scores"], domain="ai.onnx.ml", coefficients=[0.5, 1.0, 2.0],
                 intercepts=[0.5], classlabels_ints=[3, 5])  # fmt: skip
    proto = model([given], {"x": ["N", 3]}, ["y", "scores"])
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    x = seeded(9, 3)
    label, scores = cr.compile(cr.load_onnx(proto))(x)
    wanted = x @ np.float32([0.5, 1, 2]) + np.float32(0.5)
    assert np.allclose(scores, np.stack([-wanted, wanted], 1), rtol=1e-6, atol=1e-6)
    assert np.array_equal(label, np.where(wanted > 0, 5, 3))
