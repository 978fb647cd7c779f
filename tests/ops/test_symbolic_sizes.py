"""Models with symbolic sizes differentiate, and mean for every size what the model of that size means."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from chainrule.backends.reference import run
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.parse import parse
from chainrule.ir.text import text
from chainrule.ir.types import TensorType, tensor, type_of
from chainrule.ops import OP_BY_NAME
from chainrule.ops.arithmetic import square
from chainrule.ops.conv import conv, conv_transpose
from chainrule.ops.einsum import einsum
from chainrule.ops.losses import mse_loss
from chainrule.ops.losses_class import cross_entropy
from chainrule.ops.matmul import linear, matmul
from chainrule.ops.norm import batch_norm_training, group_norm, instance_norm, layer_norm, local_response_norm, rms_norm
from chainrule.ops.pool import avg_pool, max_pool, max_pool_with_indices
from chainrule.ops.pools import adaptive_avg_pool, global_max_pool
from chainrule.ops.reduce import mean, sum
from chainrule.passes.autodiff import gradients
from tests.ops.sample import distinct, integers, normal

Array = np.ndarray
Model = Callable[[Value, Value], Value]

IMAGES: list[tuple[str, Model]] = [
    ("strided, ceil", lambda x, w: max_pool(conv(x, w, stride=2, pad=(2, 1, 0, 1)), 3, 2, 1, ceil_mode=True)),
    ("dilated", lambda x, w: avg_pool(conv(x, w, dilation=(2, 1), pad=2), (3, 2), (2, 3), (1, 0, 0, 1), True, False)),
    ("up again", lambda x, w: conv_transpose(conv(x, w, None, 2, 1), w, None, (2, 3), (1, 0), output_padding=(1, 2))),
    ("indices", lambda x, w: max_pool_with_indices(conv(x, w), 2)[0]),
    ("whole images", lambda x, w: global_max_pool(conv(x, w, pad="same"))),
    ("adaptive", lambda x, w: adaptive_avg_pool(conv(x, w, groups=1), 1)),
    ("batch norm", lambda x, w: batch_norm_training(conv(x, w), mean(w, (1, 2, 3)), sum(w, (1, 2, 3)))[0]),
    ("group norm", lambda x, w: group_norm(conv(x, w), 2)),
    ("instance norm", lambda x, w: instance_norm(conv(x, w), mean(w, (1, 2, 3)))),
    ("response norm", lambda x, w: local_response_norm(conv(x, w), 3)),
    ("attention", lambda x, w: einsum("nchw,ncij,ockl->nohj", x, x, w)),
]


def _gradient(model: Model, types: tuple[TensorType, TensorType]) -> Graph:
    """The model's result and its gradients, from inputs of these types."""
    x, w = (new_input(name, type) for name, type in zip(("x", "w"), types))
    y = model(x, w)
    loss = sum(square(y))
    found = gradients([loss], [x, w])
    return Graph("model", (x, w), (y, *(g for g in found if g is not None)))


@pytest.mark.parametrize("model", [pytest.param(m, id=name) for name, m in IMAGES])
def test_image_models_hold_for_every_batch_and_size(model: Model) -> None:
    weight = normal(2, 2, 3, 3, seed=1, dtype="float64")
    free = _gradient(model, (tensor("f64", ("N", 2, "H", "W")), type_of(weight)))
    for shape in ((1, 2, 7, 7), (2, 2, 8, 11), (3, 2, 9, 10)):
        image = distinct(*shape, dtype="float64") * 0.37
        fixed = _gradient(model, (type_of(image), type_of(weight)))
        wanted = run(fixed, [image, weight])
        for got, want in zip(run(free, [image, weight]), wanted, strict=True):
            assert got.shape == want.shape
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("model", [pytest.param(m, id=name) for name, m in IMAGES])
def test_graphs_with_sizes_among_their_attributes_are_read_back_from_text(model: Model) -> None:
    graph = _gradient(model, (tensor("f64", ("N", 2, "H", "W")), tensor("f64", (2, 2, 3, 3))))
    written = text(graph, places=False)
    assert text(parse(written, OP_BY_NAME), places=False) == written


def _attend(x: Value, w: Value) -> Value:
    scores = matmul(layer_norm(x), rms_norm(linear(x, w)), transpose_b=True)
    return matmul(scores, x)


def test_sequence_models_hold_for_every_batch_and_length() -> None:
    weight = normal(4, 4, seed=1, dtype="float64")
    free = _gradient(_attend, (tensor("f64", ("N", "T", 4)), type_of(weight)))
    for shape in ((1, 1, 4), (2, 5, 4), (0, 3, 4), (3, 0, 4)):
        x = normal(*shape, dtype="float64")
        wanted = run(_gradient(_attend, (type_of(x), type_of(weight))), [x, weight])
        for got, want in zip(run(free, [x, weight]), wanted, strict=True):
            np.testing.assert_array_equal(got, want)


def test_mean_losses_divide_by_the_size_at_hand() -> None:
    x, t = new_input("x", tensor("f64", ("N", "C", "T"))), new_input("t", tensor("i64", ("N", "T")))
    y = new_input("y", tensor("f64", ("N", "C", "T")))
    graph = Graph("losses", (x, t, y), (cross_entropy(x, t, label_smoothing=0.1), mse_loss(x, y)))
    for n, c, length in ((2, 3, 4), (1, 5, 1)):
        x64, y64 = normal(n, c, length, dtype="float64"), normal(n, c, length, seed=1, dtype="float64")
        arrays = [x64, integers(0, c, n, length), y64]
        inputs = [new_input("x", type_of(a)) for a in arrays]
        fixed = (cross_entropy(inputs[0], inputs[1], label_smoothing=0.1), mse_loss(inputs[0], inputs[2]))
        wanted = run(Graph("fixed", tuple(inputs), fixed), arrays)
        np.testing.assert_array_equal(run(graph, arrays), wanted)
