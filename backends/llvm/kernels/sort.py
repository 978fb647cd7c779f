"""Argsort, sort and top-k: a stable merge sort of every line, lines in parallel; for few of many, insertion.

An element becomes a signed integer in the order wanted (floats by their bits, -0 as 0, NaN last, complemented for
descending order). Integers of 32 bits share one 64-bit item with their position, so that one comparison orders both;
wider ones carry their position in a second array. Runs double from pass to pass between two halves of a temporary. The
merge takes one element per turn without branches: which side it comes from is data, and would be mispredicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.backends.llvm.kernels.grid import grid
from chainrule.backends.llvm.kernels.reduce import placed
from chainrule.backends.llvm.kernels.reduce_space import Axis, Space, space_of
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region, Temp, is_half
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, imax, imin
from chainrule.backends.loops import Value as V
from chainrule.ir.dims import Dim
from chainrule.ir.types import DType, TensorType, f32, i32, i64
from chainrule.ops.shape_rules import axis_of
from chainrule.ops.sorting import Argsort, Sort, TopK

INSERTED = 32  # top-k of at most so many is kept sorted by insertion
PACKED_LENGTH = 2**31  # positions below this share an item with their key


def sort(region: Region, target: Target) -> list[KernelCall]:
    """The kernel of an argsort, sort or top-k."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, Argsort | Sort | TopK)
    op, x = anchor.op, anchor.inputs[0].tensor
    along = axis_of(op.axis, x.rank)
    space = space_of(region, [Axis(a, d, a == along, a) for a, d in enumerate(x.shape)], lines=True)
    (axis,) = space.inner
    count: Dim = op.k if isinstance(op, TopK) else space.dims[axis]
    if count == 0:
        return []
    kernel = Kernel(region, target, f"sort_{region.name}"[:80])
    made = _Lines(kernel, space, axis, count, op.largest if isinstance(op, TopK) else op.descending)
    few = isinstance(op, TopK) and isinstance(op.k, int) and op.k <= INSERTED
    with grid(kernel, [kernel.dim(space.dims[g]) for g in space.kept]) as place:
        index = placed(space, place)
        if few:
            made.inserted(index)
        else:
            made.merged(index, place)
    kernel.k.flops = made.size * 60 * _product([kernel.dim(space.dims[g]) for g in space.kept])
    return [kernel.built("insertion" if few else "merge sort")]


def _product(sizes: Sequence[Int]) -> Int:
    total = as_int(1)
    for size in sizes:
        total = total * size
    return total


