"""Argsort, sort and top-k of every line, lines in parallel: radix sort, or insertion where few are kept.

An element becomes a signed integer in the order wanted (floats by their bits, -0 as 0, NaN last, complemented for
descending order). Integers of up to 32 bits share one 64-bit item with their position; wider ones, and those of lines
of unknown length, carry their position in a second array. Then all digits are counted, and one pass per byte
distributes the items, the lowest byte first (Knuth, vol. 3, 5.2.5): passes are stable, none compares, time is linear.
Up to INSERTED places are kept in order on the stack instead; a vector of candidates is skipped where none beats the
last of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.backends.llvm.kernels.grid import grid
from chainrule.backends.llvm.kernels.reduce_space import Axis, Space, space_of
from chainrule.backends.llvm.kernels.reduce_sweeps import placed
from chainrule.backends.llvm.kernels.region import LANES, Kernel, KernelCall, Region, Temp, is_half
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, Reg, as_int, imin
from chainrule.backends.loops import Value as V
from chainrule.ir.dims import Dim
from chainrule.ir.types import DType, TensorType, f32, i32, i64
from chainrule.ops.shape_rules import axis_of
from chainrule.ops.sorting import Argsort, Sort, TopK

INSERTED = 32  # so many places are sorted by insertion
DIGITS = 256  # values of a digit of the radix sort
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
    few = isinstance(count, int) and count <= INSERTED
    with grid(kernel, [kernel.dim(space.dims[g]) for g in space.kept]) as place:
        index = placed(space, place)
        if few:
            made.inserted(index)
        else:
            made.distributed(index, place)
    kernel.k.flops = made.size * 200 * _product([kernel.dim(space.dims[g]) for g in space.kept])
    return [kernel.built("insertion" if few else "radix sort")]


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

    # -- radix sort ----------------------------------------------------------------------------------------------------

    @property
    def digits(self) -> int:
        """Bytes of a key that tell elements apart."""
        if self.dtype.is_bool or (self.dtype.is_int and self.dtype.bits == 8):
            return 1
        return max(self.dtype.bits, 32 if self.dtype.is_float else 16) // 8

    def _digit(self, items: Sequence[V], number: int) -> Int:
        """Byte `number` of the key, the sign bit flipped so that bytes order as unsigned."""
        k = self.k
        byte = k.and_(k.shr(items[0], 8 * number + (32 if self.packed else 0)), DIGITS - 1)
        unsigned = self.dtype.is_bool or (not self.dtype.is_signed and self.dtype.bits < 32)
        if number == self.digits - 1 and not unsigned:
            byte = k.xor_(byte, DIGITS // 2)
        return k.index(byte, 0, DIGITS)

    def distributed(self, index: Sequence[Int], place: Sequence[Int]) -> None:
        """Counts every digit of the line, then moves it from half to half of the temporary, digit by digit."""
        k, size = self.k, self.size
        shape = (*(self.space.dims[g] for g in self.space.kept), 2, self.space.dims[self.axis])
        buffers = [self.kernel.temp(Temp(TensorType(i64, shape))) for _ in range(1 if self.packed else 2)]
        counts = k.scratch("counts", i64, (self.digits, DIGITS))
        with k.loop("d", 0, self.digits) as d, k.loop("v", 0, DIGITS) as v:
            k.store(counts, (d, v), k.const(0, i64))
        with k.loop("i", 0, size) as i:
            items = self.items(index, i)
            for buffer, item in zip(buffers, items, strict=True):
                k.store(buffer, (*place, as_int(0), i), item)
            for d in range(self.digits):
                at = (as_int(d), self._digit(items, d))
                k.store(counts, at, k.add(k.load(counts, at), 1))
        for d in range(self.digits):
            self._starts(counts, d)
            source, target = as_int(d % 2), as_int(1 - d % 2)
            with k.loop("i", 0, size) as i:
                items = tuple(k.load(b, (*place, source, i)) for b in buffers)
                at = (as_int(d), self._digit(items, d))
                to = k.load(counts, at)
                k.store(counts, at, k.add(to, 1))
                spot = k.index(to, 0, size)
                for buffer, item in zip(buffers, items, strict=True):
                    k.store(buffer, (*place, target, spot), item)
        last = as_int(self.digits % 2)
        with k.loop("i", 0, self.kernel.dim(self.count)) as i:
            clamped = imin(i, size - 1)
            self.put(index, i, [k.load(b, (*place, last, clamped)) for b in buffers])

    def _starts(self, counts: Buffer, d: int) -> None:
        """Turns the counts of a digit's values into where the first element of each goes."""
        k = self.k
        total = k.reg(0, i64)
        with k.loop("v", 0, DIGITS) as v:
            at = (as_int(d), v)
            here = k.load(counts, at)
            k.store(counts, at, total.get())
            total.set(k.add(total.get(), here))

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
        if self.axis == len(self.space.dims) - 1:
            whole = self.size // LANES * LANES
            vectors = k.loop("i", 0, self.size - (LANES - 1), LANES)
            with vectors as i, k.when(self._worth_a_look(index, i, best, held)), k.loop("lane", 0, LANES) as lane:
                self._candidate(index, i + lane, best, held)
        else:
            whole = as_int(0)
        with k.loop("i", whole, self.size) as i:
            self._candidate(index, i, best, held)
        with k.loop("i", 0, count) as i:
            self.put(index, i, [k.load(b, (i,)) for b in best])

    def _worth_a_look(self, index: Sequence[Int], i: Int, best: Sequence[Buffer], held: Reg) -> V:
        """Whether one of LANES neighbours may be among the best."""
        k, last = self.k, as_int(int(best[0].shape[0]) - 1)
        keys = self._key(k.load(self.x(), self.at(index, i), LANES))
        worst = k.load(best[0], (last,))
        worst = k.cast(k.shr(worst, 32) if self.packed else worst, keys.dtype)
        better = k.reduce("or", k.cmp("lt", keys, k.splat(worst, LANES)))
        return k.or_(better, k.cmp("lt", held.get(), best[0].shape[0]))

    def _candidate(self, index: Sequence[Int], i: Int, best: Sequence[Buffer], held: Reg) -> None:
        k, count = self.k, best[0].shape[0]
        items = self.items(index, i)
        worst = k.load(best[0], (count - 1,))
        room = k.cmp("lt", held.get(), count)
        with k.when(k.or_(room, k.cmp("lt", items[0], worst))):
            held.set(k.select(room, k.add(held.get(), 1), held.get()))
            self._insert(best, items, k.sub(held.get(), 1))

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
