"""The gradients of pools of images with their channels last: a vector of channels at a time.

Maxima: every window finds the tap of its first maximum, lane by lane, and adds its dy there; where windows lie side by
side it stores instead, dy at the maximum and 0 at the other taps. Threads split images and blocks of channels, which no
window crosses. Means: every element gathers the windows that meet it; threads split the rows of the images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from chainrule.backends.llvm.kernels.indexing import fill_zero
from chainrule.backends.llvm.kernels.pack import spread_loop
from chainrule.backends.llvm.kernels.pool import beats, computing, divisor, least, windows_of, with_images
from chainrule.backends.llvm.kernels.pool_windows import Place, Windows
from chainrule.backends.llvm.kernels.region import LANES, Kernel, KernelCall, Region, Temp, is_half
from chainrule.backends.llvm.kernels.shaping_rows import nest
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Int, as_int, ceil_div, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.types import TensorType, f32, i32
from chainrule.ops.lowered_pool import AvgPoolGradLast, MaxPoolGradLast
from chainrule.ops.pool import AvgPoolGrad

UNROLLED_TAPS = 16


def max_pool_grad_last(region: Region, target: Target) -> list[KernelCall]:
    """MaxPoolGradLast."""
    assert region.anchor is not None and isinstance(region.anchor.op, MaxPoolGradLast)
    op, (x, dy) = region.anchor.op, region.anchor.inputs
    if _lies_beside(op):
        covered = all(isinstance(s, int) and s == t * w for s, t, w in
                      zip(x.shape[1:-1], dy.shape[1:-1], op.window, strict=True))  # fmt: skip
        return [*([] if covered else [fill_zero(region, target, None)]), _put(region, target)]
    kernel = Kernel(region, target, "max_pool_grad_last")
    k = kernel.k
    source, slopes = kernel.input(0), kernel.input(1)
    windows = windows_of(op.first, source.shape[1:-1], slopes.shape[1:-1])
    total = Temp(TensorType(f32, x.shape)) if is_half(x.dtype) else None
    sums = kernel.output(0, mode="rw") if total is None else kernel.temp(total)
    result = None if total is None else kernel.output(0)
    # Few images are split further, by vectors of channels; many are not, because whole lines of memory go faster.
    few = isinstance(x.shape[0], int) and x.shape[0] < 4
    wide = LANES if few else 4 * LANES
    with spread_loop(k, (source.shape[0], ceil_div(source.shape[-1], wide))) as (n, block):
        own = _Lanes(kernel, windows, (source, slopes, sums), n, block * wide, wide)
        nest(k, windows.image, own.clear)
        if all(d == 1 for d in op.dilation) and math.prod(op.window) <= UNROLLED_TAPS:
            with_images(k, windows, lambda: nest(k, windows.counts, own.add), lambda: None)
        else:
            nest(k, windows.counts, own.add_by_loops)
        if result is not None:
            into = result
            nest(k, windows.image, lambda at: own.round_to(at, into))
    return [kernel.built("channels last")]


def _lies_beside(op: MaxPoolGradLast) -> bool:
    """True if windows lie side by side, so that every element has at most one."""
    plain = op.window == op.stride and not any(op.pad) and all(d == 1 for d in op.dilation) and not op.ceil_mode
    return plain and math.prod(op.window) <= UNROLLED_TAPS


def _put(region: Region, target: Target) -> KernelCall:
    """The gradient of windows side by side: each stores its elements, row of windows by row of windows."""
    assert region.anchor is not None and isinstance(region.anchor.op, MaxPoolGradLast)
    kernel = Kernel(region, target, "max_pool_grad_last_put")
    k = kernel.k
    source, slopes, into = kernel.input(0), kernel.input(1), kernel.output(0, mode="rw")
    windows = windows_of(region.anchor.op.first, source.shape[1:-1], slopes.shape[1:-1])
    with spread_loop(k, (source.shape[0], windows.counts[0])) as (n, row):
        own = _Lanes(kernel, windows, (source, slopes, into), n, as_int(0), None)
        nest(k, windows.counts[1:], lambda rest: own.put((row, *rest)))
    return kernel.built("channels last")


class _Lanes:
    """One image and one vector of channels: windows, and what is added at their maxima."""

    def __init__(self, kernel: Kernel, windows: Windows, buffers: tuple[Buffer, Buffer, Buffer], n: Int, begin: Int,
                 wide: int | None) -> None:  # fmt: skip
        self.kernel, self.k, self.windows = kernel, kernel.k, windows
        self.x, self.dy, self.sums = buffers
        self.n, self.begin = n, begin
        channels = self.x.shape[-1]
        self.count = channels if wide is None else imin(wide, channels - begin)

    def _vectors(self, body: Callable[[Int, Int], None]) -> None:
        """body(first channel, valid lanes) for the channels of this part."""
        if self.count.is_const and self.count.const <= LANES:
            body(self.begin, self.count)
            return
        with self.k.loop("c", 0, ceil_div(self.count, LANES)) as v:
            body(self.begin + v * LANES, imin(LANES, self.count - v * LANES))

    def _load(self, buffer: Buffer, place: Sequence[Int], c: Int, mask: Int) -> LoopValue:
        return self.kernel.widened(self.k.load(buffer, (self.n, *place, c), LANES, mask=mask))

    def _store(self, buffer: Buffer, place: Sequence[Int], c: Int, mask: Int, value: LoopValue) -> None:
        self.k.store(buffer, (self.n, *place, c), self.k.cast(value, buffer.dtype), mask=mask)

    def clear(self, place: Place) -> None:
        """Zeros at an element."""
        zero = self.k.const(0, self.sums.dtype, LANES)
        self._vectors(lambda c, mask: self._store(self.sums, place, c, mask, zero))

    def round_to(self, place: Place, result: Buffer) -> None:
        """The sum at an element, rounded to the result."""
        self._vectors(lambda c, mask: self._store(result, place, c, mask, self._load(self.sums, place, c, mask)))

    def _places(self, window: Place) -> list[Place]:
        """The taps of a window, those outside of the image moved to its nearest element inside."""
        rows = self.windows.clamped_rows(window)
        last = len(self.windows.image) - 1
        first = self.windows.first(window, last)
        columns = [imin(imax(first + t, 0), self.windows.image[last] - 1) for t in range(self.windows.reach[last])]
        return [(*row, column) for row in rows for column in columns]

    def _first_maximum(self, places: Sequence[Place], c: Int, mask: Int) -> LoopValue:
        """Which of the taps is the first maximum, by lane."""
        k = self.k
        best, which = self._load(self.x, places[0], c, mask), k.const(0, i32, LANES)
        for t, place in enumerate(places[1:], start=1):
            value = self._load(self.x, place, c, mask)
            better = beats(k, value, best)
            best, which = k.select(better, value, best), k.select(better, k.const(t, i32, LANES), which)
        return which

    def add(self, window: Place) -> None:
        """Adds a window's dy at its maximum."""
        self._at_maximum(window, True)

    def put(self, window: Place) -> None:
        """Stores a window's dy at its maximum and 0 at its other taps: it has them alone."""
        self._at_maximum(window, False)

    def _at_maximum(self, window: Place, adds: bool) -> None:
        k, places = self.k, self._places(window)

        def vector(c: Int, mask: Int) -> None:
            which = self._first_maximum(places, c, mask)
            slope = self._load(self.dy, window, c, mask)
            for t, place in enumerate(places):
                share = k.select(k.cmp("eq", which, t), slope, k.const(0, slope.dtype))
                if adds:
                    share = k.add(self._load(self.sums, place, c, mask), share)
                self._store(self.sums, place, c, mask, share)

        self._vectors(vector)

    def add_by_loops(self, window: Place) -> None:
        """`add` for windows that are large or dilated."""
        k, windows = self.k, self.windows

        def number(place: Place) -> LoopValue:
            at = as_int(0)
            for axis, i in enumerate(place):
                at = at * (windows.reach[axis] * windows.dilation[axis]) + (i - windows.first(window, axis))
            return k.splat(k.value(at, i32), LANES)

        def vector(c: Int, mask: Int) -> None:
            best = k.reg(k.splat(least(k, self.x.dtype), LANES))
            found = k.reg(k.const(-1, i32, LANES))

            def look(place: Place) -> None:
                value = self._load(self.x, place, c, mask)
                better = k.or_(beats(k, value, best.get()), k.cmp("lt", found.get(), 0))
                best.set(k.select(better, value, best.get()))
                found.set(k.select(better, number(place), found.get()))

            windows.taps(k, window, look)
            slope = self._load(self.dy, window, c, mask)

            def add(place: Place) -> None:
                more = k.select(k.cmp("eq", found.get(), number(place)), slope, k.const(0, slope.dtype))
                self._store(self.sums, place, c, mask, k.add(self._load(self.sums, place, c, mask), more))

            windows.taps(k, window, add)

        self._vectors(vector)


