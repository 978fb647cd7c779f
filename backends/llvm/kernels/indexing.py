"""Reading and writing at positions given by data: gather, index_add, take_along_axis, scatter and its kin.

An index is checked before it is used: out of range it sets the kernel's status, and what it addresses is left out, so
that execution is safe whatever the data are. Gathers move whole rows. Additions happen in row-major order of the
indices; threads get rows or columns that no index moves between, so the sums are the same for any number of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.backends.llvm.failures import INDEX_OUT_OF_RANGE, NUMBER_OUT_OF_BOUNDS
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region, Temp, is_half
from chainrule.backends.llvm.kernels.scalar_ops import maximum, minimum
from chainrule.backends.llvm.kernels.shaping_rows import (
    apart_sweep,
    blocks,
    copy_row,
    lanes_of,
    nest,
    spread,
    sweep,
    whole_lines,
)
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, ceil_div, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.op import Op
from chainrule.ir.types import DType, TensorType, f32, i64, u64
from chainrule.ops.declared import Within
from chainrule.ops.indexing import Gather, IndexAdd, Scatter, ScatterAdd, TakeAlongAxis
from chainrule.ops.indexing_reduce import ScatterReduce

LANES = 16
ROWS = 16  # rows that share a vector of checked indices, and that one parallel iteration takes
COLUMNS = 256  # columns that one parallel iteration adds to, where there is no other axis to split


def checked_index(k: Builder, raw: LoopValue, size: Int) -> tuple[LoopValue, LoopValue]:
    """(index as i64 counted from the front, whether it lies inside); outside, the kernel's status is set."""
    if raw.dtype == u64:
        raw = k.min(raw, k.const((1 << 63) - 1, u64))
    wide = k.cast(raw, i64)
    extent = k.value(size, i64)
    if raw.dtype.is_signed:
        wide = k.select(k.cmp("lt", wide, 0), k.add(wide, extent), wide)
        fits = k.and_(k.cmp("ge", wide, 0), k.cmp("lt", wide, extent))
    else:
        fits = k.cmp("lt", wide, extent)
    k.fail_when(k.not_(fits), INDEX_OUT_OF_RANGE)
    return wide, fits


def at_index(k: Builder, raw: LoopValue, size: Int, body: Callable[[Int], None]) -> None:
    """Runs the body at an index if it lies inside."""
    wide, fits = checked_index(k, raw, size)
    with k.when(fits):
        body(k.index(wide, 0, size))


def gather(region: Region, target: Target) -> list[KernelCall]:
    """Gather: x as [outer, n, inner], one copy of `inner` elements for each index."""
    assert region.anchor is not None and isinstance(region.anchor.op, Gather)
    op, (x, indices) = region.anchor.op, region.anchor.inputs
    axis = op.axis % x.rank
    outer, inner, count = dim_product(x.shape[:axis]), dim_product(x.shape[axis + 1 :]), indices.tensor.size
    kernel = Kernel(region, target, "gather")
    k = kernel.k
    chosen = kernel.input(1, (count,))
    # What it copies, both ways, and the indices: a table of words is far larger than the rows that are taken from it.
    k.bytes = kernel.dim(outer * count * inner) * (2 * x.dtype.itemsize) + kernel.dim(count) * indices.dtype.itemsize
    if inner == 1 and outer != 1 and x.dtype.itemsize >= 4:
        _gather_columns(k, kernel.input(0, (outer, x.shape[axis])), chosen, kernel.output(0, (outer, count)))
        return [kernel.built("by vectors")]
    if inner == outer == 1 and x.dtype.itemsize >= 4:
        _look_up(k, kernel.input(0, (x.shape[axis],)), chosen, kernel.output(0, (count,)))
        return [kernel.built("by vectors")]
    source = kernel.input(0, (outer, x.shape[axis], inner))
    into = kernel.output(0, (outer, count, inner), streams=whole_lines(x.dtype, inner))
    rows = into.shape[0], into.shape[1]

    def row(o: Int, i: Int) -> None:
        def copy(at: Int) -> None:
            copy_row(k, source, (o, at, as_int(0)), into, (o, i, as_int(0)), into.shape[2])

        at_index(k, k.load(chosen, (i,)), source.shape[1], copy)

    if outer == 1:
        with spread(k, "i", into.shape[1:]) as i:
            row(as_int(0), i)
    else:
        with spread(k, "o", into.shape) as o, k.loop("i", 0, rows[1]) as i:
            row(o, i)
    return [kernel.built()]


