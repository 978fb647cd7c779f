"""Broken, hostile, and odd but legal ONNX files, each by a name that says what is wrong with it.

hostile_child.py runs them in child processes with limits, test_hostile.py says what must come of them.
"""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from tests.onnx.models import convnet, model, node, perceptron, seeded

Array = np.ndarray
FAR = 1 << 40
I64 = TensorProto.INT64


@dataclass(frozen=True)
class Case:
    """One file. make: its bytes, or a function that writes it into a folder and returns its path.

    works: it is legal, and must load, compile and run; others must be refused with a typed error, at load or by the
    call. said: a part of that error's text; "" allows the right answer, too. inputs: what to call it with; else zeros
    of its types, free sizes 1.
    """

    make: Callable[[Path], bytes | Path]
    works: bool = False
    said: str = ""
    inputs: tuple[Array, ...] = ()


def data(content: bytes, said: str = "is not an ONNX model") -> Case:
    return Case(lambda folder: content, said=said)


def changed(change: Callable[[onnx.ModelProto], object], said: str = "", works: bool = False,
            base: Callable[[], onnx.ModelProto] = perceptron) -> Case:  # fmt: skip
    """A good model with one thing changed."""

    def make(folder: Path) -> bytes:
        proto = base()
        change(proto)
        return proto.SerializeToString()

    return Case(make, works, said)


def one(op: str, shapes: Mapping[str, list], weights: Mapping[str, Array] | None = None, *, said: str | None = None,
        works: bool = False, opset: int = 18, outputs: int = 1, inputs: tuple[Array, ...] = (), domain: str = "",
        **attributes: object) -> Case:  # fmt: skip
    """A model of one node on these inputs and stored numbers, in this order."""

    def make(folder: Path) -> bytes:
        names = [*shapes, *(weights or {})]
        proto = model([node(op, names, [f"y{i}" for i in range(outputs)], domain=domain, **attributes)],
                      {k: v for k, v in shapes.items() if not k.startswith("i_")},
                      [f"y{i}" for i in range(outputs)], weights, opset)  # fmt: skip
        proto.graph.input.extend(helper.make_tensor_value_info(k, I64, v) for k, v in shapes.items() if k[:2] == "i_")
        return proto.SerializeToString()

    return Case(make, works, op if said is None else said, inputs)


def ints(*numbers: int) -> dict[str, Array]:
    return {"k": np.asarray(numbers, np.int64)}


X, IMAGE = {"x": [2, 3]}, {"x": [1, 3, 8, 8]}
KERNEL = {"w": seeded(4, 3, 3, 3)}
WHOLE = perceptron().SerializeToString()

BYTES: dict[str, Case] = {
    "empty": data(b""), "a zero": data(b"\0"), "words": data(b"not a protobuf at all"),
    "json": data(b'{"irVersion": 8}'),
    "text form": data(b"ir_version: 8 graph { }"), "gzip": data(b"\x1f\x8b\x08\0" + bytes(64)),
    "an ELF": data(b"\x7fELF\x02\x01\x01" + bytes(64)), "a picture": data(b"\x89PNG\r\n\x1a\n" + bytes(64)),
    "a string of two gigabytes is announced": data(b"\x12\xff\xff\xff\xff\x07abc"),
    "a field number of zero": data(b"\x02\x00"), "endless varint": data(b"\x08" + b"\xff" * 30),
    "noise": data(np.random.default_rng(0).bytes(4096)),
    "groups in groups": data(b"\x0b" * 100_000),
    "graphs in graphs without end": data(b"".join([b"\x3a\xff\x01"] * 3000)),
    **{f"cut at {share:.0%}": data(WHOLE[: int(len(WHOLE) * share)], "") for share in (0.02, 0.1, 0.3, 0.6, 0.9, 0.99)},
    "names that are not text": data(WHOLE.replace(b"w1", b"\xff\xfe"), "not text"),
}  # fmt: skip


def set_dims(*dims: int) -> Callable[[onnx.ModelProto], object]:
    def change(proto: onnx.ModelProto) -> None:
        del proto.graph.initializer[0].dims[:]
        proto.graph.initializer[0].dims.extend(dims)

    return change


def set_input(*dims: int) -> Callable[[onnx.ModelProto], object]:
    return lambda p: p.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, list(dims)))


