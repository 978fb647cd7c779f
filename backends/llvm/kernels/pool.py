"""Pools of images with their channels first, plane by plane.

Every image of a batch and channel is a plane of its own, and threads split the planes. Windows without dilation go 16
at a time along the row (pool_windows.py); the others, and rows of unknown length at their border, go one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.backends.llvm.kernels.pool_windows import UNROLLED_ROWS, Piece, Place, Windows, known_pieces, span
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region, is_half
from chainrule.backends.llvm.kernels.shaping_rows import long_sweep, nest, spread
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.dims import Dim
from chainrule.ir.types import DType, f32, i64
from chainrule.ops.pool import AvgPool, AvgPoolGrad, MaxPool, MaxWindow

LANES = 16
MAX_STRIDE = 4  # along the row; beyond, most of what the vectors load is not needed
MAX_REACH = 16


def planar(shape: Sequence[Dim]) -> tuple[Dim, ...]:
    """[N, C, *S] as [N*C, *S]."""
    return (shape[0] * shape[1], *shape[2:])


def windows_of(op: MaxWindow | AvgPool | AvgPoolGrad, image: Sequence[Int], counts: Sequence[Int]) -> Windows:
    """The windows of a pool over an image."""
    rank = len(op.window)
    dilation = op.dilation if isinstance(op, MaxWindow) else (1,) * rank
    return Windows(tuple(image), tuple(counts), op.window, op.stride, op.pad[:rank], dilation)


def goes_by_vectors(windows: Windows) -> bool:
    """True if neighbouring windows are worth one vector."""
    close = windows.stride[-1] <= MAX_STRIDE and windows.reach[-1] <= MAX_REACH
    known = all(not size.is_const or size.const > 0 for size in windows.image)
    return close and known and all(d == 1 for d in windows.dilation)


def computing(dtype: DType) -> DType:
    """The type in which elements are compared and added."""
    return f32 if is_half(dtype) else dtype


def least(k: Builder, dtype: DType) -> LoopValue:
    """The smallest value of a type, as computed with."""
    if dtype.is_float:
        return k.const(float("-inf"), computing(dtype))
    return k.const(-(1 << (dtype.bits - 1)) if dtype.is_signed else 0, dtype)


def larger(k: Builder, a: LoopValue, b: LoopValue) -> LoopValue:
    """The larger one; NaN if either is NaN."""
    if not a.dtype.is_float:
        return k.max(a, b)
    return k.select(k.cmp("ne", a, a), a, k.max(a, b))  # max gives b where a or b is NaN


def beats(k: Builder, value: LoopValue, best: LoopValue) -> LoopValue:
    """Where a value replaces the best so far: it is larger, or the first NaN."""
    if not value.dtype.is_float:
        return k.cmp("gt", value, best)
    return k.and_(k.not_(k.cmp("le", value, best)), k.cmp("eq", best, best))


Combine = Callable[[Builder, LoopValue, LoopValue], LoopValue]


def rows_combined(kernel: Kernel, source: Buffer, windows: Windows, plane: Int, window: Sequence[Int], piece: Piece,
                  starts: Sequence[int], combine: Combine, identity: LoopValue,
                  clamped: bool) -> dict[int, LoopValue]:  # fmt: skip
    """The vectors of a piece's span, combined over the rows of its windows, by their begin."""
    k, first = kernel.k, windows.first((*window, piece.begin), len(windows.image) - 1)

    def loaded(row: Place, start: int) -> LoopValue:
        return kernel.widened(k.load(source, (plane, *row, first + start), piece.lanes))

    if clamped and windows.row_count() <= UNROLLED_ROWS:
        found: dict[int, LoopValue] = {}
        for row in windows.clamped_rows(window):
            for start in starts:
                value = loaded(row, start)
                found[start] = combine(k, found[start], value) if start in found else value
        return found
    totals = {start: k.reg(k.splat(identity, piece.lanes)) for start in starts}

    def add(row: Place) -> None:
        for start, total in totals.items():
            total.set(combine(k, total.get(), loaded(row, start)))

    windows.rows(k, window, len(windows.image) - 1, add)
    return {start: total.get() for start, total in totals.items()}


def windows_combined(kernel: Kernel, source: Buffer, windows: Windows, plane: Int, window: Sequence[Int], piece: Piece,
                     combine: Combine, identity: LoopValue, clamped: bool) -> LoopValue:  # fmt: skip
    """All elements of each of a piece's windows combined. clamped: an element may count twice."""
    k = kernel.k
    taps = [piece.positions(windows, t, clamped) for t in range(windows.reach[-1])]
    starts = list(dict.fromkeys(piece.start(p) for positions in taps for p in positions if p is not None))
    vectors = rows_combined(kernel, source, windows, plane, window, piece, starts, combine, identity, clamped)
    zero = k.splat(identity, piece.lanes)
    result: LoopValue | None = None
    for positions in taps:
        value = piece.picked(k, vectors.__getitem__, positions, zero)
        result = value if result is None else combine(k, result, value)
    assert result is not None
    return result


