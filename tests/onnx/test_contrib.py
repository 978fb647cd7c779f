"""Ops of com.microsoft give what onnxruntime gives: one node each, on random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import ModelProto, ValueInfoProto, helper, numpy_helper

import chainrule as cr
from chainrule.errors import NotSupported
from chainrule.ops.tolerance import OTHER_FRAMEWORK, models_agree
from tests.ops.sample import integers, normal

Array = np.ndarray
HEADS, SIZE = 2, 8
X, Y = normal(2, 5, 16), normal(2, 5, 16, seed=1)
ROW, OTHER = normal(16, seed=2), normal(16, seed=3)
TABLE = normal(20, 4, seed=4)
LENGTHS = np.int32([5, 3])
PAST = normal(2, HEADS, 3, SIZE, seed=5), normal(2, HEADS, 3, SIZE, seed=6)
JOINT = X, normal(16, 48, seed=7) * np.float32(0.3), normal(48, seed=8)
ONES = np.int32([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0]])

# op, inputs (None for one that is left out), attributes, outputs that are asked for
Node = tuple[str, tuple[Array | None, ...], dict[str, Any], tuple[bool, ...]]
NODES: list[Node] = [
    ("Gelu", (X,), {}, (True,)),
    ("BiasGelu", (X, ROW), {}, (True,)),
    ("FastGelu", (X,), {}, (True,)),
    ("FastGelu", (X, ROW), {}, (True,)),
    ("QuickGelu", (X,), {"alpha": 1.5}, (True,)),
    ("FusedMatMul", (X, Y), {"transB": 1, "alpha": 0.25}, (True,)),
    ("FusedMatMul", (X, normal(5, 3)), {"transA": 1}, (True,)),
    ("SkipLayerNormalization", (X, Y, ROW, OTHER), {"epsilon": 1e-5}, (True,)),
    ("SkipLayerNormalization", (X, Y, ROW, OTHER, OTHER), {}, (True, False, False, True)),
    ("SkipLayerNormalization", (X, Y, ROW), {}, (True,)),
    ("SkipSimplifiedLayerNormalization", (X, Y, ROW), {"epsilon": 1e-6}, (True, False, False, True)),
    ("EmbedLayerNormalization",
     (integers(0, 9, 2, 5, dtype="int32"), integers(0, 2, 2, 5, dtype="int32"), normal(9, 16), normal(7, 16, seed=1),
      normal(2, 16, seed=2), ROW, OTHER, ONES), {"epsilon": 1e-5}, (True, True)),
    ("EmbedLayerNormalization", (integers(0, 9, 2, 5, dtype="int32"), None, normal(9, 16), normal(7, 16, seed=1), None,
                                 ROW, OTHER), {}, (True, True)),
    ("Attention", JOINT, {"num_heads": HEADS}, (True,)),
    ("Attention", JOINT, {"num_heads": HEADS, "unidirectional": 1, "scale": 0.3}, (True,)),
    ("Attention", (*JOINT, LENGTHS), {"num_heads": HEADS}, (True,)),
    ("Attention", (*JOINT, np.int32([5, 3, 0, 1])), {"num_heads": HEADS}, (True,)),
    ("Attention", (*JOINT, ONES), {"num_heads": HEADS}, (True,)),
    ("Attention", (*JOINT, None, np.stack(PAST)), {"num_heads": HEADS, "unidirectional": 1}, (True, True)),
    ("MultiHeadAttention", (X, Y, X), {"num_heads": HEADS}, (True,)),
    ("MultiHeadAttention", (X, Y, X, normal(48, seed=8)), {"num_heads": HEADS, "scale": 0.4}, (True,)),
    ("MultiHeadAttention", (X, Y, X, None, ONES), {"num_heads": HEADS}, (True,)),
    ("MultiHeadAttention", (X, Y, X, None, None, normal(1, HEADS, 5, 5)), {"num_heads": HEADS}, (True,)),
    ("MultiHeadAttention", (X, Y, X, None, None, None, *PAST), {"num_heads": HEADS, "unidirectional": 1}, (True,) * 3),
    ("RotaryEmbedding", (X, np.int64([3]), TABLE, TABLE + 1), {"num_heads": HEADS}, (True,)),
    ("RotaryEmbedding", (X, integers(0, 20, 2, 5), TABLE, TABLE + 1), {"interleaved": 1}, (True,)),
]  # fmt: skip


def model_of(node: Node) -> tuple[ModelProto, dict[str, Array]]:
    """A model of the node, its first input free, and what to feed it; other floats are weights."""
    op, inputs, attributes, wanted = node
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    fed = {n: x for n, x in zip(names, inputs, strict=True) if x is not None}
    outputs = [f"y{i}" if w else "" for i, w in enumerate(wanted)]
    made = helper.make_node(op, names, outputs, domain="com.microsoft", **attributes)
    weights = ("x1", "x2") if op in ("Attention", "RotaryEmbedding") else ()
    declared = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
                for n, x in fed.items() if n not in weights]  # fmt: skip
    free = {v.name for v in declared}
    stored = [numpy_helper.from_array(x, n) for n, x in fed.items() if n not in free]
    results = [ValueInfoProto(name=n) for n in outputs if n]
    graph = helper.make_graph([made], "net", declared, results, stored)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9), {n: fed[n] for n in fed if n in free}


@pytest.mark.parametrize("backend", ["reference", "llvm"])
@pytest.mark.parametrize("node", NODES, ids=lambda n: f"{n[0]}-{sum(x is not None for x in n[1])}-{'-'.join(n[2])}")
def test_a_node_gives_what_onnxruntime_gives(node: Node, backend: str) -> None:
    model, fed = model_of(node)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(None, fed)
    net = cr.compile(cr.load_onnx(model), backend=backend)
    found = net.run(list(fed.values()))
    assert len(found) == len(wanted)
    for got, want in zip(found, wanted, strict=True):
        assert got.dtype == want.dtype
        verdict = models_agree(got, want.astype(np.float64), OTHER_FRAMEWORK)
        assert verdict, verdict.reason


def test_what_is_not_built_is_named() -> None:
    model, _ = model_of(("Attention", JOINT, {"num_heads": HEADS, "do_rotary": 1}, (True,)))
    with pytest.raises(NotSupported, match="do_rotary is not built"):
        cr.load_onnx(model)
