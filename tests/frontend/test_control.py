"""scan, while_loop, cond and map: what they compute, what they take from around them, and what they refuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ChainruleError, DTypeError, NumericsError, ShapeError
from chainrule.frontend.trace import trace
from chainrule.ir.parse import parse
from chainrule.ir.text import text
from chainrule.ops import OP_BY_NAME
from chainrule.ops.control import Cond, Scan, While
from tests.ops.sample import normal

BACKENDS = ("reference", "llvm")


def run(fn: Any, *arrays: np.ndarray, backend: str = "reference") -> Any:
    """The function compiled for these arrays' types, and called on them."""
    return cr.compile(fn, *(cr.spec(*a.shape, dtype=a.dtype.name) for a in map(np.asarray, arrays)), backend=backend)(
        *map(np.asarray, arrays)
    )


def ops(fn: Any, *specs: Any, training: bool = False) -> list[Any]:
    """The loops and branches of a function's graph."""
    return [n.op for n in trace(fn, specs, training=training).graph.nodes if isinstance(n.op, Cond | Scan | While)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_scan_gives_the_last_carry_and_all_results(backend: str) -> None:
    def sums(x: Any) -> Any:
        return cr.scan(lambda total, row: (total + row, total), cr.zeros(3), x)

    x = normal(5, 3)
    total, before = run(sums, x, backend=backend)
    np.testing.assert_allclose(total, x.sum(0), rtol=1e-6)
    np.testing.assert_allclose(before, np.concatenate([np.zeros((1, 3)), x.cumsum(0)[:-1]]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_scan_backwards_leaves_results_where_their_slices_stand(backend: str) -> None:
    x = normal(4)
    _, found = run(lambda x: cr.scan(lambda c, v: (c + v, c + v), 0.0, x, reverse=True), x, backend=backend)
    np.testing.assert_allclose(found, x[::-1].cumsum()[::-1], rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_program_serves_every_number_of_steps(backend: str) -> None:
    def last(x: Any) -> Any:
        return cr.scan(lambda c, v: (c * 0.5 + v, c), cr.zeros(2), x)

    net = cr.compile(last, cr.spec("T", 2), backend=backend)
    for steps in (0, 1, 7):
        x = normal(steps, 2, seed=steps)
        carry, before = np.zeros(2, np.float32), []
        for row in x:
            before.append(carry)
            carry = carry * np.float32(0.5) + row
        got, stacked = net(x)
        np.testing.assert_array_equal(got, carry)
        np.testing.assert_array_equal(stacked, np.reshape(before, (steps, 2)))


@dataclass
class State:
    """A carry with names."""

    mean: Any
    counts: dict[str, Any]


def test_carries_and_slices_may_be_nested() -> None:
    def step(state: State, x: tuple[Any, Any]) -> tuple[State, dict[str, Any]]:
        a, b = x
        return State(state.mean + a * b, {"n": state.counts["n"] + 1}), {"product": a * b, "nothing": None}

    def model(a: Any, b: Any) -> Any:
        return cr.scan(step, State(0.0, {"n": 0}), (a, b))

    a, b = normal(3), normal(3, seed=1)
    state, made = run(model, a, b)
    assert isinstance(state, State) and state.counts["n"] == 3
    np.testing.assert_allclose(state.mean, (a * b).sum(), rtol=1e-6)
    np.testing.assert_allclose(made["product"], a * b)
    assert made["nothing"] is None


def test_tensors_parameters_and_arrays_from_around_are_captured() -> None:
    linear = nn.Linear(3, 3)
    shift = normal(3, seed=4)

    def model(x: Any, scale: Any) -> Any:
        doubled = scale * 2
        return cr.scan(lambda h, v: (linear(h) * doubled + v + shift, None), cr.zeros(3), x)[0]

    x, scale = normal(4, 3), np.float32(0.3)
    want = np.zeros(3)
    for row in x:
        want = (want @ linear.weight.data.T + linear.bias.data) * (scale * 2) + row + shift
    np.testing.assert_allclose(run(model, x, scale), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model(x, scale), want, rtol=1e-5, atol=1e-6)


def test_a_loop_runs_until_its_condition_fails_or_its_bound_is_met() -> None:
    def doubled(x: Any, bound: int | None) -> Any:
        return cr.while_loop(lambda c: c[0] < 100.0, lambda c: (c[0] * 2, c[1] + 1), (x, 0), bound)

    assert [float(v) for v in run(lambda x: doubled(x, None), np.float32(1))] == [128.0, 7]
    assert [float(v) for v in run(lambda x: doubled(x, 3), np.float32(1))] == [8.0, 3]
    assert [float(v) for v in doubled(np.float32(200), None)] == [200.0, 0]


def test_only_the_chosen_branch_runs() -> None:
    def model(x: Any, i: Any) -> Any:
        return cr.cond(i < 3, lambda: x[i] * 2, lambda: cr.zeros_like(x[0]))

    x = normal(3, 2)
    np.testing.assert_array_equal(run(model, x, np.int64(1)), x[1] * 2)
    np.testing.assert_array_equal(run(model, x, np.int64(50)), np.zeros(2))  # x[50] would be an error


def test_branches_take_operands_and_a_python_bool_decides_at_once() -> None:
    assert float(cr.cond(True, lambda a: a + 1, lambda a: a - 1, np.float32(2))) == 3.0
    got = run(lambda p, a: cr.cond(p, lambda a: {"y": a + 1}, lambda a: {"y": a - 1}, a), np.bool_(False), normal(2))
    np.testing.assert_array_equal(got["y"], normal(2) - 1)


def test_map_stacks_what_a_function_gives() -> None:
    x = normal(3, 2, 2)
    np.testing.assert_allclose(run(lambda x: cr.map(lambda m: m @ m, x), x), x @ x, rtol=1e-5, atol=1e-6)


def test_rows_stop_at_their_length() -> None:
    x, lengths = normal(4, 3, 2), np.array([2, 0, 4])

    def model(x: Any, lengths: Any) -> Any:
        return cr.scan(lambda h, v: (h + v, h + v), cr.zeros((3, 2)), x, lengths=lengths)

    last, made = run(model, x, lengths)
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(last[row], x[:length, row].sum(0), atol=1e-6)
        np.testing.assert_allclose(made[:length, row], x[:length, row].cumsum(0), atol=1e-6)
        assert not made[length:, row].any()


def test_draws_differ_from_step_to_step_and_from_call_to_call() -> None:
    def noise(x: Any) -> Any:
        return cr.scan(lambda c, v: (c, (cr.normal((2,)), cr.map(lambda w: cr.uniform(()), x))), 0.0, x)[1]

    net = cr.compile(noise, cr.spec(3), backend="reference")
    first, second = net(normal(3)), net(normal(3))
    for a, b in zip(first, second):
        drawn = np.concatenate([a.ravel(), b.ravel()])
        assert len(np.unique(drawn)) == drawn.size


def test_buffers_that_a_body_assigns_keep_what_the_last_step_left() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            self.count = nn.Buffer(np.zeros((), np.int64))

        def __call__(self, x: Any) -> Any:
            self.count.assign(self.count + 1)

            def step(c: Any, v: Any) -> Any:
                self.count.assign(self.count + 2)
                cr.cond(v > 0, lambda: self.count.assign(self.count * 2) or c, lambda: c)
                return c + v, self.count + 0

            return cr.scan(step, 0.0, x)[1], self.count + 0

    counter = Counter()
    net = cr.compile(counter, cr.spec("T"), backend="reference")
    made, last = net(np.float32([1, -1, 1]))
    assert made.tolist() == [6, 8, 20] and last == 20 and counter.count.data == 20


def test_equal_loops_are_one_node() -> None:
    def model(x: Any) -> Any:
        a, b = (cr.scan(lambda c, v: (c + v, c), 0.0, x)[0] for _ in range(2))
        return a + b

    assert len(ops(model, cr.spec(4))) == 1


def test_graphs_with_bodies_print_and_parse() -> None:
    def model(x: Any) -> Any:
        def step(c: Any, v: Any) -> Any:
            c = cr.while_loop(lambda c: c.sum() < 3, lambda c: c + 1, c, max_trips=x.shape[0])
            return cr.cond(v.sum() > 0, lambda: c, lambda: c * v), None

        return cr.scan(step, cr.zeros(2), x)[0]

    graph = trace(model, cr.spec("T", 2)).graph
    written = text(graph, places=False)
    again = parse(written, OP_BY_NAME)
    assert text(again, places=False) == written
    (before,), (after,) = ([n.op for n in g.nodes if isinstance(n.op, Scan)] for g in (graph, again))
    assert before == after and hash(before) == hash(after)


def refused(kind: type[ChainruleError], fn: Any, *specs: Any) -> str:
    with pytest.raises(kind) as caught:
        trace(fn, specs)
    assert caught.value.loc is not None
    return str(caught.value)


def test_a_carry_that_changes_its_type_is_named_with_both_types() -> None:
    message = refused(ShapeError, lambda x: cr.scan(lambda c, v: ({"h": c["h"] @ cr.ones((2, 3))}, None),
                                                    {"h": x[0]}, x), cr.spec(5, 4, 2))  # fmt: skip
    assert "scan: carry.h is f32[4,2] before a step and f32[4,3] after it" in message
    message = refused(DTypeError, lambda x: cr.while_loop(lambda c: c.sum() > 0, lambda c: c > 0, x), cr.spec(3))
    assert "while_loop: carry is f32[3] before a step and bool[3] after it" in message
    message = refused(DTypeError, lambda x: cr.cond(x[0] > 0, lambda: x, lambda: x > 0), cr.spec(3))
    assert "cond: result is f32[3] where the predicate is true and bool[3] where it is false" in message


def test_other_nestings_and_missing_lengths_are_refused() -> None:
    assert "not a pair" in refused(ArgumentError, lambda x: cr.scan(lambda c, v: c, 0.0, x), cr.spec(3))
    assert "nothing tells the number of steps" in refused(
        ArgumentError, lambda x: cr.scan(lambda c, v: (c, c), x, None), cr.spec(3))  # fmt: skip
    assert "xs.1 has 4 steps, by xs.0 there are 3" in refused(
        ShapeError, lambda x, y: cr.scan(lambda c, v: (c, c), 0.0, (x, y)), cr.spec(3), cr.spec(4))  # fmt: skip
    assert "the condition is f32[3], not one bool" in refused(
        ShapeError, lambda x: cr.while_loop(lambda c: c, lambda c: c, x), cr.spec(3))  # fmt: skip
    assert "scan: the carry" in refused(ArgumentError, lambda x: cr.scan(lambda c, v: ((c, c), None), 0.0, x),
                                        cr.spec(3))  # fmt: skip


def test_a_python_number_takes_the_type_that_the_body_makes_of_it() -> None:
    x = normal(3, dtype="float64")
    got, _ = run(lambda x: cr.scan(lambda c, v: (c + v, None), 0, x), x)
    assert got.dtype == np.float64


def test_the_first_nan_in_a_loop_is_named_where_it_is_made() -> None:
    def model(x: Any) -> Any:
        def step(total: Any, v: Any) -> Any:
            return cr.cond(v > 0, lambda: total + cr.log(v - 2), lambda: total), None

        return cr.scan(step, 0.0, x)[0]

    net = cr.compile(model, cr.spec("T"), backend="reference")
    net.check_numerics(np.float32([3, -1, 5]))
    with pytest.raises(NumericsError, match="log: the number is nan") as caught:
        net.check_numerics(np.float32([3, -1, 1]))
    assert "cr.log(v - 2)" in str(caught.value)
