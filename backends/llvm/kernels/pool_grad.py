"""The gradients of pools, plane by plane, and what stands at the maxima.

Maxima are looked up again: 16 windows at a time they compare their taps in row-major order, so that the first of
several equal ones wins. Where windows tile the image, each window's dy is put at its maximum and zeros beside it, by
vectors; where they overlap, the places are kept in a small array and the dy added there one by one, in row-major
order of the windows. The gradient of means gathers for every element the windows that meet it: one sum for each
remainder of the column by the stride, interleaved when stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.backends.llvm.kernels.pool import (
    LANES,
    MAX_STRIDE,
    beats,
    computing,
    divisor,
    goes_by_vectors,
    least,
    planar,
    windows_of,
)
from chainrule.backends.llvm.kernels.pool_windows import UNROLLED_ROWS, Piece, Place, Windows, known_pieces
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region, Temp, is_half
from chainrule.backends.llvm.kernels.shaping_rows import fill_row, interleaved, long_sweep, nest, spread, sweep
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, Reg, as_int, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.types import TensorType, f32, i32, i64
from chainrule.ops.pool import AvgPoolGrad, MaxPoolGrad, MaxPoolTake, MaxWindow


def _search(kernel: Kernel, windows: Windows, x: Buffer, plane: Int, window: Place) -> Reg:
    """The place of a window's first maximum in its image, i64; -1 if it meets no element."""
    k = kernel.k
    best, found = k.reg(least(k, x.dtype)), k.reg(k.const(-1, i64))

    def tap(place: Place) -> None:
        value = kernel.widened(k.load(x, (plane, *place)))
        better = k.or_(beats(k, value, best.get()), k.cmp("lt", found.get(), 0))
        best.set(k.select(better, value, best.get()))
        found.set(k.select(better, k.value(windows.flat(place), i64), found.get()))

    windows.taps(k, window, tap)
    return found


def max_pool_take(region: Region, target: Target) -> list[KernelCall]:
    """MaxPoolTake: v at the maxima of x."""
    assert region.anchor is not None and isinstance(region.anchor.op, MaxPoolTake)
    op, (x, v) = region.anchor.op, region.anchor.inputs
    kernel = Kernel(region, target, "max_pool_take", scalar=True)
    k = kernel.k
    source, into = kernel.input(0, planar(x.shape)), kernel.output(0, planar(region.anchor.shape))
    taken = kernel.input(1, _flat_planes(x.shape))
    windows = windows_of(op, source.shape[1:], into.shape[1:])
    zero = k.const(0, v.dtype)

    def window(p: Int, at: Place) -> None:
        found = _search(kernel, windows, source, p, at).get()
        with k.when(k.cmp("ge", found, 0)):
            k.store(into, (p, *at), k.load(taken, (p, k.index(found, 0, taken.shape[1]))))
        with k.otherwise():
            k.store(into, (p, *at), zero)

    with spread(k, "plane", into.shape) as p:
        nest(k, into.shape[1:], lambda at: window(p, at))
    return [kernel.built()]


def _flat_planes(shape: Sequence[Dim]) -> tuple[Dim, Dim]:
    return shape[0] * shape[1], dim_product(shape[2:])


def max_pool_grad(region: Region, target: Target) -> list[KernelCall]:
    """MaxPoolGrad: each dy added at the maximum of its window."""
    assert region.anchor is not None and isinstance(region.anchor.op, MaxPoolGrad)
    op, (x, dy) = region.anchor.op, region.anchor.inputs
    if _tiles(op, x.shape[2:], dy.shape[2:]):
        return [_put_at_maxima(region, target)]
    kernel = Kernel(region, target, "max_pool_grad")
    k = kernel.k
    source, slopes = kernel.input(0, planar(x.shape)), kernel.input(1, planar(dy.shape))
    flat = _flat_planes(x.shape)
    total = Temp(TensorType(f32, flat)) if is_half(x.dtype) else None
    sums = kernel.output(0, flat, "rw") if total is None else kernel.temp(total, "rw")
    result = None if total is None else kernel.output(0, flat)
    windows = windows_of(op, source.shape[1:], slopes.shape[1:])
    add = _Adder(kernel, windows, source, slopes, sums)
    known = all(size.is_const for size in (*windows.image, *windows.counts))
    with spread(k, "plane", source.shape) as p:
        fill_row(k, sums, (p,), as_int(0), sums.shape[1], k.const(0, sums.dtype))
        if known and goes_by_vectors(windows) and windows.row_count() <= UNROLLED_ROWS:
            nest(
                k,
                slopes.shape[1:-1],
                lambda row: known_pieces(k, windows, LANES, lambda part: add.piece(p, row, part), False),
            )
        else:
            nest(k, slopes.shape[1:], lambda at: add.single(p, at))
        if result is not None:
            sweep(
                k,
                sums.shape[1],
                LANES,
                lambda j, n: k.store(result, (p, j), k.cast(k.load(sums, (p, j), n), result.dtype)),
            )
    return [kernel.built()]


