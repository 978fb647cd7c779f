"""Compiled convolutions, their gradients and pools with channels last: samples, random geometry, fusion, threads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.pipeline import pipeline
from chainrule.backends.llvm.target import host_target, named_target
from chainrule.backends.loops import verify
from chainrule.backends.reference import run
from chainrule.ir.graph import Graph, Value, build, new_input
from chainrule.ir.op import Op
from chainrule.ir.types import TensorType, as_dtype, tensor, type_of
from chainrule.ops.activations import relu
from chainrule.ops.basic import Fuse, full
from chainrule.ops.conv import Conv, ConvTranspose, ConvWeightGrad, conv, conv_transpose, conv_weight_grad
from chainrule.ops.elementwise import add, mul
from chainrule.ops.lowered import ChannelConv, PanelConv, PoolLast, WeightGradLast
from chainrule.ops.lowered_winograd import WinogradConv
from chainrule.ops.norm import BatchNorm
from chainrule.ops.pool import avg_pool, max_pool
from chainrule.ops.reduce import sum as total
from chainrule.ops.tolerance import judge, models_agree
from chainrule.passes.autodiff import gradients
from tests.llvm.compiled import bits_by_threads, graph_of
from tests.llvm.guarded_programs import guarded_run
from tests.ops.sample import Sample, normal
from tests.ops.samples import SAMPLES

Array = np.ndarray
USERS = ("conv", "conv_transpose", "conv_weight_grad")
LAST = ("pack_kernel", "panel_conv", "channel_conv", "weight_grad_last", "pool_last")
CONVOLUTIONS = [s for s in SAMPLES if s.op.name in USERS + LAST]


def own(sample: Sample) -> list[Array]:
    """The sample's arrays, contiguous."""
    return [np.ascontiguousarray(x).reshape(x.shape) for x in sample.inputs]


def complaints(samples: Sequence[Sample], target: str = "host") -> list[str]:
    """What is wrong with the samples compiled as one program, one line each."""
    made = LlvmExecutable(graph_of(samples), [], threads=1, target=named_target(target))
    results = made.run([x for s in samples for x in own(s)])
    verdicts = [(s, judge(s.op, own(s), [y])) for s, y in zip(samples, results, strict=True)]
    return [f"{s.id}: {verdict.reason}" for s, verdict in verdicts if not verdict]


def ops_of(made: LlvmExecutable) -> list[type[Op]]:
    """The ops of the program's kernels, those inside of regions included."""
    nodes = [n for step in dict.fromkeys(s.node for s in made.main.program.steps) for n in
             (step.op.body.nodes if isinstance(step.op, Fuse) else (step,))]  # fmt: skip
    return [type(n.op) for n in nodes]


@pytest.mark.parametrize("target", ["host", "x86-64-v3", "x86-64-v2"])
@pytest.mark.parametrize("names", [USERS, LAST], ids=["as users write them", "channels last"])
def test_samples_are_within_their_tolerance(names: tuple[str, ...], target: str) -> None:
    assert complaints([s for s in CONVOLUTIONS if s.op.name in names], target) == []


def test_every_kernel_of_the_samples_is_proved() -> None:
    """On a target of small tiles: they are the same loops with fewer accesses."""
    for sample in CONVOLUTIONS:
        made = LlvmExecutable(graph_of([sample]), [], threads=1, target=named_target("x86-64-v2"))
        for fn in made.main.program.functions:
            verify(fn)


def test_nothing_outside_of_the_arrays_is_touched() -> None:
    for sample in (s for s in CONVOLUTIONS if s.op.name in LAST and s.inputs[0].dtype == np.float32):
        made = LlvmExecutable(graph_of([sample]), [], threads=1)
        verdict = judge(sample.op, own(sample), guarded_run(made, own(sample)))
        assert verdict, f"{sample.id}: {verdict.reason}"


