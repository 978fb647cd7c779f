"""Products by weights of few bits, and the LSTM of bytes, give what onnxruntime gives for the weights as floats."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ModelError, NotSupported
from chainrule.ops.tolerance import BYTES_RTOL
from tests.onnx.contrib import Array, Attribute, Node, complaint, complaints, model_of, ours, theirs
from tests.ops.sample import integers, normal


def packed(bits: int, block: int, depth: int, columns: int, zeros: str = "", *more: Array | None) -> Node:
    """MatMulNBits of a random weight. zeros: "", "packed" or "float"."""
    blocks = -(-depth // block)
    weight = integers(0, 256, columns, blocks, block * bits // 8, dtype="uint8")
    points = {"": None, "float": normal(columns, blocks, seed=3),
              "packed": integers(0, 256, columns, -(-blocks * bits // 8), seed=2, dtype="uint8")}[zeros]  # fmt: skip
    given: dict[str, Attribute] = {"bits": bits, "block_size": block, "K": depth, "N": columns}
    inputs = (normal(2, 3, depth), weight, np.abs(normal(columns, blocks, seed=1)) * np.float32(0.1), points, *more)
    return Node("MatMulNBits", inputs, given, stored=tuple(range(1, len(inputs))),
                label=f"{bits}bits-{block}-{depth}-{zeros}{len(more)}")  # fmt: skip


NODES = [*(packed(bits, *sizes, zeros) for bits in (2, 4, 8) for sizes in ((16, 16, 3), (32, 70, 9), (64, 200, 8))
           for zeros in ("", "packed", "float") if (bits, zeros) != (8, "float")),
         packed(4, 16, 40, 5, "", integers(0, 3, 40, dtype="int32")),
         packed(4, 16, 40, 5, "packed", None, normal(5, seed=4))]  # fmt: skip


@pytest.mark.parametrize("node", NODES, ids=lambda n: n.label)
def test_a_product_by_blocks_gives_what_onnxruntime_gives(node: Node) -> None:
    assert [line for backend in ("reference", "llvm") for line in complaints(node, backend)] == []


GOOD = packed(4, 16, 40, 5)
REFUSED: list[tuple[Node, type[cr.ChainruleError], str]] = [
    (GOOD.having(bits=3), NotSupported, "3 bits are not built"),
    (GOOD.having(block_size=24), ModelError, "power of two"),
    (GOOD.having(K=48), ModelError, "K is 48"), (GOOD.having(N=6), ModelError, r"is not u8\[6,3,8\]"),
    (GOOD.having(weight_prepacked=1), NotSupported, "packed for one processor"),
    (Node("MatMulNBits", (*GOOD.inputs[:2], normal(5, 2)), GOOD.attributes), ModelError, "are not 5 rows of 3"),
    (Node("MatMulNBits", (*GOOD.inputs[:3], integers(0, 9, 5, 5, dtype="uint8")), GOOD.attributes), ModelError,
     "zero points"),
]  # fmt: skip


@pytest.mark.parametrize("node, error, message", REFUSED, ids=lambda v: v.id if isinstance(v, Node) else "")
def test_wrong_uses_are_refused(node: Node, error: type[cr.ChainruleError], message: str) -> None:
    with pytest.raises(error, match=message):
        cr.load_onnx(model_of(node)[0])


def layers() -> Iterator[Node]:
    """LSTMs of bytes: directions, signs, scales for all or by columns, lengths, peepholes, states."""
    for sides, direction in ((1, "forward"), (1, "reverse"), (2, "bidirectional")):
        for kind, point in ((np.int8, 0), (np.uint8, 128), (np.uint8, 120)):
            shape = (sides, 32) if point == 120 else (sides,)
            w, r = (numbers(kind, sides, n, 32) for n in (10, 8))
            scales = [np.abs(normal(*shape, seed=s)) * np.float32(0.004) for s in (1, 2)]
            points = np.full(shape, point, kind)
            yield Node("DynamicQuantizeLSTM", (
                normal(7, 3, 10), w, r, normal(sides, 64, seed=3) * np.float32(0.1), None, normal(sides, 3, 8, seed=4),
                normal(sides, 3, 8, seed=5), None, scales[0], points, scales[1], points),
                {"hidden_size": 8, "direction": direction}, (True,) * 3, (1, 2, 8, 9, 10, 11),
                label=f"{direction} {kind.__name__} {len(shape)}")  # fmt: skip
    w, r, small = numbers(np.uint8, 1, 10, 32), numbers(np.uint8, 1, 8, 32), np.float32([0.002])
    yield Node("DynamicQuantizeLSTM", (
        normal(7, 3, 10), w, r, None, np.int32([7, 3, 5]), None, None, normal(1, 24), small, np.uint8([128]), small,
        np.uint8([127])), {"hidden_size": 8}, (True,) * 3, (1, 2, 7, 8, 9, 10, 11),
        label="lengths and peepholes")  # fmt: skip


def numbers(kind: type, *shape: int) -> Array:
    limits = np.iinfo(kind)
    return integers(int(limits.min), int(limits.max) + 1, *shape, dtype=kind.__name__)


def as_floats(node: Node) -> Node:
    """The LSTM of ONNX with these weights as floats."""

    def real(weight: int, at: int) -> Array:
        w, scale, zero = (np.asarray(node.inputs[i], np.float32) for i in (weight, at, at + 1))
        lying = [p.reshape(len(w), 1, -1) for p in (scale, zero)]
        return np.ascontiguousarray(np.swapaxes((w - lying[1]) * lying[0], 1, 2))

    inputs = (node.inputs[0], real(1, 8), real(2, 10), *node.inputs[3:8])
    return Node("LSTM", inputs, node.attributes, node.outputs, (1, 2), domain="")


@pytest.mark.parametrize("node", list(layers()), ids=lambda n: n.label)
def test_a_layer_of_bytes_is_the_layer_of_its_weights_as_floats(node: Node) -> None:
    found = ours(*model_of(node), "llvm")
    for got, exact, rounded in zip(found, theirs(*model_of(as_floats(node))), theirs(*model_of(node)), strict=True):
        assert complaint(got, exact) == ""
        assert np.max(np.abs(got - rounded)) <= BYTES_RTOL * np.max(np.abs(rounded))


def test_a_weight_that_is_no_bytes_is_refused() -> None:
    node = next(layers())
    floats = (node.inputs[0], normal(1, 10, 32), *node.inputs[2:])
    with pytest.raises(ModelError, match="is not bytes"):
        cr.load_onnx(model_of(Node(node.op, floats, node.attributes))[0])