class _Adder:
    """Adds the dy of windows at the places of their maxima."""

    def __init__(self, kernel: Kernel, windows: Windows, x: Buffer, dy: Buffer, sums: Buffer) -> None:
        self.kernel, self.windows, self.x, self.dy, self.sums = kernel, windows, x, dy, sums
        self.places = kernel.k.scratch("places", i32, (LANES,))

    def single(self, p: Int, at: Place) -> None:
        """One window."""
        k = self.kernel.k
        found = _search(self.kernel, self.windows, self.x, p, at).get()
        with k.when(k.cmp("ge", found, 0)):
            self._add(p, found, at)

    def _add(self, p: Int, place: LoopValue, at: Place) -> None:
        k, sums = self.kernel.k, self.sums
        into = (p, k.index(place, 0, sums.shape[1]))
        k.store(sums, into, k.add(k.load(sums, into), self.kernel.widened(k.load(self.dy, (p, *at)))))

    def piece(self, p: Int, row: Place, part: Piece) -> None:
        """Neighbouring windows of a row: their places by vectors, then the additions in order."""
        k = self.kernel.k
        k.store(self.places, (as_int(0),), self._found(p, row, part))
        with k.loop("lane", 0, part.lanes) as lane:
            self._add(p, k.cast(k.load(self.places, (lane,)), i64), (*row, part.begin + lane))

    def _found(self, p: Int, row: Place, part: Piece) -> LoopValue:
        k, windows = self.kernel.k, self.windows
        first = windows.first((*row, part.begin), len(windows.image) - 1)
        best: LoopValue | None = None
        found: LoopValue | None = None
        for outer in windows.clamped_rows(row):
            vectors = _loaded(self.kernel, self.x, (p, *outer), first, part)
            begin = k.splat(k.value(windows.flat((*outer, first)), i32), part.lanes)
            for tap in range(windows.reach[-1]):
                positions = part.positions(windows, tap, True)
                value = part.picked(k, vectors, positions, k.splat(k.const(0, computing(self.x.dtype)), part.lanes))
                place = k.add(begin, k.const([int(q or 0) for q in positions], i32))
                if best is None or found is None:
                    best, found = value, place
                    continue
                better = beats(k, value, best)
                best, found = k.select(better, value, best), k.select(better, place, found)
        assert found is not None
        return found


def _loaded(kernel: Kernel, x: Buffer, row: Sequence[Int], first: Int, part: Piece) -> Callable[[int], LoopValue]:
    """The vectors of a piece's span in one row, each loaded once."""
    memo: dict[int, LoopValue] = {}

    def vector(start: int) -> LoopValue:
        if start not in memo:
            memo[start] = kernel.widened(kernel.k.load(x, (*row, first + start), part.lanes))
        return memo[start]

    return vector


def _tiles(op: MaxWindow, image: Sequence[Dim], counts: Sequence[Dim]) -> bool:
    """True if the windows lie side by side in images of known size, so that every element has at most one."""
    plain = op.window == op.stride and not any(op.pad) and all(d == 1 for d in op.dilation)
    small = op.stride[-1] <= MAX_STRIDE and len(op.window) <= 3
    taps = 1
    for n in op.window:
        taps *= n
    fits = all(isinstance(s, int) and isinstance(c, int) and 0 < c * w <= s
               for s, c, w in zip(image, counts, op.window, strict=True))  # fmt: skip
    return plain and small and taps <= UNROLLED_ROWS and fits


