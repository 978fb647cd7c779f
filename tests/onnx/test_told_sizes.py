"""Models whose sizes depend on data: loaded, run for several sizes like onnxruntime, and written out again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import chainrule as cr
from chainrule.backends.onnx.executable import session_of
from chainrule.errors import NotSupported, ShapeError
from chainrule.ir.text import text
from tests.onnx.models import model, node, seeded

Array = np.ndarray
I64 = TensorProto.INT64


def with_ints(nodes: list[onnx.NodeProto], floats: Mapping[str, list[int | str]], ints: Mapping[str, list[int | str]],
              outputs: list[str], weights: Mapping[str, Array] | None = None) -> onnx.ModelProto:  # fmt: skip
    """A model with f32 and i64 inputs."""
    proto = model(nodes, floats, outputs, weights, 18)
    proto.graph.input.extend(helper.make_tensor_value_info(name, I64, shape) for name, shape in ints.items())
    return proto


def agree(proto: onnx.ModelProto, *calls: tuple[Array, ...]) -> None:
    """LLVM, the reference, and the model written out again give what onnxruntime gives, for each call."""
    session = session_of(proto.SerializeToString(), 1, ["CPUExecutionProvider"])
    loaded = cr.load_onnx(proto)
    again = session_of(cr.export_onnx(loaded).SerializeToString(), 1, ["CPUExecutionProvider"])
    compiled = [cr.compile(loaded, backend=b) for b in ("llvm", "reference")]
    for arrays in calls:
        feeds = dict(zip([i.name for i in session.get_inputs()], arrays, strict=True))
        wanted = session.run(None, feeds)
        own = {i.name: feeds[i.name] for i in again.get_inputs()}
        for found in (*(net.run(list(arrays)) for net in compiled), again.run(None, own)):
            for a, b in zip(found, wanted, strict=True):
                assert a.dtype == b.dtype and a.shape == b.shape
                assert np.allclose(a, b, rtol=1e-5, equal_nan=True)


X = np.float32([[0, 2, 0], [1, 0, 3]])


def test_nonzero_and_what_follows_from_it() -> None:
    nodes = [node("NonZero", ["x"], ["p"]), node("Transpose", ["p"], ["t"]), node("GatherND", ["x", "t"], ["v"]),
             node("ReduceSum", ["v"], ["s"])]  # fmt: skip
    agree(model(nodes, {"x": ["N", 3]}, ["p", "v", "s"]), (X,), (X * 0,), (np.tile(X, (5, 1)),), (X[:0],), (X,))


def test_compress_along_an_axis() -> None:
    nodes = [node("ReduceMax", ["x"], ["m"], axes=[1], keepdims=0), node("Greater", ["m", "one"], ["c"]),
             node("Compress", ["x", "c"], ["y"], axis=0)]  # fmt: skip
    agree(model(nodes, {"x": ["N", 3]}, ["y"], {"one": np.asarray(np.float32(1.5))}, 13), (X,), (X[1:],), (X * 0,))


@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize(("shape", "axis"), [((5, 3), 0), ((2, 7), 1), ((2, 6, 2), -2), ((4,), 0), ((3, 1), 0)])
def test_the_distinct_slices_along_an_axis(shape: tuple[int, ...], axis: int, ordered: int) -> None:
    nodes = [node("Unique", ["x"], ["v", "first", "inverse", "counts"], sorted=ordered, axis=axis)]
    proto = model(nodes, {"x": [f"D{i}" for i in range(len(shape))]}, ["v", "first", "inverse", "counts"])
    agree(proto, (np.random.default_rng(1).integers(-1, 2, shape).astype(np.float32),))


def test_unique_with_all_its_results() -> None:
    for ordered in (0, 1):
        nodes = [node("Unique", ["x"], ["v", "first", "inverse", "counts"], sorted=ordered)]
        agree(model(nodes, {"x": ["N", 3]}, ["v", "first", "inverse", "counts"]), (X,), (X * 0,), (X[1:],))


def test_boxes_are_suppressed_and_looked_up() -> None:
    nodes = [node("NonMaxSuppression", ["b", "s", "most", "iou", "least"], ["kept"]),
             node("Slice", ["kept", "two", "three", "one"], ["i"]), node("Squeeze", ["i", "one"], ["j"]),
             node("Squeeze", ["b", "zero"], ["flat"]), node("Gather", ["flat", "j"], ["y"], axis=0)]  # fmt: skip
    weights = {"most": np.int64([2]), "iou": np.float32([0.3]), "least": np.float32([0.2]), "zero": np.int64([0]),
               "one": np.int64([1]), "two": np.int64([2]), "three": np.int64([3])}  # fmt: skip
    proto = model(nodes, {"b": [1, "N", 4], "s": [1, 2, "N"]}, ["kept", "y"], weights)
    rng = np.random.default_rng(0)
    calls = [(rng.random((1, n, 4), np.float32), rng.random((1, 2, n), np.float32)) for n in (6, 20, 1)]
    agree(proto, *calls)


def empty_or_kept() -> onnx.ModelProto:
    """Boxes suppressed, but where there are none: as torchvision's detectors are exported."""
    none = helper.make_graph([node("Constant", [], ["empty"], value=numpy_helper.from_array(np.int64([])))], "none", [],
                             [onnx.ValueInfoProto(name="empty")])  # fmt: skip
    some = helper.make_graph(
        [node("Unsqueeze", ["b", "zero"], ["b3"]), node("Unsqueeze", ["s", "zero_one"], ["s3"]),
         node("NonMaxSuppression", ["b3", "s3", "most", "iou"], ["picked"]),
         node("Gather", ["picked", "two"], ["kept"], axis=1)],
        "some", [], [onnx.ValueInfoProto(name="kept")])  # fmt: skip
    nodes = [node("Size", ["b"], ["n"]), node("Equal", ["n", "nothing"], ["is_empty"]),
             node("If", ["is_empty"], ["k"], then_branch=none, else_branch=some),
             node("Gather", ["b", "k"], ["y"], axis=0)]  # fmt: skip
    weights = {"most": np.int64([9]), "iou": np.float32([0.3]), "zero": np.int64([0]), "zero_one": np.int64([0, 1]),
               "two": np.asarray(np.int64(2)), "nothing": np.asarray(np.int64(0))}  # fmt: skip
    return model(nodes, {"b": ["N", 4], "s": ["N"]}, ["k", "y"], weights)


