"""Ops of com.microsoft on quantised numbers give what onnxruntime gives: products to the last bit, others to a step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ModelError
from tests.onnx.contrib import Node, complaints, model_of
from tests.ops.sample import normal

Array = np.ndarray
KINDS = (np.uint8, np.int8)
WORDS = np.int32([[0, 3, 8, 8, 1], [2, 2, 7, 0, 5]])


def numbers(kind: type, *shape: int, seed: int = 0) -> Array:
    """Bytes of the whole range."""
    limits = np.iinfo(kind)
    return np.random.default_rng((seed, *shape)).integers(limits.min, limits.max + 1, shape).astype(kind)


def scale(number: float) -> np.float32:
    return np.float32(number)


def images(kind: type) -> Iterator[Node]:
    """Pools and convolutions, channels first and last."""
    x, last = numbers(kind, 2, 3, 9, 9), numbers(kind, 2, 9, 9, 3)
    rest = scale(0.05), kind(3), scale(0.04), kind(1)
    stored = (1, 2, 3, 4)
    strided: dict[str, object] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    yield Node("QLinearAveragePool", (x, *rest), {**strided}, stored=stored)  # type: ignore[arg-type]
    yield Node("QLinearAveragePool", (x, *rest), {**strided, "count_include_pad": 1}, stored=stored)  # type: ignore[arg-type]
    yield Node("QLinearAveragePool", (last, *rest), {"kernel_shape": [2, 3], "ceil_mode": 1, "channels_last": 1},
               stored=stored)  # fmt: skip
    yield Node("QLinearGlobalAveragePool", (x, *rest), stored=stored)
    yield Node("QLinearGlobalAveragePool", (last, *rest), {"channels_last": 1}, stored=stored)
    yield Node("NhwcMaxPool", (last,), {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 0]})
    weights = numbers(np.int8, 4, 3, 3, 3), np.float32([0.01, 0.02, 0.03, 0.01]), np.int8([0, 0, 0, 0])
    for more in ({}, {"pads": [1, 1, 1, 1], "strides": [2, 1]}):
        yield Node("QLinearConv", (last, scale(0.05), kind(3), *weights, scale(0.4), kind(1)),
                   {"channels_last": 1, **more}, stored=tuple(range(1, 8)))  # fmt: skip


def elementwise(kind: type) -> Iterator[Node]:
    a, b = numbers(kind, 3, 40), numbers(kind, 40, seed=1)
    for op in ("QLinearAdd", "QLinearMul"):
        yield Node(op, (a, scale(0.02), kind(10), b, scale(0.03), kind(20), scale(0.05), kind(5)))
        yield Node(op, (a[:, :1], scale(0.02), kind(0), b, scale(0.03), kind(7), scale(0.01), kind(5)))
    zeros = np.zeros((3, 4), kind)  # by the lowest float of a mask, which is infinite in 127 such steps
    yield Node("QLinearMul", (zeros, scale(1), kind(0), zeros, scale(2.6793887e36), kind(127), scale(1), kind(5)))
    row, stored = numbers(kind, 500), (1, 2, 3, 4)
    yield Node("QLinearSigmoid", (row, scale(0.04), kind(100), scale(1 / 256), kind(0)), stored=stored)
    yield Node("QLinearLeakyRelu", (row, scale(0.04), kind(100), scale(0.03), kind(60)), {"alpha": 0.2}, stored=stored)
    last = scale(0.1), kind(100), scale(1 / 256), kind(0)
    yield Node("QLinearSoftmax", (numbers(kind, 5, 40), *last), {"axis": -1, "opset": 13}, stored=stored)
    yield Node("QLinearSoftmax", (numbers(kind, 2, 5, 8), *last), {"axis": 1, "opset": 11}, stored=stored)
    yield Node("QLinearConcat", (scale(0.05), kind(3), numbers(kind, 2, 3), scale(0.02), kind(10), numbers(kind, 2, 4),
                                 scale(0.06), kind(1)), {"axis": 1}, stored=(0, 1, 3, 4, 6, 7))  # fmt: skip
    chosen = np.random.default_rng(0).random((3, 40)) > 0.5
    yield Node("QLinearWhere", (chosen, a, scale(0.02), kind(10), b, scale(0.03), kind(20), scale(0.05), kind(5)))


def products(kind: type) -> Iterator[Node]:
    a, b, columns = numbers(kind, 5, 12), numbers(np.int8, 12, 7), np.float32(np.arange(7) * 0.01)
    points = np.int8(np.arange(7))
    yield Node("MatMulIntegerToFloat", (a, b, scale(0.02), scale(0.03), kind(10), np.int8(3)))
    yield Node("MatMulIntegerToFloat", (numbers(kind, 3, 5, 12), b, scale(0.02), columns, kind(10), points, normal(7)))
    added = np.random.default_rng(1).integers(-999, 999, (5, 7)).astype(np.int32)
    yield Node("QGemm", (a, scale(0.02), kind(10), b, scale(0.03), np.int8(3), added[0], scale(0.3), kind(9)),
               {"alpha": 1.5})  # fmt: skip
    yield Node("QGemm", (a.T.copy(), scale(0.02), kind(10), b.T.copy(), columns, points, added),
               {"transA": 1, "transB": 1}, stored=(4, 5))  # fmt: skip


def transformers() -> Iterator[Node]:
    x, weight, bias = numbers(np.uint8, 2, 5, 16), numbers(np.int8, 16, 48), normal(48)
    columns, lengths = np.float32(np.arange(48) * 0.001), np.int32([5, 3])
    yield Node("QAttention", (x, weight, bias, scale(0.02), scale(0.01), None, np.uint8(3), np.int8(2)),
               {"num_heads": 2})  # fmt: skip
    yield Node("QAttention", (x, weight, bias, scale(0.02), columns, lengths, np.uint8(3), np.zeros(48, np.int8)),
               {"num_heads": 2, "unidirectional": 1}, stored=(4, 7))  # fmt: skip
    yield Node("QAttention", (x, weight, bias, scale(0.02), scale(0.01), None, np.uint8(3), np.int8(2),
                              normal(2, 2, 2, 3, 8)), {"num_heads": 2, "unidirectional": 1}, (True, True))  # fmt: skip
    tables = [numbers(np.uint8, *shape) for shape in ((9, 16), (7, 16), (2, 16), (16,), (16,))]
    scales = [scale(s) for s in (0.02, 0.03, 0.01, 0.02, 0.01)]
    yield Node("QEmbedLayerNormalization", (
        WORDS, WORDS % 2, *tables, np.int32([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]), *scales,
        *(np.uint8(z) for z in (100, 120, 130, 90, 128))), {"epsilon": 1e-5}, (True, True))  # fmt: skip
    for kind in KINDS:
        b = numbers(kind, 12, 7)
        yield Node("DynamicQuantizeMatMul", (normal(5, 12), b, scale(0.02), kind(9), normal(7)))
        yield Node("DynamicQuantizeMatMul", (normal(2, 5, 12), b, np.float32(np.arange(7) * 0.01), kind(np.arange(7))))
        yield Node("DynamicQuantizeMatMul", (normal(5, 12), b, scale(0.02)))


def domain_linear() -> Iterator[Node]:
    """QuantizeLinear and DequantizeLinear of this domain, which know 16 bits as well."""
    x, axes = normal(4, 6), np.abs(normal(4)) + np.float32(0.01)
    yield Node("QuantizeLinear", (x, scale(0.1), np.uint8(3)))
    yield Node("QuantizeLinear", (x, axes, np.uint8([1, 2, 3, 4])), {"axis": 0})
    yield Node("QuantizeLinear", (x, scale(0.0001), np.uint16(3)))
    yield Node("DequantizeLinear", (numbers(np.uint8, 4, 6), scale(0.1), np.uint8(3)))
    yield Node("DequantizeLinear", (numbers(np.int16, 4, 6), axes, np.int16([1, 2, 3, 4])), {"axis": 0})


NODES = [*(node for kind in KINDS for make in (images, elementwise, products) for node in make(kind)),
         *transformers(), *domain_linear()]  # fmt: skip


@pytest.mark.parametrize("backend", ["reference", "llvm"])
@pytest.mark.parametrize("node", NODES, ids=lambda n: n.id)
def test_a_node_gives_what_onnxruntime_gives(node: Node, backend: str) -> None:
    assert complaints(node, backend) == []


ROW = numbers(np.uint8, 40)
PAIR = ROW, scale(0.02), np.uint8(10)
REFUSED: list[tuple[Node, type[cr.ChainruleError], str]] = [
    (Node("QLinearConcat", (scale(0.05), np.uint8(3), *PAIR[:2]), {"axis": 0}), ModelError, "are not 2 and three"),
    (Node("QLinearConcat", (scale(0.05), np.uint8(3), *PAIR)), ModelError, "attribute axis is missing"),
    (Node("QLinearSigmoid", (normal(4), scale(0.1), np.uint8(3), scale(0.1), np.uint8(0))), ModelError,
     "is not quantised"),
    (Node("QLinearSoftmax", (*PAIR, scale(0.1), np.uint8(0)), {"axis": -1}), ModelError, "attribute opset is missing"),
    (Node("QGemm", (ROW, scale(0.1), np.uint8(1), ROW, scale(0.1), np.uint8(1))), ModelError, "are not two matrices"),
    (Node("MatMulIntegerToFloat", (normal(4, 5), numbers(np.int8, 5, 3), scale(0.1), scale(0.2))), ModelError,
     "f32 is not among"),
    (Node("QAttention", (numbers(np.uint8, 2, 5, 16), numbers(np.int8, 16, 48), normal(48), scale(0.1), scale(0.1)),
          {"num_heads": 2, "do_rotary": 1}), cr.NotSupported, "do_rotary is not built"),
]  # fmt: skip


@pytest.mark.parametrize("node, error, message", REFUSED, ids=lambda v: v.id if isinstance(v, Node) else "")
def test_wrong_uses_are_refused(node: Node, error: type[cr.ChainruleError], message: str) -> None:
    with pytest.raises(error, match=message):
        cr.load_onnx(model_of(node)[0])


def test_a_scale_for_all_needs_no_axis_that_there_is() -> None:
    """A quantiser writes the bias of a norm so: one axis, one scale of one axis, the axis left at 1."""
    bias = np.random.default_rng(0).integers(-999, 999, 12).astype(np.int32)
    node = Node("DequantizeLinear", (bias, np.float32([0.01]), np.int32([0])), domain="", stored=(0, 1, 2))
    assert not complaints(node, "reference")
