"""Functions that look up and place elements by integer positions. Positions are bounds-checked when run.

Negative positions count from the end.
"""

from __future__ import annotations

from chainrule.frontend.places import located
from chainrule.frontend.tensor import Operand, Tensor, value_of, values_of, wrap
from chainrule.ir.dims import Dim
from chainrule.ops import indexing, indexing_nd, ranges, shaping


def take(x: Operand, indices: Operand, axis: int | None = None) -> Tensor:
    """Slices of x at indices along an axis; axis None flattens x first."""
    with located():
        value, places = value_of(x, "take"), value_of(indices, "take")
        if axis is None:
            value, axis = shaping.reshape(value, (-1,)), 0
        return wrap(indexing.gather(value, places, axis))


def take_along_axis(x: Operand, indices: Operand, axis: int) -> Tensor:
    """One element of x along an axis for each index."""
    with located():
        return wrap(
            indexing.take_along_axis(value_of(x, "take_along_axis"), value_of(indices, "take_along_axis"), axis)
        )


def gather_nd(x: Operand, indices: Operand, batch_dims: int = 0) -> Tensor:
    """Slices of x at index tuples, the last axis of indices."""
    with located():
        return wrap(indexing_nd.gather_nd(value_of(x, "gather_nd"), value_of(indices, "gather_nd"), batch_dims))


def scatter(x: Operand, indices: Operand, updates: Operand, axis: int) -> Tensor:
    """x with updates put at positions along an axis; of several for one position the last wins."""
    with located():
        value, new = values_of("scatter", x, updates)
        return wrap(indexing.scatter(value, value_of(indices, "scatter"), new, axis))


def scatter_add(x: Operand, indices: Operand, updates: Operand, axis: int) -> Tensor:
    """x with updates added at positions along an axis."""
    with located():
        value, new = values_of("scatter_add", x, updates)
        return wrap(indexing.scatter_add(value, value_of(indices, "scatter_add"), new, axis))


def scatter_nd(x: Operand, indices: Operand, updates: Operand, mode: str = "assign") -> Tensor:
    """x with slices put (mode "assign") or added ("add") at index tuples, the last axis of indices."""
    with located():
        value, new = values_of("scatter_nd", x, updates)
        return wrap(indexing_nd.scatter_nd(value, value_of(indices, "scatter_nd"), new, mode))


def one_hot(indices: Operand, num_classes: Dim, axis: int = -1, dtype: object = "f32") -> Tensor:
    """Vectors of num_classes elements with a 1 at the index, along a new axis."""
    with located():
        return wrap(ranges.one_hot(value_of(indices, "one_hot"), num_classes, axis, dtype))


def embedding(indices: Operand, weight: Operand, padding_idx: int | None = None) -> Tensor:
    """Rows of weight [V, D] at indices [...] -> [..., D]; the row at padding_idx gets no gradient."""
    with located():
        return wrap(indexing.embedding(value_of(weight, "embedding"), value_of(indices, "embedding"), padding_idx))
