"""Index arithmetic: an Int is a polynomial with integer coefficients over atoms, kept in canonical form.

Atoms are loop iterators, run-time sizes, clamped data indices, and floor divisions, remainders, minima and maxima that
the polynomial form cannot absorb. Two Ints that are equal as polynomials are equal as Python objects, so equal kernels
compare equal. All values are 64-bit; // and % round down, and divisors are at least 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import Union

Mono = tuple["Atom", ...]
IntLike = Union["Int", int]
Range = tuple[int | None, int | None]


class LoopError(Exception):
    """A kernel template is wrong: a bug of this project, never of a user's program."""


class Atom:
    """One unknown of an Int. Equality is by key, which is unique within a kernel. low and high bound it, None =
    unknown."""

    __slots__ = ("key", "_hash", "low", "high")

    def __init__(self, key: str, low: int | None, high: int | None) -> None:
        self.key = key
        self._hash = hash(key)
        self.low = low
        self.high = high

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Atom) and self.key == other.key)

    def __hash__(self) -> int:
        return self._hash

    def __lt__(self, other: Atom) -> bool:
        return self.key < other.key

    def __repr__(self) -> str:
        return self.key


class Iter(Atom):
    """A loop's iterator: lo, lo + step, ... below hi."""

    __slots__ = ("name", "lo", "hi", "step")

    def __init__(self, number: int, name: str, lo: Int, hi: Int, step: Int) -> None:
        top = bounds(hi)[1]
        super().__init__(f"i{number}", bounds(lo)[0], None if top is None else top - 1)
        self.name = name
        self.lo = lo
        self.hi = hi
        self.step = step


class Size(Atom):
    """A run-time extent, lo <= size (<= hi where given)."""

    __slots__ = ("name", "number")

    def __init__(self, number: int, name: str, lo: int, hi: int | None) -> None:
        super().__init__(f"n{number}", lo, hi)
        self.name = name
        self.number = number


class Index(Atom):
    """A data value made into an index, clamped into [lo, hi)."""

    __slots__ = ("lo", "hi")

    def __init__(self, number: int, lo: Int, hi: Int) -> None:
        top = bounds(hi)[1]
        super().__init__(f"x{number}", bounds(lo)[0], None if top is None else top - 1)
        self.lo = lo
        self.hi = hi


class Pair(Atom):
    """An atom made of two Ints: kind is "//", "%", "min" or "max"."""

    __slots__ = ("kind", "a", "b")

    def __init__(self, kind: str, a: Int, b: Int) -> None:
        text = f"({a} {kind} {b})" if kind in ("//", "%") else f"{kind}({a}, {b})"
        super().__init__(text, *_pair_range(kind, bounds(a), bounds(b)))
        self.kind = kind
        self.a = a
        self.b = b


