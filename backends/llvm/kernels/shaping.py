"""Slices, flips, constant pads and concatenations: copies of rows, moved by whole vectors.

Axes that are taken whole are merged with the axis before them, so that a slice of the batch, a concatenation of
channels or a pad of the rows runs over long rows: they copy at the speed of memory. Rows go to threads by the first
axis that is left. A slice or flip with a step reads its row by stride (steps up to 4: vector loads and shuffles).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.backends.llvm.failures import SLICE_LEAVES_AXIS
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region
from chainrule.backends.llvm.kernels.shaping_rows import (
    Axis,
    blocks,
    copy_row,
    fill_row,
    flipped,
    merged_axes,
    nest,
    spread,
)
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Int, as_int, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.dims import Dim, dim_product
from chainrule.ops.shaping import Concat, Flip, Pad, Slice


def slice_copy(region: Region, target: Target) -> list[KernelCall]:
    """Slice: elements start, start + step, ... of each axis."""
    assert region.anchor is not None and isinstance(region.anchor.op, Slice)
    op, (x,) = region.anchor.op, region.anchor.inputs
    axes = [Axis(d, s, n, by) for d, s, n, by in zip(x.shape, op.starts, op.sizes, op.steps, strict=True)]
    return [_view_copy(Kernel(region, target, "slice"), merged_axes(axes))]


def flip_copy(region: Region, target: Target) -> list[KernelCall]:
    """Flip: axes backwards."""
    assert region.anchor is not None and isinstance(region.anchor.op, Flip)
    op, (x,) = region.anchor.op, region.anchor.inputs
    turned = {a % x.rank for a in op.axes}
    axes = [flipped(d) if i in turned else Axis(d, 0, d) for i, d in enumerate(x.shape)]
    return [_view_copy(Kernel(region, target, "flip"), merged_axes(axes))]


def _view_copy(kernel: Kernel, axes: Sequence[Axis]) -> KernelCall:
    """The output is a view of the input, copied."""
    k = kernel.k
    source = kernel.input(0, kernel.dims([a.dim for a in axes]))
    target = kernel.output(0, kernel.dims([a.size for a in axes]))
    starts, sizes = kernel.dims([a.start for a in axes]), target.shape

    def row(index: Sequence[Int], start: Int, count: Int) -> None:
        at = [s + i * a.step for s, i, a in zip(starts[:-1], index, axes[:-1], strict=True)]
        last = axes[-1]
        copy_row(k, source, (*at, starts[-1] + start * last.step), target, (*index, start), count, last.step)

    if len(axes) == 1:
        blocks(k, sizes[0], lambda start, count: _inside(kernel, axes, lambda: row((), start, count)))
        return kernel.built()
    with spread(k, "i", sizes) as i:
        _inside(kernel, axes, lambda: nest(k, sizes[1:-1], lambda index: row((i, *index), as_int(0), sizes[-1])))
    return kernel.built()


def _inside(kernel: Kernel, axes: Sequence[Axis], body: Callable[[], None]) -> None:
    """Runs the body where the view lies inside its axes; else the call fails, unless the view is empty."""
    k = kernel.k
    bounds = [kernel.dim(d) for a in axes if not a.is_safe for d in (a.room, a.start)]
    if not bounds:
        body()
        return
    fits = k.cmp("ge", bounds[0], 0)
    for bound in bounds[1:]:
        fits = k.and_(fits, k.cmp("ge", bound, 0))
    wrong = k.not_(fits)
    for axis in axes:
        wrong = k.and_(wrong, k.cmp("ne", kernel.dim(axis.size), 0))
    k.fail_when(wrong, SLICE_LEAVES_AXIS)
    with k.when(fits):
        body()


def concat_copy(region: Region, target: Target) -> list[KernelCall]:
    """Concat: every part's rows put side by side; along the first axis that counts, one call for every part."""
    assert region.anchor is not None and isinstance(region.anchor.op, Concat)
    op, parts = region.anchor.op, region.anchor.inputs
    places = [region.body.inputs.index(v) for v in parts]
    axis = op.axis % parts[0].rank
    outer = dim_product(parts[0].shape[:axis])
    rest = dim_product(parts[0].shape[axis + 1 :])
    widths = [v.shape[axis] * rest for v in parts]
    total: Dim = sum(widths, start=0)
    if outer == 1 and not (isinstance(total, int) and total <= 4096):
        return [
            _part_copy(Kernel(region, target, "concat_part"), place, width, sum(widths[:i], start=0), total)
            for i, (place, width) in enumerate(zip(places, widths, strict=True))
            if width != 0
        ]
    kernel = Kernel(region, target, "concat")
    k = kernel.k
    rows, starts = kernel.dim(outer), kernel.dims([sum(widths[:i], start=0) for i in range(len(widths))])
    sources = {
        place: kernel.input(place, (rows, kernel.dim(width))) for place, width in zip(places, widths, strict=True)
    }
    into = kernel.output(0, (rows, kernel.dim(total)))
    with spread(k, "i", into.shape) as i:
        for place, width, start in zip(places, widths, starts, strict=True):
            copy_row(k, sources[place], (i, as_int(0)), into, (i, start), kernel.dim(width))
    return [kernel.built()]


