"""Tensors made of nothing. Sizes may be symbolic: cr.zeros(x.shape) follows x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.frontend.places import located
from chainrule.frontend.tensor import Operand, Tensor, value_of, wrap
from chainrule.ir.dims import Dim
from chainrule.ir.types import as_dtype
from chainrule.ops import basic, ranges


def full(shape: Any, fill_value: float, dtype: object = "f32") -> Tensor:
    """One number everywhere."""
    with located():
        return wrap(basic.full(fill_value, _shape(shape), as_dtype(dtype)))


def zeros(shape: Any, dtype: object = "f32") -> Tensor:
    """Zeros of a shape."""
    return full(shape, 0, dtype)


def ones(shape: Any, dtype: object = "f32") -> Tensor:
    """Ones of a shape."""
    return full(shape, 1, dtype)


def full_like(x: Operand, fill_value: float, dtype: object = None) -> Tensor:
    """One number everywhere, in the shape and element type of x."""
    value = value_of(x, "full_like")
    return full(value.shape, fill_value, value.dtype if dtype is None else dtype)


def zeros_like(x: Operand, dtype: object = None) -> Tensor:
    """Zeros in the shape and element type of x."""
    return full_like(x, 0, dtype)


def ones_like(x: Operand, dtype: object = None) -> Tensor:
    """Ones in the shape and element type of x."""
    return full_like(x, 1, dtype)


def arange(start: Dim | float, stop: Dim | float | None = None, step: float = 1, dtype: object = None) -> Tensor:
    """start, start + step, ... up to before stop; one number alone is stop. i64, or f32 where a number is a float."""
    with located():
        return wrap(ranges.arange(start, stop, step, dtype))


def linspace(start: float, stop: float, num: int = 50, endpoint: bool = True, dtype: object = "f32") -> Tensor:
    """num evenly spaced numbers from start to stop."""
    return wrap(basic.constant(np.linspace(start, stop, num, endpoint), as_dtype(dtype)))


def eye(n: Dim, m: Dim | None = None, k: int = 0, dtype: object = "f32") -> Tensor:
    """Ones on the k-th diagonal of an [n, m] matrix, zeros elsewhere."""
    with located():
        return wrap(ranges.eye(n, m, k, dtype))


def triu(x: Operand, k: int = 0) -> Tensor:
    """The last two axes from the k-th diagonal up, zeros below."""
    with located():
        return wrap(ranges.triu(value_of(x, "triu"), k))


def tril(x: Operand, k: int = 0) -> Tensor:
    """The last two axes up to the k-th diagonal, zeros above."""
    with located():
        return wrap(ranges.tril(value_of(x, "tril"), k))


def diagonal(x: Operand, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The elements (i, i + offset) of two axes, as a new last axis."""
    with located():
        return wrap(ranges.diagonal(value_of(x, "diagonal"), offset, axis1, axis2))


def size(x: Operand, axis: int | None = None) -> Tensor:
    """The number of elements of x, or of one axis, as an i64 number of the graph; x.shape holds it as a size."""
    with located():
        value = value_of(x, "size")
        return wrap(basic.size_of(value.tensor.size if axis is None else value.shape[axis]))


def _shape(shape: Any) -> Sequence[Dim]:
    return tuple(shape) if isinstance(shape, tuple | list) else (shape,)
