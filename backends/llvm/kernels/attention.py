"""Attention: scores, mask, softmax and mixture of a few queries at a time; no matrix of scores in memory.

One parallel iteration takes one tile of queries of one head. Keys come in packed panels, turned once per head, so that
scores are the register tile of a product (matmul_tile.py), written to a scratch that stays in the first-level cache
together with the tile's queries. There each row is turned into powers of two, and the second product, with the values
as they lie, reads them as its left side; its rows are divided by the powers' sums where they are stored. More than
BLOCK keys are taken in blocks, with the sums so far rescaled to a larger largest score (online softmax: Milakov and
Gimelshein, arXiv:1805.02867; blocks: Dao et al., arXiv:2205.14135). One query per head reads its keys where they lie.

Scores are kept times log2(e), so that the softmax is one exponential to base 2. Heads, keys and results are addressed
through the views in the region (views.py). In a causal attention panels beyond a tile's last query are not computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from chainrule.backends.llvm.kernels import vector_math as vm
from chainrule.backends.llvm.kernels.grid import grid
from chainrule.backends.llvm.kernels.matmul_tile import (
    Multiplier,
    Tile,
    most_rows,
    split_lanes,
    vector_lanes,
    widest_panel,
)
from chainrule.backends.llvm.kernels.pack import write_turned
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region, Temp, broadcast_index
from chainrule.backends.llvm.kernels.vector_math.erf import short_exp2
from chainrule.backends.llvm.kernels.views import buffer_of, result_index, source_index
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, ceil_div, imax, imin
from chainrule.backends.loops import Value as V
from chainrule.ir.graph import Value
from chainrule.ir.types import DType, TensorType, f32, i32
from chainrule.ops.attention import Attention
from chainrule.ops.lowered import accumulated, panel_count, panel_width

BLOCK = 512  # keys whose scores are kept at a time: 6 rows of f32 are 12 KB of the first-level cache
MOST_FEATURES = 512  # of a query or a value: more are decomposed
LOG2_E = 1.4426950408889634
MINUS_INFINITY = float("-inf")

Lead = Sequence[Int]


def takes_attention(node: Value) -> bool:
    """True for what the kernel takes: some keys, sizes of features and heads known, and not too many features."""
    q, k, v = node.inputs[:3]
    features = (q.shape[-1], v.shape[-1])
    if not all(isinstance(d, int) and 1 <= d <= MOST_FEATURES for d in features) or k.shape[-2] == 0:
        return False
    return q.rank == 2 or q.shape[-3] == k.shape[-3] or isinstance(q.shape[-3], int)


def attention(region: Region, target: Target) -> list[KernelCall]:
    """One kernel that turns the keys, one that attends; only the latter for one query per head."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, Attention)
    keys = anchor.inputs[1]
    if anchor.inputs[0].shape[-2] == 1:
        kernel = Kernel(region, target, "attention")
        _Attention(kernel, anchor, None).write()
        return [kernel.built("one query, keys in place")]
    core = accumulated(keys.dtype)
    width = _whole(panel_width(keys.shape[-2], widest_panel(target, keys.dtype), keys.dtype), vector_lanes(core))
    shape = (*keys.shape[:-2], panel_count(keys.shape[-2], width), keys.shape[-1], width)
    temp = Temp(TensorType(core, shape))
    pack = Kernel(region, target, "attention_keys")
    _turn_keys(pack, keys, pack.temp(temp, mode="w"))
    kernel = Kernel(region, target, "attention")
    made = _Attention(kernel, anchor, kernel.temp(temp, mode="r"))
    made.write()
    return [pack.built(), kernel.built(f"tile {made.rows}x{width}")]


@contextmanager
def _places(kernel: Kernel, lead: Lead, length: Int, size: int) -> Iterator[list[Int]]:
    """All parts of `size` of all heads, one head after the other; in parallel by head where the length is not known."""
    parts = ceil_div(length, size)
    if parts.is_const or not lead:
        with grid(kernel, [*lead, parts]) as place:
            yield place
        return
    k = kernel.k
    with grid(kernel, lead) as at, k.loop("part", 0, parts) as part, k.when(k.cmp("gt", length, 0)):
        yield [*at, part]


