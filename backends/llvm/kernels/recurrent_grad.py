"""The gradients of recurrent steps: step by step backwards, gates in one sweep, then a product with the weights.

One parallel iteration takes a block of rows through all steps. At each the gradients of the gates' arguments are found
from what was kept and stored, which makes them a result; then their product with the recurrent weights, in panels as
for any other product, is added to the gradient of the state before. The gradient of the weights themselves is one
product over all steps and not made here.

Measured against PyTorch: benchmarks/recurrent.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chainrule.backends.llvm.kernels.matmul_tile import Multiplier, Tile, split_lanes, vector_lanes, widest_panel
from chainrule.backends.llvm.kernels.pack import spread_loop, write_panels
from chainrule.backends.llvm.kernels.recurrent import one_row_or_more, row_vectors, rows_of_block, tiles_of_block
from chainrule.backends.llvm.kernels.recurrent_cells import CellCode
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region, Temp
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, ceil_div, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.graph import Value
from chainrule.ir.types import DType, TensorType
from chainrule.ops.lowered import panel_count, panel_width
from chainrule.ops.recurrent_base import Backward
from chainrule.ops.recurrent_grad import GruStepsGrad, LstmStepsGrad


@dataclass
class Slopes:
    """What the kernel of a gradient works on. dh: the running gradient of h, the result of that name in the end."""

    kernel: Kernel
    anchor: Value
    target: Target
    panels: Buffer
    code: CellCode
    sizes: tuple[Int, Int, Int]
    more: dict[str, Buffer] = field(default_factory=dict)

    @property
    def op(self) -> Backward:
        assert isinstance(self.anchor.op, Backward)
        return self.anchor.op

    @property
    def k(self) -> Builder:
        return self.kernel.k

    @property
    def dtype(self) -> DType:
        return self.panels.dtype

    @property
    def lanes(self) -> int:
        return vector_lanes(self.dtype)

    @property
    def dh(self) -> Buffer:
        return self.kernel.output({LstmStepsGrad: 1, GruStepsGrad: 2}.get(type(self.op), 1), mode="rw")

    @property
    def back(self) -> Buffer:
        """The gradients that go through the recurrent weights."""
        return self.kernel.output(1 if isinstance(self.op, GruStepsGrad) else 0, mode="rw")

    def input(self, name: str) -> Buffer:
        """An input that is always there, by name."""
        return self.kernel.input(self.op.args.index(name))


@dataclass(frozen=True)
class Rows:
    """The rows of a block at one step. alone: there is one row in all blocks."""

    step: Int
    first: Int
    count: Int
    alone: bool


@dataclass(frozen=True)
class Place:
    """One vector of units of one row at one step. before: the step before it in time, clamped, and whether it is."""

    t: Int
    before: Int
    follows: LoopValue
    row: Int
    unit: Int
    mask: Int | None
    live: LoopValue | None


def steps_grad(region: Region, target: Target) -> list[KernelCall]:
    """The kernel of a gradient op, behind one that packs its weights where they are not packed."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, Backward)
    op, r = anchor.op, anchor.inputs[0]
    state = anchor.inputs[op.args.index("dh")].tensor
    n, size = state.shape
    calls: list[KernelCall] = []
    kernel = Kernel(region, target, op.name)
    if op.panel:
        panels = kernel.input(0)
    else:
        width = panel_width(size, widest_panel(target, r.tensor.dtype), r.tensor.dtype)
        temp = Temp(TensorType(r.tensor.dtype, (panel_count(size, width), r.tensor.shape[0], width)))
        pack = Kernel(region, target, "pack_b")
        write_panels(pack, r, pack.temp(temp, mode="w"), False)
        calls.append(pack.built())
        panels = kernel.temp(temp, mode="r")
    steps = kernel.dim(anchor.inputs[op.args.index("dys")].tensor.shape[0])
    sizes = (steps, kernel.dim(n), kernel.dim(size))
    _write(Slopes(kernel, anchor, target, panels, CellCode(kernel.k, op.cell), sizes), state)
    return [*calls, kernel.built()]


def _write(s: Slopes, state: TensorType) -> None:
    k = s.k
    steps, n, size = s.sizes
    k.flops = steps * n * size * size * (2 * s.op.gate_count)
    resets_first = isinstance(s.op, GruStepsGrad) and not s.op.reset_after
    if resets_first:
        s.more["reset"] = s.kernel.temp(Temp(state))
    block_rows = rows_of_block(n)
    with spread_loop(k, (ceil_div(n, block_rows),)) as (block,):
        first = block * block_rows
        count = as_int(block_rows) if n.is_const and n.const % block_rows == 0 else imin(block_rows, n - first)
        _start(s, first, count)
        for alone in one_row_or_more(k, n):
            with k.loop("step", 0, steps) as step:
                for place in _places(s, step, first, count):
                    _sweep(s, place)
                rows = Rows(step, first, count, alone)
                if not resets_first:
                    _add_product(s, s.op.order, rows, s.dh)
                    continue
                _add_product(s, "n", rows, s.more["reset"])
                for place in _places(s, step, first, count):
                    _sweep_reset(s, place)
                for letter in "rz":
                    _add_product(s, letter, rows, s.dh)


