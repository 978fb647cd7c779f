"""Symbolic sizes are integer polynomials in one canonical form."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import (
    Dim,
    as_dim,
    dim_max,
    dim_min,
    dim_substitute,
    dim_symbols,
    dim_value,
    floordiv,
    lower_bound,
    mod,
    parse_dim,
    symbol,
)

N, H = symbol("N"), symbol("H")

leaves = st.one_of(st.integers(-5, 9), st.sampled_from([N, H]))
dims = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("+"), inner, inner), st.tuples(st.just("-"), inner, inner),
        st.tuples(st.just("*"), inner, inner),
        st.tuples(st.just("//"), inner, st.integers(1, 5)), st.tuples(st.just("%"), inner, st.integers(1, 5)),
        st.tuples(st.just("min"), inner, inner), st.tuples(st.just("max"), inner, inner),
    ),
    max_leaves=6,
)  # fmt: skip


def built(tree: object) -> Dim:
    if not isinstance(tree, tuple):
        return tree  # type: ignore[return-value]
    op, a, b = tree[0], built(tree[1]), built(tree[2])
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "//": lambda: floordiv(a, b),
            "%": lambda: mod(a, b), "min": lambda: dim_min(a, b), "max": lambda: dim_max(a, b)}[op]()  # fmt: skip


def computed(tree: object, env: dict[str, int]) -> int:
    if not isinstance(tree, tuple):
        return dim_value(tree, env)  # type: ignore[arg-type]
    op, a, b = tree[0], computed(tree[1], env), computed(tree[2], env)
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "//": lambda: a // b,
            "%": lambda: a % b, "min": lambda: min(a, b), "max": lambda: max(a, b)}[op]()  # fmt: skip


@given(dims, st.integers(0, 20), st.integers(0, 20))
def test_an_expression_has_the_value_of_its_arithmetic(tree, n, h):
    assert dim_value(built(tree), {"N": n, "H": h}) == computed(tree, {"N": n, "H": h})


@given(dims)
@example(("-", 0, ("//", N, 2)))
@example(("-", 0, ("*", 3, ("%", N, 2))))
def test_an_expression_parses_back_from_its_text(tree):
    dim = built(tree)
    assert parse_dim(str(dim)) == dim


@given(dims, st.integers(0, 20), st.integers(0, 20))
def test_a_lower_bound_is_never_above_the_value(tree, n, h):
    low = lower_bound(built(tree))
    assert low is None or low <= dim_value(built(tree), {"N": n, "H": h})


@given(dims, st.integers(0, 9), st.integers(0, 9))
def test_substituting_numbers_gives_the_value(tree, n, h):
    env = {"N": n, "H": h}
    assert dim_value(dim_substitute(built(tree), env), {}) == dim_value(built(tree), env)


def test_equal_polynomials_are_equal_and_plain_numbers_come_out_plain():
    assert 2 * H + 1 - H == H + 1
    assert (N - N) == 0 and isinstance(N - N + 3, int)
    assert floordiv(4 * N + 2, 4) == N
    assert floordiv(N * H, H) == N
    assert dim_max(0, N) == N


def test_a_division_without_rest_gives_the_other_factor():
    n, p, q = symbol("N"), symbol("P"), symbol("Q")
    assert (32 * n * p + 32 * n * q) // (8 * p + 8 * q) == 4 * n
    assert (n * n - p * p) // (n - p) == n + p
    assert str((n * p + 1) // (n + p)) == "(N*P+1)//(N+P)"
    assert str((n * p) // (2 * n)) == "(N*P)//(2*N)"


def test_symbols_of_an_expression_are_found_inside_divisions():
    assert dim_symbols(floordiv(N * H + 1, 2)) == {"N", "H"}


def test_a_symbolic_size_has_no_truth_and_is_no_index():
    with pytest.raises(ArgumentError, match="is not known while the model is traced"):
        bool(N)
    with pytest.raises(ArgumentError, match="is not known while the model is traced"):
        range(N)  # type: ignore[arg-type]


def test_a_symbol_without_value_is_named():
    with pytest.raises(ShapeError, match="the size N has no value"):
        dim_value(N + 1, {})


@pytest.mark.parametrize("bad", [-1, 1.5, True, None, "2*", "f(N)", "N.x"])
def test_what_is_no_dim_is_refused(bad):
    with pytest.raises(ArgumentError):
        as_dim(bad)
