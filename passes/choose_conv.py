"""How each convolution is computed, and why: the one place where it is decided.

The estimate is in multiply-adds of the processor at its peak, to which everything else is brought: the products
themselves, the numbers that Winograd's transforms move, and the bytes of weights that come from memory at each call.
Sizes and attributes alone decide, never the number of threads or the machine, so that results have the same bits
everywhere. Named sizes count as 1 image, and sides of images as if every name stood for TYPICAL.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from chainrule.errors import ArgumentError
from chainrule.ir.dims import Dim, dim_symbols, dim_value
from chainrule.ir.graph import Value
from chainrule.ir.types import bf16, f16, f32
from chainrule.ops.basic import Full
from chainrule.ops.conv import Conv, ConvTranspose, ConvWeightGrad, kernel_of
from chainrule.ops.lowered_winograd import products_of
from chainrule.ops.toom_cook import has_points
from chainrule.passes.pack_pairs import takes_pairs

Way = Literal["channels", "product", "panels", "winograd"]
# What the layout pass takes: chosen here, not at all, or tiles of one size.
WINOGRAD = ("auto", "never", "2", "3", "4", "5")

TYPICAL = 224  # what the names in the sides of images stand for: the side of the image, or frames, at the input
UNKNOWN_BATCH = 16  # of a training step
VECTOR = 16  # channels that the kernels of weight gradients take at a time
# At 64@56 the transforms take 64 us for 0.9 million numbers (Zen 5, 136,000 multiply-adds per us: 10 for each number;
# with half the multipliers it is 5). Memory gives 25 to 40 GB/s. Between the machines, so that both choose alike.
TRANSFORM = 6.0  # multiply-adds in the time in which a number of a transformed tile is made, or read back
WEIGHT = 20.0  # multiply-adds in the time in which a number of a transformed weight is made, where that is per call
MOVED = 12.0  # multiply-adds in the time in which a number of an image's phases is put in its place
TILED = (f32, bf16, f16)  # half precision is widened when tiles are transformed, and rounded when they are stored
MOST_PRODUCTS = 8  # along an axis of a tile
# Of a strided convolution's phases: a net's first layer tends to be one, and what it loses goes through all others.
# 7x7/2 3-64@224: F(3x3, 4x4) errs by 6.1e-7 of the largest output, F(5x5, 4x4) by 3.8e-6, direct sums by 3.7e-7; they
# take 475, 326 and 882 us.
MOST_IN_PHASES = 6
STEP = 8  # steps of depth that storing a register tile costs
BYTE = 2.5  # multiply-adds in the time in which a byte comes from memory
HIDDEN = 0.75  # the part of the memory's time that the products hide
LEAST_WORK = 2**20  # multiply-adds: of less, tiles save no more than five microseconds
GAIN = 0.85  # an estimate of at most this share of direct sums is worth the digits that tiles lose


@dataclass(frozen=True)
class Choice:
    """way: how; why: the reason, for people; tile: outputs of a tile along each axis, for Winograd."""

    way: Way
    why: str
    tile: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Sizes:
    """A convolution as numbers. fixed: its weight is, so that it is transformed once for all calls. pairs: direct sums
    take two steps of the depth at once."""

    images: int
    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    ins: int
    outs: int
    fixed: bool
    pairs: bool

    @property
    def work(self) -> int:
        """Multiply-adds of direct sums."""
        return self.images * math.prod(self.sizes) * math.prod(self.kernel) * self.ins * self.outs


def require_winograd(option: str) -> None:
    """Raises ArgumentError unless it is a value of the layout pass's option."""
    if option not in WINOGRAD:
        raise ArgumentError(f"winograd is {option!r}", help="use one of " + ", ".join(WINOGRAD))


def choose(node: Value, op: Conv | ConvTranspose, winograd: str = "auto", fixed: bool = True,
           pairs: bool = False) -> Choice:  # fmt: skip
    """How a convolution, or a transposed one, is computed, and why. winograd: see WINOGRAD; fixed: is its weight?
    pairs: bf16 is multiplied in pairs."""
    pairs = pairs and takes_pairs(node)
    ins, outs, kernel = node.inputs[0].shape[1], node.shape[1], kernel_of(node.inputs[1].tensor)
    if op.groups > 1 and op.groups == ins == outs:
        return Choice("channels", "each output channel sees one of the input")
    one = all(k == 1 for k in kernel) and all(s == 1 for s in op.stride)
    # Half precision keeps its bias before the one rounding: the product of pairs does, other products do not.
    rounds_once = node.dtype.bits >= 32 or (pairs and isinstance(ins, int) and ins % 2 == 0)
    if isinstance(op, Conv) and one and not any(op.pad) and op.groups == 1 and rounds_once:
        return Choice("product", "one tap at stride 1")
    refusal = _refusal(node, op, kernel, winograd)
    if refusal:
        return Choice("panels", refusal)
    return _cheapest(_sizes(node, fixed, pairs), winograd)


