"""The rules that many shape rules share: broadcasting, axes, element types, window arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.dims import Dim, dim_max, floordiv, lower_bound
from chainrule.ir.types import DType, TensorType


def broadcast_shapes(*shapes: Sequence[Dim]) -> tuple[Dim, ...]:
    """The numpy broadcast of shapes. Raises ShapeError where two dims differ and neither is 1."""
    rank = max((len(s) for s in shapes), default=0)
    result: list[Dim] = [1] * rank
    for shape in shapes:
        for i, dim in enumerate(shape, start=rank - len(shape)):
            if result[i] == 1:
                result[i] = dim
            elif dim != 1 and dim != result[i]:
                listed = " and ".join("[" + ",".join(map(str, s)) + "]" for s in shapes)
                raise ShapeError(f"shapes {listed} do not broadcast", help=f"axis {i - rank}: {result[i]} is not {dim}",
                                 apart=(result[i], dim))  # fmt: skip
    return tuple(result)


def same_dtype(*types: TensorType) -> DType:
    """The one element type of all. Raises DTypeError when they differ."""
    first = types[0].dtype
    for other in types[1:]:
        if other.dtype != first:
            raise DTypeError(f"element types {first} and {other.dtype} differ", help="cast one of them: x.astype(...)")
    return first


def require(kinds: str, *types: TensorType) -> None:
    """Every element type is of one of these kinds ("f", "i", "u", "b"). Raises DTypeError."""
    names = {"f": "floats", "i": "signed integers", "u": "unsigned integers", "b": "bool"}
    for type in types:
        if type.dtype.kind not in kinds:
            raise DTypeError(f"{type.dtype} is not among its element types",
                             help="it takes " + ", ".join(names[k] for k in kinds))  # fmt: skip


def axis_of(axis: int, rank: int) -> int:
    """The axis counted from the front. Raises ArgumentError when there is none such."""
    if not -rank <= axis < rank:
        raise ArgumentError(f"axis {axis} is out of range for {rank} axes", help=f"it runs from {-rank} to {rank - 1}")
    return axis % rank


def axes_of(axes: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """The axes counted from the front, sorted; None means all. Raises ArgumentError for a repeated one."""
    if axes is None:
        return tuple(range(rank))
    found = tuple(sorted(axis_of(a, rank) for a in axes))
    if len(set(found)) != len(found):
        raise ArgumentError(f"axes {tuple(axes)} name an axis twice", help="name each axis once; -1 is the last one")
    return found


def axes_in_order(axes: int | Sequence[int], rank: int) -> list[int]:
    """The axes counted from the front, as they were named. Raises ArgumentError for a repeated one."""
    named = [axes] if isinstance(axes, int) else list(axes)
    axes_of(named, rank)
    return [axis_of(a, rank) for a in named]


def reduced_shape(shape: Sequence[Dim], axes: Sequence[int], keepdims: bool) -> tuple[Dim, ...]:
    """The shape with some axes gone, or kept as 1."""
    if keepdims:
        return tuple(1 if i in axes else d for i, d in enumerate(shape))
    return tuple(d for i, d in enumerate(shape) if i not in axes)


def window_count(
    size: Dim, window: int, stride: int, pad: tuple[int, int], dilation: int = 1, ceil: bool = False
) -> Dim:
    """How many positions a window takes along an axis; with ceil a last partial window that starts inside counts.

    Raises ShapeError when the window is larger than the padded axis.
    """
    reach = dilation * (window - 1) + 1
    room = size + pad[0] + pad[1] - reach
    if isinstance(room, int) and room < 0:
        raise ShapeError(f"a window of {reach} does not fit into an axis of {size} padded by {pad[0]}+{pad[1]}",
                         help="use a smaller window or more padding")  # fmt: skip
    if not ceil:
        count = floordiv(room, stride) + 1
        return count if (low := lower_bound(count)) is not None and low >= 0 else dim_max(0, count)
    count = floordiv(room + stride - 1, stride) + 1
    if isinstance(count, int) and isinstance(size, int) and (count - 1) * stride >= size + pad[0]:
        return count - 1
    return count
