"""The builders of ops/matmul.py follow numpy, vectors included."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from chainrule.backends.reference import run
from chainrule.errors import ShapeError
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.types import tensor, type_of
from chainrule.ops.matmul import MatMul, dot, linear, matmul, outer
from chainrule.passes.autodiff import gradients
from tests.ops.sample import normal


def of(function: Callable[..., Value], *arrays: np.ndarray) -> np.ndarray:
    inputs = [new_input(f"x{i}", type_of(a)) for i, a in enumerate(arrays)]
    return run(Graph("call", tuple(inputs), (function(*inputs),)), arrays)[0]


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((4, 2, 3), (3,)), ((3,), (4, 3, 2)),
                                    ((2, 3), (3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((0,), (0,))])  # fmt: skip
def test_matmul_takes_vectors_as_numpy_does(shapes: tuple[tuple[int, ...], ...]) -> None:
    a, b = (normal(*shape, seed=i, dtype="float64") for i, shape in enumerate(shapes))
    got = of(matmul, a, b)
    assert got.shape == np.matmul(a, b).shape
    np.testing.assert_allclose(got, np.matmul(a, b), rtol=1e-14)


def test_a_vector_is_not_transposed() -> None:
    a, b = normal(3, dtype="float64"), normal(2, 3, seed=1, dtype="float64")
    np.testing.assert_allclose(of(lambda x, y: matmul(x, y, True, True), a, b), b @ a, rtol=1e-14)


def test_dot_outer_and_linear_are_products() -> None:
    a, b, w = normal(3, dtype="float64"), normal(3, seed=1, dtype="float64"), normal(2, 3, seed=2, dtype="float64")
    np.testing.assert_allclose(of(dot, a, b), a @ b, rtol=1e-14)
    np.testing.assert_array_equal(of(outer, a, b), np.outer(a, b))
    np.testing.assert_allclose(of(linear, a, w), w @ a, rtol=1e-14)


def test_scalars_and_matrices_are_refused_where_vectors_are_meant() -> None:
    scalar, matrix = new_input("s", tensor("f32", ())), new_input("m", tensor("f32", (2, 2)))
    with pytest.raises(ShapeError, match="not both matrices"):
        matmul(scalar, matrix)
    with pytest.raises(ShapeError, match="not both vectors"):
        dot(matrix, matrix)
    with pytest.raises(ShapeError, match="not both vectors"):
        outer(scalar, scalar)


def test_the_gradient_of_a_weight_shared_by_a_batch_is_one_product() -> None:
    x, w = new_input("x", tensor("f32", ("N", "T", 3))), new_input("w", tensor("f32", (4, 3)))
    y = linear(x, w)
    _, dw = gradients([y], [x, w], [new_input("g", y.tensor)])
    assert dw is not None
    assert isinstance(dw.op, MatMul)
    assert [v.rank for v in dw.inputs] == [2, 2]
