"""Every public function means what numpy's of that name does, at once on arrays and in a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.frontend.functions import (
    activations,
    attention,
    create,
    elementwise,
    indexing,
    linear,
    norms,
    random,
    reduce,
)
from chainrule.frontend.functions import shape as shapes
from chainrule.frontend.seeding import manual_seed
from chainrule.frontend.trace import spec, trace
from tests.frontend.agreement import assert_same, normal, run_traced

A, B, P = normal(3, 4), normal(3, 4, seed=1), np.abs(normal(3, 4, seed=2)) + 0.5
UNIT = np.tanh(A)
I = np.array([[2, 0], [1, 2]])
e, s, r = elementwise, shapes, reduce

SAME_NAME: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    *[(getattr(e, name), (A, B)) for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "equal",
      "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor", "fmod",
      "floor_divide", "remainder", "arctan2")],
    (e.power, (P, B)), (e.where, (A > 0, A, B)), (e.where, (A > 0, A, 0.0)), (e.logical_not, (A,)),
    *[(getattr(e, name), (I, I.T)) for name in ("bitwise_and", "bitwise_or", "bitwise_xor", "add")],
    *[(getattr(e, name), (A,)) for name in ("negative", "abs", "sign", "square", "reciprocal", "floor", "ceil", "round",
      "trunc", "isnan", "isinf", "isfinite", "exp", "exp2", "expm1", "cbrt", "sin", "cos", "tan", "arctan", "sinh",
      "cosh", "tanh", "arcsinh")],
    *[(getattr(e, name), (P,)) for name in ("log", "log2", "log10", "log1p", "sqrt")],
    (e.arccosh, (P + 1,)), (e.arctanh, (UNIT,)), (e.arcsin, (UNIT,)), (e.arccos, (UNIT,)),
    (e.clip, (A, -0.5, 0.5)), (e.clip, (A, B - 1, B + 1)), (e.clip, (A, None, 0.5)),
    (s.reshape, (A, (2, 6))), (s.transpose, (A,)), (s.transpose, (A, (1, 0))), (s.swapaxes, (A, 0, 1)),
    (s.moveaxis, (normal(2, 3, 4), 0, -1)), (s.moveaxis, (normal(2, 3, 4), (0, 2), (-1, 0))), (s.roll, (A, 2)),
    (s.expand_dims, (A, 1)), (s.expand_dims, (A, (0, 3))),
    (s.squeeze, (A[:, None],)), (s.broadcast_to, (A, (2, 3, 4))), (s.flip, (A,)), (s.flip, (A, 1)),
    (s.roll, (A, 1, 0)), (s.roll, (A, (1, -2), (0, 1))), (s.tile, (A, (2, 1))), (s.repeat, (A, 2, 1)),
    (s.repeat, (A, 2)), (s.pad, (A, 1)), (s.pad, (A, (1, 2))), (s.pad, (A, ((1, 0), (0, 2)), "edge")),
    (s.pad, (A, ((1, 1), (1, 1)), "reflect")), (s.pad, (A, 2, "wrap")),
    (linear.matmul, (A, B.T)), (linear.dot, (A[0], B[0])), (linear.outer, (A[0], B[1])),
    (linear.tensordot, (A, B.T, 1)), (linear.tensordot, (A, B, 2)),
    (linear.tensordot, (normal(2, 3, 4), normal(4, 5, 2), ((0, 2), (2, 0)))), (linear.tensordot, (A, B, (-1, -1))),
    (r.sum, (A, 1)), (r.mean, (A,)), (r.var, (A, 0)), (r.std, (A, 1)), (r.prod, (A, 0)), (r.max, (A, 1)), (r.min, (A,)),
    (r.any, (A > 1, 0)), (r.all, (A > -3,)), (r.argmax, (A, 1)), (r.argmin, (A,)), (r.cumsum, (A, 1)), (r.cumsum, (A,)),
    (r.cumprod, (A, 0)), (r.sort, (A, 0)), (r.argsort, (A,)),
    (indexing.take, (A, I, 0)), (indexing.take, (A, I)), (indexing.take_along_axis, (A, I[:, [0, 1, 0, 1]], 0)),
    (create.triu, (A,)), (create.tril, (A, 1)), (create.diagonal, (A,)), (create.diagonal, (A, 1)),
    (create.zeros_like, (A,)), (create.ones_like, (A,)), (create.full_like, (A, 2.5)),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(SAME_NAME)), ids=lambda i: f"{i}-{SAME_NAME[i][0].__name__}")
def test_a_function_means_what_numpys_of_the_same_name_does(index: int) -> None:
    function, arguments = SAME_NAME[index]
    wanted = getattr(np, function.__name__)(*arguments)
    at_once = function(*arguments)
    assert isinstance(at_once, np.ndarray)
    assert_same(at_once, wanted)
    places = [i for i, a in enumerate(arguments) if isinstance(a, np.ndarray)]

    def traced_call(*tensors: Any) -> Any:
        given = dict(zip(places, tensors, strict=True))
        return function(*(given.get(i, argument) for i, argument in enumerate(arguments)))

    arrays = [arguments[i] for i in places]
    traced = trace(traced_call, tuple(spec(*a.shape, dtype=a.dtype) for a in arrays))
    assert_same(run_traced(traced, *arrays), at_once)


def gelu(x: np.ndarray) -> np.ndarray:
    from math import erf, sqrt

    return x * 0.5 * (1 + np.vectorize(erf)(x / sqrt(2)))


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


a = activations
X = normal(3, 4, seed=3) * 2
ACTIVATIONS: list[tuple[Any, Any]] = [
    (a.relu(X), np.maximum(X, 0)), (a.relu6(X * 5), np.clip(X * 5, 0, 6)),
    (a.leaky_relu(X), np.where(X > 0, X, 0.01 * X)),
    (a.leaky_relu(X, 0.2), np.where(X > 0, X, 0.2 * X)), (a.prelu(X, 0.3), np.where(X > 0, X, 0.3 * X)),
    (a.prelu(X, np.arange(4.0)), np.where(X > 0, X, np.arange(4.0) * X)),
    (a.elu(X, 1.5), np.where(X > 0, X, 1.5 * np.expm1(X))),
    (a.selu(X), 1.0507009873554805 * np.where(X > 0, X, 1.6732632423543772 * np.expm1(X))),
    (a.celu(X, 2.0), np.where(X > 0, X, 2 * np.expm1(X / 2))), (a.gelu(X), gelu(X)),
    (a.gelu(X, "tanh"), 0.5 * X * (1 + np.tanh(np.sqrt(2 / np.pi) * (X + 0.044715 * X**3)))),
    (a.silu(X), X * sigmoid(X)), (a.mish(X), X * np.tanh(softplus(X))), (a.softplus(X), softplus(X)),
    (a.softplus(X, 2.0), softplus(2 * X) / 2), (a.softsign(X), X / (1 + np.abs(X))), (a.sigmoid(X), sigmoid(X)),
    (a.logsigmoid(X), -softplus(-X)), (a.hardtanh(X), np.clip(X, -1, 1)),
    (a.hardsigmoid(X), np.clip((X + 3) / 6, 0, 1)),
    (a.hardswish(X), X * np.clip((X + 3) / 6, 0, 1)), (a.tanhshrink(X), X - np.tanh(X)),
    (a.softshrink(X), np.sign(X) * np.maximum(np.abs(X) - 0.5, 0)), (a.hardshrink(X, 1.0), X * (np.abs(X) > 1)),
    (a.threshold(X, 0.1, 7.0), np.where(X > 0.1, X, 7.0)), (a.glu(X), X[:, :2] * sigmoid(X[:, 2:])),
    (a.softmax(X, 0), np.exp(X) / np.exp(X).sum(0)), (a.softmin(X), np.exp(-X) / np.exp(-X).sum(1, keepdims=True)),
    (a.log_softmax(X), X - np.log(np.exp(X).sum(1, keepdims=True))),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(ACTIVATIONS)))
def test_activations_have_their_formulae(index: int) -> None:
    assert_same(*ACTIVATIONS[index])


def test_arrays_and_tensors_are_made() -> None:
    assert_same(create.zeros((2, 3)), np.zeros((2, 3), np.float32))
    assert_same(create.ones(2, "i8"), np.ones(2, np.int8))
    assert_same(create.full((2,), 2.5, "f64"), np.full(2, 2.5))
    assert_same(create.arange(5), np.arange(5))
    assert_same(create.arange(1, 9, 3), np.arange(1, 9, 3))
    assert_same(create.arange(0.0, 1.0, 0.25), np.arange(0, 1, 0.25, np.float32))
    assert_same(create.linspace(0, 1, 5), np.linspace(0, 1, 5, dtype=np.float32))
    assert_same(create.eye(2, 3, 1), np.eye(2, 3, 1, np.float32))
    assert shapes.asarray([1.5, 2]).dtype == np.float32 and shapes.asarray([1, 2]).dtype == np.int64
    assert shapes.asarray(0.1, "f64") == 0.1 and shapes.asarray([0.1], "f64")[0] == 0.1
    traced = trace(lambda x: (create.zeros(x.shape), create.size(x), create.size(x, 0)), spec("N", 3))
    zeros, total, rows = run_traced(traced, np.ones((5, 3), np.float32))
    assert zeros.shape == (5, 3) and total == 15 and rows == 5


def test_parts_are_joined_and_cut() -> None:
    assert_same(shapes.concatenate([A, B], 1), np.concatenate([A, B], 1))
    assert_same(shapes.stack([A, B], -1), np.stack([A, B], -1))
    for got, wanted in zip(shapes.split(A, 2, 1), np.split(A, 2, 1), strict=True):
        assert_same(got, wanted)
    for got, wanted in zip(shapes.split(A, [1, 3], 1), np.split(A, [1, 3], 1), strict=True):
        assert_same(got, wanted)
    assert shapes.concatenate([np.ones(2, np.float32), np.ones(1, np.float64)]).dtype == np.float64
    cube = normal(2, 3, 4)
    assert_same(shapes.flatten(cube, 1), cube.reshape(2, 12))
    assert_same(shapes.unflatten(A, 1, (2, -1)), A.reshape(3, 2, 2))


def test_products_by_label_and_layers_without_modules() -> None:
    assert_same(linear.einsum("ij,kj->ik", A, B), A @ B.T)
    assert_same(linear.linear(A, B, np.ones(3)), A @ B.T + 1)
    cube = normal(2, 4, 4)
    assert_same(linear.bilinear(A, B, cube), np.einsum("ni,oij,nj->no", A, cube, B))
    q, k, v = normal(2, 3, 4), normal(2, 5, 4, seed=1), normal(2, 5, 6, seed=2)
    scores = q @ k.transpose(0, 2, 1) / 2
    mask = normal(3, 5, seed=3) > 0
    mask[:, 0] = True
    for masked, given in ((scores, None), (np.where(mask, scores, -np.inf), mask)):
        weights = np.exp(masked - masked.max(-1, keepdims=True))
        wanted = weights / weights.sum(-1, keepdims=True) @ v
        assert_same(attention.scaled_dot_product_attention(q, k, v, given), wanted)
    causal = np.where(np.tril(np.ones((3, 3), bool)), scores[..., :3], -np.inf)
    weights = np.exp(causal - causal.max(-1, keepdims=True))
    wanted = weights / weights.sum(-1, keepdims=True) @ v[:, :3]
    assert_same(attention.scaled_dot_product_attention(q, k[:, :3], v[:, :3], is_causal=True), wanted)


def test_norms_and_largest_elements() -> None:
    assert_same(reduce.norm(A), np.linalg.norm(A))
    assert_same(reduce.norm(A, 1, axis=1), np.abs(A).sum(1))
    assert_same(reduce.normalize(A), A / np.linalg.norm(A, axis=1, keepdims=True))
    assert_same(reduce.logsumexp(A, 1), np.log(np.exp(A).sum(1)))
    values, places = reduce.top_k(A, 2)
    assert_same(places, np.argsort(-A, axis=1)[:, :2])
    assert_same(values, np.take_along_axis(A, places, 1))
    assert_same(norms.rms_norm(A, 4), A / np.sqrt((A**2).mean(1, keepdims=True) + 2.0**-52))


def test_positions_are_placed_and_looked_up() -> None:
    wanted = A.copy()
    wanted[[2, 0]] = 1.0
    places = np.broadcast_to(np.array([[2], [0]]), (2, 4))
    assert_same(indexing.scatter(A, places, np.ones((2, 4)), 0), wanted)
    added = A.copy()
    np.add.at(added, [1, 1], 1.0)
    assert_same(indexing.scatter_add(A, np.full((2, 4), 1), np.ones((2, 4)), 0), added)
    assert_same(indexing.one_hot(np.array([1, 0]), 3), np.eye(3, dtype=np.float32)[[1, 0]])
    assert_same(indexing.embedding(I, A), A[I])
    assert_same(indexing.gather_nd(A, np.array([[0, 1], [2, 3]])), A[[0, 2], [1, 3]])


def test_draws_come_from_their_ranges_and_repeat_with_their_key() -> None:
    key = random.key(3)
    assert_same(random.uniform((5,), key=key), random.uniform((5,), key=key))
    assert not np.array_equal(random.uniform((5,), key=key), random.uniform((5,), key=random.fold_in(key, 1)))
    first, second = random.split_key(key)
    assert not np.array_equal(first, second)
    whole = random.randint(2, 5, (200,))
    assert set(whole.tolist()) == {2, 3, 4}
    assert sorted(random.permutation(9).tolist()) == list(range(9))
    assert sorted(random.shuffle(np.arange(9)).tolist()) == list(range(9))
    assert abs(random.bernoulli(0.25, (4000,)).mean() - 0.25) < 0.05
    assert abs(random.normal((4000,), 3.0, 0.5).mean() - 3) < 0.05
    manual_seed(1)
    one = random.normal((3,))
    manual_seed(1)
    assert_same(random.normal((3,)), one)


def test_dropout_keeps_the_mean_and_is_off_outside_of_training() -> None:
    ones = np.ones((100, 50), np.float32)
    dropped = random.dropout(ones, 0.2)
    assert set(np.unique(dropped)) == {0.0, np.float32(1.25)}
    assert abs(dropped.mean() - 1) < 0.05
    assert_same(random.dropout(ones, 0.2, training=False), ones)
    assert_same(random.dropout(ones, 1.0), np.zeros_like(ones))
    channels = random.feature_dropout(np.ones((20, 10, 3, 3), np.float32), 0.5)
    assert (channels.min(axis=(2, 3)) == channels.max(axis=(2, 3))).all() and len(np.unique(channels)) == 2
    traced = trace(lambda x: random.dropout(x, 0.5), spec(4))
    assert traced.graph.outputs == traced.graph.inputs


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: random.dropout(A, 1.5), ArgumentError, "dropout: p=1.5 is not a probability"),
    (lambda: shapes.concatenate([]), ArgumentError, "concatenate: there is nothing to join"),
    (lambda: shapes.stack(A), ArgumentError, "stack: it takes a list of tensors"),
    (lambda: shapes.pad(A, ((1, 1),)), ArgumentError, "pad: ((1, 1),) does not say how much goes around 2 axes"),
    (lambda: shapes.flatten(A, 1, 0), ArgumentError, "flatten: start_dim 1 is after end_dim 0"),
    (lambda: elementwise.exp("a"), ArgumentError, "exp: str is not a tensor"),  # type: ignore[arg-type]
    (lambda: elementwise.exp([1.0]), ArgumentError, "exp: list is not a tensor"),  # type: ignore[arg-type]
    (lambda: reduce.norm(A, 3), ArgumentError, "norm: ord=3 is not built"),
    (lambda: norms.layer_norm(A, 5), ShapeError, "layer_norm: normalized_shape is [5], the last axes of x are [4]"),
    (lambda: norms.batch_norm(A[0], 1.0, 1.0), ShapeError, "batch_norm: x has 1 axes"),
    (lambda: elementwise.add(A, np.ones(3)), ShapeError, "add: shapes [3,4] and [3] do not broadcast"),
    (lambda: elementwise.astype(A, "complex64"), DTypeError, "complex64 is not an element type"),
    (lambda: elementwise.exp(np.array(["a"])), DTypeError, "str32 is not an element type"),
]


@pytest.mark.parametrize("index", range(len(REFUSED)))
def test_wrong_arguments_are_refused_by_name(index: int) -> None:
    call, kind, cause = REFUSED[index]
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.cause == cause  # type: ignore[attr-defined]
