"""Convolutions by Winograd's tiles: every size of tile over designed shapes and inputs, fusion, training, threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.pipeline import pipeline
from chainrule.backends.llvm.target import host_target, named_target
from chainrule.backends.loops import verify
from chainrule.backends.reference import run
from chainrule.errors import NotSupported
from chainrule.ir.graph import Graph, Value, build, new_input
from chainrule.ir.types import f32, tensor
from chainrule.ops.activations import relu
from chainrule.ops.basic import Fuse
from chainrule.ops.conv import Conv, conv
from chainrule.ops.elementwise import add, mul
from chainrule.ops.lowered import PackKernel, PanelConv
from chainrule.ops.lowered_winograd import WinogradConv, WinogradWeights
from chainrule.ops.pool import avg_pool, max_pool
from chainrule.ops.reduce import sum as total
from chainrule.ops.tolerance import UNIT, UNITS, Verdict, judge, models_agree, within
from chainrule.passes.autodiff import gradients
from chainrule.passes.base import Pipeline
from chainrule.passes.layout import ChannelsLast
from tests.llvm.compiled import bits_by_threads, complaints, graph_of
from tests.llvm.guarded_programs import guarded_run
from tests.ops.sample import Sample, normal
from tests.ops.samples import SAMPLES

Array = np.ndarray
# Of all that there are points for; those of three taps are what nets are made of.
TAPS_AND_TILES = [(3, 2), (3, 4), (3, 4), (5, 2), (5, 4), (2, 3), (2, 5), (4, 3), (4, 5), (6, 3), (7, 2)]
OURS = [s for s in SAMPLES if s.op.name in ("winograd_conv", "winograd_weights")]


def test_weights_larger_than_the_last_cache_pass_it_by() -> None:
    small = replace(host_target(), l3=64)
    assert complaints([s for s in OURS if isinstance(s.op, WinogradWeights)], target=small) == []


def forced(tile: int, target: str = "host") -> Pipeline:
    """The default passes, with tiles of one size wherever there can be any."""
    found = pipeline(named_target(target))
    return replace(found, passes=tuple(
        replace(p, winograd=str(tile)) if isinstance(p, ChannelsLast) else p for p in found.passes))  # fmt: skip


def compiled(graph: Graph, tile: int, weights: Sequence[Array] = (), target: str = "host",
             threads: int = 1) -> LlvmExecutable:  # fmt: skip
    made = LlvmExecutable(graph, weights, threads=threads, target=named_target(target), passes=forced(tile, target))
    assert any(isinstance(n.op, WinogradConv) for n in inner_nodes(made.graph)), "no tiles were used"
    return made


def inner_nodes(graph: Graph) -> list[Value]:
    """The nodes of a graph and of its regions."""
    return [n for node in graph.nodes for n in (node.op.body.nodes if isinstance(node.op, Fuse) else (node,))]


def verdict_of(sample: Sample, got: Array, tile: int) -> Verdict:
    """Class W of a user's convolution, against its meaning in float64."""
    op, (x, w, *bias) = sample.op, sample.inputs
    assert isinstance(op, Conv)
    rank, kernel = len(op.stride), w.shape[2:]
    tiles = (1,) * (rank - min(rank, 2)) + (tile,) * min(rank, 2)
    held = WinogradWeights(kernel, tiles).ref(PackKernel(16).ref(w))
    last = WinogradConv(kernel, tiles, op.pad[:rank], w.shape[0], got.shape[2:])
    wide = [np.moveaxis(x, 1, -1).astype(np.float64), held.astype(np.float64), *(b.astype(np.float64) for b in bias)]
    scale = np.moveaxis(last.magnitude(*wide), -1, 1)
    precise = op.ref(*(a.astype(np.float64) for a in sample.inputs))
    return within(got, precise, UNITS["W"] * UNIT[f32] * scale)


def sample(ins: int, outs: int, image: tuple[int, ...], pad: Sequence[int], *, taps: int = 3, batch: int = 1,
           bias: bool = True, label: str = "") -> Sample:  # fmt: skip
    rank = len(image)
    extra = (normal(outs, seed=2),) if bias else ()
    op = Conv((1,) * rank, tuple(pad), (1,) * rank)
    return Sample(op, (normal(batch, ins, *image), normal(outs, ins, *(taps,) * rank, seed=1), *extra), label)