def row_of_windows(k: Builder, windows: Windows, piece: Callable[[Piece], None], single: Callable[[Int], None]) -> None:
    """All windows of a row: by pieces, and one by one where a row of unknown length has its border."""
    count, size = windows.counts[-1], windows.image[-1]
    if count.is_const and size.is_const:
        known_pieces(k, windows, LANES, piece)
        return
    stride, pad = windows.stride[-1], windows.pad[-1]
    low = -(-pad // stride)
    inside = imin(count, (size + pad - windows.reach[-1]) // stride + 1) - low

    def singles(name: str, begin: Int, end: Int) -> None:
        with k.loop(name, begin, end) as i:
            single(i)

    with k.when(k.cmp("ge", inside, LANES)):
        singles("left", as_int(0), imin(low, count))
        sure = k.index(k.value(inside, i64), LANES, inside + 1)  # the same number, with bounds that proofs can use
        long_sweep(k, sure, LANES, lambda j, n: piece(Piece(low + j, n, 0, span(windows, n))))
        singles("right", low + sure, count)
    with k.otherwise():
        singles("all", as_int(0), count)


def with_images(k: Builder, windows: Windows, body: Callable[[], None], without: Callable[[], None]) -> None:
    """The body where the images have elements, else the other one."""
    unknown = [size for size in windows.image if not size.is_const]
    if not unknown:
        body()
        return
    some = k.cmp("gt", unknown[0], 0)
    for size in unknown[1:]:
        some = k.and_(some, k.cmp("gt", size, 0))
    with k.when(some):
        body()
    with k.otherwise():
        without()


def max_pool(region: Region, target: Target) -> list[KernelCall]:
    """MaxPool."""
    assert region.anchor is not None and isinstance(region.anchor.op, MaxPool)
    op, (x,) = region.anchor.op, region.anchor.inputs
    kernel = Kernel(region, target, "max_pool")
    k = kernel.k
    source, into = kernel.input(0, planar(x.shape)), kernel.output(0, planar(region.anchor.shape))
    windows = windows_of(op, source.shape[1:], into.shape[1:])
    lowest = least(k, x.dtype)

    def single(p: Int, at: Place) -> None:
        best = k.reg(lowest)
        windows.taps(k, at, lambda place: best.set(larger(k, best.get(), kernel.widened(k.load(source, (p, *place))))))
        k.store(into, (p, *at), k.cast(best.get(), into.dtype))

    def piece(p: Int, row: Place, part: Piece) -> None:
        best = windows_combined(kernel, source, windows, p, row, part, larger, lowest, True)
        k.store(into, (p, *row, part.begin), k.cast(best, into.dtype))

    _planes(kernel, windows, into.shape, piece, single)
    return [kernel.built()]


def _planes(kernel: Kernel, windows: Windows, shape: Sequence[Int], piece: Callable[[Int, Place, Piece], None],
            single: Callable[[Int, Place], None]) -> None:  # fmt: skip
    """Every window of every plane, in parallel over the planes."""
    k = kernel.k

    def by_rows(p: Int) -> None:
        nest(k, shape[1:-1], lambda row: row_of_windows(
            k, windows, lambda part: piece(p, row, part), lambda i: single(p, (*row, i))))  # fmt: skip

    def one_by_one(p: Int) -> None:
        nest(k, shape[1:], lambda at: single(p, at))

    with spread(k, "plane", shape) as plane:
        if goes_by_vectors(windows):
            with_images(k, windows, lambda: by_rows(plane), lambda: one_by_one(plane))
        else:
            one_by_one(plane)


def divisor(op: AvgPool | AvgPoolGrad, windows: Windows, window: Sequence[Int]) -> Int:
    """What the sum of a window is divided by, for as many of its first axes as are given."""
    total = as_int(1)
    for axis, i in enumerate(window):
        total = total * divisor_on(op, windows, i, axis)
    return total


def divisor_on(op: AvgPool | AvgPoolGrad, windows: Windows, window: Int, axis: int) -> Int:
    """What one axis adds to a window's divisor."""
    first = window * windows.stride[axis] - windows.pad[axis]
    last = windows.image[axis] + (op.pad[axis + len(op.window)] if op.count_include_pad else 0)
    return imin(first + op.window[axis], last) - (first if op.count_include_pad else imax(first, 0))


def column_divisors(op: AvgPool | AvgPoolGrad, windows: Windows, piece: Piece) -> list[int]:
    """What the last axis adds to the divisors of a piece's windows, by lane."""
    last = len(windows.image) - 1
    if piece.low == 0 and piece.high == span(windows, piece.lanes):
        return [op.window[last]] * piece.lanes
    return [int(divisor_on(op, windows, piece.begin + lane, last)) for lane in range(piece.lanes)]


def avg_pool(region: Region, target: Target) -> list[KernelCall]:
    """AvgPool: the sum of a window over its divisor."""
    assert region.anchor is not None and isinstance(region.anchor.op, AvgPool)
    op, (x,) = region.anchor.op, region.anchor.inputs
    kernel = Kernel(region, target, "avg_pool")
    k = kernel.k
    source, into = kernel.input(0, planar(x.shape)), kernel.output(0, planar(region.anchor.shape))
    windows = windows_of(op, source.shape[1:], into.shape[1:])
    zero = k.const(0, computing(x.dtype))

    def single(p: Int, at: Place) -> None:
        total = k.reg(zero)
        windows.taps(k, at, lambda place: total.set(k.add(total.get(), kernel.widened(k.load(source, (p, *place))))))
        mean = k.div(total.get(), k.value(divisor(op, windows, at), zero.dtype))
        k.store(into, (p, *at), k.cast(mean, into.dtype))

    def piece(p: Int, row: Place, part: Piece) -> None:
        total = windows_combined(kernel, source, windows, p, row, part, Builder.add, zero, _always_inside(op))
        rows = k.value(divisor(op, windows, row), zero.dtype)
        columns = k.const(column_divisors(op, windows, part), zero.dtype)
        counts = k.mul(k.splat(rows, part.lanes), columns)
        k.store(into, (p, *row, part.begin), k.cast(k.div(total, counts), into.dtype))

    _planes(kernel, windows, into.shape, piece, single)
    return [kernel.built()]


def _always_inside(op: AvgPool) -> bool:
    """True when no window meets the border: then nothing is clamped, and sums may be written out as maxima are."""
    return not any(op.pad) and not op.ceil_mode