def test_boxes_are_suppressed_in_a_branch() -> None:
    boxes = np.float32([[0, 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 7], [9, 0, 10, 1]])
    scores = np.float32([0.5, 0.7, 0.1, 0.6])
    agree(empty_or_kept(), (boxes, scores), (boxes[:1], scores[:1]), (boxes[:0], scores[:0]), (boxes, scores))


def test_lengths_that_data_tells_add_up() -> None:
    nodes = [*(node("NonZero", [name], [f"p{name}"]) for name in "ab"), node("Concat", ["pa", "pb"], ["p"], axis=1),
             node("Mod", ["p", "four"], ["m"]), node("Gather", ["t", "m"], ["v"]),
             node("NonZero", ["v"], ["q"])]  # fmt: skip
    proto = model(nodes, {"a": ["N"], "b": ["M"]}, ["q", "v"], {"t": np.float32([0, 1, 0, 3]), "four": np.int64([4])})
    agree(proto, (np.float32([1, 0, 2]), np.float32([3, 4, 0, 5])), (np.float32([0]), np.float32([0, 0, 1])))


@pytest.mark.parametrize("axis", [0, 1])
def test_branches_may_give_what_is_longer_along_one_axis(axis: int) -> None:
    twice = helper.make_graph([node("Concat", ["x", "x"], ["xx"], axis=axis)], "twice", [],
                              [onnx.ValueInfoProto(name="xx")])  # fmt: skip
    once = helper.make_graph([node("Neg", ["x"], ["minus"])], "once", [], [onnx.ValueInfoProto(name="minus")])
    nodes = [node("ReduceSum", ["x"], ["sum"], keepdims=0), node("Greater", ["sum", "one"], ["large"]),
             node("If", ["large"], ["y"], then_branch=twice, else_branch=once), node("Exp", ["y"], ["z"])]  # fmt: skip
    proto = model(nodes, {"x": ["N", 3]}, ["y", "z"], {"one": np.asarray(np.float32(1))})
    agree(proto, (X,), (-X,), (X[:0],), (np.tile(X, (3, 1)),))


