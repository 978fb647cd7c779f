"""Functions that rearrange tensors, with numpy's names. Sizes may be symbolic."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Axes, Operand, Tensor, number_value, unpacked, value_of, values_of, wrap
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Value
from chainrule.ir.types import as_dtype
from chainrule.ops import elementwise, repeating, shaping
from chainrule.ops.shape_rules import axes_in_order, axis_of


def asarray(x: Any, dtype: object = None) -> Tensor:
    """A tensor of an array, a number or a nested list of numbers. Python floats become f32, integers i64."""
    if isinstance(x, list | tuple):
        array = np.asarray(x)
        weak = array.dtype == np.float64 and not _has_arrays(x) and dtype is None
        x = array.astype(np.float32) if weak else array
    with located():
        if dtype is not None and isinstance(x, float | int):
            return wrap(number_value(x, as_dtype(dtype), "asarray"))
        value = value_of(x, "asarray")
        return wrap(value if dtype is None else elementwise.cast(value, dtype))


def reshape(x: Operand, *shape: Any) -> Tensor:
    """The elements of x, in order, under another shape; one size may be -1."""
    with located():
        return wrap(shaping.reshape(value_of(x, "reshape"), unpacked(shape)))


def transpose(x: Operand, axes: Sequence[int] | None = None) -> Tensor:
    """x with its axes in another order; None reverses them."""
    with located():
        return wrap(shaping.transpose(value_of(x, "transpose"), axes))


def swapaxes(x: Operand, axis1: int, axis2: int) -> Tensor:
    """x with two axes exchanged."""
    with located():
        value = value_of(x, "swapaxes")
        order = list(range(value.rank))
        i, j = axis_of(axis1, value.rank), axis_of(axis2, value.rank)
        order[i], order[j] = j, i
        return wrap(shaping.transpose(value, order))


def moveaxis(x: Operand, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """x with one axis, or several, moved to other places."""
    with located():
        value = value_of(x, "moveaxis")
        moved, places = (axes_in_order(a, value.rank) for a in (source, destination))
        if len(moved) != len(places):
            raise error(ArgumentError, f"moveaxis: {len(moved)} axes for {len(places)} places",
                        notes=[f"x: {value.type}"], help="give each axis one place")  # fmt: skip
        order = [axis for axis in range(value.rank) if axis not in moved]
        for place, axis in sorted(zip(places, moved, strict=True)):
            order.insert(place, axis)
        return wrap(shaping.transpose(value, order))


def expand_dims(x: Operand, axis: int | Sequence[int]) -> Tensor:
    """x with new axes of size 1 at these places of the result."""
    with located():
        return wrap(shaping.unsqueeze(value_of(x, "expand_dims"), axis))


def squeeze(x: Operand, axis: Axes = None) -> Tensor:
    """x without these axes of size 1; None means all that are known to be 1."""
    with located():
        return wrap(shaping.squeeze(value_of(x, "squeeze"), axis))


def broadcast_to(x: Operand, shape: Sequence[Any]) -> Tensor:
    """x stretched to a shape that it broadcasts to."""
    with located():
        return wrap(shaping.expand(value_of(x, "broadcast_to"), shape))


def flatten(x: Operand, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """x with the axes from start_dim to end_dim joined into one. Source: torch.flatten."""
    with located():
        value = value_of(x, "flatten")
        if value.rank == 0:
            return wrap(shaping.reshape(value, (1,)))
        first, last = axis_of(start_dim, value.rank), axis_of(end_dim, value.rank)
        if first > last:
            raise error(ArgumentError, f"flatten: start_dim {start_dim} is after end_dim {end_dim}",
                        help=f"x has {value.rank} axes")  # fmt: skip
        joined = dim_product(value.shape[first : last + 1])
        return wrap(shaping.reshape(value, (*value.shape[:first], joined, *value.shape[last + 1 :])))


def unflatten(x: Operand, axis: int, sizes: Sequence[Any]) -> Tensor:
    """x with one axis split into axes of these sizes; one may be -1. Source: torch.unflatten."""
    with located():
        value = value_of(x, "unflatten")
        at = axis_of(axis, value.rank)
        known = dim_product(size for size in sizes if not (isinstance(size, int) and size == -1))
        parts = [value.shape[at] // known if isinstance(size, int) and size == -1 else size for size in sizes]
        return wrap(shaping.reshape(value, (*value.shape[:at], *parts, *value.shape[at + 1 :])))


def concatenate(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """The tensors one after another along an axis; all other sizes are equal."""
    with located():
        return wrap(shaping.concat(_several("concatenate", tensors), axis))


concat = concatenate


def stack(tensors: Sequence[Operand], axis: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new axis."""
    with located():
        return wrap(shaping.stack(_several("stack", tensors), axis))


