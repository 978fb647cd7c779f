"""Compiled pools and their gradients: values, ties, NaN, borders, of known and unknown sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from chainrule.backends.llvm.kernels.pool_windows import Windows, piece_at, span
from chainrule.backends.llvm.target import named_target
from chainrule.backends.loops import as_int
from chainrule.backends.reference import run
from chainrule.ir.graph import Graph, build, new_input
from chainrule.ir.types import tensor
from chainrule.ops.arithmetic import square
from chainrule.ops.conv import conv
from chainrule.ops.pool import AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad, MaxPoolTake, avg_pool, max_pool
from chainrule.ops.reduce import sum as reduce_sum
from chainrule.ops.tolerance import judge, models_agree
from chainrule.passes.autodiff import gradients
from tests.llvm.compiled import complaints, executable
from tests.llvm.guarded_programs import guarded_complaints
from tests.ops.sample import Sample, normal
from tests.ops.samples import SAMPLES

OPS = (
    "max_pool", "max_pool_take", "avg_pool", "max_pool_grad", "avg_pool_grad",
    "max_pool_grad_last", "avg_pool_grad_last",
)  # fmt: skip
Pair = tuple[int, int]

# window, stride, begin pads, end pads, ceil_mode
GEOMETRIES: list[tuple[Pair, Pair, Pair, Pair, bool]] = [
    ((2, 2), (2, 2), (0, 0), (0, 0), False),
    ((3, 3), (2, 2), (1, 1), (1, 1), False),
    ((3, 3), (1, 1), (1, 1), (1, 1), False),
    ((3, 3), (2, 2), (0, 0), (0, 0), True),
    ((2, 3), (3, 4), (1, 2), (0, 1), True),
    ((3, 2), (3, 2), (0, 0), (0, 0), False),
    ((5, 5), (1, 1), (2, 2), (2, 2), False),
    ((1, 1), (2, 2), (0, 0), (0, 0), False),
    ((1, 3), (1, 3), (0, 0), (0, 0), False),
]
IMAGES: list[Pair] = [(28, 28), (13, 55), (7, 7), (6, 70), (5, 33)]


def maxima(images: list[Pair]) -> list[Sample]:
    """Max pools with many ties and some NaN, their gradients, and what stands at the maxima."""
    found: list[Sample] = []
    for n, (height, width) in enumerate(images):
        for window, stride, begin, end, ceil in GEOMETRIES:
            x = np.round(normal(2, 2, height, width, seed=n) * 2)
            if n % 2:
                x[np.random.default_rng(n).random(x.shape) < 0.02] = np.nan
            attributes = (window, stride, (*begin, *end), (1, 1), ceil)
            dy = normal(*MaxPool(*attributes).ref(x).shape, seed=1)
            name = f"{window} {stride} {begin} of {height}x{width}"
            found += [Sample(MaxPool(*attributes), (x,), name), Sample(MaxPoolGrad(*attributes), (x, dy), name),
                      Sample(MaxPoolTake(*attributes), (x, normal(*x.shape)), name)]  # fmt: skip
    return found


def means(images: list[Pair]) -> list[Sample]:
    """Mean pools and their gradients, with and without the padding counted."""
    found: list[Sample] = []
    for height, width in images:
        for window, stride, begin, end, ceil in GEOMETRIES:
            for counted in (False, True):
                attributes = (window, stride, (*begin, *end), ceil, counted)
                x = normal(2, 2, height, width)
                dy = normal(*AvgPool(*attributes).ref(x).shape, seed=1)
                name = f"{window} {stride} {begin} {counted} of {height}x{width}"
                found += [
                    Sample(AvgPool(*attributes), (x,), name),
                    Sample(AvgPoolGrad((height, width), *attributes), (dy,), name),
                ]
    return found


MADE: list[tuple[str, Callable[[list[Pair]], list[Sample]]]] = [("maxima", maxima), ("means", means)]


@pytest.mark.parametrize("name", OPS)
def test_every_sample_compiles_to_what_the_reference_gives(name: str) -> None:
    assert complaints([s for s in SAMPLES if s.op.name == name]) == []


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in MADE])
def test_windows_of_all_kinds_are_pooled(make: Callable[[list[Pair]], list[Sample]], image: Pair) -> None:
    assert complaints(make([image])) == []


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in MADE])
@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v2"])
def test_older_machines_pool_the_same(make: Callable[[list[Pair]], list[Sample]], target: str) -> None:
    assert complaints(make([(9, 37)])[::4], target=named_target(target)) == []


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in MADE])
def test_no_byte_beside_the_arrays_is_touched(make: Callable[[list[Pair]], list[Sample]]) -> None:
    assert guarded_complaints(make([(5, 33)])[::2]) == []


@pytest.mark.parametrize("name", OPS[:3])
def test_samples_hold_where_sizes_are_symbols(name: str) -> None:
    assert [c for s in SAMPLES if s.op.name == name for c in complaints([s], symbolic=True)] == []


@pytest.mark.parametrize(("window", "stride", "begin", "end", "ceil"), GEOMETRIES)
def test_one_program_pools_images_of_every_size(window: Pair, stride: Pair, begin: Pair, end: Pair, ceil: bool) -> None:
    x = new_input("x", tensor("f32", ("N", 2, "H", "W")))
    largest = MaxPool(window, stride, (*begin, *end), (1, 1), ceil)
    mean = AvgPool(window, stride, (*begin, *end), ceil, False)
    pooled = build(largest, x)
    dy = new_input("dy", pooled.tensor)
    back = MaxPoolGrad(window, stride, (*begin, *end), (1, 1), ceil)
    share = AvgPoolGrad(x.shape[2:], window, stride, (*begin, *end), ceil, False)
    made = executable(Graph("g", (x, dy), (pooled, build(mean, x), build(back, x, dy), build(share, dy))))
    for height, width in ((5, 7), (9, 70), (20, 17)):
        image = np.round(normal(2, 2, height, width) * 2)
        slope = normal(*largest.ref(image).shape, seed=1)
        known = AvgPoolGrad((height, width), window, stride, (*begin, *end), ceil, False)
        given = [(largest, (image,)), (mean, (image,)), (back, (image, slope)), (known, (slope,))]
        for (op, arrays), got in zip(given, made.run([image, slope]), strict=True):
            verdict = judge(op, arrays, got)
            assert verdict.ok, f"{op.name} of {height}x{width}: {verdict.reason}"


def test_pools_are_the_same_for_any_number_of_threads() -> None:
    x = new_input("x", tensor("f32", (3, 20, 40, 40)))
    dy = new_input("dy", tensor("f32", (3, 20, 20, 20)))
    attributes = ((3, 3), (2, 2), (1, 1, 1, 1))
    graph = Graph("g", (x, dy), (build(MaxPool(*attributes, (1, 1)), x), build(AvgPool(*attributes), x),
                                 build(MaxPoolGrad(*attributes, (1, 1)), x, dy)))  # fmt: skip
    arrays = [normal(3, 20, 40, 40), normal(3, 20, 20, 20, seed=1)]
    first = executable(graph, threads=1).run(arrays)
    for threads in (2, 3):
        again = executable(graph, threads=threads).run(arrays)
        assert [y.tobytes() for y in again] == [y.tobytes() for y in first]


def test_a_vector_of_windows_spans_their_row_and_no_more() -> None:
    windows = Windows((as_int(5), as_int(30)), (as_int(5), as_int(15)), (3, 3), (2, 2), (1, 1), (1, 1))
    piece = piece_at(windows, 0, 8)
    assert (piece.low, piece.high) == (1, span(windows, 8)) == (1, 17)
    assert piece.positions(windows, 0, True) == [1, 2, 4, 6, 8, 10, 12, 14]
    assert piece.positions(windows, 0, False) == [None, 2, 4, 6, 8, 10, 12, 14]
    assert [piece.start(p) for p in (1, 8, 9, 16)] == [1, 1, 9, 9]


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_the_gradient_of_a_pool_between_convolutions_stays_with_channels_last(kind: str) -> None:
    x, v, w = (new_input(name, tensor("f32", shape)) for name, shape in (
        ("x", (2, 3, 12, 12)), ("v", (16, 3, 3, 3)), ("w", (8, 16, 3, 3))))  # fmt: skip
    pool = max_pool if kind == "max" else avg_pool
    y = conv(pool(conv(x, v, pad=1), 3, 2, 1), w)
    grads = [g for g in gradients([reduce_sum(square(y))], [v, w]) if g is not None]
    graph = Graph("g", (x, v, w), (y, *grads))
    made = executable(graph)
    names = [node.op.name for node in made.graph.nodes]
    assert f"{kind}_pool_grad_last" in names and f"{kind}_pool_grad" not in names
    arrays = [normal(2, 3, 12, 12), normal(16, 3, 3, 3, seed=1), normal(8, 16, 3, 3, seed=2)]
    for got, expected in zip(made.run(arrays), run(graph, [a.astype(np.float64) for a in arrays]), strict=True):
        assert models_agree(got, expected).ok
