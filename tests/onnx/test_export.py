"""export_onnx writes standard, checked, verified models: names, sizes, state and source lines are kept."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.backends.onnx.executable import session_of
from chainrule.errors import ArgumentError, NotSupported, NumericsError
from chainrule.exchange import verify_model
from chainrule.ops.tolerance import OTHER_FRAMEWORK, models_agree


class Net(nn.Module):
    """A small ConvNet with everything that a training step needs."""

    def __init__(self, bias: bool = False) -> None:
        # A bias before a norm has a gradient of nothing but rounding, which Adam blows up to whole steps.
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.25)
        self.out = nn.Linear(4 * 4 * 4, 3)

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        x = cr.max_pool2d(cr.relu(self.norm(self.conv(x))), 2)
        return self.out(self.drop(cr.flatten(x, 1)))


IMAGES = cr.spec("N", 1, 8, 8)
LABELS = cr.spec("N", dtype="i64")


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 1, 8, 8)).astype(np.float32)


def made_step(bias: bool = False) -> cr.Step:
    cr.manual_seed(3)
    return cr.training_step(Net(bias), cr.cross_entropy, optim.Adam(1e-2), (IMAGES, LABELS), backend="reference")


def quiet_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def test_a_model_keeps_its_names_and_symbolic_sizes() -> None:
    model = cr.export_onnx(Net(), None, IMAGES)
    assert isinstance(model, onnx.ModelProto)
    (given,), (made,) = model.graph.input, model.graph.output
    assert given.name == "x"
    assert [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim] == ["N", 1, 8, 8]
    assert [d.dim_param or d.dim_value for d in made.type.tensor_type.shape.dim] == ["N", 3]
    assert {"conv.weight", "norm.running_mean", "out.bias"} <= {i.name for i in model.graph.initializer}


def test_one_exported_model_serves_every_batch_size() -> None:
    net = Net()
    session = quiet_session(cr.export_onnx(net, None, IMAGES))
    ours = cr.compile(net, IMAGES, backend="reference")
    for count in (1, 2, 7):
        x = images(count)
        (found,) = session.run(None, {"x": x})
        assert models_agree(found, ours(x).astype(np.float64), OTHER_FRAMEWORK)


def test_only_standard_ops_are_written() -> None:
    for model in (cr.export_onnx(Net(), None, IMAGES), cr.export_onnx(made_step())):
        assert {n.domain for n in model.graph.node} == {""}
        assert [o.domain for o in model.opset_import] == [""]


def test_nodes_say_which_line_of_the_user_they_come_from() -> None:
    model = cr.export_onnx(Net(), None, IMAGES, opset=21)
    convolution = next(n for n in model.graph.node if n.op_type == "Conv")
    assert convolution.doc_string.startswith("test_export.py:")
    assert {p.key: p.value for p in convolution.metadata_props} == {"chainrule.source": convolution.doc_string}


def test_a_training_step_runs_in_plain_onnxruntime() -> None:
    ours = made_step()
    session = quiet_session(cr.export_onnx(ours))
    names = [o.name for o in session.get_outputs()]
    assert names[0] == "loss" and all(n.endswith(".new") for n in names[1:])
    state: dict[str, np.ndarray] = {}
    rng = np.random.default_rng(1)
    for i in range(10):
        x, y = images(8, i), rng.integers(0, 3, 8)
        found = dict(zip(names, session.run(None, {"x": x, "target": y, **state}), strict=True))
        state = {name.removesuffix(".new"): array for name, array in found.items() if name.endswith(".new")}
        assert models_agree(found["loss"], np.float64(float(ours(x, y))), OTHER_FRAMEWORK)
    assert int(state["step"]) == 10
    mean = ours.state["buffers.norm.running_mean"].astype(np.float64)
    assert models_agree(state["buffers.norm.running_mean"], mean, 2.0 * OTHER_FRAMEWORK)


def test_a_checkpoint_goes_on_in_onnxruntime_and_comes_back(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "step.safetensors"
    ours, whole = made_step(), made_step()
    session = quiet_session(cr.export_onnx(made_step()))
    names = [o.name for o in session.get_outputs()]
    batches = [(images(8, i), np.random.default_rng(i).integers(0, 3, 8)) for i in range(6)]
    for batch in batches[:2]:
        ours(*batch)
    cr.save(ours, path)
    state = load_file(path)
    for x, y in batches[2:4]:
        found = dict(zip(names, session.run(None, {"x": x, "target": y, **state}), strict=True))
        state = {name.removesuffix(".new"): array for name, array in found.items() if name.endswith(".new")}
    save_file(state, path)
    again = made_step()
    cr.load(path, again)
    for batch in batches[4:]:
        last = again(*batch)
    for batch in batches:
        expected = whole(*batch)
    assert int(again.state["step"]) == 6
    assert models_agree(np.float32(last), np.float64(float(expected)), 2.0 * OTHER_FRAMEWORK)


class Free(nn.Module):
    """Strides, groups and pools on images of any size, odd ones too."""

    def __init__(self) -> None:
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 8, 3, groups=4, padding=1)
        self.out = nn.Linear(8, 3)

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        x = cr.max_pool2d(cr.gelu(self.first(x)), 2, ceil_mode=True)
        x = cr.avg_pool2d(cr.silu(self.second(x)), 2)
        return self.out(x.mean((2, 3)))


@pytest.mark.parametrize("size", [(11, 14), (16, 13)])
def test_a_training_step_on_images_of_any_size_runs_in_onnxruntime(size: tuple[int, int]) -> None:
    specs = (cr.spec("N", 3, "H", "W"), LABELS)
    ours = cr.training_step(Free(), cr.cross_entropy, optim.SGD(0.1), specs, backend="reference")
    session = quiet_session(cr.export_onnx(ours))
    x, y = np.random.default_rng(0).standard_normal((4, 3, *size)).astype(np.float32), np.array([0, 1, 2, 0])
    found = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"x": x, "target": y}), strict=True))
    assert models_agree(found["loss"], np.float64(float(ours(x, y))), OTHER_FRAMEWORK)
    for name in ("first.weight", "second.weight", "out.bias"):
        wanted = ours.state[f"params.{name}"].astype(np.float64)
        assert models_agree(found[f"params.{name}.new"], wanted, OTHER_FRAMEWORK), name


def halves(x: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
    first = cr.reshape(x, ("N", 3, "2*H", "W", 2))[..., 0]
    return cr.repeat(cr.max_pool2d(x, 2), 2, axis=2) * first + y[2:, None, None, None]


def test_sizes_that_stand_in_no_shape_by_themselves_follow_from_those_linear_in_them() -> None:
    specs = (cr.spec("N", 3, "2*H", "2*W"), cr.spec("N+2"))
    session = quiet_session(cr.export_onnx(halves, None, *specs))
    ours = cr.compile(halves, *specs, backend="reference")
    for n, h, w in ((2, 6, 8), (1, 2, 4)):
        x, y = np.random.default_rng(0).random((n, 3, h, w), np.float32), np.arange(n + 2, dtype=np.float32)
        (found,) = session.run(None, {"x": x, "y": y})
        assert np.array_equal(found, ours(x, y))


def test_all_that_holds_a_graph_can_be_exported() -> None:
    net = Net()
    compiled = cr.compile(net, IMAGES, backend="reference")
    wanted = cr.export_onnx(net, None, IMAGES)
    for model in (compiled, compiled.traced, cr.load_onnx(wanted)):
        found = cr.export_onnx(model)
        assert [n.op_type for n in found.graph.node] == [n.op_type for n in wanted.graph.node]
    function = cr.export_onnx(lambda a, b: cr.tanh(a) @ b, None, cr.spec("N", 3), cr.spec(3, 2))
    assert [n.op_type for n in function.graph.node] == ["Tanh", "MatMul"]


def test_a_file_is_written_and_its_path_returned(tmp_path: Path) -> None:
    path = cr.export_onnx(Net(), tmp_path / "net.onnx", IMAGES)
    assert path == tmp_path / "net.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    assert os.listdir(tmp_path) == ["net.onnx"]


@pytest.mark.parametrize("opset", [17, 20, 21, 23])
def test_other_opsets_and_their_least_ir_versions(opset: int) -> None:
    model = cr.export_onnx(Net(), None, IMAGES, opset=opset)
    assert model.opset_import[0].version == opset
    assert model.ir_version == onnx.helper.find_min_ir_version_for(model.opset_import)


def test_the_ir_version_can_be_raised() -> None:
    assert cr.export_onnx(Net(), None, IMAGES, ir_version=10).ir_version == 10


@pytest.mark.parametrize(("options", "message"), [
    ({"opset": 9}, "opset 9 is not built"),
    ({"opset": 1000}, "opset 1000 is not built"),
    ({"ir_version": 3}, "ir_version 3 does not go with opset 18"),
    ({"external_data": True}, "need a path"),
])  # fmt: skip
def test_options_that_do_not_fit_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        cr.export_onnx(Net(), None, IMAGES, **options)  # type: ignore[arg-type]


def test_paths_that_cannot_be_written_are_refused_and_leave_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="is a folder"):
        cr.export_onnx(Net(), tmp_path, IMAGES)
    with pytest.raises(ArgumentError, match="there is no folder"):
        cr.export_onnx(Net(), tmp_path / "missing" / "net.onnx", IMAGES)
    place = tmp_path / "net.onnx"
    place.write_bytes(b"kept")
    with pytest.raises(NotSupported, match=r"random_bits|bitwise"):
        cr.export_onnx(made_step(), place, opset=17)
    assert place.read_bytes() == b"kept"
    assert os.listdir(tmp_path) == ["net.onnx"]


def test_large_weights_can_lie_in_a_file_of_their_own(tmp_path: Path) -> None:
    net = nn.Linear(64, 64)
    path = cr.export_onnx(net, tmp_path / "net.onnx", cr.spec("N", 64), external_data=True)
    assert sorted(os.listdir(tmp_path)) == ["net.onnx", "net.onnx.data"]
    assert (tmp_path / "net.onnx").stat().st_size < 64 * 64
    x = np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32)
    again = cr.compile(cr.load_onnx(path), backend="reference")
    assert np.array_equal(again(x), cr.compile(net, cr.spec("N", 64), backend="reference")(x))


def test_a_gradient_of_nothing_but_rounding_does_not_fail_verification() -> None:
    assert cr.export_onnx(made_step(bias=True)).graph.name == "net_step"


def test_verification_names_the_output_that_differs() -> None:
    net = nn.Linear(4, 2)
    traced = cr.trace(net, cr.spec("N", 4))
    weights = [stored.data for _, stored in traced.sources]
    model = cr.export_onnx(traced, verify=False)
    verify_model(model.SerializeToString(), traced.graph, weights)
    with pytest.raises(NumericsError, match="output differs in onnxruntime"):
        verify_model(model.SerializeToString(), traced.graph, [w + np.float32(0.01) for w in weights])


def test_indices_beyond_the_sampled_ones_do_not_stop_verification() -> None:
    model = cr.export_onnx(nn.Embedding(2, 3), None, cr.spec("N", dtype="i64"))
    assert [n.op_type for n in model.graph.node] == ["Gather"]


def test_images_too_small_for_the_model_do_not_stop_verification() -> None:
    traced = cr.trace(nn.Conv2d(1, 2, 7), cr.spec(1, 1, "H", "W"))
    model = cr.export_onnx(traced)
    dims = [d.dim_param for d in model.graph.output[0].type.tensor_type.shape.dim][2:]
    assert dims == [str(d) for d in traced.graph.outputs[0].shape[2:]]
    session = session_of(model.SerializeToString())
    assert session.run(None, {"x": np.zeros((1, 1, 9, 8), np.float32)})[0].shape == (1, 2, 3, 2)


def unlikely(bias: float) -> cr.Traced:
    """Probabilities of about 1e-8, as a detector gives them where there is nothing to be seen."""
    return cr.trace(lambda x: cr.sigmoid(0.1 * x - np.float32(bias)), cr.spec(64))


def test_probabilities_near_zero_are_verified_before_their_sigmoid() -> None:
    verified = cr.export_onnx(unlikely(19.0))
    with pytest.raises(NumericsError, match="output differs in onnxruntime: before its sigmoid"):
        verify_model(verified.SerializeToString(), unlikely(19.1).graph, [])
    with pytest.raises(NumericsError, match=r"output differs in onnxruntime: [0-9]"):
        verify_model(verified.SerializeToString(), unlikely(9.0).graph, [])