@st.composite
def geometries(draw: st.DrawFn) -> Sample:
    """A convolution, transposed convolution or weight gradient of any small geometry."""
    rank, groups = draw(st.integers(1, 2)), draw(st.sampled_from([1, 1, 2, 3]))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(rank))
    pad = tuple(draw(st.integers(0, 3)) for _ in range(2 * rank))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    image = tuple(max(draw(st.integers(1, 9)), spans[i] - pad[i] - pad[i + rank]) for i in range(rank))
    count, ins, outs = draw(st.integers(1, 3)), groups * draw(st.integers(1, 5)), groups * draw(st.integers(1, 20))
    sizes = [(image[i] + pad[i] + pad[i + rank] - spans[i]) // stride[i] + 1 for i in range(rank)]
    match draw(st.sampled_from(["conv", "transpose", "weight"])):
        case "conv":
            bias = (normal(outs, seed=2),) if draw(st.booleans()) else ()
            weight = normal(outs, ins // groups, *kernel, seed=1)
            return Sample(Conv(stride, pad, dilation, groups), (normal(count, ins, *image), weight, *bias))
        case "transpose":
            op = ConvTranspose(stride, pad, dilation, groups, (0,) * rank, image)
            return Sample(op, (normal(count, outs, *sizes), normal(outs, ins // groups, *kernel, seed=1)))
        case _:
            op = ConvWeightGrad(kernel, stride, pad, dilation, groups)
            return Sample(op, (normal(count, ins, *image), normal(count, outs, *sizes, seed=1)))


@given(geometries())
def test_any_geometry_is_within_its_tolerance(sample: Sample) -> None:
    assert complaints([sample]) == []


@pytest.mark.parametrize("op", [
    Conv((1, 2), (1, 1, 1, 1), (1, 1)), Conv((1, 1), (0,) * 4, (2, 1), 2), Conv((1, 1), (1,) * 4, (1, 1), 4),
    ConvTranspose((2, 1), (1, 0, 1, 0), (1, 1), 1, (1, 0)), ConvWeightGrad((3, 3), (1, 1), (1,) * 4, (1, 1)),
], ids=str)  # fmt: skip
def test_one_program_serves_every_batch_and_image_size(op: Conv | ConvTranspose | ConvWeightGrad) -> None:
    if isinstance(op, ConvWeightGrad):
        second = [TensorType(as_dtype("f32"), tensor("f32", ("N", 5, "H", "W")).shape)]
        others = lambda n, h, w: [normal(n, 5, h, w, seed=1)]  # noqa: E731
    else:
        outs = 8 if op.groups == 1 else 4
        weight = normal(*((4, outs) if isinstance(op, ConvTranspose) else (outs, 4 // op.groups)), 3, 3, seed=1)
        second, others = [type_of(weight)], lambda n, h, w: [weight]
    inputs = [new_input(f"x{i}", t) for i, t in enumerate([tensor("f32", ("N", 4, "H", "W")), *second])]
    made = LlvmExecutable(Graph("g", tuple(inputs), (build(op, *inputs),)), [], threads=1)
    for n, h, w in ((1, 5, 7), (3, 8, 30), (2, 6, 3), (0, 5, 5), (1, 12, 131)):
        arrays = [normal(n, 4, h, w), *others(n, h, w)]
        verdict = judge(op, arrays, made.run(arrays))
        assert verdict, f"{(n, h, w)}: {verdict.reason}"


def convolved(x: Value, w: Value, b: Value, pool: str) -> Value:
    y = relu(conv(x, w, b, pad=1))
    return max_pool(y, 2) if pool == "max" else avg_pool(y, 2)


@pytest.mark.parametrize("pool", ["max", "avg"])
@pytest.mark.parametrize(("image", "channels", "outs"), [((12, 12), 1, 6), ((9, 11), 3, 20), ((20, 20), 20, 70)])
def test_bias_activation_and_pool_are_one_kernel_with_the_convolution(image: tuple[int, int], channels: int, outs: int,
                                                                      pool: str) -> None:  # fmt: skip
    x, w = new_input("x", tensor("f32", (2, channels, *image))), new_input("w", tensor("f32", (outs, channels, 3, 3)))
    b = new_input("b", tensor("f32", (outs,)))
    graph = Graph("g", (x, w, b), (convolved(x, w, b, pool),))
    arrays = [normal(2, channels, *image), normal(outs, channels, 3, 3, seed=1), normal(outs, seed=2)]
    made = LlvmExecutable(graph, [], threads=1, passes=pipeline(name="strict"))
    bodies = [step.node.op.body for step in made.main.program.steps if isinstance(step.node.op, Fuse)]
    assert [sorted(type(n.op).__name__ for n in b.nodes if n.inputs) for b in bodies] == [
        ["PanelConv", "PoolLast", "Relu"]]  # fmt: skip
    (got,), (expected,) = made.run(arrays), run(graph, arrays, precise=True)
    assert models_agree(got, expected)


def test_a_pool_whose_windows_overlap_has_a_kernel_of_its_own() -> None:
    x, w = new_input("x", tensor("f32", (1, 3, 9, 9))), new_input("w", tensor("f32", (4, 3, 3, 3)))
    graph = Graph("g", (x, w), (max_pool(relu(conv(x, w, pad=1)), 3, 2, 1),))
    arrays = [normal(1, 3, 9, 9), normal(4, 3, 3, 3, seed=1)]
    made = LlvmExecutable(graph, [], threads=1)
    assert {PanelConv, PoolLast} <= set(ops_of(made))
    (got,), (expected,) = made.run(arrays), run(graph, arrays, precise=True)
    assert models_agree(got, expected)


def block(x: Value, weights: Sequence[Value], statistics: Sequence[Value]) -> Value:
    """A residual block: convolution, batch norm, depthwise, 1x1, sum, activation."""
    y = relu(build(BatchNorm(), conv(x, weights[0], pad=1), *statistics))
    y = relu(conv(y, weights[1], pad=1, groups=x.shape[1] if isinstance(x.shape[1], int) else 1))
    return relu(add(conv(y, weights[2]), x))


def test_a_residual_block_agrees_with_the_reference() -> None:
    c = 20
    x = new_input("x", tensor("f32", ("N", c, "H", 10)))
    shapes = [(c, c, 3, 3), (c, 1, 3, 3), (c, c, 1, 1)]
    weights = [new_input(f"w{i}", tensor("f32", s), "param") for i, s in enumerate(shapes)]
    statistics = [new_input(n, tensor("f32", (c,)), "state") for n in ("gamma", "beta", "mean", "var")]
    graph = Graph("g", (x, *weights, *statistics), (block(x, weights, statistics),))
    fixed = [normal(*s, seed=i) * np.float32(0.2) for i, s in enumerate(shapes)]
    fixed += [np.abs(normal(c, seed=9 + i)) + np.float32(0.1) for i in range(4)]
    made = LlvmExecutable(graph, fixed, threads=1)
    assert {WinogradConv, ChannelConv} <= set(ops_of(made))  # a named height counts as one that is worth tiles
    for n, h in ((1, 10), (3, 5)):
        image = normal(n, c, h, 10)
        (got,), (expected,) = made.run([image]), run(graph, [image, *fixed], precise=True)
        assert models_agree(got, expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_of_a_network_agree_with_the_reference(stride: int) -> None:
    x = new_input("x", tensor("f32", (3, 2, 12, 12)))
    w, v, b = (new_input(n, tensor("f32", s)) for n, s in (("w", (6, 2, 3, 3)), ("v", (4, 6, 5, 5)), ("b", (4,))))
    y = max_pool(relu(conv(x, w, stride=stride, pad=1)), 2)
    y = avg_pool(relu(conv(y, v, b, pad=2)), 3)
    found = gradients([total(mul(y, y))], [x, w, v, b])
    graph = Graph("g", (x, w, v, b), tuple(g for g in found if g is not None))
    arrays = [normal(3, 2, 12, 12), normal(6, 2, 3, 3, seed=1), normal(4, 6, 5, 5, seed=2), normal(4, seed=3)]
    made = LlvmExecutable(graph, [], threads=1)
    assert WeightGradLast in ops_of(made)
    for got, expected in zip(made.run(arrays), run(graph, arrays, precise=True), strict=True):
        assert models_agree(got, expected)


def test_a_generator_of_transposed_convolutions_agrees_with_the_reference() -> None:
    x = new_input("x", tensor("f32", ("N", 8, 4, 4)))
    w, v = (new_input(n, tensor("f32", s), "param") for n, s in (("w", (8, 20, 4, 4)), ("v", (20, 3, 3, 3))))
    y = conv_transpose(relu(conv_transpose(x, w, stride=2, pad=1)), v, stride=2, pad=1, output_padding=1)
    graph = Graph("g", (x, w, v), (y,))
    fixed = [normal(8, 20, 4, 4, seed=1), normal(20, 3, 3, 3, seed=2)]
    image = normal(2, 8, 4, 4)
    (got,) = LlvmExecutable(graph, fixed, threads=1).run([image])
    (expected,) = run(graph, [image, *fixed], precise=True)
    assert models_agree(got, expected)


def large() -> list[Sample]:
    """Samples with enough work for several threads, in every way of being cut up."""
    return [
        Sample(Conv((1, 1), (1,) * 4, (1, 1)), (normal(1, 33, 40, 41), normal(70, 33, 3, 3, seed=1)), "rows"),
        Sample(Conv((1,), (1, 1), (1,)), (normal(1, 33, 3001), normal(20, 33, 3, seed=1)), "columns"),
        Sample(Conv((1,), (4, 4), (1,)), (normal(1, 80, 999), normal(20, 80, 9, seed=1)), "columns, blocks of depth"),
        Sample(Conv((1, 1), (1,) * 4, (1, 1)), (normal(1, 130, 7, 7), normal(130, 130, 3, 3, seed=1)), "panels"),
        Sample(Conv((1, 1), (1,) * 4, (1, 1), 40), (normal(2, 40, 33, 33), normal(40, 1, 3, 3, seed=1)), "depthwise"),
        Sample(ConvTranspose((2, 2), (1,) * 4, (1, 1), 1, (1, 1)),
               (normal(2, 33, 14, 15), normal(33, 40, 3, 3, seed=1)), "spread"),
        Sample(ConvWeightGrad((3, 3), (1, 1), (1,) * 4, (1, 1)), (normal(9, 33, 14, 15), normal(9, 40, 14, 15, seed=1)),
               "blocks of images"),
    ]  # fmt: skip


@pytest.mark.parametrize("sample", large(), ids=lambda s: s.label)
def test_bits_do_not_depend_on_the_number_of_threads(sample: Sample) -> None:
    bits = bits_by_threads(lambda n: LlvmExecutable(graph_of([sample]), [], threads=n), own(sample))
    assert bits[0] == bits[1] == bits[2]
    assert complaints([sample]) == []


def test_bits_are_the_same_on_every_target_that_fuses_multiply_and_add() -> None:
    targets = [t for t in (host_target(), named_target("x86-64-v3")) if t.has_fma]
    arrays = [x for s in large() for x in own(s)]
    bits = {b"".join(y.tobytes() for y in LlvmExecutable(graph_of(large()), [], threads=1, target=t).run(arrays))
            for t in targets}  # fmt: skip
    assert len(bits) == 1


def test_a_number_in_place_of_an_operand_is_taken_as_one() -> None:
    x, w = new_input("x", tensor("f32", ("N", 3, 8, 8))), new_input("w", tensor("f32", (4, 3, 3, 3)))
    outputs = (
        relu(conv(full(1.5, (2, 3, 8, 8)), w, pad=1)), conv(full(1.5, ("N", 3, 8, 8)), w, pad=1),
        relu(conv(x, full(0.5, (4, 3, 3, 3)), pad=1)), conv(x, w, full(0.25, (4,)), pad=1),
        conv_weight_grad(full(2.0, ("N", 3, 8, 8)), conv(x, w, pad=1), (3, 3), 1, 1),
    )  # fmt: skip
    graph, arrays = Graph("g", (x, w), outputs), [normal(2, 3, 8, 8), normal(4, 3, 3, 3, seed=1)]
    for got, expected in zip(LlvmExecutable(graph, [], threads=1).run(arrays), run(graph, arrays, precise=True),
                             strict=True):  # fmt: skip
        assert models_agree(got, expected)


def test_an_image_may_be_convolved_in_place_and_added_to_the_result() -> None:
    x, v = new_input("x", tensor("f32", (2, 3, 8, 8))), new_input("v", tensor("f32", (3, 3, 3, 3)))
    w = new_input("w", tensor("f32", (3, 3, 1, 1)))
    y = relu(conv(x, v, pad=1))
    graph = Graph("g", (x, v, w), (add(conv(y, v, pad=1), y), add(conv(y, w, stride=1), y)))
    arrays = [normal(2, 3, 8, 8), normal(3, 3, 3, 3, seed=1), normal(3, 3, 1, 1, seed=2)]
    for got, expected in zip(LlvmExecutable(graph, [], threads=1).run(arrays), run(graph, arrays, precise=True),
                             strict=True):  # fmt: skip
        assert models_agree(got, expected)


def test_a_deep_kernel_is_summed_in_blocks() -> None:
    """One chain over 9 * 700 numbers of one sign would lose more digits than the class allows."""
    x, w = np.abs(normal(1, 700, 5, 5)) + np.float32(0.5), np.abs(normal(3, 700, 3, 3, seed=1)) + np.float32(0.5)
    assert math.prod(w.shape[1:]) > 6000
    assert complaints([Sample(Conv((1, 1), (1,) * 4, (1, 1)), (x, w))]) == []
