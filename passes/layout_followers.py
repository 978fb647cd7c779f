"""How ops follow an image with its channels last: the same op with other axes, on images of that form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from chainrule.ir.graph import Value, build
from chainrule.ir.op import Op
from chainrule.ops.declared import SizedAs
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.lowered import PoolLast
from chainrule.ops.lowered_pool import AvgPoolGradLast, MaxPoolGradLast
from chainrule.ops.pool import AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad
from chainrule.ops.reduce import AMax, AMin, Mean, Prod, Reduction, Sum
from chainrule.ops.resize import Resize
from chainrule.ops.shape_rules import axes_of
from chainrule.ops.shaping import Concat, Expand, Flip, Pad, Reshape, Slice, reshape
from chainrule.passes.layout_forms import Forms, last_axis, last_order, last_shape


def follows(forms: Forms, node: Value) -> Value | None:
    """The node with its channels last, where it reads such an image and can follow it."""
    way = FOLLOWERS.get(type(node.op)) or (_elementwise if isinstance(node.op, Elementwise) else None)
    if way is None or node.rank < 3 or not any(v in forms.native and v.rank == node.rank for v in node.inputs):
        return None
    return way(forms, node)


def _elementwise(forms: Forms, node: Value) -> Value:
    return build(node.op, *(forms.aligned(v, node.rank) for v in node.inputs))


def _expand(forms: Forms, node: Value) -> Value:
    return build(Expand(last_shape(node.shape)), forms.aligned(node.inputs[0], node.rank))


def _sized_as(forms: Forms, node: Value) -> Value:
    return build(SizedAs(last_shape(node.shape)), forms.last(node.inputs[0]))


def _pool(forms: Forms, node: Value) -> Value:
    op = node.op
    if isinstance(op, MaxPool):
        made = PoolLast("max", op.window, op.stride, op.pad, op.dilation, op.ceil_mode)
    else:
        assert isinstance(op, AvgPool)
        ones = (1,) * len(op.window)
        made = PoolLast("avg", op.window, op.stride, op.pad, ones, op.ceil_mode, op.count_include_pad)
    return build(made, forms.last(node.inputs[0]))


def pool_gradient(forms: Forms, node: Value) -> Value:
    """The gradient of a pool."""
    op = node.op
    if isinstance(op, MaxPoolGrad):
        made: Op = MaxPoolGradLast(op.window, op.stride, op.pad, op.dilation, op.ceil_mode)
    else:
        assert isinstance(op, AvgPoolGrad)
        made = AvgPoolGradLast(op.size, op.window, op.stride, op.pad, op.ceil_mode, op.count_include_pad)
    return build(made, *(forms.last(v) for v in node.inputs))


def _reduction(forms: Forms, node: Value) -> Value | None:
    op, rank = node.op, node.inputs[0].rank
    assert isinstance(op, Reduction)
    if not op.keepdims:
        return None
    axes = tuple(sorted(last_axis(a, rank) for a in axes_of(op.axes, rank)))
    return build(replace(op, axes=axes), forms.last(node.inputs[0]))


def _concat(forms: Forms, node: Value) -> Value:
    assert isinstance(node.op, Concat)
    axis = last_axis(node.op.axis % node.rank, node.rank)
    return build(Concat(axis), *(forms.last(v) for v in node.inputs))


def _pad(forms: Forms, node: Value) -> Value:
    op = node.op
    assert isinstance(op, Pad)
    made = Pad(last_shape(op.before), last_shape(op.after), op.value)
    return build(made, forms.last(node.inputs[0]))


def _slice(forms: Forms, node: Value) -> Value:
    op = node.op
    assert isinstance(op, Slice)
    steps = tuple(op.steps[axis] for axis in last_order(node.rank))
    return build(Slice(last_shape(op.starts), last_shape(op.sizes), steps), forms.last(node.inputs[0]))


def _flip(forms: Forms, node: Value) -> Value:
    assert isinstance(node.op, Flip)
    axes = tuple(sorted(last_axis(a, node.rank) for a in axes_of(node.op.axes, node.rank)))
    return build(Flip(axes), forms.last(node.inputs[0]))


def _resize(forms: Forms, node: Value) -> Value:
    op = node.op
    assert isinstance(op, Resize)
    scales = tuple(op.scales[axis] for axis in last_order(node.rank))
    return build(replace(op, sizes=last_shape(op.sizes), scales=scales), forms.last(node.inputs[0]))


def _reshape(forms: Forms, node: Value) -> Value | None:
    """A reshape that keeps batch and channels."""
    (x,) = node.inputs
    if node.rank < 3 or x.rank < 3 or node.shape[:2] != x.shape[:2] or x not in forms.native:
        return None
    return reshape(forms.last(x), last_shape(node.shape))


# How ops follow an image with its channels last; elementwise ops do, too.
FOLLOWERS: Mapping[type[Op], Callable[[Forms, Value], Value | None]] = {
    Expand: _expand, SizedAs: _sized_as, MaxPool: _pool, AvgPool: _pool,
    MaxPoolGrad: pool_gradient, AvgPoolGrad: pool_gradient, Concat: _concat, Pad: _pad, Slice: _slice, Flip: _flip,
    Reshape: _reshape, Resize: _resize,
    Sum: _reduction, Mean: _reduction, AMax: _reduction, AMin: _reduction, Prod: _reduction,
}  # fmt: skip
