"""Images with their channels last: where copies are made, where weights are packed, and that the meaning stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from chainrule.backends.llvm.target import gemm_tiles, named_target
from chainrule.backends.reference import run
from chainrule.errors import ArgumentError
from chainrule.ir.graph import Graph, Value, build, new_input
from chainrule.ir.types import as_dtype, tensor
from chainrule.ops.activations import relu
from chainrule.ops.conv import ConvTranspose, conv, conv_transpose
from chainrule.ops.elementwise import add, mul, sub
from chainrule.ops.lowered import ChannelConv, PackKernel, PackPanels, PanelConv, PanelMatMul, PoolLast
from chainrule.ops.lowered_pairs import PairConv, PairMatMul
from chainrule.ops.lowered_winograd import WinogradConv
from chainrule.ops.matmul import MatMul, matmul
from chainrule.ops.pool import avg_pool, max_pool
from chainrule.ops.pools import global_avg_pool
from chainrule.ops.reduce import amax, mean
from chainrule.ops.reduce import sum as total
from chainrule.ops.shaping import Transpose, concat, expand, flip, narrow, pad_constant, reshape, transpose
from chainrule.ops.tolerance import models_agree
from chainrule.passes.autodiff import gradients
from chainrule.passes.base import Notes
from chainrule.passes.canonicalize import Canonicalize
from chainrule.passes.layout import ChannelsLast
from chainrule.passes.mixed import CastProducts
from chainrule.passes.pack import PackWeights, even_width
from tests.ops.sample import normal

Array = np.ndarray


def lowered(graph: Graph, pairs: bool = False) -> tuple[Graph, Notes]:
    """The graph with channels last and weights packed, and what the passes said."""
    notes = Notes()
    for step in (ChannelsLast(pairs=pairs), PackWeights(), Canonicalize()):
        graph = step.run(graph, notes)
    return graph, notes


def count(graph: Graph, *ops: type) -> int:
    """How many nodes of these ops that depend on a call's inputs: what is computed per call."""
    live = set(graph.by_role("input"))
    for node in graph.nodes:
        if any(v in live for v in node.inputs):
            live.add(node)
    return sum(isinstance(node.op, ops) for node in live)


def agree(graph: Graph, seed: int = 0) -> bool:
    """True when the lowered graph computes what the graph does."""
    arrays = [normal(*(2 if not isinstance(d, int) else d for d in v.shape), seed=seed + i)
              for i, v in enumerate(graph.inputs)]  # fmt: skip
    after, _ = lowered(graph)
    return all(models_agree(got, wanted) and got.shape == wanted.shape for got, wanted in
               zip(run(after, arrays, precise=True), run(graph, arrays, precise=True), strict=True))  # fmt: skip


def image(channels: int, size: int = 8, batch: int | str = 2) -> Value:
    return new_input("x", tensor("f32", (batch, channels, size, size)))


def weight(name: str, *shape: int) -> Value:
    return new_input(name, tensor("f32", shape), "param")


def lenet() -> Graph:
    x = image(1, 12)
    weights = [weight("w", 6, 1, 5, 5), weight("b", 6), weight("v", 16, 6, 3, 3), weight("f", 10, 64), weight("c", 10)]
    w, b, v, f, c = weights
    y = max_pool(relu(conv(x, w, b, pad=2)), 2)
    y = max_pool(relu(conv(y, v)), 2)
    y = add(matmul(reshape(y, (2, 64)), f, transpose_b=True), c)
    return Graph("lenet", (x, *weights), (y,))


def test_a_network_of_convolutions_pools_and_a_classifier_needs_no_transpose() -> None:
    graph = lenet()
    after, notes = lowered(graph)
    assert count(after, Transpose) == 0
    assert (count(after, PanelConv), count(after, PoolLast), count(after, PanelMatMul)) == (2, 2, 1)
    assert notes.counts["weight follows a flattened image"] == 1
    assert agree(graph)


def test_weights_are_packed_by_nodes_that_depend_on_them_alone() -> None:
    after, _ = lowered(lenet())
    packs = [n for n in after.nodes if isinstance(n.op, PackKernel | PackPanels)]
    assert len(packs) == 3
    assert count(after, PackKernel, PackPanels) == 0


def test_a_graph_without_convolution_is_left_as_it_is() -> None:
    x = image(3)
    graph = Graph("g", (x,), (max_pool(relu(x), 2),))
    assert ChannelsLast().run(graph, Notes()) is graph


def test_a_convolution_between_images_is_transposed_at_the_edges_only() -> None:
    x, w, v = image(3), weight("w", 5, 3, 3, 3), weight("v", 4, 5, 3, 3)
    graph = Graph("g", (x, w, v), (conv(relu(conv(x, w, pad=1)), v, pad=1),))
    after, _ = lowered(graph)
    assert count(after, Transpose) == 2
    assert agree(graph)


