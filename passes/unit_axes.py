"""Rules for axes of one element, which models written for another layout are full of: they cost nothing to go round."""

from __future__ import annotations

from dataclasses import replace

from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value, build
from chainrule.ops.conv import Conv
from chainrule.ops.shaping import Reshape, Transpose, reshape, transpose
from chainrule.passes.rewrite import Any, Match, Rule, of

X, W, B = Any("x"), Any("w"), Any("b")


def _kept_axes(before: tuple[Dim, ...], after: tuple[Dim, ...]) -> list[int | None] | None:
    """For each axis after a reshape the axis it was, None for one of one element; None where other axes changed."""
    old = [i for i, d in enumerate(before) if d != 1]
    new = [d for d in after if d != 1]
    if new != [before[i] for i in old]:
        return None
    rest = iter(old)
    return [None if d == 1 else next(rest) for d in after]


def _only_units_change(m: Match) -> str:
    middle = m["middle"]
    kept = _kept_axes(middle.inputs[0].shape, middle.shape)
    return "" if kept is not None else "the reshape does more than add or drop axes of one element"


def _one_transpose(m: Match) -> Value:
    """transpose(reshape(transpose(x))), where the reshape touches axes of one element only."""
    inner, outer, middle, x = m["inner"].op, m.root.op, m["middle"], m["x"]
    assert isinstance(inner, Transpose) and isinstance(outer, Transpose)
    kept = _kept_axes(middle.inputs[0].shape, middle.shape)
    assert kept is not None
    order = [inner.perm[k] for k in (kept[p] for p in outer.perm) if k is not None]
    if order == sorted(order):
        return reshape(x, m.root.shape)
    units = [i for i in range(x.rank) if i not in order]
    return reshape(transpose(x, (*order, *units)), m.root.shape)


def _last_axis_is_one(m: Match) -> str:
    op, (x, w) = m.root.op, m.root.inputs[:2]
    assert isinstance(op, Conv)
    if x.rank < 4 or x.shape[-1] != 1 or w.shape[-1] != 1:
        return "image and kernel have more than one element along the last axis"
    if all(d == 1 for d in x.shape[2:]):
        return "the image is one element: a product of matrices"
    count = x.rank - 2
    return "" if op.pad[count - 1] == op.pad[2 * count - 1] == 0 else "the last axis is padded"


def _without_last_axis(m: Match) -> Value:
    """Its last image axis is one element wide, which leaves a kernel's vectors of pixels empty but for one."""
    op, (x, w, *bias) = m.root.op, m.root.inputs
    assert isinstance(op, Conv)
    count = x.rank - 2
    pad = (*op.pad[: count - 1], *op.pad[count : 2 * count - 1])
    short = replace(op, stride=op.stride[:-1], pad=pad, dilation=op.dilation[:-1])
    return reshape(build(short, reshape(x, x.shape[:-1]), reshape(w, w.shape[:-1]), *bias), m.root.shape)


RULES: tuple[Rule, ...] = (
    Rule("transpose of a transpose with other axes of one = one transpose",
         of(Transpose, of(Reshape, of(Transpose, X, name="inner"), name="middle")), _one_transpose, _only_units_change),
    Rule("convolution along one element = convolution without that axis", of(Conv, X, W), _without_last_axis,
         _last_axis_is_one),
    Rule("convolution with bias along one element = convolution without that axis", of(Conv, X, W, B),
         _without_last_axis, _last_axis_is_one),
)  # fmt: skip
