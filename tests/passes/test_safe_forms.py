"""Hand-written functions become ops: what fires, that the meaning is kept, gradients at the extremes, and reasons."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.reference import run
from chainrule.frontend.trace import spec, trace
from chainrule.ir.graph import Graph
from chainrule.ops.tolerance import OTHER_FRAMEWORK, models_agree
from chainrule.passes.base import Notes
from chainrule.passes.canonicalize import Canonicalize
from chainrule.passes.fold import FoldConstants
from chainrule.passes.recognise_attention import RULES as ATTENTION
from chainrule.passes.recognise_attention import RecogniseAttention
from chainrule.passes.rewrite import explain
from chainrule.passes.safe_forms import RULES, SafeForms
from tests.ops.sample import normal

Function = Callable[..., Any]


def after(graph: Graph) -> Graph:
    """The graph with everything recognised."""
    for step in (Canonicalize(), FoldConstants(), SafeForms(), RecogniseAttention(), Canonicalize()):
        graph = step.run(graph, Notes())
    return graph


def ops(graph: Graph) -> set[str]:
    """The ops of a graph that compute."""
    return {n.op.name for n in graph.nodes if n.inputs}


GAMMA, BETA = normal(8, seed=1), normal(8, seed=2)


def layer_norm(x: Any) -> Any:
    d = x - cr.mean(x, -1, keepdims=True)
    return d / cr.sqrt(cr.mean(d**2, -1, keepdims=True) + 1e-5) * GAMMA + BETA


def gelu_tanh(x: Any) -> Any:
    return 0.5 * x * (1 + cr.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


FORMS: list[tuple[str, Function]] = [
    ("softplus", lambda x: cr.log(1 + cr.exp(x))),
    ("softplus", lambda x: cr.log1p(cr.exp(x))),
    ("sigmoid", lambda x: 1 / (1 + cr.exp(-x))),
    ("log_sigmoid", lambda x: cr.log(1 / (1 + cr.exp(-x)))),
    ("sigmoid", lambda x: cr.exp(x) / (1 + cr.exp(x))),
    ("tanh", lambda x: (cr.exp(x) - cr.exp(-x)) / (cr.exp(-x) + cr.exp(x))),
    ("abs", lambda x: cr.sqrt(x * x)),
    ("abs", lambda x: cr.sqrt(x**2)),
    ("softmax", lambda x: cr.exp(x) / cr.sum(cr.exp(x), -1, keepdims=True)),
    ("softmax", lambda x: cr.exp(x - cr.max(x, -1, keepdims=True))
     / cr.sum(cr.exp(x - cr.max(x, -1, keepdims=True)), -1, keepdims=True)),
    ("log_softmax", lambda x: cr.log(cr.exp(x) / cr.sum(cr.exp(x), 1, keepdims=True))),
    ("log_softmax", lambda x: x - cr.log(cr.sum(cr.exp(x), 0, keepdims=True))),
    ("logsumexp", lambda x: cr.log(cr.sum(cr.exp(x), (0, 1)))),
    ("silu", lambda x: x * cr.sigmoid(x)),
    ("gelu", lambda x: x * 0.5 * (1 + cr.erf(x / math.sqrt(2)))),
    ("gelu", lambda x: 0.5 * (x * (cr.erf(x * 0.70710678) + 1))),
    ("gelu", gelu_tanh),
    ("layer_norm", layer_norm),
    ("layer_norm", lambda x: (x - cr.mean(x, -1, keepdims=True)) / cr.sqrt(cr.var(x, -1, keepdims=True) + 1e-6)),
    ("rms_norm", lambda x: x / cr.sqrt(cr.mean(x * x, -1, keepdims=True) + 1e-6) * GAMMA),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f[0])
def test_a_written_out_function_is_one_op_of_the_same_meaning(form: tuple[str, Function]) -> None:
    name, function = form
    graph = trace(function, (spec(6, 8),)).graph
    made = after(graph)
    assert ops(made) == {name}
    x = normal(6, 8)
    verdict = models_agree(run(made, [x])[0], run(graph, [x], precise=True)[0], OTHER_FRAMEWORK)
    assert verdict, verdict.reason


LOSSES: list[tuple[Function, Callable[[np.ndarray], np.ndarray]]] = [
    (lambda x: cr.sum(cr.log(1 + cr.exp(x))), lambda x: 1 / (1 + np.exp(-x))),
    (lambda x: cr.sum(cr.log(1 / (1 + cr.exp(-x)))), lambda x: 1 / (1 + np.exp(x))),
    (lambda x: -cr.sum(0.25 * cr.log(cr.sigmoid(x)) + 0.75 * cr.log(1 - cr.sigmoid(x))),
     lambda x: 1 / (1 + np.exp(-x)) - 0.25),
    (lambda x: cr.sum(1 / (1 + cr.exp(x))), lambda x: -np.exp(-abs(x)) / (1 + np.exp(-abs(x))) ** 2),
    (lambda x: cr.sum(x / (1 + cr.exp(-x))), lambda x: (1 + x * (1 - 1 / (1 + np.exp(-x)))) / (1 + np.exp(-x))),
    (lambda x: cr.sum(cr.log(cr.cosh(x))), np.tanh),
    (lambda x: cr.sum(cr.log(cr.exp(x) + cr.exp(-x))), np.tanh),
    (lambda x: cr.sum(cr.log(cr.exp(x))), np.ones_like),
    (lambda x: cr.sum(cr.sqrt(x * x)), np.sign),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_finite_at_the_extremes(loss: tuple[Function, Callable[[np.ndarray], np.ndarray]]) -> None:
    function, slope = loss
    x = np.float32([-300, -90, -1, 0, 1, 90, 300])
    with np.errstate(over="ignore"):
        wanted = slope(x.astype(np.float64))
    found = cr.compile(cr.grad(function), spec(7))(x)
    verdict = models_agree(found, wanted)
    assert verdict, verdict.reason
    assert np.isfinite(found).all()


def test_the_gradient_of_a_naive_softmax_is_finite() -> None:
    def loss(x: Any) -> Any:
        powers = cr.exp(x)
        return -cr.log(powers / cr.sum(powers, -1, keepdims=True))[0, 1]

    found = cr.compile(cr.grad(loss), spec(1, 3))(np.float32([[500, -500, 0]]))
    np.testing.assert_array_equal(found, np.float32([[1, -1, 0]]))


ROWS = np.float32([[500, -500, 0], [3, 1000, 2], [0, 0, 0]])
PICKS: list[Function] = [
    lambda p: p[np.arange(3), np.array([0, 1, 2])],
    lambda p: cr.take_along_axis(p, np.array([[0], [1], [2]]), 1)[:, 0],
    lambda p: cr.stack([p[0, 0], p[1, 1], p[2, 2]]),
]


@pytest.mark.parametrize("pick", PICKS)
def test_the_logarithm_of_shares_that_are_picked_is_safe(pick: Function) -> None:
    def loss(x: Any) -> Any:
        shares = cr.softmax(x, 1)
        return -cr.log(pick(shares)).sum() + 0 * shares.sum()

    value, slope = cr.compile(cr.value_and_grad(loss), spec(3, 3))(ROWS)
    verdict = models_agree(np.asarray(value), np.log(3.0))
    assert verdict, verdict.reason
    verdict = models_agree(slope, np.array([[0, 0, 0], [0, 0, 0], [1 / 3, 1 / 3, -2 / 3]]))
    assert verdict, verdict.reason


def test_the_entropy_of_shares_is_safe() -> None:
    def entropy(x: Any) -> Any:
        shares = cr.softmax(x, 1)
        return -(shares * cr.log(shares)).sum()

    value, slope = cr.compile(cr.value_and_grad(entropy), spec(3, 3))(ROWS)
    verdict = models_agree(np.asarray(value), np.log(3.0))
    assert verdict and np.isfinite(slope).all(), verdict.reason


def test_what_is_used_elsewhere_or_differs_stays_and_says_why() -> None:
    both = trace(lambda x: (cr.log(cr.sum(cr.exp(x))), cr.sum(cr.exp(x))), (spec(4),)).graph
    assert "also an output" in explain(both, "log(sum(exp(x))) = logsumexp(x)", RULES)
    other = trace(lambda x: x * 0.5 * (1 + cr.erf(x / 1.5)), (spec(4),)).graph
    assert "1.5, not 1.41421" in explain(other, "x * (1 + erf(x/sqrt(2))) / 2 = gelu(x)", RULES)
    assert "gelu" not in ops(after(other))
    first = trace(lambda x: cr.exp(x) / cr.sum(cr.exp(x)), (spec(2, 4),)).graph
    assert "not over one axis that is kept" in explain(first, "exp(x) / sum(exp(x)) = softmax(x)", RULES)


# -- attention ---------------------------------------------------------------------------------------------------------


def softmax_of(scores: Any) -> Any:
    return cr.softmax(scores, -1)


TRIANGLE = np.tril(np.ones((5, 5), bool))
ATTENTIONS: list[Function] = [
    lambda q, k, v: softmax_of(q @ k.transpose(0, 1, 3, 2) / 2.0) @ v,
    lambda q, k, v: softmax_of(0.3 * (q @ k.transpose(0, 1, 3, 2))) @ v,
    lambda q, k, v: softmax_of((q * 0.5) @ (k.transpose(0, 1, 3, 2) * 0.5)) @ v,
    lambda q, k, v: softmax_of(q @ k.transpose(0, 1, 3, 2) / 2.0 + np.float32(normal(5, 5, seed=4))) @ v,
    lambda q, k, v: softmax_of(cr.where(TRIANGLE, q @ k.transpose(0, 1, 3, 2) * 0.5, -np.inf)) @ v,
    lambda q, k, v: softmax_of(cr.where(TRIANGLE, q @ k.transpose(0, 1, 3, 2) * 0.5, -1e9)) @ v,
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ATTENTIONS)))
def test_a_written_out_attention_is_one_op_of_the_same_meaning(number: int) -> None:
    graph = trace(ATTENTIONS[number], (spec("N", 3, 5, 4),) * 3).graph
    made = after(graph)
    assert ops(made) <= {"attention", "where"}
    arrays = [normal(2, 3, 5, 4, seed=s) for s in range(3)]
    verdict = models_agree(run(made, arrays)[0], run(graph, arrays, precise=True)[0], OTHER_FRAMEWORK)
    assert verdict, verdict.reason


def test_a_constant_triangle_is_the_order_of_positions() -> None:
    made = after(trace(ATTENTIONS[4], (spec("N", 3, 5, 4),) * 3).graph)
    (node,) = (n for n in made.nodes if n.op.name == "attention")
    assert getattr(node.op, "causal") and len(node.inputs) == 3  # noqa: B009


def test_a_softmax_over_other_axes_is_no_attention() -> None:
    graph = trace(lambda q, k, v: cr.softmax(q @ k.transpose(0, 2, 1), 1) @ v, (spec(2, 5, 4),) * 3).graph
    assert "attention" not in ops(after(graph))
    assert "not over the keys" in explain(graph, "softmax(q k^T * scale) v = attention(q, k, v)", ATTENTION)


def test_repeated_heads_of_keys_are_shared_ones() -> None:
    def repeated(x: Any) -> Any:
        n, heads, length, size = x.shape
        wide = cr.broadcast_to(x.reshape(n, heads, 1, length, size), (n, heads, 3, length, size))
        return wide.reshape(n, 3 * heads, length, size)

    def model(q: Any, k: Any, v: Any) -> Any:
        scores = q @ repeated(k).reshape(12, 5, 4).transpose(0, 2, 1).reshape(2, 6, 4, 5)
        weights = cr.softmax(scores + TRIANGLE.astype(np.float32), -1)
        return cr.where(cr.isnan(weights), 0.0, weights) @ repeated(v)

    graph = trace(model, (spec(2, 6, 5, 4), spec(2, 2, 5, 4), spec(2, 2, 5, 4))).graph
    made = after(graph)
    assert ops(made) == {"attention"}
    arrays = [normal(2, 6, 5, 4), normal(2, 2, 5, 4, seed=1), normal(2, 2, 5, 4, seed=2)]
    verdict = models_agree(run(made, arrays)[0], run(graph, arrays, precise=True)[0], OTHER_FRAMEWORK)
    assert verdict, verdict.reason