def opsets(*pairs: tuple[str, int]) -> Callable[[onnx.ModelProto], object]:
    def change(proto: onnx.ModelProto) -> None:
        del proto.opset_import[:]
        proto.opset_import.extend(helper.make_opsetid(*pair) for pair in pairs)

    return change


def typed_short(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].ClearField("raw_data")
    proto.graph.initializer[0].float_data.extend([1.0] * 3)


def odd_attribute(kind: int) -> Callable[[onnx.ModelProto], object]:
    return lambda p: p.graph.node[0].attribute.append(AttributeProto(name="odd", type=kind))  # type: ignore[arg-type]


STRUCTURE: dict[str, Case] = {
    "a cycle": changed(lambda p: p.graph.node[0].input.__setitem__(0, p.graph.node[-1].output[0]), "nothing gives"),
    "a node that reads itself": changed(lambda p: p.graph.node[1].input.__setitem__(0, "r"), "nothing gives"),
    "an undefined name": changed(lambda p: p.graph.node[1].input.__setitem__(0, "q"), "nothing gives"),
    "a name twice": changed(lambda p: p.graph.node.append(node("Relu", ["h"], ["y"])), "defined twice"),
    "an input twice": changed(lambda p: p.graph.input.append(p.graph.input[0]), "occurs twice"),
    "an initializer twice": changed(lambda p: p.graph.initializer.append(p.graph.initializer[0]), "occurs twice"),
    "an output of nothing": changed(lambda p: setattr(p.graph.output[0], "name", "zz"), "no node gives"),
    "no outputs": changed(lambda p: p.graph.ClearField("output"), "has no outputs"),
    "no nodes": changed(lambda p: p.graph.ClearField("node"), "no node gives"),
    "a node without op": changed(lambda p: setattr(p.graph.node[0], "op_type", ""), "not built"),
    "an unknown op": changed(lambda p: setattr(p.graph.node[0], "op_type", "Conjure"), "Conjure"),
    "an unknown domain": changed(lambda p: setattr(p.graph.node[0], "domain", "evil"), "domain evil"),
    "an op of a later opset": one("Mish", X, opset=13, said="Mish"),
    "opset 0": changed(opsets(("", 0)), "operator set"), "opset -1": changed(opsets(("", -1)), "opset -1"),
    "opset 4000": changed(opsets(("", 4000)), "opset 4000"), "no opset": changed(opsets(("evil", 1)), "operator set"),
    "an input of no type": changed(lambda p: p.graph.input[0].ClearField("type"), "not a tensor"),
    "an input of strings": changed(
        lambda p: setattr(p.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING), "STRING"),
    "an input of an unknown type": changed(
        lambda p: setattr(p.graph.input[0].type.tensor_type, "elem_type", 77), "number 77"),
    "an input that is a sequence": changed(
        lambda p: p.graph.input[0].type.CopyFrom(helper.make_sequence_type_proto(p.graph.input[0].type)), "sequence"),
    "an attribute twice": changed(lambda p: p.graph.node[0].attribute.append(p.graph.node[0].attribute[0]), "twice"),
    "an attribute that refers outside of a function": changed(lambda p: p.graph.node[0].attribute.append(
        AttributeProto(name="alpha", ref_attr_name="z", type=AttributeProto.FLOAT)), "outside of a function"),
    **{f"an attribute of kind {k}": changed(odd_attribute(k), "odd") for k in (0, 12, 14)},
    "too many inputs": one("Relu", {"x": [2], "z": [2]}), "no input": one("Relu", {}),
    "a graph that is missing": one("If", {"x": [1]}, said="If"),
    "a thousand outputs": one("Relu", X, outputs=1000),
}  # fmt: skip

