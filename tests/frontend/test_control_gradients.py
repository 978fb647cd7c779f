"""Gradients through loops and branches, against differences in float64, and in compiled training steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import NotSupported
from chainrule.frontend.trace import trace
from chainrule.ir.body import with_inner
from chainrule.ir.graph import Graph
from chainrule.ops.control import Scan
from chainrule.ops.tolerance import DIFFERENCE_STEP, gradients_agree
from chainrule.passes.base import Notes
from chainrule.passes.merge_scans import MergeScans
from chainrule.passes.trim_bodies import TrimBodies

Array = np.ndarray


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def assert_slope(fn: Callable[..., Any], *arrays: Array, compiled: bool = True) -> None:
    """The gradient of a scalar function for all arguments is its slope, at once and compiled."""
    grads = cr.grad(fn, tuple(range(len(arrays))))(*arrays)
    specs = [cr.spec(*a.shape, dtype="f64") for a in arrays]
    value = cr.compile(fn, *specs, backend="reference")
    for i, (x, grad) in enumerate(zip(arrays, grads, strict=True)):
        slopes = np.zeros(x.shape)
        for place in np.ndindex(x.shape):
            slopes[place] = _slope(value, arrays, i, place)
        verdict = gradients_agree(np.asarray(grad), slopes)
        assert verdict, f"argument {i}: {verdict.reason}"
    if compiled:
        net = cr.compile(lambda *args: cr.grad(fn, tuple(range(len(args))))(*args), *specs, verify=True)
        for got, want in zip(net(*arrays), grads, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


def _slope(fn: Callable[..., Any], arrays: tuple[Array, ...], i: int, place: tuple[int, ...]) -> float:
    def moved(steps: int) -> float:
        changed = [a.copy() for a in arrays]
        changed[i][place] += steps * DIFFERENCE_STEP
        return float(fn(*changed))

    return (8 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / (12 * DIFFERENCE_STEP)


def recurrent(w: Any, x: Any, h: Any) -> Any:
    def step(h: Any, v: Any) -> Any:
        h = cr.tanh(h @ w + v)
        return h, (h * h).sum()

    last, made = cr.scan(step, h, x)
    return (last * last * last).sum() + (made * cr.arange(x.shape[0]).astype("f64")).sum()


def test_a_recurrent_net() -> None:
    assert_slope(recurrent, draw(3, 3), draw(4, 2, 3, seed=1), draw(2, 3, seed=2))


@pytest.mark.parametrize("reverse", [False, True])
def test_two_carries_of_which_one_needs_no_gradient_and_one_is_a_number(reverse: bool) -> None:
    def model(w: Any, x: Any) -> Any:
        def step(carry: Any, v: Any) -> Any:
            a, n = carry
            a = a * w + cr.sin(v) * (n + 1).astype("f64")
            return (a, n + 1), cr.exp(-a * a)

        (a, _), made = cr.scan(step, (cr.zeros(2, "f64"), 0), x, reverse=reverse)
        return a.sum() * made.sum()

    assert_slope(model, draw(2), draw(3, 2, seed=1))


def test_a_carry_that_only_later_steps_need() -> None:
    def model(x: Any) -> Any:
        return cr.scan(lambda c, v: ((c[1] * v, c[0] + v), None), (x[0], x[1]), x)[0][0]

    assert_slope(model, draw(5))


def test_loops_in_loops_with_branches() -> None:
    def model(w: Any, x: Any) -> Any:
        def column(s: Any, v: Any) -> Any:
            s = cr.cond(v > 0, lambda: s * w + v, lambda: s - cr.tanh(v))
            return s, s * s

        def row(total: Any, line: Any) -> Any:
            last, made = cr.scan(column, total, line)
            return last, made.sum()

        last, made = cr.scan(row, x[0, 0] * 0, x)
        return last + (made * made).sum()

    assert_slope(model, np.full((), 0.7), draw(3, 4) + 0.1)


def test_a_branch_passes_no_nan_of_the_other_branch() -> None:
    def model(x: Any) -> Any:
        return cr.cond(x > 0, lambda: cr.log(x), lambda: x * 2)

    assert float(cr.grad(model)(np.float64(-3.0))) == 2.0
    assert float(cr.grad(model)(np.float64(4.0))) == 0.25


def test_a_bounded_loop() -> None:
    def model(x: Any, w: Any) -> Any:
        def body(c: Any) -> Any:
            return c[0] * w + cr.sin(c[0]), c[1] + 1

        y, n = cr.while_loop(lambda c: cr.abs(c[0]).sum() < 10.0, body, (x, 0), max_trips=9)
        return (y * y).sum() * (n + 1).astype("f64")

    assert_slope(model, draw(3), np.full((), 1.5))


def test_a_loop_without_a_bound_says_so() -> None:
    with pytest.raises(NotSupported, match="a loop without a bound") as caught:
        cr.grad(lambda x: cr.while_loop(lambda c: c < 10.0, lambda c: c * 2, x))(np.float64(1))
    assert "max_trips" in caught.value.help


def test_no_steps_pass_the_gradient_through() -> None:
    gx, gh = cr.grad(lambda x, h: cr.scan(lambda h, v: (h * v, None), h, x)[0], (0, 1))(np.zeros(0), np.float64(3))
    assert gx.shape == (0,) and float(gh) == 1.0


def test_ragged_rows_have_no_gradient_behind_their_end() -> None:
    lengths = np.array([3, 0, 1])

    def model(x: Any, w: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            h = cr.tanh(h * w + v)
            return h, h

        last, made = cr.scan(step, cr.zeros(3, "f64"), x, lengths=lengths)
        return (last * last).sum() + (made * made * made).sum()

    x = draw(4, 3)
    assert_slope(model, x, np.full((), 0.8))
    grad = cr.grad(model)(x, np.float64(0.8))
    assert not np.asarray(grad)[np.arange(4)[:, None] >= lengths].any()


def test_second_derivatives_pass_through_the_backward_loop() -> None:
    w, x, h, v = draw(3, 3), draw(4, 2, 3, seed=1), draw(2, 3, seed=2), draw(3, 3, seed=3)

    def along(w: Any) -> Any:
        return (cr.grad(lambda w: recurrent(w, x, h))(w) * v).sum()

    assert_slope(along, w, compiled=False)
    product = cr.hvp(lambda w: recurrent(w, x, h), w, v)
    np.testing.assert_allclose(cr.grad(along)(w), product, rtol=1e-9, atol=1e-11)
    slope = cr.jvp(lambda w: recurrent(w, x, h), (w,), (v,))[1]
    np.testing.assert_allclose(float(slope), (np.asarray(cr.grad(recurrent)(w, x, h)) * v).sum(), rtol=1e-10)


def test_one_gradient_serves_every_number_of_steps() -> None:
    net = cr.compile(lambda w, x, h: cr.grad(recurrent, (0, 1, 2))(w, x, h), cr.spec(3, 3, dtype="f64"),
                     cr.spec("T", "N", 3, dtype="f64"), cr.spec("N", 3, dtype="f64"))  # fmt: skip
    for steps, rows in ((1, 2), (5, 1), (0, 2)):
        given = draw(3, 3), draw(steps, rows, 3, seed=1), draw(rows, 3, seed=2)
        for got, want in zip(net(*given), cr.grad(recurrent, (0, 1, 2))(*given), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)


def merged(fn: Any, *specs: Any) -> Graph:
    return TrimBodies().run(MergeScans().run(trace(fn, specs).graph, Notes()), Notes())


def test_forward_and_backward_are_two_loops_and_keep_what_the_backward_reads() -> None:
    def model(w: Any, x: Any) -> Any:
        return cr.value_and_grad(lambda w: cr.scan(lambda h, v: (cr.tanh(h @ w + v), None), x[0], x)[0].sum())(w)

    loops = [n.op for n in merged(model, cr.spec(8, 8), cr.spec(5, 2, 8)).nodes if isinstance(n.op, Scan)]
    assert len(loops) == 2
    forward, backward = loops
    assert len(forward.body.outputs) == 3, "the carry, and its values before and after each step"
    assert backward.carries == 1, "the weight's gradient is one product behind the loop"


class Reader(nn.Module):
    """A recurrent net that reads a sequence, with dropout between steps."""

    def __init__(self) -> None:
        self.inner, self.outer, self.last = nn.Linear(6, 6), nn.Linear(2, 6), nn.Linear(6, 1)
        self.drop = nn.Dropout(0.1)

    def __call__(self, x: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            return cr.tanh(self.inner(self.drop(h)) + self.outer(v)), None

        h, _ = cr.scan(step, cr.zeros((x.shape[0], 6)), x.transpose(1, 0, 2))
        return self.last(h)


def test_parameters_in_bodies_train() -> None:
    cr.manual_seed(1)
    step = cr.training_step(Reader(), cr.mse_loss, optim.Adam(1e-2), (cr.spec(32, 5, 2), cr.spec(32, 1)), seed=0)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(150):
        x = rng.standard_normal((32, 5, 2)).astype(np.float32)
        losses.append(float(step(x, x[:, :, 0].sum(1, keepdims=True))))
    assert np.mean(losses[-10:]) < 0.25 * np.mean(losses[:10])


def test_products_in_bodies_are_narrow_in_mixed_precision() -> None:
    cr.manual_seed(1)
    step = cr.training_step(Reader(), cr.mse_loss, optim.SGD(1e-2), (cr.spec(4, 5, 2), cr.spec(4, 1)), mixed="bf16")
    products = [n for n in with_inner(step.graph) if n.op.name == "matmul"]
    assert products and {n.dtype.name for n in products} == {"bf16"}
    assert np.isfinite(float(step(np.ones((4, 5, 2), np.float32), np.ones((4, 1), np.float32))))
