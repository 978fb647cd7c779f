"""Kernels of recurrent steps against their meaning: all attributes and sizes, threads, targets, symbolic sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from chainrule.backends.llvm.kernels.table import keeps
from chainrule.backends.llvm.target import named_target
from chainrule.ir.dims import symbol
from chainrule.ir.graph import Graph, build, new_input, results
from chainrule.ir.types import type_of
from chainrule.ops.recurrent_base import Forward, Recurrence
from chainrule.ops.recurrent_steps import PackGates
from chainrule.ops.tolerance import judge
from chainrule.passes.base import Notes
from chainrule.passes.step_by_step import StepByStep
from tests.llvm.compiled import between_guards, bits_by_threads, complaints, executable, graph_of
from tests.ops.sample import Sample
from tests.ops.samples import SAMPLES

OWN = [s for s in SAMPLES if isinstance(s.op, Recurrence | PackGates)]
KEPT = [s for s in OWN if keeps(build(s.op, *(new_input("x", type_of(x)) for x in s.inputs)))]
STEPS = [s for s in KEPT if isinstance(s.op, Recurrence)]


def freed(samples: Sequence[Sample]) -> Graph:
    """The samples with symbols for the number of steps and rows: units are those of the weights."""
    inputs, outputs = [], []
    for i, sample in enumerate(samples):
        types = [type_of(x) for x in sample.inputs]
        steps, n = symbol(f"T{i}"), symbol(f"N{i}")
        weights = {1 if isinstance(sample.op, Forward) else 0}
        fixed = weights | {at for at, t in enumerate(types) if t.rank == 1 and t.dtype.is_float}
        shapes = [{3: (steps, n, t.shape[-1]), 2: (n, t.shape[-1]), 1: (n,)}[t.rank] for t in types]
        own = [new_input(f"x{i}_{at}", t if at in fixed else t.with_shape(shapes[at])) for at, t in enumerate(types)]
        inputs += own
        outputs += results(build(sample.op, *own))
    return Graph("free", tuple(inputs), tuple(outputs))


def test_what_is_not_of_half_precision_or_seeded_has_a_kernel() -> None:
    rest = [s for s in OWN if s not in KEPT]
    assert rest
    for sample in rest:
        assert getattr(sample.op, "seeded", False) or sample.inputs[0].dtype == np.float16


def test_kernels_are_proved_and_within_their_tolerance() -> None:
    assert complaints(KEPT[::3]) == []


@pytest.mark.slow
def test_all_other_kernels_are_proved_as_well() -> None:
    assert complaints([s for i, s in enumerate(KEPT) if i % 3]) == []


def test_numbers_of_steps_and_rows_known_at_run_time_only() -> None:
    chosen = STEPS[1::4]
    made = executable(freed(chosen))
    found = made.run([x for s in chosen for x in s.inputs])
    for sample in chosen:
        count = len(sample.op.ref(*sample.inputs))
        verdict = judge(sample.op, sample.inputs, found[:count])
        assert verdict, f"{sample.id}: {verdict.reason}"
        found = found[count:]
    assert not found


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v2"])
def test_older_machines_do_as_well(name: str) -> None:
    assert complaints(STEPS, target=named_target(name), verified=False) == []


def test_rows_in_blocks_have_the_same_bits_for_any_number_of_threads() -> None:
    samples = [s for s in STEPS if s.inputs[-1].shape[0] == 9]
    assert samples
    bits = bits_by_threads(lambda threads: executable(graph_of(samples), threads=threads, verified=False),
                           [x for s in samples for x in s.inputs])  # fmt: skip
    assert bits[0] == bits[1] == bits[2]


def test_a_loop_of_single_steps_has_the_bits_of_the_kernel_of_all_steps() -> None:
    samples = [s for s in STEPS if isinstance(s.op, Forward) and s.inputs[0].shape[:2] == (3, 2)]
    graph, arrays = graph_of(samples), [x for s in samples for x in s.inputs]
    looped = StepByStep(weights=0).run(graph, Notes())
    assert looped is not graph
    for got, want in zip(executable(looped).run(arrays), executable(graph, verified=False).run(arrays), strict=True):
        assert np.array_equal(got, want, equal_nan=True)


def test_kernels_touch_nothing_beyond_their_arrays() -> None:
    for sample in STEPS[::5]:
        if 0 in sample.inputs[0].shape:
            continue
        found = between_guards(graph_of([sample]), list(sample.inputs))
        assert judge(sample.op, sample.inputs, found)