def _turn_keys(kernel: Kernel, keys: Value, panels: Buffer) -> None:
    """Keys [..., S, D] as panels [..., P, D, width], zero beyond the last key."""
    k = kernel.k
    *lead, count, features = kernel.dims(keys.shape)
    buffer = buffer_of(kernel, keys)
    k.flops = math.prod(panels.shape[1:], start=panels.shape[0])
    with _places(kernel, lead, count, int(panels.shape[-1])) as (*at, panel):
        def row(key: Int, feature: Int, lanes: int, mask: Int) -> V:
            index = source_index(kernel, keys, (*at, key, feature))
            return kernel.widened(k.load(buffer, index, lanes, mask=mask))

        def store(feature: Int, start: Int, vector: V) -> None:
            k.store(panels, (*at, panel, feature, start), vector)

        width = int(panels.shape[-1])
        write_turned(k, width, panels.dtype, panel * width, count, features, row, store)


@dataclass
class _Attention:
    """The loops of one attention. panels: the turned keys, None where they are read in place."""

    kernel: Kernel
    anchor: Value
    panels: Buffer | None
    rows: int = field(init=False)
    span: int = field(init=False)

    def __post_init__(self) -> None:
        anchor, target = self.anchor, self.kernel.target
        q, k, v = (x.shape for x in anchor.inputs[:3])
        assert isinstance(anchor.op, Attention)
        self.op = anchor.op
        self.dtype: DType = accumulated(anchor.dtype)
        self.lanes = vector_lanes(self.dtype)
        self.queries, self.keys = self.kernel.dim(q[-2]), self.kernel.dim(k[-2])
        self.features, self.outs = int(q[-1]), int(v[-1])  # type: ignore[arg-type]
        self.width = self.lanes if self.panels is None else int(self.panels.shape[-1])
        columns = min(self.outs, widest_panel(target, self.dtype))
        self.mixed = split_lanes(columns, self.dtype)
        most = min(most_rows(target, split_lanes(n, self.dtype), self.dtype) for n in (self.width, columns))
        known = self.queries.const if self.queries.is_const else most
        self.rows = 1 if self.panels is None else max(1, min(most, known))
        span = BLOCK // self.width * self.width
        if self.keys.is_const:
            span = min(span, -(-max(1, self.keys.const) // self.width) * self.width)
        self.span = span
        self.online = not (self.keys.is_const and self.keys.const <= span)
        k_ = self.kernel.k
        self.q_rows = k_.scratch("queries", self.dtype, (self.rows, _whole(self.features, self.lanes)))
        self.scores = k_.scratch("scores", self.dtype, (self.rows, span))
        self.stats = k_.scratch("stats", self.dtype, (3, self.rows))  # largest score, sum of powers, factor
        self.sums = k_.scratch("sums", self.dtype, (self.rows, _whole(self.outs, self.lanes)))

    @property
    def k(self) -> Builder:
        return self.kernel.k

    def write(self) -> None:
        """The loop over all tiles of all heads."""
        lead = self.kernel.dims(self.anchor.shape[:-2])
        heads = math.prod(lead, start=as_int(1))
        self.k.flops = heads * self.queries * self.keys * (2 * (self.features + self.outs) + 16)
        with _places(self.kernel, lead, self.queries, self.rows) as (*at, tile):
            self._tile(at, tile * self.rows)

    def _tile(self, at: Lead, first: Int) -> None:
        k = self.k
        self._copy_queries(at, first)
        seen = self._seen(first)
        if self.online:
            self._clear()
            with k.loop("block", 0, ceil_div(seen, self.span)) as block:
                self._block(at, first, block * self.span, seen)
        else:
            self._block(at, first, as_int(0), seen)
        self._store(at, first)

    def _block(self, at: Lead, first: Int, start: Int, seen: Int) -> None:
        """The keys and values from start on, as many as are seen and fit a block."""
        count = imin(self.span, seen - start)
        self._score(at, first, start, count)
        self._powers(imin(self.span // self.width, ceil_div(count, self.width)) * self.width)
        self._mix(at, start, count)

    def _seen(self, first: Int) -> Int:
        """How many keys the tile's last query sees."""
        if not self.op.causal:
            return self.keys
        last = first + self.rows + self.kernel.dim(self.op.offset)
        return imin(self.keys, imax(0, last))

    # -- scores --------------------------------------------------------------------------------------------------------

    def _factor(self) -> float:
        """What queries are multiplied by: scores come out times log2(e), or over the softcap."""
        return self.op.scale / self.op.softcap if self.op.softcap else self.op.scale * LOG2_E

    def _copy_queries(self, at: Lead, first: Int) -> None:
        """The tile's queries, scaled, in a scratch whose strides are known; rows that are not there repeat the last."""
        k, q = self.k, self.anchor.inputs[0]
        buffer = buffer_of(self.kernel, q)
        with k.loop("r", 0, self.rows) as r:
            row = imin(first + r, self.queries - 1)
            for start in range(0, self.features, self.lanes):
                index = source_index(self.kernel, q, (*at, row, as_int(start)))
                left = self.features - start
                vector = k.load(buffer, index, self.lanes, mask=left if left < self.lanes else None)
                k.store(self.q_rows, (r, start), k.mul(self.kernel.widened(vector), self._factor()))

    def _shared(self, at: Lead) -> tuple[Int, ...]:
        """The index of the keys and values of a head of queries."""
        q, keys = self.anchor.inputs[0].shape, self.anchor.inputs[1].shape
        if not at or q[-3] == keys[-3]:
            return tuple(at)
        return (*at[:-1], at[-1] // (int(q[-3]) // int(keys[-3])))  # type: ignore[arg-type]

    def _score(self, at: Lead, first: Int, start: Int, count: Int) -> None:
        """Scores of `count` keys from start on, whole panels of them, masked."""
        k = self.k
        with k.loop("p", 0, imin(self.span // self.width, ceil_div(count, self.width))) as p:
            key = start + p * self.width
            values = self._products(at, start // self.width + p, key)
            whole = self._all_seen(first, key)
            if whole is None:
                self._keep(at, first, key, p * self.width, values, True)
                return
            with k.when(whole):
                self._keep(at, first, key, p * self.width, values, False)
            with k.otherwise():
                self._keep(at, first, key, p * self.width, values, True)

    def _all_seen(self, first: Int, key: Int) -> V | None:
        """Whether every query of the tile sees all keys of the panel; None where that is never so."""
        limit = self.keys
        if self.op.causal:
            limit = imin(limit, first + self.kernel.dim(self.op.offset) + 1)
        if limit.is_const and limit.const < self.width:
            return None
        return self.k.cmp("le", key + self.width, limit)

    def _products(self, at: Lead, panel: Int, key: Int) -> list[list[V]]:
        """The scores of one panel: for every row of the tile, its vectors."""
        k, panels = self.k, self.panels
        if panels is None:
            return [[self._dots(at, key)]]
        shared = self._shared(at)
        tile = Tile(self.dtype, self.rows, split_lanes(self.width, self.dtype))
        sums = Multiplier(k, tile).summed(
            as_int(0), as_int(self.features),
            lambda r, d: k.load(self.q_rows, (r, d)),
            lambda d, start, lanes: k.load(panels, (*shared, panel, d, start), lanes),
        )  # fmt: skip
        return [[k.get(register) for register in row] for row in sums]

    def _dots(self, at: Lead, key: Int) -> V:
        """The products of the one query with as many keys as a vector has lanes, each along its own row."""
        k, keys = self.k, self.anchor.inputs[1]
        buffer, shared = buffer_of(self.kernel, keys), self._shared(at)
        parts: list[V] = []
        for lane in range(self.lanes):
            row = imin(key + lane, self.keys - 1)
            total: V | None = None
            for start in range(0, self.features, self.lanes):
                left = self.features - start
                index = source_index(self.kernel, keys, (*shared, row, as_int(start)))
                vector = k.load(buffer, index, self.lanes, mask=left if left < self.lanes else None)
                vector, query = self.kernel.widened(vector), k.load(self.q_rows, (0, start), self.lanes)
                total = k.mul(query, vector) if total is None else k.fma(query, vector, total)
            assert total is not None
            parts.append(total)
        return _sums_across(k, parts)

    def _keep(self, at: Lead, first: Int, key: Int, column: Int, rows: Sequence[Sequence[V]], edge: bool) -> None:
        """Stores a panel's scores, capped and masked. edge: some keys lie beyond what some query sees."""
        k = self.k
        for r, values in enumerate(rows):
            start = 0
            for value in values:
                score = self._masked(at, imin(first + r, self.queries - 1), key + start, self._capped(value))
                if edge:
                    limit = self._limit(first + r)
                    position = k.add(k.iota(i32, value.lanes), k.value(key + start, i32))
                    score = k.select(k.cmp("lt", position, k.value(limit, i32)), score, MINUS_INFINITY)
                k.store(self.scores, (r, column + start), score)
                start += value.lanes

    def _limit(self, row: Int) -> Int:
        """The first key that a query does not see."""
        if not self.op.causal:
            return self.keys
        return imin(self.keys, row + self.kernel.dim(self.op.offset) + 1)

    def _capped(self, value: V) -> V:
        if not self.op.softcap:
            return value
        return self.k.mul(vm.tanh(self.k, value), self.op.softcap * LOG2_E)

    def _masked(self, at: Lead, row: Int, key: Int, score: V) -> V:
        if len(self.anchor.inputs) < 4:
            return score
        k, mask = self.k, self.anchor.inputs[3]
        index = broadcast_index(mask.shape, (*at, row, key)[-mask.rank :] if mask.rank else ())
        found = self.kernel.fit(self.kernel.read(mask, index, score.lanes, self.keys - key), score.lanes)
        if mask.dtype.is_bool:
            return k.select(found, score, MINUS_INFINITY)
        hidden = k.cmp("eq", found, MINUS_INFINITY)
        return k.select(hidden, found, k.fma(found, LOG2_E, score))

    # -- softmax -------------------------------------------------------------------------------------------------------

    def _powers(self, stretch: Int) -> None:
        """Turns the rows of scores into powers of two below the largest, and sums them."""
        k = self.k
        with k.loop("r", 0, self.rows) as r:
            top, factor = self._largest_so_far(r, self._largest(r, stretch))
            total = k.reg(k.const(0, self.dtype, self.lanes))
            with k.loop("i", 0, stretch, self.lanes) as i:
                power = self._power(k.sub(k.load(self.scores, (r, i), self.lanes), top))
                k.store(self.scores, (r, i), power)
                k.set(total, k.add(k.get(total), power))
            whole = k.reduce("add", k.get(total))
            if factor is not None:
                whole = k.fma(k.load(self.stats, (1, r)), factor, whole)
            k.store(self.stats, (1, r), whole)

    def _largest_so_far(self, r: Int, top: V) -> tuple[V, V | None]:
        """What to subtract from a row's scores, and what the sums so far shrink by where there are blocks."""
        k = self.k
        if not self.online:
            return k.select(k.cmp("eq", top, MINUS_INFINITY), 0.0, top), None
        before = k.load(self.stats, (0, r))
        top = k.max(before, top)
        k.store(self.stats, (0, r), top)
        top = k.select(k.cmp("eq", top, MINUS_INFINITY), 0.0, top)
        factor = self._power(k.sub(before, top))
        k.store(self.stats, (2, r), factor)
        return top, factor

    def _largest(self, r: Int, stretch: Int) -> V:
        """The largest score of a row, NaN passed over: the powers bring it back."""
        k = self.k
        best = k.reg(k.const(MINUS_INFINITY, self.dtype, self.lanes))
        with k.loop("i", 0, stretch, self.lanes) as i:
            k.set(best, k.max(k.load(self.scores, (r, i), self.lanes), k.get(best)))
        return k.reduce("max", k.get(best))

    def _power(self, x: V) -> V:
        """2^x of x <= 0; 0 far below."""
        if self.dtype != f32:
            return vm.exp2(self.k, x)
        return short_exp2(self.k, self.k.max(self.k.const(-127.0, f32, x.lanes), x))

    def _clear(self) -> None:
        k = self.k
        with k.loop("r", 0, self.rows) as r:
            k.store(self.stats, (0, r), MINUS_INFINITY)
            k.store(self.stats, (1, r), 0.0)
            for column in range(0, self.outs, self.lanes):
                k.store(self.sums, (r, column), k.const(0, self.dtype, self.lanes))

    # -- values --------------------------------------------------------------------------------------------------------

    def _mix(self, at: Lead, start: Int, count: Int) -> None:
        """The values of `count` keys by their powers, one tile of columns after the other."""
        k, values = self.k, self.anchor.inputs[2]
        buffer, shared = buffer_of(self.kernel, values), self._shared(at)
        panel = sum(self.mixed)
        for column in range(0, self.outs, panel):
            lanes = split_lanes(min(panel, self.outs - column), self.dtype)

            def right(t: Int, offset: int, n: int, column: int = column) -> V:
                index = source_index(self.kernel, values, (*shared, start + t, as_int(column + offset)))
                left = self.outs - column - offset
                return self.kernel.widened(k.load(buffer, index, n, mask=left if left < n else None))

            sums = Multiplier(k, Tile(self.dtype, self.rows, lanes)).summed(
                as_int(0), count, lambda r, t: k.load(self.scores, (r, t)), right)  # fmt: skip
            self._collect(column, [[k.get(register) for register in row] for row in sums])

    def _collect(self, column: int, rows: list[list[V]]) -> None:
        """Keeps a block's values, added to the sums so far, which are rescaled."""
        k = self.k
        for r, values in enumerate(rows):
            factor = k.load(self.stats, (2, r)) if self.online else None
            at = column
            for value in values:
                if factor is not None:
                    value = k.fma(k.load(self.sums, (r, at), value.lanes), factor, value)
                k.store(self.sums, (r, at), value)
                at += value.lanes

    def _store(self, at: Lead, first: Int) -> None:
        """The sums by their factors, where the results go."""
        k, output = self.k, self.kernel.output(0)
        with k.loop("r", 0, imin(self.rows, self.queries - first)) as r:
            total = k.load(self.stats, (1, r))
            inverse = k.select(k.cmp("eq", total, 0.0), 0.0, k.div(1.0, total))  # 0 where nothing is seen
            for start in range(0, self.outs, self.lanes):
                index = result_index(self.kernel, self.anchor, (*at, first + r, as_int(start)))
                left = self.outs - start
                value = k.mul(k.load(self.sums, (r, start), self.lanes), inverse)
                k.store(output, index, k.cast(value, self.anchor.dtype), mask=left if left < self.lanes else None)


def _whole(count: int, lanes: int) -> int:
    """Room for whole vectors."""
    return -(-count // lanes) * lanes


def _sums_across(k: Builder, parts: Sequence[V]) -> V:
    """One vector whose lane j is the sum over the lanes of part j: halves are folded pair by pair."""
    vectors = list(parts)
    size = len(vectors)
    while size > 1:
        half = size // 2
        # Each vector holds blocks of `size` lanes yet to be summed; two vectors give one with blocks of half the size.
        low = [block + i for block in range(0, 2 * len(parts), size) for i in range(half)]
        high = [place + half for place in low]
        vectors = [k.add(k.shuffle(a, b, low), k.shuffle(a, b, high))
                   for a, b in zip(vectors[::2], vectors[1::2], strict=True)]  # fmt: skip
        size = half
    return vectors[0]
