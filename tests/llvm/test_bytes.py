"""Quantised graphs are computed in bytes, and give what their floats mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from chainrule.backends import reference
from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.target import Target, named_target
from chainrule.ir.body import with_inner
from chainrule.ir.dims import symbol
from chainrule.ir.graph import Graph, Value, build
from chainrule.ops.activations import relu
from chainrule.ops.arithmetic import clip
from chainrule.ops.conv import Conv
from chainrule.ops.elementwise import Cast, add
from chainrule.ops.integer_products import IntegerConv, IntegerMatMul
from chainrule.ops.lowered import ChannelConv, PanelConv, PanelMatMul, PoolLast
from chainrule.ops.lowered_bytes import ByteConv, ByteMatMul
from chainrule.ops.matmul import matmul
from chainrule.ops.pool import max_pool
from chainrule.ops.pools import global_avg_pool
from chainrule.ops.quantise import Quantize, RoundTo
from chainrule.ops.shaping import concat, pad_constant, transpose
from chainrule.ops.tolerance import steps_agree
from chainrule.passes.base import Notes
from chainrule.passes.recognise_bytes import RecogniseBytes
from tests.llvm.quantised_graphs import CASES, ConvCase, Writer, numbers, ops_of, powers
from tests.llvm.test_integer_products import targets
from tests.ops.sample import normal

Array = np.ndarray


def both(graph: Graph, weights: Sequence[Array], arrays: Sequence[Array], target: Target | None = None,
         threads: int = 1) -> tuple[list[Array], list[Array], LlvmExecutable]:  # fmt: skip
    """What native code and the reference give."""
    made = LlvmExecutable(graph, list(weights), threads=threads, target=target or targets()[0])
    return list(made.run(list(arrays))), list(reference.run(graph, [*_ordered(graph, weights, arrays)])), made


def _ordered(graph: Graph, weights: Sequence[Array], arrays: Sequence[Array]) -> list[Array]:
    stored, given = iter(weights), iter(arrays)
    params = set(graph.by_role("param"))
    return [next(stored) if v in params else next(given) for v in graph.inputs]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_convolution_between_bytes_is_exact(case: ConvCase) -> None:
    graph, weights = case.written(2)
    x = normal(2, case.channels, *case.image, scale=20)
    (got,), (want,), made = both(graph, weights, [x])
    assert np.array_equal(got, want)
    assert len(np.unique(got)) > 3
    assert set(ops_of(made)) & {ByteConv, ByteMatMul, ChannelConv}
    assert not set(ops_of(made)) & {PanelConv, PanelMatMul, Conv, Quantize}


@pytest.mark.parametrize("name", ["3x3, odd channels", "i8, the lowest", "by channels", "groups", "a deep one"])
def test_every_target_gives_the_same_bytes(name: str) -> None:
    case = CASES[name]
    graph, weights = case.written(1)
    x = normal(1, case.channels, *case.image, scale=20)
    for target in targets():
        (got,), (want,), _ = both(graph, weights, [x], target)
        assert np.array_equal(got, want), target.name


def test_batches_told_by_the_call_and_any_number_of_threads_give_the_same_bytes() -> None:
    case = CASES["zero points at the ends"]
    graph, weights = case.written(symbol("N"))
    for threads in (1, 2):
        made = LlvmExecutable(graph, weights, threads=threads, target=targets()[0])
        for batch in (0, 1, 3):
            x = normal(batch, case.channels, *case.image, scale=20)
            (want,) = reference.run(graph, _ordered(graph, weights, [x]))
            assert np.array_equal(made.run([x])[0], want), (threads, batch)


def test_a_product_by_a_stored_matrix_is_exact_whichever_way_it_lies() -> None:
    for axis, transposed in ((1, False), (0, True)):
        w = Writer()
        x = w.through(w.input(3, 5, 21), np.int8, 0.5, -7)
        matrix = numbers(np.int8, *((21, 13) if axis else (13, 21)))
        y = matmul(x, w.weight(matrix, powers(13), axis), transpose_b=transposed)
        y = add(y, w.bias(np.arange(13) * 300, powers(13) * np.float32(0.5)))
        graph = w.graph(w.quantised(y, np.int8, 8.0, 5))
        (got,), (want,), made = both(graph, w.weights, [normal(3, 5, 21, scale=30)])
        assert np.array_equal(got, want)
        assert ByteMatMul in ops_of(made)


def _residual(w: Writer, bound: float) -> Value:
    """Two convolutions, one after the other, added to what they read; bounds behind each."""
    x = w.through(w.input(1, 8, 6, 6), np.uint8, 0.5, 100)
    y = x
    for seed in (1, 2):
        kernel = w.weight(numbers(np.int8, 8, 8, 3, 3, seed=seed), powers(8))
        y = build(Conv((1, 1), (1, 1, 1, 1), (1, 1)), y, kernel)
        y = w.through(relu(y) if seed == 1 else y, np.uint8, 4.0, 0 if seed == 1 else 128)
    return w.quantised(clip(add(x, y), 0.0, bound), np.uint8, 2.0, 0)


@pytest.mark.parametrize("bound", [6.0, 1e9])
def test_sums_and_bounds_between_bytes_are_exact_and_join_a_product(bound: float) -> None:
    w = Writer()
    graph = w.graph(_residual(w, bound))
    (got,), (want,), made = both(graph, w.weights, [normal(1, 8, 6, 6, scale=40)])
    assert np.array_equal(got, want)
    kinds = ops_of(made)
    assert kinds.count(ByteConv) == 2 and kinds.count(RoundTo) == 4


def test_moves_and_maximum_pools_are_of_bytes() -> None:
    w = Writer()
    x = w.through(w.input(1, 6, 8, 8), np.int8, 0.5, 9)
    y = build(Conv((1, 1), (0,) * 4, (1, 1)), x, w.weight(numbers(np.int8, 6, 6, 1, 1), powers(6)))
    y = max_pool(relu(y), (3, 3), (2, 2), (1, 1, 1, 1))
    y = w.through(y, np.int8, 4.0, -128)
    z = w.through(pad_constant(concat([y, y], 1), (0, 0, 1, 0), (0, 0, 1, 0), 0.0), np.int8, 4.0, -128)
    graph = w.graph(w.quantised(transpose(z, (0, 1, 3, 2)), np.int8, 4.0, -128))
    (got,), (want,), made = both(graph, w.weights, [normal(1, 6, 8, 8, scale=40)])
    assert np.array_equal(got, want)
    kinds = ops_of(made)
    assert kinds.count(RoundTo) == 2  # of the input and of the convolution: all else only moves bytes
    assert PoolLast in kinds


def test_averages_between_bytes_are_within_a_step() -> None:
    w = Writer()
    x = w.through(w.input(2, 20, 7, 7), np.uint8, 0.0371, 31)
    graph = w.graph(w.quantised(global_avg_pool(x), np.uint8, 0.0113, 60))
    (got,), (want,), _ = both(graph, w.weights, [normal(2, 20, 7, 7)])
    assert steps_agree(got, want)


def test_any_scales_are_within_a_step() -> None:
    w = Writer()
    scales = np.random.default_rng(3).uniform(0.001, 0.01, 24).astype(np.float32)
    x = w.through(w.input(1, 16, 12, 12), np.uint8, 0.0371, 31)
    y = build(Conv((1, 1), (1, 1, 1, 1), (1, 1)), x, w.weight(numbers(np.int8, 24, 16, 3, 3), scales))
    graph = w.graph(w.quantised(y, np.uint8, 0.173, 128))
    (got,), (want,), _ = both(graph, w.weights, [normal(1, 16, 12, 12)])
    assert steps_agree(got, want)


def test_a_quantize_of_what_was_dequantized_alike_is_not_there() -> None:
    w = Writer()
    x = w.through(w.input(4), np.uint8, 0.37, 3)
    again = w.quantised(x, np.uint8, 0.37, 3)
    found = RecogniseBytes().run(w.graph(again), Notes())
    assert [n.op.name for n in found.nodes if n.inputs] == ["quantize"]


def test_what_is_not_quantised_with_one_scale_stays_in_floats() -> None:
    w = Writer()
    x = w.input(1, 4, 6, 6)
    kernel = w.weight(numbers(np.int8, 5, 4, 3, 3), powers(5))
    graph = w.graph(build(Conv((1, 1), (0,) * 4, (1, 1)), x, kernel))
    notes = Notes()
    found = RecogniseBytes().run(graph, notes)
    assert not notes.counts and any(isinstance(n.op, Conv) for n in found.nodes)


def test_processors_without_products_of_bytes_decompose_them() -> None:
    from chainrule.backends.llvm.pipeline import pipeline

    graph, _ = CASES["3x3, odd channels"].written(1)
    found, _ = pipeline(named_target("aarch64")).run(graph)
    kinds = {type(n.op) for n in with_inner(found)}
    assert not kinds & {IntegerConv, IntegerMatMul, ByteConv, Quantize} and Cast in kinds


@pytest.mark.parametrize("bound", [relu, lambda y: clip(y, -40.0, 90.0)], ids=["relu", "clip"])
@pytest.mark.parametrize("scale", [2.0, -2.0])
def test_bounds_hold_for_a_scale_of_either_sign(scale: float, bound: Callable[[Value], Value]) -> None:
    w = Writer()
    x = w.through(w.input(3, 12), np.uint8, 0.25, 128)
    y = bound(matmul(x, w.weight(numbers(np.int8, 12, 9), powers(9), 1)))
    (got,), (want,), _ = both(w.graph(w.quantised(y, np.uint8, scale, 100)), w.weights, [normal(3, 12, scale=20)])
    assert np.array_equal(got, want) and len(np.unique(want)) > 3