TENSORS: dict[str, Case] = {
    "bytes of another shape": changed(set_dims(7, 6), "has 140 bytes, not 168"),
    "a terabyte of a tensor": changed(set_dims(1 << 20, 1 << 20), "has 140 bytes"),
    "dims that overflow": changed(set_dims(1 << 62, 1 << 62, 4), "has 140 bytes"),
    "negative dims": changed(set_dims(-7, -5), "not negative"),
    "dims of nothing with bytes": changed(set_dims(0, 5), "has 140 bytes, not 0"),
    "a million dims": changed(set_dims(*[1] * 100_000, 35), ""),
    "numbers of another shape": changed(typed_short, "has 3 numbers, not 35"),
    "weights of strings": changed(lambda p: setattr(p.graph.initializer[0], "data_type", TensorProto.STRING), "STRING"),
    "weights of complex": changed(lambda p: setattr(p.graph.initializer[0], "data_type", 14), "COMPLEX64"),
    "weights of an unknown type": changed(lambda p: setattr(p.graph.initializer[0], "data_type", 999), "number 999"),
    "weights of f64 for f32": changed(lambda p: p.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.ones((7, 5)), "w1")), "Gemm"),
    "weights without name": changed(lambda p: setattr(p.graph.initializer[0], "name", ""), "no name"),
    "a negative input": changed(set_input(-4, 5), "has the size -4"),
    "an input of 2^62": changed(set_input(1 << 62, 5), ""),
    "an input of 2^40 by 2^40": changed(set_input(1 << 40, 1 << 40), ""),
    "an input of another size": changed(set_input(1, 6), "Gemm"),
    "sparse weights of a terabyte": changed(lambda p: p.graph.sparse_initializer.append(helper.make_sparse_tensor(
        helper.make_tensor("s", 1, [1], [1.0]), helper.make_tensor("i", I64, [1], [0]), [FAR])), "at most"),
    "sparse weights outside": changed(lambda p: p.graph.sparse_initializer.append(helper.make_sparse_tensor(
        helper.make_tensor("s", 1, [1], [1.0]), helper.make_tensor("i", I64, [1], [9]), [4])), "outside"),
}  # fmt: skip