def test_the_transpose_of_an_image_meets_that_of_the_user_and_both_vanish() -> None:
    x, w = new_input("x", tensor("f32", (2, 8, 8, 3))), weight("w", 5, 3, 3, 3)
    y = transpose(conv(transpose(x, (0, 3, 1, 2)), w, pad=1), (0, 2, 3, 1))
    graph = Graph("g", (x, w), (y,))
    after, _ = lowered(graph)
    assert count(after, Transpose) == 0
    assert agree(graph)


def test_a_global_pool_and_a_classifier_need_no_transpose() -> None:
    x, w, f = image(1), weight("w", 5, 1, 3, 3), weight("f", 5, 4)
    graph = Graph("g", (x, w, f), (matmul(reshape(global_avg_pool(conv(x, w)), (2, 5)), f),))
    after, _ = lowered(graph)
    assert count(after, Transpose) == 0
    assert agree(graph)


def test_a_one_by_one_convolution_is_a_product() -> None:
    x, w, b = image(1), weight("w", 20, 1, 1, 1), weight("b", 20)
    graph = Graph("g", (x, w, b), (conv(x, w, b),))
    after, _ = lowered(graph)
    assert (count(after, PanelMatMul), count(after, PanelConv)) == (1, 0)
    assert agree(graph)


def test_a_depthwise_convolution_has_an_op_of_its_own_and_its_transpose_too() -> None:
    x, w = image(6), weight("w", 6, 1, 3, 3)
    back = build(ConvTranspose((2, 2), (1,) * 4, (1, 1), 6, (1, 1)), conv(x, w, groups=6), w)
    graph = Graph("g", (x, w), (back,))
    after, _ = lowered(graph)
    assert (count(after, ChannelConv), count(after, PanelConv)) == (2, 0)
    assert agree(graph)


def followers(y: Value) -> Sequence[tuple[str, Value]]:
    """What may stand behind a convolution, by name. y: [2, 4, 6, 6]."""
    c = weight("c", 4, 1, 1)
    return [
        ("a product with a channel's number", mul(y, c)),
        ("a number", mul(y, expand(reshape(c, (1, 4, 1, 1)), (2, 4, 6, 6)))),
        ("a difference from the mean of each channel", sub(y, mean(y, (0, 2, 3), keepdims=True))),
        ("a maximum that drops the image", amax(y, (2, 3))),
        ("a sum that drops the batch", total(y, (0,))),
        ("a sum over channels", total(y, (1,), keepdims=True)),
        ("a concatenation of channels", concat([y, relu(y)], 1)),
        ("a concatenation of rows", concat([y, y], 2)),
        ("a border", pad_constant(y, (0, 0, 1, 2), (0, 1, 0, 0), 3.0)),
        ("a part of the channels", narrow(y, 1, 1, 2)),
        ("a part of the rows", narrow(y, 2, 1, 3)),
        ("a mirror image", flip(y, (1, 3))),
        ("one row of pixels", reshape(y, (2, 4, 36))),
        ("other axes", reshape(y, (2, 2, 2, 6, 6))),
        ("a turned image", transpose(y, (3, 0, 1, 2))),
        ("an average", avg_pool(y, 3, 2, 1)),
        ("a spread image", conv_transpose(y, weight("t", 4, 3, 2, 2), stride=2)),
    ]


@pytest.mark.parametrize("index", range(17))
def test_what_follows_a_convolution_keeps_its_meaning(index: int) -> None:
    x, w = image(3), weight("w", 4, 3, 3, 3)
    _, result = followers(conv(x, w))[index]
    inputs = tuple(v for v in Graph("g", (), (result,)).nodes if not v.inputs and v.op.name == "input")
    assert agree(Graph("g", inputs, (result, relu(result))))


