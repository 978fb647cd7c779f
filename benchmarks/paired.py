"""Measures functions against each other by turns, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

Array = np.ndarray
ROUNDS = 15
BURST_SECONDS = 0.02


@dataclass(frozen=True)
class Paired:
    """best_us, median_us: microseconds per call of each function; ratios: medians of first / other, round by round."""

    best_us: tuple[float, ...]
    median_us: tuple[float, ...]
    ratios: tuple[float, ...]


def paired(functions: Sequence[Callable[[], object]], rounds: int = ROUNDS) -> Paired:
    """Runs all functions by turns, a burst each, in alternating order."""
    counts = []
    for function in functions:
        function()
        start = time.perf_counter()
        function()
        counts.append(max(1, int(BURST_SECONDS / max(time.perf_counter() - start, 1e-7))))
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(rounds):
        order = range(len(functions)) if turn % 2 == 0 else reversed(range(len(functions)))
        for i in order:
            start = time.perf_counter()
            for _ in range(counts[i]):
                functions[i]()
            times[i].append((time.perf_counter() - start) * 1e6 / counts[i])
    ratios = tuple(statistics.median(a / b for a, b in zip(times[0], other, strict=True)) for other in times[1:])
    return Paired(tuple(map(min, times)), tuple(map(statistics.median, times)), ratios)


def session(nodes: Sequence[onnx.NodeProto], inputs: dict[str, Array], weights: dict[str, Array], output: str,
            threads: int) -> Callable[[], object]:  # fmt: skip
    """onnxruntime's function of some nodes, the weights as initialisers, which it packs ahead."""
    declared = [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in inputs.items()]
    stored = [onnx.numpy_helper.from_array(a, n) for n, a in weights.items()]
    graph = helper.make_graph(
        list(nodes), "case", declared, [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], stored
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    made = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: made.run(None, inputs)