def _part_copy(kernel: Kernel, place: int, width: Dim, start: Dim, total: Dim) -> KernelCall:
    source, into = kernel.input(place, (width,)), kernel.output(0, (total,))
    begin = kernel.dim(start)
    blocks(kernel.k, kernel.dim(width), lambda at, n: copy_row(kernel.k, source, (at,), into, (begin + at,), n))
    return kernel.built()


def pad_copy(region: Region, target: Target) -> list[KernelCall]:
    """Pad: each row filled in front, copied, filled behind; rows outside are filled."""
    assert region.anchor is not None and isinstance(region.anchor.op, Pad)
    op, (x,) = region.anchor.op, region.anchor.inputs
    kernel = Kernel(region, target, "pad")
    k = kernel.k
    axes = merged_axes([Axis(d, 0 - b, b + d + a) for b, d, a in zip(op.before, x.shape, op.after, strict=True)])
    source = kernel.input(0, kernel.dims([a.dim for a in axes]))
    into = kernel.output(0, kernel.dims([a.size for a in axes]))
    skipped = kernel.dims([a.start for a in axes])
    value = k.const(op.value, x.dtype)
    pads = _Pads(kernel, source, into, skipped, value)
    if len(axes) == 1:
        blocks(k, into.shape[0], lambda start, count: pads.row((), (), start, count))
    else:
        with spread(k, "i", into.shape) as i:
            pads.at((i,), ())
    return [kernel.built()]


class _Pads:
    """The nest of a pad. skipped: by axis, how far the source's position is ahead of the output's."""

    def __init__(self, kernel: Kernel, source: Buffer, into: Buffer, skipped: Sequence[Int], value: LoopValue) -> None:
        self.k, self.source, self.into, self.skipped, self.value = kernel.k, source, into, skipped, value

    def at(self, index: tuple[Int, ...], read: tuple[Int, ...]) -> None:
        """Everything at an index of the first axes; read: the source's index there without the last."""
        k, axis = self.k, len(index) - 1
        place = index[-1] + self.skipped[axis]
        extent = self.source.shape[axis]
        if self.skipped[axis] == 0 and extent == self.into.shape[axis]:
            self.inner(index, (*read, place))
            return
        with k.when(k.and_(k.cmp("ge", place, 0), k.cmp("lt", place, extent))):
            self.inner(index, (*read, place))
        with k.otherwise():
            self.outside(index)

    def inner(self, index: tuple[Int, ...], read: tuple[Int, ...]) -> None:
        """The axes behind an index that lies inside the source."""
        last = len(self.into.shape) - 1
        if len(index) == last:
            self.row(index, read, as_int(0), self.into.shape[-1])
            return
        with self.k.loop(f"j{len(index)}", 0, self.into.shape[len(index)]) as i:
            self.at((*index, i), read)

    def outside(self, index: tuple[Int, ...]) -> None:
        """Fills everything behind an index."""
        rest = self.into.shape[len(index) :]
        nest(
            self.k,
            rest[:-1],
            lambda more: fill_row(self.k, self.into, (*index, *more), as_int(0), rest[-1], self.value),
        )

    def row(self, index: tuple[Int, ...], read: tuple[Int, ...], start: Int, count: Int) -> None:
        """`count` elements of a row from `start` on."""
        k, skip = self.k, self.skipped[-1]
        stop = start + count
        low = imin(imax(start, -skip), stop)
        high = imax(imin(stop, self.source.shape[-1] - skip), low)
        fill_row(k, self.into, index, start, low - start, self.value)
        copy_row(k, self.source, (*read, low + skip), self.into, (*index, low), high - low)
        fill_row(k, self.into, index, high, stop - high, self.value)
