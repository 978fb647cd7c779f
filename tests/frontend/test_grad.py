"""Derivatives of plain functions, to any order, at once and inside a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, DTypeError, NotSupported, ShapeError
from chainrule.frontend import nn
from chainrule.frontend.functions import elementwise, reduce
from chainrule.frontend.grad import grad, hessian, hvp, jacobian, jvp, stop_gradient, value_and_grad, vjp
from chainrule.frontend.tensor import Tensor
from chainrule.frontend.trace import spec, trace
from tests.frontend.agreement import assert_same, normal, run_traced

X, W = normal(4), normal(3, 4, seed=1)
sin, tanh = elementwise.sin, elementwise.tanh


def test_gradients_of_plain_functions() -> None:
    assert_same(grad(lambda x: (x**3).sum())(X), 3 * X**2)
    value, slope = value_and_grad(lambda x: sin(x).sum())(X)
    assert_same(value, np.sin(X).sum())
    assert_same(slope, np.cos(X))
    first, second = grad(lambda a, b: (a * b).sum(), argnums=(0, 1))(X, X + 1)
    assert_same(first, X + 1), assert_same(second, X)
    assert_same(grad(lambda a, b: (a * b * b).sum(), argnums=-1)(X, X), 2 * X * X)


def test_arguments_may_be_nested_and_modules() -> None:
    slopes = grad(lambda p: (p["a"] * p["b"][0]).sum())({"a": X, "b": [X * 2]})
    assert_same(slopes["a"], X * 2), assert_same(slopes["b"][0], X)
    layer = nn.Linear(4, 3).to("f64")
    slopes = grad(lambda m: m(X).sum())(layer)
    assert_same(slopes["weight"], np.tile(X, (3, 1))), assert_same(slopes["bias"], np.ones(3))


def test_only_the_argument_is_differentiated_not_what_equals_it() -> None:
    traced = trace(lambda x: grad(lambda y: (y * x).sum())(x), spec(4, dtype="f64"))
    assert_same(run_traced(traced, X), X)
    assert_same(grad(lambda x: (x * stop_gradient(x)).sum())(X), X)


def test_derivatives_nest_to_any_order() -> None:
    def derivative(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: grad(lambda y: f(y).sum())(x)

    f: Callable[[Any], Any] = lambda x: x**5  # noqa: E731
    for factor, power in ((5, 4), (20, 3), (60, 2), (120, 1)):
        f = derivative(f)
        assert_same(f(X), factor * X**power)
    traced = trace(derivative(derivative(sin)), spec("N", dtype="f64"))
    assert_same(run_traced(traced, X), -np.sin(X))


def test_pushes_pulls_and_products_agree() -> None:
    v = normal(4, seed=3)
    result, pushed = jvp(lambda x: tanh(W @ x), (X,), (v,))
    slope = 1 - np.tanh(W @ X) ** 2
    assert_same(result, np.tanh(W @ X)), assert_same(pushed, slope * (W @ v))
    u = normal(3, seed=4)

    def pull(x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        y, back = vjp(lambda z: tanh(W @ z), x)
        return y, back(u)[0]

    y, pulled = run_traced(trace(pull, (spec(4, dtype="f64"), spec(3, dtype="f64"))), X, u)
    assert_same(y, np.tanh(W @ X)), assert_same(pulled, W.T @ (u * slope))
    assert_same((pushed * u).sum(), (pulled * v).sum())
    assert_same(hvp(lambda x: (x**4).sum(), X, v), 12 * X**2 * v)


def test_matrices_of_derivatives() -> None:
    assert_same(jacobian(lambda x: tanh(W @ x))(X), (1 - np.tanh(W @ X) ** 2)[:, None] * W)
    assert_same(hessian(lambda x: (x**4).sum())(X), np.diag(12 * X**2))
    assert_same(jacobian(lambda a, b: a * b, argnums=1)(X, X), np.diag(X))
    assert jacobian(lambda x: x.reshape(2, 2) * 2)(X).shape == (2, 2, 4)


def test_matrices_of_several_arguments_and_results_are_nested() -> None:
    found = jacobian(lambda a, b: {"sum": a + 2 * b["b"], "product": (a * b["b"]).sum()}, (0, 1))(X, {"b": X + 1})
    eye = np.eye(4)
    assert_same(found["sum"][0], eye), assert_same(found["sum"][1]["b"], 2 * eye)
    assert_same(found["product"][0], X + 1), assert_same(found["product"][1]["b"], X)
    (aa, ab), (ba, bb) = hessian(lambda a, b: (a * a * b).sum(), (0, 1))(X, X + 1)
    assert_same(aa, np.diag(2 * (X + 1))), assert_same(ab, np.diag(2 * X))
    assert_same(ba, np.diag(2 * X)), assert_same(bb, 0 * eye)


def drawn(x: Tensor) -> Tensor:
    return x * cr.normal((4,), dtype="f64")


def test_what_is_pulled_back_is_of_the_call_that_gave_the_result() -> None:
    ones = np.ones(4)
    y, back = vjp(drawn, X)
    assert_same(back(ones)[0] * X, y), assert_same(back(ones)[0] * X, y)
    assert not np.allclose(vjp(drawn, X)[0], y)

    def both(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, back = vjp(drawn, x)
        return y, back(ones)[0] * x, back(2 * ones)[0] * x / 2

    y, *found = cr.compile(both, spec(4, dtype="f64"), backend="reference")(X)
    for pulled in found:
        assert_same(pulled, y)


def test_the_rows_of_a_jacobian_are_of_one_call() -> None:
    rows = np.asarray(jacobian(lambda x: drawn(x.sum() * np.ones(4)))(X))
    assert_same(rows, np.broadcast_to(rows[:, :1], (4, 4)))
    same = np.asarray(jacobian(lambda x: cr.broadcast_to((x * cr.normal((), dtype="f64")).sum(), (3,)))(X))
    assert_same(same, np.broadcast_to(same[0, 0], (3, 4)))


def test_buffers_move_once_when_a_result_is_pulled_back() -> None:
    layer = cr.nn.BatchNorm1d(4)
    x = np.float32(np.arange(12).reshape(3, 4))
    back = vjp(layer, x)[1]
    back(np.ones((3, 4), np.float32)), back(np.ones((3, 4), np.float32))
    assert int(layer.num_batches_tracked.data) == 1


def test_pulling_back_in_a_loop_gives_each_step_its_cotangent() -> None:
    def rows(x: Tensor) -> Tensor:
        _, back = vjp(lambda z: tanh(W @ z), x)
        return cr.map(lambda u: back(u)[0], np.eye(3))

    assert_same(rows_of(rows), (1 - np.tanh(W @ X) ** 2)[:, None] * W)


def rows_of(f: Callable[..., Any]) -> Any:
    return cr.compile(f, spec(4, dtype="f64"), backend="reference")(X)


def test_what_is_returned_beside_comes_along() -> None:
    slope, extra = grad(lambda x: ((x * x).sum(), {"double": x * 2, "note": "text"}), has_aux=True)(X)
    assert_same(slope, 2 * X), assert_same(extra["double"], 2 * X)
    assert extra["note"] == "text"
    (value, aux), slope = value_and_grad(lambda x: (x.sum(), x), has_aux=True)(X)
    assert_same(value, X.sum()), assert_same(aux, X), assert_same(slope, np.ones(4))


def test_buffers_assigned_inside_are_updated_once() -> None:
    norm = nn.BatchNorm1d(4).to("f64")
    batch = normal(8, 4)
    grad(lambda x: (norm(x) ** 3).sum())(batch)
    assert_same(norm.running_mean.data, 0.1 * batch.mean(0))  # type: ignore[union-attr]
    assert norm.num_batches_tracked.data == 1  # type: ignore[union-attr]


def test_a_tensor_made_inside_is_refused_outside() -> None:
    kept: list[Tensor] = []

    def f(x: Tensor) -> Tensor:
        kept.append(x * 2)
        return x.sum()

    def outer(x: Tensor) -> Tensor:
        grad(f)(x)
        return kept[0] + x

    with pytest.raises(ArgumentError, match=r"a tensor of the trace of 'outer.f' is used in the trace of 'outer'"):
        trace(outer, spec(4))


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: grad(lambda x: x * 2)(X), ShapeError, "grad: function returned f64[4], not a float scalar"),
    (lambda: grad(lambda x: x.sum())(np.arange(3)), DTypeError, "grad: argument 0 is i64[3], which has no derivative"),
    (lambda: grad(lambda x: x.sum(), 1)(X), ArgumentError, "grad: there is no argument 1"),
    (lambda: grad(lambda x: 3.0)(X), ArgumentError, "grad: function returned float, not a tensor"),
    (lambda: grad(lambda x: x.sum(), has_aux=True)(X), ArgumentError, "grad: with has_aux the function returns a pair"),
    (lambda: jvp(sin, (X,), (X[:2],)), ShapeError, "the tangent is f64[2], f64[4] is expected"),
    (lambda: jacobian(lambda x: x)(np.ones(2000)), NotSupported,
     "jacobian: a result of 2000 elements is not unrolled"),
    (lambda: grad(lambda x: reduce.argsort(x).sum())(X), ShapeError,
     "grad: function returned i64[], not a float scalar"),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(REFUSED)))
def test_what_has_no_derivative_is_refused(index: int) -> None:
    call, kind, cause = REFUSED[index]
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.cause == cause  # type: ignore[attr-defined]