def _gather_columns(k: Builder, source: Buffer, chosen: Buffer, into: Buffer) -> None:
    """Single elements of many rows: a vector of indices is checked once and used for a block of rows."""
    zero = as_int(0)
    flat = k.const(0, i64)

    def block(begin: Int, stop: Int) -> None:
        def piece(i: Int, n: int) -> None:
            wide, fits = checked_index(k, k.load(chosen, (i,), n), source.shape[1])
            offsets = k.select(fits, wide, flat)
            with k.loop("row", begin, stop) as o:
                k.store(into, (o, i), k.gather(source, (o, zero), offsets))

        sweep(k, into.shape[1], LANES, piece)

    count = into.shape[0]
    with k.loop("rows", 0, ceil_div(count, ROWS), parallel=not (count.is_const and count.const <= ROWS)) as rows:
        block(rows * ROWS, imin(count, rows * ROWS + ROWS))


def _look_up(k: Builder, source: Buffer, chosen: Buffer, into: Buffer) -> None:
    """Single elements of one table, a vector of them at a time."""
    flat = k.const(0, i64)

    def block(start: Int, count: Int) -> None:
        def piece(i: Int, n: int) -> None:
            wide, fits = checked_index(k, k.load(chosen, (start + i,), n), source.shape[0])
            k.store(into, (start + i,), k.gather(source, (as_int(0),), k.select(fits, wide, flat)))

        sweep(k, count, LANES, piece)

    blocks(k, into.shape[0], block)


def within(region: Region, target: Target) -> list[KernelCall]:
    """Within: a copy; a number beyond the bounds sets the kernel's status."""
    assert region.anchor is not None and isinstance(region.anchor.op, Within)
    op, size = region.anchor.op, region.anchor.tensor.size
    kernel = Kernel(region, target, "within")
    k = kernel.k
    x, y = kernel.input(0, (size,)), kernel.output(0, (size,))

    def piece(i: Int, n: int) -> None:
        raw = k.load(x, (i,), n)
        wide = k.cast(k.min(raw, k.const((1 << 63) - 1, u64)) if raw.dtype == u64 else raw, i64)
        fits = k.and_(k.cmp("ge", wide, op.low), k.cmp("le", wide, k.value(kernel.dim(op.high), i64)))
        k.fail_when(k.not_(fits), NUMBER_OUT_OF_BOUNDS)
        k.store(y, (i,), raw)

    sweep(k, y.shape[0], LANES, piece)
    return [kernel.built()]


def index_add(region: Region, target: Target) -> list[KernelCall]:
    """IndexAdd: zeros, then each slice of the updates added at its index."""
    assert region.anchor is not None and isinstance(region.anchor.op, IndexAdd)
    op, (indices, updates) = region.anchor.op, region.anchor.inputs
    axis = op.axis % len(op.shape)
    shape = dim_product(op.shape[:axis]), op.shape[axis], dim_product(op.shape[axis + 1 :])
    total = _total(updates.dtype, op.shape)
    calls = [fill_zero(region, target, total)]
    kernel = Kernel(region, target, "index_add")
    k = kernel.k
    chosen = kernel.input(0, (indices.tensor.size,))
    added = kernel.input(1, (shape[0], indices.tensor.size, shape[2]))
    into = _total_buffer(kernel, total, shape)

    def add(o: Int, first: Int, count: Int) -> None:
        with k.loop("i", 0, chosen.shape[0]) as i:
            at_index(k, k.load(chosen, (i,)), into.shape[1],
                     lambda at: _add_row(k, into, (o, at, first), added, (o, i, first), count))  # fmt: skip

    _by_columns(k, into, shape, add)
    return [*calls, kernel.built(), *_rounded(region, target, total)]


