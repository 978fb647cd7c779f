"""Convolutions on images with their channels last, each computed in the way that choose_conv.py names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Op
from chainrule.ir.types import TensorType
from chainrule.ops import lowered_bytes, lowered_pairs
from chainrule.ops.conv import Conv, ConvTranspose, ConvWeightGrad, kernel_of
from chainrule.ops.elementwise import add
from chainrule.ops.integer_products import IntegerConv
from chainrule.ops.lowered import (
    ChannelConv,
    PackKernel,
    PanelConv,
    PanelMatMul,
    WeightGradLast,
    accumulated,
    panel_width,
)
from chainrule.ops.lowered_winograd import WinogradConv, WinogradWeights
from chainrule.ops.lowered_winograd_grad import WinogradWeightGrad
from chainrule.ops.shaping import flip, reshape, transpose
from chainrule.passes.base import Notes
from chainrule.passes.choose_conv import Choice, choose, choose_phases, choose_weight_gradient
from chainrule.passes.interleave import interleaved
from chainrule.passes.layout_forms import Forms
from chainrule.passes.pack import Tiles, even_width, whole_tiles, widest
from chainrule.passes.pack_bytes import conv_of_bytes
from chainrule.passes.pack_pairs import conv_in_pairs, pixel_product, takes_pairs
from chainrule.passes.polyphase import polyphase

RAGGED = 0.03  # what a last panel of other vectors is taken to cost: it is a second body of the kernel
TILE_COST = 0.3  # pixels' worth of reading B and of the loop: what more pixels of a tile share
SHALLOW = 256  # steps of depth below which storing and reading pixels count for more than the tile's rows
CHANNEL_WIDTH = 16  # f32 channels that a depthwise kernel takes at a time


@dataclass(frozen=True)
class Convolutions:
    """Builds convolutions. fixed: values that do not depend on a call's inputs; pairs: bf16 is multiplied in pairs."""

    forms: Forms
    tiles: Tiles
    winograd: str
    pairs: bool
    fixed: frozenset[Value]
    notes: Notes

    def convolution(self, node: Value, op: Conv) -> Value:
        x, w, *bias = node.inputs
        rank = len(op.stride)
        kernel = kernel_of(w.tensor)
        weight, biases = self.forms.first(w), tuple(self.forms.first(b) for b in bias)
        apart = interleaved(node, op)
        if apart is not None:
            plain = replace(op, pad=(0, 0), dilation=(1,))
            tiles = choose(apart.conv, plain, self.winograd, w in self.fixed, self.pairs)
            if tiles.way == "winograd":
                self.notes.count(f"convolution: {apart.count} interleaved, winograd ({tiles.why})")
                y = self._in_tiles(apart.conv, tiles.tile, (0,), False, apart.taken(self.forms.last(x)))
                return apart.put_back(y, node.shape[0])
        phases = polyphase(node, op) if w in self.fixed else None
        if phases is not None:
            tiles = choose_phases(node, phases.conv, self.winograd, self.pairs)
            if tiles.way == "winograd":
                self.notes.count(f"convolution: phases, winograd ({tiles.why})")
                return self._in_tiles(phases.conv, tiles.tile, (0,) * rank, False, phases.taken(self.forms.last(x)))
        choice = self._choice(node, op)
        if choice.way == "channels":
            panels = build(PackKernel(channel_width(node.tensor)), weight)
            made = ChannelConv(kernel, op.stride, op.pad[:rank], op.dilation, node.shape[2:], (1,) * rank)
            return build(made, self.forms.last(x), panels, *biases)
        if choice.way == "winograd":
            return self._in_tiles(node, choice.tile, op.pad[:rank], backward=False)
        if choice.way == "product":
            return self._product(node, weight, biases)
        return self._sums(node, op, op.stride, op.pad[:rank], (1,) * rank)

    def _product(self, node: Value, weight: Value, biases: Sequence[Value]) -> Value:
        """One tap at stride 1: the pixels by a matrix."""
        x, outs = self.forms.last(node.inputs[0]), node.shape[1]
        width = even_width(outs, self.tiles, node.dtype)
        if self._in_pairs(node):
            return pixel_product(x, weight, width, biases)
        packed = build(PackKernel(width), weight)
        y = build(PanelMatMul(outs), x, reshape(packed, packed.shape[1:]))
        return add(y, biases[0]) if biases else y

    def transposed(self, node: Value, op: ConvTranspose) -> Value:
        """A convolution of the spread image by the kernel turned round."""
        x, w, *bias = node.inputs
        rank = len(op.stride)
        kernel = kernel_of(w.tensor)
        pad = tuple(op.dilation[i] * (kernel[i] - 1) - op.pad[i] for i in range(rank))
        ones = (1,) * rank
        weight, biases = self.forms.first(w), tuple(self.forms.first(b) for b in bias)
        choice = self._choice(node, op)
        if choice.way == "winograd":
            return self._in_tiles(node, choice.tile, pad, backward=True)
        if choice.way == "channels":
            panels = build(PackKernel(channel_width(node.tensor)), flip(weight, tuple(range(2, 2 + rank))))
            made = ChannelConv(kernel, ones, pad, op.dilation, node.shape[2:], op.stride)
            return build(made, self.forms.last(x), panels, *biases)
        return self._sums(node, op, ones, pad, op.stride, backward=True)

    def _sums(self, node: Value, op: Conv | ConvTranspose, stride: tuple[int, ...], pad: tuple[int, ...],
              spread: tuple[int, ...], backward: bool = False) -> Value:  # fmt: skip
        """A convolution by direct sums, of the image spread; backward: by the weight turned round."""
        x, w, *bias = node.inputs
        outs, inputs = node.shape[1], (self.forms.last(x), *(self.forms.first(b) for b in bias))
        pack = PackKernel(self._width(op.groups, outs, node.shape[-1], node), op.groups, backward)
        kernel, weight = kernel_of(w.tensor), self.forms.first(w)
        made = PanelConv(kernel, stride, pad, op.dilation, op.groups, outs, node.shape[2:], spread)
        if self._in_pairs(node):
            return conv_in_pairs(made, weight, pack, inputs)
        return build(made, inputs[0], build(pack, weight), *inputs[1:])

    def _group(self, node: Value) -> int:
        """Numbers that a step of the depth takes."""
        if isinstance(node.op, IntegerConv):
            return lowered_bytes.GROUP
        return lowered_pairs.GROUP if self._in_pairs(node) else 1

    def _in_pairs(self, node: Value) -> bool:
        """True for bf16 where it is multiplied in pairs."""
        return self.pairs and takes_pairs(node)

    def of_bytes(self, node: Value, op: IntegerConv) -> Value:
        """A convolution of bytes that has a kernel."""
        width = self._width(op.groups, node.shape[1], node.shape[-1], node)
        self.notes.count("convolution: bytes")
        x, w = node.inputs
        return conv_of_bytes(node, op, self.forms.last(x), self.forms.first(w), width)

    def _choice(self, node: Value, op: Conv | ConvTranspose) -> Choice:
        """How a convolution is computed; notes why."""
        choice = choose(node, op, self.winograd, node.inputs[1] in self.fixed, self.pairs)
        kind = "convolution" if isinstance(op, Conv) else "transposed convolution"
        self.notes.count(f"{kind}: {choice.way} ({choice.why})")
        return choice

    def _in_tiles(self, node: Value, tile: tuple[int, ...], pad: tuple[int, ...], backward: bool,
                  image: Value | None = None) -> Value:  # fmt: skip
        """A convolution by Winograd's tiles; backward: of the weight turned round; image: x with channels last."""
        x, w, *bias = node.inputs
        kernel, outs, biases = kernel_of(w.tensor), node.shape[1], (self.forms.first(b) for b in bias)
        panels = build(PackKernel(self._tile_width(node), backward=backward), self.forms.first(w))
        weights = build(WinogradWeights(kernel, tile), panels)
        made = WinogradConv(kernel, tile, pad, outs, node.shape[2:])
        return build(made, self.forms.last(x) if image is None else image, weights, *biases)

    def _tile_width(self, node: Value) -> int:
        """Columns of the panels of transformed weights: of the wide register tile with the most rows.

        Panels are read for every few rows: measured, 7x32 beats 6x64 by a tenth to a third wherever the weights do not
        stay in the second-level cache, and equals it where they do.
        """
        wide = [size for size in self.tiles if size[1] >= self.tiles[-1][1] * 2]
        best = max(wide or self.tiles, key=lambda size: size[0] / size[1])
        return panel_width(node.shape[1], best[1], node.dtype)

    def weight_gradient(self, node: Value, op: ConvWeightGrad) -> Value:
        """[*K, C/g, O], turned into the weight's own order."""
        x, dy = node.inputs
        rank = len(op.kernel)
        choice = choose_weight_gradient(node, op, self.winograd)
        self.notes.count(f"weight gradient: {choice.way}")
        if choice.way == "winograd":
            made: Op = WinogradWeightGrad(op.kernel, choice.tile, op.pad[:rank])
        else:
            made = WeightGradLast(op.kernel, op.stride, op.pad[:rank], op.dilation, op.groups)
        return transpose(build(made, self.forms.last(x), self.forms.last(dy)), (rank + 1, rank, *range(rank)))

    def _width(self, groups: int, outs: Dim, across: Dim, node: Value) -> int:
        """Columns of the panels of a convolution's weight.

        The widest tile reads the fewest scalars, but has few rows: narrower ones have more, which share what is read of
        the panels and fit maps of 7 or 13 pixels better.
        """
        part, most = outs // groups, widest(self.tiles, node.dtype)
        tiles = whole_tiles(self.tiles, node.dtype)
        depth = dim_product(node.inputs[1].shape[1:])
        depth = -(-depth // self._group(node)) if isinstance(depth, int) else depth
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


def _cost(across: int, most: int) -> float:
    """What the best tiles of at most so many pixels cost over a row: the pixels beyond its end, and each tile's own."""
    return min(-(-across // n) * (n + TILE_COST) / across for n in range(1, most + 1)) if across else 0.0


def channel_width(type: TensorType) -> int:
    """Channels of a depthwise panel: those of one vector of 64 bytes."""
    return CHANNEL_WIDTH * 4 // accumulated(type.dtype).itemsize
