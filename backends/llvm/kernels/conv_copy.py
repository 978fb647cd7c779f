"""The padded copy that a convolution with a border reads: rows of an image with zeros around and, spread, between.

It goes to a strip on the stack, the rows that one iteration needs, or to a temporary of the whole padded image. With a
strip the copy costs (rows + reach - 1) / rows loads and stores an element, where the products are hundreds; it also
widens half precision once, and lets one tile loop serve inner pixels and border alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from chainrule.backends.llvm.kernels.conv_shape import Geometry
from chainrule.backends.llvm.kernels.pack import spread_loop
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Temp
from chainrule.backends.loops import Buffer, Builder, Int, as_int, ceil_div, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.graph import Input, Value
from chainrule.ir.types import DType

Part = Callable[[Int, int, Int | None], LoopValue]  # (offset, lanes, valid lanes) -> a vector of what is copied


def rooms(g: Geometry) -> tuple[Int, ...]:
    """The padded image as the kernels see it: [N, depth, height, width * C]."""
    return (g.batch, g.room[0], g.room[1], g.room[2] * g.channels)


def padded_copy(kernel: Kernel, x: Value, g: Geometry, temp: Temp, around: int | None = None) -> KernelCall:
    """A kernel that fills a temporary with the whole padded image; around: rows on either side that are read, if not
    all."""
    k, to = kernel.k, kernel.temp(temp, mode="w", shape=rooms(g))
    with spread_loop(k, (g.batch, g.room[0], g.room[1])) as (batch, plane, row), ExitStack() as stack:
        if around is not None:
            at, end = row - g.pad[1], (g.image[1] - 1) * g.spread[1] + 1
            stack.enter_context(k.when(k.and_(k.cmp("ge", at, -around), k.cmp("lt", at, end + around))))
        copy_row(kernel, x, g, (batch, plane, row, as_int(0)), g.room[2], to, (batch, plane, row))
    return kernel.built("padded copy")


def copy_row(kernel: Kernel, x: Value, g: Geometry, corner: tuple[Int, Int, Int, Int], columns: Int,
             to: Buffer, place: Sequence[Int]) -> None:  # fmt: skip
    """`columns` pixels of a padded row, at the begin of the last axis of `to`. corner: batch, plane, row and first
    column of them in the padded, spread image."""
    k = kernel.k
    batch, plane, row, column = corner
    inside = None
    at: list[Int] = []
    for position, axis in ((plane, 0), (row, 1)):
        source = position - g.pad[axis]
        step, size = g.spread[axis], g.image[axis]
        if not (g.pad[axis] == 0 and step == 1 and g.image[axis] == g.room[axis]):
            found = k.and_(k.cmp("ge", source, 0), k.cmp("lt", source, (size - 1) * step + 1))
            if step > 1:
                found = k.and_(found, k.cmp("eq", source % step, 0))
            inside = found if inside is None else k.and_(inside, found)
        at.append(source // step)
    if inside is None:
        _copy_inside(kernel, x, g, (batch, *at), (column, columns), to, place)
        return
    with k.when(inside):
        _copy_inside(kernel, x, g, (batch, *at), (column, columns), to, place)
    with k.otherwise():
        _fill(k, g, to, place, as_int(0), columns * g.channels)


def _copy_inside(kernel: Kernel, x: Value, g: Geometry, at: Sequence[Int], stretch: tuple[Int, Int], to: Buffer,
                 place: Sequence[Int]) -> None:  # fmt: skip
    """A row that exists: zeros, the pixels that windows reach, zeros."""
    k, c = kernel.k, g.channels
    step, size = g.spread[2], g.image[2]
    column, room = stretch
    shift = column - g.pad[2]  # where the stretch begins in the image
    if step == 1:
        first, left = imax(0, shift), imin(imax(0, 0 - shift), room)
        count = imax(0, imin(size - first, room - left))
        _fill(k, g, to, place, as_int(0), left * c)
        _move(kernel, x, g, at, first, to, place, left, count)
        _fill(k, g, to, place, (left + count) * c, room * c)
        return
    _fill(k, g, to, place, as_int(0), room * c)
    low = imax(0, ceil_div(shift, step))
    high = imin(size, (room - 1 + shift) // step + 1)
    with k.loop("px", low, high) as px:
        _move(kernel, x, g, at, px, to, place, px * step - shift, as_int(1))


def _move(kernel: Kernel, x: Value, g: Geometry, at: Sequence[Int], first: Int, to: Buffer, place: Sequence[Int],
          target: Int, count: Int) -> None:  # fmt: skip
    """`count` neighbouring pixels of a row of x to pixel `target` of the copy."""
    k, c = kernel.k, g.channels
    batch, plane, row = at
    if isinstance(x.op, Input):
        source = kernel.input(kernel.region.body.inputs.index(x), (g.batch, g.image[0], g.image[1], g.image[2] * c))

        def part(offset: Int, lanes: int, mask: Int | None) -> LoopValue:
            return k.load(source, (batch, plane, row, first * c + offset), lanes, mask=mask)
    else:

        def part(offset: Int, lanes: int, mask: Int | None) -> LoopValue:
            return k.splat(kernel.number(x), lanes)

    _sweep(k, count * c, to.dtype, lambda offset, lanes, mask: k.store(
        to, (*place, target * c + offset), k.cast(part(offset, lanes, mask), to.dtype), mask=mask))  # fmt: skip


def _fill(k: Builder, g: Geometry, to: Buffer, place: Sequence[Int], start: Int, stop: Int) -> None:
    def outside(offset: Int, lanes: int, mask: Int | None) -> None:
        k.store(to, (*place, start + offset), k.const(g.fill, to.dtype, lanes), mask=mask)

    _sweep(k, stop - start, to.dtype, outside)


def _sweep(k: Builder, count: Int, dtype: DType, body: Callable[[Int, int, Int | None], None]) -> None:
    """body at every vector of a stretch, the last one with a mask."""
    lanes = max(1, 64 // dtype.itemsize)
    whole = count // lanes
    if not (whole.is_const and whole.const <= 0):
        if whole.is_const and whole.const == 1:
            body(as_int(0), lanes, None)
        else:
            with k.loop("v", 0, whole) as v:
                body(v * lanes, lanes, None)
    rest = count - whole * lanes
    if rest.is_const:
        if rest.const > 0:
            body(whole * lanes, lanes, rest)
        return
    with k.when(k.cmp("gt", rest, 0)):
        body(whole * lanes, lanes, rest)
