"""Whatever a file holds, loading it gives a model or a typed error that says what is wrong: never anything else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import chainrule as cr
from tests.onnx.models import convnet, model, node, perceptron, seeded

Break = Callable[[onnx.ModelProto], None]


@pytest.mark.parametrize(("data", "message"), [
    (b"", "is not an ONNX model"),
    (b"\x00", "is not an ONNX model"),
    (b"not a protobuf at all", "is not an ONNX model"),
    (b"ir_version: 8 graph { }", "is not an ONNX model"),
    (b'{"irVersion": 8}', "is not an ONNX model"),
    (onnx.ModelProto(ir_version=8).SerializeToString(), "no graph or no operator set"),
], ids=["empty", "a zero", "words", "text form", "json", "no graph"])  # fmt: skip
def test_bytes_that_are_no_model_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(cr.ModelError, match=message):
        cr.load_onnx(data)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(share: float) -> None:
    data = perceptron().SerializeToString()
    with pytest.raises(cr.ChainruleError):
        cr.load_onnx(data[: int(len(data) * share)])


def test_flipped_bytes_give_a_model_or_a_typed_error() -> None:
    data = bytearray(convnet().SerializeToString())
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), 3):
            broken[at] = rng.integers(0, 256)
        try:
            cr.load_onnx(bytes(broken))
        except cr.ChainruleError as error:
            assert str(error)



def set_dims(*dims: int) -> Break:
    def change(proto: onnx.ModelProto) -> None:
        del proto.graph.initializer[0].dims[:]
        proto.graph.initializer[0].dims.extend(dims)

    return change


def set_type(code: int) -> Break:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.initializer[0].data_type = code

    return change


def set_input_dim(value: int) -> Break:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = value

    return change


def add_node(*arguments: object, **attributes: object) -> Break:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.node.append(node(*arguments, **attributes))  # type: ignore[arg-type]

    return change


def change_opset(version: int, domain: str = "") -> Break:
    def change(proto: onnx.ModelProto) -> None:
        proto.opset_import[0].version, proto.opset_import[0].domain = version, domain

    return change


def reorder(proto: onnx.ModelProto) -> None:
    first = proto.graph.node.pop(0)
    proto.graph.node.append(first)


def cycle(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = proto.graph.node[-1].output[0]


def set_attribute(index: int, **attributes: object) -> Break:
    def change(proto: onnx.ModelProto) -> None:
        for name, value in attributes.items():
            proto.graph.node[index].attribute.append(helper.make_attribute(name, value))

    return change


def external(proto: onnx.ModelProto) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.append(onnx.StringStringEntryProto(key="location", value="weights"))


BREAKS: dict[str, tuple[Break, str]] = {
    "a terabyte of a tensor": (set_dims(1 << 20, 1 << 20), "has 140 bytes, not"),
    "overflowing dims": (set_dims(1 << 62, 1 << 62, 4), "has 140 bytes, not"),
    "negative dims": (set_dims(-7, -5), "sizes are not negative"),
    "bytes of another shape": (set_dims(7, 6), "has 140 bytes, not 168"),
    "an element type of strings": (set_type(TensorProto.STRING), "STRING"),
    "an unknown element type": (set_type(999), "number 999"),
    "a negative input size": (set_input_dim(-4), "has the size -4"),
    "an input of another size": (set_input_dim(6), "Gemm /h"),
    "an input without type": (lambda p: p.graph.input[0].ClearField("type"), "not a tensor"),
    "an input without shape": (lambda p: p.graph.input[0].type.tensor_type.ClearField("shape"), "has no shape"),
    "an input twice": (lambda p: p.graph.input.append(p.graph.input[0]), "occurs twice"),
    "an initializer twice": (lambda p: p.graph.initializer.append(p.graph.initializer[0]), "occurs twice"),
    "an initializer without name": (lambda p: setattr(p.graph.initializer[0], "name", ""), "has no name"),
    "a missing weight": (lambda p: p.graph.initializer.pop(0) and None, "reads 'w1', which nothing gives"),
    "nodes out of order": (reorder, "which nothing gives"),
    "a cycle": (cycle, "which nothing gives"),
    "a value twice": (add_node("Relu", ["y"], ["h"]), "is defined twice"),
    "an output of nothing": (lambda p: setattr(p.graph.output[0], "name", "z"), "no node gives the output 'z'"),
    "no outputs": (lambda p: p.graph.ClearField("output"), "has no outputs"),
    "an unknown op": (add_node("Conjure", ["y"], ["z"]), "Conjure"),
    "a missing input": (add_node("Gemm", ["y"], ["z"]), "input 1 is missing"),
    "too many outputs": (add_node("Relu", ["y"], ["z", "q"]), "Relu"),
    "an attribute twice": (set_attribute(0, transB=1), "occurs twice"),
    "an attribute of another kind": (add_node("Transpose", ["y"], ["z"], perm="ab"), "perm"),
    "a permutation of nothing": (add_node("Transpose", ["y"], ["z"], perm=[0, 7]), "not a permutation"),
    "zero strides": (add_node("MaxPool", ["y"], ["z"], kernel_shape=[2], strides=[0]), "MaxPool"),
    "an axis out of range": (add_node("Softmax", ["y"], ["z"], axis=9), "axis 9"),
    "a huge pad": (add_node("AveragePool", ["y"], ["z"], kernel_shape=[1 << 40], pads=[1 << 40, 0]), "AveragePool"),
    "opset 3": (change_opset(3), "opset 3 is not built"),
    "opset 4000": (change_opset(4000), "opset 4000 is not built"),
    "no operator set of onnx": (change_opset(13, "com.example"), "names no operator set"),
    "external data of bytes": (external, "was not read from a file"),
    "metadata that is not JSON": (lambda p: helper.set_model_props(p, {"chainrule.roles": "{"}), "is not JSON"),
    "a reshape to too much": (add_node("Reshape", ["y", "w1"], ["z"]), "Reshape"),
    "sparse weights of nothing": (lambda p: p.graph.sparse_initializer.append(onnx.SparseTensorProto()), "UNDEFINED"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_model_is_refused_with_its_cause(name: str) -> None:
    change, message = BREAKS[name]
    proto = perceptron()
    change(proto)
    with pytest.raises((cr.ModelError, cr.NotSupported)) as caught:
        cr.load_onnx(proto.SerializeToString())
    assert message in str(caught.value)


def test_a_bomb_of_constants_is_not_set_off() -> None:
    shape = helper.make_tensor("s", TensorProto.INT64, [2], [1 << 30, 1 << 30])
    proto = model([node("Constant", [], ["s"], value=shape), node("ConstantOfShape", ["s"], ["c"]),
                   node("ReduceSum", ["c"], ["t"]), node("Add", ["x", "t"], ["y"])], {"x": [1]}, ["y"])  # fmt: skip
    loaded = cr.load_onnx(proto)
    assert [str(v.type) for v in loaded.graph.outputs] == ["f32[1,1]"]


def with_data(tmp_path: Path, location: str, **entries: str) -> Path:
    proto = model([node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 4]}, ["y"], {"w": seeded(4, 4)})
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.append(onnx.StringStringEntryProto(key=key, value=value))
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(seeded(4, 4).tobytes())
    (folder / "weights").write_bytes(seeded(4, 4).tobytes())
    (folder / "net.onnx").write_bytes(proto.SerializeToString())
    return folder / "net.onnx"


def test_external_data_beside_the_model_is_read(tmp_path: Path) -> None:
    loaded = cr.load_onnx(with_data(tmp_path, "weights", offset="0", length="64"))
    assert np.array_equal(loaded.state_dict()["w"], seeded(4, 4))


@pytest.mark.parametrize(("location", "entries", "message"), [
    ("../secret", {}, "outside of the model's folder"),
    ("a/../../secret", {}, "outside of the model's folder"),
    ("/etc/hostname", {}, "outside of the model's folder"),
    ("..\\secret", {}, "outside of the model's folder"),
    ("C:\\secret", {}, "outside of the model's folder"),
    ("", {}, "outside of the model's folder"),
    ("nothing", {}, "cannot be read"),
    (".", {}, "outside of the model's folder"),
    ("weights", {"offset": "1"}, "are asked for"),
    ("weights", {"offset": "-64"}, "is not a number"),
    ("weights", {"offset": "99999999999999999999999"}, "is not a number"),
    ("weights", {"length": "32"}, "32 external bytes are stated"),
])  # fmt: skip
def test_external_data_elsewhere_or_cut_short_is_refused(tmp_path: Path, location: str, entries: dict[str, str],
                                                         message: str) -> None:  # fmt: skip
    with pytest.raises(cr.ModelError, match=message):
        cr.load_onnx(with_data(tmp_path, location, **entries))


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "linked folder", "fifo"])
def test_external_data_through_links_and_pipes_is_refused(tmp_path: Path, kind: str) -> None:
    path = with_data(tmp_path, "data/weights" if kind == "linked folder" else "data")
    place = path.parent / "data"
    match kind:
        case "symbolic link":
            place.symlink_to(tmp_path / "secret")
        case "hard link":
            os.link(tmp_path / "secret", place)
        case "linked folder":
            (tmp_path / "other").mkdir()
            (tmp_path / "other" / "weights").write_bytes(seeded(4, 4).tobytes())
            place.symlink_to(tmp_path / "other")
        case _:
            os.mkfifo(place)
    with pytest.raises(cr.ModelError):
        cr.load_onnx(path)


@pytest.mark.parametrize("place", ["missing.onnx", "."])
def test_paths_that_cannot_be_read_are_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(cr.ArgumentError):
        cr.load_onnx(tmp_path / place)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net.onnx")
    with pytest.raises(cr.ArgumentError, match="is not a file"):
        cr.load_onnx(tmp_path / "net.onnx")


def test_another_object_is_refused() -> None:
    with pytest.raises(cr.ArgumentError, match="int is not a model"):
        cr.load_onnx(7)  # type: ignore[arg-type]