@pytest.mark.parametrize(("groups", "kernel", "pad", "way"), [
    (1, 3, 1, "panels"), (1, 1, 0, "product"), (1, 1, 1, "panels"), (4, 3, 1, "channels"), (2, 3, 1, "panels"),
])  # fmt: skip
def test_the_way_of_a_convolution_is_chosen_with_a_reason(groups: int, kernel: int, pad: int, way: str) -> None:
    x, w = image(4), weight("w", 4, 4 // groups, kernel, kernel)
    graph = Graph("g", (x, w), (conv(x, w, pad=pad, groups=groups),))
    _, notes = lowered(graph)
    assert any(what.startswith(f"convolution: {way} (") for what in notes.counts)
    assert agree(graph)


@pytest.mark.parametrize(("channels", "size", "options", "way"), [
    (64, 56, {}, "winograd (F(4x4, 3x3) at "), (128, 28, {}, "winograd (F(4x4, 3x3) at "),
    (512, 7, {}, "winograd (F(2x2, 3x3) at "), (4, 8, {}, "panels (too little work for tiles)"),
    (64, 56, {"stride": 2}, "panels (stride: direct sums)"),
    (64, 56, {"dilation": 2}, "panels (dilation: direct sums)"),
    (64, 56, {"groups": 2}, "panels (groups: no tiles)"),
])  # fmt: skip
def test_tiles_are_chosen_by_sizes_with_a_reason(channels: int, size: int, options: dict[str, int], way: str) -> None:
    x = image(channels, size, "N")
    w = weight("w", channels, channels // options.get("groups", 1), 3, 3)
    _, notes = lowered(Graph("g", (x, w), (conv(x, w, pad=1, **options),)))
    assert any(what.startswith(f"convolution: {way}") for what in notes.counts), notes.counts


@pytest.mark.parametrize(("kernel", "stride", "channels", "way", "made"), [
    (3, 1, 64, "winograd (F(4x4, 3x3) at ", WinogradConv), (3, 2, 64, "panels (stride", PairConv),
    (1, 1, 64, "product (", PairMatMul), (1, 1, 63, "panels (", PairConv), (7, 2, 4, "panels (", PairConv),
])  # fmt: skip
def test_bf16_is_multiplied_in_pairs_unless_tiles_of_f32_save_more(
    kernel: int, stride: int, channels: int, way: str, made: type
) -> None:
    x, w = (new_input(n, tensor("bf16", s), r) for n, s, r in (
        ("x", (1, channels, 56, 56), "input"), ("w", (64, channels, kernel, kernel), "param")))  # fmt: skip
    graph = Graph("g", (x, w), (conv(x, w, stride=stride, pad=kernel // 2),))
    after, notes = lowered(graph, pairs=True)
    assert count(after, made) == 1, notes.counts
    assert any(what.startswith(f"convolution: {way}") for what in notes.counts), notes.counts
    without, _ = lowered(graph)
    assert count(without, PairConv, PairMatMul) == 0


def test_weights_of_mixed_precision_are_rounded_once_when_they_are_packed() -> None:
    x, w = image(6), weight("w", 8, 6, 3, 3)
    graph = CastProducts().run(Graph("g", (x, w), (conv(x, w, pad=1),)), Notes())
    after, _ = lowered(graph, pairs=True)
    (packed,) = (n for n in after.nodes if isinstance(n.op, PackKernel))
    assert packed.inputs[0] is w
    assert count(after, PairConv) == 1


def test_the_gradient_for_the_image_is_made_by_tiles_as_well() -> None:
    x, w = image(64, 56), weight("w", 64, 64, 3, 3)
    (grad,) = gradients([total(conv(x, w, pad=1))], [x])
    assert grad is not None
    after, notes = lowered(Graph("g", (x, w), (grad,)))
    assert any(what.startswith("transposed convolution: winograd (F(4x4, 3x3)") for what in notes.counts)
    assert count(after, PanelConv) == 0


def test_a_weight_that_a_step_changes_is_worth_transforming_for_many_tiles_only() -> None:
    x, w = image(256, 7, 1), weight("w", 256, 256, 3, 3)
    y = conv(x, w, pad=1)
    still, step = Graph("g", (x, w), (y,)), Graph("g", (x, w), (y,), ((w, mul(w, w)),))
    assert any("convolution: winograd" in what for what in lowered(still)[1].counts)
    assert any("too little gained" in what for what in lowered(step)[1].counts)


def test_the_option_of_tiles_is_one_of_its_words() -> None:
    with pytest.raises(ArgumentError, match="winograd is 'often'"):
        ChannelsLast(winograd="often")


def test_a_sum_of_branches_is_taken_with_channels_last() -> None:
    x, w, v = image(1), weight("w", 4, 1, 3, 3), weight("v", 4, 4, 3, 3)
    y = relu(conv(x, w, pad=1))
    graph = Graph("g", (x, w, v), (global_avg_pool(relu(add(conv(y, v, pad=1), y))),))
    after, _ = lowered(graph)
    assert count(after, Transpose) == 0
    assert agree(graph)


def test_a_weight_that_a_step_updates_is_not_permuted_per_call() -> None:
    graph = lenet()
    weights = graph.inputs[1:]
    loss = total(mul(graph.outputs[0], graph.outputs[0]))
    found = gradients([loss], weights)
    updates = tuple((w, sub(w, g)) for w, g in zip(weights, found, strict=True) if g is not None)
    step = graph.replace(outputs=(loss,), updates=updates)
    _, notes = lowered(step)
    assert notes.counts["weight follows a flattened image"] == 0
    assert agree(step)


def test_a_product_of_two_activations_is_not_packed() -> None:
    a, b = new_input("a", tensor("f32", (3, 4))), new_input("b", tensor("f32", (4, 5)))
    graph = Graph("g", (a, b), (build(MatMul(), a, b),))
    assert PackWeights().run(graph, Notes()) is graph


@pytest.mark.parametrize("target", ["x86-64-v4", "x86-64-v3", "x86-64-v2", "aarch64"])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_panels_are_whole_half_vectors(target: str, dtype: str) -> None:
    """Kernels write half vectors of 32 bytes without a mask."""
    tiles = gemm_tiles(named_target(target))
    for columns in range(1, 200):
        width = even_width(columns, tiles, as_dtype(dtype))
        assert width * as_dtype(dtype).itemsize % 32 == 0
