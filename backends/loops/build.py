"""The builder: Python code that writes loops.

Ordinary Python loops unroll; `with k.loop(...)` makes a loop of the kernel. Two-operand methods take Values, Ints or
Python numbers; a number takes the dtype of the other operand, and a scalar next to a vector is splatted.

The file is longer than most because the builder is one interface: one short method per operation of the IR.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, zip_longest

from chainrule.backends.loops.ints import Index, Int, IntLike, Iter, LoopError, Size, as_int, atom_int
from chainrule.backends.loops.nodes import (
    Bin,
    Bitcast,
    Buffer,
    Cast,
    Cmp,
    Const,
    Declare,
    Dot,
    Extract,
    FailWhen,
    Fma,
    For,
    Forget,
    FromIndex,
    Function,
    Gather,
    Get,
    If,
    Insert,
    Iota,
    Load,
    Mask,
    Node,
    Prefetch,
    Reduce,
    Register,
    Select,
    Set,
    Shuffle,
    Splat,
    Store,
    ToIndex,
    Un,
    Value,
    While,
)
from chainrule.ir.types import DType, bf16, bool_, f32, i8, i32, i64, u8

Number = int | float | bool
Operand = Value | Int | Number
LANES = (1, 2, 4, 8, 16, 32, 64)
SCRATCH_BYTES = 768 * 1024  # threads have 2 MB of stack or more, unless the system's limit was lowered below that

FLOAT_OPS = frozenset({"add", "sub", "mul", "div", "rem", "min", "max", "minimum", "maximum", "copysign", "scale"})
INT_OPS = frozenset(
    {"add", "sub", "mul", "div", "rem", "min", "max", "minimum", "maximum", "and", "or", "xor", "shl", "shr"}
)
BOOL_OPS = frozenset({"and", "or", "xor"})
REDUCE_OPS = frozenset({"add", "mul", "min", "max", "minimum", "maximum", "and", "or"})


class Reg:
    """A handle on a mutable register of the kernel being built."""

    __slots__ = ("register", "_builder")

    def __init__(self, register: Register, builder: Builder) -> None:
        self.register = register
        self._builder = builder

    def get(self) -> Value:
        """The register's current value."""
        return self._builder.get(self)

    def set(self, value: Operand) -> None:
        """Assigns the register."""
        self._builder.set(self, value)


