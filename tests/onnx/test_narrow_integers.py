"""Initializers of 4 and 2 bits: read as bytes, dequantised and quantised as onnx's own reference does."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

import chainrule as cr
from chainrule.errors import ModelError
from tests.ops.sample import integers, normal

KINDS = {TensorProto.INT4: (-8, 8), TensorProto.UINT4: (0, 16), TensorProto.INT2: (-2, 2), TensorProto.UINT2: (0, 4)}
NAMES = [TensorProto.DataType.Name(kind) for kind in KINDS]


def stored(name: str, kind: int, *shape: int, raw: bool, seed: int = 0) -> TensorProto:
    """An initializer of random numbers."""
    low, high = KINDS[kind]
    values = integers(low, high, *shape, seed=seed)
    made = helper.make_tensor(name, kind, shape, values.reshape(-1))
    if raw:
        data = bytes(n & 0xFF for n in made.int32_data)
        made = TensorProto(name=name, data_type=kind, dims=shape, raw_data=data)
    return made


def model(nodes: list[object], initializers: list[TensorProto], inputs: dict[str, tuple[int, ...]]) -> ModelProto:
    declared = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "narrow", declared, [result], initializers)  # type: ignore[arg-type]
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)])


@pytest.mark.parametrize("raw", [False, True], ids=["fields", "bytes"])
@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
@pytest.mark.parametrize("blocked", [False, True], ids=["axis", "blocks"])
def test_a_weight_is_dequantised(kind: int, raw: bool, blocked: bool) -> None:
    shape = (5, 2, 7) if blocked else (5,)
    attributes = {"axis": 1, "block_size": 3} if blocked else {"axis": 0}
    scales = helper.make_tensor("s", TensorProto.FLOAT, shape, np.abs(normal(*shape)).reshape(-1))
    nodes = [helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"], **attributes),
             helper.make_node("Add", ["v", "x"], ["y"])]  # fmt: skip
    made = model(nodes, [stored("w", kind, 5, 6, 7, raw=raw), scales, stored("z", kind, *shape, raw=raw, seed=1)],
                 {"x": (5, 6, 7)})  # fmt: skip
    x = normal(5, 6, 7)
    (wanted,) = ReferenceEvaluator(made).run(None, {"x": x})
    for backend in ("reference", "llvm"):
        assert np.array_equal(cr.compile(cr.load_onnx(made), backend=backend)(x), wanted)


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4], ids=NAMES[:2])
def test_quantising_saturates_to_the_narrow_range(kind: int) -> None:
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
             helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])]  # fmt: skip
    scale = helper.make_tensor("s", TensorProto.FLOAT, (), [0.5])
    made = model(nodes, [scale, helper.make_tensor("z", kind, (), [1])], {"x": (40,)})
    x = normal(40, scale=6.0)
    (wanted,) = ReferenceEvaluator(made).run(None, {"x": x})
    assert np.array_equal(cr.compile(cr.load_onnx(made))(x), wanted)
    assert np.max(wanted) == (KINDS[kind][1] - 2) * 0.5


def test_bytes_that_do_not_match_the_shape_are_refused() -> None:
    nodes = [helper.make_node("DequantizeLinear", ["w", "s"], ["v"]), helper.make_node("Add", ["v", "x"], ["y"])]
    scale = helper.make_tensor("s", TensorProto.FLOAT, (), [0.5])
    for data in (b"\0\0", b"\0\0\0\0"):
        wrong = TensorProto(name="w", data_type=TensorProto.INT4, dims=(5,), raw_data=data)
        with pytest.raises(ModelError, match="bytes, not 3"):
            cr.load_onnx(model(nodes, [wrong, scale], {"x": (5,)}))
