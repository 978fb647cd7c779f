"""Proofs that an index expression is never negative, by eliminating one unknown after another through its bounds.

Sound but not complete: True is a proof, False means only that none was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import gcd

from chainrule.backends.loops.ints import Atom, Index, Int, Iter, Mono, Pair, Size, as_int, atoms_of, bounds

_EFFORT = (
    400  # expressions looked at per question: enough for 6 nested tiles, and a bound on the cost of a wrong kernel
)


def nonneg(value: Int, facts: Sequence[Int] = ()) -> bool:
    """True when value >= 0 can be proved from the loops' bounds and from facts (Ints known to be >= 0)."""
    atoms = {id(atom) for each in (value, *facts) for atom in atoms_of(each) if not isinstance(atom, Pair)}
    return _nonneg(value, tuple(facts), frozenset(atoms))


@lru_cache(maxsize=1024)
def _nonneg(value: Int, facts: tuple[Int, ...], atoms: frozenset[int]) -> bool:
    """Each question is answered once: a kernel of named sizes asks the same ones at each access, and where there is no
    proof (of 1 / 8 of ((n + 1) // 2 + 1) // 2, say) the search takes a tenth of a second.

    atoms: whose sizes and iterators these are, as their names are those of one kernel only. The entry keeps them alive.
    """
    return any(_search(value, facts, [_EFFORT, by_scope]) for by_scope in (0, 1))


def _search(value: Int, facts: tuple[Int, ...], effort: list[int]) -> bool:
    low = bounds(value)[0]
    if low is not None and low >= 0:
        return True
    if not value.terms or effort[0] <= 0:
        return False
    effort[0] -= 1
    for fact in facts:
        low = bounds(value - fact)[0]
        if low is not None and low >= 0:
            return True
    for atom in _order(value, effort[1]):
        coefficient, rest = _linear(value, atom)
        if coefficient is None:
            continue
        low, high = bounds(coefficient)
        if low is not None and low >= 0:
            sign = 1
        elif high is not None and high <= 0:
            sign = -1
        else:
            continue
        return _eliminate(atom, coefficient, rest, sign, facts, effort)
    return any(_search(value - fact, tuple(f for f in facts if f is not fact), effort) for fact in facts)