def _put_at_maxima(region: Region, target: Target) -> KernelCall:
    """MaxPoolGrad of windows side by side."""
    assert region.anchor is not None and isinstance(region.anchor.op, MaxPoolGrad)
    op, (x, dy) = region.anchor.op, region.anchor.inputs
    kernel = Kernel(region, target, "max_pool_grad_tiled")
    k = kernel.k
    source, slopes = kernel.input(0, planar(x.shape)), kernel.input(1, planar(dy.shape))
    into = kernel.output(0, planar(x.shape))
    windows = windows_of(op, source.shape[1:], slopes.shape[1:])
    covered = [int(c) * w for c, w in zip(slopes.shape[1:], op.window, strict=True)]
    with spread(k, "plane", into.shape) as p:
        _zeros_beside(k, into, covered, (p,))
        nest(k, slopes.shape[1:-1], lambda row: known_pieces(
            k, windows, LANES, lambda part: _put(kernel, windows, (source, slopes, into), p, row, part)))  # fmt: skip
    return kernel.built()


def _zeros_beside(k: Builder, into: Buffer, covered: Sequence[int], index: tuple[Int, ...]) -> None:
    """Zeros where no window is: on each axis behind what the windows cover."""
    zero = k.const(0, into.dtype)
    for axis in range(len(covered)):
        beyond = int(into.shape[axis + 1]) - covered[axis]
        if not beyond:
            continue
        before = [as_int(c) for c in covered[:axis]]
        rest = into.shape[axis + 2 :]

        def fill(at: tuple[Int, ...], axis: int = axis, beyond: int = beyond) -> None:
            head, tail = at[:axis], at[axis:]
            if axis == len(covered) - 1:
                fill_row(k, into, (*index, *head), as_int(covered[axis]), as_int(beyond), zero)
            else:
                place = (*index, *head, covered[axis] + tail[0], *tail[1:])
                fill_row(k, into, place, as_int(0), into.shape[-1], zero)

        inner = [] if axis == len(covered) - 1 else [as_int(beyond), *rest[:-1]]
        nest(k, [*before, *inner], fill)


def _put(
    kernel: Kernel, windows: Windows, buffers: tuple[Buffer, Buffer, Buffer], p: Int, row: Place, part: Piece
) -> None:
    """One piece: dy at the first maximum of each window, zeros at its other elements."""
    k, (x, dy, into) = kernel.k, buffers
    width, n = windows.reach[-1], part.lanes
    first = windows.first((*row, part.begin), len(windows.image) - 1)
    zero = k.splat(k.const(0, computing(x.dtype)), n)
    rows = windows.clamped_rows(row)
    best: LoopValue | None = None
    which: LoopValue | None = None
    for r, outer in enumerate(rows):
        vectors = _loaded(kernel, x, (p, *outer), first, part)
        for t in range(width):
            value = part.picked(k, vectors, part.positions(windows, t, True), zero)
            number = k.const(r * width + t, i32, n)
            if best is None or which is None:
                best, which = value, number
                continue
            better = beats(k, value, best)
            best, which = k.select(better, value, best), k.select(better, number, which)
    assert which is not None
    slope = k.load(dy, (p, *row, part.begin), n)
    nothing = k.const(0, into.dtype, n)
    for r, outer in enumerate(rows):
        own = [k.select(k.cmp("eq", which, r * width + t), slope, nothing) for t in range(width)]
        for j, vector in enumerate(interleaved(k, own)):
            k.store(into, (p, *outer, first + j * n), vector)


def avg_pool_grad(region: Region, target: Target) -> list[KernelCall]:
    """AvgPoolGrad: for each element the sum of dy / divisor over the windows that meet it."""
    assert region.anchor is not None and isinstance(region.anchor.op, AvgPoolGrad)
    op, (dy,) = region.anchor.op, region.anchor.inputs
    kernel = Kernel(region, target, "avg_pool_grad")
    k = kernel.k
    slopes, into = kernel.input(0, planar(dy.shape)), kernel.output(0, planar(region.anchor.shape))
    windows = windows_of(op, into.shape[1:], slopes.shape[1:])
    share = _Shares(kernel, op, windows, slopes, into)
    with spread(k, "plane", into.shape) as p:
        if op.stride[-1] <= MAX_STRIDE:
            nest(k, into.shape[1:-1], lambda row: share.row(p, row))
        else:
            nest(k, into.shape[1:], lambda at: share.single(p, at))
    return [kernel.built()]


