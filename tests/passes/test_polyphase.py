"""Strided convolutions over the phases of their image, made by Winograd's tiles."""

from __future__ import annotations

import pytest

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.pipeline import pipeline
from chainrule.backends.reference import run
from chainrule.ir.graph import Graph, build, new_input
from chainrule.ir.op import Array
from chainrule.ir.types import tensor
from chainrule.ops.conv import Conv
from chainrule.ops.lowered import PanelConv
from chainrule.ops.lowered_winograd import WinogradConv
from chainrule.ops.tolerance import models_agree
from chainrule.passes.base import Notes
from chainrule.passes.layout import ChannelsLast
from chainrule.passes.polyphase import polyphase
from tests.ops.sample import normal

# image, kernel, stride, pads, size of tiles
STRIDED = [
    ((20, 21), (8, 8), (4, 4), (0, 0, 0, 0), 3), ((13, 12), (4, 4), (2, 2), (1, 0, 2, 3), 5),
    ((15, 18), (7, 7), (2, 2), (3, 3, 3, 3), 3), ((23, 23), (11, 11), (4, 4), (2, 2, 2, 2), 4),
    ((9, 10), (3, 3), (2, 2), (1, 1, 1, 1), 5), ((9, 10), (3, 3), (2, 2), (0, 1, 0, 0), 3),
    ((9, 20), (3, 5), (1, 2), (1, 1, 1, 1), 4), ((31,), (8,), (3,), (2, 1), 2),
    ((5, 9, 8), (3, 4, 4), (1, 2, 2), (1, 1, 1, 1, 1, 1), 3),
]  # fmt: skip


def strided(image: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], pad: tuple[int, ...],
            batch: int | str = 2, channels: tuple[int, int] = (5, 7)) -> tuple[Graph, list[Array]]:  # fmt: skip
    """A strided convolution with its bias, and the weights."""
    ins, outs = channels
    arrays = [normal(outs, ins, *kernel, seed=1), normal(outs, seed=2)]
    x = new_input("x", tensor("f32", (batch, ins, *image)))
    w, b = (new_input(n, tensor("f32", a.shape), "param") for n, a in zip("wb", arrays, strict=True))
    conv = Conv(stride, pad, (1,) * len(stride), 1)
    return Graph("g", (x, w, b), (build(conv, x, w, b),)), arrays


@pytest.mark.parametrize("batch", [2, "N"])
@pytest.mark.parametrize("case", STRIDED, ids=str)
def test_the_sums_stay_the_same(case: tuple[tuple[int, ...], ...], batch: int | str) -> None:
    *sizes, tile = case
    graph, weights = strided(*sizes, batch=batch)  # type: ignore[arg-type]
    after = ChannelsLast(winograd=str(tile)).run(graph, Notes())
    assert any(isinstance(n.op, WinogradConv) for n in after.nodes)
    x = normal(2, 5, *sizes[0], seed=3)
    (expected,), (got,) = (run(g, [x, *weights], precise=True) for g in (graph, after))
    assert got.shape == expected.shape
    assert models_agree(got, expected)


def test_a_program_takes_a_first_layer_apart_and_agrees_with_the_reference() -> None:
    graph, weights = strided((96, 96), (7, 7), (2, 2), (3,) * 4, batch="N", channels=(3, 64))
    made = LlvmExecutable(graph, weights, threads=1)
    assert "winograd" in " ".join(step.code.name for step in made.steps)
    for n in (1, 3):
        x = normal(n, 3, 96, 96, seed=3)
        (got,), (expected,) = made.run([x]), run(graph, [x, *weights], precise=True)
        assert models_agree(got, expected)


def test_strict_precision_and_weights_that_change_keep_direct_sums() -> None:
    graph, _ = strided((96, 96), (7, 7), (2, 2), (3,) * 4, channels=(3, 64))
    after, _ = pipeline(name="strict").run(graph)
    assert not any(isinstance(n.op, WinogradConv) for n in after.nodes)
    x, w = new_input("x", tensor("f32", (1, 3, 96, 96))), new_input("w", tensor("f32", (64, 3, 7, 7)))
    free = Graph("g", (x, w), (build(Conv((2, 2), (3,) * 4, (1, 1), 1), x, w),))
    assert any(isinstance(n.op, PanelConv) for n in ChannelsLast().run(free, Notes()).nodes)


def test_three_taps_at_stride_2_stay_direct_where_phases_hold_mostly_zeros() -> None:
    graph, _ = strided((28, 28), (3, 3), (2, 2), (1,) * 4, batch=1, channels=(128, 256))
    assert any(isinstance(n.op, PanelConv) for n in ChannelsLast().run(graph, Notes()).nodes)


@pytest.mark.parametrize(("stride", "dilation", "groups"),
                         [((1, 1), (1, 1), 1), ((2, 2), (2, 2), 1), ((2, 2), (1, 1), 2)])  # fmt: skip
def test_what_has_no_phases_is_left_alone(stride: tuple[int, int], dilation: tuple[int, int], groups: int) -> None:
    x, w = new_input("x", tensor("f32", (1, 4, 30, 30))), new_input("w", tensor("f32", (4, 4 // groups, 3, 3)))
    op = Conv(stride, (0,) * 4, dilation, groups)
    assert polyphase(build(op, x, w), op) is None


def test_a_first_layer_of_seven_taps_takes_tiles_of_six_products() -> None:
    graph, _ = strided((224, 224), (7, 7), (2, 2), (3,) * 4, batch=1, channels=(3, 64))
    (tiles,) = [n.op.tile for n in ChannelsLast().run(graph, Notes()).nodes if isinstance(n.op, WinogradConv)]
    assert tiles == (3, 3)
