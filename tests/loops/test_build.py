"""The builder checks types, and equal kernels are equal objects."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chainrule.backends.loops import Builder, Function, LoopError, text
from chainrule.ir.types import bf16, bool_, f16, f32, f64, i8, i32, i64, u8


def scale(name: str, factor: float, iterator: str = "i") -> Function:
    k = Builder(name)
    n = k.size("N")
    x = k.buffer("x", f32, (n,))
    y = k.buffer("y", f32, (n,), "w")
    with k.loop(iterator, 0, n, parallel=True) as i:
        k.store(y, (i,), k.mul(k.load(x, (i,)), factor))
    return k.build()


def test_equality_and_hash_ignore_names() -> None:
    assert scale("a", 2.0) == scale("b", 2.0, "z")
    assert hash(scale("a", 2.0)) == hash(scale("b", 2.0))
    assert scale("a", 2.0) != scale("a", 3.0)
    assert scale("a", float("nan")) == scale("a", float("nan"))
    assert scale("a", 0.0) != scale("a", -0.0)


def test_numbers_take_the_other_operands_dtype_and_scalars_are_splatted() -> None:
    k = Builder("k")
    x = k.const([1.0, 2.0, 3.0, 4.0], f32)
    assert k.add(x, 1).dtype == f32 and k.add(1, x).lanes == 4
    assert k.fma(2.0, x, k.const(1.0, f32)).lanes == 4
    assert k.dot(k.const(1, u8, 16), k.const(1, i8, 16), k.const(1, i32, 4)).lanes == 4
    assert k.cmp("lt", x, 0.0).dtype == bool_ and k.cmp("lt", k.size("N"), 3).lanes == 1
    assert k.select(k.cmp("lt", x, 0.0), 0.0, x).lanes == 4
    assert k.bitcast(x, i64).lanes == 2 and k.bitcast(x, u8).lanes == 16
    assert k.cast(x, f32) is x and k.splat(k.const(1, i8), 1).lanes == 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda k, x: k.add(x, k.const(1.0, f64)),
        lambda k, x: k.add(x, k.const([1.0, 2.0], f32)),
        lambda k, x: k.and_(x, x),
        lambda k, x: k.sqrt(k.const(1, i32)),
        lambda k, x: k.not_(x),
        lambda k, x: k.neg(k.const(True, bool_)),
        lambda k, x: k.add(k.const(True, bool_), True),
        lambda k, x: k.fma(k.const(1, i32), 1, 1),
        lambda k, x: k.dot(k.const(1, i8, 4), k.const(1, i8, 4), k.const(1, i32)),
        lambda k, x: k.dot(k.const(1, u8, 4), k.const(1, i8, 4), k.const(1, i32, 2)),
        lambda k, x: k.cmp("less", x, x),
        lambda k, x: k.const(0.0, f32, 3),
        lambda k, x: k.extract(x, 4),
        lambda k, x: k.shuffle(x, None, [8, 0]),
        lambda k, x: k.reduce("xor", x),
        lambda k, x: k.reduce("add", k.const(True, bool_, 4)),
        lambda k, x: k.bitcast(x, bool_),
        lambda k, x: k.bitcast(k.const(1, u8), i32),
        lambda k, x: k.index(x, 0, 4),
        lambda k, x: k.reg(1.0),
        lambda k, x: k.reg(x).set(k.const(1, i32)),
        lambda k, x: k.buffer("b", f32, (4,), "x"),
        lambda k, x: k.store(k.buffer("b", f32, (4,)), (0,), x),
        lambda k, x: k.load(k.buffer("b", f32, (4,), "w"), (0,)),
        lambda k, x: k.load(k.buffer("b", f32, (4, 4)), (0,)),
        lambda k, x: k.store(k.buffer("b", f64, (4,), "w"), (0,), x),
        lambda k, x: k.gather(k.buffer("b", f32, (4,)), (0,), x),
        lambda k, x: k.fail_when(k.cmp("lt", x, x), 0),
        lambda k, x: k.when(x).__enter__(),
        lambda k, x: k.otherwise().__enter__(),
        lambda k, x: k.loop("i", 0, 4, 0).__enter__(),
        lambda k, x: k.loop("i", 0, k.size("N"), unroll=True).__enter__(),
        lambda k, x: k.loop("i", 1, 4, parallel=True).__enter__(),
        lambda k, x: k.scratch("s", f32, (200_000,)),
        lambda k, x: k.div(2.0, 3.0),
    ],
)
def test_wrong_types_are_refused(wrong: Callable[[Builder, object], object]) -> None:
    k = Builder("wrong")
    x = k.const([1.0, 2.0, 3.0, 4.0], f32)
    with pytest.raises(LoopError):
        wrong(k, x)


def test_a_kernel_has_one_parallel_loop_and_is_built_when_all_is_closed() -> None:
    k = Builder("two")
    for name in "ij":
        with k.loop(name, 0, 4, parallel=True):
            pass
    with pytest.raises(LoopError, match="at most one"):
        k.build()
    k = Builder("open")
    with pytest.raises(LoopError, match="open"), k.loop("i", 0, 4):
        k.build()


def test_constants_are_rounded_to_their_dtype() -> None:
    k = Builder("constants")
    for value, dtype in (
        (0.1, f32),
        (0.1, f16),
        (0.1, bf16),
        (1e300, f32),
        (-1, u8),
        (300, i8),
        (2, bool_),
        (0.1, f64),
    ):
        k.const(value, dtype)
    lines = [line.split("const ")[1] for line in text(k.build()).splitlines()[1:-1]]
    assert lines == ["0.10000000149011612", "0.0999755859375", "0.10009765625", "inf", "255", "44", "true", "0.1"]


def test_the_text_shows_loops_branches_and_names() -> None:
    k = Builder("show")
    n = k.size("N", lo=1)
    x = k.buffer("x", f32, (n, 8))
    y = k.buffer("y", f32, (n,), "w", exclusive=True)
    s = k.scratch("s", f32, (8,))
    with k.loop("i", 0, n, parallel=True) as i:
        acc = k.reg(0.0, f32)
        with k.loop("j", 0, 8, 2) as j:
            acc.set(k.add(acc.get(), k.load(x, (i, j))))
        with k.when(k.cmp("lt", acc.get(), 0.0)):
            k.fail_when(k.cmp("eq", i, 3), 5)
        with k.otherwise():
            k.store(s, (0,), k.load(x, (i, 0), 4, mask=n - i), mask=4)
        with k.while_(lambda: k.cmp("gt", acc.get(), 1.0)):
            acc.set(k.mul(acc.get(), 0.5))
        k.store(y, (i,), acc.get())
    assert text(k.build()) == EXPECTED


EXPECTED = """\
kernel @show(x: f32[N, 8] r, y: f32[N] w exclusive, N: size >= 1) {
  scratch s: f32[8]
  parallel for i.0 in 0 .. N
    %0: f32 = const 0.0
    reg r0: f32 = %0
    for j.1 in 0 .. 8 step 2
      %1: f32 = r0
      %2: f32 = load x[i.0, j.1]
      %3: f32 = add %1, %2
      r0 = %3
    %4: f32 = r0
    %5: f32 = const 0.0
    %6: bool = lt %4, %5
    when %6
      %7: i64 = value i.0
      %8: i64 = const 3
      %9: bool = eq %7, %8
      fail 5 when %9
    otherwise
      %10: f32x4 = load x[i.0, 0] first -1*i.0 + N
      s[0] = %10 first 4
    test
      %11: f32 = r0
      %12: f32 = const 1.0
      %13: bool = gt %11, %12
    do while %13
      %14: f32 = r0
      %15: f32 = const 0.5
      %16: f32 = mul %14, %15
      r0 = %16
    %17: f32 = r0
    y[i.0] = %17
}
"""


@pytest.mark.parametrize(("weaves", "order"), [(True, [1, 3, 2, 4]), (False, [1, 2, 3, 4])])
def test_pieces_that_run_abreast_are_woven_a_node_of_each_in_turn(weaves: bool, order: list[int]) -> None:
    k = Builder("woven", weaves=weaves)
    y = k.buffer("y", i32, (5,), "w")
    zero = k.const(0, i32)

    def stores(*places: int) -> None:
        for i in places:
            k.store(y, (i,), zero)

    k.abreast([lambda: stores(1, 2), lambda: stores(3, 4)])
    lines = [line for line in text(k.build()).splitlines() if "y[" in line]
    assert [int(line.split("[")[1][0]) for line in lines] == order
