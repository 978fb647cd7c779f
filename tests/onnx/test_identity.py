"""Round trips: load, export, load gives the same graph, and export, load, export the same bytes.

Every op sample, layers, whole networks, models as other exporters write them, and, where a folder of them is named,
real ones. Where a file is not as it was written, its nodes are read as they stand.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import chainrule as cr
from chainrule import nn
from chainrule.backends.onnx.export import export_graph
from chainrule.backends.onnx.importing import import_model
from chainrule.errors import NotSupported
from chainrule.ir.graph import Graph
from chainrule.ir.op import Op
from chainrule.ir.text import text
from chainrule.ir.types import type_of
from chainrule.ops import ALL_OPS
from tests.onnx.models import convnet, model, node, perceptron, seeded
from tests.onnx.test_round_trip import graph_of
from tests.ops.samples import SAMPLES

Array = np.ndarray
SAMPLED = sorted({type(s.op) for s in SAMPLES}, key=ALL_OPS.index)


def again(graph: Graph, weights: Sequence[Array], opset: int | None = None) -> tuple[bytes, Graph, bytes]:
    """A graph as bytes, these loaded, and that as bytes."""
    options = {} if opset is None else {"opset": opset}
    first = export_graph(graph, weights, check=False, **options).SerializeToString()
    back = import_model(first)
    return first, back.graph, export_graph(back.graph, [w.array for w in back.weights], check=False,
                                           **options).SerializeToString()  # fmt: skip


@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.__name__)
def test_every_op_sample_gives_the_same_bytes_again_and_the_same_text(op: type[Op]) -> None:
    for sample in [s for s in SAMPLES if type(s.op) is op]:
        graph = graph_of(sample, [type_of(x) for x in sample.inputs])
        try:
            first, back, second = again(graph, [])
        except NotSupported:
            continue  # ONNX lacks it: the tests of the export say which
        assert second == first, sample.id
        assert text(back, places=False) == text(graph, places=False), sample.id


def assert_returns(exported: onnx.ModelProto) -> None:
    """What chainrule wrote, loaded and written, is the same bytes, and loaded again the same text."""
    first = exported.SerializeToString()
    loaded = cr.load_onnx(first)
    again = cr.export_onnx(loaded, verify=False)
    assert isinstance(again, onnx.ModelProto)
    assert again.SerializeToString() == first
    assert text(cr.load_onnx(again).graph) == text(loaded.graph)


def exported(network: object, *specs: object, **options: object) -> onnx.ModelProto:
    made = cr.export_onnx(network, None, *specs, verify=False, **options)  # type: ignore[arg-type]
    assert isinstance(made, onnx.ModelProto)
    return made


IMAGE, ROWS, SERIES = cr.spec("N", 4, 9, 8), cr.spec("N", 6), cr.spec("N", 4, 10)
LAYERS: list[tuple[nn.Module, tuple[object, ...]]] = [
    (nn.Conv1d(4, 6, 3, padding=1), (SERIES,)), (nn.Conv2d(4, 6, 3, stride=2, groups=2), (IMAGE,)),
    (nn.Conv3d(2, 3, 2), (cr.spec("N", 2, 5, 5, 5),)), (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1), (IMAGE,)),
    (nn.BatchNorm2d(4), (IMAGE,)), (nn.GroupNorm(2, 4), (IMAGE,)), (nn.InstanceNorm2d(4), (IMAGE,)),
    (nn.LayerNorm(6), (ROWS,)), (nn.RMSNorm(6), (ROWS,)), (nn.LocalResponseNorm(2), (IMAGE,)),
    (nn.MaxPool2d(2), (IMAGE,)), (nn.AvgPool2d(3, 1, 1), (IMAGE,)), (nn.AdaptiveAvgPool2d((3, 2)), (IMAGE,)),
    (nn.AdaptiveMaxPool2d((2, 2)), (IMAGE,)), (nn.Linear(6, 3), (ROWS,)), (nn.Bilinear(6, 6, 2), (ROWS, ROWS)),
    (nn.Embedding(5, 3), (cr.spec("N", "T", dtype="i64"),)), (nn.PReLU(4), (IMAGE,)), (nn.GELU(), (ROWS,)),
    (nn.SiLU(), (ROWS,)), (nn.Mish(), (ROWS,)), (nn.Softmax(1), (ROWS,)), (nn.GLU(1), (ROWS,)), (nn.SELU(), (ROWS,)),
    (nn.PixelShuffle(2), (IMAGE,)), (nn.ReflectionPad2d(2), (IMAGE,)), (nn.CircularPad2d(1), (IMAGE,)),
    (nn.RNN(6, 5), (cr.spec("T", "N", 6),)), (nn.LSTM(6, 5, bidirectional=True), (cr.spec("T", "N", 6),)),
    (nn.GRU(6, 5, num_layers=2), (cr.spec("T", "N", 6),)), (nn.LSTMCell(6, 5), (ROWS,)),
    (nn.MultiheadAttention(6, 2), (cr.spec("T", "N", 6),) * 3),
    (nn.TransformerEncoderLayer(6, 2, 8), (cr.spec("T", "N", 6),)),
    (nn.CrossEntropyLoss(), (ROWS, cr.spec("N", dtype="i64"))), (nn.HuberLoss(), (ROWS, ROWS)),
    (nn.Sequential(nn.Conv2d(4, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()), (IMAGE,)),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "specs"), LAYERS, ids=[type(layer).__name__ for layer, _ in LAYERS])
def test_every_layer_comes_back(layer: nn.Module, specs: Sequence[object]) -> None:
    assert_returns(exported(layer, *specs))


@pytest.mark.parametrize("name", ["lenet", "dqn", "encoder_decoder", "lstm_lm", "mobilenet", "squeezenet", "tdnn",
                                  "unet", "yolo"])  # fmt: skip
def test_whole_networks_come_back(name: str) -> None:
    assert_returns(exported(*_built(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "bert", "c3d", "gpt_decode", "gpt_prefill", "mlp", "resnet50", "vgg16"])
def test_large_networks_come_back(name: str) -> None:
    assert_returns(exported(*_built(name)))


def _built(name: str) -> tuple[object, ...]:
    network, specs = importlib.import_module(f"benchmarks.models.{name}").build()
    return (network, *specs)


def test_a_training_step_comes_back() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.GELU(), nn.Linear(4, 2))
    assert_returns(exported(cr.training_step(net, cr.cross_entropy, cr.optim.Adam(0.1),
                                             (cr.spec("N", 3), cr.spec("N", dtype="i64")))))  # fmt: skip


def test_loops_and_branches_come_back() -> None:
    def looped(x: cr.Tensor) -> object:
        mean, rows = cr.scan(lambda m, row: (0.9 * m + 0.1 * row, m), x[0], x)
        doubled = cr.while_loop(lambda v: cr.sum(v) < 10, lambda v: v * 2, cr.abs(mean) + 1)
        return rows, cr.cond(cr.sum(x) > 0, lambda v: v + 1, lambda v: v - 1, doubled)

    assert_returns(exported(looped, cr.spec("T", 3)))


def test_the_opset_and_ir_version_of_a_file_are_kept_and_so_is_what_others_wrote_in_it() -> None:
    proto = exported(nn.GELU(), ROWS, opset=21, ir_version=11, name="other")
    assert_returns(proto)
    helper.set_model_props(proto, {p.key: p.value for p in proto.metadata_props} | {"labels": "a b"})
    assert_returns(proto)
    lower = cr.export_onnx(cr.load_onnx(proto), opset=18)
    assert isinstance(lower, onnx.ModelProto)
    assert (lower.opset_import[0].version, lower.ir_version) == (18, 8)


def foreign(nodes: Sequence[onnx.NodeProto], shape: Sequence[int | str], weights: dict[str, Array] | None = None,
            opset: int = 17) -> Callable[[], onnx.ModelProto]:  # fmt: skip
    return lambda: model(nodes, {"x": shape}, ["y"], weights, opset)


# What once came back as something else, or once more each time.
CAUSES: dict[str, Callable[[], onnx.ModelProto]] = {
    "a perceptron": perceptron, "a convnet": convnet,
    "a quotient of integers": foreign([node("Cast", ["x"], ["i"], to=6), node("Div", ["i", "i"], ["y"])], ["N"]),
    "a remainder": foreign([node("Cast", ["x"], ["i"], to=7), node("Mod", ["i", "i"], ["y"])], ["N"]),
    "a float as an integer": foreign([node("Cast", ["x"], ["y"], to=6)], ["N", 3]),
    "a shift": foreign([node("Cast", ["x"], ["i"], to=13), node("BitShift", ["i", "i"], ["y"], direction="LEFT")], [4]),
    "axes put in one by one": foreign([node("Unsqueeze", ["x", "one"], ["u"]), node("Unsqueeze", ["u", "one"], ["y"])],
                                      ["N", 3], {"one": np.int64([1])}),
    "weights as bytes": foreign([node("Cast", ["w"], ["f"], to=1), node("MatMul", ["x", "f"], ["y"])], ["N", 90],
                                {"w": np.arange(-90, 90, dtype=np.int8).reshape(90, 2)}),
    "a concat of one": foreign([node("Concat", ["x"], ["c"], axis=0), node("Relu", ["c"], ["y"])], [3]),
    "a cast to the same type": foreign([node("Cast", ["x"], ["c"], to=1), node("Relu", ["c"], ["y"])], [3]),
    "a convolution over an axis of one": foreign([node("Conv", ["x", "w"], ["y"])], ["N", 3, 8, 1],
                                                 {"w": seeded(4, 3, 3, 1)}),
    "an image made larger": foreign([node("Resize", ["x", "", "s"], ["y"], mode="linear")], ["N", 2, "H", "W"],
                                    {"s": np.float32([1, 1, 2, 2])}),
    "a silu": foreign([node("Swish", ["x"], ["y"])], ["N"], opset=24),
    "a gelu": foreign([node("Gelu", ["x"], ["y"], approximate="tanh")], ["N"], opset=20),
    "attention": foreign([node("Attention", ["x", "x", "x"], ["y"], q_num_heads=2, kv_num_heads=2)], [1, "T", 8],
                         opset=24),
    "a group norm": foreign([node("GroupNormalization", ["x", "w", "w"], ["y"], num_groups=2)], ["N", 4, 5],
                            {"w": seeded(4)}, opset=21),
    "a size that data tells": foreign([node("NonZero", ["x"], ["i"]), node("Transpose", ["i"], ["y"])], ["N", 3]),
    "an output that is an input": lambda: model([node("Relu", ["x"], ["y"])], {"x": [2]}, ["x", "y"]),
    "odd names": lambda: model([node("Relu", ["x:0"], ["y z,@  %"])], {"x:0": ["batch size", "7d"]}, ["y z,@  %"]),
    "a node named like a line of source": foreign([helper.make_node("Relu", ["x"], ["y"], name="a/b.py:07")], [2]),
}  # fmt: skip


@pytest.mark.parametrize("cause", CAUSES)
def test_models_of_others_give_the_same_text_after_an_export(cause: str) -> None:
    assert_stays(CAUSES[cause]())


def looped() -> onnx.ModelProto:
    """A Loop that ends by its test, as converted models have them."""
    body = helper.make_graph(
        [helper.make_node("Add", ["c", "x"], ["c2"]), helper.make_node("ReduceMax", ["c2"], ["m"], keepdims=0),
         helper.make_node("Less", ["m", "ten"], ["go"])], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("g", TensorProto.BOOL, []),
         helper.make_tensor_value_info("c", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_tensor_value_info("c2", TensorProto.FLOAT, ["N"])],
    )  # fmt: skip
    return model([node("Loop", ["", "", "x"], ["y"], body=body)], {"x": ["N"]}, ["y"], {"ten": np.float32(10)})


def test_a_loop_of_others_stays_one_loop() -> None:
    assert_stays(looped())


def assert_stays(source: onnx.ModelProto | Path) -> None:
    """Loaded, exported and loaded a model of others has the same text, and its export always the same bytes."""
    loaded = cr.load_onnx(source)
    first = cr.export_onnx(loaded, verify=False)
    assert isinstance(first, onnx.ModelProto)
    back = cr.load_onnx(first)
    assert text(back.graph) == text(loaded.graph)
    second = cr.export_onnx(back, verify=False)
    assert isinstance(second, onnx.ModelProto)
    assert second.SerializeToString() == first.SerializeToString()
    for (name, before), (now, after) in zip(loaded.named_stored(), back.named_stored(), strict=True):
        assert name == now and np.array_equal(before.data, after.data, equal_nan=before.data.dtype.kind == "f")


def test_real_models_give_the_same_text_after_an_export(real_model: Path) -> None:
    assert_stays(real_model)


def test_weights_kept_as_bytes_stay_bytes_in_a_file() -> None:
    proto = model([node("Cast", ["w"], ["f"], to=1), node("MatMul", ["x", "f"], ["y"])], {"x": ["N", 90]}, ["y"],
                  {"w": np.ones((90, 200), np.int8)})  # fmt: skip
    again = cr.export_onnx(cr.load_onnx(proto))
    assert isinstance(again, onnx.ModelProto)
    assert [t.data_type for t in again.graph.initializer] == [TensorProto.INT8]


def test_of_a_file_that_was_changed_the_nodes_count() -> None:
    proto = exported(lambda x: cr.gelu(x) - 1, cr.spec(3))
    assert [n.op.name for n in cr.load_onnx(proto).graph.nodes if n.inputs] == ["gelu", "sub"]
    subtract = next(n for n in proto.graph.node if n.op_type == "Sub")
    subtract.op_type = "Add"
    loaded = cr.load_onnx(proto)
    assert "gelu" not in text(loaded.graph)
    x = seeded(3)
    assert np.allclose(cr.compile(loaded, backend="reference")(x), cr.gelu(x) + 1, rtol=0, atol=1e-6)


def test_of_a_file_with_another_constant_the_nodes_count() -> None:
    proto = exported(lambda x: cr.gelu(x) + np.float32(range(100)), cr.spec(100))
    for tensor in proto.graph.initializer:
        if list(tensor.dims) == [100]:
            tensor.raw_data = np.zeros(100, np.float32).tobytes()
    loaded = cr.load_onnx(proto)
    x = seeded(100)
    assert np.allclose(cr.compile(loaded, backend="reference")(x), cr.gelu(x), rtol=0, atol=1e-6)
