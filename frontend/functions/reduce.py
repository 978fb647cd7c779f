"""Functions that reduce axes, with numpy's names and arguments. axis: an int, several, or None for all.

NaN propagates. bool and small integers are summed in 64 bits; means of integers are f32.
"""

from __future__ import annotations

from typing import Any

from chainrule.errors import ArgumentError
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Axes, Operand, Tensor, as_tensor, float_value_of, value_of, wrap
from chainrule.ops import cumulative, shaping, sorting, statistics
from chainrule.ops import norm as norms


def sum(x: Operand, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The sum over axes."""
    return as_tensor(x, "sum").sum(axis, keepdims)


def prod(x: Operand, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The product over axes."""
    return as_tensor(x, "prod").prod(axis, keepdims)


def mean(x: Operand, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The mean over axes; NaN over nothing."""
    return as_tensor(x, "mean").mean(axis, keepdims)


def var(x: Operand, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """The variance over axes, with divisor count - ddof."""
    return as_tensor(x, "var").var(axis, ddof, keepdims)


def std(x: Operand, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """The standard deviation over axes, with divisor count - ddof."""
    return as_tensor(x, "std").std(axis, ddof, keepdims)


def max(x: Operand, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The largest over axes."""
    return as_tensor(x, "max").max(axis, keepdims)


def min(x: Operand, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The smallest over axes."""
    return as_tensor(x, "min").min(axis, keepdims)


def any(x: Operand, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """True where one element over the axes is not zero."""
    return as_tensor(x, "any").any(axis, keepdims)


def all(x: Operand, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """True where every element over the axes is not zero."""
    return as_tensor(x, "all").all(axis, keepdims)


def argmax(x: Operand, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The i64 position of the first largest."""
    return as_tensor(x, "argmax").argmax(axis, keepdims)


def argmin(x: Operand, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The i64 position of the first smallest."""
    return as_tensor(x, "argmin").argmin(axis, keepdims)


def logsumexp(x: Operand, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """log(sum(e^x)) over axes, without overflow."""
    return wrap(statistics.logsumexp(float_value_of(x, "logsumexp"), axis, keepdims))


def norm(x: Operand, ord: float = 2, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The 1- or 2-norm of the elements over axes (all by default), as of one vector."""
    value = float_value_of(x, "norm")
    if ord not in (1, 2):
        raise error(ArgumentError, f"norm: ord={ord} is not built", help="1 and 2; others: (abs(x)**p).sum()**(1/p)")
    return wrap((statistics.l1_norm if ord == 1 else statistics.l2_norm)(value, axis, keepdims))


def normalize(x: Operand, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Tensor:
    """x over its p-norm along an axis; norms below eps count as eps. Source: torch.nn.functional.normalize."""
    with located():
        return wrap(norms.lp_normalize(float_value_of(x, "normalize"), p, axis, eps))


def cumsum(x: Operand, axis: int | None = None) -> Tensor:
    """The running sum along an axis; axis None flattens x first."""
    with located():
        return wrap(cumulative.cumsum(*_line(x, axis, "cumsum")))


def cumprod(x: Operand, axis: int | None = None) -> Tensor:
    """The running product along an axis; axis None flattens x first."""
    with located():
        return wrap(cumulative.cumprod(*_line(x, axis, "cumprod")))


def sort(x: Operand, axis: int = -1, descending: bool = False) -> Tensor:
    """x sorted along an axis; equal elements keep their order, NaN stands last."""
    with located():
        return wrap(sorting.sort(value_of(x, "sort"), axis, descending))


def argsort(x: Operand, axis: int = -1, descending: bool = False) -> Tensor:
    """The i64 positions that sort x along an axis."""
    with located():
        return wrap(sorting.argsort(value_of(x, "argsort"), axis, descending))


def top_k(x: Operand, k: int, axis: int = -1, largest: bool = True) -> tuple[Tensor, Tensor]:
    """The k largest (or smallest) elements of an axis in order, and their i64 positions."""
    with located():
        values, places = sorting.top_k(value_of(x, "top_k"), k, axis, largest)
        return wrap(values), wrap(places)


def _line(x: Operand, axis: int | None, what: str) -> tuple[Any, int]:
    value = value_of(x, what)
    return (shaping.reshape(value, (-1,)), 0) if axis is None else (value, axis)