def avg_pool_grad_last(region: Region, target: Target) -> list[KernelCall]:
    """AvgPoolGradLast."""
    assert region.anchor is not None and isinstance(region.anchor.op, AvgPoolGradLast)
    kernel = Kernel(region, target, "avg_pool_grad_last")
    k = kernel.k
    slopes, into = kernel.input(0), kernel.output(0)
    windows = windows_of(region.anchor.op.first, into.shape[1:-1], slopes.shape[1:-1])
    channels = into.shape[-1]
    group = 4 if channels.is_const and channels.const > 2 * LANES else 1
    with spread_loop(k, (into.shape[0], into.shape[1])) as (n, row):
        own = _Means(kernel, region.anchor.op.first, windows, slopes, into, n)

        def element(rest: Place) -> None:
            whole = channels // (group * LANES)
            with k.loop("c", 0, whole) as part:
                own.element((row, *rest), part * (group * LANES), [as_int(LANES)] * group)
            left = channels - whole * (group * LANES)
            if left.is_const:
                own.element((row, *rest), whole * (group * LANES), _masks(left.const))
            else:
                with k.when(k.cmp("gt", left, 0)):
                    own.element((row, *rest), whole * (group * LANES), [left])

        nest(k, into.shape[2:-1], element)
    return [kernel.built("channels last")]


