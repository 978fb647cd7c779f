"""Compiled resizes are the reference's."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.kernels.table import keeps
from chainrule.backends.reference import run
from chainrule.ir.graph import Graph, build, new_input
from chainrule.ir.types import tensor, type_of
from chainrule.ops.conv import conv
from chainrule.ops.resize import COORDINATES, ROUNDINGS, Resize, resize
from tests.llvm.compiled import complaints, executable
from tests.ops.sample import Sample, normal
from tests.ops.samples import SAMPLES

RESIZES = [s for s in SAMPLES if s.op.name == "resize"]


@pytest.mark.parametrize("part", range(4))
def test_every_sample_compiles_to_what_the_reference_gives(part: int) -> None:
    assert complaints(RESIZES[part::4]) == []


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_one_program_doubles_and_halves_images_of_every_size(mode: str) -> None:
    x = new_input("x", tensor("f32", ("N", 3, "H", "W")))
    outputs = (resize(x, scales=(1, 1, 2, 2), mode=mode), resize(x, sizes=("N", 3, 20, 30), mode=mode))
    graph = Graph("g", (x,), outputs)
    made = executable(graph)
    for height, width in ((5, 4), (33, 18)):
        image = normal(2, 3, height, width)
        for got, expected in zip(made.run([image]), run(graph, [image]), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5) if mode == "linear" else None
            assert mode == "linear" or np.array_equal(got, expected)


def _sample(shape: tuple[int, ...], sizes: tuple[int, ...], mode: str, coordinates: str = "half_pixel",
            rounding: str = "round_prefer_floor", dtype: str = "float32") -> Sample:  # fmt: skip
    op = Resize(sizes, (0.0,) * len(sizes), mode, coordinates, rounding)
    return Sample(op, (normal(*shape, dtype=dtype),), f"{shape} to {sizes}, {mode}, {coordinates}, {rounding}, {dtype}")


MODES = ("nearest", "linear")
LARGER = [
    *(_sample((2, 33, 37), (2, 33 * f, 37 * f), m, c) for m in MODES for f in (2, 3, 8)
      for c in ("half_pixel", "asymmetric", "align_corners")),
    *(_sample((3, 70, 50), (3, 70, 100), m, dtype=t) for m in MODES for t in ("float32", "float64")),
    *(_sample((3, 70, 50), (3, 140, 50), m, dtype=t) for m in MODES for t in ("float32", "float64")),
    *(_sample((2, 150, 90), (2, 61, 40), m, c) for m in MODES for c in COORDINATES),
    *(_sample((2, 9, 11, 5), (2, 20, 7, 5), m, c) for m in MODES for c in COORDINATES),
    *(_sample((2, 9, 11, 40), (2, 18, 22, 40), m) for m in MODES),
    *(_sample((4, 6, 3), (4, 13, 3), m) for m in MODES),
    *(_sample((5, 3), (11, 3), m) for m in MODES),
    *(_sample((5, 1), (11, 64), m) for m in MODES),
    *(_sample((2, 2), (4, 4), m, "asymmetric") for m in MODES),
    *(_sample((2, 40), (2, 90), "nearest", "asymmetric", r) for r in ROUNDINGS),
]  # fmt: skip


@pytest.mark.parametrize("part", range(4))
def test_larger_images_and_images_with_channels_last_are_those_of_the_reference(part: int) -> None:
    assert complaints(LARGER[part::4]) == []


def test_all_of_them_have_a_kernel_of_their_own() -> None:
    assert all(keeps(build(s.op, new_input("x", type_of(s.inputs[0])))) for s in LARGER)


@pytest.mark.parametrize("factor", [2, 3])
def test_infinities_and_nan_spread_as_in_the_reference(factor: int) -> None:
    image = normal(2, 40, 40)
    image[0, 0, 1] = image[0, 20, 38] = image[1, 39, 0] = np.inf
    image[1, 7, 7], image[1, 8, 39] = -np.inf, np.nan
    x = new_input("x", tensor("f32", image.shape))
    graph = Graph("g", (x,), (resize(x, scales=(1, factor, factor), mode="linear"),))
    (got,), (expected,) = executable(graph).run([image]), run(graph, [image])
    assert np.array_equal(np.isnan(got), np.isnan(expected))
    assert np.array_equal(np.isinf(got), np.isinf(expected))


@pytest.mark.parametrize("mode", MODES)
def test_threads_give_the_same_bits(mode: str) -> None:
    image = normal(3, 200, 60)
    x = new_input("x", tensor("f32", image.shape))
    graph = Graph("g", (x,), (resize(x, sizes=(3, 333, 120), mode=mode),))
    (alone,), (shared,) = executable(graph).run([image]), executable(graph, threads=2).run([image])
    assert np.array_equal(alone, shared)


@pytest.mark.parametrize("mode", MODES)
def test_between_convolutions_images_keep_their_channels_last(mode: str) -> None:
    x, w = new_input("x", tensor("f32", (1, 4, 9, 9))), new_input("w", tensor("f32", (4, 4, 3, 3)), "param")
    y = resize(conv(x, w, pad=(1, 1, 1, 1)), scales=(1, 1, 2, 2), mode=mode)
    graph = Graph("g", (x, w), (conv(y, w, pad=(1, 1, 1, 1)),))
    weight = normal(4, 4, 3, 3)
    made = LlvmExecutable(graph, [weight])
    assert [step.node.op.name for step in made.steps].count("transpose") == 2
    image = normal(1, 4, 9, 9)
    (expected,) = run(graph, [image, weight])
    np.testing.assert_allclose(made.run([image])[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_one_kernel_serves_every_batch(mode: str) -> None:
    x = new_input("x", tensor("f32", ("N", 3, 9, 20)))
    made = executable(Graph("g", (x,), (resize(x, sizes=("N", 3, 20, 40), mode=mode),)))
    assert [step.node.op.name for step in made.steps] == ["resize"]
    for batch in (0, 1, 3):
        image = normal(batch, 3, 9, 20)
        (expected,) = run(Graph("g", (x,), (resize(x, sizes=("N", 3, 20, 40), mode=mode),)), [image])
        np.testing.assert_allclose(made.run([image])[0], expected, rtol=1e-5, atol=1e-5)