def _known(size: Dim, otherwise: int) -> int:
    return size if isinstance(size, int) else otherwise


def typical(size: Dim) -> int:
    """A side of an image where the names in it have their typical size."""
    return size if isinstance(size, int) else max(1, dim_value(size, dict.fromkeys(dim_symbols(size), TYPICAL)))


def _refusal(node: Value, op: Conv | ConvTranspose, kernel: Sequence[int], winograd: str) -> str:
    """Why Winograd's tiles cannot make a convolution; "" where they can."""
    x, w = node.inputs[:2]
    checks = (
        (winograd == "never", "direct sums, as strict precision asks"),
        (op.groups > 1, "groups: no tiles"),
        (any(s > 1 for s in op.stride), "stride: direct sums"),
        (any(d > 1 for d in op.dilation), "dilation: direct sums"),
        (node.dtype not in TILED, f"{node.dtype}: direct sums"),
        (not list(_tiles(kernel, winograd)), "a kernel without tiles: direct sums"),
        (not all(isinstance(n, int) and n > 0 for n in (*w.shape[:2],)), "channels not known: direct sums"),
        (isinstance(x.op, Full), "an image of one number: direct sums"),
        (0 in node.shape or 0 in x.shape, "nothing to do"),
    )
    return next((reason for holds, reason in checks if holds), "")


def _tiles(kernel: Sequence[int], winograd: str, most: int = MOST_PRODUCTS) -> Iterator[tuple[int, ...]]:
    """The tiles that there are kernels for: squares of the last two axes, a third axis tap by tap.

    most: products along an axis, where tiles are chosen here.
    """
    rank = len(kernel)
    square = kernel[-2:] if rank > 1 else kernel
    if len(set(square)) > 1:
        return
    for m in (2, 3, 4, 5):
        few = m + square[0] - 1 <= most
        if (winograd == str(m) or (winograd == "auto" and few)) and has_points(m, square[0]):
            yield (1,) * (rank - len(square)) + (m,) * len(square)


def choose_phases(node: Value, phases: Value, winograd: str = "auto", pairs: bool = False) -> Choice:
    """How a strided convolution with a fixed weight is computed, and why; phases: it as one of stride 1 (polyphase)."""
    op, (x, w) = phases.op, phases.inputs[:2]
    assert isinstance(op, Conv)
    refusal = _refusal(phases, op, kernel_of(w.tensor), winograd)
    if refusal:
        return Choice("panels", refusal)
    moved = math.prod(_known(n, 1) for n in x.shape)
    return _cheapest(_sizes(phases, True), winograd, _sizes(node, True, pairs and takes_pairs(node)), MOVED * moved)


def _sizes(node: Value, fixed: bool, pairs: bool = False) -> _Sizes:
    """The numbers of a convolution whose channels are known."""
    ins, outs = node.inputs[0].shape[1], node.shape[1]
    assert isinstance(ins, int) and isinstance(outs, int)
    sizes = tuple(typical(n) for n in node.shape[2:])
    return _Sizes(_known(node.shape[0], 1), sizes, kernel_of(node.inputs[1].tensor), ins, outs, fixed, pairs)


def _cheapest(s: _Sizes, winograd: str, without: _Sizes | None = None, more: float = 0.0) -> Choice:
    """The cheapest tile, or direct sums where no tile gains enough.

    without: the convolution that direct sums would make, if it is another; more: what tiles cost besides.
    """
    without = without or s
    if winograd == "auto" and without.work < LEAST_WORK:
        return Choice("panels", "too little work for tiles")
    direct = _direct(without)
    most = MOST_PRODUCTS if without is s else MOST_IN_PHASES
    costs = {tile: _transformed(s, tile) + more for tile in _tiles(s.kernel, winograd, most)}
    if not costs:
        return Choice("panels", "no tiles of few products: direct sums")
    tile, cost = min(costs.items(), key=lambda entry: entry[1])
    share = f"F({_by(tile)}, {_by(s.kernel)}) at {cost / direct:.2f} of direct sums"
    if winograd == "auto" and cost > GAIN * direct:
        return Choice("panels", f"{share}: too little gained")
    return Choice("winograd", share, tile)


