"""Carries images with their channels last through the graph, so that convolutions and what lies between copy nothing.

Every value [N, C, *S] may exist in two forms, channels first as the user wrote it, or last. A convolution makes
the last form and asks for it; elementwise ops, broadcasts, pools, reductions, pads, slices and concatenations follow
what they are given; everything else asks for the first form. A form that is missing is made by one transpose where it
is first asked for, which is a reshape where there is one channel or one pixel. A flattened image that is multiplied by
a fixed weight stays as it is: the rows of the weight are put in its order instead, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from chainrule import loc as locations
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Graph, Input, Value, build, rebuild, remapped
from chainrule.ir.op import Op
from chainrule.ir.types import TensorType
from chainrule.ops.basic import Full
from chainrule.ops.conv import Conv, ConvTranspose, ConvWeightGrad, kernel_of
from chainrule.ops.declared import SizedAs
from chainrule.ops.elementwise import Elementwise, add
from chainrule.ops.integer_products import IntegerConv
from chainrule.ops.lowered import (
    ChannelConv,
    PackKernel,
    PanelConv,
    PanelMatMul,
    PoolLast,
    WeightGradLast,
    accumulated,
    panel_width,
)
from chainrule.ops.lowered_bytes import GROUP
from chainrule.ops.lowered_pool import AvgPoolGradLast, MaxPoolGradLast
from chainrule.ops.lowered_winograd import WinogradConv, WinogradWeights
from chainrule.ops.lowered_winograd_grad import WinogradWeightGrad
from chainrule.ops.matmul import MatMul
from chainrule.ops.pool import AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad
from chainrule.ops.reduce import AMax, AMin, Mean, Prod, Reduction, Sum
from chainrule.ops.shape_rules import axes_of
from chainrule.ops.shaping import Concat, Expand, Flip, Pad, Reshape, Slice, Transpose, flip, reshape, transpose
from chainrule.passes.base import Notes, Pass
from chainrule.passes.choose_conv import Choice, choose, choose_phases, choose_weight_gradient, require_winograd
from chainrule.passes.interleave import interleaved
from chainrule.passes.pack import TILES, Tiles, even_width, whole_tiles, widest
from chainrule.passes.pack_bytes import conv_of_bytes
from chainrule.passes.polyphase import polyphase
from chainrule.passes.rewrite import fixed_values

RAGGED = 0.03  # what a last panel of other vectors is taken to cost: it is a second body of the kernel
TILE_COST = 0.3  # pixels' worth of reading B and of the loop: what more pixels of a tile share
SHALLOW = 256  # steps of depth below which storing and reading pixels count for more than the tile's rows
CHANNEL_WIDTH = 16  # f32 channels that a depthwise kernel takes at a time


@dataclass(frozen=True)
class ChannelsLast(Pass):
    """Convolutions and what follows them work on images with their channels last.

    winograd: "auto", "never", or the one size of tiles that is used wherever it can be (passes/choose_conv.py).
    """

    name: ClassVar[str] = "channels-last"
    tiles: tuple[tuple[int, int], ...] = TILES
    winograd: str = "auto"

    def __post_init__(self) -> None:
        require_winograd(self.winograd)

    def __str__(self) -> str:
        return self.name if self.winograd == "auto" else f"{self.name}{{winograd={self.winograd}}}"

    def run(self, graph: Graph, notes: Notes) -> Graph:
        convolutions = Conv | ConvTranspose | ConvWeightGrad | IntegerConv
        if not any(isinstance(node.op, convolutions) for node in graph.nodes):
            return graph
        walk = _Walk(graph, self.tiles, self.winograd, notes, fixed_values(graph))
        for node in graph.nodes:
            with locations.using(node.locs):
                walk.visit(node)
        return remapped(graph, {v: walk.first(v) for v in graph.results})


@dataclass
class _Walk:
    """The forms of every node that was visited. native: nodes that were made with their channels last."""

    graph: Graph
    tiles: Tiles
    winograd: str
    notes: Notes
    fixed: frozenset[Value]
    plain: dict[Value, Value] = field(default_factory=dict)
    lasts: dict[Value, Value] = field(default_factory=dict)
    native: set[Value] = field(default_factory=set)

    def visit(self, node: Value) -> None:
        """Makes one form of the node."""
        made = None if isinstance(node.op, Input) else self._made_last(node)
        if made is not None:
            assert made.type == last_type(node.tensor), f"{node.op.name}: {made.type} for {node.type}"
            self.lasts[node] = made
            self.native.add(node)
        elif isinstance(node.op, Input):
            self.plain[node] = node
        elif not (isinstance(node.op, Reshape) and node.inputs[0] in self.native):
            self.plain[node] = self._made_first(node)

    def first(self, value: Value) -> Value:
        """The value with its channels where the user put them."""
        found = self.plain.get(value)
        if found is None and value in self.lasts:
            self.notes.count("channels put first")
            found = self.plain[value] = to_first(self.lasts[value])
        elif found is None:
            # A reshape of an image with its channels last waits for who uses it: a product may take it as it is.
            found = self.plain[value] = rebuild(value, (self.first(value.inputs[0]),))
        return found

    def last(self, value: Value) -> Value:
        """The value [N, C, *S] with its channels last."""
        found = self.lasts.get(value)
        if found is None:
            if isinstance(value.op, Full):
                found = build(replace(value.op, shape=last_shape(value.shape)))
            elif isinstance(value.op, Expand):
                found = build(Expand(last_shape(value.shape)), self.aligned(value.inputs[0], value.rank))
            else:
                self.notes.count("channels put last")
                found = to_last(self.first(value))
            self.lasts[value] = found
        return found

    def aligned(self, value: Value, rank: int) -> Value:
        """A value that broadcasts against [N, C, *S], as one that broadcasts against [N, *S, C]."""
        if value.rank == rank:
            return self.last(value)
        plain = self.first(value)
        if value.rank == 0:
            return plain
        return to_last(reshape(plain, (*(1,) * (rank - value.rank), *value.shape)))

    def _made_last(self, node: Value) -> Value | None:
        """The node with its channels last, where it is worth it."""
        if not isinstance(node.type, TensorType):
            return None
        match node.op:
            case Conv():
                return self._convolution(node, node.op)
            case ConvTranspose():
                return self._transposed(node, node.op)
            case IntegerConv():
                width = self._width(node.op.groups, node.shape[1], node.shape[-1], node)
                self.notes.count("convolution: bytes")
                return conv_of_bytes(node, node.op, self.last(node.inputs[0]), self.first(node.inputs[1]), width)
            case AvgPoolGrad():
                return _pool_gradient(self, node)  # its result is larger than what it reads, and a gradient follows
            case _:
                follows = FOLLOWERS.get(type(node.op)) or (_elementwise if isinstance(node.op, Elementwise) else None)
                if follows is None or node.rank < 3 or not self._has_native(node):
                    return None
                return follows(self, node)

    def _has_native(self, node: Value) -> bool:
        return any(v in self.native and v.rank == node.rank for v in node.inputs)

    def _made_first(self, node: Value) -> Value:
        if isinstance(node.op, MatMul):
            found = self._flattened_product(node, node.op)
            if found is not None:
                return found
        if isinstance(node.op, ConvWeightGrad):
            return self._weight_gradient(node, node.op)
        if isinstance(node.op, Reduction) and node.inputs[0] in self.native and not node.op.keepdims:
            return self._reduced(node, node.op)
        if isinstance(node.op, Transpose) and node.inputs[0] in self.native:
            rank = node.inputs[0].rank
            return transpose(self.last(node.inputs[0]), [last_axis(axis, rank) for axis in node.op.perm])
        return rebuild(node, tuple(self.first(v) for v in node.inputs))

    # -- convolutions --------------------------------------------------------------------------------------------------

    def _convolution(self, node: Value, op: Conv) -> Value:
        x, w, *bias = node.inputs
        rank = len(op.stride)
        kernel = kernel_of(w.tensor)
        sizes = node.shape[2:]
        ones = (1,) * rank
        weight, biases = self.first(w), tuple(self.first(b) for b in bias)
        outs = w.shape[0]
        apart = interleaved(node, op)
        if apart is not None:
            tiles = choose(apart.conv, replace(op, pad=(0, 0), dilation=(1,)), self.winograd, w in self.fixed)
            if tiles.way == "winograd":
                self.notes.count(f"convolution: {apart.count} interleaved, winograd ({tiles.why})")
                y = self._in_tiles(apart.conv, tiles.tile, (0,), False, apart.taken(self.last(x)))
                return apart.put_back(y, node.shape[0])
        phases = polyphase(node, op) if w in self.fixed else None
        if phases is not None:
            tiles = choose_phases(node, phases.conv, self.winograd)
            if tiles.way == "winograd":
                self.notes.count(f"convolution: phases, winograd ({tiles.why})")
                return self._in_tiles(phases.conv, tiles.tile, (0,) * rank, False, phases.taken(self.last(x)))
        choice = self._choice(node, op)
        if choice.way == "channels":
            panels = build(PackKernel(channel_width(node.tensor)), weight)
            made = ChannelConv(kernel, op.stride, op.pad[:rank], op.dilation, sizes, ones)
            return build(made, self.last(x), panels, *biases)
        if choice.way == "winograd":
            return self._in_tiles(node, choice.tile, op.pad[:rank], backward=False)
        if choice.way == "product":
            width = even_width(outs, self.tiles, node.dtype)
            packed = build(PackKernel(width), weight)
            y = build(PanelMatMul(outs), self.last(x), reshape(packed, packed.shape[1:]))
            return add(y, biases[0]) if biases else y
        width = self._width(op.groups, outs, sizes[-1], node)
        panels = build(PackKernel(width, op.groups), weight)
        made = PanelConv(kernel, op.stride, op.pad[:rank], op.dilation, op.groups, outs, sizes, ones)
        return build(made, self.last(x), panels, *biases)

    def _transposed(self, node: Value, op: ConvTranspose) -> Value:
        """A convolution of the spread image by the kernel turned round."""
        x, w, *bias = node.inputs
        rank = len(op.stride)
        kernel = kernel_of(w.tensor)
        pad = tuple(op.dilation[i] * (kernel[i] - 1) - op.pad[i] for i in range(rank))
        ones = (1,) * rank
        weight, biases = self.first(w), tuple(self.first(b) for b in bias)
        outs = node.shape[1]
        choice = self._choice(node, op)
        if choice.way == "winograd":
            return self._in_tiles(node, choice.tile, pad, backward=True)
        if choice.way == "channels":
            panels = build(PackKernel(channel_width(node.tensor)), flip(weight, tuple(range(2, 2 + rank))))
            made = ChannelConv(kernel, ones, pad, op.dilation, node.shape[2:], op.stride)
            return build(made, self.last(x), panels, *biases)
        width = self._width(op.groups, outs, node.shape[-1], node)
        panels = build(PackKernel(width, op.groups, backward=True), weight)
        made = PanelConv(kernel, ones, pad, op.dilation, op.groups, outs, node.shape[2:], op.stride)
        return build(made, self.last(x), panels, *biases)

    def _choice(self, node: Value, op: Conv | ConvTranspose) -> Choice:
        """How a convolution is computed; notes why."""
        choice = choose(node, op, self.winograd, node.inputs[1] in self.fixed)
        kind = "convolution" if isinstance(op, Conv) else "transposed convolution"
        self.notes.count(f"{kind}: {choice.way} ({choice.why})")
        return choice

    def _in_tiles(self, node: Value, tile: tuple[int, ...], pad: tuple[int, ...], backward: bool,
                  image: Value | None = None) -> Value:  # fmt: skip
        """A convolution by Winograd's tiles; backward: of the weight turned round; image: x with channels last."""
        x, w, *bias = node.inputs
        kernel, outs = kernel_of(w.tensor), node.shape[1]
        panels = build(PackKernel(self._tile_width(node), backward=backward), self.first(w))
        weights = build(WinogradWeights(kernel, tile), panels)
        made = WinogradConv(kernel, tile, pad, outs, node.shape[2:])
        return build(made, self.last(x) if image is None else image, weights, *(self.first(b) for b in bias))

    def _tile_width(self, node: Value) -> int:
        """Columns of the panels of transformed weights: of the wide register tile with the most rows.

        Panels are read for every few rows: measured, 7x32 beats 6x64 by a tenth to a third wherever the weights do not
        stay in the second-level cache, and equals it where they do.
        """
        wide = [size for size in self.tiles if size[1] >= self.tiles[-1][1] * 2]
        best = max(wide or self.tiles, key=lambda size: size[0] / size[1])
        return panel_width(node.shape[1], best[1], node.dtype)

    def _weight_gradient(self, node: Value, op: ConvWeightGrad) -> Value:
        """[*K, C/g, O], turned into the weight's own order."""
        x, dy = node.inputs
        rank = len(op.kernel)
        choice = choose_weight_gradient(node, op, self.winograd)
        self.notes.count(f"weight gradient: {choice.way}")
        if choice.way == "winograd":
            made: Op = WinogradWeightGrad(op.kernel, choice.tile, op.pad[:rank])
        else:
            made = WeightGradLast(op.kernel, op.stride, op.pad[:rank], op.dilation, op.groups)
        return transpose(build(made, self.last(x), self.last(dy)), (rank + 1, rank, *range(rank)))

    def _width(self, groups: int, outs: Dim, across: Dim, node: Value) -> int:
        """Columns of the panels of a convolution's weight.

        The widest tile reads the fewest scalars, but has few rows: narrower ones have more, which share what is read of
        the panels and fit maps of 7 or 13 pixels better.
        """
        part, most = outs // groups, widest(self.tiles, node.dtype)
        tiles = whole_tiles(self.tiles, node.dtype)
        depth = dim_product(node.inputs[1].shape[1:])
        depth = -(-depth // GROUP) if isinstance(node.op, IntegerConv) and isinstance(depth, int) else depth
        shallow = isinstance(depth, int) and depth < SHALLOW
        if not isinstance(part, int) or 2 * part <= most or len(tiles) < 3 or shallow:
            return panel_width(part, most, node.dtype)
        if not isinstance(across, int):
            return most
        room = max((rows + 1) * width for rows, width in tiles)
        vector = min(width for _, width in tiles)  # one alone takes a broadcast for each multiplication
        best = min((width for _, width in tiles if width >= 2 * vector), key=lambda width: (
            _cost(across, room // width - 1) + RAGGED * (part % width != 0), -width))  # fmt: skip
        return panel_width(part, best, node.dtype)

    # -- ways out ------------------------------------------------------------------------------------------------------

    def _flattened_product(self, node: Value, op: MatMul) -> Value | None:
        """[N, C, *S] flattened to [N, C*prod(S)], times a fixed weight: the weight's rows follow the image."""
        flat, w = node.inputs
        image = flat.inputs[0] if isinstance(flat.op, Reshape) else None
        if image is None or image not in self.native or op.transpose_a or w not in self.fixed:
            return None
        rest = image.shape[1:]
        if flat.shape != (image.shape[0], dim_product(rest)) or w.rank != 2:
            return None
        order = tuple(range(1, len(rest)))
        weight = self.first(w)
        if op.transpose_b:
            turned = transpose(reshape(weight, (w.shape[0], *rest)), (0, *(1 + axis for axis in order), 1))
        else:
            turned = transpose(reshape(weight, (*rest, w.shape[1])), (*order, 0, len(rest)))
        self.notes.count("weight follows a flattened image")
        return build(op, reshape(self.last(image), flat.shape), reshape(turned, w.shape))

    def _reduced(self, node: Value, op: Reduction) -> Value:
        """A reduction that drops axes: what remains is transposed only if its channels are not where they should be."""
        x = node.inputs[0]
        axes = axes_of(op.axes, x.rank)
        left = [axis for axis in last_order(x.rank) if axis not in axes]
        result = build(replace(op, axes=tuple(sorted(last_axis(a, x.rank) for a in axes))), self.last(x))
        return transpose(result, [left.index(axis) for axis in sorted(left)])


def _cost(across: int, most: int) -> float:
    """What the best tiles of at most so many pixels cost over a row: the pixels beyond its end, and each tile's own."""
    return min(-(-across // n) * (n + TILE_COST) / across for n in range(1, most + 1)) if across else 0.0


def channel_width(type: TensorType) -> int:
    """Channels of a depthwise panel: those of one vector of 64 bytes."""
    return CHANNEL_WIDTH * 4 // accumulated(type.dtype).itemsize


def last_order(rank: int) -> tuple[int, ...]:
    """The axes of [N, C, *S] in the order N, *S, C."""
    return (0, *range(2, rank), 1)


def last_axis(axis: int, rank: int) -> int:
    """Where an axis of [N, C, *S] is with channels last."""
    return last_order(rank).index(axis)


def last_shape(shape: Sequence[Dim]) -> tuple[Dim, ...]:
    return tuple(shape[axis] for axis in last_order(len(shape)))


def last_type(type: TensorType) -> TensorType:
    return type.with_shape(last_shape(type.shape))


def to_last(x: Value) -> Value:
    """[N, C, *S] -> [N, *S, C]; a view where there is one channel or one pixel."""
    if x.shape[1] == 1 or all(d == 1 for d in x.shape[2:]):
        return reshape(x, last_shape(x.shape))
    return transpose(x, last_order(x.rank))


def to_first(x: Value) -> Value:
    """[N, *S, C] -> [N, C, *S]; a view where there is one channel or one pixel."""
    shape = (x.shape[0], x.shape[-1], *x.shape[1:-1])
    if x.shape[-1] == 1 or all(d == 1 for d in x.shape[1:-1]):
        return reshape(x, shape)
    return transpose(x, (0, x.rank - 1, *range(1, x.rank - 1)))


def _elementwise(walk: _Walk, node: Value) -> Value:
    return build(node.op, *(walk.aligned(v, node.rank) for v in node.inputs))


def _expand(walk: _Walk, node: Value) -> Value:
    return build(Expand(last_shape(node.shape)), walk.aligned(node.inputs[0], node.rank))


def _sized_as(walk: _Walk, node: Value) -> Value:
    return build(SizedAs(last_shape(node.shape)), walk.last(node.inputs[0]))


def _pool(walk: _Walk, node: Value) -> Value:
    op = node.op
    if isinstance(op, MaxPool):
        made = PoolLast("max", op.window, op.stride, op.pad, op.dilation, op.ceil_mode)
    else:
        assert isinstance(op, AvgPool)
        ones = (1,) * len(op.window)
        made = PoolLast("avg", op.window, op.stride, op.pad, ones, op.ceil_mode, op.count_include_pad)
    return build(made, walk.last(node.inputs[0]))


def _pool_gradient(walk: _Walk, node: Value) -> Value:
    op = node.op
    if isinstance(op, MaxPoolGrad):
        made: Op = MaxPoolGradLast(op.window, op.stride, op.pad, op.dilation, op.ceil_mode)
    else:
        assert isinstance(op, AvgPoolGrad)
        made = AvgPoolGradLast(op.size, op.window, op.stride, op.pad, op.ceil_mode, op.count_include_pad)
    return build(made, *(walk.last(v) for v in node.inputs))


def _reduction(walk: _Walk, node: Value) -> Value | None:
    op, rank = node.op, node.inputs[0].rank
    assert isinstance(op, Reduction)
    if not op.keepdims:
        return None
    axes = tuple(sorted(last_axis(a, rank) for a in axes_of(op.axes, rank)))
    return build(replace(op, axes=axes), walk.last(node.inputs[0]))


def _concat(walk: _Walk, node: Value) -> Value:
    assert isinstance(node.op, Concat)
    axis = last_axis(node.op.axis % node.rank, node.rank)
    return build(Concat(axis), *(walk.last(v) for v in node.inputs))


def _pad(walk: _Walk, node: Value) -> Value:
    op = node.op
    assert isinstance(op, Pad)
    made = Pad(last_shape(op.before), last_shape(op.after), op.value)
    return build(made, walk.last(node.inputs[0]))


def _slice(walk: _Walk, node: Value) -> Value:
    op = node.op
    assert isinstance(op, Slice)
    steps = tuple(op.steps[axis] for axis in last_order(node.rank))
    return build(Slice(last_shape(op.starts), last_shape(op.sizes), steps), walk.last(node.inputs[0]))


def _flip(walk: _Walk, node: Value) -> Value:
    assert isinstance(node.op, Flip)
    axes = tuple(sorted(last_axis(a, node.rank) for a in axes_of(node.op.axes, node.rank)))
    return build(Flip(axes), walk.last(node.inputs[0]))


def _reshape(walk: _Walk, node: Value) -> Value | None:
    """A reshape that keeps batch and channels."""
    (x,) = node.inputs
    if node.rank < 3 or x.rank < 3 or node.shape[:2] != x.shape[:2] or x not in walk.native:
        return None
    return reshape(walk.last(x), last_shape(node.shape))


# How ops follow an image with its channels last; elementwise ops do, too.
FOLLOWERS: Mapping[type[Op], Callable[[_Walk, Value], Value | None]] = {
    Expand: _expand, SizedAs: _sized_as, MaxPool: _pool, AvgPool: _pool,
    MaxPoolGrad: _pool_gradient, AvgPoolGrad: _pool_gradient, Concat: _concat, Pad: _pad, Slice: _slice, Flip: _flip,
    Reshape: _reshape, Sum: _reduction, Mean: _reduction, AMax: _reduction, AMin: _reduction, Prod: _reduction,
}  # fmt: skip
