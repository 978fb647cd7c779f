"""Modules know their parameters, save and load them, and print as PyTorch's do."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.frontend import nn
from chainrule.frontend.seeding import manual_seed
from chainrule.frontend.tensor import Tensor
from chainrule.frontend.trace import spec, trace


class Block(nn.Module):
    def __init__(self) -> None:
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Net(nn.Module):
    def __init__(self) -> None:
        self.scale = nn.Parameter(np.ones(1, np.float32))
        self.stages = nn.ModuleList([Block(), Block()])
        self.head = nn.ModuleDict({"out": nn.Linear(2, 3)})
        self.tail = nn.Sequential(nn.ReLU(), nn.Dropout(0.1))
        self.offset = nn.Buffer(np.zeros(1, np.float32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages[0](x) * self.scale + self.offset
        return self.tail(self.head["out"](x.mean(axis=(2, 3))))


KEYS = ["scale", "stages.0.conv.weight", "stages.0.conv.bias", "stages.0.norm.weight", "stages.0.norm.bias",
        "stages.0.norm.running_mean", "stages.0.norm.running_var", "stages.0.norm.num_batches_tracked",
        "stages.1.conv.weight", "stages.1.conv.bias", "stages.1.norm.weight", "stages.1.norm.bias",
        "stages.1.norm.running_mean", "stages.1.norm.running_var", "stages.1.norm.num_batches_tracked",
        "head.out.weight", "head.out.bias"]  # fmt: skip


def test_state_dict_keys_are_paths_in_order_of_definition() -> None:
    net = Net()
    net.stages[1] = Block()  # type: ignore[index]
    net.offset = nn.Buffer(np.zeros(1, np.float32), persistent=False)
    assert list(net.state_dict()) == [*KEYS[:1], *KEYS[1:]]


def test_walks_give_each_part_once_by_path() -> None:
    net = Net()
    net.again = net.stages[0]
    assert [p for p, _ in net.named_parameters()] == [k for k in KEYS if "running" not in k and "tracked" not in k]
    assert [name for name, _ in net.named_children()] == ["stages", "head", "tail", "again"]
    assert [p for p, _ in net.named_modules()][:5] == ["", "stages", "stages.0", "stages.0.conv", "stages.0.norm"]
    assert len(list(net.modules())) == len({id(m) for m in net.modules()})
    assert len([p for p, _ in net.named_buffers()]) == 7


def test_a_state_dict_is_a_copy_and_loads_into_the_same_arrays() -> None:
    net, other = Net(), Net()
    arrays = {path: stored.data for path, stored in other.named_stored()}
    state = net.state_dict()
    assert other.load_state_dict(state) == ([], [])
    for path, stored in other.named_stored():
        assert stored.data is arrays[path]
    np.testing.assert_array_equal(other.scale.data, net.scale.data)
    state["scale"][...] = 9
    assert net.scale.data[0] == 1


def test_names_that_differ_are_listed_and_nothing_is_loaded() -> None:
    net = Net()
    state = net.state_dict()
    before = net.state_dict()
    state["stages.0.conv.wieght"] = state.pop("stages.0.conv.weight") + 1
    state["head.out.bias"] += 1
    with pytest.raises(ArgumentError) as caught:
        net.load_state_dict(state)
    assert str(caught.value).splitlines()[0] == (
        "load_state_dict: Net and the given state differ: 1 missing and 1 unexpected names"
    )
    assert caught.value.notes == ("missing: stages.0.conv.weight",
                                  "unexpected: stages.0.conv.wieght; did you mean stages.0.conv.weight?")  # fmt: skip
    np.testing.assert_array_equal(net.head["out"].bias.data, before["head.out.bias"])  # type: ignore[union-attr]
    assert net.load_state_dict(state, strict=False) == (["stages.0.conv.weight"], ["stages.0.conv.wieght"])


def test_wrong_shapes_and_types_are_named_before_anything_is_loaded() -> None:
    net = Net()
    state = net.state_dict()
    state["scale"] = state["scale"] + 1
    with pytest.raises(ShapeError) as caught:
        net.load_state_dict(state | {"head.out.weight": np.zeros((3, 5), np.float32)}, strict=False)
    assert caught.value.cause == "head.out.weight: shape [3, 5] was given, it has [3, 2]"
    with pytest.raises(DTypeError) as other:
        net.load_state_dict(state | {"head.out.bias": np.zeros(3, np.int64)})
    assert other.value.cause == "head.out.bias: int64 was given, it holds float32"
    assert net.scale.data[0] == 1


def test_modules_print_as_a_tree() -> None:
    assert repr(Net()) == "\n".join([
        "Net(",
        "  (stages): ModuleList(",
        "    (0): Block(",
        "      (conv): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))",
        "      (norm): BatchNorm2d(2, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)",
        "    )",
        "    (1): Block(",
        "      (conv): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))",
        "      (norm): BatchNorm2d(2, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)",
        "    )",
        "  )",
        "  (head): ModuleDict(",
        "    (out): Linear(in_features=2, out_features=3, bias=True)",
        "  )",
        "  (tail): Sequential(",
        "    (0): ReLU()",
        "    (1): Dropout(p=0.1)",
        "  )",
        ")",
    ])  # fmt: skip


def test_a_summary_shows_layers_shapes_and_counts() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    assert net.summary(spec("N", 1, 4, 4)) == "\n".join([
        "layer         output        parameters",
        "--------------------------------------",
        "Sequential    f32[N,3]",
        "  0: Conv2d   f32[N,2,2,2]          20",
        "  1: ReLU     f32[N,2,2,2]           0",
        "  2: Flatten  f32[N,8]               0",
        "  3: Linear   f32[N,3]              27",
        "--------------------------------------",
        "parameters: 47 (188 bytes)",
    ])  # fmt: skip


def test_modes_and_gradients_are_set_for_all_parts() -> None:
    net = Net()
    assert net.training and net.tail[1].training
    assert net.eval() is net and not net.tail[1].training
    assert net.train().tail[1].training
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    seen: list[str] = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen[-1] == "Net" and len(seen) == len(list(net.modules()))


def test_a_module_converts_its_floats() -> None:
    net = Net().to("f64")
    assert {str(a.dtype) for a in net.state_dict().values()} == {"float64", "int64"}
    with pytest.raises(ArgumentError, match="to: i64 is not a float type"):
        net.to("i64")


def test_copies_and_pickles_have_names_and_arrays_of_their_own() -> None:
    net = Net()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert list(twin.state_dict()) == list(net.state_dict())
        assert twin.scale.data is not net.scale.data
        names = [v.op.name_ for v, _ in trace(lambda x, t=twin: t(x), (spec("N", 1, 4, 4),)).sources]  # type: ignore[union-attr]
        assert "stages.0.conv.weight" in names and "head.out.bias" in names


def test_plain_containers_of_modules_are_refused() -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            self.layers = [nn.Linear(1, 1)]

    with pytest.raises(ArgumentError) as caught:
        Wrong()
    assert caught.value.cause == "Wrong.layers: a plain list of modules or parameters"
    assert caught.value.help.endswith("use nn.ModuleList([...])")


def test_a_parameter_is_not_replaced_by_something_else() -> None:
    net = Net()
    with pytest.raises(ArgumentError) as caught:
        net.scale = np.zeros(1)  # type: ignore[assignment]
    assert caught.value.cause == "Net.scale is a parameter, ndarray was given"
    net.scale = nn.Parameter(np.full(1, 5.0))
    assert net.state_dict()["scale"][0] == 5


def test_containers_index_grow_and_refuse() -> None:
    layers = nn.ModuleList([nn.ReLU()]).extend([nn.Tanh(), nn.Sigmoid()])
    layers.insert(0, nn.ELU())
    assert [type(m).__name__ for m in layers] == ["ELU", "ReLU", "Tanh", "Sigmoid"]
    assert len(layers[1:]) == 3 and type(layers[-1]).__name__ == "Sigmoid"
    row = nn.Sequential({"a": nn.ReLU(), "b": nn.Tanh()})
    assert [name for name, _ in row.named_children()] == ["a", "b"] and len(row[:1]) == 1
    with pytest.raises(ArgumentError, match="ModuleList: there is no module 7"):
        layers[7]
    with pytest.raises(ArgumentError, match="Sequential: function is not a module"):
        nn.Sequential(lambda x: x)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="ModuleDict: there is no module 'x'"):
        nn.ModuleDict({})["x"]


def test_stored_tensors_own_their_arrays_and_take_f32_from_numbers() -> None:
    source = np.arange(6, dtype=np.float64).reshape(2, 3).T
    parameter = nn.Parameter(source)
    assert parameter.data.flags.c_contiguous and parameter.data is not source and parameter.data.dtype == np.float64
    assert nn.Parameter([1.0, 2.0]).data.dtype == np.float32
    assert str(parameter) == "Parameter(f64[3,2])"
    np.testing.assert_array_equal(np.asarray(parameter), source)


def test_a_buffer_refuses_another_shape() -> None:
    buffer = nn.Buffer(np.zeros(3, np.float32))
    buffer.assign(np.ones(3))
    assert buffer.data.tolist() == [1, 1, 1]
    with pytest.raises(ShapeError, match=r"assign: f32\[2\] was given, buffer is f32\[3\]"):
        buffer.assign(np.ones(2))


def test_a_seed_gives_the_same_weights_each_time() -> None:
    manual_seed(7)
    first = nn.Linear(3, 3).state_dict()
    manual_seed(7)
    second = nn.Linear(3, 3).state_dict()
    third = nn.Linear(3, 3).state_dict()
    np.testing.assert_array_equal(first["weight"], second["weight"])
    assert not np.array_equal(second["weight"], third["weight"])
    with pytest.raises(ArgumentError, match="manual_seed: -1 is not a seed"):
        manual_seed(-1)


def test_a_modules_signature_is_that_of_what_computes() -> None:
    class Own(nn.Module):
        def __call__(self, left: Tensor, right: Tensor) -> Tensor:
            return left + right

    assert list(inspect.signature(Own()).parameters) == ["left", "right"]
    assert list(inspect.signature(Block()).parameters) == ["x"]
    assert list(inspect.signature(nn.Linear).parameters) == ["in_features", "out_features", "bias", "dtype"]
