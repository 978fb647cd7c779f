"""Packing: matrices and kernels of convolutions into panels of columns, so that a register tile reads them in order.

Rows of columns are copied as vectors. A transposed matrix is turned in square blocks (16 x 16 for f32) within the
registers: vectors along its rows in, four rounds of shuffles, vectors along its columns out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region
from chainrule.backends.llvm.kernels.transpose import turned
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, ceil_div, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.graph import Value
from chainrule.ir.types import DType, i64
from chainrule.ops.conv import kernel_of
from chainrule.ops.lowered import PackKernel, PackPanels

# (row of the source, position along it, lanes, how many lanes are there) -> a vector along the source's rows
ReadRow = Callable[[Int, Int, int, Int], LoopValue]
# (position along the source's rows, first column of the vector within the panel, vector)
WriteRow = Callable[[Int, Int, LoopValue], None]


def pack_panels(region: Region, target: Target) -> list[KernelCall]:
    """One kernel that packs matrices."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, PackPanels)
    kernel = Kernel(region, target, "pack_panels")
    write_panels(kernel, anchor.inputs[0], kernel.output(0), anchor.op.transposed)
    return [kernel.built("transposed" if anchor.op.transposed else "")]


def write_panels(kernel: Kernel, source: Value, panels: Buffer, transposed: bool) -> None:
    """The loops that pack the matrices of a value: panels is [..., P, K, width]."""
    k = kernel.k
    *lead, rows, columns = kernel.dims(source.tensor.shape)
    n, depth = (rows, columns) if transposed else (columns, rows)
    count, width = panels.shape[-3], int(panels.shape[-1])
    k.flops = math.prod(panels.shape[1:], start=panels.shape[0])
    with spread_loop(k, (*lead, count)) as (*at, panel):
        first = panel * width

        def row(r: Int, c: Int, lanes: int, mask: Int) -> LoopValue:
            return _read_row(kernel, source, (*at, r, c), columns, lanes, mask)

        def store(step: Int, start: Int, vector: LoopValue) -> None:
            k.store(panels, (*at, panel, step, start), k.cast(vector, panels.dtype))

        if transposed:
            write_turned(k, width, panels.dtype, first, n, depth, row, store)
            return
        with k.loop("k", 0, depth) as step:
            for start, lanes in chunks(k, width, panels.dtype):
                store(step, start, row(step, first + start, lanes, n - first - start))


def _read_row(kernel: Kernel, source: Value, index: Sequence[Int], columns: Int, lanes: int, mask: Int) -> LoopValue:
    """A vector along the source's last axis, zero from the `mask`-th lane on."""
    k = kernel.k
    if columns == 1:
        index = (*index[:-1], as_int(0))
    found = kernel.read(source, index, lanes, mask)
    if found.lanes == lanes:
        return found
    # One number for all columns, or a last axis of one element: only the lanes that exist may hold it.
    inside = k.cmp("lt", k.iota(i64, lanes), k.splat(k.value(mask, i64), lanes))
    return k.select(inside, k.splat(found, lanes), k.const(0, found.dtype, lanes))


def chunks(k: Builder, width: int, dtype: DType) -> Iterator[tuple[Int, int]]:
    """(first column, lanes) of the vectors that make up a panel exactly; a loop of the kernel for those of one size."""
    start = 0
    for lanes in (16, 8, 4, 2, 1):
        count = (width - start) // lanes
        if lanes * dtype.itemsize > 64 or count == 0:
            continue
        if count == 1:
            yield as_int(start), lanes
        else:
            with k.loop("j", 0, count) as j:
                yield j * lanes + start, lanes
        start += count * lanes