class _Shares:
    """Sums the shares of windows in the elements that they meet."""

    def __init__(self, kernel: Kernel, op: AvgPoolGrad, windows: Windows, dy: Buffer, into: Buffer) -> None:
        self.kernel, self.op, self.windows, self.dy, self.into = kernel, op, windows, dy, into
        self.zero = kernel.k.const(0, computing(dy.dtype))
        stride, pad, reach = windows.stride[-1], windows.pad[-1], windows.reach[-1]
        # Element stride * j + r lies in the windows j + low[r] .. j + high[r].
        self.low = [-((reach - 1 - r - pad) // stride) for r in range(stride)]
        self.high = [(r + pad) // stride for r in range(stride)]

    def single(self, p: Int, at: Place) -> None:
        """One element."""
        k, total = self.kernel.k, self.kernel.k.reg(self.zero)

        def window(index: Place) -> None:
            count = k.value(divisor(self.op, self.windows, index), self.zero.dtype)
            total.set(k.add(total.get(), k.div(self.kernel.widened(k.load(self.dy, (p, *index))), count)))

        self.windows.meeting(k, at, window)
        k.store(self.into, (p, *at), k.cast(total.get(), self.into.dtype))

    def row(self, p: Int, row: Place) -> None:
        """A row of elements: by vectors where all windows of all lanes exist and are whole, else one by one."""
        k, windows = self.kernel.k, self.windows
        stride, size, count = windows.stride[-1], windows.image[-1], windows.counts[-1]
        # Before `begin` and from `cut` on, an element may meet a window that leaves the image: the divisors differ.
        begin = max(0, -(-windows.pad[-1] // stride) - min(self.low))
        cut = imin(count, (size + windows.pad[-1] - windows.reach[-1]) // stride + 1) - max(self.high)
        alike = imin(cut, size // stride) - begin

        def singles(name: str, first: Int, stop: Int) -> None:
            with k.loop(name, first, stop) as i:
                self.single(p, (*row, i))

        if alike.is_const and alike.const > 0:
            singles("left", as_int(0), as_int(begin * stride))
            sweep(k, alike, LANES, lambda j, n: self.piece(p, row, begin + j, n))
            singles("right", (begin + alike) * stride, size)
        elif alike.is_const:
            singles("all", as_int(0), size)
        else:
            with k.when(k.cmp("ge", alike, LANES)):
                singles("left", as_int(0), imin(begin * stride, size))
                sure = k.index(k.value(alike, i64), LANES, alike + 1)  # the same number, with bounds for proofs
                long_sweep(k, sure, LANES, lambda j, n: self.piece(p, row, begin + j, n))
                singles("right", (begin + sure) * stride, size)
            with k.otherwise():
                singles("all", as_int(0), size)

    def piece(self, p: Int, row: Place, j: Int, n: int) -> None:
        """The elements stride * j .. stride * (j + n)."""
        k = self.kernel.k
        totals = {c: k.reg(k.splat(self.zero, n)) for c in range(min(self.low), max(self.high) + 1)}

        def add(index: Place) -> None:
            count = divisor(self.op, self.windows, index) * self.op.window[-1]
            share = k.splat(k.div(k.const(1, self.zero.dtype), k.value(count, self.zero.dtype)), n)
            for c, total in totals.items():
                more = self.kernel.widened(k.load(self.dy, (p, *index, j + c), n))
                total.set(k.add(total.get(), k.mul(more, share)))

        self.windows.meeting(k, row, add)
        sums = {c: total.get() for c, total in totals.items()}
        parts: list[LoopValue] = []
        for low, high in zip(self.low, self.high, strict=True):
            part = k.splat(self.zero, n)
            for c in range(low, high + 1):
                part = sums[c] if c == low else k.add(part, sums[c])
            parts.append(part)
        for i, vector in enumerate(interleaved(k, [k.cast(part, self.into.dtype) for part in parts])):
            k.store(self.into, (p, *row, j * self.windows.stride[-1] + i * n), vector)
