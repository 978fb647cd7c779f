"""x[...] with numpy's meaning: ints, slices, None, Ellipsis and integer arrays, or one mask alone.

Integer arrays (numpy's or traced) may stand at several axes; they broadcast with each other, and the axes they take
stand where the first of them was, or in front when a slice divides them, as in numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np

from chainrule.errors import ArgumentError, NotSupported, ShapeError
from chainrule.frontend.functions.selecting import boolean_mask
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Tensor, value_of, wrap
from chainrule.ir.dims import Dim, DimExpr
from chainrule.ir.graph import Value
from chainrule.ir.op import Array
from chainrule.ir.types import i64
from chainrule.ops import elementwise, indexing, indexing_nd, shaping
from chainrule.ops.shape_rules import broadcast_shapes


def indexed(x: Value, index: object) -> Value:
    """x[index]. Raises ArgumentError for what is not an index, too many indices, or an int out of range."""
    if _is_mask(index):
        return _masked(x, index)
    items = _expanded(x, index if isinstance(index, tuple) else (index,))
    y, axis, place = x, 0, 0
    arrays: list[tuple[int, Value]] = []
    new_axes: list[int] = []
    for item in items:
        match item:
            case None:
                new_axes.append(place)
                place += 1
            case slice():
                y = _cut(y, axis, item)
                axis, place = axis + 1, place + 1
            case int() | DimExpr() | np.integer():
                y = _picked(y, axis, item)
            case _:
                arrays.append((axis, _index_array(item)))
                axis, place = axis + 1, place + 1
    if not arrays:
        return shaping.unsqueeze(y, new_axes) if new_axes else y
    if new_axes:
        raise error(NotSupported, "index: integer arrays together with None",
                    help="index first, then use cr.expand_dims")  # fmt: skip
    return _gathered(y, arrays, _place_of_taken(items))


def _masked(x: Value, mask: Tensor | Array) -> Value:
    """x[mask]: the size of the result is known with the mask, else told by data."""
    if isinstance(mask, Tensor):
        return boolean_mask(wrap(x), mask).value
    if x.shape[: mask.ndim] != mask.shape:
        raise error(ShapeError, f"index: the mask has shape {list(mask.shape)}", notes=[f"x: {x.type}"],
                    help="its axes are the first axes of x")  # fmt: skip
    return indexed(x, np.nonzero(mask))


def _place_of_taken(items: Sequence[object]) -> int:
    """The axis of the result where the axes of the index arrays begin: numpy's rule, for which ints are arrays too."""
    advanced = [i for i, item in enumerate(items) if not isinstance(item, slice)]
    together = advanced[-1] - advanced[0] + 1 == len(advanced)
    return advanced[0] if together else 0


def _gathered(x: Value, arrays: Sequence[tuple[int, Value]], place: int) -> Value:
    """The elements of x at index arrays for some axes; the axes of the arrays stand at `place` in the result."""
    if len(arrays) == 1:
        axis, indices = arrays[0]
        return _moved(indexing.gather(x, indices, axis), axis, place, indices.rank)
    taken = [axis for axis, _ in arrays]
    rest = [axis for axis in range(x.rank) if axis not in taken]
    front = shaping.transpose(x, (*taken, *rest))
    shape = broadcast_shapes(*(indices.shape for _, indices in arrays))
    columns = [shaping.expand(elementwise.cast(indices, i64), shape) for _, indices in arrays]
    found = indexing_nd.gather_nd(front, shaping.stack(columns, len(shape)))
    return _moved(found, 0, place, len(shape))


def _moved(x: Value, start: int, place: int, count: int) -> Value:
    """x with `count` axes from `start` on moved so that they begin at `place`."""
    block = list(range(start, start + count))
    rest = [axis for axis in range(x.rank) if axis not in block]
    return shaping.transpose(x, (*rest[:place], *block, *rest[place:]))


def _expanded(x: Value, index: Sequence[object]) -> list[object]:
    """The index with the Ellipsis, or the missing end, written out as full slices."""
    for item in index:
        _check(item)
    used = sum(1 for item in index if item is not None and item is not Ellipsis)
    dots = [i for i, item in enumerate(index) if item is Ellipsis]
    if used > x.rank or len(dots) > 1:
        what = f"{used} indices for {x.rank} axes" if used > x.rank else "more than one Ellipsis"
        raise error(
            ArgumentError, f"index: {what}", notes=[f"x: {x.type}"], help="give at most one index for each axis"
        )
    rest: list[object] = [slice(None)] * (x.rank - used)
    at = dots[0] if dots else len(index)
    return [*index[:at], *rest, *index[at + 1 :]]


def _is_mask(item: object) -> TypeGuard[Tensor | Array]:
    if isinstance(item, Tensor):
        return item.dtype.is_bool
    return isinstance(item, np.ndarray) and item.dtype == np.bool_


def _check(item: object) -> None:
    if isinstance(item, bool | np.bool_):
        raise error(ArgumentError, "index: a bool is not an index",
                    help="choose elements with cr.where(mask, x, other), or index with integers")  # fmt: skip
    if _is_mask(item):
        raise error(NotSupported, "index: a mask together with other indices",
                    help="take the elements first, x[mask], then index the result")  # fmt: skip
    if isinstance(item, float):
        raise error(ArgumentError, f"index: {item!r} is not an integer", help="use // for a whole number")


def _picked(x: Value, axis: int, position: int | DimExpr | np.integer) -> Value:
    size = x.shape[axis]
    start: Dim = position if isinstance(position, DimExpr) else int(position)
    if isinstance(start, int) and isinstance(size, int) and not -size <= start < size:
        raise error(ArgumentError, f"index: {start} is out of range for axis {axis} of size {size}",
                    notes=[f"x: {x.type}"], help=f"it runs from {-size} to {size - 1}")  # fmt: skip
    if isinstance(start, int) and start < 0:
        start = size + start
    return shaping.squeeze(shaping.narrow(x, axis, start, 1), axis)


def _cut(x: Value, axis: int, item: slice) -> Value:
    if item == slice(None):
        return x
    step = 1 if item.step is None else item.step
    for position in (item.start, item.stop, step):
        if position is not None and not isinstance(position, int | DimExpr | np.integer):
            raise error(ArgumentError, f"index: a slice with {type(position).__name__}",
                        help="a slice takes ints and sizes; x[start + cr.arange(n)] takes n elements")  # fmt: skip
    start, stop = (p if p is None or isinstance(p, DimExpr) else int(p) for p in (item.start, item.stop))
    return shaping.slice_(x, [start], [stop], [int(step)], [axis])


def _index_array(item: object) -> Value:
    if isinstance(item, list):
        item = np.asarray(item)
        _check(item)
    value = value_of(item, "index")
    if not value.dtype.is_int:
        raise error(ArgumentError, f"index: an array of {value.dtype} is not an index", help="use integers")
    return value
