"""What a kernel means, in plain numpy: every statement in order, every access checked. Slow, and the judge of the
emitter.

Values are numpy arrays of shape (lanes,). 16-bit floats are computed in f32 and rounded after each operation; a fused
multiply-add rounds twice here, which native code need not do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.backends.loops.ints import Atom, Int, LoopError, Pair
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
from chainrule.ir.types import DType, f32

Array = np.ndarray[Any, Any]


class _Machine:
    """The state of one run."""

    def __init__(self, fn: Function, arrays: Sequence[Array], sizes: Sequence[int]) -> None:
        if len(arrays) != len(fn.buffers) or len(sizes) != len(fn.sizes):
            raise LoopError(f"{fn.name} takes {len(fn.buffers)} arrays and {len(fn.sizes)} sizes")
        self.env: dict[Atom, int] = dict(zip(fn.sizes, map(int, sizes), strict=True))
        self.values: dict[int, Array] = {}
        self.registers: dict[int, Array] = {}
        self.memory: dict[tuple[bool, int], Array] = {}
        self.shapes: dict[tuple[bool, int], tuple[int, ...]] = {}
        self.status = 0
        self.scratch = fn.scratch
        for size in fn.sizes:
            value = self.env[size]
            if value < (size.low or 0) or (size.high is not None and value > size.high):
                raise LoopError(f"size {size.name} = {value} is out of its range")
        for buffer, array in zip(fn.buffers, arrays, strict=True):
            self.bind(buffer, array)
        self.clear_scratch()

    def bind(self, buffer: Buffer, array: Array) -> None:
        key = (buffer.scratch, buffer.number)
        shape = tuple(self.int(d) for d in buffer.shape)
        if array.dtype != buffer.dtype.numpy or not array.flags.c_contiguous:
            raise LoopError(f"{buffer.name} is a contiguous {buffer.dtype} array, not {array.dtype}")
        if array.size < math.prod(shape):
            raise LoopError(f"{buffer.name} needs {math.prod(shape)} elements, the array has {array.size}")
        self.shapes[key] = shape
        self.memory[key] = array.reshape(-1)

    def clear_scratch(self) -> None:
        """Scratch contents are undefined between parallel iterations: NaN, or a pattern."""
        for buffer in self.scratch:
            count = math.prod(int(d) for d in buffer.shape)
            raw = np.full(count * buffer.dtype.itemsize, 0xFF if not buffer.dtype.is_bool else 1, np.uint8)
            self.bind(buffer, raw.view(buffer.dtype.numpy))

    def int(self, value: Int) -> int:
        """The number that an index expression stands for."""
        total = value.const
        for mono, coefficient in value.terms.items():
            for atom in mono:
                coefficient *= self.atom(atom)
            total += coefficient
        return total

    def atom(self, atom: Atom) -> int:
        if not isinstance(atom, Pair):
            return self.env[atom]
        a, b = self.int(atom.a), self.int(atom.b)
        match atom.kind:
            case "//":
                return a // max(b, 1)
            case "%":
                return a % max(b, 1)
            case "min":
                return min(a, b)
            case _:
                return max(a, b)

    def places(self, buffer: Buffer, index: Sequence[Int], steps: Array, on: Array) -> Array:
        """Flat positions of the lanes along the last dim; lanes that are on must be inside the buffer."""
        shape = self.shapes[(buffer.scratch, buffer.number)]
        at = [self.int(i) for i in index]
        if not shape:
            return np.zeros(len(steps), np.int64)
        last = at[-1] + steps
        inside = all(0 <= i < d for i, d in zip(at[:-1], shape[:-1], strict=True))
        if bool(on.any()) and not (inside and bool(((last >= 0) & (last < shape[-1]))[on].all())):
            raise LoopError(f"{buffer.name}{shape}: index {at} with lanes {steps.tolist()} is out of bounds")
        row = 0
        for i, d in zip(at[:-1], shape[1:], strict=True):
            row = (row + i) * d
        return row + last

    def mask(self, mask: Mask, lanes: int) -> Array:
        if mask is None:
            return np.ones(lanes, bool)
        if isinstance(mask, Value):
            return self.values[mask.id]
        return np.arange(lanes) < self.int(mask)


def interpret(
    fn: Function, arrays: Sequence[Array], sizes: Sequence[int] = (), lo: int = 0, hi: int | None = None
) -> int:
    """Runs the kernel on C-contiguous arrays (one per buffer), writing into them; returns the status.

    hi None means the whole extent. Raises LoopError for an access outside a buffer.
    """
    machine = _Machine(fn, arrays, sizes)
    extent = fn.extent
    end = hi if hi is not None else 1 if extent is None else machine.int(extent)
    with np.errstate(all="ignore"):
        if fn.parallel_loop is not None or lo < end:
            _run(machine, fn.body, lo, end)
    return machine.status


def _run(m: _Machine, body: tuple[Node, ...], lo: int, hi: int) -> None:
    for node in body:
        match node:
            case For():
                _for(m, node, lo, hi)
            case If(cond, then, otherwise):
                _run(m, then if m.values[cond.id][0] else otherwise, lo, hi)
            case While(test, cond, inner):
                _run(m, test, lo, hi)
                while m.values[cond.id][0]:
                    _run(m, inner, lo, hi)
                    _run(m, test, lo, hi)
            case Set(register, value) | Declare(register, value):
                m.registers[register.number] = m.values[value.id]
            case Store():
                _store(m, node)
            case ToIndex(atom, value):
                number = int(m.values[value.id][0])
                m.env[atom] = max(min(number, m.int(atom.hi) - 1), m.int(atom.lo))
            case FailWhen(cond, code):
                if m.status == 0 and bool(m.values[cond.id].any()):
                    m.status = code
            case Prefetch() | Forget():
                pass
            case _:
                m.values[node.out.id] = _value(m, node)


def _for(m: _Machine, node: For, lo: int, hi: int) -> None:
    span = range(lo, hi) if node.parallel else range(m.int(node.lo), m.int(node.hi), m.int(node.step))
    for i in span:
        if node.parallel:
            m.clear_scratch()
        m.env[node.it] = i
        _run(m, node.body, lo, hi)


def _store(m: _Machine, node: Store) -> None:
    value = m.values[node.value.id]
    on = m.mask(node.mask, node.value.lanes)
    steps = np.arange(node.value.lanes) * m.int(node.stride)
    places = m.places(node.buffer, node.index, steps, on)
    m.memory[(node.buffer.scratch, node.buffer.number)][places[on]] = value[on]


def _load(m: _Machine, node: Load) -> Array:
    lanes = node.out.lanes
    on = m.mask(node.mask, lanes)
    places = m.places(node.buffer, node.index, np.arange(lanes) * m.int(node.stride), on)
    out = np.zeros(lanes, node.out.dtype.numpy)
    out[on] = m.memory[(node.buffer.scratch, node.buffer.number)][places[on]]
    return out


def _gather(m: _Machine, node: Gather) -> Array:
    lanes = node.out.lanes
    on = m.mask(node.mask, lanes)
    extent = m.shapes[(node.buffer.scratch, node.buffer.number)][-1]
    last = m.int(node.index[-1])
    position = np.clip(m.values[node.offsets.id].astype(np.int64) + last, 0, max(extent - 1, 0))
    if extent < 1:
        on = np.zeros(lanes, bool)
    places = m.places(node.buffer, node.index, position - last, on)
    out = np.zeros(lanes, node.out.dtype.numpy)
    out[on] = m.memory[(node.buffer.scratch, node.buffer.number)][places[on]]
    return out


def _value(m: _Machine, node: Node) -> Array:
    v = m.values
    match node:
        case Load():
            return _load(m, node)
        case Gather():
            return _gather(m, node)
        case Const(out, bits):
            raw = b"".join(b.to_bytes(out.dtype.itemsize, "little") for b in bits)
            return np.resize(np.frombuffer(raw, out.dtype.numpy), out.lanes)
        case Get(_, register):
            return m.registers[register.number]
        case Fma(out, a, b, c):
            wide = [_wide(v[x.id], out.dtype) for x in (a, b, c)]
            return (wide[0] * wide[1] + wide[2]).astype(out.dtype.numpy)
        case Dot(out, a, b, c) if out.dtype.is_float:
            left, right = (v[x.id].astype(np.float64).reshape(-1, 2) for x in (a, b))
            odd = (v[c.id] + left[:, 1] * right[:, 1]).astype(np.float32)
            return (odd + left[:, 0] * right[:, 0]).astype(np.float32)
        case Dot(_, a, b, c):
            products = v[a.id].astype(np.int32) * v[b.id].astype(np.int32)
            return v[c.id] + products.reshape(-1, 4).sum(axis=1, dtype=np.int32)
        case Bin(op, out, a, b):
            return binary(op, v[a.id], v[b.id], out.dtype)
        case Un(op, out, a):
            return unary(op, v[a.id], out.dtype)
        case Cmp(op, _, a, b):
            return _COMPARE[op](v[a.id], v[b.id])
        case Select(_, cond, a, b):
            return np.where(v[cond.id], v[a.id], v[b.id])
        case Cast(out, a):
            return cast(v[a.id], a.dtype, out.dtype)
        case FromIndex(out, index):
            return cast(np.array([m.int(index)], np.int64), None, out.dtype)
        case _:
            return _lanes(m, node)


def _lanes(m: _Machine, node: Node) -> Array:
    v = m.values
    match node:
        case Bitcast(out, a):
            return v[a.id].copy().view(out.dtype.numpy)
        case Splat(out, a):
            return np.repeat(v[a.id], out.lanes)
        case Iota(out):
            return np.arange(out.lanes).astype(out.dtype.numpy)
        case Extract(_, a, lane):
            return v[a.id][lane : lane + 1]
        case Insert(_, a, x, lane):
            copy = v[a.id].copy()
            copy[lane] = v[x.id][0]
            return copy
        case Shuffle(_, a, b, lanes):
            return np.concatenate([v[a.id], v[b.id]])[list(lanes)]
        case Reduce(op, out, a):
            x = v[a.id]
            while len(x) > 1:
                half = len(x) // 2
                x = binary(op, x[:half], x[half:], out.dtype)
            return x
    raise LoopError(f"node {type(node).__name__} has no meaning")


def binary(op: str, a: Array, b: Array, dtype: DType) -> Array:
    """A two-operand operation on arrays of the dtype."""
    if dtype.is_float:
        return _float_binary(op, _wide(a, dtype), _wide(b, dtype)).astype(dtype.numpy)
    match op:
        case "add":
            return a + b
        case "sub":
            return a - b
        case "mul":
            return a * b
        case "min" | "minimum":
            return np.minimum(a, b)
        case "max" | "maximum":
            return np.maximum(a, b)
        case "and":
            return a & b
        case "or":
            return a | b
        case "xor":
            return a ^ b
        case "div" | "rem":
            return _each(_divide if op == "div" else _remainder, a, b, dtype)
        case _:
            return _each(_left if op == "shl" else _right, a, b, dtype)


def _float_binary(op: str, a: Array, b: Array) -> Array:
    match op:
        case "add":
            return a + b
        case "sub":
            return a - b
        case "mul":
            return a * b
        case "div":
            return a / b
        case "rem":
            return np.fmod(a, b)
        case "min":
            return np.where(a < b, a, b)
        case "max":
            return np.where(a > b, a, b)
        case "copysign":
            return np.copysign(a, b)
        case "scale":
            return np.ldexp(a, np.where(np.isnan(b), 0, b).astype(np.int32))
        case "minimum":
            picked = np.where((a < b) | ((a == b) & np.signbit(a)), a, b)
        case _:
            picked = np.where((a > b) | ((a == b) & ~np.signbit(a)), a, b)
    return np.where(np.isnan(a) | np.isnan(b), np.array(np.nan, a.dtype), picked)


def unary(op: str, a: Array, dtype: DType) -> Array:
    """A one-operand operation on an array of the dtype."""
    if op == "not":
        return ~a
    if not dtype.is_float:
        return (0 - a if op == "neg" else np.abs(a)).astype(dtype.numpy)
    return _FLOAT_UNARY[op](_wide(a, dtype)).astype(dtype.numpy)


def cast(a: Array, source: DType | None, out: DType) -> Array:
    """Conversion: float to integer saturates and sends NaN to 0; integers wrap; to bool is a != 0.

    f64 and integers reach bf16, and integers f16, through f32. source None: an index.
    """
    if out.is_bool:
        return a != 0
    if source is not None and source.is_float and out.is_int:
        return _saturated(_wide(a, source), out)
    from_int = source is None or not source.is_float
    if out.is_float and out.bits == 16 and (from_int or (out.name == "bf16" and a.dtype == np.float64)):
        a = a.astype(np.float32)
    return a.astype(out.numpy)


def _saturated(a: Array, out: DType) -> Array:
    low, high = (-(1 << out.bits - 1), (1 << out.bits - 1) - 1) if out.is_signed else (0, (1 << out.bits) - 1)
    numbers = [0 if math.isnan(x) else (high if x > 0 else low) if math.isinf(x) else int(x) for x in a.tolist()]
    return np.array([min(max(n, low), high) for n in numbers], out.numpy)


def _wide(a: Array, dtype: DType) -> Array:
    return a.astype(np.float32) if dtype.is_float and dtype.bits < f32.bits else a


def _each(op: Callable[[int, int, DType], int], a: Array, b: Array, dtype: DType) -> Array:
    modulus = 1 << dtype.bits
    numbers = [op(x, y, dtype) % modulus for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    unsigned = np.array(numbers, np.dtype(f"u{dtype.itemsize}"))
    return unsigned.view(dtype.numpy)


def _divide(x: int, y: int, dtype: DType) -> int:
    if y == 0:
        return -1
    quotient = abs(x) // abs(y)
    return quotient if (x < 0) == (y < 0) else -quotient


def _remainder(x: int, y: int, dtype: DType) -> int:
    return x if y == 0 else x - _divide(x, y, dtype) * y


def _left(x: int, y: int, dtype: DType) -> int:
    return x << y if 0 <= y < dtype.bits else 0


def _right(x: int, y: int, dtype: DType) -> int:
    return x >> (y if 0 <= y < dtype.bits else dtype.bits)


_COMPARE: dict[str, Callable[[Array, Array], Array]] = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip
_FLOAT_UNARY: dict[str, Callable[[Array], Array]] = {
    "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt, "floor": np.floor, "ceil": np.ceil,
    "trunc": np.trunc, "rint": np.rint,
}  # fmt: skip
