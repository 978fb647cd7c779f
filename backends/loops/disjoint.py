"""Proofs that different iterations of a parallel loop do not meet: one writes nothing that another reads or writes.

Two copies of the kernel are compared, iterations i and j with i < j, every inner iterator and data index renamed in the
second. An iterator that a kernel splits into t // c and t % c is replaced by its parts (q, s), and both ways in which
(q', s') can come after (q, s) are proved: q' > q, or q' = q and s' > s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.backends.loops.ints import (
    Atom,
    Index,
    Int,
    Iter,
    LoopError,
    Pair,
    as_int,
    atom_int,
    atoms_of,
    rejoined,
    substitute,
)
from chainrule.backends.loops.nodes import Buffer, Function, Gather, Load, Store
from chainrule.backends.loops.prove import nonneg
from chainrule.backends.loops.text import statement

_MAX_PAIRS = 4000  # of accesses compared, per buffer
_MAX_SPLITS = 3  # how often one iterator is taken apart
# Numbers of the renamed iterators. Proofs eliminate high numbers first, so inner iterators come above those that their
# limits mention, and the later iteration above the earlier one.
_FIRST, _SECOND = 2 * 10**6, 3 * 10**6
_LATER = 10**6
_SPLIT_FIRST, _SPLIT_SECOND = 10**6 + 1000, 10**6 + 2000


@dataclass(frozen=True, slots=True)
class Access:
    """A load or store as the verifier sees it: lows and highs = distances along the last dim among which the lowest
    and the highest lane are, facts = Ints that were >= 0 there."""

    node: Load | Store | Gather
    buffer: Buffer
    index: tuple[Int, ...]
    lows: tuple[Int, ...]
    highs: tuple[Int, ...]
    facts: tuple[Int, ...]
    writes: bool
    parallel: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an access lies, in terms of one iteration's unknowns."""

    index: tuple[Int, ...]
    flat: Int
    lows: tuple[Int, ...]
    highs: tuple[Int, ...]
    facts: tuple[Int, ...]


def shared_writes(fn: Function, accesses: Sequence[Access], it: Iter) -> list[str]:
    """One line for each pair of accesses that two iterations may not be proved to make at different places.

    Raises LoopError for a store outside of the parallel loop: every part of a split call would make it.
    """
    found: list[str] = []
    for buffer in fn.buffers:
        touched = [a for a in accesses if a.buffer == buffer]
        stores = [a for a in touched if a.writes]
        outside = next((a for a in stores if not a.parallel), None)
        if outside is not None:
            raise LoopError(f"{statement(outside.node)}: a store beside the parallel loop would run once per part")
        if len(stores) * len(touched) > _MAX_PAIRS:
            found.append(f"{buffer.name}: too many accesses to compare")
            continue
        seen: dict[tuple[object, ...], bool] = {}
        for store in stores:
            for other in touched:
                if not (_apart(store, other, it, seen) and _apart(other, store, it, seen)):
                    found.append(
                        f"{statement(store.node)} may touch what another iteration uses: {statement(other.node)}"
                    )
    return found


def _apart(a: Access, b: Access, it: Iter, seen: dict[tuple[object, ...], bool]) -> bool:
    """Whether a in one iteration and b in any later one never meet."""
    key = (a.index, a.lows, a.highs, a.facts, b.index, b.lows, b.highs, b.facts)
    known = seen.get(key)
    if known is None:
        later = Iter(_LATER, it.name, atom_int(it) + 1, it.hi, as_int(1))
        known = _apart_when(a, b, {it: atom_int(it)}, {it: atom_int(later)}, _MAX_SPLITS)
        seen[key] = known
    return known


def _apart_when(a: Access, b: Access, first: dict[Atom, Int], second: dict[Atom, Int], splits: int) -> bool:
    x, y = _placed(a, first, _FIRST), _placed(b, second, _SECOND)
    if _never_meet(x, y):
        return True
    split = _split_atom([x, y]) if splits else None
    if split is None:
        return False
    atom, divisor = split
    mate = next((value for key, value in second.items() if first.get(key) == atom_int(atom)), None)
    if mate is None:
        return False
    numbers = _SPLIT_FIRST + splits * 10, _SPLIT_SECOND + splits * 10
    whole = as_int(0), atom.hi
    q = atom_int(Iter(numbers[0], "q", *whole, as_int(1)))
    s = atom_int(Iter(numbers[0] + 1, "s", as_int(0), divisor, as_int(1)))
    q_later = atom_int(Iter(numbers[1], "q'", q + 1, atom.hi, as_int(1)))
    s_any = atom_int(Iter(numbers[1] + 1, "s'", as_int(0), divisor, as_int(1)))
    s_later = atom_int(Iter(numbers[1] + 2, "s'", s + 1, divisor, as_int(1)))
    here = _parts(first, atom_int(atom), (q, s), (q, s), divisor)
    return all(
        _apart_when(a, b, here, _parts(second, mate, (q, s), after, divisor), splits - 1)
        for after in ((q_later, s_any), (q, s_later))
    )