@pytest.mark.parametrize("target", ["host", "x86-64-v3", "x86-64-v2"])
def test_samples_are_within_their_tolerance(target: str) -> None:
    made = LlvmExecutable(graph_of(OURS), [], threads=1, target=named_target(target))
    results = made.run([np.ascontiguousarray(x) for s in OURS for x in s.inputs])
    for s, y in zip(OURS, results, strict=True):
        verdict = judge(s.op, s.inputs, y)
        assert verdict, f"{s.id}: {verdict.reason}"


def test_every_kernel_of_the_samples_is_proved_and_stays_between_guard_pages() -> None:
    for s in (s for s in OURS if s.inputs[0].dtype == np.float32):
        made = LlvmExecutable(graph_of([s]), [], threads=1)
        for fn in made.main.program.functions:
            verify(fn)
        verdict = judge(s.op, s.inputs, guarded_run(made, [np.ascontiguousarray(x) for x in s.inputs]))
        assert verdict, f"{s.id}: {verdict.reason}"


@pytest.mark.parametrize("pad", [(1, 1, 1, 0, 1, 1), (0, 1, 1, 2, 1, 1), (2, 0, 1, 1, 2, 0)], ids=str)
def test_planes_of_padding_along_an_axis_of_one_tap_are_not_read(pad: tuple[int, ...]) -> None:
    x, w = normal(2, 8, 2, 6, 8), normal(16, 8, 1, 3, 3, seed=1)
    one = Sample(Conv((1,) * 3, pad, (1,) * 3), (x, w))
    made = compiled(graph_of([one]), 4)
    for fn in made.main.program.functions:
        verify(fn)
    (got,) = guarded_run(made, one.inputs)
    assert verdict_of(one, got, 4)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[Sample, int]:
    """A convolution of any channels, image, batch and pads, and a size of tiles."""
    rank, (taps, tile) = draw(st.sampled_from([1, 2, 2, 2])), draw(st.sampled_from(TAPS_AND_TILES))
    pad = [draw(st.integers(0, 3)) for _ in range(2 * rank)]
    image = tuple(max(draw(st.integers(1, 15)), taps - pad[i] - pad[i + rank]) for i in range(rank))
    ins, outs, batch = draw(st.integers(1, 70)), draw(st.integers(1, 70)), draw(st.integers(1, 3))
    made = sample(ins, outs, image, pad, taps=taps, batch=batch, bias=draw(st.booleans()))
    return made, tile


@given(geometries())
def test_any_geometry_is_within_its_tolerance(drawn: tuple[Sample, int]) -> None:
    one, tile = drawn
    (got,) = compiled(graph_of([one]), tile).run(list(one.inputs))
    verdict = verdict_of(one, got, tile)
    assert verdict, f"{one.id}, tiles of {tile}: {verdict.reason}"


def designed() -> list[Sample]:
    """Inputs on which tiles lose the most."""
    plain = sample(40, 24, (11, 13), (1,) * 4)
    x, w, b = plain.inputs
    signs = np.where(np.arange(40) % 2, -1, 1).astype(np.float32)[:, None, None]
    huge = x.copy()
    huge[0, 3, 5, 6] = 1e6
    return [
        replace(plain, inputs=(x + np.float32(1000), w, b), label="a large mean"),
        replace(plain, inputs=(np.abs(x) * signs, np.abs(w), b), label="signs that alternate over channels"),
        replace(plain, inputs=(np.ones_like(x) * signs, np.ones_like(w), b), label="sums that cancel to nothing"),
        replace(plain, inputs=(huge, w, b), label="one huge pixel"),
        replace(plain, inputs=(np.abs(x), np.abs(w), b), label="no sign changes"),
        replace(plain, inputs=(x * np.float32(1e-38), w, b * np.float32(1e-38)), label="subnormal products"),
        replace(plain, inputs=(np.maximum(x, 0), w, b), label="behind a ReLU"),
    ]


