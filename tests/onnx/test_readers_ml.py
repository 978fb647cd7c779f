"""Ops of ai.onnx.ml against onnxruntime."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

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
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_op_on_columns_gives_what_onnxruntime_gives(name: str) -> None:
    proto: onnx.ModelProto = model([CASES[name]], {"x": ["N", 3]}, ["y"])
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    x = seeded(4, 3)
    x[0] = 0
    assert_same(proto, x)
