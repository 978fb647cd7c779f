"""vmap gives what a loop over the examples gives, without a loop where there is a rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, NotSupported, ShapeError
from chainrule.frontend.trace import trace
from chainrule.ops.control import Scan
from tests.ops.sample import integers, normal

Array = np.ndarray
W = normal(4, 4, seed=9)


def branch(x: Any) -> Any:
    return cr.cond(x.sum() > 0, lambda: x * 2, lambda: x - 1)


# A function of one example of [3, 4], and whether it is computed without a loop.
FUNCTIONS: dict[str, tuple[Any, bool]] = {
    "elementwise": (lambda x: cr.tanh(x) * 2 + x[0], True),
    "broadcast": (lambda x: x[:, :1] * x[1] + np.float32(3) * W[0], True),
    "reduce": (lambda x: (x.sum(), x.mean(0), x.max(-1, keepdims=True), x.argmax(1)), True),
    "softmax": (lambda x: cr.softmax(x, 0) + cr.cumsum(x, -1), True),
    "matmul": (lambda x: x @ W @ x.T, True),
    "stretched": (lambda x: (W @ x.T)[None] * cr.ones((2, 1, 3)), True),
    "shapes": (lambda x: cr.concatenate([x.reshape(2, 6).T, cr.zeros((1, 2))]).flatten(), True),
    "slices": (lambda x: cr.pad(x[1:, ::-1], ((1, 0), (0, 2))), True),
    "composite": (lambda x: cr.gelu(cr.layer_norm(x, 4)), True),
    "sort": (lambda x: cr.sort(x, -1), True),
    "constant": (lambda x: (x, cr.asarray(W) * 2), True),
    "conv": (lambda x: cr.max_pool2d(cr.conv2d(x[None, None], normal(2, 1, 2, 2)), 2, 1), True),
    "gather": (lambda x: x[cr.argmax(x[:, 0], 0)], False),
    "embed": (lambda x: (cr.asarray(W)[cr.argmax(x, 0)], x[:, [2, 0]]), True),
    "along": (lambda x: cr.take_along_axis(x, cr.argsort(x, 1), 1), True),
    "branch": (branch, False),
    "loop": (lambda x: cr.while_loop(lambda c: (c * c).sum() > 1, lambda c: c * 0.5, x), False),
}


def one_by_one(fn: Any, x: Array) -> list[Array]:
    net = cr.compile(fn, cr.spec(3, 4), backend="reference")
    return [np.stack(parts) for parts in zip(*(net.run([row]) for row in x), strict=True)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_batch_gives_what_its_examples_give(name: str) -> None:
    fn, at_once = FUNCTIONS[name]
    x = normal(5, 3, 4)
    for spec in (cr.spec(5, 3, 4), cr.spec("B", 3, 4)):
        for backend in ("reference", "llvm"):
            found = cr.compile(lambda x: cr.vmap(fn)(x), spec, backend=backend).run([x])
            for got, want in zip(found, one_by_one(fn, x), strict=True):
                np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)
    graph = trace(lambda x: cr.vmap(fn)(x), (cr.spec(5, 3, 4),)).graph
    assert at_once == (not any(isinstance(n.op, Scan) for n in graph.nodes))


def test_a_scan_stays_one_scan() -> None:
    def last(x: Any, w: Any) -> Any:
        return cr.scan(lambda h, v: (cr.tanh(h @ w + v[None]), h.sum()), cr.zeros((1, 4)), x, reverse=True)

    x, w = normal(5, 3, 4), normal(4, 4)
    got = cr.compile(lambda x, w: cr.vmap(last, (0, None))(x, w), cr.spec(5, 3, 4), cr.spec(4, 4)).run([x, w])
    for found, want in zip(got, one_by_one(lambda x: last(x, w), x), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)
    graph = trace(lambda x, w: cr.vmap(last, (0, None))(x, w), (cr.spec(5, 3, 4), cr.spec(4, 4))).graph
    (scan,) = [n for n in graph.nodes if isinstance(n.op, Scan)]
    assert scan.op.length == 3


def test_gradients_of_each_example_are_one_line() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))

    def loss(model: Any, x: Any, t: Any) -> Any:
        return cr.cross_entropy(model(x[None]), t[None])

    def every(x: Any, t: Any) -> Any:
        return cr.vmap(lambda x, t: cr.grad(loss)(model, x, t))(x, t)

    x, t = normal(6, 4), integers(0, 3, 6)
    found = cr.compile(every, cr.spec(6, 4), cr.spec(6, dtype="i64"))(x, t)
    for i in range(6):
        for name, grad in cr.grad(loss)(model, x[i], t[i]).items():
            np.testing.assert_allclose(found[name][i], grad, rtol=1e-4, atol=1e-6)
    assert not any(isinstance(n.op, Scan) for n in trace(every, (cr.spec(6, 4), cr.spec(6, dtype="i64"))).graph.nodes)


def test_axes_nestings_and_captured_tensors() -> None:
    x, y = normal(3, 5, 4), normal(5, 4, seed=1)

    def both(x: Any, y: Any) -> Any:
        return cr.vmap(lambda a, s: {"sum": a["x"] + a["y"] * s + y[0, 0]}, (1, None), 1)({"x": x, "y": y.T}, 2.0)

    got = cr.compile(both, cr.spec(4, 3), cr.spec(3, 4))(y[:3].T.copy(), y[:3])["sum"]
    np.testing.assert_allclose(got, y[:3].T + y[:3].T * 2 + y[0, 0], rtol=1e-6)
    np.testing.assert_allclose(cr.vmap(cr.vmap(lambda a, b: a * b, (None, 0)), (0, None))(x[0, 0], y[0]),
                               np.outer(x[0, 0], y[0]), rtol=1e-6)  # fmt: skip


def test_draws_differ_between_examples() -> None:
    drawn = cr.compile(lambda x: cr.vmap(lambda x: cr.uniform((2,)) + 0 * x)(x), cr.spec(4))(np.zeros(4, np.float32))
    assert len(np.unique(drawn)) == 8


def test_what_cannot_be_mapped_is_refused() -> None:
    with pytest.raises(ArgumentError, match="no argument is mapped"):
        cr.vmap(lambda x: x, None)(normal(3))
    with pytest.raises(ShapeError, match="argument 1 has 4 examples, the others 3"):
        cr.vmap(lambda x, y: x)(normal(3), normal(4))
    with pytest.raises(ShapeError, match="has no axis 1"):
        cr.vmap(lambda x: x, 1)(normal(3))
    buffer = nn.Buffer(np.zeros(2, np.float32))
    with pytest.raises(NotSupported, match="assigns a buffer"):
        trace(lambda x: cr.vmap(lambda x: buffer.assign(x) or x)(x), (cr.spec(3, 2),))
