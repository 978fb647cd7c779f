"""Reductions, softmax, norms, running sums and sorts against onnxruntime and numpy, paired in one run.

Each case runs ours and the others by turns, in short bursts, on one thread (--threads for more), and prints medians in
microseconds and the median of the paired ratios (below 1: ours is faster). `--json` prints one record per case.
Usage: env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/reduce.py [--threads 1] [--json] [--only softmax]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.types import tensor
from chainrule.ops import cumulative, norm, reduce, softmax, sorting

Array = np.ndarray
ROUNDS = 15
BURST_SECONDS = 0.01


@dataclass(frozen=True)
class Case:
    """One op at one shape: ours as graph nodes, onnxruntime's as nodes of its own, numpy's as a function."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    ours: Callable[..., Value]
    onnx: tuple[tuple[str, dict[str, object]], ...]
    numpy: Callable[..., object] | None = None
    constants: tuple[Array, ...] = ()


@dataclass(frozen=True)
class Result:
    """Median microseconds per call; ratios: the median of ours / theirs over the rounds."""

    case: str
    shape: str
    ours_us: float
    onnxruntime_us: float | None
    numpy_us: float | None
    ratio_onnxruntime: float | None
    ratio_numpy: float | None


def reduction(op: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> Case:
    """A reduction without keepdims."""
    mine = {"Sum": reduce.sum, "Mean": reduce.mean, "Max": reduce.amax}[op]
    theirs = {"Sum": np.sum, "Mean": np.mean, "Max": np.max}[op]
    node = (f"Reduce{op}", {"keepdims": 0})
    return Case(f"{op.lower()} over {list(axes)}", (shape,), lambda x: mine(x, axes), (node,),
                lambda x: theirs(x, axis=axes), (np.array(axes, np.int64),))  # fmt: skip


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _layer_norm(x: Array, g: Array, b: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * g + b


CASES: tuple[Case, ...] = (
    reduction("Sum", (1 << 20,), (0,)),
    reduction("Sum", (64, 1024), (1,)),
    reduction("Sum", (1000, 10), (1,)),
    reduction("Sum", (1024, 256), (0,)),
    reduction("Sum", (8, 64, 56, 56), (0, 2, 3)),
    reduction("Mean", (1, 512, 7, 7), (2, 3)),
    reduction("Mean", (8, 64, 56, 56), (2, 3)),
    reduction("Max", (256, 1000), (1,)),
    reduction("Max", (64, 128, 32), (1,)),
    Case("argmax over [1]", ((256, 1000),), lambda x: reduce.argmax(x, 1), (("ArgMax", {"axis": 1, "keepdims": 0}),),
         lambda x: np.argmax(x, 1)),
    Case("softmax", ((1, 1000),), lambda x: softmax.softmax(x, -1), (("Softmax", {"axis": -1}),), _softmax),
    Case("softmax", ((64, 10),), lambda x: softmax.softmax(x, -1), (("Softmax", {"axis": -1}),), _softmax),
    Case("softmax", ((1536, 128),), lambda x: softmax.softmax(x, -1), (("Softmax", {"axis": -1}),), _softmax),
    Case("softmax", ((6144, 512),), lambda x: softmax.softmax(x, -1), (("Softmax", {"axis": -1}),), _softmax),
    Case("softmax of axis 1", ((8, 21, 64, 64),), lambda x: softmax.softmax(x, 1), (("Softmax", {"axis": 1}),)),
    Case("log_softmax", ((64, 1000),), lambda x: softmax.log_softmax(x, -1), (("LogSoftmax", {"axis": -1}),)),
    *(Case("layer_norm", ((n, 768), (768,), (768,)), lambda x, g, b: norm.layer_norm(x, g, b),
           (("LayerNormalization", {"axis": -1, "epsilon": 1e-5}),), _layer_norm) for n in (1, 128)),
    Case("group_norm 32", ((4, 256, 28, 28), (256,), (256,)), lambda x, g, b: norm.group_norm(x, 32, g, b),
         (("GroupNormalization", {"num_groups": 32, "epsilon": 1e-5}),)),
    Case("instance_norm", ((4, 64, 56, 56), (64,), (64,)), lambda x, g, b: norm.instance_norm(x, g, b),
         (("InstanceNormalization", {"epsilon": 1e-5}),)),
    Case("cumsum", ((256, 1024),), lambda x: cumulative.cumsum(x, 1), (("CumSum", {}),), lambda x: np.cumsum(x, 1),
         (np.array(1, np.int64),)),
    Case("sort", ((64, 1000),), lambda x: sorting.sort(x, 1), (), lambda x: np.sort(x, 1, kind="stable")),
    Case("top_k 5", ((64, 1000),), lambda x: sorting.top_k(x, 5)[1], (("TopK", {"axis": -1}),), None,
         (np.array([5], np.int64),)),
)  # fmt: skip


def session(case: Case, arrays: list[Array], threads: int) -> Callable[[], object] | None:
    """onnxruntime's function of the case, None where it has no such op."""
    if not case.onnx:
        return None
    ((op, attributes),) = case.onnx
    names = [f"x{i}" for i in range(len(arrays))]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in zip(names, arrays, strict=True)]
    constants = [onnx.numpy_helper.from_array(c, f"c{i}") for i, c in enumerate(case.constants)]
    outs = ["y0", "y1"] if op == "TopK" else ["y0"]
    kind = TensorProto.INT64 if op in ("TopK", "ArgMax") else TensorProto.FLOAT
    node = helper.make_node(op, [*names, *(c.name for c in constants)], outs, **attributes)
    graph = helper.make_graph([node], "case", inputs, [helper.make_tensor_value_info(outs[-1], kind, None)], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    made = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = dict(zip(names, arrays, strict=True))
    return lambda: made.run(None, feeds)


def ours(case: Case, arrays: list[Array], threads: int) -> Callable[[], object]:
    """The compiled case."""
    inputs = tuple(new_input(f"x{i}", tensor("f32", a.shape)) for i, a in enumerate(arrays))
    made = LlvmExecutable(Graph("case", inputs, (case.ours(*inputs),)), [], threads=threads)
    made.run(arrays)
    entry = made.entry
    return lambda: entry(*arrays)


def burst(function: Callable[[], object], count: int) -> float:
    """Microseconds per call of count calls."""
    start = time.perf_counter()
    for _ in range(count):
        function()
    return (time.perf_counter() - start) * 1e6 / count


def measured(case: Case, threads: int) -> Result:
    """The case by turns."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in case.shapes]
    numpy = case.numpy
    functions = [ours(case, arrays, threads), session(case, arrays, threads),
                 None if numpy is None else lambda: numpy(*arrays)]  # fmt: skip
    counts = [0 if f is None else max(1, int(BURST_SECONDS * 1e6 / max(burst(f, 2), 0.1))) for f in functions]
    pairs = list(zip(functions, counts, strict=True))
    rounds = [[0.0 if f is None else burst(f, n) for f, n in pairs] for _ in range(ROUNDS)]
    middle = [statistics.median(column) for column in zip(*rounds, strict=True)]
    ratios = [statistics.median(r[0] / r[i] for r in rounds) if functions[i] is not None else None for i in (1, 2)]
    return Result(case.name, str(list(case.shapes[0])), middle[0], middle[1] or None, middle[2] or None, *ratios)


def main() -> None:
    """Prints a table, or one JSON record per line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    if not args.json:
        print(f"{'case':22}{'shape':22}{'ours us':>10}{'ort us':>10}{'numpy us':>10}{'/ ort':>9}{'/ numpy':>9}")
    for case in CASES:
        if args.only not in case.name:
            continue
        r = measured(case, args.threads)
        if args.json:
            print(json.dumps(asdict(r)))
            continue
        times = "".join("-".rjust(10) if t is None else f"{t:10.1f}" for t in (r.onnxruntime_us, r.numpy_us))
        against = "".join("-".rjust(9) if t is None else f"{t:9.2f}" for t in (r.ratio_onnxruntime, r.ratio_numpy))
        print(f"{r.case:22}{r.shape:22}{r.ours_us:10.1f}{times}{against}")


if __name__ == "__main__":
    main()