def _start(s: Slopes, first: Int, count: Int) -> None:
    """The gradients of the last states go where the steps find them."""
    pairs = [(s.input("dh"), s.dh)]
    if isinstance(s.op, LstmStepsGrad):
        pairs.append((s.input("dc"), s.kernel.output(2, mode="rw")))
    for source, target in pairs:
        for row, unit, mask in row_vectors(s.k, first, count, s.sizes[2], s.lanes):
            s.k.store(target, (row, unit), s.k.load(source, (row, unit), s.lanes, mask=mask), mask=mask)


def _time(s: Slopes, step: Int) -> Int:
    """The place along the first axis: time runs backwards here, and forwards in what ran backwards."""
    return step if s.op.reverse else s.sizes[0] - 1 - step


def _places(s: Slopes, step: Int, first: Int, count: Int) -> Iterator[Place]:
    """All vectors of a block at one step, in loops."""
    k, t = s.k, _time(s, step)
    steps, _, size = s.sizes
    before = imin(t + 1, steps - 1) if s.op.reverse else imax(t - 1, 0)
    follows = k.cmp("lt", t, steps - 1) if s.op.reverse else k.cmp("gt", t, 0)
    for row, unit, mask in row_vectors(k, first, count, size, s.lanes):
        live = None
        if s.op.ragged:
            lengths = s.kernel.input(len(s.anchor.inputs) - 1)
            live = k.cmp("gt", k.load(lengths, (row,)), k.value(t, lengths.dtype))
        yield Place(t, before, follows, row, unit, mask, live)


def _sweep(s: Slopes, at: Place) -> None:
    """The gradients of the gates' arguments; dh becomes what of it goes past the recurrent weights."""
    if isinstance(s.op, LstmStepsGrad):
        _lstm(s, at)
    elif isinstance(s.op, GruStepsGrad):
        _gru(s, at)
    else:
        (f,) = s.op.cell.functions
        y = _step(s, s.input("ys"), at)
        _store_gates(s, 0, at, {"h": s.k.mul(_arriving(s, at), s.code.bounded_slope(f, y))})
        _store_dh(s, at, s.k.const(0.0, s.dtype, s.lanes))


def _step(s: Slopes, buffer: Buffer, at: Place) -> LoopValue:
    """The vector of a [T, N, H] buffer."""
    return s.k.load(buffer, (at.t, at.row, at.unit), s.lanes, mask=at.mask)


def _state(s: Slopes, buffer: Buffer, at: Place) -> LoopValue:
    """The vector of a [N, H] buffer."""
    return s.k.load(buffer, (at.row, at.unit), s.lanes, mask=at.mask)


def _gate(s: Slopes, letter: str, at: Place) -> LoopValue:
    column = s.sizes[2] * s.op.order.index(letter) + at.unit
    return s.k.load(s.input("gates"), (at.t, at.row, column), s.lanes, mask=at.mask)


def _arriving(s: Slopes, at: Place) -> LoopValue:
    """The gradient of this step's h: of the result, and from the steps behind."""
    return s.k.add(_step(s, s.input("dys"), at), _state(s, s.dh, at))


def _store_gates(s: Slopes, index: int, at: Place, gates: Mapping[str, LoopValue]) -> None:
    k = s.k
    for letter, value in gates.items():
        column = s.sizes[2] * s.op.order.index(letter) + at.unit
        found = value if at.live is None else k.select(at.live, value, k.const(0.0, value.dtype, value.lanes))
        k.store(s.kernel.output(index, mode="rw"), (at.t, at.row, column), found, mask=at.mask)


def _store_dh(s: Slopes, at: Place, value: LoopValue) -> None:
    """What goes past the weights; in rows that have no such step, all of it."""
    kept = value if at.live is None else s.k.select(at.live, value, _state(s, s.dh, at))
    s.k.store(s.dh, (at.row, at.unit), kept, mask=at.mask)


def _lstm(s: Slopes, at: Place) -> None:
    k, op = s.k, s.op
    assert isinstance(op, LstmStepsGrad)
    states, dc_now = s.input("states"), s.kernel.output(2, mode="rw")
    earlier = k.load(states, (at.before, at.row, at.unit), s.lanes, mask=at.mask)
    c_before = k.select(at.follows, earlier, _state(s, s.input("c"), at))
    peepholes: dict[str, LoopValue] = {}
    if op.peepholes:
        for i, letter in enumerate(op.order.replace("g", "")):
            column = s.sizes[2] * i + at.unit
            peepholes[letter] = k.load(s.kernel.input(op.fixed), (column,), s.lanes, mask=at.mask)
    gates = {letter: _gate(s, letter, at) for letter in op.order}
    dc = _state(s, dc_now, at)
    found, dc_before = s.code.lstm_back(gates, _step(s, states, at), c_before, _arriving(s, at), dc, peepholes)
    _store_gates(s, 0, at, found)
    kept = dc_before if at.live is None else k.select(at.live, dc_before, dc)
    k.store(dc_now, (at.row, at.unit), kept, mask=at.mask)
    _store_dh(s, at, k.const(0.0, s.dtype, s.lanes))


