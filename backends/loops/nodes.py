"""The nodes of the loop IR: frozen data, one class per form. No op of the graph is known here.

A Value is (id, dtype, lanes); lanes = 1 is a scalar. Statements stand in tuples; For, If and While hold such tuples.
Constants hold bits, not floats, so that NaN equals itself and equal kernels compare equal.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.backends.loops.ints import Index, Int, Iter, Size
from chainrule.ir.lazy import lazy
from chainrule.ir.types import DType


@dataclass(frozen=True, slots=True)
class Value:
    """A data value: a scalar (lanes 1) or a vector."""

    id: int
    dtype: DType
    lanes: int

    def __str__(self) -> str:
        return f"%{self.id}"


@dataclass(frozen=True, slots=True)
class Buffer:
    """An array that a kernel reads or writes: a parameter (number = its place) or stack scratch (private, constant
    shape).

    mode is "r", "w" or "rw". align is in bytes. exclusive: the caller promises that no other buffer overlaps it.
    streams: each element is written once and not read soon, so that whole lines of a large one may pass the caches by.
    """

    number: int
    name: str
    dtype: DType
    shape: tuple[Int, ...]
    mode: str
    align: int
    exclusive: bool
    scratch: bool
    streams: bool = False

    def __str__(self) -> str:
        return f"{self.name}"


@dataclass(frozen=True, slots=True)
class Register:
    """A mutable variable that lives in a machine register."""

    number: int
    dtype: DType
    lanes: int


Mask = Value | Int | None


@dataclass(frozen=True, slots=True)
class Const:
    """bits has one entry (all lanes alike) or one per lane."""

    out: Value
    bits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Un:
    """op: neg abs sqrt floor ceil trunc rint not."""

    op: str
    out: Value
    a: Value


@dataclass(frozen=True, slots=True)
class Bin:
    """op: add sub mul div rem min max minimum maximum copysign scale and or xor shl shr."""

    op: str
    out: Value
    a: Value
    b: Value


@dataclass(frozen=True, slots=True)
class Fma:
    """a * b + c, rounded once or twice as the target likes."""

    out: Value
    a: Value
    b: Value
    c: Value


@dataclass(frozen=True, slots=True)
class Dot:
    """c plus, in each lane, the products of a few narrow numbers of a with as many of b.

    Four u8 and four i8 for an i32: exact, the sum wraps. Two bf16 and two bf16 for an f32: the second product is added
    first, each rounded once or twice; what is below 2^-126 in size may count as zero.
    """

    out: Value
    a: Value
    b: Value
    c: Value


@dataclass(frozen=True, slots=True)
class Cmp:
    """op: lt le gt ge eq ne; false on NaN except ne."""

    op: str
    out: Value
    a: Value
    b: Value


@dataclass(frozen=True, slots=True)
class Select:
    out: Value
    cond: Value
    a: Value
    b: Value


@dataclass(frozen=True, slots=True)
class Cast:
    """The value converted to out.dtype: float to integer saturates (NaN -> 0), integers wrap, bool is (a != 0)."""

    out: Value
    a: Value


@dataclass(frozen=True, slots=True)
class Bitcast:
    """The same bits as out.dtype; lanes change with the element size (lane 0 is lowest)."""

    out: Value
    a: Value


@dataclass(frozen=True, slots=True)
class Splat:
    out: Value
    a: Value


@dataclass(frozen=True, slots=True)
class Iota:
    """0, 1, 2, ..."""

    out: Value


@dataclass(frozen=True, slots=True)
class Extract:
    out: Value
    a: Value
    lane: int


@dataclass(frozen=True, slots=True)
class Insert:
    out: Value
    a: Value
    x: Value
    lane: int


@dataclass(frozen=True, slots=True)
class Shuffle:
    """out[j] = (a ++ b)[lanes[j]]."""

    out: Value
    a: Value
    b: Value
    lanes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reduce:
    """All lanes combined: upper half onto lower half, again and again (the order is fixed)."""

    op: str
    out: Value
    a: Value


@dataclass(frozen=True, slots=True)
class Load:
    """out[j] = buffer[..., last + j * stride]; lanes masked off are 0. A mask is a bool vector or a count of valid
    lanes."""

    out: Value
    buffer: Buffer
    index: tuple[Int, ...]
    mask: Mask
    stride: Int


@dataclass(frozen=True, slots=True)
class Store:
    value: Value
    buffer: Buffer
    index: tuple[Int, ...]
    mask: Mask
    stride: Int


@dataclass(frozen=True, slots=True)
class Gather:
    """out[j] = buffer[..., clamp(last + offsets[j])]: the last index is clamped into the buffer; an empty row gives
    0."""

    out: Value
    buffer: Buffer
    index: tuple[Int, ...]
    offsets: Value
    mask: Mask


@dataclass(frozen=True, slots=True)
class FromIndex:
    """An index expression as a data value."""

    out: Value
    index: Int


@dataclass(frozen=True, slots=True)
class ToIndex:
    """Binds the atom to clamp(value, lo, hi - 1); lo when the range is empty."""

    atom: Index
    value: Value


@dataclass(frozen=True, slots=True)
class FailWhen:
    """Sets the kernel's status to code when cond (any lane of it) holds and the status is still 0; execution goes
    on."""

    cond: Value
    code: int


@dataclass(frozen=True, slots=True)
class Prefetch:
    """A hint; may point anywhere."""

    buffer: Buffer
    index: tuple[Int, ...]
    write: bool


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing is kept in a vector register across this point but what is used behind it and cannot be made again.

    Constants of loops elsewhere in a kernel else take the registers that a tile of sums needs.
    """


