"""Attention against onnxruntime, by turns.

    taskset -c 1 python benchmarks/attention.py [--json FILE]

Queries, keys and values come as [1, T, heads * 64], as projections leave them, so each side also pays for bringing the
heads apart. onnxruntime runs it twice: as plain nodes, and as its own fused op; the faster one counts.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from paired import paired

import chainrule as cr

SIZE = 64  # features of a head
SHAPES = ((12, 128), (12, 512), (8, 1024))  # heads, tokens
NAMES = ("q", "k", "v")


def plain(heads: int, tokens: int) -> list[onnx.NodeProto]:
    """Attention as an exporter writes it."""
    turned = [helper.make_node("Transpose", [n + "r"], [n + "t"], perm=[0, 2, 3, 1] if n == "k" else [0, 2, 1, 3])
              for n in NAMES]  # fmt: skip
    return [
        helper.make_node("Constant", [], ["apart"], value_ints=[1, tokens, heads, SIZE]),
        helper.make_node("Constant", [], ["flat"], value_ints=[1, tokens, heads * SIZE]),
        helper.make_node("Constant", [], ["scale"], value_float=SIZE**-0.5),
        *(helper.make_node("Reshape", [n, "apart"], [n + "r"]) for n in NAMES),
        *turned,
        helper.make_node("MatMul", ["qt", "kt"], ["s"]),
        helper.make_node("Mul", ["s", "scale"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "vt"], ["o"]),
        helper.make_node("Transpose", ["o"], ["ot"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["ot", "flat"], ["y"]),
    ]


def fused(heads: int) -> list[onnx.NodeProto]:
    """onnxruntime's own op."""
    return [helper.make_node("MultiHeadAttention", list(NAMES), ["y"], num_heads=heads, domain="com.microsoft")]


def session(nodes: list[onnx.NodeProto], shape: tuple[int, ...]) -> ort.InferenceSession:
    """The nodes on one thread."""
    declared = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in NAMES]
    graph = helper.make_graph(nodes, "net", declared, [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def ours(heads: int, tokens: int) -> cr.Executable:
    """The same, compiled here."""

    def model(q: cr.Tensor, k: cr.Tensor, v: cr.Tensor) -> cr.Tensor:
        apart = [x.reshape(1, tokens, heads, SIZE).transpose(0, 2, 1, 3) for x in (q, k, v)]
        y = cr.scaled_dot_product_attention(*apart)
        return y.transpose(0, 2, 1, 3).reshape(1, tokens, heads * SIZE)

    return cr.compile(model, *(cr.spec(1, tokens, heads * SIZE),) * 3, threads=1)


def row(heads: int, tokens: int) -> dict[str, object]:
    """One shape, measured."""
    shape = (1, tokens, heads * SIZE)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape, np.float32) for _ in NAMES]
    fed = dict(zip(NAMES, arrays, strict=True))
    net, sessions = ours(heads, tokens), [session(plain(heads, tokens), shape), session(fused(heads), shape)]
    for other in sessions:
        np.testing.assert_allclose(net(*arrays), other.run(None, fed)[0], rtol=1e-4, atol=1e-5)
    found = paired([lambda: net(*arrays), *(lambda s=s: s.run(None, fed) for s in sessions)])
    best, median = min(found.best_us[1:]), min(found.median_us[1:])
    return {
        "what": f"attention, {heads} heads of {SIZE}, {tokens} tokens", "ours_us": round(found.median_us[0], 1),
        "onnxruntime_us": round(median, 1), "onnxruntime_over_ours": round(median / found.median_us[0], 3),
        "of_minima": round(best / found.best_us[0], 3),
        "gflops": round(4 * tokens * tokens * heads * SIZE / found.best_us[0] / 1e3, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    rows = [row(*shape) for shape in SHAPES]
    for found in rows:
        print(found)
    if arguments.json:
        facts = {"machine": f"{platform.machine()}, CPython {platform.python_version()}", "threads": 1, "rows": rows}
        Path(arguments.json).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