def split(x: Operand, indices_or_sections: int | Sequence[Dim], axis: int = 0) -> tuple[Tensor, ...]:
    """x cut along an axis: into a number of equal parts, or (numpy's way) at these positions."""
    with located():
        value = value_of(x, "split")
        if isinstance(indices_or_sections, int):
            return tuple(map(wrap, shaping.split(value, indices_or_sections, axis)))
        end = value.shape[axis_of(axis, value.rank)]
        cuts = [0, *indices_or_sections, end]
        sizes = [stop - start for start, stop in itertools.pairwise(cuts)]
        return tuple(map(wrap, shaping.split(value, sizes, axis)))


def flip(x: Operand, axis: Axes = None) -> Tensor:
    """x with the order of elements reversed along axes (all by default)."""
    with located():
        return wrap(shaping.flip(value_of(x, "flip"), axis))


def roll(x: Operand, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
    """x with its elements moved along axes; those that fall off come in at the other end. axis None: as if flat."""
    with located():
        value = value_of(x, "roll")
        if axis is not None:
            return wrap(repeating.roll(value, shift, axis))
        flat = repeating.roll(shaping.reshape(value, (-1,)), shift, 0)
        return wrap(shaping.reshape(flat, value.shape))


def tile(x: Operand, reps: int | Sequence[Dim]) -> Tensor:
    """x repeated as a whole along its axes."""
    with located():
        return wrap(repeating.tile(value_of(x, "tile"), reps))


def repeat(x: Operand, repeats: Dim, axis: int | None = None) -> Tensor:
    """Each element of an axis repeated; axis None flattens x first."""
    with located():
        value = value_of(x, "repeat")
        if axis is None:
            value, axis = shaping.reshape(value, (-1,)), 0
        return wrap(repeating.repeat(value, repeats, axis))


def pad(x: Operand, pad_width: Any, mode: str = "constant", constant_values: float = 0.0) -> Tensor:
    """x with elements put around it, as numpy.pad does.

    pad_width: one number, (before, after) for every axis, or one such pair for each axis. mode: "constant", "reflect"
    (without the edge element), "edge" or "wrap".
    """
    with located():
        value = value_of(x, "pad")
        pairs = _pad_pairs(pad_width, value)
        before, after = [p[0] for p in pairs], [p[1] for p in pairs]
        return wrap(repeating.pad(value, before, after, mode, constant_values))


def _pad_pairs(widths: Any, x: Value) -> list[tuple[Dim, Dim]]:
    rank = x.rank
    if not isinstance(widths, tuple | list):
        return [(widths, widths)] * rank
    if len(widths) == 2 and not any(isinstance(w, tuple | list) for w in widths):
        return [(widths[0], widths[1])] * rank
    pairs = [tuple(w) if isinstance(w, tuple | list) else (w, w) for w in widths]
    if len(pairs) != rank or any(len(pair) != 2 for pair in pairs):
        raise error(ArgumentError, f"pad: {widths!r} does not say how much goes around {rank} axes",
                    notes=[f"x: {x.type}"],
                    help="give one number, (before, after), or one pair for each axis")  # fmt: skip
    return [(pair[0], pair[1]) for pair in pairs]


def _several(what: str, tensors: Sequence[Operand]) -> list[Any]:
    if isinstance(tensors, Tensor) or not isinstance(tensors, tuple | list):
        raise error(ArgumentError, f"{what}: it takes a list of tensors", help=f"{what}([a, b], axis=0)")
    if not tensors:
        raise error(ArgumentError, f"{what}: there is nothing to join", help="give at least one tensor")
    return values_of(what, *tensors)


def _has_arrays(parts: Sequence[Any]) -> bool:
    return any(
        isinstance(p, np.ndarray | np.generic) or (isinstance(p, list | tuple) and _has_arrays(p)) for p in parts
    )
