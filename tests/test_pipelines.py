"""The pipelines as a whole: every pass means the same, they print and parse back, and what verify=True says is true."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.pipeline import pipeline
from chainrule.backends.reference import ReferenceExecutable
from chainrule.backends.reference import run as run_reference
from chainrule.errors import NumericsError
from chainrule.frontend.trace import trace
from chainrule.ir.graph import Graph, Value, new_input, rewrite
from chainrule.ir.text import text
from chainrule.ir.types import f32, f64, tensor
from chainrule.ir.verify import verify
from chainrule.ops import elementwise
from chainrule.ops.basic import constant
from chainrule.ops.elementwise import Mul
from chainrule.passes.base import Notes, Pass, Pipeline
from chainrule.passes.check import checker
from tests.several_programs import CASES, TRAININGS, Case, Training, as_arrays, bits, normal

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_pass_of_a_model_is_verified(case: Case) -> None:
    net = case.compiled(verify=True)
    arrays = case.arrays(case.rows)
    assert bits(as_arrays(net(*arrays))) == bits(as_arrays(case.compiled()(*arrays)))


@pytest.mark.parametrize("training", TRAININGS, ids=lambda training: training.name)
def test_every_pass_of_a_training_step_is_verified(training: Training) -> None:
    step = training.build(verify=True)
    assert step(*training.batch(6)) == training.build()(*training.batch(6))


def huber(y: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
    return cr.huber_loss(y, target, delta=0.7)


def attended(x: cr.Tensor) -> cr.Tensor:
    return cr.scaled_dot_product_attention(x, x * 2, x + 1)


def thirds(x: cr.Tensor) -> cr.Tensor:
    return cr.exp(x / 3) * 0.1 - cr.sqrt(cr.asarray(2.0)) * x


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16"])
@pytest.mark.parametrize(("model", "count"), [(huber, 2), (attended, 1), (thirds, 1)])
def test_constants_that_are_rounded_to_their_type_are_no_alarm(model: Any, count: int, dtype: str) -> None:
    cr.compile(model, *[cr.spec(4, 5, 6, dtype=dtype)] * count, verify=True)


def test_verification_finds_class_numbers_that_the_model_takes() -> None:
    cr.manual_seed(1)
    specs = (cr.spec("N", 4), cr.spec("N", dtype="i64"))
    cr.training_step(nn.Linear(4, 2), nn.CrossEntropyLoss(), optim.SGD(0.1), specs, verify=True)


def test_verification_finds_sizes_that_the_model_takes() -> None:
    cr.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 2, 5), nn.MaxPool2d(2), nn.Conv2d(2, 2, 5), nn.ReLU())
    cr.compile(net, cr.spec("N", 1, "H", "W"), verify=True)


@dataclass(frozen=True)
class Spoil(Pass):
    """Multiplies what is multiplied once more by a number that is hardly 1."""

    name: ClassVar[str] = "spoil"
    by: float = 1.001

    def run(self, graph: Graph, notes: Notes) -> Graph:
        def spoilt(node: Value, inputs: tuple[Value, ...]) -> Value | None:
            if not isinstance(node.op, Mul):
                return None
            return elementwise.mul(elementwise.mul(*inputs), constant(self.by, node.dtype))

        return rewrite(graph, spoilt)


def test_a_pass_that_changes_the_meaning_is_named_with_the_line_and_leaves_a_reproducer(tmp_path: Path) -> None:
    def model(x: cr.Tensor) -> cr.Tensor:
        return cr.tanh(x) * 3

    graph = trace(model, cr.spec("N", 4)).graph
    file = tmp_path / "reproducer.txt"
    spoilt = Pipeline("spoilt", (*pipeline().passes[:2], Spoil(), *pipeline().passes[2:]))
    check = checker(lambda g, arrays: run_reference(g, arrays, precise=True), reproducer=file)
    with pytest.raises(NumericsError) as caught:
        spoilt.run(graph, check)
    assert "the pass spoil" in caught.value.cause and "result 0" in caught.value.cause
    assert "test_pipelines.py" in str(caught.value) and "in pass spoil of pipeline spoilt" in str(caught.value)
    assert file.read_text().startswith("# spoil\ngraph @model") and str(file) in caught.value.help


@pytest.mark.parametrize("by", [1 + 1e-5, 1 - 1e-4])
def test_verification_sees_small_changes(by: float) -> None:
    graph = trace(lambda x: x * 3, cr.spec("N", 4)).graph
    with pytest.raises(NumericsError):
        Pipeline("spoilt", (Spoil(by),)).run(graph, checker(lambda g, a: run_reference(g, a, precise=True)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_lowered_graph_verifies_and_is_lowered_no_further(case: Case) -> None:
    cr.manual_seed(0)
    graph = trace(case.build(), case.specs).graph
    lowered, _ = pipeline().run(graph)
    verify(lowered)
    assert {v.tensor for v in lowered.inputs} == {v.tensor for v in graph.inputs}
    assert [v.tensor for v in lowered.outputs] == [v.tensor for v in graph.outputs]
    again, _ = pipeline().run(graph)
    assert text(again, places=False) == text(lowered, places=False), "the same graph is lowered in two ways"


def test_the_pipeline_is_named_and_every_pass_reports() -> None:
    graph = trace(lambda x: x * 1 + 0, cr.spec(3)).graph
    _, reports = pipeline().run(graph)
    assert [r.name.split("{")[0] for r in reports] == [p.name for p in pipeline().passes]
    assert all(("unchanged" in str(r)) == (not r.changed and not r.notes.counts) for r in reports)


def test_a_chain_of_fifty_thousand_nodes_passes() -> None:
    x = new_input("x", tensor("f32", (4,)))
    value = x
    for i in range(50_000):
        value = elementwise.add(value, x) if i % 2 else elementwise.neg(value)
    graph = Graph("chain", (x,), (value,))
    lowered, _ = pipeline().run(graph)
    verify(lowered)
    assert run_reference(lowered, [np.ones(4, np.float32)])[0].shape == (4,)


SWAPS = ("swap", "shift", "chain", "same", "input", "cross")


def stateful(kind: str) -> Graph:
    """Graphs whose states become each other's old values, or the same value, or an input."""
    a, b, c = (new_input(name, tensor("f32", (5,)), "state") for name in "abc")
    x = new_input("x", tensor("f32", (5,)))
    sum_, product = elementwise.add(a, x), elementwise.mul(b, x)
    match kind:
        case "swap":
            updates = ((a, b), (b, a))
        case "shift":
            updates = ((a, x), (b, a), (c, b))
        case "chain":
            updates = ((a, sum_), (b, a), (c, elementwise.add(sum_, b)))
        case "same":
            updates = ((a, sum_), (b, sum_), (c, sum_))
        case "input":
            updates = ((a, x), (b, x))
        case _:
            updates = ((a, product), (b, sum_), (c, elementwise.add(a, b)))
    return Graph(kind, (a, x, b, c), (elementwise.add(a, b), sum_, a), updates)


