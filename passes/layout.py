"""Carries images with their channels last through the graph, so that convolutions and what lies between copy nothing.

Every value [N, C, *S] may exist in two forms, channels first as the user wrote it, or last. A convolution makes
the last form and asks for it; elementwise ops, broadcasts, pools, reductions, pads, slices and concatenations follow
what they are given; everything else asks for the first form. A form that is missing is made by one transpose where it
is first asked for, which is a reshape where there is one channel or one pixel. A flattened image that is multiplied by
a fixed weight stays as it is: the rows of the weight are put in its order instead, once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from chainrule import loc as locations
from chainrule.ir.dims import dim_product
from chainrule.ir.graph import Graph, Input, Value, build, rebuild, remapped
from chainrule.ir.types import TensorType
from chainrule.ops.conv import Conv, ConvTranspose, ConvWeightGrad
from chainrule.ops.integer_products import IntegerConv
from chainrule.ops.matmul import MatMul
from chainrule.ops.pool import AvgPoolGrad
from chainrule.ops.reduce import Reduction
from chainrule.ops.shape_rules import axes_of
from chainrule.ops.shaping import Reshape, Transpose, reshape, transpose
from chainrule.passes.base import Notes, Pass
from chainrule.passes.choose_conv import require_winograd
from chainrule.passes.layout_conv import Convolutions
from chainrule.passes.layout_followers import follows, pool_gradient
from chainrule.passes.layout_forms import Forms, last_axis, last_order, last_type
from chainrule.passes.pack import TILES
from chainrule.passes.rewrite import fixed_values


@dataclass(frozen=True)
class ChannelsLast(Pass):
    """Convolutions and what follows them work on images with their channels last.

    winograd: "auto", "never", or the one size of tiles that is used wherever it can be (passes/choose_conv.py). pairs:
    the processor multiplies bf16 in pairs, and may; like tiles it comes from the machine, and is not said.
    """

    name: ClassVar[str] = "channels-last"
    tiles: tuple[tuple[int, int], ...] = TILES
    winograd: str = "auto"
    pairs: bool = False

    def __post_init__(self) -> None:
        require_winograd(self.winograd)

    def __str__(self) -> str:
        return self.name if self.winograd == "auto" else f"{self.name}{{winograd={self.winograd}}}"

    def run(self, graph: Graph, notes: Notes) -> Graph:
        convolutions = Conv | ConvTranspose | ConvWeightGrad | IntegerConv
        if not any(isinstance(node.op, convolutions) for node in graph.nodes):
            return graph
        forms = Forms(notes)
        ways = Convolutions(forms, self.tiles, self.winograd, self.pairs, fixed_values(graph), notes)
        for node in graph.nodes:
            with locations.using(node.locs):
                _visit(node, forms, ways)
        return remapped(graph, {v: forms.first(v) for v in graph.results})


def _visit(node: Value, forms: Forms, ways: Convolutions) -> None:
    """Makes one form of the node."""
    made = None if isinstance(node.op, Input) else _made_last(node, forms, ways)
    if made is not None:
        assert made.type == last_type(node.tensor), f"{node.op.name}: {made.type} for {node.type}"
        forms.lasts[node] = made
        forms.native.add(node)
    elif isinstance(node.op, Input):
        forms.plain[node] = node
    elif not (isinstance(node.op, Reshape) and node.inputs[0] in forms.native):
        forms.plain[node] = _made_first(node, forms, ways)


def _made_last(node: Value, forms: Forms, ways: Convolutions) -> Value | None:
    """The node with its channels last, where it is worth it."""
    if not isinstance(node.type, TensorType):
        return None
    match node.op:
        case Conv():
            return ways.convolution(node, node.op)
        case ConvTranspose():
            return ways.transposed(node, node.op)
        case IntegerConv():
            return ways.of_bytes(node, node.op)
        case AvgPoolGrad():
            return pool_gradient(forms, node)  # its result is larger than what it reads, and a gradient follows
        case _:
            return follows(forms, node)


def _made_first(node: Value, forms: Forms, ways: Convolutions) -> Value:
    if isinstance(node.op, MatMul):
        found = _flattened_product(node, node.op, forms, ways.fixed)
        if found is not None:
            return found
    if isinstance(node.op, ConvWeightGrad):
        return ways.weight_gradient(node, node.op)
    if isinstance(node.op, Reduction) and node.inputs[0] in forms.native and not node.op.keepdims:
        return _reduced(node, node.op, forms)
    if isinstance(node.op, Transpose) and node.inputs[0] in forms.native:
        rank = node.inputs[0].rank
        return transpose(forms.last(node.inputs[0]), [last_axis(axis, rank) for axis in node.op.perm])
    return rebuild(node, tuple(forms.first(v) for v in node.inputs))


def _flattened_product(node: Value, op: MatMul, forms: Forms, fixed: frozenset[Value]) -> Value | None:
    """[N, C, *S] flattened to [N, C*prod(S)], times a fixed weight: the weight's rows follow the image."""
    flat, w = node.inputs
    image = flat.inputs[0] if isinstance(flat.op, Reshape) else None
    if image is None or image not in forms.native or op.transpose_a or w not in fixed:
        return None
    rest = image.shape[1:]
    if flat.shape != (image.shape[0], dim_product(rest)) or w.rank != 2:
        return None
    order = tuple(range(1, len(rest)))
    weight = forms.first(w)
    if op.transpose_b:
        turned = transpose(reshape(weight, (w.shape[0], *rest)), (0, *(1 + axis for axis in order), 1))
    else:
        turned = transpose(reshape(weight, (*rest, w.shape[1])), (*order, 0, len(rest)))
    forms.notes.count("weight follows a flattened image")
    return build(op, reshape(forms.last(image), flat.shape), reshape(turned, w.shape))


def _reduced(node: Value, op: Reduction, forms: Forms) -> Value:
    """A reduction that drops axes: what remains is transposed only if its channels are not where they should be."""
    x = node.inputs[0]
    axes = axes_of(op.axes, x.rank)
    left = [axis for axis in last_order(x.rank) if axis not in axes]
    result = build(replace(op, axes=tuple(sorted(last_axis(a, x.rank) for a in axes))), forms.last(x))
    return transpose(result, [left.index(axis) for axis in sorted(left)])
