"""Passes inside loops and branches: they enter bodies, trim what is unused, and move what never changes in a loop."""

from __future__ import annotations

from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.backends import reference
from chainrule.frontend.trace import trace
from chainrule.ir.graph import Graph, Input
from chainrule.ir.text import text
from chainrule.ops.control import Cond, Scan, While
from chainrule.passes.base import Pass, Pipeline
from chainrule.passes.canonicalize import RULES, Canonicalize
from chainrule.passes.check import checker
from chainrule.passes.decompose import Decompose
from chainrule.passes.fold import FoldConstants
from chainrule.passes.hoist_invariants import HoistInvariants, MarkFixed
from chainrule.passes.rewrite import explain
from chainrule.passes.trim_bodies import TrimBodies


def graph_of(fn: Any, *specs: Any) -> Graph:
    return trace(fn, specs).graph


def after(graph: Graph, *passes: Pass) -> Graph:
    """The graph after the passes, each of which is checked on the reference."""
    check = checker(lambda graph, arrays: reference.run(graph, arrays, precise=True))
    return Pipeline("test", passes).run(graph, check)[0]


def only(graph: Graph, kind: type) -> Any:
    (found,) = [n for n in graph.nodes if isinstance(n.op, kind)]
    return found


def mnemonics(graph: Graph) -> list[str]:
    return [n.op.mnemonic for n in graph.nodes if not isinstance(n.op, Input)]


def test_passes_enter_bodies_in_bodies() -> None:
    def model(x: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            h = cr.cond(v.sum() > 0, lambda: cr.gelu(h + 0.0 * 2.0), lambda: h * 1.0)
            return h, None

        return cr.scan(step, cr.zeros(3), x)[0]

    graph = after(graph_of(model, cr.spec("T", 3)), Canonicalize(), FoldConstants(), Decompose())
    branch = only(only(graph, Scan).op.body, Cond).op
    assert "gelu" not in text(graph)
    assert mnemonics(branch.otherwise) == []


def test_equal_bodies_are_rewritten_once() -> None:
    def model(x: Any, y: Any) -> Any:
        return [cr.scan(lambda h, v: (h * 1.0 + v, None), 0.0, z)[0] for z in (x, y)]

    first, second = (n.op.body for n in after(graph_of(model, cr.spec(3), cr.spec(3)), Canonicalize()).nodes
                     if isinstance(n.op, Scan))  # fmt: skip
    assert first == second and mnemonics(first) == ["add"]


def test_unused_results_carries_slices_and_captures_go() -> None:
    def model(x: Any, y: Any, w: Any) -> Any:
        def step(carry: Any, v: Any) -> Any:
            a, b = carry
            return (a + v[0], b * w + v[1]), (a, b)

        return cr.scan(step, (0.0, 0.0), (x, y))[1][0]

    graph = after(graph_of(model, cr.spec("T"), cr.spec("T"), cr.spec()), TrimBodies())
    op = only(graph, Scan).op
    assert (op.carries, op.scanned, op.captured, len(op.body.outputs)) == (1, 1, 0, 2)


def test_a_test_keeps_the_carries_that_it_asks() -> None:
    def model(x: Any, w: Any) -> Any:
        return cr.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * 2, c[2] * w), (0, x, x))[1]

    op = only(after(graph_of(model, cr.spec(), cr.spec()), TrimBodies()), While).op
    assert (op.carries, op.captured) == (2, 0)


def test_branches_inside_loops_are_trimmed_with_them() -> None:
    def model(x: Any, w: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            a, b = cr.cond(v > 0, lambda: (h + v, v * w), lambda: (h, v))
            return a, b

        return cr.scan(step, 0.0, x)[0]

    op = only(after(graph_of(model, cr.spec("T"), cr.spec()), TrimBodies()), Scan).op
    assert op.captured == 0
    assert len(only(op.body, Cond).op.then.outputs) == 1


def test_what_depends_on_captures_alone_moves_out_of_all_loops() -> None:
    def model(x: Any, w: Any) -> Any:
        def inner(h: Any, v: Any) -> Any:
            return h @ cr.softmax(w, -1) + v, None

        return cr.scan(lambda h, m: (cr.scan(inner, h, m)[0], None), cr.zeros((2, 3)), x)[0]

    graph = after(graph_of(model, cr.spec(2, 3, 2, 3), cr.spec(3, 3)), HoistInvariants())
    assert "softmax" in mnemonics(graph)
    assert mnemonics(only(only(graph, Scan).op.body, Scan).op.body) == ["matmul", "add"]


def test_what_may_fail_stays_in_a_loop_that_may_not_run() -> None:
    graph = after(graph_of(lambda x, w, i: cr.scan(lambda h, v: (h + w[i] * 2, None), cr.zeros(3), x)[0],
                           cr.spec(2), cr.spec(4, 3), cr.spec(dtype="i64")), HoistInvariants())  # fmt: skip
    assert "gather" in mnemonics(only(graph, Scan).op.body)


def test_a_branch_gives_up_what_depends_on_weights_alone() -> None:
    layer = nn.Linear(3, 3)

    def model(x: Any) -> Any:
        return cr.cond(x.sum() > 0, lambda: x @ cr.exp(layer.weight), lambda: cr.exp(x))

    graph = after(graph_of(model, cr.spec(2, 3)), MarkFixed(), HoistInvariants())
    op = only(graph, Cond).op
    assert mnemonics(op.then) == ["matmul"] and mnemonics(op.otherwise) == ["exp"]


def test_numbers_of_loops_and_branches_agree_with_the_reference() -> None:
    def model(x: Any) -> Any:
        scaled = cr.map(lambda v: v / (1 + cr.abs(v).max()), x)
        return cr.scan(lambda h, v: (cr.cond(h.sum() > v.sum(), lambda: h - v, lambda: h + v), h), x[0], scaled)

    x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    for got, want in zip(cr.compile(model, cr.spec(4, 3), verify=True).run([x]),
                         cr.compile(model, cr.spec(4, 3), backend="reference").run([x]), strict=True):  # fmt: skip
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_why_a_rule_fires_or_not_is_told_of_bodies_too() -> None:
    graph = graph_of(lambda x: cr.scan(lambda h, v: (h * 1.0 + v, None), 0.0, x)[0], cr.spec(3))
    assert explain(graph, "x * 1 = x", RULES).startswith("x * 1 = x: fires at mul f32[]")