def _masks(count: int) -> list[Int]:
    """The valid lanes of the vectors that hold so many elements."""
    return [as_int(min(LANES, count - c)) for c in range(0, count, LANES)]


class _Means:
    """The shares of means that elements of an image get."""

    def __init__(self, kernel: Kernel, op: AvgPoolGrad, windows: Windows, dy: Buffer, into: Buffer, n: Int) -> None:
        self.kernel, self.op, self.windows, self.dy, self.into, self.n = kernel, op, windows, dy, into, n

    def element(self, at: Place, c: Int, masks: Sequence[Int]) -> None:
        """Some vectors of channels of one element; masks: their valid lanes."""
        k, dtype = self.kernel.k, computing(self.dy.dtype)
        totals = [k.reg(k.const(0, dtype, LANES)) for _ in masks]
        if not totals:
            return

        def window(index: Place) -> None:
            share = k.splat(self._share(index), LANES)
            for v, (total, mask) in enumerate(zip(totals, masks, strict=True)):
                more = self.kernel.widened(k.load(self.dy, (self.n, *index, c + v * LANES), LANES, mask=mask))
                total.set(k.add(total.get(), k.mul(more, share)))

        self.windows.meeting(k, at, window)
        for v, (total, mask) in enumerate(zip(totals, masks, strict=True)):
            k.store(self.into, (self.n, *at, c + v * LANES), k.cast(total.get(), self.into.dtype), mask=mask)

    def _share(self, window: Place) -> LoopValue:
        """1 / divisor of a window; a number where every window counts alike."""
        k, op, dtype = self.kernel.k, self.op, computing(self.dy.dtype)
        if not op.ceil_mode and (op.count_include_pad or not any(op.pad)):
            return k.const(1 / math.prod(op.window), dtype)
        return k.div(k.const(1, dtype), k.value(divisor(op, self.windows, window), dtype))
