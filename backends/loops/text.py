"""Loop IR as text for people: one statement a line, loops and branches indented. Equal functions print alike but for
names."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from chainrule.backends.loops.ints import Int, Iter, Pair, Size, sorted_terms
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
from chainrule.ir.types import DType


def text(fn: Function) -> str:
    """The whole function, ending in a newline."""
    marks = [(" exclusive" if b.exclusive else "") + (" streams" if b.streams else "") for b in fn.buffers]
    buffers = [f"{b.name}: {_shape(b)} {b.mode}{more}" for b, more in zip(fn.buffers, marks, strict=True)]
    sizes = [f"{s.name}: size" + (f" >= {s.low}" if s.low else "") for s in fn.sizes]
    lines = [f"kernel @{fn.name}({', '.join(buffers + sizes)}) {{"]
    lines += [f"  scratch {b.name}: {_shape(b)}" for b in fn.scratch]
    todo: list[tuple[Node | str, int]] = [(node, 1) for node in reversed(fn.body)]
    while todo:
        node, depth = todo.pop()
        if isinstance(node, str):
            lines.append("  " * depth + node)
            continue
        lines.append("  " * depth + statement(node))
        for line, body in reversed(_bodies(node)):
            todo += [(inner, depth + 1) for inner in reversed(body)]
            if line:
                todo.append((line, depth))
    return "\n".join([*lines, "}", ""])


def _bodies(node: Node) -> list[tuple[str, tuple[Node, ...]]]:
    match node:
        case For(body=body):
            return [("", body)]
        case If(then=then, otherwise=otherwise):
            return [("", then), ("otherwise", otherwise)] if otherwise else [("", then)]
        case While(test=test, cond=cond, body=body):
            return [("", test), (f"do while {cond}", body)]
    return []


def statement(node: Node) -> str:
    """One statement without its body."""
    match node:
        case Store(value, buffer, index, mask, stride):
            return f"{_place(buffer, index, stride)} = {value}{_masked(mask)}"
        case Set(register, value):
            return f"r{register.number} = {value}"
        case Declare(register, value):
            return f"reg r{register.number}: {_type(register.dtype, register.lanes)} = {value}"
        case For(it, lo, hi, step, parallel, unroll):
            kind = "parallel " if parallel else "unroll " if unroll else ""
            return f"{kind}for {_iter(it)} in {index_text(lo)} .. {index_text(hi)}" + (
                f" step {index_text(step)}" if step != 1 else ""
            )
        case If(cond):
            return f"when {cond}"
        case While():
            return "test"
        case FailWhen(cond, code):
            return f"fail {code} when {cond}"
        case Prefetch(buffer, index, write):
            return f"prefetch {_place(buffer, index)}{' for write' if write else ''}"
        case Forget():
            return "forget"
        case ToIndex(atom, value):
            return f"{atom.key} = index({value}, {index_text(atom.lo)} .. {index_text(atom.hi)})"
        case _:
            return f"{node.out}: {_type(node.out.dtype, node.out.lanes)} = {_expression(node)}"


def _expression(node: Node) -> str:
    match node:
        case Const(out, bits):
            return "const " + ", ".join(number_text(b, out.dtype) for b in bits)
        case Load(_, buffer, index, mask, stride):
            return f"load {_place(buffer, index, stride)}{_masked(mask)}"
        case Gather(_, buffer, index, offsets, mask):
            return f"gather {_place(buffer, index)} at {offsets}{_masked(mask)}"
        case Un(op, _, a):
            return f"{op} {a}"
        case Bin(op, _, a, b) | Cmp(op, _, a, b):
            return f"{op} {a}, {b}"
        case Fma(_, a, b, c) | Dot(_, a, b, c) | Select(_, a, b, c):
            return f"{type(node).__name__.lower()} {a}, {b}, {c}"
        case Cast(_, a) | Bitcast(_, a) | Splat(_, a):
            return f"{type(node).__name__.lower()} {a}"
        case Iota():
            return "iota"
        case Extract(_, a, lane):
            return f"extract {a}, {lane}"
        case Insert(_, a, x, lane):
            return f"insert {a}, {x}, {lane}"
        case Shuffle(_, a, b, lanes):
            return f"shuffle {a}, {b}, {list(lanes)}"
        case Reduce(op, _, a):
            return f"reduce {op} {a}"
        case FromIndex(_, index):
            return f"value {index_text(index)}"
        case Get(_, register):
            return f"r{register.number}"
    raise AssertionError(type(node).__name__)


def index_text(value: Int) -> str:
    """An index expression with the loops' and sizes' own names."""
    parts: list[str] = []
    for mono, coefficient in sorted_terms(value):
        factors = [_atom(atom) for atom in mono]
        parts.append("*".join(factors if coefficient == 1 else [str(coefficient), *factors]))
    if value.const or not parts:
        parts.append(str(value.const))
    return " + ".join(parts).replace("+ -", "- ")


def number_text(bits: int, dtype: DType) -> str:
    """A constant's bits as a number of the dtype."""
    if dtype.is_bool:
        return "true" if bits else "false"
    raw = bits.to_bytes(dtype.itemsize, "little")
    if dtype.name == "bf16":
        return repr(struct.unpack("<f", b"\0\0" + raw)[0])
    if dtype.is_float:
        return repr(struct.unpack({2: "<e", 4: "<f", 8: "<d"}[dtype.itemsize], raw)[0])
    return str(int.from_bytes(raw, "little", signed=dtype.is_signed))


def _atom(atom: object) -> str:
    match atom:
        case Iter():
            return _iter(atom)
        case Size():
            return atom.name
        case Pair():
            a, b = index_text(atom.a), index_text(atom.b)
            return f"{atom.kind}({a}, {b})" if atom.kind in ("min", "max") else f"(({a}) {atom.kind} ({b}))"
    return str(atom)


def _iter(it: Iter) -> str:
    return f"{it.name}.{it.key[1:]}"


def _type(dtype: DType, lanes: int) -> str:
    return dtype.name if lanes == 1 else f"{dtype.name}x{lanes}"


def _shape(buffer: Buffer) -> str:
    return f"{buffer.dtype.name}[{', '.join(index_text(d) for d in buffer.shape)}]"


def _place(buffer: Buffer, index: Sequence[Int], stride: Int | None = None) -> str:
    steps = "" if stride is None or stride == 1 else f" by {index_text(stride)}"
    return f"{buffer.name}[{', '.join(index_text(i) for i in index)}{steps}]"


def _masked(mask: Mask) -> str:
    if mask is None:
        return ""
    return f" where {mask}" if isinstance(mask, Value) else f" first {index_text(mask)}"