@dataclass
class _Lines:
    kernel: Kernel
    space: Space
    axis: int
    count: Dim
    descending: bool

    @property
    def k(self) -> Builder:
        return self.kernel.k

    @property
    def size(self) -> Int:
        return self.kernel.dim(self.space.dims[self.axis])

    @property
    def dtype(self) -> DType:
        assert self.kernel.region.anchor is not None
        return self.kernel.region.anchor.inputs[0].tensor.dtype

    @property
    def packed(self) -> bool:
        """True when key and position share an item."""
        length = self.space.dims[self.axis]
        narrow = self.dtype.bits <= 32 or self.dtype.is_bool
        return narrow and isinstance(length, int) and length < PACKED_LENGTH

    def x(self) -> Buffer:
        return self.kernel.input(0, [self.kernel.dim(d) for d in self.space.dims])

    def at(self, index: Sequence[Int], i: Int) -> tuple[Int, ...]:
        """The index of element i of the line."""
        return tuple(i if g == self.axis else at for g, at in enumerate(index))

    def items(self, index: Sequence[Int], i: Int) -> tuple[V, ...]:
        """Element i of the line as what is sorted."""
        k = self.k
        key = self._key(k.load(self.x(), self.at(index, i)))
        if not self.packed:
            return k.cast(key, i64), k.value(i, i64)
        return (k.or_(k.shl(k.cast(key, i64), 32), k.value(i, i64)),)

    def _key(self, x: V) -> V:
        """A signed integer, i32 or i64, in the wanted order."""
        k = self.k
        if not self.dtype.is_float:
            key = self._integer_key(x)
            return k.not_(key) if self.descending else key
        x = k.cast(x, f32) if is_half(self.dtype) else x
        integer = i32 if x.dtype == f32 else i64
        most = 2 ** (integer.bits - 1) - 1
        bits = k.bitcast(k.add(x, 0.0), integer)  # -0 + 0 = 0
        key = k.select(k.cmp("lt", bits, 0), k.xor_(bits, most), bits)
        key = k.not_(key) if self.descending else key
        return k.select(k.cmp("ne", x, x), k.const(most, integer), key)

    def _integer_key(self, x: V) -> V:
        k = self.k
        if self.dtype.bits < 32 or self.dtype.is_bool:
            return k.cast(x, i32)
        if self.dtype.is_signed:
            return x
        signed = i32 if self.dtype.bits == 32 else i64
        return k.bitcast(k.xor_(x, 1 << (self.dtype.bits - 1)), signed)

    def _position(self, items: Sequence[V]) -> V:
        k = self.k
        return k.and_(items[0], 2**32 - 1) if self.packed else items[1]

    def _first(self, a: Sequence[V], b: Sequence[V]) -> V:
        """Whether a stays in front of b, which stood behind it."""
        return self.k.cmp("le", a[0], b[0])

    def put(self, index: Sequence[Int], i: Int, items: Sequence[V]) -> None:
        """Writes place i of the sorted line to the results."""
        k, kernel = self.k, self.kernel
        op = kernel.region.anchor.op if kernel.region.anchor is not None else None
        count = kernel.dim(self.count)
        shape = [count if g == self.axis else kernel.dim(d) for g, d in enumerate(self.space.dims)]
        position = self._position(items)
        if isinstance(op, Argsort):
            k.store(kernel.output(0, shape), self.at(index, i), position)
            return
        source = k.index(position, 0, self.size)
        k.store(kernel.output(0, shape), self.at(index, i), k.load(self.x(), self.at(index, source)))
        if isinstance(op, TopK):
            k.store(kernel.output(1, shape), self.at(index, i), position)

    # -- merge sort ----------------------------------------------------------------------------------------------------

    def merged(self, index: Sequence[Int], place: Sequence[Int]) -> None:
        k, size = self.k, self.size
        kept = [self.space.dims[g] for g in self.space.kept]
        shape = (*kept, 2, self.space.dims[self.axis])
        names = ("item",) if self.packed else ("key", "position")
        buffers = [self.kernel.temp(Temp(TensorType(i64, shape))) for _ in names]
        with k.loop("i", 0, size) as i:
            for buffer, item in zip(buffers, self.items(index, i), strict=True):
                k.store(buffer, (*place, as_int(0), i), item)
        width, half = k.reg(1, i64), k.reg(0, i64)
        with k.while_(lambda: k.cmp("lt", width.get(), k.value(size, i64))):
            run = k.index(width.get(), 1, imax(size, 2))
            source = k.index(half.get(), 0, 2)
            target = k.index(k.xor_(half.get(), 1), 0, 2)
            with k.loop("start", 0, size, run * 2) as start:
                self._merge(buffers, place, source, target, start, run)
            width.set(k.mul(width.get(), 2))
            half.set(k.xor_(half.get(), 1))
        sorted_half = k.index(half.get(), 0, 2)
        with k.loop("i", 0, self.kernel.dim(self.count)) as i:
            clamped = imin(i, size - 1)
            self.put(index, i, [k.load(b, (*place, sorted_half, clamped)) for b in buffers])

    def _merge(self, buffers: Sequence[Buffer], place: Sequence[Int], source: Int, target: Int, start: Int,
               run: Int) -> None:  # fmt: skip
        k, size = self.k, self.size
        middle, end = k.value(imin(start + run, size), i64), k.value(imin(start + run * 2, size), i64)
        left, right = k.reg(k.value(start, i64)), k.reg(middle)
        with k.loop("to", start, imin(start + run * 2, size)) as to:
            i, j = left.get(), right.get()
            a, b = (
                [k.load(buffer, (*place, source, k.index(at, 0, size))) for buffer in buffers] for at in (i, j)
            )
            ahead = k.and_(k.cmp("lt", i, middle), k.or_(k.cmp("ge", j, end), self._first(a, b)))
            for buffer, x, y in zip(buffers, a, b, strict=True):
                k.store(buffer, (*place, target, to), k.select(ahead, x, y))
            step = k.cast(ahead, i64)
            left.set(k.add(i, step))
            right.set(k.add(j, k.xor_(step, 1)))

    # -- insertion -----------------------------------------------------------------------------------------------------

    def inserted(self, index: Sequence[Int]) -> None:
        """Keeps the best `count` elements in order while walking the line."""
        k = self.k
        assert isinstance(self.count, int)
        count = self.count
        best = [k.scratch(f"best{n}", i64, [count]) for n in range(1 if self.packed else 2)]
        last = 2**63 - 1
        with k.loop("i", 0, count) as i:
            for buffer in best:
                k.store(buffer, (i,), k.const(last, i64))
        held = k.reg(0, i64)
        with k.loop("i", 0, self.size) as i:
            items = self.items(index, i)
            worst = k.load(best[0], (as_int(count - 1),))
            room = k.cmp("lt", held.get(), count)
            with k.when(k.or_(room, k.cmp("lt", items[0], worst))):
                held.set(k.select(room, k.add(held.get(), 1), held.get()))
                self._insert(best, items, k.sub(held.get(), 1))
        with k.loop("i", 0, count) as i:
            self.put(index, i, [k.load(b, (i,)) for b in best])

    def _insert(self, best: Sequence[Buffer], items: Sequence[V], hole: V) -> None:
        """Moves what comes after the new item one place on, from the hole at the end."""
        k = self.k
        at = k.reg(hole)
        moving = k.reg(k.cmp("gt", at.get(), 0))
        with k.while_(lambda: moving.get()):
            here, before = k.index(at.get(), 0, best[0].shape[0]), k.index(k.sub(at.get(), 1), 0, best[0].shape[0])
            found = [k.load(b, (before,)) for b in best]
            later = k.cmp("lt", items[0], found[0])
            with k.when(later):
                for buffer, item in zip(best, found, strict=True):
                    k.store(buffer, (here,), item)
                at.set(k.sub(at.get(), 1))
            moving.set(k.and_(later, k.cmp("gt", at.get(), 0)))
        spot = k.index(at.get(), 0, best[0].shape[0])
        for buffer, item in zip(best, items, strict=True):
            k.store(buffer, (spot,), item)
