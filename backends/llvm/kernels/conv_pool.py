"""Pools of images with their channels last: a vector of channels at a time, windows cut at the border by the loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.backends.llvm.kernels.pack import spread_loop
from chainrule.backends.llvm.kernels.pool import computing, larger, least
from chainrule.backends.llvm.kernels.region import LANES, Kernel, KernelCall, Region
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Builder, Int, as_int, ceil_div, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.types import DType
from chainrule.ops.lowered import PoolLast


def pool_last(region: Region, target: Target) -> list[KernelCall]:
    """One kernel for a pool; elementwise producers are computed while reading, consumers while writing."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, PoolLast)
    op, (x,) = anchor.op, anchor.inputs
    kernel = Kernel(region, target, f"pool_{region.name}"[:80])
    k, rank = kernel.k, len(op.window)
    batch, *image, channels = kernel.dims(x.tensor.shape)
    sizes = kernel.dims(anchor.tensor.shape[1:-1])
    with spread_loop(k, (batch, *sizes)) as (n, *at):
        ranges = [_range(op, axis, at[axis], image[axis]) for axis in range(rank)]
        divisor = _divisor(k, op, at, image, computing(x.tensor.dtype)) if op.kind == "avg" else None

        def pixel(c: Int, lanes: int, mask: Int | None) -> None:
            dtype = computing(x.tensor.dtype)
            start = k.splat(least(k, dtype) if op.kind == "max" else k.const(0, dtype), lanes)
            total = k.reg(start)

            def tap(place: Sequence[Int]) -> None:
                value = kernel.fit(kernel.read(x, (n, *place, c), lanes, mask), lanes)
                total.set(larger(k, total.get(), value) if op.kind == "max" else k.add(total.get(), value))

            _taps(k, op, at, ranges, [], tap)
            found = total.get()
            if divisor is not None:
                found = k.div(found, k.splat(divisor, lanes))
            kernel.write((n, *at, c), {anchor: k.cast(found, anchor.tensor.dtype)}, lanes, mask)

        whole = channels // LANES
        if not (whole.is_const and whole.const == 0):
            with k.loop("c", 0, whole) as c:
                pixel(c * LANES, LANES, None)
        rest = channels - whole * LANES
        if rest.is_const:
            if rest.const:
                pixel(whole * LANES, LANES if rest.const > LANES // 2 else LANES // 2, rest)
        else:
            with k.when(k.cmp("gt", rest, 0)):
                pixel(whole * LANES, LANES, rest)
    return [kernel.built("channels last")]


def _range(op: PoolLast, axis: int, at: Int, size: Int) -> tuple[Int, Int]:
    """The taps of a window that lie inside the image along an axis: from, to."""
    start = at * op.stride[axis] - op.pad[axis]
    low = ceil_div(imax(0, 0 - start), op.dilation[axis])
    high = imin(op.window[axis], ceil_div(imax(0, size - start), op.dilation[axis]))
    return low, high


def _taps(k: Builder, op: PoolLast, at: Sequence[Int], ranges: Sequence[tuple[Int, Int]], place: list[Int],
          body: Callable[[Sequence[Int]], None]) -> None:  # fmt: skip
    """body at every place of the image that the window meets."""
    axis = len(place)
    if axis == len(ranges):
        body(place)
        return
    low, high = ranges[axis]
    with k.loop(f"w{axis}", low, high) as tap:
        where = at[axis] * op.stride[axis] - op.pad[axis] + tap * op.dilation[axis]
        _taps(k, op, at, ranges, [*place, where], body)


def _divisor(k: Builder, op: PoolLast, at: Sequence[Int], image: Sequence[Int], dtype: DType) -> LoopValue:
    """What a window's sum is divided by."""
    total = as_int(1)
    rank = len(image)
    for axis in range(rank):
        start = at[axis] * op.stride[axis] - op.pad[axis]
        end = image[axis] + (op.pad[axis + rank] if op.count_include_pad else 0)
        first = start if op.count_include_pad else imax(start, 0)
        total = total * (imin(start + op.window[axis], end) - first)
    return k.value(total, dtype)
