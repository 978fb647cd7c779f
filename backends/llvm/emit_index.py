"""LLVM text for index arithmetic and addresses, each part placed in the outermost scope where it is known.

A Writer holds the text of one function while it grows. Scopes nest as loops and branches do; a scope's lines end where
its child is being written, so that appending to an ancestor puts code right before the loop that needs it. Machine code
is made without IR passes, so invariant parts must be hoisted here; the code generator's own strength reduction does the
part that moves with the innermost loop.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from chainrule.backends.llvm.target import Target
from chainrule.backends.loops.ints import (
    Atom,
    Int,
    Mono,
    Pair,
    as_int,
    atoms_of,
    bounds,
    rejoined,
    sorted_terms,
    substitute,
)
from chainrule.backends.loops.nodes import Buffer
from chainrule.backends.loops.prove import nonneg
from chainrule.ir.types import DType

_MEMORY = {
    "f32": "float", "f64": "double", "f16": "i16", "bf16": "i16", "bool": "i8", "i8": "i8", "u8": "i8",
    "i16": "i16", "u16": "i16", "i32": "i32", "u32": "i32", "i64": "i64", "u64": "i64",
}  # fmt: skip
_VALUE = {**_MEMORY, "bool": "i1"}
_TYPES = {
    lanes: {dtype: name if lanes == 1 else f"<{lanes} x {name}>" for dtype, name in _VALUE.items()}
    for lanes in (1, 2, 4, 8, 16, 32, 64)
}


def value_type(dtype: DType, lanes: int) -> str:
    """The LLVM type of a value; f16 and bf16 travel as i16."""
    return _TYPES[lanes][dtype.name]


def memory_type(dtype: DType, lanes: int) -> str:
    """The LLVM type of the value in memory, where a bool is a byte."""
    name = _MEMORY[dtype.name]
    return name if lanes == 1 else f"<{lanes} x {name}>"


@dataclass
class Scope:
    """A stretch of code with one way in. label: the block that its end is in."""

    lines: list[str]
    label: str
    keys: list[Hashable] = field(default_factory=list)


class Writer:
    """The text of one function: open scopes, names of values, registers and addresses."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.scopes: list[Scope] = [Scope([], "entry")]
        self.lines = self.scopes[0].lines
        self.names: dict[int, str] = {}
        self.constants: dict[int, tuple[int, ...]] = {}
        self.registers: dict[int, str] = {}
        self.streams: dict[int, str] = {}  # by buffer: bits of an address that are 0 for a store past the caches
        self.declarations: dict[str, str] = {}
        self.helpers: set[str] = set()
        self.env: dict[Atom, Int] = {}
        self._atoms: dict[str, str] = {}
        self._depths: dict[str, int] = {}
        self._cache: dict[Hashable, str] = {}
        self._bases: dict[tuple[bool, int], str] = {}
        self._strides: dict[tuple[bool, int], tuple[Int, ...]] = {}
        self._count = 0

    # -- scopes ------------------------------------------------------------------------------------------------------

    def fresh(self, prefix: str = "t") -> str:
        """A new SSA name."""
        self._count += 1
        return f"%{prefix}{self._count}"

    def label(self) -> str:
        """A new block label."""
        self._count += 1
        return f"L{self._count}"

    def push(self, label: str) -> Scope:
        """Opens a scope; what is written goes there until pop."""
        scope = Scope([], label)
        self.scopes.append(scope)
        self.lines = scope.lines
        return scope

    def pop(self) -> Scope:
        """Closes the innermost scope and forgets what was computed in it."""
        scope = self.scopes.pop()
        for key in scope.keys:
            del self._cache[key]
        self.lines = self.scopes[-1].lines
        return scope

    def put(self, text: str, prefix: str = "t") -> str:
        """Writes an instruction and returns the name of its result."""
        self._count += 1
        name = f"%{prefix}{self._count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def intrinsic(self, name: str, signature: str) -> str:
        """Declares an intrinsic: signature is "result (arguments)". Returns its name."""
        self.declarations[name] = signature
        return name

    def bind_atom(self, atom: Atom, operand: str, depth: int) -> None:
        """Tells where an iterator, size or data index can be read, and from which scope on."""
        self._atoms[atom.key] = operand
        self._depths[atom.key] = depth

    def bind_buffer(self, buffer: Buffer, operand: str) -> None:
        """Tells a buffer's base address."""
        key = (buffer.scratch, buffer.number)
        self._bases[key] = operand
        strides: list[Int] = []
        step = as_int(1)
        for extent in reversed(buffer.shape):
            strides.append(step)
            step = step * extent
        self._strides[key] = tuple(reversed(strides))

    # -- index expressions -------------------------------------------------------------------------------------------

    def resolved(self, value: Int) -> Int:
        """The value with the iterators of unrolled loops replaced by their numbers."""
        return substitute(value, self.env) if self.env and value.terms else value

    def int(self, value: Int) -> str:
        """The operand (i64) of an index expression."""
        return self._resolved_int(self.resolved(value))

    def _resolved_int(self, value: Int) -> str:
        if not value.terms:
            return str(value.const)
        found = self._cache.get(value)
        if found is not None:
            return found
        done: dict[Mono, int] = {}
        name = ""
        depth = 0
        groups = self._groups(value)
        for depth, terms in groups:
            done.update(terms)
            partial = Int(dict(done))
            known = self._cache.get(partial)
            if known is None:
                known = self._sum(name, terms, depth)
                self._remember(partial, known, depth)
            name = known
        if value.const:
            name = self._at(depth, f"add i64 {name}, {value.const}")
            self._remember(value, name, depth)
        return name

    def pointer(self, buffer: Buffer, index: tuple[Int, ...]) -> str:
        """The address of an element."""
        key = (buffer.scratch, buffer.number)
        offset = as_int(0)
        for i, stride in zip(index, self._strides[key], strict=True):
            offset = offset + i * stride
        offset = rejoined(self.resolved(offset))
        name = self._bases[key]
        element = _MEMORY[buffer.dtype.name]
        if offset.terms:
            done: dict[Mono, int] = {}
            for depth, terms in self._groups(offset):
                done.update(terms)
                place = (key, Int(dict(done)))
                known = self._cache.get(place)
                if known is None:
                    step = self._resolved_int(Int(terms))
                    known = self._at(depth, f"getelementptr {element}, ptr {name}, i64 {step}", "p")
                    self._remember(place, known, depth)
                name = known
        if offset.const:
            name = self.put(f"getelementptr {element}, ptr {name}, i64 {offset.const}", "p")
        return name

    def _groups(self, value: Int) -> list[tuple[int, dict[Mono, int]]]:
        """The terms by the scope in which they become known, outermost first."""
        groups: dict[int, dict[Mono, int]] = {}
        terms = sorted_terms(value) if len(value.terms) > 1 else value.terms.items()
        for mono, coefficient in terms:
            depth = max([self._depth(atom) for atom in mono])
            groups.setdefault(depth, {})[mono] = coefficient
        return sorted(groups.items(), key=lambda group: group[0])

    def _depth(self, atom: Atom) -> int:
        if isinstance(atom, Pair):
            return max((self._depths[a.key] for a in atoms_of(_pair_int(atom)) if not isinstance(a, Pair)), default=0)
        return self._depths[atom.key]

    def _sum(self, start: str, terms: dict[Mono, int], depth: int) -> str:
        name = start
        for mono, coefficient in terms.items():
            factor = self._term(mono, coefficient)
            name = factor if not name else self._at(depth, f"add i64 {name}, {factor}")
        return name

    def _term(self, mono: Mono, coefficient: int) -> str:
        """coefficient * product of the atoms, the factors known first being multiplied first."""
        atoms = sorted(mono, key=self._depth) if len(mono) > 1 else mono
        name = "" if coefficient == 1 else str(coefficient)
        for count, atom in enumerate(atoms, 1):
            operand = self._atom(atom)
            if not name:
                name = operand
                continue
            key = ("term", coefficient, tuple(atoms[:count]))
            known = self._cache.get(key)
            if known is None:
                depth = self._depth(atom)
                known = self._at(depth, f"mul i64 {operand}, {name}")
                self._remember(key, known, depth)
            name = known
        return name

    def _atom(self, atom: Atom) -> str:
        if not isinstance(atom, Pair):
            return self._atoms[atom.key]
        known = self._cache.get(atom)
        if known is None:
            depth = self._depth(atom)
            known = self._pair(atom, depth)
            self._remember(atom, known, depth)
        return known

    def _pair(self, atom: Pair, depth: int) -> str:
        a, b = self._resolved_int(atom.a), self._resolved_int(atom.b)
        if atom.kind in ("min", "max"):
            name = self.intrinsic(f"llvm.s{atom.kind}.i64", "i64 (i64, i64)")
            return self._at(depth, f"call i64 @{name}(i64 {a}, i64 {b})")
        quotient = atom.kind == "//"
        low = bounds(atom.a)[0]
        if atom.b.is_const and (atom.b.const & (atom.b.const - 1)) == 0:
            if quotient:
                return self._at(depth, f"ashr i64 {a}, {atom.b.const.bit_length() - 1}")
            return self._at(depth, f"and i64 {a}, {atom.b.const - 1}")
        if not atom.b.is_const:
            name = self.intrinsic("llvm.smax.i64", "i64 (i64, i64)")
            b = self._at(depth, f"call i64 @{name}(i64 {b}, i64 1)", "safe")
        if (low is not None and low >= 0) or nonneg(atom.a):
            return self._at(depth, f"{'udiv' if quotient else 'urem'} i64 {a}, {b}")
        # C rounds towards zero; a negative remainder means that rounding down is one lower.
        left = self._at(depth, f"srem i64 {a}, {b}")
        below = self._at(depth, f"icmp slt i64 {left}, 0")
        if quotient:
            whole = self._at(depth, f"sdiv i64 {a}, {b}")
            less = self._at(depth, f"sext i1 {below} to i64")
            return self._at(depth, f"add i64 {whole}, {less}")
        more = self._at(depth, f"select i1 {below}, i64 {b}, i64 0")
        return self._at(depth, f"add i64 {left}, {more}")

    def hoisted(self, key: Hashable, value: Int, make: Callable[[], str]) -> str:
        """What make() writes (one name), computed once where the index expression becomes known."""
        known = self._cache.get(key)
        if known is None:
            depth = max((self._depth(atom) for mono in value.terms for atom in mono), default=0)
            here, self.lines = self.lines, self.scopes[depth].lines
            known = make()
            self.lines = here
            self._remember(key, known, depth)
        return known

    def _at(self, depth: int, text: str, prefix: str = "t") -> str:
        """Writes an instruction at the end of an open scope."""
        self._count += 1
        name = f"%{prefix}{self._count}"
        self.scopes[depth].lines.append(f"  {name} = {text}")
        return name

    def _remember(self, key: Hashable, name: str, depth: int) -> None:
        if key not in self._cache:
            self._cache[key] = name
            self.scopes[depth].keys.append(key)


def _pair_int(atom: Pair) -> Int:
    return Int({(atom,): 1})
