"""Pools and their gradients, plane by plane.

Every image of a batch and channel is a plane of its own, and threads split the planes. A window's taps are tested against
the border only where the geometry cannot prove that they are inside. The gradients of maxima look the maxima up again and
add in row-major order of the windows; those of means gather the windows that meet an element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region, Temp, is_half
from chainrule.backends.llvm.kernels.shaping_rows import nest, spread
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, Reg, as_int, ceil_div, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.dims import Dim
from chainrule.ir.types import DType, TensorType, f32, i64
from chainrule.ops.pool import AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad, MaxPoolTake, MaxWindow

Place = tuple[Int, ...]


@dataclass(frozen=True)
class Geometry:
    """Windows over an image: everything by axis."""

    image: tuple[Int, ...]
    counts: tuple[Int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]

    def taps(self, k: Builder, window: Place, body: Callable[[Place], None]) -> None:
        """body(place) for every element of a window that lies in the image, in row-major order."""
        self._taps(k, window, body, ())

    def _taps(self, k: Builder, window: Place, body: Callable[[Place], None], place: Place) -> None:
        a = len(place)
        if a == len(self.image):
            body(place)
            return
        first = window[a] * self.stride[a] - self.pad[a]
        reach, by = self.window[a], self.dilation[a]
        low = imax(0, ceil_div(-first, by))
        high = imin(reach, ceil_div(self.image[a] - first, by))
        with k.loop(f"t{a}", low, high) as t:
            self._taps(k, window, body, (*place, first + t * by))


def _flat(k: Builder, image: Sequence[Int], place: Place) -> Int:
    at = as_int(0)
    for size, i in zip(image, place, strict=True):
        at = at * size + i
    return at


def _planes(kernel: Kernel, counts: Sequence[Int], body: Callable[[Int], None]) -> None:
    """body(n, c) for every plane, in parallel."""
    with spread(kernel.k, "plane", counts) as plane:
        body(plane)


def _planar(shape: Sequence[Dim]) -> tuple[Dim, ...]:
    """[N, C, *S] as [N*C, *S]."""
    return (shape[0] * shape[1], *shape[2:])


def _maxima(kernel: Kernel, op: MaxWindow, x: Buffer, counts: Sequence[Int]) -> tuple[Geometry, Callable[[Int, Place], tuple[Reg, Reg]]]:
    """The geometry, and a function that emits the search of one window: (its maximum, the maximum's flat place or -1)."""
    k = kernel.k
    geometry = Geometry(x.shape[1:], tuple(counts), op.window, op.stride, op.pad, op.dilation)
    least = _least(k, x.dtype)

    def search(plane: Int, window: Place) -> tuple[Reg, Reg]:
        best, found = k.reg(least), k.reg(k.const(-1, i64))

        def tap(place: Place) -> None:
            value = kernel.widened(k.load(x, (plane, *place)))
            better = k.or_(k.cmp("gt", value, best.get()), k.cmp("lt", found.get(), 0))
            if value.dtype.is_float:
                better = k.or_(better, k.and_(k.cmp("ne", value, value), k.cmp("eq", best.get(), best.get())))
            best.set(k.select(better, value, best.get()))
            found.set(k.select(better, k.value(_flat(k, geometry.image, place), i64), found.get()))

        geometry.taps(k, window, tap)
        return best, found

    return geometry, search


def _least(k: Builder, dtype: DType) -> LoopValue:
    """The smallest value of a type, widened."""
    if dtype.is_float:
        return k.const(float("-inf"), f32 if is_half(dtype) else dtype)
    return k.const(-(1 << (dtype.bits - 1)) if dtype.is_signed else 0, dtype)


def max_pool(region: Region, target: Target) -> list[KernelCall]:
    """MaxPool."""
    assert region.anchor is not None and isinstance(region.anchor.op, MaxPool)
    op, (x,) = region.anchor.op, region.anchor.inputs
    kernel = Kernel(region, target, "max_pool", scalar=True)
    k = kernel.k
    source = kernel.input(0, _planar(x.shape))
    into = kernel.output(0, _planar(region.anchor.shape))
    _, search = _maxima(kernel, op, source, into.shape[1:])

    def plane(p: Int) -> None:
        def window(at: Place) -> None:
            best, _ = search(p, at)
            k.store(into, (p, *at), k.cast(best.get(), into.dtype))

        nest(k, into.shape[1:], window)

    _planes(kernel, into.shape, plane)
    return [kernel.built()]


def max_pool_take(region: Region, target: Target) -> list[KernelCall]:
    """MaxPoolTake: v at the maxima of x."""
    assert region.anchor is not None and isinstance(region.anchor.op, MaxPoolTake)
    op, (x, v) = region.anchor.op, region.anchor.inputs
    kernel = Kernel(region, target, "max_pool_take", scalar=True)
    k = kernel.k
    source = kernel.input(0, _planar(x.shape))
    taken = kernel.input(1, (_planar(x.shape)[0], *_image(x.shape)))
    into = kernel.output(0, _planar(region.anchor.shape))
    _, search = _maxima(kernel, op, source, into.shape[1:])
    zero = k.const(0, v.dtype)

    def plane(p: Int) -> None:
        def window(at: Place) -> None:
            _, found = search(p, at)
            with k.when(k.cmp("ge", found.get(), 0)):
                k.store(into, (p, *at), k.load(taken, (p, k.index(found.get(), 0, taken.shape[1]))))
            with k.otherwise():
                k.store(into, (p, *at), zero)

        nest(k, into.shape[1:], window)

    _planes(kernel, into.shape, plane)
    return [kernel.built()]


def _image(shape: Sequence[Dim]) -> tuple[Dim]:
    size: Dim = 1
    for d in shape[2:]:
        size = size * d
    return (size,)


def max_pool_grad(region: Region, target: Target) -> list[KernelCall]:
    """MaxPoolGrad: each dy added at the maximum of its window."""
    assert region.anchor is not None and isinstance(region.anchor.op, MaxPoolGrad)
    op, (x, dy) = region.anchor.op, region.anchor.inputs
    kernel = Kernel(region, target, "max_pool_grad", scalar=True)
    k = kernel.k
    source = kernel.input(0, _planar(x.shape))
    slopes = kernel.input(1, _planar(dy.shape))
    flat = (_planar(x.shape)[0], *_image(x.shape))
    total = Temp(TensorType(f32, flat)) if is_half(x.dtype) else None
    sums = kernel.output(0, flat, "rw") if total is None else kernel.temp(total, "rw")
    result = None if total is None else kernel.output(0, flat)
    _, search = _maxima(kernel, op, source, slopes.shape[1:])
    zero = k.const(0, sums.dtype)

    def plane(p: Int) -> None:
        with k.loop("z", 0, sums.shape[1]) as z:
            k.store(sums, (p, z), zero)

        def window(at: Place) -> None:
            _, found = search(p, at)
            with k.when(k.cmp("ge", found.get(), 0)):
                place = (p, k.index(found.get(), 0, sums.shape[1]))
                k.store(sums, place, k.add(k.load(sums, place), kernel.widened(k.load(slopes, (p, *at)))))

        nest(k, slopes.shape[1:], window)
        if result is not None:
            with k.loop("r", 0, sums.shape[1]) as r:
                k.store(result, (p, r), k.cast(k.load(sums, (p, r)), result.dtype))

    _planes(kernel, source.shape, plane)
    return [kernel.built()]


def _divisor(op: AvgPool | AvgPoolGrad, geometry: Geometry, window: Place) -> Int:
    """What the sum of a window is divided by."""
    rank, total = len(op.window), as_int(1)
    for a in range(rank):
        first = window[a] * op.stride[a] - op.pad[a]
        last = geometry.image[a] + (op.pad[a + rank] if op.count_include_pad else 0)
        stop = imin(first + op.window[a], last)
        total = total * (stop - (first if op.count_include_pad else imax(first, 0)))
    return total


def avg_pool(region: Region, target: Target) -> list[KernelCall]:
    """AvgPool: the sum of a window over its divisor."""
    assert region.anchor is not None and isinstance(region.anchor.op, AvgPool)
    op, (x,) = region.anchor.op, region.anchor.inputs
    kernel = Kernel(region, target, "avg_pool", scalar=True)
    k = kernel.k
    source = kernel.input(0, _planar(x.shape))
    into = kernel.output(0, _planar(region.anchor.shape))
    ones = (1,) * len(op.window)
    geometry = Geometry(source.shape[1:], into.shape[1:], op.window, op.stride, op.pad, ones)
    dtype = f32 if is_half(x.dtype) else x.dtype

    def plane(p: Int) -> None:
        def window(at: Place) -> None:
            total = k.reg(k.const(0, dtype))
            geometry.taps(k, at, lambda place: total.set(k.add(total.get(), kernel.widened(k.load(source, (p, *place))))))
            mean = k.div(total.get(), k.value(_divisor(op, geometry, at), dtype))
            k.store(into, (p, *at), k.cast(mean, into.dtype))

        nest(k, into.shape[1:], window)

    _planes(kernel, into.shape, plane)
    return [kernel.built()]


def avg_pool_grad(region: Region, target: Target) -> list[KernelCall]:
    """AvgPoolGrad: for each element the sum of dy / divisor over the windows that meet it."""
    assert region.anchor is not None and isinstance(region.anchor.op, AvgPoolGrad)
    op, (dy,) = region.anchor.op, region.anchor.inputs
    kernel = Kernel(region, target, "avg_pool_grad", scalar=True)
    k = kernel.k
    slopes = kernel.input(0, _planar(dy.shape))
    into = kernel.output(0, _planar(region.anchor.shape))
    rank = len(op.window)
    geometry = Geometry(into.shape[1:], slopes.shape[1:], op.window, op.stride, op.pad, (1,) * rank)
    dtype = f32 if is_half(dy.dtype) else dy.dtype

    def plane(p: Int) -> None:
        def element(at: Place) -> None:
            total = k.reg(k.const(0, dtype))

            def window(index: Place) -> None:
                share = k.div(kernel.widened(k.load(slopes, (p, *index))), k.value(_divisor(op, geometry, index), dtype))
                total.set(k.add(total.get(), share))

            _windows_of(k, op, geometry, at, window, ())
            k.store(into, (p, *at), k.cast(total.get(), into.dtype))

        nest(k, into.shape[1:], element)

    _planes(kernel, into.shape, plane)
    return [kernel.built()]


def _windows_of(k: Builder, op: AvgPoolGrad, geometry: Geometry, at: Place, body: Callable[[Place], None],
                index: Place) -> None:  # fmt: skip
    """body(window) for every window that meets an element."""
    a = len(index)
    if a == len(at):
        body(index)
        return
    place = at[a] + op.pad[a]
    low = imax(0, ceil_div(place - op.window[a] + 1, op.stride[a]))
    high = imin(geometry.counts[a], place // op.stride[a] + 1)
    with k.loop(f"w{a}", low, high) as w:
        _windows_of(k, op, geometry, at, body, (*index, w))