@pytest.mark.parametrize("tile", [2, 4])
def test_designed_inputs_are_within_the_bound(tile: int) -> None:
    graph = graph_of([designed()[0]])
    made = compiled(graph, tile)
    for one in designed():
        (got,) = made.run(list(one.inputs))
        verdict = verdict_of(one, got, tile)
        assert verdict, f"{one.label}: {verdict.reason}"


@pytest.mark.parametrize("tile", [2, 4])
def test_an_infinite_pixel_reaches_no_output_beyond_its_tiles(tile: int) -> None:
    one = sample(8, 8, (24, 24), (1,) * 4)
    x, w, b = one.inputs
    spoilt = x.copy()
    spoilt[0, 0, 12, 12] = np.inf
    made = compiled(graph_of([one]), tile)
    (clean,), (got,) = made.run([x, w, b]), made.run([spoilt, w, b])
    far = np.ones((24, 24), bool)
    far[12 - tile - 1 : 12 + tile + 2, 12 - tile - 1 : 12 + tile + 2] = False
    assert np.array_equal(clean[..., far], got[..., far])
    assert not np.isfinite(got[0, :, 11:14, 11:14]).any()


@pytest.mark.parametrize("tile", [2, 4])
def test_one_program_serves_every_batch_and_image_size(tile: int) -> None:
    w, b = normal(40, 33, 3, 3, seed=1), normal(40, seed=2)
    x = new_input("x", tensor("f32", ("N", 33, "H", "W")))
    params = [new_input(n, tensor("f32", a.shape), "param") for n, a in (("w", w), ("b", b))]
    graph = Graph("g", (x, *params), (relu(conv(x, *params, pad=1)),))
    made = compiled(graph, tile, [w, b])
    for n, h, wide in ((1, 5, 7), (3, 8, 30), (2, 1, 3), (0, 5, 5), (1, 12, 131)):
        one = Sample(Conv((1, 1), (1,) * 4, (1, 1)), (normal(n, 33, h, wide), w, b))
        (got,) = made.run([one.inputs[0]])
        (expected,) = run(graph, list(one.inputs), precise=True)
        assert got.shape == expected.shape and models_agree(got, expected), (n, h, wide)


SIZES = ((1, 14, 14), (1, 75, 76), (2, 3, 5), (0, 9, 9), (1, 1, 1), (2, 75, 31), (7, 28, 28), (1, 29, 27))


def test_a_call_chooses_between_blocks_and_three_steps_where_that_depends_on_named_sizes() -> None:
    w = normal(160, 160, 3, 3, seed=1) * np.float32(0.05)
    x, p = new_input("x", tensor("f32", ("N", 160, "H", "W"))), new_input("w", tensor("f32", w.shape))
    graph = Graph("g", (x, p), (conv(x, p, pad=1),))
    made = compiled(graph, 4)
    calls = [i for i, step in enumerate(made.steps) if isinstance(step.node.op, WinogradConv)]
    assert [made.steps[i].code.name.split("_")[1] for i in calls] == ["winograd", "in", "mul", "out"]
    taken: set[tuple[bool, ...]] = set()
    for n, h, wide in SIZES:
        image = normal(n, 160, h, wide)
        got, (expected,) = guarded_run(made, [image, w])[0], run(graph, [image, w], precise=True)
        assert got.shape == expected.shape and models_agree(got, expected), (n, h, wide)
        steps = made.bound({"N": n, "H": h, "W": wide}).steps
        taken.add(tuple(steps[i].flops > 0 for i in calls))
    assert taken == {(False, False, False, False), (True, False, False, False), (False, True, True, True)}


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("pool", ["", "max", "avg"])
@pytest.mark.parametrize("image", [(12, 12), (9, 11)])
def test_bias_activation_sum_and_pool_are_one_kernel_with_the_convolution(image: tuple[int, int], pool: str,
                                                                          tile: int) -> None:  # fmt: skip
    x, w = new_input("x", tensor("f32", (2, 20, *image))), new_input("w", tensor("f32", (20, 20, 3, 3)))
    b = new_input("b", tensor("f32", (20,)))
    y = conv(relu(x), w, b, pad=1)
    y = relu(y) if pool else relu(add(y, x))
    y = max_pool(y, 2) if pool == "max" else avg_pool(y, 2) if pool == "avg" else y
    graph = Graph("g", (x, w, b), (y,))
    arrays = [normal(2, 20, *image), normal(20, 20, 3, 3, seed=1), normal(20, seed=2)]
    made = compiled(graph, tile)
    bodies = [n.op.body for n in made.graph.nodes if isinstance(n.op, Fuse)]
    inside = next(b for b in bodies if any(isinstance(n.op, WinogradConv) for n in b.nodes))
    assert {type(n.op).__name__ for n in inside.nodes if n.inputs} == (
        {"WinogradConv", "Relu", "PoolLast" if pool else "Add"})  # fmt: skip
    (got,), (expected,) = made.run(arrays), run(graph, arrays, precise=True)
    assert models_agree(got, expected)


