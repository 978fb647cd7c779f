"""Ops of com.microsoft give what onnxruntime gives: one node each, on random numbers."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ModelError, NotSupported
from tests.onnx.contrib import Node, complaints, model_of
from tests.ops.sample import integers, normal

HEADS, SIZE = 2, 8
X, Y = normal(2, 5, 16), normal(2, 5, 16, seed=1)
ROW, OTHER = normal(16, seed=2), normal(16, seed=3)
TABLE = normal(20, 4, seed=4)
WORDS = integers(0, 9, 2, 5, dtype="int32")
LENGTHS = np.int32([5, 3])
PAST = normal(2, HEADS, 3, SIZE, seed=5), normal(2, HEADS, 3, SIZE, seed=6)
JOINT = X, normal(16, 48, seed=7) * np.float32(0.3), normal(48, seed=8)
IMAGE = normal(2, 4, 6, 6), normal(5, 4, 3, 3), normal(5)
ONES = np.int32([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0]])

ACTIVATIONS: list[tuple[str, list[float]]] = [
    ("Relu", []), ("Tanh", []), ("Sigmoid", []), ("LeakyRelu", [0.3]), ("Clip", [-0.5, 0.7]),
    ("HardSigmoid", [0.3, 0.4]),
]  # fmt: skip
NODES: list[Node] = [
    Node("Gelu", (X,)),
    Node("BiasGelu", (X, ROW)),
    Node("FastGelu", (X,)),
    Node("FastGelu", (X, ROW)),
    Node("QuickGelu", (X,), {"alpha": 1.5}),
    Node("FusedMatMul", (X, Y), {"transB": 1, "alpha": 0.25}),
    Node("FusedMatMul", (X, normal(5, 3)), {"transA": 1}),
    Node("SkipLayerNormalization", (X, Y, ROW, OTHER), {"epsilon": 1e-5}),
    Node("SkipLayerNormalization", (X, Y, ROW, OTHER, OTHER), {}, (True, False, False, True)),
    Node("SkipLayerNormalization", (X, Y, ROW)),
    Node("SkipSimplifiedLayerNormalization", (X, Y, ROW), {"epsilon": 1e-6}, (True, False, False, True)),
    Node("EmbedLayerNormalization", (WORDS, WORDS % 2, normal(9, 16), normal(7, 16, seed=1), normal(2, 16, seed=2), ROW,
                                     OTHER, ONES), {"epsilon": 1e-5}, (True, True)),
    Node("EmbedLayerNormalization", (WORDS, None, normal(9, 16), normal(7, 16, seed=1), None, ROW, OTHER), {},
         (True, True)),
    Node("Attention", JOINT, {"num_heads": HEADS}, stored=(1, 2)),
    Node("Attention", JOINT, {"num_heads": HEADS, "unidirectional": 1, "scale": 0.3}, stored=(1, 2)),
    Node("Attention", (*JOINT, LENGTHS), {"num_heads": HEADS}, stored=(1, 2)),
    Node("Attention", (*JOINT, np.int32([5, 3, 0, 1])), {"num_heads": HEADS}, stored=(1, 2)),
    Node("Attention", (*JOINT, ONES), {"num_heads": HEADS}, stored=(1, 2)),
    Node("Attention", (*JOINT, None, np.stack(PAST)), {"num_heads": HEADS, "unidirectional": 1}, (True, True),
         stored=(1, 2)),
    Node("MultiHeadAttention", (X, Y, X), {"num_heads": HEADS}),
    Node("MultiHeadAttention", (X, Y, X, normal(48, seed=8)), {"num_heads": HEADS, "scale": 0.4}),
    Node("MultiHeadAttention", (X, Y, X, None, ONES), {"num_heads": HEADS}),
    Node("MultiHeadAttention", (X, Y, X, None, None, normal(1, HEADS, 5, 5)), {"num_heads": HEADS}),
    Node("MultiHeadAttention", (X, Y, X, None, None, None, *PAST), {"num_heads": HEADS, "unidirectional": 1},
         (True,) * 3),
    Node("RotaryEmbedding", (X, np.int64([3]), TABLE, TABLE + 1), {"num_heads": HEADS}, stored=(1, 2)),
    Node("RotaryEmbedding", (X, integers(0, 20, 2, 5), TABLE, TABLE + 1), {"interleaved": 1}, stored=(1, 2)),
    *(Node("FusedConv", IMAGE, {"activation": a, "activation_params": p, "pads": [1, 0, 1, 0]} if p else
           {"activation": a}) for a, p in ACTIVATIONS),
    Node("FusedConv", (*IMAGE, normal(2, 5, 4, 4)), {"activation": "Relu"}, label="residual"),
    *(Node("FusedGemm", (normal(4, 6), normal(5, 6), normal(5)), {
        "activation": a, "transB": 1, "alpha": 0.5, "beta": 2.0,
        **dict(zip(("activation_alpha", "activation_beta"), p, strict=False))}, label=a)
      for a, p in (*ACTIVATIONS, ("Elu", [0.4]), ("Softplus", [])) if a != "Clip"),
    Node("TransposeMatMul", (X, Y), {"transB": 1, "alpha": 0.5}),
    Node("SimplifiedLayerNormalization", (X, ROW), {"epsilon": 1e-6}, domain=""),
    Node("SimplifiedLayerNormalization", (X, normal(5, 16)), {"axis": 1}, domain=""),
]  # fmt: skip


@pytest.mark.parametrize("backend", ["reference", "llvm"])
@pytest.mark.parametrize("node", NODES, ids=lambda n: n.id)
def test_a_node_gives_what_onnxruntime_gives(node: Node, backend: str) -> None:
    assert complaints(node, backend) == []


REFUSED: list[tuple[Node, type[cr.ChainruleError], str]] = [
    (Node("Attention", JOINT, {"num_heads": HEADS, "do_rotary": 1}), NotSupported, "do_rotary is not built"),
    (Node("FusedConv", IMAGE, {"activation": "Swish"}), NotSupported, "activation 'Swish' is not built"),
    (Node("FusedConv", IMAGE, {"activation": "Relu", "activation_params": [1.0]}), ModelError, "takes 0 parameters"),
    (Node("MultiHeadAttention", (normal(2, 5, HEADS, 4, SIZE),), {"num_heads": HEADS}), ModelError, "does not hold 3"),
    (Node("MultiHeadAttention", (X,), {"num_heads": HEADS}), ModelError, "are not"),
]


@pytest.mark.parametrize("node, error, message", REFUSED, ids=lambda v: v.id if isinstance(v, Node) else "")
def test_what_is_not_built_is_named(node: Node, error: type[cr.ChainruleError], message: str) -> None:
    with pytest.raises(error, match=message):
        cr.load_onnx(model_of(node)[0])
