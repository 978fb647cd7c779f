"""The geometry of a convolution with channels last, and what is chosen by it: tiles, rows of an iteration, reading.

Images of one and two axes are seen as three with sizes of 1. Choices depend on sizes alone, never on values or threads;
every choice is made here, so that one place says why.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from chainrule.backends.llvm.kernels.matmul_tile import (
    BLOCK,
    TOTALS_BYTES,
    balanced_rows,
    most_grouped_rows,
    rows_apart,
    split_lanes,
)
from chainrule.backends.llvm.kernels.region import Kernel
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Int, as_int, ceil_div
from chainrule.backends.loops.prove import nonneg
from chainrule.ir.dims import floordiv
from chainrule.ir.types import DType
from chainrule.ops.lowered import ChannelConv, PanelConv, WeightGradLast, accumulated
from chainrule.ops.lowered_bytes import ByteConv
from chainrule.ops.lowered_grouped import GroupedConv

STRIP_BYTES = 96 * 1024  # of a padded strip on the stack: it stays in the second-level cache next to a panel
FAR_WEIGHTS = 1024 * 1024  # bytes of a weight that is fetched anew each time an iteration goes through it
FLOPS_PER_ITERATION = 2_000_000  # a parallel iteration is worth about 20 microseconds
MOST_ITERATIONS = 16
SPAN = 8  # tiles of a row, and rows, of an iteration where the image's size is not known
LEAST_DEPTH = 96  # steps that are worth a division for each pixel of a tile
MOST_ROWS = 4096  # rows of an iteration that are thought of: images are smaller, and files may say anything

Reading = Literal["in place", "strip", "copy"]
Counted = Literal["", "through", "rows"]
Number = TypeVar("Number", int, Int)


@dataclass(frozen=True)
class Geometry:
    """Sizes as three axes. image: of x, sizes: of the result before pooling, window: of the fused pool (1, 1, 1).

    fill: what lies outside of x. group: numbers of a pixel that one step of the depth takes. apart: the taps of a
    kernel row are not neighbours in the packed weight, or in x.
    """

    batch: Int
    image: tuple[Int, ...]
    channels: Int
    sizes: tuple[Int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    spread: tuple[int, ...]
    groups: int
    window: tuple[int, ...]
    rank: int
    fill: int = 0
    group: int = 1
    apart: bool = False

    @property
    def reach(self) -> tuple[int, ...]:
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def inner(self) -> Int:
        """Channels of one group."""
        return self.channels // self.groups

    @property
    def pooled(self) -> tuple[Int, ...]:
        """The result's sizes behind the pool."""
        return tuple(n // w for n, w in zip(self.sizes, self.window, strict=True))

    @property
    def run(self) -> Int:
        """Numbers of a run of memory that a window reads: of a row of the kernel, or of a tap."""
        return self.inner * (self.kernel[2] if self.runs() else 1)

    @property
    def depth(self) -> Int:
        """Steps of the depth."""
        return ceil_div(self.run, self.group) * (math.prod(self.kernel) // (self.kernel[2] if self.runs() else 1))

    @property
    def room(self) -> tuple[Int, ...]:
        """Sizes of the padded image that all windows reach."""
        z, y, x = ((n - 1) * s + r for n, s, r in zip(self.sizes, self.stride, self.reach, strict=True))
        return z, y, x

    @property
    def is_static(self) -> bool:
        return all(n.is_const for n in (*self.image, *self.sizes, self.channels))

    @property
    def touches_border(self) -> bool:
        """True unless every window certainly lies inside the image."""
        if any(self.pad) or any(s != 1 for s in self.spread):
            return True
        return not all(nonneg(n - r) for n, r in zip(self.image, self.room, strict=True))

    def runs(self) -> bool:
        """True when the taps of a kernel row are one run of memory."""
        return self.groups == 1 and self.dilation[2] == 1 and not self.apart

    def outer(self, index: Sequence[Int]) -> tuple[Int, ...]:
        """Three spatial indices as the tensor's own."""
        return tuple(index[3 - self.rank :])


def geometry(kernel: Kernel, op: PanelConv | GroupedConv | ChannelConv | WeightGradLast, x_shape: Sequence[Int],
             sizes: Sequence[Int], window: Sequence[int] = ()) -> Geometry:  # fmt: skip
    """The geometry of an op on an image [N, *S, C]. sizes: of what it slides over it; window: of the pool behind it."""
    rank = len(op.kernel)

    def three(values: Sequence[int], fill: int) -> tuple[int, ...]:
        return (fill,) * (3 - rank) + tuple(values)

    ones = (as_int(1),) * (3 - rank)
    spread = () if isinstance(op, WeightGradLast) else op.spread
    return Geometry(x_shape[0], (*ones, *x_shape[1:-1]), x_shape[-1], (*ones, *sizes), three(op.kernel, 1),
                    three(op.stride, 1), three(op.pad, 0), three(op.dilation, 1), three(spread or (1,) * rank, 1),
                    1 if isinstance(op, ChannelConv) else op.groups, three(window or (1,) * rank, 1), rank,
                    op.fill if isinstance(op, ByteConv) else 0,
                    op.group if isinstance(op, GroupedConv) else 1)  # fmt: skip


@dataclass(frozen=True)
class Phase:
    """The part of a convolution that one kernel makes: a convolution op of its own, over some taps, for some pixels.

    Where x is spread by s, the pixels r, r + s, ... see every s-th tap from first on, and x without its zeros: s phases
    an axis, each s times cheaper an axis than a convolution of the spread image. first, step: of the taps in the
    panels; offset: of the pixels (step apart, too).
    """

    op: PanelConv | GroupedConv
    first: tuple[int, ...]
    step: tuple[int, ...]
    offset: tuple[int, ...]


def phases(op: PanelConv | GroupedConv) -> list[Phase]:
    """All phases: one for an image that is not spread, or so that phases do not help (dilation, too few taps)."""
    rank = len(op.kernel)
    ones, zeros = (1,) * rank, (0,) * rank
    whole = [Phase(op, zeros, ones, zeros)]
    if op.spread == ones or op.dilation != ones or op.stride != ones or any(
            k < s for k, s in zip(op.kernel, op.spread, strict=True)):  # fmt: skip
        return whole
    found: list[Phase] = []
    for offset in itertools.product(*map(range, op.spread)):
        first = tuple((pad - r) % s for pad, r, s in zip(op.pad, offset, op.spread, strict=True))
        kernel = tuple(-(-(k - f) // s) for k, f, s in zip(op.kernel, first, op.spread, strict=True))
        pad = tuple((p - r - f) // s for p, r, f, s in zip(op.pad, offset, first, op.spread, strict=True))
        sizes = tuple(floordiv(n - r + s - 1, s) for n, r, s in zip(op.sizes, offset, op.spread, strict=True))
        if 0 not in sizes:
            part = replace(op, kernel=kernel, pad=pad, sizes=sizes, spread=ones)
            found.append(Phase(part, first, op.spread, offset))
    return found


@dataclass(frozen=True)
class Plan:
    """How a convolution is cut up.

    across: pooled columns of a tile; rows: pooled rows of a parallel iteration; span: tiles of a row in an iteration,
    whole: all of them; split: panels are split over iterations, too; reading: where A comes from; blocked: the depth
    has several blocks, whose sums wait in totals; far: the weight is fetched while it is used; counted: whether pixels
    are counted from row to row, or along a row, where its length is not known (conv_places.py).
    """

    across: int
    rows: int
    span: int
    whole: bool
    split: bool
    reading: Reading
    blocked: bool
    far: bool
    counted: Counted = ""

    def strip(self, g: Geometry) -> tuple[int, int, int]:
        """Planes, rows and columns of the strip that an iteration reads."""
        if self.whole:
            return (*strip_rows(g, self.rows), g.room[2].const)
        return (*strip_rows(g, self.rows), strip_columns(g, self.span * self.across))


def strip_rows(g: Geometry, rows: int) -> tuple[int, int]:
    """Planes and rows of the padded image that so many pooled rows read."""
    return (g.window[0] - 1) * g.stride[0] + g.reach[0], (rows * g.window[1] - 1) * g.stride[1] + g.reach[1]


def strip_columns(g: Geometry, columns: Number) -> Number:
    """Columns of the padded image that so many pooled columns read."""
    return (columns * g.window[2] - 1) * g.stride[2] + g.reach[2]


def plan(g: Geometry, target: Target, dtype: DType, width: int, outs: Int, wide_sums: bool) -> Plan:
    """The cut of a convolution.

    outs: output channels of a group. wide_sums: x is of another type than the sums, so it is copied for conversion.
    """
    size, per_tile = accumulated(dtype).itemsize, math.prod(g.window)
    stored = size // g.group  # a step takes as many bytes of a pixel as a sum has
    apart = rows_apart(g.channels * (g.stride[2] * stored)) if g.is_static else 8
    lanes = split_lanes(width, dtype)
    most = most_grouped_rows(target, lanes, dtype, g.group, apart)
    most = max(1, most // per_tile)
    across = balanced_rows(g.pooled[2].const, most) if g.pooled[2].is_const else most
    depth = g.depth
    blocked = not (depth.is_const and depth.const <= BLOCK)
    far = depth.is_const and outs.is_const and depth.const * outs.const * size * g.groups >= FAR_WEIGHTS
    reading: Reading = ("copy" if far else "strip") if g.touches_border or wide_sums else "in place"
    pixel = g.channels.const * stored if g.channels.is_const else 2 * STRIP_BYTES

    def fits(rows: int, span: int) -> bool:
        """True when the strip and the waiting sums of an iteration are small enough."""
        strip = math.prod(strip_rows(g, rows)) * strip_columns(g, span * across) * pixel
        totals = rows * span * across * per_tile * width * size
        return (reading != "strip" or strip <= STRIP_BYTES) and (not blocked or totals <= TOTALS_BYTES)

    tiles = -(-g.pooled[2].const // across) if g.pooled[2].is_const else None
    span = SPAN if tiles is None else max(1, tiles)
    while span > 1 and not fits(1, span):
        span = -(-span // 2)
    if reading == "strip" and not fits(1, span):
        reading = "copy"
    high = min(g.pooled[1].const, MOST_ROWS) if g.pooled[1].is_const else SPAN
    rows = max([r for r in range(1, high + 1) if fits(r, span)], default=1)
    wanted = _wanted_iterations(g, outs)
    if g.pooled[1].is_const and not far:
        rows = min(rows, max(1, -(-high // wanted)))
    if tiles is not None and not far:
        blocks = -(-high // rows) * (g.pooled[0].const if g.pooled[0].is_const else 1)
        span = min(span, max(1, -(-tiles * blocks // wanted)))
    whole = tiles is not None and span >= tiles
    iterations = -(-high // rows) * (1 if tiles is None else -(-max(1, tiles) // span))
    few = iterations * (g.batch.const if g.batch.is_const else 1) < min(8, wanted)
    split = (few or far) and not (outs.is_const and outs.const <= width and g.groups == 1)
    counted: Counted = "" if tiles is not None else "through" if rows > 1 and _is_deep(depth) else "rows"
    return Plan(across, rows, span, whole, split, reading, blocked, far, counted)


def _is_deep(depth: Int) -> bool:
    return not depth.is_const or depth.const >= LEAST_DEPTH


def _wanted_iterations(g: Geometry, outs: Int) -> int:
    """How many parallel iterations one image is worth."""
    if not g.is_static:
        return MOST_ITERATIONS
    flops = 2 * math.prod(n.const for n in g.sizes) * g.depth.const * (
        outs.const * g.groups if outs.is_const else 64)  # fmt: skip
    return min(MOST_ITERATIONS, flops // FLOPS_PER_ITERATION + 1)