def _parts(
    env: dict[Atom, Int], whole: Int, names: tuple[Int, Int], parts: tuple[Int, Int], divisor: Int
) -> dict[Atom, Int]:
    """The iteration's unknowns with `whole` written as q * divisor + s; names stand for (q, s) in later splits."""
    joined = parts[0] * divisor + parts[1]
    made = {
        key: joined if old == whole else substitute(old, {next(iter(whole.terms))[0]: joined})
        for key, old in env.items()
    }
    for name, part in zip(names, parts, strict=True):
        made[next(iter(name.terms))[0]] = part
    return made


def _split_atom(places: Sequence[_Place]) -> tuple[Iter, Int] | None:
    """An iterator of the first place that is divided there, and the divisor."""
    todo = [*places[0].index]
    seen: set[Atom] = set()
    found: list[tuple[int, Iter, Int]] = []
    while todo:
        for atom in atoms_of(todo.pop()):
            if atom in seen:
                continue
            seen.add(atom)
            if isinstance(atom, Iter):
                todo += _limits(atom)
            elif isinstance(atom, Pair) and atom.kind in ("//", "%") and len(atom.a.terms) == 1 and not atom.a.const:
                (((inner, *more), scale),) = ((tuple(m), c) for m, c in atom.a.terms.items())
                if isinstance(inner, Iter) and not more and scale == 1:
                    found.append((atom.b.const if atom.b.is_const else 0, inner, atom.b))
    if not found:
        return None
    _, inner, divisor = min(found, key=lambda entry: (entry[0], str(entry[2])))
    return inner, divisor


def _never_meet(x: _Place, y: _Place) -> bool:
    facts = x.facts + y.facts
    # Whole dims first: that proof is short, and a failing search among the products of flat positions is long.
    for a, b in zip(x.index[:-1], y.index[:-1], strict=True):
        if nonneg(b - a - 1, facts) or nonneg(a - b - 1, facts):
            return True
    if _below_either_way(x.flat, y.flat, x, y, facts):
        return True
    return bool(x.index) and _below_either_way(x.index[-1], y.index[-1], x, y, facts)


def _below_either_way(at_x: Int, at_y: Int, x: _Place, y: _Place, facts: tuple[Int, ...]) -> bool:
    """Whether all lanes of one lie below all lanes of the other."""
    return _all_below(at_x, x.highs, at_y, y.lows, facts) or _all_below(at_y, y.highs, at_x, x.lows, facts)


def _all_below(low: Int, highs: Sequence[Int], high: Int, lows: Sequence[Int], facts: tuple[Int, ...]) -> bool:
    return all(nonneg(high + y - low - x - 1, facts) for x in highs for y in lows)


def _placed(access: Access, env: dict[Atom, Int], base: int) -> _Place:
    """The access with env applied and the unknowns of the loops inside renamed (numbers from base on)."""
    env = dict(env)
    for atom in _inner_atoms(access, env):
        number = base + 1 + int(atom.key[1:])
        lo, hi = substitute(atom.lo, env), substitute(atom.hi, env)
        if isinstance(atom, Iter):
            env[atom] = atom_int(Iter(number, atom.name, lo, hi, substitute(atom.step, env)))
        else:
            env[atom] = atom_int(Index(number, lo, hi))
    flat = as_int(0)
    for at, extent in zip(access.index, access.buffer.shape, strict=True):
        flat = flat * extent + at

    def moved(values: Sequence[Int]) -> tuple[Int, ...]:
        return tuple(substitute(v, env) for v in values)

    (whole,) = moved([rejoined(flat)])
    return _Place(moved(access.index), rejoined(whole), moved(access.lows), moved(access.highs), moved(access.facts))


def _inner_atoms(access: Access, env: dict[Atom, Int]) -> list[Iter | Index]:
    """Iterators and data indices of the access that env does not bind, those that others depend on first."""
    found: set[Iter | Index] = set()
    todo = [*access.index, *access.lows, *access.highs, *access.facts]
    while todo:
        for atom in atoms_of(todo.pop()):
            if atom in env or atom in found or not isinstance(atom, (Iter, Index)):
                continue
            found.add(atom)
            todo += _limits(atom)
    ordered: list[Iter | Index] = []
    while found:
        ready = [a for a in found if not any(b in found for limit in _limits(a) for b in atoms_of(limit))]
        ordered += sorted(ready, key=lambda a: a.key)
        found -= set(ready)
    return ordered


def _limits(atom: Iter | Index) -> list[Int]:
    return [atom.lo, atom.hi, atom.step] if isinstance(atom, Iter) else [atom.lo, atom.hi]