def choose_weight_gradient(node: Value, op: ConvWeightGrad, winograd: str = "auto") -> Choice:
    """How the gradient of a convolution for its weight is computed, and why: whole tiles, or direct sums."""
    x, dy = node.inputs
    checks = (
        (winograd == "never", "direct sums, as strict precision asks"),
        (op.groups > 1 or any(n != 1 for n in (*op.stride, *op.dilation)), "groups, stride or dilation: direct sums"),
        (op.kernel != (3, 3) or node.dtype not in TILED, "direct sums"),
        (isinstance(x.op, Full) or isinstance(dy.op, Full), "an image of one number: direct sums"),
        (0 in x.shape or 0 in dy.shape, "nothing to do"),
        (not all(isinstance(n, int) and n % VECTOR == 0 and n > 0 for n in (x.shape[1], dy.shape[1])),
         "channels that vectors do not cover: direct sums"),
    )  # fmt: skip
    refusal = next((reason for holds, reason in checks if holds), "")
    tiles = [m for m in (4, 2) if winograd in ("auto", str(m)) and all(
        isinstance(n, int) and n > 0 and n % m == 0 for n in dy.shape[2:])]  # fmt: skip
    if refusal or not tiles:
        return Choice("panels", refusal or "a map that tiles do not cover: direct sums")
    ins, outs = x.shape[1], dy.shape[1]
    assert isinstance(ins, int) and isinstance(outs, int)
    pixels = _known(dy.shape[0], UNKNOWN_BATCH) * math.prod(_known(n, 0) for n in dy.shape[2:])
    costs = {m: _tiled_gradient(pixels // m**2, m, ins, outs) / (9 * pixels * ins * outs) for m in tiles}
    tile, share = min(costs.items(), key=lambda entry: entry[1])
    why = f"F({tile}x{tile}, 3x3) at {share:.2f} of direct sums"
    if winograd == "auto" and (share > GAIN or 9 * pixels * ins * outs < LEAST_WORK):
        return Choice("panels", f"{why}: too little gained")
    return Choice("winograd", why, (tile, tile))


def _tiled_gradient(tiles: int, m: int, ins: int, outs: int) -> float:
    """Multiply-adds of the products over tiles, of both transforms, and of the matrices' way out and back."""
    matrices = (m + 2) ** 2
    return matrices * (tiles * ins * outs + tiles * (ins + outs) * TRANSFORM + ins * outs * (STEP + 8 * BYTE))


def _by(numbers: Sequence[int]) -> str:
    return "x".join(str(n) for n in numbers)


def _direct(s: _Sizes) -> float:
    """Multiply-adds of direct sums, and the weights' way from memory."""
    depth = math.prod(s.kernel) * s.ins
    steps = math.prod(s.kernel[:-1]) * -(-s.kernel[-1] * s.ins // 2) if s.pairs else depth
    work = s.images * math.prod(s.sizes) * steps * _rounded(s.outs)
    return _with_memory(work, (2 if s.pairs else 4) * depth * s.outs)


def _transformed(s: _Sizes, tile: Sequence[int]) -> float:
    """The same of Winograd's products, with the transforms."""
    matrices = math.prod(products_of(tile, s.kernel))
    direct = math.prod(k for m, k in zip(tile, s.kernel, strict=True) if m == 1)
    tiles = s.images * math.prod(-(-n // m) for n, m in zip(s.sizes, tile, strict=True))
    work = tiles * matrices * (direct * s.ins + STEP) * _rounded(s.outs)
    weights = matrices * direct * s.ins * s.outs
    moved = tiles * matrices * (s.ins + s.outs) * TRANSFORM + (0 if s.fixed else weights * WEIGHT)
    return _with_memory(work, 4 * weights) + moved


def _with_memory(work: float, weights: float) -> float:
    """The longer of products and memory, and what does not overlap of the shorter."""
    memory = weights * BYTE
    return max(work, memory) + (1 - HIDDEN) * min(work, memory)


def _rounded(outs: int) -> int:
    return -(-outs // 8) * 8
