"""Models that other exporters wrote load, keep their free sizes, and give what onnxruntime gives."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import chainrule as cr
from chainrule.backends.onnx.executable import session_of
from chainrule.errors import ArgumentError, NotSupported
from chainrule.ir.text import text
from chainrule.ops.tolerance import OTHER_FRAMEWORK, models_agree
from tests.onnx.models import convnet, model, node, perceptron, seeded

Array = np.ndarray


def both(proto: onnx.ModelProto, *arrays: Array) -> tuple[list[Array], list[Array]]:
    """The outputs of a model by onnxruntime and by the reference."""
    session = session_of(proto.SerializeToString(), 1, ["CPUExecutionProvider"])
    theirs = session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays, strict=True)))
    return theirs, cr.compile(cr.load_onnx(proto), backend="reference").run(list(arrays))


def assert_same(proto: onnx.ModelProto, *arrays: Array) -> None:
    theirs, ours = both(proto, *arrays)
    assert len(theirs) == len(ours)
    for a, b in zip(theirs, ours, strict=True):
        if a.dtype.kind in "iub":
            assert a.dtype == b.dtype and np.array_equal(a, b)
        else:
            verdict = models_agree(a, b.astype(np.float64), OTHER_FRAMEWORK)
            assert verdict, verdict.reason


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 21])
def test_a_perceptron_of_any_opset_loads(opset: int) -> None:
    for count in (1, 4):
        assert_same(perceptron(opset), seeded(count, 5))


def test_a_convnet_whose_flatten_is_computed_from_shapes_keeps_its_batch_free() -> None:
    proto = convnet()
    loaded = cr.load_onnx(proto)
    assert [str(t) for t in cr.compile(loaded, backend="reference").output_types] == ["f32[N,5]"]
    assert "shape=(N,36)" in text(loaded.graph, places=False)
    for count in (1, 3):
        assert_same(proto, seeded(count, 2, 8, 8))


def test_weights_are_parameters_and_running_statistics_are_state() -> None:
    loaded = cr.load_onnx(convnet())
    assert {n for n, _ in loaded.named_parameters()} == {"w", "b", "gamma", "beta", "head"}
    assert {n for n, _ in loaded.named_buffers()} == {"mean", "var"}


def test_nodes_say_which_onnx_node_they_come_from() -> None:
    assert "@ /m" in text(cr.load_onnx(convnet()).graph)


def test_unnamed_free_sizes_get_names_of_their_own() -> None:
    proto = model([node("Add", ["a", "b"], ["y"])], {"a": ["batch size", 2], "b": [1, 1]}, ["y"])
    proto.graph.input[0].type.tensor_type.shape.dim[1].ClearField("dim_value")
    loaded = cr.load_onnx(proto)
    assert str(loaded.graph.inputs[0].type) == "f32[batch_size,a_1]"


X = {"x": ["N", 4, 6, 6]}
CASES = {
    "flatten": [node("Flatten", ["x"], ["y"], axis=2)],
    "squeeze, unsqueeze by attribute": [
        node("Unsqueeze", ["x"], ["u"], axes=[0]), node("Squeeze", ["u"], ["y"], axes=[0]),
    ],
    "split by attribute": [
        node("Split", ["x"], ["a", "b"], axis=1, split=[1, 3]), node("Concat", ["b", "a"], ["y"], axis=1),
    ],
    "split evenly": [node("Split", ["x"], ["a", "b"], axis=1), node("Sub", ["a", "b"], ["y"])],
    "global pools": [
        node("GlobalAveragePool", ["x"], ["a"]), node("GlobalMaxPool", ["x"], ["m"]), node("Add", ["a", "m"], ["y"]),
    ],
    "softmax over all that follows": [node("Softmax", ["x"], ["y"], axis=1)],
    "sums of many": [
        node("Sum", ["x", "x", "x"], ["s"]), node("Max", ["s", "x", "x"], ["m"]), node("Mean", ["m", "x"], ["y"]),
    ],
    "reduce over all": [node("ReduceMean", ["x"], ["y"])],
    "reduce by attribute": [node("ReduceSum", ["x"], ["y"], axes=[1, -1], keepdims=0)],
    "slice by attribute": [node("Slice", ["x"], ["y"], starts=[1, -3], ends=[2**63 - 1, -1], axes=[1, 2])],
    "pad by attribute": [node("Pad", ["x"], ["y"], pads=[0, 0, 1, 0, 0, 0, 0, 2], value=0.5)],
    "clip by attribute": [node("Clip", ["x"], ["y"], min=-0.5, max=0.25)],
    "dropout": [node("Dropout", ["x"], ["y"], ratio=0.5)],
    "depth to space": [node("DepthToSpace", ["x"], ["y"], blocksize=2)],
    "space to depth": [node("SpaceToDepth", ["x"], ["y"], blocksize=2)],
    "local response": [node("LRN", ["x"], ["y"], size=3)],
    "hard sigmoid": [node("HardSigmoid", ["x"], ["y"])],
    "hardmax": [node("Hardmax", ["x"], ["y"], axis=3)],
    "argmax": [node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)],
    "same pads below": [
        node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
    ],
    "pool with places": [node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2], strides=[2, 2])],
    "transpose reversed": [node("Transpose", ["x"], ["y"])],
    "equal shapes": [node("Shape", ["x"], ["s"]), node("Expand", ["x", "s"], ["y"])],
}  # fmt: skip
OLD_FORM = ("slice by attribute", "pad by attribute", "clip by attribute")


@pytest.mark.parametrize("name", CASES)
def test_old_forms_of_ops_mean_what_onnxruntime_says(name: str) -> None:
    nodes = CASES[name]
    outputs = list(nodes[-1].output)
    assert_same(model(nodes, X, outputs, opset=9 if name in OLD_FORM else 11), seeded(2, 4, 6, 6))


def test_arithmetic_of_shapes_is_done_on_symbols() -> None:
    nodes = [
        node("Shape", ["x"], ["s"]), node("Slice", ["s", "two", "four"], ["hw"]), node("ReduceProd", ["hw"], ["area"]),
        node("Gather", ["s", "zero"], ["n"]), node("Mul", ["n", "three"], ["n3"]), node("Div", ["n3", "three"], ["m"]),
        node("Reshape", ["m", "one"], ["m1"]), node("Reshape", ["area", "one"], ["a1"]),
        node("Concat", ["m1", "minus", "a1"], ["wanted"], axis=0), node("Reshape", ["x", "wanted"], ["y"]),
    ]  # fmt: skip
    weights = {"two": np.int64([2]), "four": np.int64([4]), "zero": np.int64(0), "three": np.int64(3),
               "one": np.int64([1]), "minus": np.int64([-1])}  # fmt: skip
    proto = model(nodes, {"x": ["N", "C", "H", "W"]}, ["y"], weights)
    assert [str(v.type) for v in cr.load_onnx(proto).graph.outputs] == ["f32[N,C,H*W]"]
    assert_same(proto, seeded(2, 3, 4, 5))


@pytest.mark.parametrize(("kind", "dtype", "a", "b"), [
    ("Add", "uint8", [200, 3], [100, 4]), ("Sub", "uint8", [3, 100], [4, 1]),
    ("Mul", "int32", [1 << 20, -3], [4096, 3]),
    ("Mod", "int64", [-4, 7, 5, 8], [3, -3, 8, 5]), ("Mod", "int32", [-4, 7, 5, 8], [3, -3, 8, 5]),
])  # fmt: skip
@pytest.mark.parametrize("sign", [0, 1])
def test_arithmetic_of_known_integers_is_that_of_their_type(kind: str, dtype: str, a: list[int], b: list[int],
                                                            sign: int) -> None:  # fmt: skip
    """Sums past the end of the type wrap, and a remainder has the sign that its node asks for."""
    attributes = {"fmod": sign} if kind == "Mod" else {}
    nodes = [node(kind, ["a", "b"], ["y"], **attributes), node("Div", ["y", "two"], ["half"]),
             node("Relu", ["x"], ["z"])]  # fmt: skip
    weights = {"a": np.array(a, dtype), "b": np.array(b, dtype), "two": np.array([2], dtype)}
    assert_same(model(nodes, {"x": [1]}, ["y", "half", "z"], weights, 14), seeded(1))


def test_sizes_as_data_are_told_at_run_time() -> None:
    proto = model([node("Shape", ["x"], ["s"]), node("Cast", ["s"], ["y"], to=onnx.TensorProto.FLOAT)],
                  {"x": ["N", 3]}, ["y"])  # fmt: skip
    assert_same(proto, seeded(7, 3))


def test_what_lies_around_a_padded_array_may_be_computed() -> None:
    proto = model([node("ReduceMin", ["x"], ["least"], keepdims=0), node("Pad", ["x", "amounts", "least"], ["y"])],
                  {"x": ["N", 3]}, ["y"], {"amounts": np.int64([1, -1, 0, 2])})  # fmt: skip
    assert_same(proto, seeded(2, 3))


def test_everything_that_is_not_built_is_named_in_one_message() -> None:
    nodes = [node("StringNormalizer", ["x"], ["a"]), node("StringNormalizer", ["x"], ["b"]),
             helper.make_node("Special", ["x"], ["c"], domain="com.example", name="/c"),
             node("Relu", ["x"], ["y"])]  # fmt: skip
    proto = model(nodes, {"x": [1]}, ["y"])
    proto.opset_import.append(helper.make_opsetid("com.example", 3))
    with pytest.raises(cr.NotSupported) as caught:
        cr.load_onnx(proto)
    assert caught.value.cause == "net has 2 ops that are not built: StringNormalizer, Special"
    assert caught.value.notes == ("StringNormalizer (domain ai.onnx, version 10): 2 times, first at node /a",
                                  "Special (domain com.example, version 3): 1 times, first at node /c")  # fmt: skip


def test_a_chain_of_fifty_thousand_nodes_loads() -> None:
    count = 50_000
    nodes = [helper.make_node("Relu" if i % 2 else "Neg", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)]
    loaded = cr.load_onnx(model(nodes, {"v0": [2]}, [f"v{count}"]))
    assert len(loaded.graph.nodes) == count + 1


def test_nothing_of_a_loaded_model_is_read_twice() -> None:
    loaded = cr.load_onnx(perceptron())
    x = seeded(2, 5)
    made = cr.compile(loaded, backend="onnxruntime")
    first = made(x)
    loaded.stored["b2"].load(np.float32([9, 0, 0]))
    made.refresh()
    assert not np.array_equal(made(x), first)


def test_before_opset_7_a_second_operand_lay_along_an_axis() -> None:
    nodes = [node("Add", ["x", "b"], ["y"], axis=1, broadcast=1), node("PRelu", ["y", "b"], ["z"])]
    x, b = seeded(2, 3, 4), seeded(3)
    (found,) = cr.compile(cr.load_onnx(model(nodes, {"x": (2, 3, 4)}, ["z"], {"b": b}, 6))).run([x])
    y = x + b[:, None]
    assert np.array_equal(found, np.where(y < 0, y * b[:, None], y))


def test_an_input_that_decides_sizes_is_stated() -> None:
    nodes = [node("Cast", ["k"], ["n"], to=7), node("Resize", ["x", "", "", "n"], ["y"], mode="linear", antialias=1)]
    proto = model(nodes, {"x": (4, 6), "k": (2,)}, ["y"])
    with pytest.raises(NotSupported, match="input 3 is not known") as problem:
        cr.load_onnx(proto)
    assert "known={name: array}" in problem.value.help
    loaded = cr.compile(cr.load_onnx(proto, known={"k": np.float32([2, 3])}))
    assert loaded(seeded(4, 6), np.float32([2, 3])).shape == (2, 3)


def test_what_is_stated_has_the_type_of_the_input() -> None:
    proto = model([node("Relu", ["x"], ["y"])], {"x": (2,)}, ["y"])
    with pytest.raises(ArgumentError, match=r"x is f32\[2\], f32\[3\] is stated"):
        cr.load_onnx(proto, known={"x": seeded(3)})


@pytest.mark.parametrize("reduction", ["max", "min"])
def test_a_scatter_of_extremes_before_opset_18_is_read_as_onnxruntime_does(reduction: str) -> None:
    indices = np.int64([[0, 2, 1], [0, 0, 1]])
    proto = model([node("ScatterElements", ["x", "i", "u"], ["y"], axis=0, reduction=reduction)],
                  {"x": [4, 3], "u": [2, 3]}, ["y"], {"i": indices}, 16)  # fmt: skip
    x, u = seeded(4, 3), seeded(2, 3, seed=1)
    session = session_of(proto.SerializeToString(), 1, ["CPUExecutionProvider"])
    assert np.array_equal(cr.compile(cr.load_onnx(proto))(x, u), session.run(None, {"x": x, "u": u})[0])