def _by_columns(k: Builder, into: Buffer, shape: Sequence[Dim], work: Callable[[Int, Int, Int], None]) -> None:
    """work(outer index, first column, columns) for all of [outer, n, inner], in parallel."""
    if shape[0] != 1:
        with spread(k, "o", into.shape) as o:
            work(o, as_int(0), into.shape[2])
    elif into.shape[2].is_const and into.shape[2].const <= COLUMNS:
        work(as_int(0), as_int(0), into.shape[2])
    else:
        with k.loop("block", 0, ceil_div(into.shape[2], COLUMNS), parallel=True) as block:
            work(as_int(0), block * COLUMNS, imin(COLUMNS, into.shape[2] - block * COLUMNS))


def _add_row(
    k: Builder, into: Buffer, into_at: Sequence[Int], added: Buffer, added_at: Sequence[Int], count: Int
) -> None:
    """Adds `count` elements of a row to a row; the pieces do not overlap."""
    lanes = max(1, min(16, lanes_of(into.dtype)))
    *into_row, first = into_at
    *added_row, begin = added_at

    def piece(j: Int, n: int) -> None:
        more = k.cast(k.load(added, (*added_row, begin + j), n), into.dtype)
        k.store(into, (*into_row, first + j), k.add(k.load(into, (*into_row, first + j), n), more))

    apart_sweep(k, count, lanes, piece)


def _total(dtype: DType, shape: Sequence[Dim]) -> Temp | None:
    """Where sums are held if not in the result: half precision is summed in f32."""
    return Temp(TensorType(f32, tuple(shape))) if is_half(dtype) else None


def _total_buffer(kernel: Kernel, total: Temp | None, shape: Sequence[Dim]) -> Buffer:
    return kernel.output(0, shape, "rw") if total is None else kernel.temp(total, "rw", shape)


def fill_zero(region: Region, target: Target, total: Temp | None) -> KernelCall:
    """Zeros in the result, or in the temporary of the sums."""
    kernel = Kernel(region, target, "zeros")
    k = kernel.k
    size = dim_product(region.body.outputs[0].tensor.shape)
    into = _total_buffer(kernel, total, (size,))
    zero = k.const(0, into.dtype)

    def fill(start: Int, count: Int) -> None:
        sweep(k, count, lanes_of(into.dtype), lambda j, n: k.store(into, (start + j,), k.splat(zero, n)))

    blocks(k, into.shape[0], fill)
    return kernel.built()


def _rounded(region: Region, target: Target, total: Temp | None) -> list[KernelCall]:
    """The call that rounds sums held in f32 to the result."""
    if total is None:
        return []
    kernel = Kernel(region, target, "round_sums")
    size = dim_product(total.type.shape)
    source, into = kernel.temp(total, "r", (size,)), kernel.output(0, (size,))
    _cast_rows(kernel.k, source, into)
    return [kernel.built()]


def _cast_rows(k: Builder, source: Buffer, into: Buffer) -> None:
    def piece(start: Int, count: Int) -> None:
        sweep(
            k, count, 16, lambda j, n: k.store(into, (start + j,), k.cast(k.load(source, (start + j,), n), into.dtype))
        )

    blocks(k, into.shape[0], piece)