class Builder:
    """Builds one kernel. Every method appends to the innermost open loop or branch."""

    def __init__(self, name: str, scalar: bool = False, weaves: bool = True) -> None:
        self.name = name
        self.scalar = scalar
        self.weaves = weaves
        self.flops: Int | None = None
        self.bytes: Int | None = None
        self._buffers: list[Buffer] = []
        self._scratch: list[Buffer] = []
        self._sizes: list[Size] = []
        self._stack: list[list[Node]] = [[]]
        self._append: Callable[[Node], None] = self._stack[0].append
        self._values = 0
        self._iters = 0
        self._indices = 0
        self._registers = 0

    # -- declarations ------------------------------------------------------------------------------------------------

    def buffer(
        self,
        name: str,
        dtype: DType,
        shape: Sequence[IntLike],
        mode: str = "r",
        align: int = 0,
        exclusive: bool = False,
        streams: bool = False,
    ) -> Buffer:
        """A buffer parameter, row-major. align: bytes the caller promises (0: the element's size)."""
        if mode not in ("r", "w", "rw"):
            raise LoopError(f"buffer mode {mode!r} is not r, w or rw")
        dims = tuple(as_int(d) for d in shape)
        made = Buffer(len(self._buffers), name, dtype, dims, mode, align or dtype.itemsize, exclusive, False, streams)
        self._buffers.append(made)
        return made

    def scratch(self, name: str, dtype: DType, shape: Sequence[IntLike]) -> Buffer:
        """An array on the stack, 64-byte aligned, private to one parallel iteration, with undefined contents at
        first."""
        dims = tuple(as_int(d) for d in shape)
        made = Buffer(len(self._scratch), name, dtype, dims, "rw", 64, False, True)
        total = sum(math.prod(int(d) for d in b.shape) * b.dtype.itemsize for b in (*self._scratch, made))
        if total > SCRATCH_BYTES:
            raise LoopError(f"{total} bytes of scratch exceed {SCRATCH_BYTES}")
        self._scratch.append(made)
        return made

    def size(self, name: str, lo: int = 0, hi: int | None = None) -> Int:
        """A run-time size parameter, lo <= size <= hi."""
        made = Size(len(self._sizes), name, lo, hi)
        self._sizes.append(made)
        return atom_int(made)

    # -- control -----------------------------------------------------------------------------------------------------

    @contextmanager
    def loop(
        self, name: str, lo: IntLike, hi: IntLike, step: IntLike = 1, parallel: bool = False, unroll: bool = False
    ) -> Iterator[Int]:
        """A counted loop over lo, lo + step, ... below hi. unroll repeats the body and needs constant bounds."""
        low, high, pace = as_int(lo), as_int(hi), as_int(step)
        if pace.is_const and pace.const < 1:
            raise LoopError(f"loop {name}: step {pace} is not positive")
        if unroll and not (low.is_const and high.is_const and pace.is_const):
            raise LoopError(f"loop {name}: unroll needs constant bounds")
        if parallel and (len(self._stack) > 1 or low != 0 or pace != 1):
            raise LoopError(f"loop {name}: a parallel loop is outermost and runs from 0 in steps of 1")
        it = Iter(self._iters, name, low, high, pace)
        self._iters += 1
        self._push()
        yield atom_int(it)
        body = self._pop()
        self._append(For(it, low, high, pace, parallel, unroll, body))

    @contextmanager
    def when(self, cond: Value) -> Iterator[None]:
        """Runs the body when the scalar bool holds."""
        _need(cond.dtype == bool_ and cond.lanes == 1, "k.when needs a scalar bool")
        self._push()
        yield
        body = self._pop()
        self._append(If(cond, body, ()))

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """Runs the body when the k.when directly before did not."""
        last = self._stack[-1][-1] if self._stack[-1] else None
        if not isinstance(last, If) or last.otherwise:
            raise LoopError("k.otherwise must follow k.when")
        self._push()
        yield
        body = self._pop()
        self._stack[-1][-1] = If(last.cond, last.then, body)

    @contextmanager
    def while_(self, test: Callable[[], Value]) -> Iterator[None]:
        """Repeats the body while test(), which builds a scalar bool before each turn, holds."""
        self._push()
        cond = test()
        _need(cond.dtype == bool_ and cond.lanes == 1, "k.while_ needs a scalar bool")
        tested = self._pop()
        self._push()
        yield
        body = self._pop()
        self._append(While(tested, cond, body))

    def abreast(self, bodies: Sequence[Callable[[], None]]) -> None:
        """Builds pieces of code that do not depend on each other and, with self.weaves, a node of each in turn.

        Long chains of operations then run side by side; one after the other, they need more instructions in flight than
        a processor holds.
        """
        built: list[tuple[Node, ...]] = []
        for body in bodies:
            self._push()
            body()
            built.append(self._pop())
        rows = zip_longest(*built) if self.weaves else built
        for node in chain.from_iterable(rows):
            if node is not None:
                self._append(node)

    def reg(self, value: Operand, dtype: DType | None = None) -> Reg:
        """A mutable register with a first value (a number or Int needs a dtype)."""
        first = self._value(value, dtype)
        register = Register(self._registers, first.dtype, first.lanes)
        self._registers += 1
        self._append(Declare(register, first))
        return Reg(register, self)

    def get(self, reg: Reg) -> Value:
        """The register's current value."""
        out = self._new(reg.register.dtype, reg.register.lanes)
        self._append(Get(out, reg.register))
        return out

    def set(self, reg: Reg, value: Operand) -> None:
        """Assigns the register; a scalar is splatted to its lanes."""
        found = self._fit(self._value(value, reg.register.dtype), reg.register.lanes)
        if found.dtype != reg.register.dtype:
            raise LoopError(f"a {reg.register.dtype} register cannot hold {found.dtype}")
        self._append(Set(reg.register, found))

    # -- memory ------------------------------------------------------------------------------------------------------

    def load(
        self,
        buf: Buffer,
        index: Sequence[IntLike],
        lanes: int = 1,
        mask: Value | IntLike | None = None,
        stride: IntLike = 1,
    ) -> Value:
        """Elements index[-1], index[-1] + stride, ... of a row; lanes masked off (bool vector, or a count) are 0."""
        if "r" not in buf.mode:
            raise LoopError(f"{buf.name} is write-only")
        out = self._new(buf.dtype, lanes)
        self._append(Load(out, buf, self._index(buf, index), self._mask(mask, lanes), as_int(stride)))
        return out

    def store(
        self,
        buf: Buffer,
        index: Sequence[IntLike],
        value: Operand,
        mask: Value | IntLike | None = None,
        stride: IntLike = 1,
    ) -> None:
        """Stores a value of the buffer's dtype; lanes masked off are left alone."""
        found = self._value(value, buf.dtype)
        if "w" not in buf.mode:
            raise LoopError(f"{buf.name} is read-only")
        if found.dtype != buf.dtype:
            raise LoopError(f"{buf.name} holds {buf.dtype}, not {found.dtype}: cast first")
        self._append(Store(found, buf, self._index(buf, index), self._mask(mask, found.lanes), as_int(stride)))

    def gather(
        self, buf: Buffer, index: Sequence[IntLike], offsets: Value, mask: Value | IntLike | None = None
    ) -> Value:
        """Elements index[-1] + offsets[j] of a row, the position clamped into the row; lanes masked off are 0."""
        _need("r" in buf.mode and len(buf.shape) > 0, f"{buf.name} cannot be gathered from")
        _need(offsets.dtype in (i32, i64), "offsets are i32 or i64")
        out = self._new(buf.dtype, offsets.lanes)
        self._append(Gather(out, buf, self._index(buf, index), offsets, self._mask(mask, offsets.lanes)))
        return out

    def prefetch(self, buf: Buffer, index: Sequence[IntLike], write: bool = False) -> None:
        """Asks for a cache line ahead of time; need not be in bounds."""
        self._append(Prefetch(buf, self._index(buf, index), write))

    def forget(self) -> None:
        """Frees the vector registers of constants that loops elsewhere use, before a loop that needs them all."""
        self._append(Forget())

    def fail_when(self, cond: Value, code: int) -> None:
        """Sets the kernel's status to code (non-zero) when cond, or any lane of it, holds; execution goes on."""
        _need(cond.dtype == bool_ and code != 0, "k.fail_when needs a bool and a non-zero code")
        self._append(FailWhen(cond, code))

    # -- making values -----------------------------------------------------------------------------------------------

    def const(self, value: Number | Sequence[Number], dtype: DType, lanes: int = 1) -> Value:
        """A constant, splatted to the lanes; a sequence gives each lane its own. Floats round to the dtype, ints
        wrap."""
        if isinstance(value, (int, float)):
            return self._emit(Const, dtype, lanes, (bits_of(value, dtype),))
        bits = tuple(bits_of(v, dtype) for v in value)
        if len(set(bits)) == 1:
            return self._emit(Const, dtype, len(bits), bits[:1])
        return self._emit(Const, dtype, len(bits), bits)

    def splat(self, x: Operand, lanes: int, dtype: DType | None = None) -> Value:
        """The scalar in every lane (lanes 1: itself)."""
        found = self._value(x, dtype)
        _need(found.lanes == 1, "splat needs a scalar")
        return found if lanes == 1 else self._emit(Splat, found.dtype, lanes, found)

    def iota(self, dtype: DType, lanes: int) -> Value:
        """0, 1, 2, ... as dtype."""
        return self.const([*range(lanes)], dtype) if dtype.is_float or lanes == 1 else self._emit(Iota, dtype, lanes)

    def extract(self, x: Value, lane: int) -> Value:
        """One lane as a scalar."""
        _need(0 <= lane < x.lanes, f"lane {lane} of {x.lanes}")
        return x if x.lanes == 1 else self._emit(Extract, x.dtype, 1, x, lane)

    def insert(self, x: Value, scalar: Operand, lane: int) -> Value:
        """x with one lane replaced."""
        found = self._value(scalar, x.dtype)
        _need(0 <= lane < x.lanes and found.lanes == 1 and found.dtype == x.dtype, "insert: wrong lane or type")
        return found if x.lanes == 1 else self._emit(Insert, x.dtype, x.lanes, x, found, lane)

    def shuffle(self, a: Value, b: Value | None, lanes: Sequence[int]) -> Value:
        """out[j] = (a ++ b)[lanes[j]]; b None means a again."""
        other = a if b is None else b
        _need(a.dtype == other.dtype and a.lanes == other.lanes, "shuffle needs two values of one type")
        _need(all(0 <= j < 2 * a.lanes for j in lanes), "shuffle lane out of range")
        if len(lanes) == 1:
            return self.extract(a, lanes[0]) if lanes[0] < a.lanes else self.extract(other, lanes[0] - a.lanes)
        return self._emit(Shuffle, a.dtype, len(lanes), a, other, tuple(lanes))

    def concat(self, *parts: Value) -> Value:
        """The lanes of all parts in order; 2, 4, ... parts of one type."""
        values = list(parts[0]) if len(parts) == 1 and isinstance(parts[0], (list, tuple)) else list(parts)
        while len(values) > 1:
            _need(len(values) % 2 == 0, "concat needs a power of two of parts")
            values = [self.shuffle(a, b, range(2 * a.lanes)) for a, b in zip(values[::2], values[1::2], strict=True)]
        return values[0]

    def value(self, i: IntLike, dtype: DType) -> Value:
        """An index expression as data (integers wrap, floats round)."""
        index = as_int(i)
        if index.is_const:
            return self.const(index.const, dtype)
        return self._emit(FromIndex, dtype, 1, index)

    def index(self, value: Value, lo: IntLike, hi: IntLike) -> Int:
        """A scalar integer as an index, clamped into [lo, hi); lo when that is empty."""
        _need(value.dtype.is_int and value.lanes == 1, "k.index needs a scalar integer")
        atom = Index(self._indices, as_int(lo), as_int(hi))
        self._indices += 1
        self._append(ToIndex(atom, value))
        return atom_int(atom)

    # -- arithmetic --------------------------------------------------------------------------------------------------

    def add(self, a: Operand, b: Operand) -> Value:
        """a + b; integers wrap."""
        return self._bin("add", a, b)

    def sub(self, a: Operand, b: Operand) -> Value:
        """a - b; integers wrap."""
        return self._bin("sub", a, b)

    def mul(self, a: Operand, b: Operand) -> Value:
        """a * b; integers wrap."""
        return self._bin("mul", a, b)

    def div(self, a: Operand, b: Operand) -> Value:
        """a / b; integers truncate, x / 0 = -1 (all ones), INT_MIN / -1 = INT_MIN."""
        return self._bin("div", a, b)

    def rem(self, a: Operand, b: Operand) -> Value:
        """The remainder with a's sign (C's % and fmod, exact); x rem 0 = x for integers, NaN for floats."""
        return self._bin("rem", a, b)

    def min(self, a: Operand, b: Operand) -> Value:
        """a < b ? a : b."""
        return self._bin("min", a, b)

    def max(self, a: Operand, b: Operand) -> Value:
        """a > b ? a : b."""
        return self._bin("max", a, b)

    def minimum(self, a: Operand, b: Operand) -> Value:
        """The smaller; NaN if either is NaN; -0 < +0."""
        return self._bin("minimum", a, b)

    def maximum(self, a: Operand, b: Operand) -> Value:
        """The larger; NaN if either is NaN; -0 < +0."""
        return self._bin("maximum", a, b)

    def copysign(self, a: Operand, b: Operand) -> Value:
        """abs(a) with b's sign bit."""
        return self._bin("copysign", a, b)

    def scale(self, a: Operand, n: Operand) -> Value:
        """a * 2^n rounded once, for an a near 1 and a whole n less than twice the exponent's bias either way.

        f32 and f64.
        """
        made = self._bin("scale", a, n)
        _need(made.dtype.bits >= 32, "k.scale takes f32 and f64")
        return made

    def and_(self, a: Operand, b: Operand) -> Value:
        """Bitwise and, of integers or bools."""
        return self._bin("and", a, b)

    def or_(self, a: Operand, b: Operand) -> Value:
        """Bitwise or, of integers or bools."""
        return self._bin("or", a, b)

    def xor_(self, a: Operand, b: Operand) -> Value:
        """Bitwise exclusive or, of integers or bools."""
        return self._bin("xor", a, b)

    def shl(self, a: Operand, b: Operand) -> Value:
        """a << b; 0 when b, read as unsigned, is at least the width."""
        return self._bin("shl", a, b)

    def shr(self, a: Operand, b: Operand) -> Value:
        """a >> b, arithmetic for signed a; 0 or the sign when b, read as unsigned, is at least the width."""
        return self._bin("shr", a, b)

    def fma(self, a: Operand, b: Operand, c: Operand) -> Value:
        """a * b + c for floats, fused where the target can."""
        known = next((x for x in (a, b, c) if isinstance(x, Value)), None)
        _need(known is not None, "fma needs a value")
        assert known is not None
        _need(known.dtype.is_float, "fma is for floats")
        found = [self._value(x, known.dtype) for x in (a, b, c)]
        lanes = max(x.lanes for x in found)
        x, y, z = (self._fit(v, lanes) for v in found)
        if not x.dtype == y.dtype == z.dtype:
            raise LoopError(f"fma of {x.dtype}, {y.dtype}, {z.dtype}")
        return self._emit(Fma, x.dtype, lanes, x, y, z)

    def dot(self, a: Value, b: Value, c: Value) -> Value:
        """c plus, in each lane, four u8 of a times four i8 of b (i32), or two bf16 of either (f32); see nodes.Dot."""
        _need(dots(a, b, c), f"dot of {a.dtype}, {b.dtype}, {c.dtype} in {a.lanes}, {b.lanes}, {c.lanes} lanes")
        return self._emit(Dot, c.dtype, c.lanes, a, b, c)

    def neg(self, a: Value) -> Value:
        """-a: floats flip the sign bit, integers wrap."""
        return self._un("neg", a, not a.dtype.is_bool)

    def abs(self, a: Value) -> Value:
        """abs(a): floats clear the sign bit, abs(INT_MIN) = INT_MIN."""
        return self._un("abs", a, not a.dtype.is_bool)

    def sqrt(self, a: Value) -> Value:
        """The correctly rounded root."""
        return self._un("sqrt", a, a.dtype.is_float)

    def floor(self, a: Value) -> Value:
        """Rounded down."""
        return self._un("floor", a, a.dtype.is_float)

    def ceil(self, a: Value) -> Value:
        """Rounded up."""
        return self._un("ceil", a, a.dtype.is_float)

    def trunc(self, a: Value) -> Value:
        """Rounded towards 0."""
        return self._un("trunc", a, a.dtype.is_float)

    def rint(self, a: Value) -> Value:
        """Rounded to nearest, ties to even."""
        return self._un("rint", a, a.dtype.is_float)

    def not_(self, a: Value) -> Value:
        """All bits flipped, of an integer or bool."""
        return self._un("not", a, not a.dtype.is_float)

    def cmp(self, op: str, a: Operand, b: Operand) -> Value:
        """op: lt le gt ge eq ne; NaN compares false except for ne. Two Ints compare as i64."""
        _need(op in ("lt", "le", "gt", "ge", "eq", "ne"), f"comparison {op!r}")
        x, y = self._two(a, b)
        return self._emit_op(Cmp, op, bool_, x.lanes, x, y)

    def select(self, cond: Value, a: Operand, b: Operand) -> Value:
        """a where cond holds, else b, lane by lane."""
        x, y = self._two(a, b)
        lanes = max(cond.lanes, x.lanes)
        _need(cond.dtype == bool_, "select needs a bool")
        fitted = self._fit(cond, lanes), self._fit(x, lanes), self._fit(y, lanes)
        return self._emit(Select, x.dtype, lanes, *fitted)

    def cast(self, x: Operand, dtype: DType) -> Value:
        """x converted: float to integer saturates (NaN -> 0), narrowing integers wrap, to bool is x != 0."""
        if isinstance(x, Int):
            return self.value(x, dtype)
        if not isinstance(x, Value):
            return self.const(x, dtype)
        return x if x.dtype == dtype else self._emit(Cast, dtype, x.lanes, x)

    def bitcast(self, x: Value, dtype: DType) -> Value:
        """The same bits as another dtype; lanes change with the element size."""
        _need(not (x.dtype.is_bool or dtype.is_bool), "bool has no bits to cast")
        total = x.dtype.bits * x.lanes
        _need(total % dtype.bits == 0, f"{total} bits are no whole number of {dtype}")
        return x if x.dtype == dtype else self._emit(Bitcast, dtype, total // dtype.bits, x)

    def reduce(self, op: str, x: Value) -> Value:
        """All lanes combined by halving: lane j with lane j + n/2, then again."""
        _need(op in REDUCE_OPS and op in _ops_for(x.dtype), f"reduce {op!r} of {x.dtype}")
        return x if x.lanes == 1 else self._emit_op(Reduce, op, x.dtype, 1, x)

    def build(self) -> Function:
        """The finished kernel."""
        if len(self._stack) != 1:
            raise LoopError("build inside an open loop or branch")
        body = tuple(self._stack[0])
        if sum(isinstance(node, For) and node.parallel for node in body) > 1:
            raise LoopError("a kernel has at most one parallel loop")
        return Function(
            self.name,
            tuple(self._buffers),
            tuple(self._sizes),
            tuple(self._scratch),
            body,
            self.scalar,
            self.flops,
            self.bytes,
        )

    # -- inside ------------------------------------------------------------------------------------------------------

    def _new(self, dtype: DType, lanes: int) -> Value:
        if lanes not in LANES:
            raise LoopError(f"{lanes} lanes: use a power of two up to {LANES[-1]}")
        made = Value(self._values, dtype, lanes)
        self._values += 1
        return made

    def _emit(self, node: Callable[..., Node], dtype: DType, lanes: int, *args: object) -> Value:
        out = self._new(dtype, lanes)
        self._append(node(out, *args))
        return out

    def _emit_op(self, node: Callable[..., Node], op: str, dtype: DType, lanes: int, *args: object) -> Value:
        out = self._new(dtype, lanes)
        self._append(node(op, out, *args))
        return out

    def _bin(self, op: str, a: Operand, b: Operand) -> Value:
        x, y = self._two(a, b)
        if op not in _ops_for(x.dtype):
            raise LoopError(f"{op} of {x.dtype}")
        out = self._new(x.dtype, x.lanes)
        self._append(Bin(op, out, x, y))
        return out

    def _un(self, op: str, a: Value, fits: bool) -> Value:
        _need(fits, f"{op} of {a.dtype}")
        return self._emit_op(Un, op, a.dtype, a.lanes, a)

    def _two(self, a: Operand, b: Operand) -> tuple[Value, Value]:
        if isinstance(a, Value):
            x, y = a, b if isinstance(b, Value) else self._value(b, a.dtype)
        elif isinstance(b, Value):
            x, y = self._value(a, b.dtype), b
        else:
            _need(not isinstance(a, float) and not isinstance(b, float), "two numbers have no dtype")
            x, y = self._value(a, i64), self._value(b, i64)
        if x.dtype is not y.dtype and x.dtype != y.dtype:
            raise LoopError(f"operands of {x.dtype} and {y.dtype}")
        if x.lanes != y.lanes:
            lanes = max(x.lanes, y.lanes)
            x, y = self._fit(x, lanes), self._fit(y, lanes)
        return x, y

    def _value(self, x: Operand, dtype: DType | None) -> Value:
        if isinstance(x, Value):
            return x
        _need(dtype is not None, "a number needs a dtype")
        assert dtype is not None
        return self.value(x, dtype) if isinstance(x, Int) else self.const(x, dtype)

    def _fit(self, x: Value, lanes: int) -> Value:
        if x.lanes == lanes:
            return x
        _need(x.lanes == 1, f"{x.lanes} lanes next to {lanes}")
        return self.splat(x, lanes)

    def _index(self, buf: Buffer, index: Sequence[IntLike]) -> tuple[Int, ...]:
        if len(index) != len(buf.shape):
            raise LoopError(f"{buf.name} has {len(buf.shape)} dims, index has {len(index)}")
        return tuple(as_int(i) for i in index)

    def _mask(self, mask: Value | IntLike | None, lanes: int) -> Mask:
        if mask is None:
            return None
        if isinstance(mask, Value):
            _need(mask.dtype == bool_, "a mask is a bool vector or a count")
            return self._fit(mask, lanes)
        return as_int(mask)

    def _push(self) -> None:
        self._stack.append([])
        self._append = self._stack[-1].append

    def _pop(self) -> tuple[Node, ...]:
        body = tuple(self._stack.pop())
        self._append = self._stack[-1].append
        return body


def dots(a: Value, b: Value, c: Value) -> bool:
    """True for operands of dot: four u8 and four i8 for each i32, or two bf16 of either for each f32."""
    group = {(u8, i8, i32): 4, (bf16, bf16, f32): 2}.get((a.dtype, b.dtype, c.dtype))
    return group is not None and a.lanes == b.lanes == group * c.lanes


def bits_of(value: Number, dtype: DType) -> int:
    """The bits of a number in a dtype: floats round to nearest (overflow to infinity), integers wrap."""
    if dtype.is_bool:
        return int(bool(value))
    if not dtype.is_float:
        return int(value) & ((1 << dtype.bits) - 1)
    if dtype.bits == 64:
        return struct.unpack("<Q", struct.pack("<d", float(value)))[0]
    import numpy as np

    with np.errstate(over="ignore"):
        array = np.array(float(value), np.float64).astype(dtype.numpy)
    return int.from_bytes(array.tobytes(), "little")


def _ops_for(dtype: DType) -> frozenset[str]:
    return FLOAT_OPS if dtype.is_float else BOOL_OPS if dtype.is_bool else INT_OPS


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise LoopError(message)
