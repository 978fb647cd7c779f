"""Recurrent steps: one product with the recurrent weights per step, the cell's formulas on its sums, states in cache.

The weights lie in panels of a few units, all gates of a unit in one panel: so what a register tile sums is all that a
cell needs, and a step is one sweep over the panels. One parallel iteration takes a block of rows through all steps, as
rows do not know of each other; within a step the panels go round the outside, so that each is read once for all rows of
the block. A block of one row keeps its sums in registers; more go through a scratch tile.

Measured against onnxruntime: benchmarks/recurrent.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chainrule.backends.llvm.kernels.matmul_tile import Multiplier, Tile, balanced_rows, most_rows, vector_lanes
from chainrule.backends.llvm.kernels.pack import spread_loop, write_turned
from chainrule.backends.llvm.kernels.recurrent_cells import CellCode
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region, Temp
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, ceil_div, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.graph import Value
from chainrule.ir.types import DType, TensorType
from chainrule.ops.lowered import panel_count
from chainrule.ops.recurrent_base import Forward
from chainrule.ops.recurrent_steps import GruSteps, LstmSteps, PackGates

BLOCK_ROWS = 16  # rows that go through all steps together: a panel in the second-level cache serves them all
FEW_ROWS = 8  # that many are two blocks already
FREE_ROWS = 4  # rows of a tile where their number is known at run time only


def vector_units(target: Target, dtype: DType) -> int:
    """Units of one vector of a panel: a whole register, and half a logical vector at least."""
    return max(vector_lanes(dtype) // 2, min(vector_lanes(dtype), target.vector_bits // dtype.bits))


def panel_units(target: Target, dtype: DType, gates: int) -> int:
    """Units of a panel: one vector for each gate, and four where there is one gate, so that a tile has enough sums."""
    return vector_units(target, dtype) * (4 if gates == 1 else 1)


def pack_gates(region: Region, target: Target) -> list[KernelCall]:
    """One kernel that packs recurrent weights."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, PackGates)
    kernel = Kernel(region, target, "pack_gates")
    count, size, _ = anchor.tensor.shape
    gates, units = anchor.op.gates, anchor.op.units
    write_gates(kernel, kernel.input(0, (gates, size, size)), kernel.output(0, (count, size, gates, units)))
    return [kernel.built()]


def write_gates(kernel: Kernel, r: Buffer, panels: Buffer) -> None:
    """The loops that pack r [G, H, H] into panels [P, H, G, units]."""
    k, (gates, size, _), units = kernel.k, r.shape, int(panels.shape[-1])
    k.flops = gates * size * size
    with spread_loop(k, (panels.shape[0], gates)) as (panel, gate):

        def row(unit: Int, step: Int, lanes: int, mask: Int) -> LoopValue:
            return k.load(r, (gate, unit, step), lanes, mask=mask)

        def store(step: Int, start: Int, vector: LoopValue) -> None:
            k.store(panels, (panel, step, gate, start), vector)

        write_turned(k, units, panels.dtype, panel * units, size, size, row, store)


@dataclass
class Steps:
    """What the kernel of a forward op works on. half: which of the two states a step reads."""

    kernel: Kernel
    anchor: Value
    target: Target
    panels: Buffer
    units: int
    states: Buffer
    code: CellCode
    more: dict[str, Buffer] = field(default_factory=dict)

    @property
    def op(self) -> Forward:
        assert isinstance(self.anchor.op, Forward)
        return self.anchor.op

    @property
    def k(self) -> Builder:
        return self.kernel.k

    @property
    def dtype(self) -> DType:
        return self.panels.dtype

    @property
    def lanes(self) -> int:
        """Units of a vector."""
        return self.units // (4 if self.op.gate_count == 1 else 1)

    @property
    def single(self) -> bool:
        """There is one step: it reads the first states and gives the last, and panels are shared among threads."""
        steps = self.anchor.inputs[0].tensor.shape[0]
        return steps == 1 and len(phases_of(self.op)) == 1

    @property
    def sizes(self) -> tuple[Int, Int, Int]:
        """T, N and H."""
        steps, n, _ = self.kernel.dims(self.anchor.inputs[0].tensor.shape)
        return steps, n, self.kernel.dim(self.anchor.inputs[2].tensor.shape[1])

    def time(self, step: Int) -> Int:
        """The place along the first axis of a step."""
        return self.sizes[0] - 1 - step if self.op.reverse else step