def write_turned(k: Builder, width: int, dtype: DType, first: Int, n: Int, depth: Int, row: ReadRow,
                 store: WriteRow) -> None:  # fmt: skip
    """One panel of a matrix whose rows are the panel's columns: source row n becomes column n - first."""
    for start, lanes in chunks(k, width, dtype):
        def block(position: Int, steps: int, start: Int = start, lanes: int = lanes) -> None:
            """`steps` rows of the panel from a position on."""
            rest = depth - position
            vectors: list[LoopValue] = []
            for i in range(lanes):
                there = imin(rest, (n - first - start - i) * lanes)
                vectors.append(row(imin(first + start + i, n - 1), position, lanes, there))
            for j, vector in enumerate(turned(k, vectors)[:steps]):
                store(position + j, start, vector)

        def scalars(start: Int = start, lanes: int = lanes) -> None:
            with k.loop("s", 0, depth) as position, k.loop("c", 0, lanes) as c:
                column = first + start + c
                store(position, start + c, row(imin(column, n - 1), position, 1, n - column))

        if not depth.is_const:
            with k.when(k.cmp("ge", depth, lanes)):
                length = k.index(k.value(depth, i64), lanes, depth + 1)  # the same number, with bounds for proofs
                with k.loop("kb", 0, ceil_div(length, lanes)) as at:
                    block(imin(at * lanes, length - lanes), lanes)  # the last one overlaps the one before it
            with k.otherwise():
                scalars()
            continue
        whole, tail = divmod(depth.const, lanes)
        if whole:
            with k.loop("kb", 0, whole) as at:
                block(at * lanes, lanes)
        if tail:
            block(as_int(whole * lanes), tail)


def pack_kernel(region: Region, target: Target) -> list[KernelCall]:
    """One kernel that packs the weight of a convolution, forward or for the gradient of its input."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, PackKernel)
    op = anchor.op
    (w,) = anchor.inputs
    kernel = Kernel(region, target, "pack_kernel")
    taps = math.prod(kernel_of(w.tensor))
    outs, ins = kernel.dims(w.tensor.shape[:2])
    part = outs // op.groups
    _, count, _, width = kernel.dims(anchor.tensor.shape)
    inner = part if op.backward else ins
    panels = kernel.output(0, (op.groups, count, taps, inner, width))
    k = kernel.k
    with spread_loop(k, (as_int(op.groups), count)) as (group, panel):
        if op.backward:
            _pack_backward(kernel, w, panels, group, panel, (part, ins), taps)
        else:
            _pack_forward(kernel, w, panels, group, panel, (part, ins), taps)
    return [kernel.built()]


def _pack_forward(kernel: Kernel, w: Value, panels: Buffer, group: Int, panel: Int, sizes: tuple[Int, Int],
                  taps: int) -> None:  # fmt: skip
    """Columns are output channels; a source row holds [input channel, tap]."""
    k, (part, ins), width = kernel.k, sizes, int(panels.shape[-1])
    depth = ins * taps
    source = kernel.input(kernel.region.body.inputs.index(w), (part * panels.shape[0], depth))

    def row(o: Int, c: Int, lanes: int, mask: Int) -> LoopValue:
        return kernel.widened(k.load(source, (group * part + o, c), lanes, mask=mask))

    def store(step: Int, start: Int, vector: LoopValue) -> None:
        k.store(panels, (group, panel, step % taps, step // taps, start), vector)

    write_turned(k, width, panels.dtype, panel * width, part, depth, row, store)


def _pack_backward(kernel: Kernel, w: Value, panels: Buffer, group: Int, panel: Int, sizes: tuple[Int, Int],
                   taps: int) -> None:  # fmt: skip
    """Columns are input channels, rows are output channels under each tap, the taps in reverse order."""
    k, (part, ins), width = kernel.k, sizes, int(panels.shape[-1])
    source = kernel.input(kernel.region.body.inputs.index(w), (part * panels.shape[0], ins, taps))
    with k.loop("o", 0, part) as o:

        def row(c: Int, tap: Int, lanes: int, mask: Int) -> LoopValue:
            return kernel.widened(k.load(source, (group * part + o, c, tap), lanes, mask=mask))

        def store(tap: Int, start: Int, vector: LoopValue) -> None:
            k.store(panels, (group, panel, taps - 1 - tap, o, start), vector)

        write_turned(k, width, panels.dtype, panel * width, ins, as_int(taps), row, store)


@contextmanager
def spread_loop(k: Builder, extents: Sequence[Int]) -> Iterator[list[Int]]:
    """The parallel loop over a grid in row-major order; gives the index of each axis.

    One place alone is no parallel loop: nothing would tell its iterations apart.
    """
    total = math.prod(extents, start=as_int(1))
    alone = total.is_const and total.const <= 1
    with k.loop("t", 0, total, parallel=not alone) as t:
        found: list[Int] = []
        for extent in reversed(extents[1:]):
            few = extent.is_const and extent.const <= 1
            found.append(as_int(0) if few else t % extent)
            t = t if few else t // extent
        few = alone or (extents[0].is_const and extents[0].const <= 1)
        yield [as_int(0) if few else t, *found[::-1]]