def take_along_axis(region: Region, target: Target) -> list[KernelCall]:
    """TakeAlongAxis: one checked load for each index."""
    assert region.anchor is not None and isinstance(region.anchor.op, TakeAlongAxis)
    op, x = region.anchor.op, region.anchor.inputs[0]
    kernel = Kernel(region, target, "take_along_axis", scalar=True)
    k = kernel.k
    source, chosen, into = kernel.input(0), kernel.input(1), kernel.output(0)
    count = dim_product(region.anchor.shape)
    k.bytes = kernel.dim(count) * (2 * x.dtype.itemsize + region.anchor.inputs[1].dtype.itemsize)
    axis = op.axis % x.rank
    zero = k.const(0, x.dtype)

    def element(index: tuple[Int, ...]) -> None:
        wide, fits = checked_index(k, k.load(chosen, index), source.shape[axis])
        with k.when(fits):
            at = k.index(wide, 0, source.shape[axis])
            k.store(into, index, k.load(source, (*index[:axis], at, *index[axis + 1 :])))
        with k.otherwise():
            k.store(into, index, zero)

    with spread(k, "i", into.shape) as i:
        nest(k, into.shape[1:], lambda rest: element((i, *rest)))
    return [kernel.built()]


def scatter(region: Region, target: Target) -> list[KernelCall]:
    """Scatter, ScatterAdd, ScatterReduce: a copy of x, then each update put, added and so on at its index."""
    assert region.anchor is not None and isinstance(region.anchor.op, ScatterAdd | Scatter | ScatterReduce)
    op, x = region.anchor.op, region.anchor.inputs[0]
    total = None if isinstance(op, Scatter) else _total(x.dtype, x.shape)
    calls = [_copied(region, target, total)]
    kernel = Kernel(region, target, op.name, scalar=True)
    k = kernel.k
    combined = _combination(k, op)
    chosen, added = kernel.input(1), kernel.input(2)
    into = _total_buffer(kernel, total, x.shape)
    axis = op.axis % x.rank

    def element(index: tuple[Int, ...]) -> None:
        def put(at: Int) -> None:
            place = (*index[:axis], at, *index[axis + 1 :])
            value = k.cast(k.load(added, index), into.dtype)
            k.store(into, place, value if combined is None else combined(k.load(into, place), value))

        at_index(k, k.load(chosen, index), into.shape[axis], put)

    _scatter_loops(k, chosen.shape, axis, element)
    return [*calls, kernel.built(), *_rounded(region, target, total)]


def _combination(k: Builder, op: Op) -> Callable[[LoopValue, LoopValue], LoopValue] | None:
    """What becomes of an element and an update of it; None where the update takes its place."""
    match op:
        case ScatterAdd():
            return k.add
        case ScatterReduce(mode="mul"):
            return k.mul
        case ScatterReduce(mode=mode):
            keep = maximum if mode == "max" else minimum
            return lambda a, b: keep(k, a, b)
        case _:
            return None


def _scatter_loops(k: Builder, sizes: Sequence[Int], axis: int, element: Callable[[tuple[Int, ...]], None]) -> None:
    """Every index; the outermost loop is parallel over an axis that no index moves along, if there is one."""
    order = [*range(len(sizes))]
    if axis == 0 and len(sizes) > 1:
        order = [1, 0, *order[2:]]
    elif axis == 0:
        with k.loop("i", 0, sizes[0]) as i:
            element((i,))
        return

    def placed(loops: tuple[Int, ...]) -> None:
        index = [as_int(0)] * len(order)
        for a, i in zip(order, loops, strict=True):
            index[a] = i
        element(tuple(index))

    turned = [sizes[a] for a in order]
    with spread(k, "i", turned) as first:
        nest(k, turned[1:], lambda rest: placed((first, *rest)))


def _copied(region: Region, target: Target, total: Temp | None) -> KernelCall:
    """x in the result, or widened in the temporary of the sums."""
    kernel = Kernel(region, target, "copy")
    k = kernel.k
    size = dim_product(region.body.inputs[0].tensor.shape)
    source, into = kernel.input(0, (size,)), _total_buffer(kernel, total, (size,))
    if total is not None:
        _cast_rows(k, source, into)
    else:
        blocks(k, into.shape[0], lambda start, n: copy_row(k, source, (start,), into, (start,), n))
    return kernel.built()