OPS: dict[str, Case] = {
    "zero strides": one("Conv", IMAGE, KERNEL, strides=[0, 1]),
    "negative strides": one("Conv", IMAGE, KERNEL, strides=[-1, 1]),
    "zero dilations": one("Conv", IMAGE, KERNEL, dilations=[0, 1]), "no groups": one("Conv", IMAGE, KERNEL, group=0),
    "negative groups": one("Conv", IMAGE, KERNEL, group=-3),
    "groups that do not fit": one("Conv", IMAGE, KERNEL, group=2),
    "pads beyond measure": one("Conv", IMAGE, KERNEL, pads=[FAR, FAR, FAR, FAR], said=""),
    "pads below nothing": one("Conv", IMAGE, KERNEL, pads=[-9, -9, -9, -9]),
    "a kernel larger than the image": one("Conv", {"x": [1, 3, 2, 2]}, KERNEL),
    "a kernel shape that lies": one("Conv", IMAGE, KERNEL, kernel_shape=[5, 5]),
    "a window larger than the image": one("MaxPool", IMAGE, kernel_shape=[FAR, FAR]),
    "a window of nothing": one("MaxPool", IMAGE, kernel_shape=[0, 0]),
    "a window with zero strides": one("AveragePool", IMAGE, kernel_shape=[2, 2], strides=[0, 0]),
    "channels that do not fit": one("Conv", {"x": [1, 5, 8, 8]}, KERNEL),
    "auto_pad of nonsense": one("Conv", IMAGE, KERNEL, auto_pad="SIDEWAYS"),
    "an index out of range": one("Gather", X, ints(7), said="gather"),
    "an index below all": one("Gather", X, ints(-9), said="gather"),
    "an index out of range in the call": one("Gather", {"x": [2, 3], "i_k": [1]}, said="gather", inputs=(
        seeded(2, 3), np.int64([99]))),
    "indices of GatherND out of range": one("GatherND", X, {"k": np.int64([[5, 5]])}, said=""),
    "a scatter out of range": one("ScatterElements", {"x": [2, 3], "i_k": [1, 1], "u": [1, 1]}, said="", inputs=(
        seeded(2, 3), seeded(1, 1), np.int64([[99]]))),
    "more than there are": one("TopK", X, ints(99), outputs=2), "fewer than none": one("TopK", X, ints(-1), outputs=2),
    "parts of another sum": one("Split", X, ints(1, 9), outputs=2),
    "a negative part": one("Split", X, ints(-1, 3), outputs=2),
    "a step of zero": one("Slice", X, {"a": np.int64([0]), "b": np.int64([2]), "c": np.int64([0]), "d": np.int64([0])}),
    "a slice of an axis too many": one("Slice", X, {"a": np.int64([0]), "b": np.int64([2]), "c": np.int64([9])}),
    "a reshape to more": one("Reshape", X, ints(4, 4)), "a reshape by two unknowns": one("Reshape", X, ints(-1, -1)),
    "a reshape to less than nothing": one("Reshape", X, ints(-2, 3)),
    "a reshape that overflows": one("Reshape", X, ints(1 << 62, 1 << 62)),
    "a permutation of nothing": one("Transpose", X, perm=[0, 7]),
    "a permutation twice": one("Transpose", X, perm=[0, 0]),
    "an axis out of range": one("Softmax", X, axis=9), "a flatten too far": one("Flatten", X, axis=9),
    "a concat along nothing": one("Concat", {"x": [2], "z": [2]}, axis=5),
    "a concat of other ranks": one("Concat", {"x": [2], "z": [2, 2]}, axis=0),
    "a squeeze of an axis of three": one("Squeeze", X, ints(1)), "an unsqueeze twice": one("Unsqueeze", X, ints(0, 0)),
    "an unsqueeze too far": one("Unsqueeze", X, ints(99)),
    "an unsqueeze of a million axes": one("Unsqueeze", X, ints(*range(4096)), said=""),
    "an expand that does not fit": one("Expand", X, ints(5, 5)),
    "a sum of other shapes": one("Add", {"x": [2], "z": [3]}),
    "a sum of other types": one("Add", {"x": [2], "i_z": [2]}),
    "a product of other sizes": one("MatMul", X, {"w": seeded(4, 4)}),
    "a product of scalars": one("MatMul", {"x": [], "z": []}),
    "an Einstein sum of nonsense": one("Einsum", X, equation="i->->j"),
    "an Einstein sum of too much": one("Einsum", X, equation="ijkl->i"),
    "an Einstein sum of brackets": one("Einsum", X, equation="(" * 1000),
    "blocks of nothing": one("DepthToSpace", IMAGE, blocksize=0),
    "blocks that do not fit": one("SpaceToDepth", IMAGE, blocksize=5),
    "a resize to less than nothing": one("Resize", IMAGE, {"r": np.float32([]), "s": np.float32([1, 1, -2, 2])}),
    "a resize beyond measure": one("Resize", IMAGE, {"r": np.float32([]), "s": np.float32([1, 1, 1e9, 1e9])}, said=""),
    "a resize by NaN": one("Resize", IMAGE, {"r": np.float32([]), "s": np.float32([1, 1, np.nan, 2])}),
    "a norm of other channels": one("BatchNormalization", IMAGE, {n: np.ones(5, np.float32) for n in "abcd"}),
    "groups of nothing in a norm": one("InstanceNormalization", {"x": [1, 3]}, {"a": np.ones(4, np.float32),
    "b": np.ones(3, np.float32)}),
    "a depth below nothing": one("OneHot", {"i_x": [2]}, {"d": np.int64(-3), "v": np.float32([0, 1])}),
    "a cast to strings": one("Cast", X, to=8), "a cast to nothing": one("Cast", X, to=999),
    "overlaps of five": one("NonMaxSuppression", {"b": [1, 2, 4], "s": [1, 1, 2]}, {"m": np.int64([1]),
    "i": np.float32([5])}),
    "a fill below nothing": one("ConstantOfShape", {}, ints(-3), said=""),
    "a pad of other axes": one("Pad", X, ints(1, 1)),
    "a pad beyond all": one("Pad", X, ints(FAR, FAR, FAR, FAR), said=""),
    "a range by steps of nothing": one("Range", {}, {"a": np.int64(0), "b": np.int64(9), "c": np.int64(0)}),
    "a range beyond measure": one("Range", {}, {"a": np.int64(0), "b": np.int64(1 << 62), "c": np.int64(1)}, said=""),
    "a recurrent layer of other weights": one("LSTM", {"x": [2, 1, 3]}, {"w": seeded(1, 9, 3),
    "r": seeded(1, 8, 2)}, hidden_size=2),
    "a window of a terabyte": one("HannWindow", {}, {"k": np.int64(FAR)}, said=""),
    "a tile beyond measure": one("Tile", X, ints(FAR, FAR), said=""),
    "a tile below nothing": one("Tile", X, ints(-1, 2)),
    "a power of other types": one("Pow", {"x": [2], "i_z": [3]}),
    "a local norm of nothing": one("LRN", IMAGE, size=0), "an image of random numbers beyond measure": one(
        "RandomNormal", {}, shape=[FAR, FAR], said=""),
    "an attribute of another kind": one("Transpose", X, perm="ab"),
    "a text as a number": one("LeakyRelu", X, alpha="high"),
}  # fmt: skip


