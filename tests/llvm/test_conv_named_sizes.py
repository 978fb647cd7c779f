"""Convolutions whose images have named sizes: one program for every size, in any order."""

from __future__ import annotations

import pytest

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.pipeline import pipeline
from chainrule.backends.llvm.target import host_target
from chainrule.backends.reference import run
from chainrule.ir.graph import Graph, new_input
from chainrule.ir.types import f32, tensor
from chainrule.ops.activations import relu
from chainrule.ops.conv import conv
from chainrule.ops.pool import max_pool
from chainrule.ops.tolerance import models_agree
from tests.llvm.guarded_programs import guarded_run
from tests.ops.sample import normal


@pytest.mark.parametrize(("stride", "pad", "taps"), [(1, 1, 3), (2, 1, 3), (1, 0, 3), (2, 3, 7)])
def test_depthwise_rows_of_any_length_stay_within_the_image(stride: int, pad: int, taps: int) -> None:
    x, w = new_input("x", tensor("f32", ("N", 20, "H", "W"))), new_input("w", tensor("f32", (20, 1, taps, taps)))
    graph = Graph("g", (x, w), (conv(x, w, stride=stride, pad=pad, groups=20),))
    made, weight = LlvmExecutable(graph, [], threads=1), normal(20, 1, taps, taps, seed=1)
    for n, high, wide in ((1, 8, 8), (2, 7, 3), (1, 5, 30), (0, 8, 8), (3, 7, 17), (1, 9, 1), (1, 7, 7)):
        image = normal(n, 20, high + taps, wide + taps - 1)
        (got,), (expected,) = guarded_run(made, [image, weight]), run(graph, [image, weight], precise=True)
        assert got.dtype == f32.numpy and got.shape == expected.shape and models_agree(got, expected), (n, high, wide)


@pytest.mark.parametrize(("dilation", "pad"), [(2, 0), (3, 3), (3, 1)])
def test_dilated_convolutions_of_any_number_of_frames_are_taken_apart(dilation: int, pad: int) -> None:
    weight = normal(256, 256, 3, seed=1)
    x, w = new_input("x", tensor("f32", ("N", 256, "T"))), new_input("w", tensor("f32", weight.shape), "param")
    graph = Graph("g", (x, w), (conv(x, w, dilation=dilation, pad=pad),))
    made = LlvmExecutable(graph, [weight], threads=1)
    assert any(fn.name.startswith("winograd") for fn in made.functions)
    for n, frames in ((1, 50), (2, 7), (1, 9), (0, 20), (3, 31), (1, 6), (1, 300), (2, 10)):
        sound = normal(n, 256, frames)
        (got,), (expected,) = made.run([sound]), run(graph, [sound, weight], precise=True)
        assert got.shape == expected.shape and models_agree(got, expected), (n, frames)


@pytest.mark.parametrize(("ins", "outs", "taps", "stride", "pad", "pooled"), [
    (40, 70, 3, 2, 1, False), (700, 8, 1, 2, 0, False), (3, 20, 3, 2, 1, False), (130, 64, 3, 2, 1, True),
    (700, 40, 3, 1, 0, True), (3, 8, 3, 1, 1, True)])  # fmt: skip
def test_tiles_of_direct_sums_go_on_from_row_to_row(
    ins: int, outs: int, taps: int, stride: int, pad: int, pooled: bool
) -> None:
    x = new_input("x", tensor("f32", ("N", ins, "H", "W")))
    w = new_input("w", tensor("f32", (outs, ins, taps, taps)))
    y = relu(conv(x, w, stride=stride, pad=pad))
    graph = Graph("g", (x, w), (max_pool(y, (2, 2), (2, 2)) if pooled else y,))
    made = LlvmExecutable(graph, [], threads=1, passes=pipeline(host_target(), "strict"))
    assert not any(fn.name.startswith("winograd") for fn in made.functions)
    weight = normal(*w.shape, seed=1)
    for n, high, wide in ((2, 7, 3), (1, 17, 70), (0, 8, 8), (1, 23, 4)):
        image = normal(n, ins, high, wide)
        (got,), (expected,) = guarded_run(made, [image, weight]), run(graph, [image, weight], precise=True)
        assert got.shape == expected.shape and models_agree(got, expected), (n, high, wide)


@pytest.mark.parametrize("channels", [20, 200])
def test_a_call_chooses_the_form_of_its_blocks_of_tiles(channels: int) -> None:
    x = new_input("x", tensor("f32", ("N", channels, "H", "W")))
    w = new_input("w", tensor("f32", (16, channels, 3, 3)))
    graph = Graph("g", (x, w), (relu(conv(x, w, pad=1)),))
    made, weight = LlvmExecutable(graph, [], threads=1), normal(16, channels, 3, 3, seed=1)
    assert any(fn.name.startswith("winograd_winograd") for fn in made.functions)
    for n, high, wide in ((1, 3, 121), (1, 119, 2), (2, 28, 29), (1, 1, 1), (0, 9, 9), (1, 33, 50), (1, 0, 5)):
        image = normal(n, channels, high, wide)
        (got,), (expected,) = guarded_run(made, [image, weight]), run(graph, [image, weight], precise=True)
        assert got.shape == expected.shape and models_agree(got, expected), (n, high, wide)


@pytest.mark.parametrize(("dilation", "pad", "ins"), [(3, 3, 20), (12, 12, 24), (9, 5, 300)])
def test_taps_that_meet_nothing_but_padding_are_left_out(dilation: int, pad: int, ins: int) -> None:
    x, w = new_input("x", tensor("f32", ("N", ins, "H", "W"))), new_input("w", tensor("f32", (30, ins, 3, 3)))
    named = Graph("g", (x, w), (relu(conv(x, w, pad=pad, dilation=dilation)),))
    made, weight, least = LlvmExecutable(named, [], threads=1), normal(30, ins, 3, 3, seed=1), 2 * (dilation - pad)
    for n, high, wide in ((2, 5, 4), (1, 1, 13), (1, 30, 26), (0, 4, 4)):
        image = normal(n, ins, high + least, wide + least)
        fixed = new_input("x", tensor("f32", image.shape))
        one = LlvmExecutable(Graph("g", (fixed, w), (relu(conv(fixed, w, pad=pad, dilation=dilation)),)), [], threads=1)
        (expected,) = run(named, [image, weight], precise=True)
        for program in (made, one):
            (got,) = guarded_run(program, [image, weight])
            assert got.shape == expected.shape and models_agree(got, expected), (n, high, wide)
