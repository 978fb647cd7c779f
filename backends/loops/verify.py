"""The verifier: a kernel's types, scopes, bounds and writers, proved before it is compiled.

Bounds are proved by eliminating unknowns through the loops' limits (prove.py), with the comparisons of enclosing
`when`s
as facts. A store must lie apart from whatever other parallel iterations touch in the same buffer. What cannot be proved
is listed; verify raises for it, so that a kernel which leans on its data says so by asking unproved instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from chainrule.backends.loops.disjoint import Access, shared_writes
from chainrule.backends.loops.ints import Atom, Int, LoopError, Pair, as_int, atom_int, atoms_of, imin
from chainrule.backends.loops.nodes import (
    Bin,
    Buffer,
    Cmp,
    Const,
    Declare,
    For,
    FromIndex,
    Function,
    Gather,
    Get,
    If,
    Load,
    Node,
    Prefetch,
    Set,
    Store,
    ToIndex,
    Value,
    While,
)
from chainrule.backends.loops.prove import nonneg
from chainrule.backends.loops.text import index_text, statement
from chainrule.backends.loops.types import check_types, operands


@dataclass
class _Walk:
    """State of one walk: definitions in scope, facts, and what was found."""

    defined: dict[int, Node] = field(default_factory=dict)
    atoms: set[Atom] = field(default_factory=set)
    registers: set[int] = field(default_factory=set)
    facts: tuple[Int, ...] = ()
    parallel: bool = False
    accesses: list[Access] = field(default_factory=list)
    open: list[str] = field(default_factory=list)


def verify(fn: Function) -> None:
    """Raises LoopError unless types agree, names are in scope, and all accesses are proved in bounds and race-free."""
    left = unproved(fn)
    if left:
        raise LoopError(f"kernel {fn.name}: not proved:\n  " + "\n  ".join(left))


def unproved(fn: Function) -> tuple[str, ...]:
    """What could not be proved, one line each. Raises LoopError for what is certainly wrong (types, scopes)."""
    walk = _Walk(atoms=set(fn.sizes))
    walk.facts = tuple(atom_int(s) - (s.low or 0) for s in fn.sizes)
    _walk(walk, fn.body)
    for access in walk.accesses:
        _check_bounds(walk, access)
    loop = fn.parallel_loop
    if loop is not None:
        walk.open += shared_writes(fn, walk.accesses, loop.it)
    return tuple(dict.fromkeys(walk.open))


def _walk(walk: _Walk, body: tuple[Node, ...]) -> None:
    outside = set(walk.defined)
    atoms, registers, facts = set(walk.atoms), set(walk.registers), walk.facts
    for node in body:
        for value in operands(node):
            if value.id not in walk.defined:
                raise LoopError(f"{statement(node)}: {value} is not defined here")
        check_types(node)
        _check_atoms(walk, node)
        match node:
            case For():
                _walk_loop(walk, node)
            case If(cond, then, otherwise):
                before = walk.facts
                walk.facts = before + tuple(_facts(walk, cond, True))
                _walk(walk, then)
                walk.facts = before + tuple(_facts(walk, cond, False))
                _walk(walk, otherwise)
                walk.facts = before
            case While(test, cond, inner):
                _walk(walk, (*test, If(cond, inner, ())))
            case _:
                _simple(walk, node)
    walk.defined = {i: walk.defined[i] for i in outside}
    walk.atoms, walk.registers, walk.facts = atoms, registers, facts


def _walk_loop(walk: _Walk, node: For) -> None:
    if node.parallel and walk.parallel:
        raise LoopError("a parallel loop inside a parallel loop")
    if not nonneg(node.step - 1, walk.facts):
        raise LoopError(f"loop {node.it.name}: step {node.step} is not certainly positive")
    before, outer = walk.facts, walk.parallel
    walk.parallel = outer or node.parallel
    walk.atoms.add(node.it)
    # The body runs only if the range is not empty.
    walk.facts = (*before, node.hi - node.lo - 1)
    _walk(walk, node.body)
    walk.atoms.discard(node.it)
    walk.facts, walk.parallel = before, outer


def _simple(walk: _Walk, node: Node) -> None:
    match node:
        case Load(out, buffer, index, mask, stride):
            _access(walk, node, buffer, index, out.lanes, mask, stride, False)
        case Store(value, buffer, index, mask, stride):
            _access(walk, node, buffer, index, value.lanes, mask, stride, True)
        case Gather(_, buffer, index):
            row = (*index[:-1], as_int(0))
            reach = buffer.shape[-1] - 1
            some = (*walk.facts, reach)  # from an empty row nothing is read
            walk.accesses.append(Access(node, buffer, row, (as_int(0),), (reach,), some, False, walk.parallel))
        case Declare(register, _):
            walk.registers.add(register.number)
        case Set(register, _) | Get(_, register):
            if register.number not in walk.registers:
                raise LoopError(f"{statement(node)}: the register is not declared here")
        case ToIndex(atom, _):
            walk.atoms.add(atom)
    out = getattr(node, "out", None)
    if isinstance(out, Value):
        walk.defined[out.id] = node


def _access(
    walk: _Walk,
    node: Load | Store,
    buffer: Buffer,
    index: tuple[Int, ...],
    lanes: int,
    mask: Value | Int | None,
    stride: Int,
    writes: bool,
) -> None:
    facts = walk.facts
    count: Int = as_int(lanes)
    if isinstance(mask, Int):
        count = imin(lanes, mask)
        facts = (*facts, mask - 1)  # with no valid lane nothing is touched
    elif isinstance(mask, Value):
        facts = (*facts, *_facts(walk, mask, True)) if lanes == 1 else facts
    start, reach = as_int(0), (count - 1) * stride
    lows, highs = (start,), (reach,)
    if nonneg(-stride, walk.facts):
        lows, highs = highs, lows
    elif not nonneg(stride, walk.facts):
        lows = highs = (start, reach)
    walk.accesses.append(Access(node, buffer, index, lows, highs, facts, writes, walk.parallel))


def _facts(walk: _Walk, cond: Value, holds: bool) -> Iterator[Int]:
    """Ints known to be >= 0 when the condition has the given truth: comparisons of 64-bit indices, joined by and /
    or."""
    node = walk.defined.get(cond.id)
    match node:
        case Bin(op="and", a=a, b=b) if holds:
            yield from _facts(walk, a, True)
            yield from _facts(walk, b, True)
        case Bin(op="or", a=a, b=b) if not holds:
            yield from _facts(walk, a, False)
            yield from _facts(walk, b, False)
        case Cmp(op=op, a=a, b=b):
            x, y = _as_index(walk, a), _as_index(walk, b)
            if x is None or y is None:
                return
            kind = op if holds else {"lt": "ge", "ge": "lt", "le": "gt", "gt": "le", "eq": "ne", "ne": "eq"}[op]
            match kind:
                case "lt":
                    yield y - x - 1
                case "le":
                    yield y - x
                case "gt":
                    yield x - y - 1
                case "ge":
                    yield x - y
                case "eq":
                    yield x - y
                    yield y - x
                case _ if nonneg(x - y, walk.facts):
                    yield x - y - 1
                case _ if nonneg(y - x, walk.facts):
                    yield y - x - 1
                case _:
                    return


def _as_index(walk: _Walk, value: Value) -> Int | None:
    if value.dtype.name != "i64" or value.lanes != 1:
        return None
    node = walk.defined.get(value.id)
    match node:
        case FromIndex(_, index):
            return index
        case Const(_, bits):
            return as_int(bits[0] - (1 << 64) if bits[0] >> 63 else bits[0])
    return None


def _check_atoms(walk: _Walk, node: Node) -> None:
    for value in _ints(node):
        for atom in atoms_of(value):
            if not isinstance(atom, Pair) and atom not in walk.atoms:
                raise LoopError(f"{statement(node)}: {atom} is used outside of its loop")


def _ints(node: Node) -> Iterator[Int]:
    match node:
        case Load(_, _, index, mask, stride) | Store(_, _, index, mask, stride):
            yield from (*index, stride)
            if isinstance(mask, Int):
                yield mask
        case Gather(_, _, index, _, mask):
            yield from index
            if isinstance(mask, Int):
                yield mask
        case Prefetch(_, index, _):
            yield from index
        case FromIndex(_, index):
            yield index
        case ToIndex(atom, _):
            yield from (atom.lo, atom.hi)
        case For(_, lo, hi, step):
            yield from (lo, hi, step)


def _check_bounds(walk: _Walk, access: Access) -> None:
    rank = len(access.index)
    for place, (at, extent) in enumerate(zip(access.index, access.buffer.shape, strict=True)):
        lows, highs = (access.lows, access.highs) if place == rank - 1 else ((as_int(0),), (as_int(0),))
        if not all(nonneg(at + low, access.facts) for low in lows):
            walk.open.append(f"{statement(access.node)}: dim {place} may lie below 0")
        if not all(nonneg(extent - 1 - at - high, access.facts) for high in highs):
            walk.open.append(f"{statement(access.node)}: dim {place} may reach {index_text(extent)}")
