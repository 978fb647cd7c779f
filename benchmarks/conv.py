"""Convolutions against onnxruntime, paired in one run: chains of equal layers, single layers, and LeNet-5.

A chain holds DEPTH convolutions with ReLU, so that what it costs to bring the image into a layout and back counts as
little as in a network. Prints microseconds per layer and GFLOP/s of the best burst, the share of the multiplier's peak,
and the median of the paired ratios (below 1: ours is faster). `--json` prints one record per case.
Usage: python benchmarks/conv.py [--threads 1] [--only lenet] [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from gemm import peak_gflops
from onnx import NodeProto, helper
from paired import paired, session

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.target import host_target
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.types import tensor
from chainrule.ops.activations import relu
from chainrule.ops.conv import conv
from chainrule.ops.elementwise import add
from chainrule.ops.matmul import linear
from chainrule.ops.pool import max_pool
from chainrule.ops.shaping import reshape

Array = np.ndarray
DEPTH = 6


@dataclass(frozen=True)
class Case:
    """A layer: channels in and out, image size, kernel; depth layers in a row."""

    name: str
    ins: int
    outs: int
    size: int
    kernel: int
    stride: int = 1
    groups: int = 1
    depth: int = 1

    @property
    def pad(self) -> int:
        return self.kernel // 2

    @property
    def flops(self) -> int:
        """Of one layer."""
        after = (self.size + 2 * self.pad - self.kernel) // self.stride + 1
        return 2 * after * after * self.outs * self.ins // self.groups * self.kernel**2


CASES = (
    *(Case(f"3x3 {c}@{s}", c, c, s, 3, depth=DEPTH) for c, s in ((64, 56), (128, 28), (256, 14), (512, 7))),
    *(Case(f"1x1 {c}@{s}", c, c, s, 1, depth=DEPTH) for c, s in ((64, 56), (256, 14), (512, 7))),
    *(Case(f"depthwise 3x3 {c}@{s}", c, c, s, 3, groups=c, depth=DEPTH) for c, s in ((144, 56), (384, 14), (960, 7))),
    Case("3x3 16@28, few channels", 16, 16, 28, 3, depth=DEPTH),
    Case("grouped 3x3 128@28, 32 groups", 128, 128, 28, 3, groups=32, depth=DEPTH),
    Case("5x5 48@27", 48, 48, 27, 5, depth=DEPTH),
    Case("7x7/2 3-64@224", 3, 64, 224, 7, 2), Case("3x3/2 64-128@56", 64, 128, 56, 3, 2),
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """Microseconds per layer of the best burst."""

    case: str
    ours_us: float
    onnxruntime_us: float
    gflops: float
    share_of_peak: float
    ratio_onnxruntime: float


def layers(case: Case, weights: Sequence[Array]) -> tuple[Graph, list[NodeProto]]:
    """The chain as our graph and as ONNX nodes."""
    x = new_input("x", tensor("f32", (1, case.ins, case.size, case.size)))
    params = [new_input(f"w{i}", tensor("f32", w.shape), "param") for i, w in enumerate(weights)]
    y: Value = x
    nodes: list[NodeProto] = []
    for i, w in enumerate(params):
        y = relu(conv(y, w, stride=case.stride, pad=case.pad, groups=case.groups))
        nodes.append(helper.make_node("Conv", [f"y{i - 1}" if i else "x", f"w{i}"], [f"c{i}"], group=case.groups,
                                      pads=[case.pad] * 4, strides=[case.stride] * 2))  # fmt: skip
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"y{i}"]))
    return Graph("chain", (x, *params), (y,)), nodes


def lenet(weights: Sequence[Array], batch: int) -> tuple[Graph, list[NodeProto]]:
    """LeNet-5 of 28x28 images with ReLU and max pools."""
    x = new_input("x", tensor("f32", (batch, 1, 28, 28)))
    p = [new_input(f"w{i}", tensor("f32", w.shape), "param") for i, w in enumerate(weights)]
    y = max_pool(relu(conv(x, p[0], p[1], pad=2)), 2)
    y = reshape(max_pool(relu(conv(y, p[2], p[3])), 2), (batch, 400))
    for i in (4, 6, 8):
        y = add(linear(y, p[i]), p[i + 1])
        y = relu(y) if i < 8 else y
    nodes = [
        helper.make_node("Conv", ["x", "w0", "w1"], ["a"], pads=[2] * 4), helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["c", "w2", "w3"], ["d"]), helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["f"], ["g"]), helper.make_node("Gemm", ["g", "w4", "w5"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["i"]), helper.make_node("Gemm", ["i", "w6", "w7"], ["j"], transB=1),
        helper.make_node("Relu", ["j"], ["k"]), helper.make_node("Gemm", ["k", "w8", "w9"], ["y0"], transB=1),
    ]  # fmt: skip
    return Graph("lenet", (x, *p), (y,)), nodes


LENET = ((6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), (120, 400), (120,), (84, 120), (84,), (10, 84), (10,))
LENET_FLOPS = 2 * (28 * 28 * 25 * 6 + 100 * 150 * 16 + 400 * 120 + 120 * 84 + 840)


def measured(name: str, graph: Graph, nodes: list[NodeProto], weights: Sequence[Array], flops: int, depth: int,
             threads: int, top: float) -> Result:  # fmt: skip
    """One graph by turns, its results compared first."""
    x = np.random.default_rng(1).standard_normal([int(d) for d in graph.inputs[0].shape]).astype(np.float32)
    made = LlvmExecutable(graph, weights, threads=threads)
    (got,) = made.run([x])
    theirs = session(nodes, {"x": x}, {f"w{i}": w for i, w in enumerate(weights)}, f"y{depth - 1}", threads)
    expected = theirs()[0]  # type: ignore[index]
    assert np.max(np.abs(got - expected)) <= 1e-4 * np.max(np.abs(expected)), f"{name}: the results differ"
    entry = made.entry
    found = paired([lambda: entry(x), theirs])
    ours, other = (us / depth for us in found.best_us)
    return Result(name, ours, other, flops / ours / 1e3, flops / ours / 1e3 / (top * threads), *found.ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    top = peak_gflops()
    rng = np.random.default_rng(0)
    if not options.json:
        print(f"{host_target().cpu}, {options.threads} thread(s), peak {top:.1f} GFLOP/s a core")
        print(f"{'layer':>30} {'ours us':>9} {'ort us':>9} {'GFLOP/s':>8} {'peak':>6} {'/ort':>6}")
    jobs = [(c.name, c) for c in CASES] + [(f"lenet, batch {n}", n) for n in (1, 64)]
    for name, job in jobs:
        if options.only not in name:
            continue
        if isinstance(job, Case):
            shape = (job.outs, job.ins // job.groups, job.kernel, job.kernel)
            scale = np.float32(np.sqrt(2 / np.prod(shape[1:])))
            weights = [rng.standard_normal(shape).astype(np.float32) * scale for _ in range(job.depth)]
            r = measured(name, *layers(job, weights), weights, job.flops, job.depth, options.threads, top)
        else:
            weights = [rng.standard_normal(s).astype(np.float32) * np.float32(0.1) for s in LENET]
            r = measured(name, *lenet(weights, job), weights, LENET_FLOPS * job, 1, options.threads, top)
        if options.json:
            print(json.dumps(asdict(r)), flush=True)
        else:
            print(f"{r.case:>30} {r.ours_us:9.1f} {r.onnxruntime_us:9.1f} {r.gflops:8.1f} {r.share_of_peak:6.1%} "
                  f"{r.ratio_onnxruntime:6.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
