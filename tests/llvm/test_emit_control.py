"""Loops, branches, registers and indices in native code do what the interpreter does."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.llvm.jit import compile_functions
from chainrule.backends.loops import Builder, Function, LoopError, ceil_div, imax, imin, interpret, unproved, verify
from chainrule.ir.types import bool_, f32, i32, i64, u8
from tests.guard_pages import run_everywhere, run_kernel
from tests.llvm.kernel_inputs import assert_same_bits


def same(fn: Function, arrays: list[np.ndarray], sizes: list[int], status: int = 0) -> None:
    """Interpreter and native code (split in several ways) write the same bits."""
    expected = [a.copy() for a in arrays]
    for buffer, array in zip(fn.buffers, expected, strict=True):
        if buffer.mode == "w":
            array.reshape(-1).view(np.uint8)[...] = 1 if buffer.dtype.is_bool else 0xFF
    assert interpret(fn, expected, sizes) == status
    assert run_everywhere(fn, arrays, sizes) == status
    for got, want in zip(arrays, expected, strict=True):
        assert_same_bits(got.reshape(-1), want.reshape(-1), fn.name)


def matmul(rows: int, columns: int) -> Function:
    """A register-tiled product with run-time M and K, rows tiled with a tail of single rows."""
    k = Builder("matmul")
    m, depth = k.size("M"), k.size("K")
    a = k.buffer("a", f32, (m, depth))
    b = k.buffer("b", f32, (depth, columns))
    c = k.buffer("c", f32, (m, columns), "w")

    def tile(first: object, count: int) -> None:
        acc = [[k.reg(k.const(0.0, f32, 16)) for _ in range(0, columns, 16)] for _ in range(count)]
        with k.loop("k", 0, depth) as kk:
            right = [k.load(b, (kk, j), 16) for j in range(0, columns, 16)]
            for r in range(count):
                left = k.load(a, (first + r, kk))  # type: ignore[operator]
                for register, column in zip(acc[r], right, strict=True):
                    register.set(k.fma(left, column, register.get()))
        for r in range(count):
            for j, register in enumerate(acc[r]):
                k.store(c, (first + r, j * 16), register.get())  # type: ignore[operator]

    with k.loop("block", 0, ceil_div(m, rows), parallel=True) as block:
        whole = k.cmp("le", block * rows + rows, m)
        with k.when(whole):
            tile(block * rows, rows)
        with k.otherwise(), k.loop("row", block * rows, m) as row:
            tile(row, 1)
    return k.build()


@pytest.mark.parametrize("m,depth", [(0, 3), (1, 1), (6, 5), (7, 0), (13, 9)])
def test_a_tiled_product_with_run_time_sizes_is_right_and_proved(m: int, depth: int) -> None:
    fn = matmul(6, 32)
    verify(fn)
    rng = np.random.default_rng(1)
    a = rng.integers(-4, 5, (m, depth)).astype(np.float32)
    b = rng.integers(-4, 5, (depth, 32)).astype(np.float32)
    c = np.zeros((m, 32), np.float32)
    same(fn, [a, b, c], [m, depth])
    assert np.array_equal(c, a @ b)


def test_registers_pass_through_nested_loops_branches_and_empty_loops() -> None:
    k = Builder("registers")
    n = k.size("N")
    x = k.buffer("x", i32, (n,))
    y = k.buffer("y", i32, (n, 4), "w")
    with k.loop("i", 0, n, parallel=True) as i:
        total, count, swap = k.reg(0, i32), k.reg(1, i32), k.reg(k.load(x, (i,)))
        with k.loop("j", 0, i) as j:
            value = k.load(x, (j,))
            with k.when(k.cmp("gt", value, 0)):
                total.set(k.add(total.get(), value))
                with k.loop("m", 0, imin(j, 3)):
                    count.set(k.mul(count.get(), 3))
            with k.otherwise():
                old = total.get()
                total.set(swap.get())
                swap.set(old)
        with k.when(k.cmp("lt", total.get(), 0)):
            count.set(-5)
        for place, register in enumerate((total, count, swap)):
            k.store(y, (i, place), register.get())
        k.store(y, (i, 3), k.load(x, (i,)))
    fn = k.build()
    verify(fn)
    for size in (0, 1, 2, 17):
        x_data = np.random.default_rng(size).integers(-9, 10, size).astype(np.int32)
        same(fn, [x_data, np.zeros((size, 4), np.int32)], [size])


def test_while_repeats_until_its_test_fails() -> None:
    k = Builder("collatz")
    x = k.buffer("x", i64, (12,))
    y = k.buffer("y", i64, (12,), "w")
    with k.loop("i", 0, 12, parallel=True) as i:
        value, steps = k.reg(k.load(x, (i,))), k.reg(0, i64)
        with k.while_(lambda: k.cmp("gt", value.get(), 1)):
            even = k.cmp("eq", k.and_(value.get(), 1), 0)
            value.set(k.select(even, k.shr(value.get(), 1), k.add(k.mul(value.get(), 3), 1)))
            steps.set(k.add(steps.get(), 1))
        k.store(y, (i,), steps.get())
    fn = k.build()
    verify(fn)
    data = [np.arange(12, dtype=np.int64), np.zeros(12, np.int64)]
    same(fn, data, [])
    assert data[1].tolist() == [0, 0, 1, 7, 2, 5, 8, 16, 3, 19, 6, 14]


def test_unrolled_loops_fold_their_iterator_into_addresses() -> None:
    k = Builder("unrolled")
    x = k.buffer("x", f32, (4, 8))
    y = k.buffer("y", f32, (8, 4), "w")
    with (
        k.loop("i", 0, 8, 3, unroll=True) as i,
        k.loop("part", 0, imin(3, 8 - i)) as part,
        k.loop("j", 0, 4, unroll=True) as j,
    ):
        row = i + part
        k.store(y, (row, j), k.add(k.load(x, (j, row)), k.value(row * 4 + j // 2 + i % 2, f32)))
    fn = k.build()
    verify(fn)
    x_data = np.arange(32, dtype=np.float32).reshape(4, 8)
    y_data = np.zeros((8, 4), np.float32)
    same(fn, [x_data, y_data], [])
    assert y_data[7, 3] == x_data[3, 7] + 7 * 4 + 1


def test_data_indices_are_clamped_and_may_be_used_in_inner_loops() -> None:
    k = Builder("embedding")
    n, rows, width = k.size("N"), k.size("ROWS", lo=1), k.size("WIDTH")
    ids = k.buffer("ids", i32, (n,))
    table = k.buffer("table", f32, (rows, width))
    out = k.buffer("out", f32, (n, width), "w")
    with k.loop("i", 0, n, parallel=True) as i:
        raw = k.load(ids, (i,))
        bad = k.or_(k.cmp("lt", raw, 0), k.cmp("ge", raw, k.value(rows, i32)))
        k.fail_when(bad, 7)
        row = k.index(raw, 0, rows)
        with k.loop("j", 0, ceil_div(width, 16)) as j:
            k.store(out, (i, j * 16), k.load(table, (row, j * 16), 16, mask=width - j * 16), mask=width - j * 16)
    fn = k.build()
    verify(fn)
    table_data = np.random.default_rng(0).standard_normal((5, 21)).astype(np.float32)
    for ids_data, status in (([0, 4, 2], 0), ([-1, 9, 1], 7), ([], 0)):
        data = [np.array(ids_data, np.int32), table_data, np.zeros((len(ids_data), 21), np.float32)]
        same(fn, data, [len(ids_data), 5, 21], status)


def test_an_index_into_nothing_is_the_lower_end_and_u64_does_not_wrap() -> None:
    from chainrule.ir.types import u64

    k = Builder("clamp")
    x = k.buffer("x", u64, (4,))
    n = k.size("N")
    y = k.buffer("y", i64, (4,), "w")
    with k.loop("i", 0, 4) as i:
        k.store(y, (i,), k.value(k.index(k.load(x, (i,)), 3, n), i64))
    fn = k.build()
    x_data = np.array([0, 5, 2**63 + 1, 2**64 - 1], np.uint64)
    for size, want in ((9, [3, 5, 8, 8]), (2, [3, 3, 3, 3])):
        data = [x_data, np.zeros(4, np.int64)]
        same(fn, data, [size])
        assert data[1].tolist() == want


def test_the_first_failure_stays_and_vectors_fail_by_any_lane() -> None:
    k = Builder("fail")
    x = k.buffer("x", f32, (32,))
    y = k.buffer("y", f32, (32,), "w")
    with k.loop("i", 0, 2) as i:
        v = k.load(x, (i * 16,), 16)
        k.fail_when(k.cmp("ne", v, v), 3)
        k.fail_when(k.cmp("lt", v, 0.0), 4)
        k.store(y, (i * 16,), v)
    fn = k.build()
    for place, value, status in ((31, np.nan, 3), (17, -1.0, 4), (0, 5.0, 0)):
        x_data = np.ones(32, np.float32)
        x_data[place] = value
        same(fn, [x_data, np.zeros(32, np.float32)], [], status)


def test_index_division_rounds_down_with_run_time_divisors() -> None:
    k = Builder("divide")
    n, d = k.size("N"), k.size("D")
    y = k.buffer("y", i64, (n, 6), "w")
    with k.loop("i", 0, n, parallel=True) as i:
        shifted = i - 9
        values = [shifted // 4, shifted % 4, shifted // 7, shifted % 7, shifted // imax(d, 1), shifted % imax(d, 1)]
        for place, value in enumerate(values):
            k.store(y, (i, place), k.value(value, i64))
    fn = k.build()
    verify(fn)
    for divisor in (0, 1, 3, 100):
        y_data = np.zeros((20, 6), np.int64)
        same(fn, [y_data], [20, divisor])
        s = np.arange(20) - 9
        assert np.array_equal(y_data[:, 4], s // max(divisor, 1)) and np.array_equal(y_data[:, 3], s % 7)


def test_two_dims_split_from_one_parallel_iterator_are_proved_apart() -> None:
    k = Builder("split")
    n, c = k.size("N"), k.size("C", lo=1)
    x = k.buffer("x", u8, (n, c, 5))
    y = k.buffer("y", u8, (n, c), "w")
    with k.loop("nc", 0, n * c, parallel=True) as nc:
        acc = k.reg(0, u8)
        with k.loop("j", 0, 5) as j:
            acc.set(k.add(acc.get(), k.load(x, (nc // c, nc % c, j))))
        k.store(y, (nc // c, nc % c), acc.get())
    fn = k.build()
    x_data = np.random.default_rng(0).integers(0, 256, (3, 4, 5)).astype(np.uint8)
    same(fn, [x_data, np.zeros((3, 4), np.uint8)], [3, 4])
    assert unproved(fn) == ()


def test_scratch_is_private_to_an_iteration() -> None:
    k = Builder("scratch")
    x = k.buffer("x", f32, (9, 16))
    y = k.buffer("y", f32, (9, 16), "w")
    t = k.scratch("t", f32, (2, 16))
    with k.loop("i", 0, 9, parallel=True) as i:
        k.store(t, (0, 0), k.load(x, (i, 0), 16))
        with k.loop("j", 0, 16) as j:
            k.store(t, (1, j), k.load(t, (0, 15 - j)))
        k.store(y, (i, 0), k.load(t, (1, 0), 16))
    fn = k.build()
    verify(fn)
    x_data = np.random.default_rng(0).standard_normal((9, 16)).astype(np.float32)
    y_data = np.zeros_like(x_data)
    same(fn, [x_data, y_data], [])
    assert np.array_equal(y_data, x_data[:, ::-1])


def test_exclusive_buffers_give_the_same_results() -> None:
    k = Builder("exclusive")
    x = k.buffer("x", f32, (64,), exclusive=True)
    y = k.buffer("y", f32, (64,), "w", exclusive=True)
    n = k.size("N", hi=64)
    with k.loop("i", 0, n, parallel=True) as i:
        k.store(y, (i,), k.mul(k.load(x, (i,)), 2.0))
    fn = k.build()
    verify(fn)
    same(fn, [np.arange(64, dtype=np.float32), np.zeros(64, np.float32)], [64])


def test_a_kernel_without_a_parallel_loop_does_nothing_for_an_empty_range() -> None:
    k = Builder("once")
    y = k.buffer("y", bool_, (1,), "rw")
    k.store(y, (0,), k.not_(k.load(y, (0,))))
    fn = k.build()
    y_data = np.array([False])
    run_kernel(fn, [y_data], parts=5)
    assert y_data[0]


def test_scalar_kernels_take_the_light_pipeline_and_call_nothing() -> None:
    k = Builder("copy", scalar=True)
    n = k.size("N")
    x = k.buffer("x", f32, (n,))
    y = k.buffer("y", f32, (n,), "w")
    z = k.buffer("z", f32, (n,), "w")
    with k.loop("i", 0, n, parallel=True) as i:
        k.store(y, (i,), k.load(x, (i,)))
        k.store(z, (i,), 0.0)
    fn = k.build()
    verify(fn)
    # A copy and a fill: LLVM's passes would make memcpy and memset of them, which are not linked in.
    assert compile_functions([fn]).address(fn)
    same(fn, [np.arange(100, dtype=np.float32), np.zeros(100, np.float32), np.ones(100, np.float32)], [100])


def test_values_do_not_leave_their_loop() -> None:
    k = Builder("leak")
    y = k.buffer("y", f32, (4,), "w")
    with k.loop("i", 0, 4) as i:
        v = k.value(i, f32)
    k.store(y, (0,), v)
    with pytest.raises(LoopError, match="not defined here"):
        verify(k.build())