def chain(first: list[onnx.NodeProto], step: Callable[[str, str], onnx.NodeProto], count: int,
          weights: Mapping[str, Array]) -> Case:  # fmt: skip
    """A start named v0, and a step repeated."""
    nodes = [*first, *(step(f"v{i}", f"v{i + 1}") for i in range(count)), node("ReduceSum", [f"v{count}"], ["s"]),
             node("Cast", ["s"], ["f"], to=1), node("Add", ["x", "f"], ["y"])]  # fmt: skip
    return Case(lambda folder: model(nodes, {"x": [1]}, ["y"], weights, 18).SerializeToString())


def bomb_of_functions(folder: Path) -> bytes:
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    functions = [helper.make_function("f", "F0", ["x"], ["y"], [node("Relu", ["x"], ["y"])], sets)]
    functions += [helper.make_function("f", f"F{i}", ["x"], ["y"], [
        node(f"F{i - 1}", ["x"], ["h"], domain="f"), node(f"F{i - 1}", ["h"], ["y"], domain="f")], sets)
        for i in range(1, 60)]  # fmt: skip
    proto = model([node("F59", ["x"], ["y"], domain="f")], {"x": [1]}, ["y"])
    proto.opset_import.append(sets[1])
    proto.functions.extend(functions)
    return proto.SerializeToString()


def functions_in_a_circle(folder: Path) -> bytes:
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    proto = model([node("A", ["x"], ["y"], domain="f")], {"x": [1]}, ["y"])
    proto.opset_import.append(sets[1])
    proto.functions.extend(helper.make_function("f", a, ["x"], ["y"], [node(b, ["x"], ["y"], domain="f")], sets)
                           for a, b in ("AB", "BA"))  # fmt: skip
    return proto.SerializeToString()


def branches_in_branches(depth: int) -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        inner = helper.make_graph([node("Relu", ["x"], ["z"])], "g", [], [onnx.ValueInfoProto(name="z")])
        for _ in range(depth):
            branch = node("If", ["c"], ["z"], then_branch=inner, else_branch=inner)
            inner = helper.make_graph([branch], "g", [], [onnx.ValueInfoProto(name="z")])
        proto = model(list(inner.node), {"x": [1]}, ["z"], {"c": np.asarray(True)})
        return proto.SerializeToString()

    return make


SMALL = {"k": np.int64([4096]), "two": np.int64([2]), "far": np.int64([FAR, FAR])}
BOMBS: dict[str, Case] = {
    "a terabyte of a constant": Case(lambda folder: model(
        [node("ConstantOfShape", ["far"], ["y"])], {}, ["y"], SMALL, 18).SerializeToString()),
    "doubled by concat sixty times": chain([node("ConstantOfShape", ["k"], ["v0"])],
                                           lambda a, b: node("Concat", [a, a], [b], axis=0), 60, SMALL),
    "doubled by tile sixty times": chain([node("ConstantOfShape", ["k"], ["v0"])],
                                         lambda a, b: node("Tile", [a, "two"], [b]), 60, SMALL),
    "sizes multiplied until they overflow": chain([node("Identity", ["two"], ["v0"])],
                                                  lambda a, b: node("Mul", [a, a], [b]), 20, SMALL),
    "expanded to a terabyte": chain([node("Cast", ["two"], ["c"], to=1), node("Expand", ["c", "far"], ["v0"])],
                                    lambda a, b: node("Neg", [a], [b]), 2, SMALL),
    "functions that double": Case(bomb_of_functions, said="expand"),
    "functions in a circle": Case(functions_in_a_circle, said="calls itself"),
    "branches in branches": Case(branches_in_branches(12), said=""),
}  # fmt: skip


def external(location: str, prepare: Callable[[Path], object] = lambda folder: None, **entries: str) -> Case:
    """A model whose weights are said to lie elsewhere. The folder beside has a secret that must not be read."""

    def make(folder: Path) -> Path:
        proto = model([node("MatMul", ["x", "w"], ["y"])], {"x": [1, 4]}, ["y"], {"w": seeded(4, 4)})
        tensor = proto.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.append(onnx.StringStringEntryProto(key=key, value=value))
        (folder / "secret").write_bytes(bytes(64))
        inner = folder / "net"
        inner.mkdir()
        (inner / "weights").write_bytes(bytes(64))
        prepare(inner)
        (inner / "net.onnx").write_bytes(proto.SerializeToString())
        return inner / "net.onnx"

    return Case(make, said="tensor 'w'")


