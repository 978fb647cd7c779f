"""Random programs of loops and branches, one in another, mean in native code what they mean on the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import chainrule as cr

SHAPE = (3, 4)
LEAVES = ("chain", "chain", "product", "reduce", "swap", "full")
NESTED = ("scan", "cond", "while")
QUICK, MANY = 12, 400


@dataclass(frozen=True)
class Move:
    """One statement of a program over a list of matrices: what it does with the i-th and j-th."""

    kind: str
    i: int
    j: int
    number: float
    flag: bool
    trips: int
    inner: tuple[Move, ...] = ()
    other: tuple[Move, ...] = ()


def drawn(rng: np.random.Generator, depth: int) -> tuple[Move, ...]:
    """A program of a few statements; depth: how deep bodies may lie one in another."""
    moves: list[Move] = []
    for _ in range(int(rng.integers(2, 6))):
        kind = str(rng.choice((*LEAVES, *NESTED) if depth else LEAVES))
        inner = drawn(rng, depth - 1) if kind in NESTED else ()
        other = drawn(rng, depth - 1) if kind == "cond" else ()
        i, j = (int(n) for n in rng.integers(0, 12, 2))
        number, flag, trips = float(rng.standard_normal()), bool(rng.integers(2)), int(rng.integers(4))
        moves.append(Move(kind, i, j, number, flag, trips, inner, other))
    return tuple(moves)


def computed(moves: Sequence[Move], values: Sequence[Any]) -> list[Any]:
    """The matrices after the program."""
    held = list(values)
    for move in moves:
        i, j = move.i % len(held), move.j % len(held)
        x, y = held[i], held[j]
        match move.kind:
            case "chain":
                held[i] = cr.tanh(x * move.number + y)
            case "product":
                held[i] = cr.tanh(x @ y.T @ x * 0.3)
            case "reduce":
                held[i] = x - (y.sum(0, keepdims=True) if move.flag else y.mean()) * 0.1
            case "swap":
                held[i], held[j] = y, x
            case "full":
                held[i] = cr.full(SHAPE, move.number, "f64")
            case "scan":
                held = scanned(move, held, i, j)
            case "cond":
                arms = [lambda m=m, held=held: tuple(computed(m, held)) for m in (move.inner, move.other)]
                held = list(cr.cond(x.sum() > y.sum(), *arms))
            case _:
                held = list(cr.while_loop(lambda v, i=i: (v[i] * v[i]).sum() > 2.0,
                                          lambda v, m=move.inner: tuple(t * 0.5 for t in computed(m, v)),
                                          tuple(held), 6))  # fmt: skip
    return held


def scanned(move: Move, held: list[Any], i: int, j: int) -> list[Any]:
    """A scan that carries all matrices, and stacks a new one and an old one, or its slice."""
    slices = cr.stack([held[(j + n) % len(held)] * (n + 1.0) for n in range(3)])[: move.trips]

    def step(carry: Any, v: Any) -> Any:
        new = computed(move.inner, [*carry[:-1], v])
        return tuple(new), (new[i], carry[i] if move.flag else v)

    carry, (first, second) = cr.scan(step, tuple(held), slices, reverse=move.flag)
    found = list(carry)
    found[j] = found[j] + first.sum(0) * 0.1 - second.sum(0) * 0.05
    return found


def assert_same(seed: int) -> None:
    """The program of a seed, or its gradient, on both backends."""
    rng = np.random.default_rng(seed)
    moves, count = drawn(rng, 2), int(rng.integers(2, 4))
    arrays = [rng.standard_normal(SHAPE) for _ in range(count)]

    def results(*values: Any) -> Any:
        return tuple(computed(moves, values))

    def loss(*values: Any) -> Any:
        return sum(((v * v).sum() for v in computed(moves, values)), cr.zeros((), "f64"))

    fn = (lambda *values: cr.grad(loss, tuple(range(count)))(*values)) if seed % 3 == 0 else results
    specs = [cr.spec(*SHAPE, dtype="f64")] * count
    own = cr.compile(fn, *specs, threads=1 + seed % 2).run(arrays)
    for got, want in zip(own, cr.compile(fn, *specs, backend="reference").run(arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-9, err_msg=f"seed {seed}")


def test_random_loops_and_branches_agree_with_the_reference() -> None:
    for seed in range(QUICK):
        assert_same(seed)


@pytest.mark.slow
def test_many_random_loops_and_branches_agree_with_the_reference() -> None:
    for seed in range(1000, 1000 + MANY):
        assert_same(seed)
