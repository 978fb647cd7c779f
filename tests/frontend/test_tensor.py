"""A traced tensor has operators and methods, and refuses what needs numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.tensor import Tensor
from chainrule.frontend.trace import spec, trace
from tests.frontend.agreement import assert_same, normal, run_traced

BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.lt,
          operator.le, operator.gt, operator.ge, operator.eq, operator.ne]  # fmt: skip
BITS = [operator.and_, operator.or_, operator.xor]


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.__name__)
def test_operators_on_tensors_arrays_and_numbers_mean_what_numpys_do(op: Callable[[Any, Any], Any]) -> None:
    a, b = normal(3, 4), normal(4, seed=1) + 3
    traced = trace(lambda x, y: (op(x, y), op(x, b), op(b, x), op(x, 2.0), op(2.0, x)),
                   (spec(3, 4, dtype="f64"), spec(4, dtype="f64")))  # fmt: skip
    wanted = (op(a, b), op(a, b), op(b, a), op(a, 2.0), op(2.0, a))
    for got, expected in zip(run_traced(traced, a, b), wanted, strict=True):
        assert_same(got, expected)


@pytest.mark.parametrize("op", BITS, ids=lambda op: op.__name__)
@pytest.mark.parametrize("dtype", ["bool", "i32"])
def test_bit_operators_serve_bools_and_integers(op: Callable[[Any, Any], Any], dtype: str) -> None:
    a = np.array([0, 1, 1, 0]).astype("bool" if dtype == "bool" else "int32")
    b = np.array([0, 1, 0, 1]).astype(a.dtype)
    traced = trace(lambda x, y: (op(x, y), op(b, x), ~x), (spec(4, dtype=dtype), spec(4, dtype=dtype)))
    for got, expected in zip(run_traced(traced, a, b), (op(a, b), op(b, a), ~a), strict=True):
        assert_same(got, expected)


def test_powers_negation_and_matmul_mean_what_numpys_do() -> None:
    a, b = np.abs(normal(3, 4)) + 0.5, normal(4, 2, seed=1)
    traced = trace(lambda x, y: (x**2, x**3, x**0.5, 2.0**x, -x, +x, abs(-x), x @ y, a @ y, y.T @ x.mT),
                   (spec(3, 4, dtype="f64"), spec(4, 2, dtype="f64")))  # fmt: skip
    wanted = (a**2, a**3, a**0.5, 2.0**a, -a, a, a, a @ b, a @ b, b.T @ a.T)
    for got, expected in zip(run_traced(traced, a, b), wanted, strict=True):
        assert_same(got, expected)


METHODS: list[Callable[[Any], Any]] = [
    lambda x: x.sum(), lambda x: x.sum(axis=1), lambda x: x.sum(axis=(0, -1), keepdims=True), lambda x: x.mean(axis=0),
    lambda x: x.max(axis=2), lambda x: x.min(), lambda x: x.prod(axis=-1), lambda x: x.var(axis=1),
    lambda x: x.std(axis=(0, 2), ddof=1), lambda x: x.argmax(), lambda x: x.argmax(axis=1), lambda x: x.argmin(axis=0),
    lambda x: x.reshape(4, 6), lambda x: x.reshape((-1, 3)), lambda x: x.transpose(), lambda x: x.transpose(1, 0, 2),
    lambda x: x.transpose((2, 0, 1)), lambda x: x.swapaxes(0, -1), lambda x: x.flatten(), lambda x: x.ravel(),
    lambda x: x.clip(-0.5, 0.5), lambda x: x.round(), lambda x: (x > 0).any(axis=0), lambda x: (x > 0).all(axis=1),
    lambda x: (x > 0).sum(), lambda x: x[:, :1].squeeze(axis=1), lambda x: x.T, lambda x: x[0].dot(x[1].T),
    lambda x: x.astype("float32"), lambda x: x.astype("int32").mean(), lambda x: x.astype("int8").sum(axis=0),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(METHODS)))
def test_methods_mean_what_numpys_do(index: int) -> None:
    a = normal(2, 3, 4)
    got = run_traced(trace(METHODS[index], spec(2, 3, 4, dtype="f64")), a)
    wanted = METHODS[index](a)
    if got.dtype == np.float32 and wanted.dtype == np.float64:  # the mean of integers is f32 here
        wanted = wanted.astype(np.float32)
    assert got.dtype == wanted.dtype
    assert_same(got, wanted)


def test_shape_type_and_sizes_are_known_while_tracing() -> None:
    seen: list[object] = []

    def f(x: Tensor) -> Tensor:
        seen.extend([x.shape[1], x.ndim, str(x.dtype), str(x.size), len(x.T), repr(x)])
        return x / x.shape[0]

    traced = trace(f, spec("N", 3))
    assert seen == [3, 2, "f32", "3*N", 3, '<Tensor f32[N,3] "x">']
    assert_same(run_traced(traced, np.ones((4, 3), np.float32)), np.full((4, 3), 0.25, np.float32))


REFUSED: list[tuple[Callable[[Any], Any], str, str]] = [
    (lambda x: 1 if x.sum() > 0 else 0, "bool: the numbers of a traced tensor are not known while the model is traced",
     "choose elements with cr.where(condition, a, b)"),
    (lambda x: float(x.sum()), "float: the numbers of a traced tensor are not known while the model is traced",
     "keep it a tensor: cr functions and operators take it"),
    (lambda x: [1, 2][x.argmax()], "int: the numbers of a traced tensor are not known while the model is traced",
     "keep it a tensor; a size is x.shape[axis]"),
    (lambda x: x.sum().item(), "item: the numbers of a traced tensor are not known while the model is traced",
     "keep it a tensor, or return it and read the result of the compiled call"),
    (lambda x: list(x), "iteration: a traced tensor cannot be iterated over",
     "index it (x[i]), or cut it with cr.split"),
    (lambda x: np.asarray(x), "array: the numbers of a traced tensor are not known while the model is traced",
     "use the function of the same name in chainrule (cr.exp for np.exp), or return the tensor and read the result of "
     "the compiled call"),
    (lambda x: 3 in x, "in: the numbers of a traced tensor are not known while the model is traced",
     "compare with == and reduce with .any()"),
    (lambda x: np.sum(x), 'numpy.sum: called on <Tensor f32[N,3] "x">',
     "use chainrule's function or a method of the tensor: cr.sum, x.sum"),
    (lambda x: operator.setitem(x, 0, 1.0), "assignment: the elements of a tensor cannot be replaced in place",
     "build a new tensor: cr.where(mask, new, x), or cr.concatenate of its parts"),
    (lambda x: len(x), "len: the size N is not known while the model is traced",
     "x.shape[0] is the symbolic size; it can be used in shapes and arithmetic"),
    (lambda x: operator.add(x, [1, 2, 3]), "add: list is not a tensor",
     "make it an array of a stated type: np.array([...], np.float32)"),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(REFUSED)))
def test_what_needs_numbers_is_refused_with_a_way_round(index: int) -> None:
    function, cause, help = REFUSED[index]
    with pytest.raises(ArgumentError) as caught:
        trace(function, spec("N", 3))
    assert (caught.value.cause, caught.value.help) == (cause, help)
    assert caught.value.loc is not None and caught.value.loc.file == __file__


def test_the_whole_message_shows_the_users_line() -> None:
    def f(x: Tensor, w: Tensor) -> Tensor:
        return x @ w

    with pytest.raises(ShapeError) as caught:
        trace(f, (spec("N", 4), spec(3, 2)))
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("matmul: ")
    assert lines[1].startswith("  --> test_tensor.py:")
    assert lines[2].endswith("return x @ w")
    assert lines[3].endswith("^^^^^") and lines[3].index("^") == lines[2].index("x @ w")
    assert lines[4:6] == ['   a: f32[N,4] input "x"', '   b: f32[3,2] input "w"']


@pytest.mark.parametrize("function", [np.exp, np.add.reduce, np.mean, lambda x: np.hypot(x, 1)])
def test_a_numpy_function_on_a_tensor_fails(function: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^numpy\.[a-z.]+: called on <Tensor"):
        trace(lambda x: function(x), spec(3))


def test_an_array_on_the_left_of_an_operator_is_an_operand() -> None:
    left = np.array([1, 2, 3], np.float32)
    traced = trace(lambda x: (left + x, left < x, np.float32(2) ** x, left - x), spec(3))
    assert [v.op.mnemonic for v in traced.graph.outputs] == ["add", "lt", "pow", "sub"]


def test_names_of_other_libraries_are_answered_with_ours() -> None:
    with pytest.raises(AttributeError, match=r"a Tensor has no attribute 'view'; use x.reshape\(...\)"):
        trace(lambda x: x.view(-1), spec(3))
    with pytest.raises(AttributeError, match=r"no attribute 'backward'; use cr.grad\(f\), or cr.training_step"):
        trace(lambda x: x.sum().backward(), spec(3))
    with pytest.raises(AttributeError, match=r"a Tensor has no attribute 'frobnicate'$"):
        trace(lambda x: x.frobnicate(), spec(3))


def test_an_operand_of_another_kind_is_pythons_own_error() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        trace(lambda x: x + "a", spec(3))


def test_a_symbolic_size_computes_with_tensors_from_either_side() -> None:
    traced = trace(lambda x: (x.shape[0] * x, x * x.shape[0], x.shape[0] - x, x.shape[0] / x, x / x.shape[0]),
                   spec("N", dtype="f64"))  # fmt: skip
    a = normal(4) + 5
    for got, wanted in zip(run_traced(traced, a), (4 * a, a * 4, 4 - a, 4 / a, a / 4), strict=True):
        assert_same(got, wanted)


def test_a_size_is_not_divided_into_a_fraction() -> None:
    with pytest.raises(ArgumentError) as caught:
        trace(lambda x: x * (x.shape[0] / 2), spec("N"))
    assert (caught.value.cause, caught.value.help) == (
        "N / 2 is not a size", "use // for a size; cr.size(x, axis) is a number")  # fmt: skip
    with pytest.raises(TypeError, match="unsupported operand"):
        trace(lambda x: x * (x.shape[0] * 0.5), spec("N"))