EXTERNAL: dict[str, Case] = {
    "data at an absolute place": external("/etc/hostname"), "data of the system": external("/proc/self/environ"),
    "data of a device": external("/dev/zero"), "data above": external("../secret"),
    "data above by a detour": external("a/../../secret"), "data above by backslashes": external("..\\secret"),
    "data on a drive": external("C:\\secret"), "data on a host": external("https://example.org/w"),
    "data nowhere": external(""), "data in a folder": external("."), "data that is missing": external("nothing"),
    "data cut short": external("weights", offset="1"), "data before the start": external("weights", offset="-64"),
    "data beyond all": external("weights", offset="9" * 18),
    "an offset that overflows": external("weights", offset="9" * 30),
    "an offset in letters": external("weights", offset="0x10"), "a length that lies": external("weights", length="32"),
    "a length beyond all": external("weights", length="9" * 18),
    "a symbolic link": external("link", lambda f: (f / "link").symlink_to(f.parent / "secret")),
    "a hard link": external("link", lambda f: os.link(f.parent / "secret", f / "link")),
    "a pipe": external("pipe", lambda f: os.mkfifo(f / "pipe")),
    "a linked folder": external("sub/secret", lambda f: (f / "sub").symlink_to(f.parent)),
}  # fmt: skip

NAMES = ("", " ", "\n", "../x", "class", "self", "%0", "a=b", "}", "名前", "\x1b[2J", "x" * 100_000, "__import__('os')")


def renamed(name: str) -> Case:
    def make(folder: Path) -> bytes:
        proto = model([helper.make_node("Relu", [name or "x"], ["y" + name], name=name, doc_string=name)],
                      {name or "x": [name or "N", 2]}, ["y" + name])  # fmt: skip
        proto.graph.name = name or "g"
        return proto.SerializeToString()

    return Case(make, works=True)


def legal(nodes: list[onnx.NodeProto], shapes: Mapping[str, list], outputs: list[str],
          weights: Mapping[str, Array] | None = None, inputs: tuple[Array, ...] = ()) -> Case:  # fmt: skip
    return Case(lambda folder: model(nodes, shapes, outputs, weights, 18).SerializeToString(), True, inputs=inputs)


ODD: dict[str, Case] = {
    **{f"a name like {name[:20]!r}": renamed(name) for name in NAMES},
    "an empty batch": legal([node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 4]}, ["y"], {"w": seeded(4, 2)},
                            (seeded(0, 4),)),
    "weights of NaN": legal([node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 4]}, ["y"], {"w": seeded(4, 2) * np.nan}),
    "weights of infinity": legal([node("Mul", ["x", "w"], ["y"])], {"x": [2]}, ["y"], {"w": np.float32([np.inf,
        -0.0])}),
    "weights of nothing": legal([node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 0]}, ["y"], {"w": seeded(0, 2)}),
    "an output that is an input": legal([node("Relu", ["x"], ["y"])], {"x": [2]}, ["x", "y"]),
    "an output that is a weight": legal([node("Relu", ["x"], ["y"])], {"x": [2]}, ["w", "y"], {"w": seeded(3)}),
    "an output twice": legal([node("Relu", ["x"], ["y"])], {"x": [2]}, ["y", "y"]),
    "weights that nothing reads": legal([node("Relu", ["x"], ["y"])], {"x": [2]}, ["y"], {"w": seeded(3)}),
    "operator sets that nothing uses": changed(opsets(("", 17), ("evil", 99), ("com.microsoft", 1)), works=True),
    "a shape annotation that lies": changed(lambda p: p.graph.value_info.append(
        helper.make_tensor_value_info("h", TensorProto.INT8, [99, 99])), works=True),
    "an output annotation that lies": changed(lambda p: p.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("p", TensorProto.DOUBLE, [99])), works=True),
    "a megabyte of metadata": changed(lambda p: helper.set_model_props(p, {"k": "v" * (1 << 20)}), works=True),
    "an ir version of the far future": changed(lambda p: setattr(p, "ir_version", 99), "is of IR version 99"),
    "a weight that is an input too": changed(lambda p: p.graph.input.append(
        helper.make_tensor_value_info("w1", TensorProto.FLOAT, [7, 5])), works=True),
    "integers by zero": legal([node("Cast", ["x"], ["i"], to=7), node("Div", ["i", "zero"], ["q"]),
                               node("Mod", ["i", "zero"], ["r"])], {"x": [2]}, ["q", "r"], {"zero": np.int64([0, 0])}),
    "the least integer by minus one": legal([node("Div", ["k", "m"], ["q"]), node("Relu", ["x"], ["y"])], {"x": [1]},
                                            ["q", "y"], {"k": np.int64([-(1 << 63)]), "m": np.int64([-1])}),
    "NaN as an integer": legal([node("Cast", ["x"], ["y"], to=6)], {"x": [3]}, ["y"], None,
                               (np.float32([np.nan, np.inf, 1e30]),)),
    "a scalar": legal([node("Relu", ["x"], ["y"])], {"x": []}, ["y"]),
    "nodes of one name": changed(lambda p: [setattr(n, "name", "n") for n in p.graph.node], works=True),
    "outputs that nobody named": legal([node("TopK", ["x", "k"], ["", "i"])], {"x": [3]}, ["i"], {"k": np.int64([1])}),
    "a convnet": Case(lambda folder: convnet().SerializeToString(), works=True),
}  # fmt: skip



