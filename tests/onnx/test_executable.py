"""backend="onnxruntime" runs a model as the other backends do."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, ShapeError
from chainrule.ops.tolerance import OTHER_FRAMEWORK, models_agree


def test_a_model_gives_what_the_reference_gives() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 2))
    spec = cr.spec("N", 4)
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    found = cr.compile(net, spec, backend="onnxruntime", threads=1)(x)
    assert models_agree(found, cr.compile(net, spec, backend="reference")(x).astype(np.float64), OTHER_FRAMEWORK)


def test_weights_that_were_changed_are_taken_over_by_refresh() -> None:
    net = nn.Linear(2, 1, bias=False)
    made = cr.compile(net, cr.spec("N", 2), backend="onnxruntime")
    net.weight.load(np.float32([[1.0, 2.0]]))
    made.refresh()
    assert made(np.float32([[3.0, 4.0]])).tolist() == [[11.0]]


def test_a_training_step_changes_the_parameters_in_place() -> None:
    def step_with(backend: str) -> cr.Step:
        cr.manual_seed(0)
        net = nn.Linear(3, 2)
        return cr.training_step(net, cr.mse_loss, optim.SGD(0.1, momentum=0.9),
                                (cr.spec("N", 3), cr.spec("N", 2)), backend=backend)  # fmt: skip

    rng = np.random.default_rng(0)
    ours, theirs = step_with("reference"), step_with("onnxruntime")
    before = {name: array.copy() for name, array in theirs.state.items()}
    for _ in range(3):
        x, y = (rng.standard_normal((4, n)).astype(np.float32) for n in (3, 2))
        assert models_agree(np.float32(theirs(x, y)), np.float64(ours(x, y)), OTHER_FRAMEWORK)
    assert all(not np.array_equal(array, before[name]) for name, array in theirs.state.items() if name[:6] == "params")
    for name, array in theirs.state.items():
        assert models_agree(array, np.asarray(ours.state[name], np.float64), OTHER_FRAMEWORK), name


def test_sizes_that_disagree_are_a_shape_error() -> None:
    made = cr.compile(lambda a, b: a + b, cr.spec("N"), cr.spec("N"), backend="onnxruntime")
    with pytest.raises(ShapeError, match="axis 0 is 3, N was declared"):
        made(np.zeros(2, np.float32), np.zeros(3, np.float32))


def test_an_index_out_of_range_is_an_argument_error() -> None:
    made = cr.compile(nn.Embedding(4, 2), cr.spec("N", dtype="i64"), backend="onnxruntime")
    with pytest.raises(ArgumentError, match="onnxruntime refused the call"):
        made(np.int64([7]))


def test_half_precision_crosses_the_border_both_ways() -> None:
    made = cr.compile(lambda x: x * 2, cr.spec(3, dtype="bf16"), backend="onnxruntime")
    x = np.float32([1.0, -0.5, 3.0]).astype(made.input_types[0].dtype.numpy)
    found = made(x)
    assert found.dtype == x.dtype
    assert found.astype(np.float32).tolist() == [2.0, -1.0, 6.0]
