"""Slices, flips, constant pads and concatenations: copies of rows, moved by whole vectors.

Axes that are taken whole are merged with the axis before them, so that a slice of the batch, a concatenation of
channels or a pad of the rows runs over long rows: they copy at the speed of memory. Rows go to threads by the first
axis that is left. A slice or flip with a step reads its row by stride (steps up to 4: vector loads and shuffles).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce

from chainrule.backends.llvm.failures import SLICE_LEAVES_AXIS
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region
from chainrule.backends.llvm.kernels.shaping_rows import (
    SMALL,
    Axis,
    blocks,
    copy_lines,
    copy_row,
    fill_row,
    flipped,
    merged_axes,
    nest,
    spread,
    takes_lines,
    whole_lines,
)
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Int, as_int
from chainrule.ir.dims import Dim, dim_max, dim_product, lower_bound
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
    dtype, shape = kernel.region.body.outputs[0].dtype, [a.size for a in axes]
    by_lines = len(axes) > 1 and axes[-1].step == 1 and takes_lines(dtype, shape, kernel.target.l3)
    target = kernel.output(0, kernel.dims(shape), streams=by_lines or whole_lines(dtype, shape[-1]))
    starts, sizes = kernel.dims([a.start for a in axes]), target.shape

    def row(index: Sequence[Int], start: Int, count: Int) -> None:
        at = [s + i * a.step for s, i, a in zip(starts[:-1], index, axes[:-1], strict=True)]
        last = axes[-1]
        if by_lines:
            copy_lines(k, source, (*at, starts[-1] + start), target, (*index, start), count)
            return
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
    if outer == 1 and not (isinstance(total, int) and total <= SMALL):
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
    into = kernel.output(0, (rows, kernel.dim(total)), streams=whole_lines(parts[0].dtype, *widths))
    with spread(k, "i", into.shape) as i:
        for place, width, start in zip(places, widths, starts, strict=True):
            copy_row(k, sources[place], (i, as_int(0)), into, (i, start), kernel.dim(width))
    return [kernel.built()]


def _part_copy(kernel: Kernel, place: int, width: Dim, start: Dim, total: Dim) -> KernelCall:
    source, into = kernel.input(place, (width,)), kernel.output(0, (total,), "rw")
    begin = kernel.dim(start)
    blocks(kernel.k, kernel.dim(width), lambda at, n: copy_row(kernel.k, source, (at,), into, (begin + at,), n))
    return kernel.built()


def pad_copy(region: Region, target: Target) -> list[KernelCall]:
    """Pad: each row filled in front, copied, filled behind; rows outside are filled."""
    assert region.anchor is not None and isinstance(region.anchor.op, Pad)
    op, (x,) = region.anchor.op, region.anchor.inputs
    axes = merged_axes([Axis(d, 0 - b, b + d + a) for b, d, a in zip(op.before, x.shape, op.after, strict=True)])
    row, size = _Row.of(axes[-1]), axes[0].size
    # What reads comes last: a caller that asks whether the result may lie where the source is looks at the last call.
    if len(axes) == 1 and row.is_certain and not (isinstance(size, int) and size <= SMALL):
        return [_Pads(Kernel(region, target, f"pad_{part}"), axes, op.value, "rw").long_part(part)
                for part in ("front", "back", "middle")]  # fmt: skip
    pads = _Pads(Kernel(region, target, "pad"), axes, op.value, "w")
    if len(axes) == 1:
        pads.row((), ())
    else:
        with spread(pads.k, "i", pads.into.shape) as i, pads.not_empty():
            pads.at((i,), ())
    return [pads.kernel.built()]


@dataclass(frozen=True)
class _Row:
    """A padded axis: so many new elements in front, so many of the source from `cut` on, the rest behind."""

    front: Dim
    cut: Dim
    copied: Dim
    back: Dim

    @staticmethod
    def of(axis: Axis) -> _Row:
        before, after = 0 - axis.start, axis.size + axis.start - axis.dim
        cut, end = dim_max(0, 0 - before), dim_max(0, 0 - after)
        return _Row(dim_max(0, before), cut, axis.dim - cut - end, dim_max(0, after))

    @property
    def is_certain(self) -> bool:
        """True if the source has elements to copy for sure, or none to miss."""
        low = lower_bound(self.copied)
        return low is not None and low >= 0


class _Pads:
    """The nest of a pad. skipped: by axis, how far the source's position is ahead of the output's."""

    def __init__(self, kernel: Kernel, axes: Sequence[Axis], value: float, mode: str) -> None:
        self.kernel, self.k, self.axes = kernel, kernel.k, axes
        self.into = kernel.output(0, kernel.dims([a.size for a in axes]), mode)
        self.skipped = kernel.dims([a.start for a in axes])
        self.value = self.k.const(value, self.into.dtype)
        self.last = _Row.of(axes[-1])

    @property
    def source(self) -> Buffer:
        """The input."""
        return self.kernel.input(0, self.kernel.dims([a.dim for a in self.axes]))

    @contextmanager
    def not_empty(self) -> Iterator[None]:
        """What is inside runs only where the result has elements; proofs then know that no size is negative."""
        low = [lower_bound(a.size) for a in self.axes]
        unsure = [self.k.cmp("gt", size, 0) for size, n in zip(self.into.shape, low, strict=True) if n is None or n < 0]
        if not unsure:
            yield
            return
        with self.k.when(reduce(self.k.and_, unsure)):
            yield

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
            self.row(index, read)
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

    def row(self, index: tuple[Int, ...], read: tuple[Int, ...]) -> None:
        """One row."""
        k, last = self.k, self.last
        front, cut, copied, back = self.kernel.dims([last.front, last.cut, last.copied, last.back])

        def parts() -> None:
            fill_row(k, self.into, index, as_int(0), front, self.value)
            copy_row(k, self.source, (*read, cut), self.into, (*index, front), copied)
            fill_row(k, self.into, index, front + copied, back, self.value)

        def nothing() -> None:
            fill_row(k, self.into, index, as_int(0), self.into.shape[-1], self.value)

        if last.is_certain or copied.is_const:
            parts() if last.is_certain else nothing()
            return
        with k.when(k.cmp("gt", copied, 0)):
            parts()
        with k.otherwise():
            nothing()

    def long_part(self, part: str) -> KernelCall:
        """The call for one part ("front", "middle" or "back") of a pad that is one long row, cut into blocks."""
        k, last = self.k, self.last
        front, cut, copied, back = self.kernel.dims([last.front, last.cut, last.copied, last.back])

        def block(start: Int, n: Int) -> None:
            if part == "middle":
                copy_row(k, self.source, (cut + start,), self.into, (front + start,), n)
            else:
                fill_row(k, self.into, (), start if part == "front" else front + copied + start, n, self.value)

        blocks(k, {"front": front, "middle": copied, "back": back}[part], block)
        return self.kernel.built()
