"""Copies of rows: what slices, flips, concatenations, pads and gathers are made of.

A copy never masks: a row's last vector overlaps the one before it, and a row shorter than a vector goes by two
shorter ones (size known) or element by element. So the code is the same on every target, and writes each element of
its own row only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from chainrule.backends.loops import Buffer, Builder, Int, as_int, ceil_div, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.dims import Dim, dim_product, lower_bound
from chainrule.ir.types import DType, i64

VECTOR_BYTES = 64
BLOCK = 4096  # elements of a long row that one parallel iteration takes
LONG_ROW = 16  # lines of a row from which the two at its ends do not count
SMALL = 4096  # elements of a copy that is not worth a second thread

Body = Callable[[Int, int], None]
Index = Sequence[Int]


def lanes_of(dtype: DType) -> int:
    """Elements in one vector of a copy."""
    return VECTOR_BYTES // dtype.itemsize


def whole_lines(dtype: DType, *widths: Dim) -> bool:
    """True where rows of these widths surely end where a vector does, so that no store overlaps one before it.

    Only then may stores pass the caches: slices of 16M f32 with rows of 1016 would take 1.6 times as long, whole rows
    of 1024 take 0.65 times as long.
    """
    return all(isinstance(width, int) and width * dtype.itemsize % VECTOR_BYTES == 0 for width in widths)


def sweep(k: Builder, count: Int, lanes: int, body: Body) -> None:
    """body(at, n) for pieces of n elements that cover 0 .. count; pieces may overlap, so body must not accumulate."""
    if count.is_const:
        known_sweep(k, count.const, lanes, body)
        return
    with k.when(k.cmp("ge", count, lanes)):
        long_sweep(k, count, lanes, body)
    with k.otherwise(), k.loop("e", 0, count) as e:
        body(e, 1)


def long_sweep(k: Builder, count: Int, lanes: int, body: Body) -> None:
    """sweep for a count that is at least `lanes`."""
    if count.is_const:
        known_sweep(k, count.const, lanes, body)
        return
    count = k.index(k.value(count, i64), lanes, count + 1)  # the same number, with bounds that proofs can use
    whole = count // lanes
    with k.loop("v", 0, whole) as v:
        body(v * lanes, lanes)
    with k.when(k.cmp("gt", count - whole * lanes, 0)):
        body(count - lanes, lanes)


def known_sweep(k: Builder, count: int, lanes: int, body: Body) -> None:
    """sweep for a count that is a number."""
    whole, rest = divmod(count, lanes)
    if whole > 2:
        with k.loop("v", 0, whole) as v:
            body(v * lanes, lanes)
    else:
        for v in range(whole):
            body(as_int(v * lanes), lanes)
    if whole and rest:
        body(as_int(count - lanes), lanes)
        return
    if rest:
        part = 1 << (rest.bit_length() - 1)
        body(as_int(0), part)
        if rest > part:
            body(as_int(rest - part), part)


def apart_sweep(k: Builder, count: Int, lanes: int, body: Body) -> None:
    """body(at, n) for pieces that cover 0 .. count and do not overlap, in order."""
    if not count.is_const:
        count = k.index(k.value(count, i64), 0, count + 1)  # the same number, with bounds that proofs can use
    whole = count // lanes
    if not (whole.is_const and whole.const == 0):
        with k.loop("v", 0, whole) as v:
            body(v * lanes, lanes)
    rest, at = count - whole * lanes, whole * lanes
    if not rest.is_const:
        with k.loop("e", at, count) as e:
            body(e, 1)
        return
    left = rest.const
    while left:
        part = 1 << (left.bit_length() - 1)
        body(at, part)
        at, left = at + part, left - part


def interleaved(k: Builder, parts: Sequence[LoopValue]) -> list[LoopValue]:
    """Vectors a, b, .. as a0 b0 .. a1 b1 .., in as many vectors."""
    count, n = len(parts), parts[0].lanes
    found: list[LoopValue] = []
    for j in range(count):
        order = [divmod(j * n + lane, count) for lane in range(n)]
        result: LoopValue | None = None
        for part in range(count):
            own = {lane: at for lane, (at, source) in enumerate(order) if source == part}
            if not own:
                continue
            if result is None:
                result = (
                    parts[part] if count == 1 else k.shuffle(parts[part], None, [own.get(lane, 0) for lane in range(n)])
                )
            else:
                result = k.shuffle(result, parts[part], [n + own[lane] if lane in own else lane for lane in range(n)])
        assert result is not None
        found.append(result)
    return found


def blocks(k: Builder, count: Int, row: Callable[[Int, Int], None]) -> None:
    """row(start, size) for the blocks of one long row, in parallel unless the row is short."""
    if count.is_const and count.const <= SMALL:
        row(as_int(0), count)
        return
    with k.loop("block", 0, ceil_div(count, BLOCK), parallel=True) as block:
        row(block * BLOCK, imin(BLOCK, count - block * BLOCK))


@contextmanager
def spread(k: Builder, name: str, sizes: Sequence[Int]) -> Iterator[Int]:
    """A loop over the first of the sizes, parallel unless all of them together are few elements."""
    total = as_int(1)
    for size in sizes:
        total = total * size
    with k.loop(name, 0, sizes[0], parallel=not (total.is_const and total.const <= SMALL)) as i:
        yield i


def nest(
    k: Builder, sizes: Sequence[Int], body: Callable[[tuple[Int, ...]], None], index: tuple[Int, ...] = ()
) -> None:
    """body(index) for every index of the sizes, the last fastest; not parallel."""
    if len(index) == len(sizes):
        body(index)
        return
    with k.loop(f"j{len(index)}", 0, sizes[len(index)]) as i:
        nest(k, sizes, body, (*index, i))


def fill_row(k: Builder, target: Buffer, at: Index, start: Int, count: Int, value: LoopValue) -> None:
    """Puts a scalar at start .. start + count of a row."""
    sweep(k, count, lanes_of(target.dtype), lambda j, n: k.store(target, (*at, start + j), k.splat(value, n)))


def copy_row(k: Builder, source: Buffer, source_at: Index, target: Buffer, target_at: Index, count: Int,
             step: int = 1) -> None:  # fmt: skip
    """Copies `count` elements from an index of the source, by a step along its last axis (-1: backwards)."""
    *source_row, first = source_at
    *target_row, into = target_at

    def piece(j: Int, n: int) -> None:
        if step == -1:
            loaded = k.load(source, (*source_row, first - j - (n - 1)), n)
            value = loaded if n == 1 else k.shuffle(loaded, None, range(n)[::-1])
        else:
            value = k.load(source, (*source_row, first + j * step), n, stride=step if n > 1 else 1)
        k.store(target, (*target_row, into + j), value)

    sweep(k, count, lanes_of(source.dtype), piece)


def takes_lines(dtype: DType, shape: Sequence[Dim], bytes_far: int) -> bool:
    """True for a result from so many bytes on that `copy_lines` is for: its rows are long, and share lines."""
    size, row = dim_product(shape), shape[-1]
    if not isinstance(size, int) or not isinstance(row, int):
        return False
    return size * dtype.itemsize >= bytes_far and row >= LONG_ROW * lanes_of(dtype) and not whole_lines(dtype, row)


def copy_lines(k: Builder, source: Buffer, source_at: Index, target: Buffer, target_at: Index, count: Int) -> None:
    """copy_row into a target that streams and whose rows begin anywhere in a line.

    The lines that a row has for itself pass the caches; of the two that it shares with its neighbours it writes its own
    part. They are told apart as if the target began with a line; where it does not, all stores are plain ones.
    16M f32 in rows of 1016 out of rows of 1024: 42 GB/s with plain stores, 53 so.
    """
    *source_row, first = source_at
    *target_row, into = target_at
    lanes, flat = lanes_of(source.dtype), into
    pitch = as_int(1)
    for extent, at in zip(reversed(target.shape[1:]), reversed(target_row), strict=True):
        pitch = pitch * extent
        flat = flat + at * pitch
    head = k.index(k.value((lanes - flat % lanes) % lanes, i64), 0, imin(count, lanes - 1) + 1)
    whole = (count - head) // lanes

    def piece(j: Int, mask: Int | None) -> None:
        k.store(target, (*target_row, into + j), k.load(source, (*source_row, first + j), lanes, mask=mask), mask=mask)

    piece(as_int(0), head)
    with k.loop("v", 0, whole) as v:
        piece(head + v * lanes, None)
    piece(head + whole * lanes, count - head - whole * lanes)


@dataclass(frozen=True)
class Axis:
    """One axis of a view: `size` elements from `start` on by `step` (-1: backwards) of an axis of size `dim`."""

    dim: Dim
    start: Dim
    size: Dim
    step: int = 1

    @property
    def is_whole(self) -> bool:
        return self.step == 1 and self.start == 0 and self.size == self.dim

    @property
    def is_flip(self) -> bool:
        return self.step == -1 and self.size == self.dim

    @property
    def room(self) -> Dim:
        """Non-negative where the view lies inside the axis."""
        if self.step == -1:
            return self.start - (self.size - 1)
        return self.dim - 1 - self.start - (self.size - 1) * self.step

    @property
    def is_safe(self) -> bool:
        """True when the view certainly lies inside."""
        low, start = lower_bound(self.room), lower_bound(self.start)
        return low is not None and low >= 0 and start is not None and start >= 0


def flipped(dim: Dim) -> Axis:
    """A whole axis backwards."""
    return Axis(dim, dim - 1, dim, -1)


def merged_axes(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """The same view with as few axes as possible: an axis swallows a whole one behind it, flips swallow flips."""
    found: list[Axis] = []
    for axis in axes:
        if axis.dim == 1 and axis.size == 1 and axis.start == 0:
            continue
        last = found[-1] if found else None
        if last is not None and axis.is_whole and last.step == 1:
            found[-1] = Axis(last.dim * axis.dim, last.start * axis.dim, last.size * axis.dim)
        elif last is not None and axis.is_flip and last.is_flip:
            found[-1] = flipped(last.dim * axis.dim)
        else:
            found.append(axis)
    return tuple(found) or (Axis(1, 0, 1),)
