"""Small ONNX models as other exporters write them, built node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray
Shape = Sequence[int | str]


def node(op_type: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: object) -> onnx.NodeProto:
    """One node, named after its first output."""
    return helper.make_node(op_type, list(inputs), list(outputs), name=f"/{outputs[0]}", **attributes)  # type: ignore[arg-type]


def model(nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, Shape], outputs: Sequence[str],
          weights: Mapping[str, Array] | None = None, opset: int = 17) -> onnx.ModelProto:  # fmt: skip
    """A model with f32 inputs of these shapes; outputs without stated types, as onnx allows."""
    graph = helper.make_graph(
        list(nodes), "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def seeded(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def perceptron(opset: int = 13) -> onnx.ModelProto:
    """Gemm, Relu, Gemm, Softmax, as exporters write a stack of linear layers."""
    return model([
        node("Gemm", ["x", "w1", "b1"], ["h"], transB=1), node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "w2", "b2"], ["y"], transB=1), node("Softmax", ["y"], ["p"], axis=1),
    ], {"x": ["batch", 5]}, ["p"], {"w1": seeded(7, 5), "b1": seeded(7), "w2": seeded(3, 7), "b2": seeded(3)},
        opset)  # fmt: skip


def convnet() -> onnx.ModelProto:
    """Conv, BatchNormalization, pools, and a flatten whose shape is computed from the input's."""
    ones = np.ones(4, np.float32)
    return model([
        node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["n"], epsilon=1e-3),
        node("Clip", ["n", "zero", "six"], ["r"]),
        node("MaxPool", ["r"], ["m"], kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
        node("AveragePool", ["m"], ["a"], kernel_shape=[2, 2], strides=[1, 1]),
        node("Shape", ["a"], ["shape"]), node("Gather", ["shape", "first"], ["count"], axis=0),
        node("Unsqueeze", ["count", "axis0"], ["count1"]),
        node("Concat", ["count1", "minus_one"], ["wanted"], axis=0), node("Reshape", ["a", "wanted"], ["flat"]),
        node("MatMul", ["flat", "head"], ["y"]),
    ], {"x": ["N", 2, 8, 8]}, ["y"], {
        "w": seeded(4, 2, 3, 3), "b": seeded(4), "gamma": ones, "beta": seeded(4), "mean": seeded(4), "var": ones,
        "zero": np.float32(0), "six": np.float32(6), "first": np.int64(0), "axis0": np.int64([0]),
        "minus_one": np.int64([-1]), "head": seeded(4 * 3 * 3, 5),
    })  # fmt: skip