def states_after(made: Any, weights: list[Array], calls: int) -> tuple[list[bytes], list[bytes]]:
    outputs: list[bytes] = []
    for n in range(calls):
        outputs += bits(made.run([normal(5, seed=n)]))
    return outputs, bits(weights)


@pytest.mark.parametrize("kind", SWAPS)
def test_state_that_becomes_other_state_is_the_old_one(kind: str) -> None:
    def fresh() -> list[Array]:
        return [normal(5, seed=10 + n) for n in range(3)]

    expected = fresh()
    wanted: list[bytes] = []
    graph = stateful(kind)
    for n in range(3):  # by hand: all new values from the old ones, then all at once
        found = run_reference(graph, [expected[0], normal(5, seed=n), *expected[1:]])
        wanted += bits([np.array(y) for y in found[:3]])
        new = {state: np.array(y) for (state, _), y in zip(graph.updates, found[3:], strict=True)}
        held = [v for v in graph.inputs if v is not graph.inputs[1]]
        expected = [new.get(v, old) for v, old in zip(held, expected, strict=True)]
    for backend in (LlvmExecutable, ReferenceExecutable):
        weights = fresh()
        assert states_after(backend(graph, weights), weights, 3) == (wanted, bits(expected)), backend.__name__


def test_types_are_kept_through_the_pipeline() -> None:
    graph = trace(lambda x, y: (x * 2, x.astype(f64) + y, cr.exp(y) > 1), (cr.spec(3), cr.spec(3, dtype=f64))).graph
    lowered, _ = pipeline().run(graph)
    assert [v.dtype for v in lowered.outputs] == [f32, f64, graph.outputs[2].dtype]


def test_sums_over_sizes_of_call_inputs_are_not_computed_ahead_of_the_call():
    def f(x):
        return x + cr.sum(cr.ones(x.shape))

    np.testing.assert_array_equal(cr.compile(f, cr.spec("N"))(np.float32([1, 2, 3])), np.float32([4, 5, 6]))