@dataclass(frozen=True, slots=True)
class Declare:
    register: Register
    value: Value


@dataclass(frozen=True, slots=True)
class Set:
    register: Register
    value: Value


@dataclass(frozen=True, slots=True)
class Get:
    out: Value
    register: Register


@dataclass(frozen=True, slots=True)
class For:
    """for it in range(lo, hi, step): body. parallel: any order and split. unroll: constant bounds, body repeated."""

    it: Iter
    lo: Int
    hi: Int
    step: Int
    parallel: bool
    unroll: bool
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class If:
    cond: Value
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class While:
    """test runs before each turn and leaves its answer in cond."""

    test: tuple[Node, ...]
    cond: Value
    body: tuple[Node, ...]


Node = (
    Const | Un | Bin | Fma | Dot | Cmp | Select | Cast | Bitcast | Splat | Iota | Extract | Insert | Shuffle | Reduce
    | Load | Store | Gather | FromIndex | ToIndex | FailWhen | Prefetch | Forget | Declare | Set | Get | For | If
    | While
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Function:
    """A kernel. Equality and hash ignore the name, so that equal kernels are compiled once.

    scalar: the kernel is plain scalar loops and wants LLVM's light pipeline. flops, bytes: estimates for one full call,
    as expressions over sizes, or None.
    """

    name: str
    buffers: tuple[Buffer, ...]
    sizes: tuple[Size, ...]
    scratch: tuple[Buffer, ...]
    body: tuple[Node, ...]
    scalar: bool = False
    flops: Int | None = None
    bytes: Int | None = None

    @lazy
    def parallel_loop(self) -> For | None:
        """The parallel loop at the top of the body, if there is one."""
        return next((node for node in self.body if isinstance(node, For) and node.parallel), None)

    @property
    def extent(self) -> Int | None:
        """Number of parallel iterations, an expression over sizes; None without a parallel loop (then call lo=0,
        hi=1)."""
        loop = self.parallel_loop
        return None if loop is None else loop.hi

    @lazy
    def _content(self) -> tuple[object, ...]:
        shapes = tuple((b.dtype, b.shape, b.mode, b.align, b.exclusive) for b in (*self.buffers, *self.scratch))
        sizes = tuple((s.low, s.high) for s in self.sizes)
        return shapes, sizes, self.scalar, self.body

    @lazy
    def _hash(self) -> int:
        return hash(self._content)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Function) and self._hash == other._hash and self._content == other._content

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        from chainrule.backends.loops.text import text

        return text(self)  # pyright: ignore[reportArgumentType]  (pyright sees this file under two names)


def children(node: Node) -> tuple[tuple[Node, ...], ...]:
    """The statement lists inside a node."""
    match node:
        case For(body=body):
            return (body,)
        case If(then=then, otherwise=otherwise):
            return then, otherwise
        case While(test=test, body=body):
            return test, body
    return ()


def may_fail(fn: Function) -> bool:
    """True when the kernel can set its status: some of its data may be found wrong."""
    todo = [fn.body]
    while todo:
        for node in todo.pop():
            if isinstance(node, FailWhen):
                return True
            todo += children(node)
    return False


def registers_set(body: tuple[Node, ...]) -> dict[int, Register]:
    """The registers that the statements assign, by number, without those that they themselves declare."""
    assigned: dict[int, Register] = {}
    declared: set[int] = set()
    todo = [body]
    while todo:
        for node in todo.pop():
            if isinstance(node, Set):
                assigned[node.register.number] = node.register
            elif isinstance(node, Declare):
                declared.add(node.register.number)
            elif isinstance(node, (For, If, While)):
                todo += children(node)
    return {number: register for number, register in assigned.items() if number not in declared}
