"""The kernel of suppression in turn against its meaning."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.llvm.kernels.table import keeps
from chainrule.backends.llvm.target import named_target
from chainrule.ir.graph import build, new_input
from chainrule.ir.types import type_of
from chainrule.ops.suppression import InTurn
from tests.llvm.compiled import complaints
from tests.ops.samples import SAMPLES

OWN = [sample for sample in SAMPLES if isinstance(sample.op, InTurn)]


def test_it_has_a_kernel() -> None:
    assert all(keeps(build(sample.op, *(new_input("x", type_of(x)) for x in sample.inputs))) for sample in OWN)


@pytest.mark.parametrize("symbolic", [False, True])
def test_every_sample_stays_as_it_should(symbolic: bool) -> None:
    assert complaints(OWN, symbolic=symbolic) == []


def test_two_threads_and_an_older_target_do_as_well() -> None:
    assert complaints(OWN, threads=2) == []
    assert complaints(OWN, target=named_target("x86-64-v2")) == []


def test_thousands_of_boxes_are_suppressed_as_the_reference_does() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 200, (1, 3000, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + rng.uniform(0, 40, (1, 3000, 2)).astype(np.float32)], 2)
    scores = rng.uniform(0, 1, (1, 2, 3000)).astype(np.float32)

    def kept(boxes: cr.Tensor, scores: cr.Tensor) -> cr.Tensor:
        return cr.non_max_suppression(boxes, scores, 100, 0.3, 0.2)

    specs = (cr.spec(1, "N", 4), cr.spec(1, 2, "N"))
    found, wanted = (cr.compile(kept, *specs, backend=b)(boxes, scores) for b in ("llvm", "reference"))
    assert len(wanted) == 200 and np.array_equal(found, wanted)
