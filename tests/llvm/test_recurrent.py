"""Kernels of recurrent steps against their meaning: all attributes and sizes, threads, targets, symbolic sizes."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.llvm.kernels.table import keeps
from chainrule.backends.llvm.target import named_target
from chainrule.ir.graph import build, new_input
from chainrule.ir.types import type_of
from chainrule.ops.recurrent_steps import PackGates, Recurrence
from tests.llvm.compiled import complaints
from tests.ops.samples import SAMPLES

OWN = [s for s in SAMPLES if isinstance(s.op, Recurrence | PackGates)]
KEPT = [s for s in OWN if keeps(build(s.op, *(new_input("x", type_of(x)) for x in s.inputs)))]


def test_what_is_not_of_half_precision_or_seeded_has_a_kernel() -> None:
    rest = [s for s in OWN if s not in KEPT]
    assert all(getattr(s.op, "seeded", False) or s.inputs[0].dtype == np.float16 for s in rest)


@pytest.mark.parametrize("symbolic", [False, True])
def test_every_sample_is_within_its_tolerance_and_every_kernel_proved(symbolic: bool) -> None:
    assert complaints(KEPT, symbolic=symbolic) == []
