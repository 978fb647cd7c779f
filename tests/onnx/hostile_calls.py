"""Hostile files whose harm comes with the call, or by repeating: numbers that decide sizes and places, loops, branches.

hostile.py has what a case is, and the other kinds of files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.onnx.hostile import CASES as FILES
from tests.onnx.hostile import FAR, Case
from tests.onnx.models import model, node

Array = np.ndarray
LEAST = -(1 << 63)
BEYOND = (1 << 62, LEAST, -5)  # sizes that no array has
IMAGE = {"x": [1, 3, 8, 8]}


def call(nodes: Sequence[onnx.NodeProto], floats: Mapping[str, Sequence[int]], numbers: Array,
         weights: Mapping[str, Array] | None = None, outputs: Sequence[str] = ("y",)) -> Case:  # fmt: skip
    """A model of arrays of zeros and of an input k, which holds these numbers in the call."""
    proto = model(nodes, floats, outputs, weights, 18)  # type: ignore[arg-type]
    kind = TensorProto.INT64 if numbers.dtype == np.int64 else TensorProto.FLOAT
    proto.graph.input.append(helper.make_tensor_value_info("k", kind, list(numbers.shape)))
    content = proto.SerializeToString()
    arrays = tuple(np.zeros(shape, np.float32) for shape in floats.values())
    return Case(lambda folder: content, inputs=(*arrays, numbers))


def sized(op: str, count: int, outputs: int = 1, floats: Mapping[str, Sequence[int]] | None = None
          ) -> dict[str, Case]:  # fmt: skip
    """An op with sizes beyond measure of either sign."""
    floats = {"x": [2, 3]} if floats is None else floats
    names = ["y", *(f"y{i}" for i in range(1, outputs))]
    return {f"{op} by {end} in the call": call([node(op, [*floats, "k"], names)], floats, np.full(count, end, np.int64),
                                               outputs=names) for end in BEYOND}  # fmt: skip


def of(op: str, inputs: str, numbers: Array, floats: Mapping[str, Sequence[int]],
       weights: Mapping[str, Array] | None = None, **attributes: object) -> Case:  # fmt: skip
    """An op of these inputs, k among them."""
    return call([node(op, [n.strip("_") for n in inputs.split()], ["y"], **attributes)], floats, numbers, weights)


X, ZERO = {"x": [2, 3]}, np.int64([0])
CALLS: dict[str, Case] = {
    **sized("Reshape", 2), **sized("Expand", 2), **sized("Tile", 2), **sized("ConstantOfShape", 2, floats={}),
    **sized("Pad", 4), **sized("TopK", 1, 2), **sized("Split", 2, 2), **sized("CenterCropPad", 2),
    "two unknowns in the call": of("Reshape", "x k", np.int64([-1, -1]), X),
    "places far away in the call": of("GatherND", "x k", np.int64([[FAR, -FAR]]), X),
    "a scatter far away in the call": of("ScatterND", "x k u", np.int64([[LEAST]]), {"x": [2, 3], "u": [1, 3]}),
    "elements far away in the call": of("GatherElements", "x k", np.int64([[LEAST]]), X),
    "an image to less than nothing in the call": of("Resize", "x _ _ k", np.int64([1, 3, 0, -8]), IMAGE),
    "an image beyond measure in the call": of("Resize", "x _ _ k", np.int64([1, 3, 1 << 40, 1 << 40]), IMAGE),
    "an image by NaN in the call": of("Resize", "x _ k", np.float32([1, 1, np.nan, np.inf]), IMAGE),
    "a step of zero in the call": of("Slice", "x a b a k", ZERO, X, {"a": ZERO, "b": np.int64([2])}),
    "a range without end in the call": of("Range", "z k one", np.asarray(np.float32(np.inf)), {},
                                          {"z": np.float32(0), "one": np.float32(1)}),
    "a range of NaN in the call": of("Range", "z k one", np.asarray(np.float32(np.nan)), {},
                                     {"z": np.float32(0), "one": np.float32(1)}),
    "a depth beyond measure in the call": of("OneHot", "i k v", np.asarray(np.int64(1 << 62)), {},
                                             {"i": ZERO, "v": np.float32([0, 1])}),
    "a transform of no length in the call": of("DFT", "x k", np.asarray(np.int64(0)), {"x": [1, 8, 1]}),
    "frames without a step in the call": of("STFT", "x k w", np.asarray(np.int64(0)), {"x": [1, 64]},
                                            {"w": np.ones(8, np.float32)}),
    "a window beyond measure in the call": of("HannWindow", "k", np.asarray(np.int64(1 << 62)), {}),
    "boxes of another batch in the call": of("RoiAlign", "x r k", np.int64([1 << 40]), {**IMAGE, "r": [1, 4]}),
    "a place to unpool far away in the call": of("MaxUnpool", "x k", np.full((1, 1, 2, 2), LEAST),
                                                 {"x": [1, 1, 2, 2]}, kernel_shape=[2, 2]),
    "a grid of NaN in the call": of("GridSample", "x k", np.full((1, 2, 2, 2), np.nan, np.float32), IMAGE),
    "a grid of infinities in the call": of("GridSample", "x k", np.full((1, 2, 2, 2), -np.inf, np.float32), IMAGE,
                                           mode="bicubic", padding_mode="reflection"),
    "boxes of NaN in the call": of("NonMaxSuppression", "b k m", np.full((1, 1, 4), np.nan, np.float32),
                                   {"b": [1, 4, 4]}, {"m": np.int64([1 << 62])}),
    "lengths beyond all steps in the call": of("ReverseSequence", "x k", np.full(3, 1 << 62), X),
}  # fmt: skip


def body(nodes: Sequence[onnx.NodeProto], inputs: Sequence[str], outputs: Sequence[str]) -> onnx.GraphProto:
    """A graph of untyped inputs and outputs."""
    return helper.make_graph(list(nodes), "body", [onnx.ValueInfoProto(name=n) for n in inputs],
                             [onnx.ValueInfoProto(name=n) for n in outputs])  # fmt: skip


def looped(count: Array | None, nodes: Sequence[onnx.NodeProto], going: str, carried: str = "h") -> Case:
    """A Loop on x that keeps h."""
    made = body(nodes, ["i", "c", "h"], [going, carried])
    weights: dict[str, Array] = {"yes": np.asarray(True), "half": np.float32([0.5]), "last": np.int64([-LEAST - 1])}
    weights |= {} if count is None else {"count": count}
    loop = node("Loop", ["" if count is None else "count", "yes", "x"], ["y"], body=made)
    content = model([loop], {"x": [1]}, ["y"], weights, 18).SerializeToString()
    return Case(lambda folder: content)


def nested(depth: int, innermost: onnx.NodeProto) -> Case:
    """Branches in branches, whose conditions are data; beside each is a plain one."""
    inner, plain = (body([n], [], ["z"]) for n in (innermost, node("Identity", ["zeros"], ["z"])))
    for _ in range(depth):
        inner = body([node("If", ["c"], ["z"], then_branch=inner, else_branch=plain)], [], ["z"])
    nodes = [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Cast", ["s"], ["c"], to=9), *inner.node]
    content = model(nodes, {"x": [3]}, ["z"], {"zeros": np.zeros((1, 3), np.int64)}, 18).SerializeToString()
    return Case(lambda folder: content)


def unrolled(depth: int) -> Case:
    """Loops in loops of 64 rounds, each of which doubles what it carries."""
    first = node("Concat", ["h", "h"], ["t"], axis=0)
    made = body([first, node("Identity", ["c"], ["d"])], ["i", "c", "h"], ["d", "t"])
    for _ in range(depth):
        loop = node("Loop", ["count", "", "h"], ["t"], body=made)
        made = body([loop, node("Identity", ["c"], ["d"])], ["i", "c", "h"], ["d", "t"])
    nodes = [node("Loop", ["count", "", "x"], ["y"], body=made)]
    content = model(nodes, {"x": [1]}, ["y"], {"count": np.asarray(np.int64(64))}, 18).SerializeToString()
    return Case(lambda folder: content)


ADDED = node("Mul", ["h", "half"], ["t"])
REPEATS: dict[str, Case] = {
    "a loop of 2^62 rounds": looped(np.asarray(np.int64(1 << 62)), [ADDED, node("Identity", ["c"], ["d"])], "d", "t"),
    "a loop of 2^40 rounds": looped(np.asarray(np.int64(1 << 40)), [ADDED, node("Identity", ["c"], ["d"])], "d", "t"),
    "a loop of rounds below nothing": looped(np.asarray(np.int64(LEAST)), [ADDED, node("Identity", ["c"], ["d"])], "d",
                                             "t"),
    "a loop whose condition is its own": looped(None, [ADDED, node("Or", ["c", "c"], ["d"])], "d", "t"),
    "a loop to the last number": looped(None, [ADDED, node("Less", ["i", "last"], ["d"])], "d", "t"),
    "loops in loops that double": unrolled(2),
    "branches in branches that tell sizes": nested(24, node("NonZero", ["x"], ["z"])),
    "branches in branches that do not fit": nested(24, node("Neg", ["x"], ["z"])),
}  # fmt: skip

CASES: dict[str, Case] = {**FILES, **CALLS, **REPEATS}