def _gru(s: Slopes, at: Place) -> None:
    k, op = s.k, s.op
    assert isinstance(op, GruStepsGrad)
    f, g = op.cell.functions
    z, new, dh = _gate(s, "z", at), _gate(s, "n", at), _arriving(s, at)
    d_z = k.mul(k.mul(dh, k.sub(_step(s, s.input("starts"), at), new)), s.code.bounded_slope(f, z))
    d_n = k.mul(k.mul(dh, k.sub(1.0, z)), s.code.bounded_slope(g, new))
    found, back = {"z": d_z, "n": d_n}, {"z": d_z, "n": d_n}
    if op.reset_after:
        r = _gate(s, "r", at)
        found["r"] = back["r"] = k.mul(k.mul(d_n, _step(s, s.input("inner"), at)), s.code.bounded_slope(f, r))
        back["n"] = k.mul(d_n, r)
    else:
        k.store(s.more["reset"], (at.row, at.unit), k.const(0.0, s.dtype, s.lanes), mask=at.mask)
    _store_gates(s, 0, at, found)
    _store_gates(s, 1, at, back)
    _store_dh(s, at, k.mul(dh, z))


def _sweep_reset(s: Slopes, at: Place) -> None:
    """Gate r of a GRU that resets its state first, from the gradient of the state that was reset."""
    k, r = s.k, _gate(s, "r", at)
    d_reset = _state(s, s.more["reset"], at)
    slope = s.code.bounded_slope(s.op.cell.functions[0], r)
    d_r = k.mul(k.mul(d_reset, _step(s, s.input("starts"), at)), slope)
    for index in (0, 1):
        _store_gates(s, index, at, {"r": d_r})
    before = _state(s, s.dh, at)
    _store_dh(s, at, k.add(before, k.mul(d_reset, r)))


def _add_product(s: Slopes, letters: str, at: Rows, into: Buffer) -> None:
    """into += the gradients of some gates times their rows of the recurrent weights."""
    k, size, width = s.k, s.sizes[2], int(s.panels.shape[-1])
    start = size * s.op.order.index(letters[0])
    t, lanes = _time(s, at.step), split_lanes(width, s.dtype)
    with k.loop("panel", 0, s.panels.shape[0]) as panel:
        for rows, row, there in tiles_of_block(k, s.target, s.dtype, lanes, at.first, at.count, at.alone):
            exact = there.is_const and there.const == rows
            places = [row + i if exact or i == 0 else row + imax(0, imin(i, there - 1)) for i in range(rows)]
            _tile_product(s, Tile(s.dtype, rows, lanes), panel, t, (start, start + size * len(letters)), places, row,
                          there, into)  # fmt: skip


def _tile_product(s: Slopes, tile: Tile, panel: Int, t: Int, depth: tuple[Int, Int], places: Sequence[Int], row: Int,
                  there: Int, into: Buffer) -> None:  # fmt: skip
    k = s.k

    def left(i: int, at: Int) -> LoopValue:
        return k.load(s.back, (t, places[i], at))

    def right(at: Int, start: int, lanes: int) -> LoopValue:
        return k.load(s.panels, (panel, at, start), lanes)

    sums = Multiplier(k, tile).summed(*depth, left, right)
    values = [[k.get(register) for register in line] for line in sums]
    if there.is_const and there.const == tile.rows:
        for i, line in enumerate(values):
            _add_row(s, tile, panel, row + i, line, into)
        return
    scratch = k.scratch(f"sums{tile.rows}", s.dtype, (tile.rows, tile.columns))
    for i, line in enumerate(values):
        for start, value in zip(tile.starts, line, strict=True):
            k.store(scratch, (i, start), value)
    with k.loop("row", 0, there) as i:
        line = [k.load(scratch, (i, start), n) for start, n in zip(tile.starts, tile.lanes, strict=True)]
        _add_row(s, tile, panel, row + i, line, into)


def _add_row(s: Slopes, tile: Tile, panel: Int, row: Int, sums: Sequence[LoopValue], into: Buffer) -> None:
    k, size = s.k, s.sizes[2]
    even = size.is_const and size.const % tile.columns == 0
    for start, value in zip(tile.starts, sums, strict=True):
        unit = panel * tile.columns + start
        mask = None if even else imin(value.lanes, size - unit)
        before = k.load(into, (row, unit), value.lanes, mask=mask)
        k.store(into, (row, unit), k.add(before, value), mask=mask)