def noted(change: Callable[[str], str], stored: str | None = None) -> Case:
    """A file that chainrule wrote with its note of the graph changed: what the nodes say counts."""

    def make(folder: Path) -> bytes:
        import chainrule as cr

        proto = cr.export_onnx(lambda x: cr.gelu(x) + cr.abs(x), None, cr.spec("N", 3), verify=False)
        assert isinstance(proto, onnx.ModelProto)
        for entry in proto.metadata_props:
            if entry.key == "chainrule.graph":
                entry.value = change(entry.value)
            elif entry.key == "chainrule.constants" and stored is not None:
                entry.value = stored
        return proto.SerializeToString()

    return Case(make, works=True)


def instead(line: str) -> Callable[[str], str]:
    """The note of another graph on the same input, of one node."""
    return lambda text: text.partition("\n")[0] + f"\n  %0 = {line}\n  return output0=%0\n}}"


ZEROS = base64.b64encode(zlib.compress(bytes(1 << 26), 9)).decode()

NOTES: dict[str, Case] = {
    "a note as it was written": noted(lambda text: text),
    "a note of nothing": noted(lambda text: ""), "a note of noise": noted(lambda text: "\x07{%" * 1000),
    "a note cut short": noted(lambda text: text[: len(text) // 2]),
    "a note of another graph": noted(lambda text: text.replace("abs", "neg")),
    "a note of other sizes": noted(lambda text: text.replace("N,3", "N,4")),
    "a note of an op that is not known": noted(lambda text: text.replace("gelu", "evil")),
    "a note of constants that are not stored": noted(lambda text: text, '["w", "w"]'),
    "a note whose constants are no list": noted(lambda text: text, '{"a": 3'),
    "a note of deep brackets": noted(instead("reshape(%x) shape=" + "(" * 50_000 + " : f32[N,3]")),
    "a note of deep sums": noted(instead("reshape(%x) shape=(" + "(" * 9000 + "N" + "+1)" * 9000 + ",3) : f32[N,3]")),
    "a note of graphs in graphs": noted(instead("cond(%x) then={\n" * 3000)),
    "a note that unrolls": noted(instead(
        "reshape(%x) shape=(1,1,N,3) : f32[1,1,N,3]\n  %1 = cast(%0) dtype=f64 : f64[1,1,N,3]\n  %2 = avg_pool2d(%1) "
        "window=(1,99999999) stride=(1,1) pad=(0,49999999,0,49999999) : f64[1,1,N,3]\n  "
        "%3 = cast(%2) dtype=f32 : f32[1,1,N,3]\n  %0 = reshape(%3) shape=(N,3) : f32[N,3]")),
    "a note of compressed zeros": noted(instead(f"constant() data=f32[{1 << 24}]<zlib:{ZEROS}> : f32[{1 << 24}]")),
    "a note of compressed zeros that lies": noted(instead(f"constant() data=f32[2]<zlib:{ZEROS}> : f32[2]")),
    "a note of a huge constant": noted(instead(f"constant() data=f32[{1 << 40}]<0> : f32[{1 << 40}]")),
}  # fmt: skip

CASES: dict[str, Case] = {**BYTES, **STRUCTURE, **TENSORS, **OPS, **BOMBS, **EXTERNAL, **ODD, **NOTES}
