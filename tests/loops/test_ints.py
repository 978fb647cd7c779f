"""Index expressions keep their value in canonical form, and proofs about them are true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.backends.loops import Int, LoopError, as_int, ceil_div, imax, imin, prove
from chainrule.backends.loops.ints import Atom, Iter, Pair, Size, atom_int, bounds, rejoined, substitute
from chainrule.backends.loops.prove import nonneg

N = Size(0, "N", 0, None)
M = Size(1, "M", 1, 50)
I = Iter(0, "i", as_int(0), atom_int(N), as_int(1))
J = Iter(1, "j", atom_int(I), atom_int(I) + 16, as_int(4))


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> tuple[Int, object]:
    """An Int and the same expression as a Python function of (n, m, i, j)."""
    if depth == 0 or draw(st.booleans()):
        kind = draw(st.sampled_from(["N", "M", "i", "j", "number"]))
        if kind == "number":
            number = draw(st.integers(-20, 20))
            return as_int(number), lambda n, m, i, j: number
        atom = {"N": N, "M": M, "i": I, "j": J}[kind]
        place = {"N": 0, "M": 1, "i": 2, "j": 3}[kind]
        return atom_int(atom), lambda *v: v[place]
    a, fa = draw(expressions(depth=depth - 1))
    op = draw(st.sampled_from(["+", "-", "*", "//", "%", "min", "max", "//M", "%M"]))
    if op in ("//", "%"):
        d = draw(st.integers(1, 12))
        return (a // d, lambda *v: fa(*v) // d) if op == "//" else (a % d, lambda *v: fa(*v) % d)
    if op in ("//M", "%M"):
        return (
            (a // atom_int(M), lambda *v: fa(*v) // v[1])
            if op == "//M"
            else (a % atom_int(M), lambda *v: fa(*v) % v[1])
        )
    b, fb = draw(expressions(depth=depth - 1))
    match op:
        case "+":
            return a + b, lambda *v: fa(*v) + fb(*v)
        case "-":
            return a - b, lambda *v: fa(*v) - fb(*v)
        case "*":
            return a * b, lambda *v: fa(*v) * fb(*v)
        case "min":
            return imin(a, b), lambda *v: min(fa(*v), fb(*v))
        case _:
            return imax(a, b), lambda *v: max(fa(*v), fb(*v))


def value_of(expression: Int, n: int, m: int, i: int, j: int) -> int:
    return int(substitute(expression, {N: as_int(n), M: as_int(m), I: as_int(i), J: as_int(j)}))


POINTS = [
    (n, m, i, j) for n in (1, 2, 5, 40) for m in (1, 3, 50) for i in {0, n // 2, n - 1} for j in (i, i + 4, i + 12)
]


@given(expressions())
def test_canonical_form_keeps_the_value(made: tuple[Int, object]) -> None:
    expression, function = made
    for point in POINTS:
        assert value_of(expression, *point) == function(*point)  # type: ignore[operator]
        assert value_of(rejoined(expression), *point) == function(*point)  # type: ignore[operator]


@given(expressions())
def test_bounds_contain_every_value(made: tuple[Int, object]) -> None:
    expression, function = made
    low, high = bounds(expression)
    for point in POINTS:
        value = function(*point)  # type: ignore[operator]
        assert (low is None or low <= value) and (high is None or value <= high)


@given(expressions())
def test_what_is_proved_nonnegative_is(made: tuple[Int, object]) -> None:
    expression, function = made
    if nonneg(expression):
        assert all(function(*point) >= 0 for point in POINTS)  # type: ignore[operator]


def test_answers_are_those_of_the_unknowns_asked_about_not_of_their_names() -> None:
    for least in (3, 2, 3):  # two kernels name their sizes alike, and answers are kept
        size = atom_int(Size(0, "N", least, None))
        assert nonneg(size - 3) == (least == 3)
        inside = Iter(0, "i", as_int(0), size * (least - 1), as_int(1))
        assert nonneg(size - 1 - atom_int(inside)) == (least == 2)


def test_a_question_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Int] = []

    def counted(value: Int, facts: tuple[Int, ...], effort: list[int]) -> bool:
        asked.append(value)
        return search(value, facts, effort)

    search = prove._search  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(prove, "_search", counted)
    rows = atom_int(Size(0, "H", 1, None))
    below = ((rows + 1) // 2 + 7) // 8 - atom_int(Iter(0, "i", as_int(0), rows, as_int(1))) - 1
    answers = [nonneg(below)]
    first = len(asked)
    answers += [nonneg(((rows + 1) // 2 + 7) // 8 - atom_int(I) - 1), nonneg(below)]
    assert first and answers[0] == answers[2] and len(asked) - first <= first


def test_equal_polynomials_are_equal_objects() -> None:
    i, n = atom_int(I), atom_int(N)
    assert (i + 1) * (n - 1) == i * n - i + n - 1
    assert hash((i + n) * 2) == hash(2 * n + 2 * i)
    assert i - i == 0 and as_int(3) == 3 and i != n


def test_division_takes_out_what_it_divides() -> None:
    i, m = atom_int(I), atom_int(M)
    k = atom_int(Iter(5, "k", as_int(0), as_int(4), as_int(1)))
    c = atom_int(Iter(6, "c", as_int(0), m, as_int(1)))
    assert (i * 4 + k) // 4 == i and (i * 4 + k) % 4 == k
    assert (i * m + c) // m == i and (i * m + c) % m == c
    assert (i // 3) // 5 == i // 15
    assert ceil_div(i * 16, 16) == i


def test_a_split_index_joins_again() -> None:
    x, m = atom_int(I), atom_int(M)
    assert rejoined((x // m) * m + x % m) == x
    flat = ((x // 15) * 3 + (x // 5) % 3) * 5 + x % 5
    assert rejoined(flat * m + 7) == x * m + 7


def test_minimum_and_maximum_simplify_where_bounds_decide() -> None:
    k = atom_int(Iter(5, "k", as_int(0), as_int(4), as_int(1)))
    assert imin(k, 3) == k and imin(k, -1) == -1 and imax(k, 0) == k
    assert imin(atom_int(N), 4) == imin(4, atom_int(N))


def test_tails_and_windows_are_proved() -> None:
    n, i = atom_int(N), atom_int(I)
    block = atom_int(Iter(5, "b", as_int(0), ceil_div(n, 16), as_int(1)))
    assert nonneg(n - 1 - (block * 16 + imin(16, n - block * 16) - 1))
    assert not nonneg(n - 1 - (block * 16 + 15))
    # A pooling window: output o of (n - 3) // 2 + 1, input 2 * o + k with k < 3.
    o = atom_int(Iter(6, "o", as_int(0), (n - 3) // 2 + 1, as_int(1)))
    k = atom_int(Iter(7, "k", as_int(0), as_int(3), as_int(1)))
    assert nonneg(n - 1 - (2 * o + k))
    assert not nonneg(n - 2 - (2 * o + k))
    assert nonneg(n - 1 - i // 2) and nonneg(n * atom_int(M) - 1 - i * atom_int(M))


def test_facts_are_used() -> None:
    n = atom_int(N)
    assert not nonneg(n - 7)
    assert nonneg(n - 7, [n - 9])
    assert nonneg(2 * n - 7, [n - 9])


def test_indices_have_no_truth_and_no_division_by_zero() -> None:
    with pytest.raises(LoopError, match="truth"):
        bool(atom_int(N))
    with pytest.raises(LoopError, match="division"):
        atom_int(N) // 0
    with pytest.raises(LoopError, match="not a constant"):
        int(atom_int(N))


def test_atoms_compare_by_key() -> None:
    assert Pair("//", atom_int(N), as_int(3)) == Pair("//", atom_int(N), as_int(3))
    assert Atom("a", None, None) != Atom("b", None, None)