@dataclass(frozen=True)
class Place:
    """One vector of units of one row at one step."""

    t: Int
    half: Int
    row: Int
    unit: Int
    mask: Int | None
    live: LoopValue | None


def steps(region: Region, target: Target) -> list[KernelCall]:
    """The kernel of a forward op, behind one that packs its weights where they are not packed."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, Forward)
    op, (_, r, h) = anchor.op, anchor.inputs[:3]
    dtype = r.tensor.dtype
    units = op.panel or panel_units(target, dtype, op.gate_count)
    calls: list[KernelCall] = []
    kernel = Kernel(region, target, op.name)
    if op.panel:
        panels = kernel.input(1)
    else:
        size, gates = h.tensor.shape[1], op.gate_count
        shape = (panel_count(size, units), size, gates, units)
        temp = Temp(TensorType(dtype, (*shape[:2], gates * units)))
        pack = Kernel(region, target, "pack_gates")
        write_gates(pack, pack.input(1, (gates, size, size)), pack.temp(temp, mode="w", shape=shape))
        calls.append(pack.built())
        panels = kernel.temp(temp, mode="r")
    n, size = h.tensor.shape
    states = kernel.temp(Temp(TensorType(dtype, (2, n, size))))
    found = Steps(kernel, anchor, target, panels, units, states, CellCode(kernel.k, op.cell))
    _write_steps(found)
    return [*calls, kernel.built(f"{units} units a panel")]


def _write_steps(s: Steps) -> None:
    k, target = s.k, s.target
    steps, n, size = s.sizes
    k.flops = steps * n * size * size * (2 * s.op.gate_count)
    if s.single:
        _write_single(s)
        return
    block_rows = rows_of_block(n)
    with spread_loop(k, (ceil_div(n, block_rows),)) as (block,):
        first = block * block_rows
        count = as_int(block_rows) if n.is_const and n.const % block_rows == 0 else imin(block_rows, n - first)
        _start(s, first, count)
        lanes = (s.lanes,) * (s.op.gate_count * s.units // s.lanes)
        for alone in one_row_or_more(k, n):
            with k.loop("step", 0, steps) as step:
                for phase in phases_of(s.op):
                    with k.loop("panel", 0, s.panels.shape[0]) as panel:
                        for tile, row, rows in tiles_of_block(k, target, s.dtype, lanes, first, count, alone):
                            _write_tile(s, phase, step, panel, tile, row, rows)
        _finish(s, first, count)


def _write_single(s: Steps) -> None:
    """One step: blocks of rows times panels, all in parallel. As panels are, a block has as many rows as it can."""
    k, n = s.k, s.sizes[1]
    block_rows = balanced_rows(n.const, BLOCK_ROWS) if n.is_const and n.const else BLOCK_ROWS
    lanes = (s.lanes,) * (s.op.gate_count * s.units // s.lanes)
    with spread_loop(k, (ceil_div(n, block_rows), s.panels.shape[0])) as (block, panel):
        first = block * block_rows
        count = as_int(block_rows) if n.is_const and n.const % block_rows == 0 else imin(block_rows, n - first)
        for alone in one_row_or_more(k, n):
            for tile, row, rows in tiles_of_block(k, s.target, s.dtype, lanes, first, count, alone):
                _write_tile(s, s.op.order, as_int(0), panel, tile, row, rows)


def rows_of_block(n: Int) -> int:
    """Rows of a parallel iteration: by their number alone, never by that of the threads."""
    if not n.is_const:
        return BLOCK_ROWS
    if n.const < FEW_ROWS:
        return max(1, n.const)
    blocks = max(2, -(-n.const // BLOCK_ROWS))
    return -(-n.const // blocks)


def phases_of(op: Forward) -> tuple[str, ...]:
    """The gates that one sweep over the panels makes, by letters: a GRU that resets the state first needs two."""
    if isinstance(op, GruSteps) and not op.reset_after:
        return "rz", "n"
    return (op.order,)


def one_row_or_more(k: Builder, n: Int) -> Iterator[bool]:
    """Whether all blocks have one row in all: two branches where that is known at run time only."""
    if n.is_const:
        yield n.const == 1
        return
    with k.when(k.cmp("eq", n, 1)):
        yield True
    with k.otherwise():
        yield False


def tiles_of_block(k: Builder, target: Target, dtype: DType, lanes: Sequence[int], first: Int, count: Int,
                   alone: bool) -> Iterator[tuple[int, Int, Int]]:  # fmt: skip
    """(rows of the tile, first row, rows that are there) for the tiles of a block, in loops.

    lanes: the vectors of a tile's row. alone: there is one row.
    """
    if alone:
        yield 1, first, as_int(1)
        return
    most = most_rows(target, lanes, dtype)
    if count.is_const:
        rows = balanced_rows(count.const, most)
        if count.const == rows:
            yield rows, first, count
            return
        with k.loop("i", 0, -(-count.const // rows)) as i:
            yield rows, first + i * rows, imin(rows, count - i * rows)
        return
    rows = min(FREE_ROWS, most)
    with k.loop("i", 0, ceil_div(count, rows)) as i:
        yield rows, first + i * rows, imin(rows, count - i * rows)


def _write_tile(s: Steps, phase: str, step: Int, panel: Int, rows: int, row: Int, there: Int) -> None:
    """The sums of a tile's rows for one panel, and what the cell makes of them."""
    k, size, dtype = s.k, s.sizes[2], s.dtype
    half = step % 2
    pieces = s.units // s.lanes
    columns = [(letter, piece) for letter in phase for piece in range(pieces)]
    starts = [s.op.order.index(letter) * s.units + piece * s.lanes for letter, piece in columns]
    tile = Tile(dtype, rows, (s.lanes,) * len(columns))
    exact = there.is_const and there.const == rows
    # Rows that are not there are the last one again; 0 is for the verifier, a tile has a row.
    places = [row + i if exact or i == 0 else row + imax(0, imin(i, there - 1)) for i in range(rows)]
    source = s.more["reset"] if phase == "n" else None

    def left(i: int, at: Int) -> LoopValue:
        if s.single:
            return k.load(s.kernel.input(2), (places[i], at))
        return k.load(s.states, (half, places[i], at)) if source is None else k.load(source, (places[i], at))

    def right(at: Int, start: int, lanes: int) -> LoopValue:
        return k.load(s.panels, (panel, at, starts[start // s.lanes]), lanes)

    sums = Multiplier(k, tile).summed(as_int(0), size, left, right)
    values = [[k.get(register) for register in line] for line in sums]
    if rows == 1:
        _update_row(s, phase, step, half, row, panel, dict(zip(columns, values[0], strict=True)))
        return
    scratch = k.scratch(f"sums{rows}", dtype, (rows, tile.columns))
    for i, line in enumerate(values):
        for start, value in zip(tile.starts, line, strict=True):
            k.store(scratch, (i, start), value)
    with k.loop("row", 0, there) as i:
        line = [k.load(scratch, (i, start), s.lanes) for start in tile.starts]
        _update_row(s, phase, step, half, row + i, panel, dict(zip(columns, line, strict=True)))


def _update_row(s: Steps, phase: str, step: Int, half: Int, row: Int, panel: Int,
                sums: Mapping[tuple[str, int], LoopValue]) -> None:  # fmt: skip
    """The cell's formulas for the units of a panel in one row."""
    k, size = s.k, s.sizes[2]
    t = s.time(step)
    live = None
    if s.op.ragged:
        lengths = s.kernel.input(len(s.anchor.inputs) - 1)
        live = k.cmp("gt", k.load(lengths, (row,)), k.value(t, lengths.dtype))
    for piece in range(s.units // s.lanes):
        unit = panel * s.units + piece * s.lanes
        mask = None if size.is_const and size.const % s.units == 0 else imin(s.lanes, size - unit)
        place = Place(t, half, row, unit, mask, live)
        own = {letter: value for (letter, at), value in sums.items() if at == piece}
        if isinstance(s.op, LstmSteps):
            _lstm(s, place, own)
        elif isinstance(s.op, GruSteps):
            _gru(s, place, own, phase)
        else:
            _rnn(s, place, own)


# -- the cells, with their loads and stores ----------------------------------------------------------------------------


def _fed(s: Steps, at: Place, letter: str) -> LoopValue:
    """What the input gives to a gate."""
    column = s.sizes[2] * s.op.order.index(letter) + at.unit
    return s.k.load(s.kernel.input(0), (at.t, at.row, column), s.lanes, mask=at.mask)


def _store_gates(s: Steps, at: Place, index: int, gates: Mapping[str, LoopValue]) -> None:
    for letter, value in gates.items():
        column = s.sizes[2] * s.op.order.index(letter) + at.unit
        _store_live(s, at, s.kernel.output(index), (at.t, at.row, column), value)


def _store_live(s: Steps, at: Place, buffer: Buffer, index: Sequence[Int], value: LoopValue) -> None:
    """Stores what a step gives: 0 in rows that have no such step."""
    zero = s.k.const(0.0, value.dtype, value.lanes)
    s.k.store(buffer, index, value if at.live is None else s.k.select(at.live, value, zero), mask=at.mask)


def _store_state(s: Steps, at: Place, new: LoopValue, old: LoopValue) -> None:
    """The next h; rows that have no such step keep theirs."""
    kept = new if at.live is None else s.k.select(at.live, new, old)
    if s.single:
        s.k.store(s.kernel.output(1), (at.row, at.unit), kept, mask=at.mask)
    else:
        s.k.store(s.states, (1 - at.half, at.row, at.unit), kept, mask=at.mask)
    _store_live(s, at, s.kernel.output(0), (at.t, at.row, at.unit), new)


def _old_state(s: Steps, at: Place) -> LoopValue:
    if s.single:
        return s.k.load(s.kernel.input(2), (at.row, at.unit), s.lanes, mask=at.mask)
    return s.k.load(s.states, (at.half, at.row, at.unit), s.lanes, mask=at.mask)


def _lstm(s: Steps, at: Place, sums: Mapping[str, LoopValue]) -> None:
    k, kernel, op = s.k, s.kernel, s.op
    assert isinstance(op, LstmSteps)
    c_now = kernel.output(2, mode="w" if s.single else "rw")
    c = k.load(kernel.input(3) if s.single else c_now, (at.row, at.unit), s.lanes, mask=at.mask)
    peepholes: dict[str, LoopValue] = {}
    if op.peepholes:
        for i, letter in enumerate(op.order.replace("g", "")):
            peepholes[letter] = k.load(kernel.input(4), (s.sizes[2] * i + at.unit,), s.lanes, mask=at.mask)
    arguments = {letter: k.add(_fed(s, at, letter), value) for letter, value in sums.items()}
    gates, c_next, h = s.code.lstm(arguments, c, peepholes)
    kept = c_next if at.live is None else k.select(at.live, c_next, c)
    k.store(c_now, (at.row, at.unit), kept, mask=at.mask)
    _store_state(s, at, h, h if at.live is None else _old_state(s, at))
    if op.saves:
        _store_gates(s, at, 3, gates)
        k.store(kernel.output(4), (at.t, at.row, at.unit), kept, mask=at.mask)


def _gru(s: Steps, at: Place, sums: Mapping[str, LoopValue], phase: str) -> None:
    k, kernel, op = s.k, s.kernel, s.op
    assert isinstance(op, GruSteps)
    h = _old_state(s, at)
    gates: dict[str, LoopValue] = {}
    if "r" in sums:
        gates = {letter: s.code.gru_gate(_fed(s, at, letter), sums[letter]) for letter in "rz"}
    if phase == "rz":
        k.store(s.more["reset"], (at.row, at.unit), k.mul(gates["r"], h), mask=at.mask)
        k.store(s.more["z"], (at.row, at.unit), gates["z"], mask=at.mask)
        if op.saves:
            _store_gates(s, at, 2, gates)
        return
    part = inner = sums["n"]
    if op.reset_after:
        if op.biased:
            inner = k.add(inner, k.load(kernel.input(3), (at.unit,), s.lanes, mask=at.mask))
        part = k.mul(gates["r"], inner)
    else:
        gates["z"] = k.load(s.more["z"], (at.row, at.unit), s.lanes, mask=at.mask)
    new = s.code.gru_new(_fed(s, at, "n"), part)
    _store_state(s, at, s.code.gru_next(gates["z"], new, h), h)
    if op.saves:
        _store_gates(s, at, 2, {"n": new} if phase == "n" else {**gates, "n": new})
        _store_live(s, at, kernel.output(3), (at.t, at.row, at.unit), inner)


def _rnn(s: Steps, at: Place, sums: Mapping[str, LoopValue]) -> None:
    (f,) = s.op.cell.functions
    new = s.code.bounded(f, s.k.add(_fed(s, at, "h"), sums["h"]))
    _store_state(s, at, new, new if at.live is None else _old_state(s, at))


# -- before the first step and after the last --------------------------------------------------------------------------


def _start(s: Steps, first: Int, count: Int) -> None:
    """The first states go where the steps find them."""
    n, size = s.anchor.inputs[2].tensor.shape
    if isinstance(s.op, GruSteps) and not s.op.reset_after:
        s.more = {name: s.kernel.temp(Temp(TensorType(s.dtype, (n, size)))) for name in ("reset", "z")}
    pairs: list[tuple[Buffer, Buffer, tuple[Int, ...]]] = [(s.kernel.input(2), s.states, (as_int(0),))]
    if isinstance(s.op, LstmSteps):
        pairs.append((s.kernel.input(3), s.kernel.output(2, mode="rw"), ()))
    for source, target, at in pairs:
        for row, unit, mask in row_vectors(s.k, first, count, s.sizes[2], s.lanes):
            s.k.store(target, (*at, row, unit), s.k.load(source, (row, unit), s.lanes, mask=mask), mask=mask)


def _finish(s: Steps, first: Int, count: Int) -> None:
    """The last h becomes a result; the last c is one already."""
    half = s.sizes[0] % 2
    for row, unit, mask in row_vectors(s.k, first, count, s.sizes[2], s.lanes):
        value = s.k.load(s.states, (half, row, unit), s.lanes, mask=mask)
        s.k.store(s.kernel.output(1), (row, unit), value, mask=mask)


def row_vectors(k: Builder, first: Int, count: Int, size: Int, lanes: int) -> Iterator[tuple[Int, Int, Int | None]]:
    """(row, first unit, how many of its lanes are units or None for all) of the vectors of a block, in loops."""
    with k.loop("row", 0, count) as row, k.loop("unit", 0, size, lanes) as unit:
        even = size.is_const and size.const % lanes == 0
        yield first + row, unit, None if even else imin(lanes, size - unit)