class Int:
    """sum(coefficient * product of atoms) + const. Immutable; truth and order are not defined for it."""

    __slots__ = ("terms", "const", "_hash")

    def __init__(self, terms: Mapping[Mono, int], const: int = 0) -> None:
        self.terms = terms
        self.const = const
        self._hash: int | None = None

    @property
    def is_const(self) -> bool:
        return not self.terms

    def __index__(self) -> int:
        if self.terms:
            raise LoopError(f"{self} is not a constant")
        return self.const

    __int__ = __index__

    def __bool__(self) -> bool:
        raise LoopError(f"the index {self} has no truth value; use k.when(k.cmp(...))")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Int):
            return self.const == other.const and self.terms == other.terms
        return isinstance(other, int) and not self.terms and self.const == other

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash((frozenset(self.terms.items()), self.const)) if self.terms else hash(self.const)
        return self._hash

    def __add__(self, other: IntLike) -> Int:
        if isinstance(other, Int):
            if not other.terms:
                return Int(self.terms, self.const + other.const)
            if not self.terms:
                return Int(other.terms, self.const + other.const)
            return Int(_sum(self.terms, other.terms, 1), self.const + other.const)
        return Int(self.terms, self.const + other)

    __radd__ = __add__

    def __neg__(self) -> Int:
        return self * -1

    def __sub__(self, other: IntLike) -> Int:
        if isinstance(other, Int):
            if not other.terms:
                return Int(self.terms, self.const - other.const)
            return Int(_sum(self.terms, other.terms, -1), self.const - other.const)
        return Int(self.terms, self.const - other)

    def __rsub__(self, other: int) -> Int:
        return self * -1 + other

    def __mul__(self, other: IntLike) -> Int:
        if not isinstance(other, Int):
            return _scaled(self, other)
        if not other.terms:
            return _scaled(self, other.const)
        if not self.terms:
            return _scaled(other, self.const)
        return _product(self, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: IntLike) -> Int:
        return floor_div(self, as_int(other))

    def __rfloordiv__(self, other: int) -> Int:
        return floor_div(as_int(other), self)

    def __mod__(self, other: IntLike) -> Int:
        return floor_mod(self, as_int(other))

    def __rmod__(self, other: int) -> Int:
        return floor_mod(as_int(other), self)

    def __str__(self) -> str:
        parts = ["*".join(([] if c == 1 else [str(c)]) + [a.key for a in m]) for m, c in sorted_terms(self)]
        if self.const or not parts:
            parts.append(str(self.const))
        return " + ".join(parts).replace("+ -", "- ")

    __repr__ = __str__


def as_int(value: IntLike) -> Int:
    """The Int of a Python integer, or the Int itself."""
    if isinstance(value, Int):
        return value
    return Int({}, int(value.__index__()))


def atom_int(atom: Atom) -> Int:
    """The Int that is one atom."""
    return Int({(atom,): 1})


def sorted_terms(value: Int) -> list[tuple[Mono, int]]:
    """The terms in canonical order."""
    return sorted(value.terms.items(), key=lambda term: [atom.key for atom in term[0]])


def imin(a: IntLike, b: IntLike) -> Int:
    """The smaller of two index expressions."""
    return _extreme("min", as_int(a), as_int(b))


def imax(a: IntLike, b: IntLike) -> Int:
    """The larger of two index expressions."""
    return _extreme("max", as_int(a), as_int(b))


def ceil_div(a: IntLike, b: IntLike) -> Int:
    """a / b rounded up."""
    b = as_int(b)
    return floor_div(as_int(a) + b - 1, b)