def test_branches_of_other_ranks_are_refused() -> None:
    flat = helper.make_graph([node("Flatten", ["x"], ["f"]), node("Reshape", ["f", "all"], ["r"])], "flat", [],
                             [onnx.ValueInfoProto(name="r")])  # fmt: skip
    same = helper.make_graph([node("Neg", ["x"], ["minus"])], "same", [], [onnx.ValueInfoProto(name="minus")])
    nodes = [node("ReduceSum", ["x"], ["sum"], keepdims=0), node("Greater", ["sum", "one"], ["large"]),
             node("If", ["large"], ["y"], then_branch=flat, else_branch=same)]  # fmt: skip
    proto = model(nodes, {"x": ["N", 3]}, ["y"], {"one": np.asarray(np.float32(1)), "all": np.int64([-1])})
    with pytest.raises(NotSupported, match="differ in the length of one axis"):
        cr.load_onnx(proto)


def test_reshape_by_numbers_that_come_in() -> None:
    proto = with_ints([node("Reshape", ["x", "s"], ["y"])], {"x": ["N", 6]}, {"s": [2]}, ["y"])
    x = seeded(2, 6)
    agree(proto, *((x, np.int64(s)) for s in ([3, 4], [-1, 3], [0, 6], [1, -1])))


def test_a_shape_of_known_and_unknown_parts() -> None:
    nodes = [node("Shape", ["x"], ["all"]), node("Slice", ["all", "zero", "one"], ["n"]),
             node("Concat", ["n", "k", "minus"], ["s"], axis=0), node("Reshape", ["x", "s"], ["y"])]  # fmt: skip
    weights = {"zero": np.int64([0]), "one": np.int64([1]), "minus": np.int64([-1])}
    proto = with_ints(nodes, {"x": ["N", 6]}, {"k": [1]}, ["y"], weights)
    assert str(cr.load_onnx(proto).graph.outputs[0].type).startswith("f32[N,reshape")
    agree(proto, (seeded(2, 6), np.int64([3])), (seeded(4, 6), np.int64([2])))


@pytest.mark.parametrize("bounds", [([1], [4]), ([-3], [9]), ([4], [1]), ([-9], [-1])])
def test_slices_between_numbers_that_come_in(bounds: tuple[list[int], list[int]]) -> None:
    proto = with_ints([node("Slice", ["x", "a", "b", "axis", "step"], ["y"])], {"x": ["N", 5]}, {"a": [1], "b": [1]},
                      ["y"], {"axis": np.int64([1]), "step": np.int64([2])})  # fmt: skip
    agree(proto, (seeded(2, 5), *map(np.int64, bounds)))


def test_ranges_fills_tiles_and_expansions_as_large_as_numbers_that_come_in() -> None:
    nodes = [node("Range", ["zero", "n", "two"], ["r"]), node("Unsqueeze", ["n", "axis"], ["k"]),
             node("ConstantOfShape", ["k"], ["f"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [7.0])),
             node("Tile", ["x", "k"], ["t"]), node("Concat", ["k", "three"], ["s"], axis=0),
             node("Expand", ["x", "s"], ["e"])]  # fmt: skip
    weights = {"zero": np.int64(0), "two": np.int64(2), "axis": np.int64([0]), "three": np.int64([3])}
    proto = with_ints(nodes, {"x": [3]}, {"n": []}, ["r", "f", "t", "e"], weights)
    agree(proto, *((seeded(3), np.asarray(n, np.int64)) for n in (4, 1, 5)))


def test_an_expansion_that_does_not_fit_is_refused_by_the_call() -> None:
    net = cr.compile(cr.load_onnx(with_ints([node("Expand", ["x", "k"], ["y"])], {"x": [2, 3]}, {"k": [2]}, ["y"])))
    assert np.array_equal(net(X, np.int64([1, 3])), X) and np.array_equal(net(X, np.int64([2, 1])), X)
    for wanted in ([5, 3], [2, -5]):
        with pytest.raises(ShapeError):
            net(X, np.int64(wanted))


