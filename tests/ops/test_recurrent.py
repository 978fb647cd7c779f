"""Recurrent steps on packed weights mean what they mean on plain ones; what their gradients need is computed once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from chainrule.backends.reference import run
from chainrule.errors import NotSupported
from chainrule.ir.graph import Graph, build, get, new_input, results
from chainrule.ir.types import tensor, type_of
from chainrule.ops.lowered import PackPanels
from chainrule.ops.recurrent_base import Backward, Forward
from chainrule.ops.recurrent_steps import GruSteps, LstmSteps, PackGates, RnnSteps
from chainrule.ops.reduce import sum as total
from chainrule.passes.autodiff import gradients
from chainrule.passes.base import Notes
from chainrule.passes.pack_recurrent import PackRecurrent
from chainrule.passes.share_saved import ShareSaved
from chainrule.passes.step_by_step import StepByStep
from tests.ops.sample import normal
from tests.ops.samples import SAMPLES

PLAIN = [s for s in SAMPLES if isinstance(s.op, Forward | Backward) and s.inputs[0].dtype == np.float32]


@pytest.mark.parametrize("panel", [4, 16])
def test_packed_weights_give_the_same_bits(panel: int) -> None:
    for sample in PLAIN:
        at = 1 if isinstance(sample.op, Forward) else 0
        r = sample.inputs[at]
        pack = PackGates(sample.op.gate_count, panel) if isinstance(sample.op, Forward) else PackPanels(panel)
        inputs = (*sample.inputs[:at], pack.ref(r), *sample.inputs[at + 1 :])
        packed = replace(sample.op, panel=panel)
        for got, want in zip(packed.ref(*inputs), sample.op.ref(*sample.inputs), strict=True):
            assert np.array_equal(got, want, equal_nan=True), sample.id


def lstm_with_gradient() -> Graph:
    types = {"x": (3, 2, 8), "r": (8, 2), "h": (2, 2), "c": (2, 2)}
    inputs = [new_input(name, tensor("f32", shape)) for name, shape in types.items()]
    loss = total(get(build(LstmSteps(), *inputs), 0))
    found = gradients([loss], inputs)
    return Graph("step", tuple(inputs), (loss, *(g for g in found if g is not None)))


def test_a_step_and_its_gradient_run_forward_once() -> None:
    graph, notes = lstm_with_gradient(), Notes()
    assert sum(isinstance(n.op, LstmSteps) for n in graph.nodes) == 2
    shared = ShareSaved().run(graph, notes)
    (kept,) = [n.op for n in shared.nodes if isinstance(n.op, LstmSteps)]
    assert kept.saves and notes.counts["lstm_steps"] == 1
    arrays = [normal(*v.shape, seed=i) for i, v in enumerate(graph.inputs)]  # type: ignore[arg-type]
    for got, want in zip(run(shared, arrays), run(graph, arrays), strict=True):
        assert np.array_equal(got, want)


def test_weights_are_packed_for_both_ways() -> None:
    packed = PackRecurrent().run(ShareSaved().run(lstm_with_gradient(), Notes()), Notes())
    assert {type(n.op) for n in packed.nodes} >= {PackGates, PackPanels}
    assert all(n.op.panel for n in packed.nodes if isinstance(n.op, Forward | Backward))


def test_few_rows_of_many_units_become_a_loop_that_means_the_same() -> None:
    looped = 0
    for sample in [s for s in PLAIN if isinstance(s.op, Forward)]:
        inputs = [new_input(f"x{i}", type_of(x)) for i, x in enumerate(sample.inputs)]
        graph = Graph("steps", tuple(inputs), results(build(sample.op, *inputs)))
        notes = Notes()
        after = StepByStep(weights=0).run(graph, notes)
        looped += sum(notes.counts.values())
        for got, want in zip(run(after, sample.inputs), run(graph, sample.inputs), strict=True):
            assert np.array_equal(got, want, equal_nan=True), sample.id
    assert looped > 20
    small = lstm_with_gradient()
    assert StepByStep().run(small, Notes()) is small


def test_the_slope_of_a_function_that_falls_and_rises_is_refused() -> None:
    op = RnnSteps(functions=("leaky_relu",), alphas=(-0.5,))
    inputs = [new_input("x", tensor("f32", shape)) for shape in ((3, 2, 2), (2, 2), (2, 2))]
    with pytest.raises(NotSupported, match="no gradient through leaky_relu with a negative alpha"):
        gradients([total(get(build(op, *inputs), 0))], inputs)


@pytest.mark.parametrize(("rows", "units", "looped"), [(1, 256, True), (1, 128, False), (7, 256, True), (8, 256, False),
                                                       (8, 512, True), (15, 512, True), (16, 512, False)])  # fmt: skip
def test_how_few_rows_of_how_many_units_are_made_step_by_step(rows: int, units: int, looped: bool) -> None:
    shapes = [(24, rows, 3 * units), (3 * units, units), (rows, units)]
    inputs = [new_input("x", tensor("f32", shape)) for shape in shapes]
    graph = Graph("steps", tuple(inputs), results(build(GruSteps(), *inputs)))
    assert (StepByStep().run(graph, Notes()) is not graph) == looped
