"""vmap: a function of one example as a function of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainrule.errors import ArgumentError, NotSupported, ShapeError
from chainrule.frontend import scope as scopes
from chainrule.frontend.anywhere import anywhere
from chainrule.frontend.bodies import Leaves, called, opened
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Tensor, wrap
from chainrule.frontend.trace import name_of
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value, new_input
from chainrule.ir.types import TensorType, i64
from chainrule.ops.ranges import iota
from chainrule.ops.shaping import transpose
from chainrule.passes.vectorize import vectorized

Function = Callable[..., Any]
Axes = int | None | Sequence[int | None]


def vmap(fn: Function, in_axes: Axes = 0, out_axes: int = 0) -> Function:
    """The function that calls fn on each example of a batch and stacks the results: computed for all examples at once.

    in_axes: the axis of the examples in each argument (one number for all of them, or one for each; None: the same for
    every example). An argument may be nested: the axis is that of all its tensors. out_axes: where the results have it.
    Tensors from around are the same for every example; random draws differ. Per-example gradients:
    vmap(grad(loss), (None, 0, 0))(weights, x, y).

    Raises ArgumentError when no argument is mapped, ShapeError where sizes of the axis differ, NotSupported when fn
    assigns a buffer.
    """

    def mapped(*args: Any) -> Any:
        axes = [in_axes] * len(args) if in_axes is None or isinstance(in_axes, int) else list(in_axes)
        if len(axes) != len(args):
            raise error(ArgumentError, f"vmap: {len(axes)} axes for {len(args)} arguments", help="give one for each")
        return anywhere(lambda *inner: _vmap(fn, inner, axes, out_axes), args)

    return mapped


def _vmap(fn: Function, args: Sequence[Any], axes: Sequence[int | None], out_axis: int) -> Any:
    body = opened("vmap", new_input("example", TensorType(i64, ())))
    assert body.scope.counter is not None
    batched: dict[Value, Value] = {}
    size: Dim | None = None
    given: list[Any] = []
    for place, (argument, axis) in enumerate(zip(args, axes, strict=True)):
        if axis is None:
            given.append(argument)
            continue
        part = Leaves.of(argument, "vmap")
        for value in part.values:
            size = _size(size, value, axis, place)
        stacked = [_moved(value, axis % value.rank, 0) for value in part.values]
        held = part.holders(f"x{place}", [v.tensor.with_shape(v.shape[1:]) for v in stacked])
        batched |= dict(zip(held, stacked, strict=True))
        given.append(part.form.build([Tensor(v, body.scope) for v in held]))
    if size is None:
        raise error(ArgumentError, "vmap: no argument is mapped", help="give an axis for one: in_axes=0")
    with scopes.entered(body.scope):
        made = Leaves.of(called("vmap", fn, *given), "vmap")
    if body.scope.assigned():
        raise error(NotSupported, f"vmap: {name_of(fn)} assigns a buffer", help="return the value, or use cr.map")
    body.outputs = made.values
    batched[body.scope.counter] = iota((size,), 0, i64)
    body.own = list(batched)
    outside = {inner: outer for outer, inner in body.captured().items()}
    found = vectorized(made.values, batched, size, outside)
    return made.form.build([wrap(_moved(v, 0, _out(out_axis, v))) for v in found])


def _size(size: Dim | None, value: Value, axis: int, place: int) -> Dim:
    """The number of examples, as this tensor has it too."""
    if not -value.rank <= axis < value.rank:
        raise error(ShapeError, f"vmap: argument {place} is {value.type}, which has no axis {axis}",
                    help="in_axes: None for what is the same for every example")  # fmt: skip
    if size is not None and value.shape[axis] != size:
        raise error(ShapeError, f"vmap: argument {place} has {value.shape[axis]} examples, the others {size}",
                    notes=[f"argument {place}: {value.type}"], help="the mapped axes have one size")  # fmt: skip
    return value.shape[axis]


def _out(axis: int, value: Value) -> int:
    if not -value.rank <= axis < value.rank:
        raise error(ShapeError, f"vmap: a result {value.type} has no axis {axis}", help="choose another out_axes")
    return axis % value.rank


def _moved(x: Value, source: int, target: int) -> Value:
    order = [i for i in range(x.rank) if i != source]
    order.insert(target, source)
    return x if order == list(range(x.rank)) else transpose(x, order)