@pytest.mark.parametrize("tile", [2, 4])
def test_gradients_go_through_tiles_too(tile: int) -> None:
    x = new_input("x", tensor("f32", (2, 9, 12, 12)))
    w, v = (new_input(n, tensor("f32", s)) for n, s in (("w", (20, 9, 3, 3)), ("v", (5, 20, 3, 3))))
    y = conv(relu(conv(x, w, pad=1)), v, pad=1)
    found = gradients([total(mul(y, y))], [x, w, v])
    graph = Graph("g", (x, w, v), tuple(g for g in found if g is not None))
    arrays = [normal(2, 9, 12, 12), normal(20, 9, 3, 3, seed=1), normal(5, 20, 3, 3, seed=2)]
    made = compiled(graph, tile)
    assert sum(isinstance(n.op, WinogradConv) for n in inner_nodes(made.graph)) == 4
    for got, expected in zip(made.run(arrays), run(graph, arrays, precise=True), strict=True):
        assert models_agree(got, expected)


@pytest.mark.parametrize("one", [
    sample(33, 70, (40, 41), (1,) * 4, label="blocks"), sample(256, 256, (9, 9), (1,) * 4, label="steps"),
], ids=lambda s: s.label)  # fmt: skip
def test_bits_do_not_depend_on_threads_or_on_a_target_that_fuses_multiply_and_add(one: Sample) -> None:
    graph = graph_of([one])
    bits = bits_by_threads(lambda n: compiled(graph, 4, threads=n), list(one.inputs))
    (lower,) = compiled(graph, 4, target="x86-64-v3").run(list(one.inputs))
    assert {*bits, lower.tobytes()} == {bits[0]}


def test_strict_precision_uses_no_tiles() -> None:
    one = sample(64, 64, (56, 56), (1,) * 4)
    ways = {name: {type(n.op) for n in inner_nodes(pipeline(name=name).run(graph_of([one]))[0])}
            for name in ("default", "strict")}  # fmt: skip
    assert WinogradConv in ways["default"] and PanelConv not in ways["default"]
    assert PanelConv in ways["strict"] and WinogradConv not in ways["strict"]


def test_new_weights_are_taken_without_compiling_again() -> None:
    w = normal(16, 16, 3, 3, seed=1)
    x, p = new_input("x", tensor("f32", (1, 16, 8, 8))), new_input("w", tensor("f32", w.shape), "param")
    made = compiled(Graph("g", (x, p), (conv(x, p, pad=1),)), 4, [w])
    image = normal(1, 16, 8, 8)
    (before,) = made.run([image])
    w *= 2
    made.refresh()
    (after,) = made.run([image])
    assert np.array_equal(after, 2 * before)


def test_a_kernel_without_tiles_for_its_axes_is_refused_by_name() -> None:
    op = WinogradConv((3, 3), (1, 4), (1, 1), 4, (5, 5))
    held = normal(6, 1, 6, 8)
    x, p = new_input("x", tensor("f32", (1, 5, 5, 2))), new_input("w", tensor("f32", held.shape))
    with pytest.raises(NotSupported, match="have no kernel"):
        LlvmExecutable(Graph("g", (x, p), (build(op, x, p),)), [], threads=1)
