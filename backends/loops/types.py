"""The types that each node's operands must have: what the builder makes, checked again for functions made otherwise."""

from __future__ import annotations

from chainrule.backends.loops.build import BOOL_OPS, FLOAT_OPS, INT_OPS, dots
from chainrule.backends.loops.ints import LoopError
from chainrule.backends.loops.nodes import (
    Bin,
    Bitcast,
    Cast,
    Cmp,
    Const,
    Declare,
    Dot,
    Extract,
    FailWhen,
    Fma,
    Gather,
    If,
    Insert,
    Load,
    Node,
    Reduce,
    Select,
    Set,
    Shuffle,
    Splat,
    Store,
    ToIndex,
    Un,
    Value,
)


def operands(node: Node) -> tuple[Value, ...]:
    """The values that a node reads (not those that its body reads)."""
    match node:
        case Un(_, _, a) | Cast(_, a) | Bitcast(_, a) | Splat(_, a) | Extract(_, a) | Reduce(_, _, a):
            return (a,)
        case Bin(_, _, a, b) | Cmp(_, _, a, b) | Shuffle(_, a, b):
            return a, b
        case Fma(_, a, b, c) | Dot(_, a, b, c) | Select(_, a, b, c):
            return a, b, c
        case Insert(_, a, x):
            return a, x
        case Load(mask=mask):
            return (mask,) if isinstance(mask, Value) else ()
        case Store(value=value, mask=mask):
            return (value, mask) if isinstance(mask, Value) else (value,)
        case Gather(offsets=offsets, mask=mask):
            return (offsets, mask) if isinstance(mask, Value) else (offsets,)
        case ToIndex(_, value) | Set(_, value) | Declare(_, value):
            return (value,)
        case FailWhen(cond) | If(cond):
            return (cond,)
    return ()


def check_types(node: Node) -> None:
    """Raises LoopError when a node's operands do not have the types that it needs."""
    if not _fits(node):
        raise LoopError(f"{type(node).__name__}: operands and result do not fit: {node}")


def _fits(node: Node) -> bool:
    match node:
        case Const(out, bits):
            return len(bits) in (1, out.lanes) and all(0 <= b < 1 << out.dtype.bits for b in bits)
        case Un(_, out, a):
            return _same(out, a)
        case Bin(op, out, a, b):
            allowed = FLOAT_OPS if out.dtype.is_float else BOOL_OPS if out.dtype.is_bool else INT_OPS
            return op in allowed and _same(out, a, b)
        case Fma(out, a, b, c):
            return out.dtype.is_float and _same(out, a, b, c)
        case Dot(out, a, b, c):
            return dots(a, b, c) and _same(out, c)
        case Cmp(_, out, a, b):
            return out.dtype.is_bool and out.lanes == a.lanes and _same(a, b)
        case Select(out, cond, a, b):
            return cond.dtype.is_bool and cond.lanes == out.lanes and _same(out, a, b)
        case Cast(out, a):
            return out.lanes == a.lanes
        case Bitcast(out, a):
            return out.dtype.bits * out.lanes == a.dtype.bits * a.lanes
        case Splat(out, a):
            return a.lanes == 1 and out.dtype == a.dtype
        case Shuffle(out, a, b, lanes):
            return _same(a, b) and out.dtype == a.dtype and out.lanes == len(lanes)
        case Load(out, buffer, index):
            return out.dtype == buffer.dtype and len(index) == len(buffer.shape) and "r" in buffer.mode
        case Store(value, buffer, index):
            return value.dtype == buffer.dtype and len(index) == len(buffer.shape) and "w" in buffer.mode
        case Set(register, value) | Declare(register, value):
            return value.dtype == register.dtype and value.lanes == register.lanes
        case If(cond):
            return cond.dtype.is_bool and cond.lanes == 1
    return True


def _same(*values: Value) -> bool:
    return all(v.dtype == values[0].dtype and v.lanes == values[0].lanes for v in values)
