"""The verifier proves right kernels and says what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from chainrule.backends.loops import (
    Buffer,
    Builder,
    Function,
    Int,
    LoopError,
    ceil_div,
    imin,
    interpret,
    unproved,
    verify,
)
from chainrule.backends.loops.nodes import Bin, Declare, Node, Register, Value
from chainrule.ir.types import f32, f64, i64

Body = Callable[[Builder, Int, Buffer, Buffer], None]


def kernel(body: Body, parallel: bool = False) -> Function:
    """x: f32[N], y: f32[N] written in a loop over N by body(k, i, x, y)."""
    k = Builder("kernel")
    n = k.size("N")
    x = k.buffer("x", f32, (n,))
    y = k.buffer("y", f32, (n,), "rw")
    with k.loop("i", 0, n, parallel=parallel) as i:
        body(k, i, x, y)
    return k.build()


@pytest.mark.parametrize(
    "body",
    [
        lambda k, i, x, y: k.store(y, (i,), k.load(x, (x.shape[0] - 1 - i,))),
        lambda k, i, x, y: k.store(y, (i,), k.load(x, (i,), 8, mask=x.shape[0] - i), mask=imin(8, x.shape[0] - i)),
        lambda k, i, x, y: k.store(y, (i,), k.load(x, (i // 2,))),
        lambda k, i, x, y: k.store(y, (i,), k.load(x, (i % 1,))),
        lambda k, i, x, y: k.store(y, (k.index(k.load(k.buffer("ids", i64, (1,)), (0,)), 0, x.shape[0]),), 1.0),
        lambda k, i, x, y: k.store(
            y, (i,), k.load(x, (i,), 4, mask=x.shape[0] - i, stride=1), mask=imin(1, x.shape[0])
        ),
    ],
)
def test_accesses_within_bounds_are_proved(body: Body) -> None:
    verify(kernel(body))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda k, i, x, y: k.store(y, (i + 1,), 0.0), "may reach N"),
        (lambda k, i, x, y: k.store(y, (i - 1,), 0.0), "below 0"),
        (lambda k, i, x, y: k.store(y, (i,), k.load(x, (i,), 4)), "may reach N"),
        (lambda k, i, x, y: k.store(y, (i,), k.load(x, (i,), 4, mask=x.shape[0] - i + 1), mask=1), "may reach N"),
        (lambda k, i, x, y: k.store(y, (i,), k.load(x, (i * 2,))), "may reach N"),
        (lambda k, i, x, y: k.store(y, (i,), k.load(x, (i,), 2, stride=-1)), "below 0"),
        (lambda k, i, x, y: k.store(y, (k.index(k.const(0, i64), 0, x.shape[0] + 1),), 0.0), "may reach N"),
    ],
)
def test_accesses_out_of_bounds_are_named(body: Body, message: str) -> None:
    fn = kernel(body)
    assert any(message in line for line in unproved(fn))
    with pytest.raises(LoopError, match="not proved"):
        verify(fn)


def test_branches_give_facts() -> None:
    def guarded(k: Builder, i: Int, x: Buffer, y: Buffer) -> None:
        n = x.shape[0]
        with k.when(k.and_(k.cmp("ge", i, 1), k.cmp("lt", i + 1, n))):
            k.store(y, (i,), k.add(k.load(x, (i - 1,)), k.load(x, (i + 1,))))
        with k.when(k.or_(k.cmp("eq", i, 0), k.cmp("gt", i + 8, n))):
            k.store(y, (i,), 0.0)
        with k.otherwise():
            k.store(y, (i - 1,), k.load(x, (i,), 8))

    verify(kernel(guarded))


def test_a_scalar_load_masked_by_a_comparison_is_proved() -> None:
    def padded(k: Builder, i: Int, x: Buffer, y: Buffer) -> None:
        inside = k.cmp("ge", i - 3, 0)
        k.store(y, (i,), k.load(x, (i - 3,), mask=inside))

    fn = kernel(padded)
    verify(fn)
    y = np.ones(5, np.float32)
    interpret(fn, [np.arange(5, dtype=np.float32) + 1, y], [5])
    assert y.tolist() == [0, 0, 0, 1, 2]


@pytest.mark.parametrize(
    "body",
    [
        lambda k, i, x, y: k.store(y, (i,), k.load(y, (i,))),
        lambda k, i, x, y: k.store(y, (x.shape[0] - 1 - i,), 1.0),
    ],
)
def test_iterations_that_write_apart_are_proved(body: Body) -> None:
    verify(kernel(body, parallel=True))


@pytest.mark.parametrize(
    "body",
    [
        lambda k, i, x, y: k.store(y, (i // 2,), 1.0),
        lambda k, i, x, y: k.store(y, (0,), 1.0),
        lambda k, i, x, y: k.store(y, (i,), k.load(y, (x.shape[0] - 1 - i,))),
        lambda k, i, x, y: k.store(y, (i,), k.const(0.0, f32, 4), mask=x.shape[0] - i),
    ],
)
def test_iterations_that_meet_are_named(body: Body) -> None:
    assert any("another iteration" in line for line in unproved(kernel(body, parallel=True)))


@pytest.mark.parametrize("order", ["rows", "columns"])
def test_tiles_of_a_flattened_grid_are_proved_apart(order: str) -> None:
    k = Builder("tiles")
    n, m = k.size("N"), k.size("M")
    y = k.buffer("y", f32, (n, m), "w")
    tiles = ceil_div(n, 6), ceil_div(m, 64)
    with k.loop("t", 0, tiles[0] * tiles[1], parallel=True) as t:
        row, column = (t // tiles[1], t % tiles[1]) if order == "rows" else (t % tiles[0], t // tiles[0])
        with (
            k.loop("r", row * 6, imin(row * 6 + 6, n)) as r,
            k.loop("c", column * 64, imin(column * 64 + 64, m), 16) as c,
        ):
            k.store(y, (r, c), k.const(1.0, f32, 16), mask=m - c)
    fn = k.build()
    assert not [line for line in unproved(fn) if "another iteration" in line]


def test_three_dims_of_one_parallel_iterator_are_proved_apart() -> None:
    k = Builder("nest")
    n = k.size("N")
    y = k.buffer("y", f32, (n, 3, 40, 16), "w")
    with k.loop("t", 0, n * 15, parallel=True) as t:
        batch, channel, rows = t // 15, t // 5 % 3, t % 5 * 8
        with k.loop("r", rows, rows + 8) as r, k.loop("c", 0, 16) as c:
            k.store(y, (batch, channel, r, c), 1.0)
    verify(k.build())


def test_overlapping_tiles_of_a_flattened_grid_are_not_proved() -> None:
    k = Builder("overlap")
    n = k.size("N", lo=4)
    y = k.buffer("y", f32, (n, 100), "w")
    with k.loop("t", 0, n * 4, parallel=True) as t, k.loop("c", t % 4 * 16, t % 4 * 16 + 17) as c:
        k.store(y, (t // 4, c), 1.0)
    assert any("another iteration" in line for line in unproved(k.build()))


def test_a_store_beside_the_parallel_loop_is_refused() -> None:
    k = Builder("beside")
    y = k.buffer("y", f32, (4,), "w")
    k.store(y, (0,), 1.0)
    with k.loop("i", 0, 4, parallel=True) as i:
        k.store(y, (i,), 2.0)
    with pytest.raises(LoopError, match="beside"):
        verify(k.build())


def test_hand_made_nonsense_is_refused() -> None:
    base = kernel(lambda k, i, x, y: k.store(y, (i,), 1.0))
    a, b, c = Value(100, f32, 1), Value(101, f64, 1), Value(102, f32, 1)
    bodies: list[tuple[Node, ...]] = [
        (Bin("add", c, a, a),),
        (Declare(Register(5, f32, 1), b),),
    ]
    for body in bodies:
        with pytest.raises(LoopError):
            verify(replace(base, body=body))


def test_an_iterator_outside_its_loop_is_refused() -> None:
    k = Builder("escape")
    y = k.buffer("y", f32, (4,), "w")
    with k.loop("i", 0, 4) as i:
        pass
    k.store(y, (i,), 1.0)
    with pytest.raises(LoopError, match="outside of its loop"):
        verify(k.build())


def test_a_register_is_set_only_where_it_is_declared() -> None:
    k = Builder("register")
    with k.loop("i", 0, 4):
        r = k.reg(1.0, f32)
    r.set(2.0)
    with pytest.raises(LoopError, match="not declared"):
        verify(k.build())


def test_the_interpreter_refuses_accesses_out_of_bounds() -> None:
    fn = kernel(lambda k, i, x, y: k.store(y, (i,), k.load(x, (i + 1,))))
    with pytest.raises(LoopError, match="out of bounds"):
        interpret(fn, [np.zeros(3, np.float32), np.zeros(3, np.float32)], [3])
    with pytest.raises(LoopError, match="needs 4 elements"):
        interpret(fn, [np.zeros(3, np.float32), np.zeros(4, np.float32)], [4])
    with pytest.raises(LoopError, match="contiguous"):
        interpret(fn, [np.zeros(4), np.zeros(4, np.float32)], [4])
