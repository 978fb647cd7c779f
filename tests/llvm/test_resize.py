"""Compiled resizes are the reference's."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.reference import run
from chainrule.ir.graph import Graph, new_input
from chainrule.ir.types import tensor
from chainrule.ops.resize import resize
from tests.llvm.compiled import complaints, executable
from tests.ops.sample import normal
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