def test_images_are_resized_and_padded_by_numbers_that_come_in() -> None:
    nodes = [node("Concat", ["two", "size"], ["sizes"], axis=0),
             node("Resize", ["x", "", "", "sizes"], ["r"], mode="linear"),
             node("Concat", ["zeros", "size", "zeros", "one"], ["amounts"], axis=0),
             node("Pad", ["x", "amounts"], ["p"])]  # fmt: skip
    weights = {"two": np.int64([1, 2]), "zeros": np.int64([0, 0]), "one": np.int64([1, 0])}
    proto = with_ints(nodes, {"x": [1, 2, "H", "W"]}, {"size": [2]}, ["r", "p"], weights)
    agree(proto, (seeded(1, 2, 4, 6), np.int64([3, 9])), (seeded(1, 2, 3, 3), np.int64([5, 1])))


def test_a_bound_that_is_a_size_clips() -> None:
    nodes = [node("Shape", ["x"], ["n"], start=0, end=1), node("Squeeze", ["n"], ["limit"]),
             node("Cast", ["limit"], ["most"], to=I64), node("Clip", ["k", "", "most"], ["y"])]  # fmt: skip
    agree(with_ints(nodes, {"x": ["N"]}, {"k": [3]}, ["y"]), (seeded(4), np.int64([3, 4, 7])))


def test_a_negative_size_is_refused_by_the_call() -> None:
    proto = with_ints([node("ConstantOfShape", ["k"], ["f"]), node("Relu", ["x"], ["y"])], {"x": [1]}, {"k": [1]},
                      ["f", "y"])  # fmt: skip
    for backend in ("llvm", "reference"):
        net = cr.compile(cr.load_onnx(proto), backend=backend)
        with pytest.raises(cr.ShapeError, match="is computed as -2"):
            net.run([np.zeros(1, np.float32), np.int64([-2])])


def test_load_export_load_gives_the_same_text() -> None:
    proto = model([node("NonZero", ["x"], ["p"]), node("Cast", ["p"], ["y"], to=1)], {"x": ["N", 3]}, ["y"])
    first = cr.load_onnx(proto)
    exported = cr.export_onnx(first)
    assert [n.op_type for n in exported.graph.node] == ["NonZero", "Cast"]
    again = cr.load_onnx(exported)
    assert text(again.graph, places=False) == text(first.graph, places=False)
    assert cr.export_onnx(again).SerializeToString() == exported.SerializeToString()


def test_a_loaded_model_tells_its_sizes_in_a_trace_too() -> None:
    proto = model([node("NonZero", ["x"], ["p"]), node("Cast", ["p"], ["y"], to=1)], {"x": ["N", 3]}, ["y"])
    loaded = cr.load_onnx(proto)
    twice = cr.compile(lambda x: (cr.sum(loaded(x)), cr.sum(loaded(x * 0 + 1))), cr.spec("M", 3))
    found = twice(X)
    assert found[0] == np.sum(np.nonzero(X)) and found[1] == np.sum(np.nonzero(X + 1))


def test_a_loop_that_its_condition_ends_stacks_as_many_rounds_as_it_ran() -> None:
    def value(name: str, kind: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, [])

    body = helper.make_graph(
        [node("Add", ["total", "step"], ["next"]), node("Less", ["next", "limit"], ["more"]),
         node("Add", ["count", "one"], ["count_next"]), node("Mul", ["next", "next"], ["row"])], "body",
        [value("i", I64), value("going", TensorProto.BOOL), value("total", 1), value("count", I64)],
        [value("more", TensorProto.BOOL), value("next", 1), value("count_next", I64), value("row", 1)])  # fmt: skip
    nodes = [node("ReduceMax", ["x"], ["limit"], keepdims=0), node("Less", ["zero", "limit"], ["start"]),
             node("Loop", ["", "start", "zero", "none"], ["last", "rounds", "rows"], body=body)]  # fmt: skip
    weights = {"zero": np.asarray(np.float32(0)), "step": np.asarray(np.float32(0.75)), "none": np.asarray(np.int64(0)),
               "one": np.asarray(np.int64(1))}  # fmt: skip
    proto = model(nodes, {"x": ["N"]}, ["last", "rounds", "rows"], weights, 18)
    session = session_of(proto.SerializeToString(), 1, ["CPUExecutionProvider"])
    loaded = cr.load_onnx(proto)
    for backend in ("llvm", "reference"):
        net = cr.compile(loaded, backend=backend)
        for limit in (3.0, 0.5, -1.0, 9.0):
            x = np.float32([limit, -5])
            for a, b in zip(net.run([x]), session.run(None, {"x": x}), strict=True):
                assert a.dtype == b.dtype and a.shape == b.shape and np.allclose(a, b)