def _tightened(value: Int) -> Int:
    """An Int that is >= 0 exactly when value is: 16 * a - 15 >= 0 says a >= 1, as a is whole."""
    common = gcd(*value.terms.values())
    if common == 1:
        return value
    return Int({mono: c // common for mono, c in value.terms.items()}, value.const // common)


def _eliminate(atom: Atom, c: Int, rest: Int, sign: int, facts: tuple[Int, ...], effort: list[int]) -> bool:
    """Whether c * atom + rest >= 0, where c has the given sign (so the atom's lower or upper bound decides)."""

    def proved(bound: Int) -> bool:
        return _search(c * bound + rest, facts, effort)

    match atom:
        case Iter() if sign > 0:
            return proved(atom.lo) or _from_facts(atom, c, rest, facts, effort)
        case Iter():
            return any(proved(top) for top in _last(atom)) or _from_facts(atom, c, rest, facts, effort)
        case Index():
            return proved(atom.lo if sign > 0 else atom.hi - 1)
        case Pair(kind="min") | Pair(kind="max"):
            simple, other = sorted((atom.a, atom.b), key=lambda side: len(side.terms))  # the search is bounded
            if (atom.kind == "min") == (sign > 0):
                return proved(simple) and proved(other)
            return proved(simple) or proved(other)
        case Pair(kind="%"):
            if sign > 0:
                return proved(as_int(0)) or _from_facts(atom, c, rest, facts, effort)
            below = bounds(atom.a)[0]
            if proved(atom.b - 1) or (below is not None and below >= 0 and proved(atom.a)):
                return True
            return _from_facts(atom, c, rest, facts, effort)
        case Pair():
            return _eliminate_division(atom, c, rest, sign, facts, effort) or _from_facts(
                atom, c, rest, facts, effort
            )
        case Size():
            end = atom.low if sign > 0 else atom.high
            if end is not None and proved(as_int(end)):
                return True
            return _from_facts(atom, c, rest, facts, effort)
    return False


def _last(it: Iter) -> list[Int]:
    """Upper bounds of an iterator: hi - 1, and hi - step for each limit that a whole number of steps leads to."""
    limits = [it.hi]
    if it.step != 1 and not it.hi.const and len(it.hi.terms) == 1:
        ((mono, coefficient),) = it.hi.terms.items()
        only = mono[0]
        if coefficient == 1 and len(mono) == 1 and isinstance(only, Pair) and only.kind == "min":
            limits += [only.a, only.b]
    exact = [limit - it.step for limit in limits if it.step != 1 and (limit - it.lo) % it.step == 0]
    return [*exact, it.hi - 1]


def _eliminate_division(atom: Pair, c: Int, rest: Int, sign: int, facts: tuple[Int, ...], effort: list[int]) -> bool:
    # b * (a // b) lies in [a - b + 1, a]; an integer e is >= 0 exactly when b * e + b - 1 >= 0 (b >= 1).
    a, b = atom.a, atom.b
    low = bounds(b)[0]
    if (low is not None and low >= 1) or _not_zero(b, facts):
        end = a - b + 1 if sign > 0 else a
        if _search(c * end + rest * b + b - 1, facts, effort):
            return True
        whole = c * Int({(atom,): 1}) + rest
        factor, left = _linear(_tightened(whole), atom)
        if factor is not None and factor != c and _search(factor * end + left * b + b - 1, facts, effort):
            return True
    end = atom.low if sign > 0 else atom.high
    if end is not None and _search(c * end + rest, facts, effort):
        return True
    return sign < 0 and bounds(a)[0] is not None and bounds(a)[0] >= 0 and _search(c * a + rest, facts, effort)  # type: ignore[operator]


def _not_zero(size: Int, facts: tuple[Int, ...]) -> bool:
    """True for sizes that facts exclude from being 0: a loop over N * M does not run where M is 0."""
    if size.const or len(size.terms) != 1:
        return False
    ((mono, coefficient),) = size.terms.items()
    return coefficient >= 1 and all(any(_excludes_zero(fact, atom) for fact in facts) for atom in mono)


def _excludes_zero(fact: Int, atom: Atom) -> bool:
    """True when a fact could not hold if the atom, which is never negative, were 0."""
    if atom.low is None or atom.low < 0 or not any(atom in mono for mono in fact.terms):
        return False
    high = bounds(Int({term: c for term, c in fact.terms.items() if atom not in term}, fact.const))[1]
    return high is not None and high < 0


def _from_facts(atom: Atom, c: Int, rest: Int, facts: tuple[Int, ...], effort: list[int]) -> bool:
    """Tries value - coefficient * fact for the facts that mention the atom."""
    value = c * Int({(atom,): 1}) + rest
    for fact in facts:
        scale, _ = _linear(fact, atom)
        if scale is None or not scale.is_const or not scale.const:
            continue
        if not c.is_const or c.const % scale.const or c.const // scale.const < 1:
            continue
        others = tuple(f for f in facts if f is not fact)
        if _search(value - fact * (c.const // scale.const), others, effort):
            return True
    return False


def _order(value: Int, by_scope: int) -> list[Atom]:
    """The value's atoms, those first whose bounds mention the others.

    Divisions, data, inner iterators, sizes; or by scope: an iterator before the divisions of iterators outside of it,
    since its limits may mention them (a loop over the rest of a block).
    """
    seen = {atom for mono in value.terms for atom in mono}
    return sorted(seen, key=_scope if by_scope else _rank)


def _scope(atom: Atom) -> tuple[int, int, int, int]:
    """The innermost iterators first, a division before the innermost one that it contains, the larger one first."""
    parts = atoms_of(Int({(atom,): 1}))
    if any(isinstance(part, Index) for part in parts):
        return 0, 0, 0, 0
    inner = max((int(part.key[1:]) for part in parts if isinstance(part, Iter)), default=-1)
    return 1, -inner, not isinstance(atom, Pair), -len(atom.key)


def _rank(atom: Atom) -> tuple[int, int]:
    match atom:
        case Pair():
            return 0, -len(atom.key)
        case Index():
            return 1, -int(atom.key[1:])
        case Iter():
            return 2, -int(atom.key[1:])
    return 3, 0


def _linear(value: Int, atom: Atom) -> tuple[Int | None, Int]:
    """(c, rest) with value = c * atom + rest; c is None when the atom occurs in a higher power."""
    inside: dict[Mono, int] = {}
    rest: dict[Mono, int] = {}
    const = 0
    for mono, coefficient in value.terms.items():
        count = mono.count(atom)
        if count == 0:
            rest[mono] = coefficient
        elif count > 1:
            return None, value
        elif len(mono) == 1:
            const = coefficient
        else:
            inside[tuple(a for a in mono if a != atom)] = coefficient
    return Int(inside, const), Int(rest, value.const)
