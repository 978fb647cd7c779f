"""Dilated convolutions along one axis, taken apart into interleaved ones."""

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
from chainrule.passes.interleave import interleaved
from chainrule.passes.layout import ChannelsLast
from tests.ops.sample import normal

# length, kernel, dilation, pads
LINES = [(20, 3, 2, (0, 0)), (19, 3, 3, (2, 1)), (7, 3, 3, (0, 0)), (30, 5, 4, (0, 5)), (8, 3, 2, (3, 0))]


def convolved(length: int, kernel: int, dilation: int, pad: tuple[int, int], batch: int | str = 2,
              channels: tuple[int, int] = (5, 7)) -> tuple[Graph, list[Array]]:  # fmt: skip
    """A dilated convolution with its bias, and the weights."""
    ins, outs = channels
    arrays = [normal(outs, ins, kernel, seed=1), normal(outs, seed=2)]
    x = new_input("x", tensor("f32", (batch, ins, length)))
    w, b = (new_input(n, tensor("f32", a.shape), "param") for n, a in zip("wb", arrays, strict=True))
    return Graph("g", (x, w, b), (build(Conv((1,), pad, (dilation,), 1), x, w, b),)), arrays


@pytest.mark.parametrize("batch", [2, "N"])
@pytest.mark.parametrize("line", LINES, ids=str)
def test_the_sums_stay_the_same(line: tuple[int, int, int, tuple[int, int]], batch: int | str) -> None:
    graph, weights = convolved(*line, batch=batch)
    after = ChannelsLast(winograd="2").run(graph, Notes())
    assert any(isinstance(n.op, WinogradConv) for n in after.nodes)
    x = normal(2, 5, line[0], seed=3)
    (expected,), (got,) = (run(g, [x, *weights], precise=True) for g in (graph, after))
    assert got.shape == expected.shape
    assert models_agree(got, expected)


def test_a_program_with_tiles_agrees_with_the_reference() -> None:
    graph, weights = convolved(151, 3, 3, (1, 0), batch="N", channels=(96, 160))
    made = LlvmExecutable(graph, weights, threads=1)
    assert "winograd" in " ".join(step.code.name for step in made.steps)
    for n in (1, 2):
        x = normal(n, 96, 151, seed=3)
        (got,), (expected,) = made.run([x]), run(graph, [x, *weights], precise=True)
        assert models_agree(got, expected)


def test_strict_precision_keeps_direct_sums() -> None:
    graph, _ = convolved(151, 3, 3, (1, 0), channels=(96, 160))
    after, _ = pipeline(name="strict").run(graph)
    assert not any(isinstance(n.op, WinogradConv) for n in after.nodes)


def test_small_ones_strides_and_groups_stay_as_they_are() -> None:
    graph, _ = convolved(20, 3, 2, (0, 0))
    after = ChannelsLast().run(graph, Notes())
    assert any(isinstance(n.op, PanelConv) for n in after.nodes)
    x, w = new_input("x", tensor("f32", (1, 4, 30))), new_input("w", tensor("f32", (4, 2, 3)))
    grouped = Conv((1,), (0, 0), (2,), 2)
    assert interleaved(build(grouped, x, w), grouped) is None
    full = new_input("v", tensor("f32", (4, 4, 3)))
    strided = Conv((2,), (0, 0), (2,), 1)
    assert interleaved(build(strided, x, full), strided) is None