def floor_div(a: Int, b: Int) -> Int:
    """a // b, rounded down. A constant divisor below 1 is an error; a run-time one counts as at least 1."""
    if a.is_const and b.is_const:
        return as_int(a.const // _divisor(b))
    whole, rest = _split(a, b)
    if _inside(rest, b):
        return whole
    reduced = _common(rest, b)
    if reduced is not None:
        g, high, _ = reduced
        return whole + floor_div(high, as_int(b.const // g))
    return whole + _quotient(rest, b)


def _quotient(rest: Int, b: Int) -> Int:
    """rest // b where nothing can be taken out of it."""
    only = _only_pair(rest)
    if only is not None and only.kind == "//" and only.b.is_const and b.is_const:
        return floor_div(only.a, only.b * b)
    return atom_int(Pair("//", rest, b))


def floor_mod(a: Int, b: Int) -> Int:
    """a % b with the divisor's sign, hence never negative."""
    if a.is_const and b.is_const:
        return as_int(a.const % _divisor(b))
    _, rest = _split(a, b)
    if _inside(rest, b):
        return rest
    reduced = _common(rest, b)
    if reduced is not None:
        g, high, low = reduced
        return floor_mod(high, as_int(b.const // g)) * g + low
    return atom_int(Pair("%", rest, b))


def bounds(value: Int) -> Range:
    """Numeric bounds (least, greatest) by interval arithmetic; None where there is none."""
    low: int | None = value.const
    high: int | None = value.const
    for mono, coefficient in value.terms.items():
        span: Range = (coefficient, coefficient)
        for atom in mono:
            span = _times(span, (atom.low, atom.high))
        low = None if low is None or span[0] is None else low + span[0]
        high = None if high is None or span[1] is None else high + span[1]
    return low, high


def substitute(value: Int, env: Mapping[Atom, Int]) -> Int:
    """The Int with atoms replaced, also inside divisions, minima and maxima."""
    result = as_int(value.const)
    for mono, coefficient in value.terms.items():
        product = as_int(coefficient)
        for atom in mono:
            product = product * _substituted(atom, env)
        result = result + product
    return result


def atoms_of(value: Int) -> set[Atom]:
    """All atoms that the value depends on, those inside divisions, minima and maxima included."""
    found: set[Atom] = set()
    todo = [value]
    while todo:
        for mono in todo.pop().terms:
            for atom in mono:
                if atom not in found:
                    found.add(atom)
                    if isinstance(atom, Pair):
                        todo += [atom.a, atom.b]
    return found


def rejoined(value: Int) -> Int:
    """The value with q * (a // q) + a % q put together to a, as in the flat position of an index that was split."""
    again = True
    while again:
        again = False
        for mono, coefficient in value.terms.items():
            atom = next((x for x in mono if isinstance(x, Pair) and x.kind == "%"), None)
            if atom is None:
                continue
            rest = list(mono)
            rest.remove(atom)
            scale = Int({tuple(rest): coefficient}) if rest else as_int(coefficient)
            partner = _quotient(atom.a, atom.b) * atom.b * scale
            if all(value.terms.get(m) == c for m, c in partner.terms.items()):
                value = value - partner - Int({mono: coefficient}) + atom.a * scale
                again = True
                break
    return value


def _substituted(atom: Atom, env: Mapping[Atom, Int]) -> Int:
    found = env.get(atom)
    if found is not None:
        return found
    if not isinstance(atom, Pair):
        return atom_int(atom)
    a, b = substitute(atom.a, env), substitute(atom.b, env)
    match atom.kind:
        case "//":
            return floor_div(a, b)
        case "%":
            return floor_mod(a, b)
        case _:
            return _extreme(atom.kind, a, b)


def _sum(left: Mapping[Mono, int], right: Mapping[Mono, int], sign: int) -> dict[Mono, int]:
    out = dict(left)
    for mono, coefficient in right.items():
        total = out.get(mono, 0) + sign * coefficient
        if total:
            out[mono] = total
        else:
            del out[mono]
    return out


def _scaled(value: Int, factor: int) -> Int:
    if factor == 1:
        return value
    if factor == 0:
        return Int({})
    return Int({mono: c * factor for mono, c in value.terms.items()}, value.const * factor)


def _product(a: Int, b: Int) -> Int:
    out: dict[Mono, int] = {}
    a_terms = [*a.terms.items(), ((), a.const)] if a.const else list(a.terms.items())
    b_terms = [*b.terms.items(), ((), b.const)] if b.const else list(b.terms.items())
    for left, c in a_terms:
        for right, d in b_terms:
            mono = tuple(sorted(left + right))
            out[mono] = out.get(mono, 0) + c * d
    const = out.pop((), 0)
    return Int({mono: c for mono, c in out.items() if c}, const)


def _divisor(b: Int) -> int:
    if b.is_const and b.const < 1:
        raise LoopError(f"division of an index by {b.const}")
    return b.const


def _split(a: Int, b: Int) -> tuple[Int, Int]:
    """(q, r) with a = q * b + r, where q takes the terms that b divides exactly; r's constant is in [0, b)."""
    if b.is_const:
        d = _divisor(b)
        whole = {mono: c // d for mono, c in a.terms.items() if c % d == 0}
        rest = {mono: c for mono, c in a.terms.items() if c % d}
        return Int(whole, a.const // d), Int(rest, a.const % d)
    if len(b.terms) != 1 or b.const:
        return as_int(0), a
    ((divisor, scale),) = b.terms.items()
    quotient: dict[Mono, int] = {}
    rest = {}
    for mono, c in a.terms.items():
        left = _without(mono, divisor)
        if left is None or c % scale:
            rest[mono] = c
        else:
            quotient[left] = quotient.get(left, 0) + c // scale
    const = quotient.pop((), 0)
    return Int(quotient, const), Int(rest, a.const)


def _common(value: Int, b: Int) -> tuple[int, Int, Int] | None:
    """(g, high, low) with value = g * high + low, 0 <= low < g, and g > 1 a divisor of the constant b."""
    if not b.is_const:
        return None
    for g in sorted({gcd(c, b.const) for c in value.terms.values()} - {1}, reverse=True):
        high = {mono: c // g for mono, c in value.terms.items() if c % g == 0}
        low = Int({mono: c for mono, c in value.terms.items() if c % g}, value.const % g)
        if _inside(low, as_int(g)):
            return g, Int(high, value.const // g), low
    return None


def _without(mono: Mono, divisor: Mono) -> Mono | None:
    left = list(mono)
    for atom in divisor:
        if atom not in left:
            return None
        left.remove(atom)
    return tuple(left)


def _inside(rest: Int, b: Int) -> bool:
    """True when 0 <= rest < b is certain."""
    if b.is_const:
        low, high = bounds(rest)
        return low is not None and low >= 0 and high is not None and high < b.const
    low = bounds(rest)[0]
    if low is None or low < 0:
        return False
    from chainrule.backends.loops.prove import nonneg

    return nonneg(b - rest - 1)  # pyright: ignore[reportArgumentType]  (pyright sees this file under two names)


def _only_pair(value: Int) -> Pair | None:
    if value.const or len(value.terms) != 1:
        return None
    ((mono, coefficient),) = value.terms.items()
    atom = mono[0]
    return atom if coefficient == 1 and len(mono) == 1 and isinstance(atom, Pair) else None


def _extreme(kind: str, a: Int, b: Int) -> Int:
    low, high = bounds(a - b)
    if low is not None and low >= 0:
        return b if kind == "min" else a
    if high is not None and high <= 0:
        return a if kind == "min" else b
    if str(b) < str(a):
        a, b = b, a
    return atom_int(Pair(kind, a, b))


def _times(a: Range, b: Range) -> Range:
    if None not in a and None not in b:
        ends = [x * y for x in a for y in b]  # type: ignore[operator]
        return min(ends), max(ends)
    if b == (None, None) or a == (None, None):
        return None, None
    if b[0] is not None and b[0] >= 0:
        low = None if a[0] is None else (a[0] * b[0] if a[0] >= 0 else (None if b[1] is None else a[0] * b[1]))
        high = None if a[1] is None else (a[1] * b[0] if a[1] <= 0 else (None if b[1] is None else a[1] * b[1]))
        return low, high
    if a[0] is not None and a[0] >= 0:
        return _times(b, a)
    return None, None


def _pair_range(kind: str, a: Range, b: Range) -> Range:
    match kind:
        case "//":
            return _div_range(a, b)
        case "%":
            top = None if b[1] is None else max(b[1], 1) - 1
            if a[0] is not None and a[0] >= 0 and a[1] is not None:
                top = a[1] if top is None else min(top, a[1])
            return 0, top
        case "min":
            high = [x for x in (a[1], b[1]) if x is not None]
            return (None if a[0] is None or b[0] is None else min(a[0], b[0])), (min(high) if high else None)
        case _:
            low = [x for x in (a[0], b[0]) if x is not None]
            return (max(low) if low else None), (None if a[1] is None or b[1] is None else max(a[1], b[1]))


def _div_range(a: Range, b: Range) -> Range:
    least = 1 if b[0] is None else max(1, b[0])
    most = None if b[1] is None else max(1, b[1])
    low: int | None = None
    high: int | None = None
    if a[0] is not None:
        low = a[0] // least if a[0] < 0 else (0 if most is None else a[0] // most)
    if a[1] is not None:
        high = a[1] // least if a[1] >= 0 else (-1 if most is None else a[1] // most)
    return low, high
