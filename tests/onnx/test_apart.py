"""Large initializers are read straight to where they stay, and nothing but that differs from protobuf's reading."""

from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import chainrule as cr
from chainrule.backends.onnx.importing.apart import LARGE, read_apart
from chainrule.errors import ModelError

BIG = np.random.default_rng(0).standard_normal((LARGE // 256, 128)).astype(np.float32)
HALF = BIG[:-1].astype(np.float16)
SMALL = np.float32([[1, 2, 3]])


def model(*arrays: np.ndarray) -> onnx.ModelProto:
    """x times each array."""
    stored = [numpy_helper.from_array(a, f"w{i}") for i, a in enumerate(arrays)]
    nodes = [helper.make_node("Identity", [f"w{i}"], [f"y{i}"]) for i in range(len(arrays))]
    outputs = [helper.make_tensor_value_info(f"y{i}", s.data_type, s.dims) for i, s in enumerate(stored)]
    return helper.make_model(helper.make_graph(nodes, "g", [], outputs, stored),
                             opset_imports=[helper.make_opsetid("", 18)])  # fmt: skip


def read(data: bytes) -> tuple[onnx.ModelProto, dict[int, np.ndarray]]:
    rest, apart = read_apart(BytesIO(data), len(data))
    return onnx.load_from_string(rest), dict(apart)


def test_what_is_read_apart_is_cut_out_of_the_rest_and_nothing_else():
    whole = model(SMALL, BIG, HALF, SMALL)
    rest, apart = read(whole.SerializeToString())
    assert sorted(apart) == [1]  # HALF is just below
    assert apart[1].tobytes() == BIG.tobytes() and apart[1].ctypes.data % 64 == 0
    whole.graph.initializer[1].ClearField("raw_data")
    rest.graph.initializer[1].ClearField("raw_data")
    assert rest == whole


@pytest.mark.parametrize("given", ["path", "bytes"])
def test_weights_are_those_of_the_file_and_lie_where_they_were_read(tmp_path: Path, given: str):
    proto = model(SMALL, BIG, 2 * BIG)
    path = tmp_path / "big.onnx"
    path.write_bytes(proto.SerializeToString())
    loaded = cr.load_onnx(path if given == "path" else path.read_bytes())
    held = dict(loaded.named_parameters())
    assert np.array_equal(held["w1"].data, BIG) and np.array_equal(held["w2"].data, 2 * BIG)
    assert np.array_equal(held["w0"].data, SMALL)
    memory = [held[name].data for name in ("w1", "w2")]
    gap = memory[1].ctypes.data - memory[0].ctypes.data
    assert gap == BIG.nbytes  # one block
    memory[0][...] = 0
    assert np.array_equal(memory[1], 2 * BIG) and not np.any(cr.compile(loaded)()[1])


def test_each_load_has_weights_of_its_own():
    proto = model(BIG, SMALL)
    first, second = (dict(cr.load_onnx(proto).named_parameters()) for _ in range(2))
    for name in ("w0", "w1"):
        first[name].data[...] = 7
        assert not np.any(second[name].data == 7)


def test_constants_of_equal_numbers_are_weights_of_their_own():
    values = [helper.make_node("Constant", [], [f"c{i}"], value=numpy_helper.from_array(BIG)) for i in range(2)]
    nodes = [*values, helper.make_node("Add", ["c0", "c1"], ["y"])]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, BIG.shape)
    loaded = cr.load_onnx(helper.make_model(helper.make_graph(nodes, "g", [], [output])))
    held = dict(loaded.named_parameters())
    held["c0"].data[...] = 0
    assert np.array_equal(held["c1"].data, BIG)


def encoded(field: int, content: bytes) -> bytes:
    """A field of stated length."""
    length, digits = len(content), bytearray()
    while length >= 0x80:
        digits.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((field << 3 | 2, *digits, length)) + content


def test_a_tensor_whose_bytes_stand_twice_is_left_to_protobuf():
    tensor = numpy_helper.from_array(BIG, "w0").SerializeToString() + encoded(9, (2 * BIG).tobytes())
    graph = model(BIG).graph
    graph.ClearField("initializer")
    rest = model(BIG)
    rest.ClearField("graph")
    data = rest.SerializeToString() + encoded(7, graph.SerializeToString() + encoded(5, tensor))
    assert read_apart(BytesIO(data), len(data))[1] == {}
    assert np.array_equal(dict(cr.load_onnx(data).named_parameters())["w0"].data, 2 * BIG)


def test_a_graph_in_two_pieces_is_left_to_protobuf():
    proto = model(SMALL, BIG)
    initializers = list(proto.graph.initializer)
    proto.graph.ClearField("initializer")
    piece = onnx.GraphProto(initializer=initializers).SerializeToString()
    data = proto.SerializeToString() + encoded(7, piece)
    assert read_apart(BytesIO(data), len(data))[1] == {}
    assert np.array_equal(dict(cr.load_onnx(data).named_parameters())["w1"].data, BIG)


def test_a_large_file_that_was_cut_short_is_refused():
    data = model(SMALL, BIG).SerializeToString()
    for length in (1, 20, 40, 90, 200, LARGE, len(data) - LARGE // 2, len(data) - 30):
        with pytest.raises(ModelError, match=r"is not an ONNX model|no node gives"):
            cr.load_onnx(data[:length])


def test_bytes_that_are_not_those_of_the_shape_are_refused():
    proto = model(BIG)
    proto.graph.initializer[0].dims[0] += 1
    with pytest.raises(ModelError, match=f"'w0' of f32.* has {BIG.nbytes} bytes, not {BIG.nbytes + 512}"):
        cr.load_onnx(proto.SerializeToString())


def test_external_data_is_read_into_memory_of_its_own(tmp_path: Path):
    path = tmp_path / "apart.onnx"
    onnx.save(model(BIG, SMALL), path, save_as_external_data=True, location="apart.data", size_threshold=0)
    held = dict(cr.load_onnx(path).named_parameters())
    assert np.array_equal(held["w0"].data, BIG) and np.array_equal(held["w1"].data, SMALL)
    assert held["w0"].data.ctypes.data % 64 == 0 and held["w0"].data.flags.writeable
