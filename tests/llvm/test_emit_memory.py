"""Loads and stores touch exactly the elements that they name: masks, strides and gathers between guard pages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from chainrule.backends.llvm.codegen import assembly_text
from chainrule.backends.llvm.emit import emit_function
from chainrule.backends.llvm.jit import runs_here
from chainrule.backends.llvm.target import Target, named_target
from chainrule.backends.loops import Builder, as_int, interpret, text, unproved, verify
from chainrule.ir.types import ALL_DTYPES, DType, bf16, bool_, f16, f32, i8, i16, i32, i64
from tests.guard_pages import run_kernel
from tests.llvm.kernel_inputs import assert_same_bits, designed

names = [d.name for d in ALL_DTYPES]


def agree(fn: object, arrays: list[np.ndarray], sizes: list[int], target: str | Target = "host") -> list[np.ndarray]:
    """Runs a kernel natively at both ends of its pages and in the interpreter; returns the native arrays."""
    aim = named_target(target) if isinstance(target, str) else target
    if not runs_here(aim):
        pytest.skip(f"this machine cannot run {aim.name}")
    native = arrays
    for side in ("end", "start"):
        native = [a.copy() for a in arrays]
        expected = [a.copy() for a in arrays]
        for buffer, array in zip(fn.buffers, expected, strict=True):  # type: ignore[attr-defined]
            if buffer.mode == "w":
                array.reshape(-1).view(np.uint8)[...] = 1 if buffer.dtype.is_bool else 0xFF
        status = interpret(fn, expected, sizes)  # type: ignore[arg-type]
        assert run_kernel(fn, native, sizes, side=side, target=aim) == status  # type: ignore[arg-type]
        for got, want in zip(native, expected, strict=True):
            assert_same_bits(got.reshape(-1), want.reshape(-1), f"{side} {sizes}")
    return native


@pytest.mark.parametrize("target", ["host", "x86-64-v3", "x86-64-v2"])
@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=names)
def test_counts_mask_the_lanes_beyond(dtype: DType, target: str) -> None:
    k = Builder("tail")
    n = k.size("N")
    x = k.buffer("x", dtype, (n,))
    y = k.buffer("y", dtype, (n,), "w")
    with k.loop("i", 0, n, 16) as i:
        k.store(y, (i,), k.load(x, (i,), 16, mask=n - i), mask=n - i)
    fn = k.build()
    verify(fn)
    for size in (0, 1, 15, 16, 17, 40):
        x_data = designed(dtype, size, seed=2)
        y_data = agree(fn, [x_data, np.zeros(size, dtype.numpy)], [size], target)[1]
        assert y_data.tobytes() == x_data.tobytes()


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
@pytest.mark.parametrize("wide, narrow", [(i32, i8), (i32, i16), (i64, i32), (i64, i8), (f32, bf16), (f32, f16)])
def test_one_lane_of_a_narrowed_vector_is_stored_alone(wide: DType, narrow: DType, lanes: int) -> None:
    k = Builder("one")
    x = k.buffer("x", wide, (lanes,))
    y = k.buffer("y", narrow, (1,), "w")
    k.store(y, (0,), k.cast(k.load(x, (0,), lanes), narrow), mask=as_int(1))
    fn = k.build()
    verify(fn)
    agree(fn, [designed(wide, lanes, seed=3), np.zeros(1, narrow.numpy)], [])


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16, 32, 64])
def test_every_width_and_any_count_is_allowed(lanes: int) -> None:
    k = Builder("widths")
    n = k.size("N")
    x = k.buffer("x", f32, (lanes,))
    y = k.buffer("y", f32, (lanes,), "rw")
    k.store(y, (0,), k.add(k.load(x, (0,), lanes, mask=n - 3), 1.0), mask=n - 2)
    fn = k.build()
    for size in (0, 2, 3, lanes // 2 + 3, lanes + 2, lanes + 3, 1000):
        agree(fn, [np.arange(lanes, dtype=np.float32), np.full(lanes, 9, np.float32)], [size])


@pytest.mark.parametrize("dtype", [f32, i64, bool_], ids=lambda d: d.name)
def test_vector_masks_choose_lanes(dtype: DType) -> None:
    k = Builder("chosen")
    x = k.buffer("x", dtype, (16,))
    m = k.buffer("m", bool_, (16,))
    y = k.buffer("y", dtype, (16,), "rw")
    mask = k.load(m, (0,), 16)
    k.store(y, (0,), k.load(x, (0,), 16, mask=mask), mask=mask)
    fn = k.build()
    data = [designed(dtype, 16, 3), np.arange(16) % 3 == 0, designed(dtype, 16, 4)]
    agree(fn, data, [])


@pytest.mark.parametrize("stride", [-7, -3, -2, -1, 0, 1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("dtype", [f32, i32, bool_], ids=lambda d: d.name)
def test_strided_loads_and_stores_stay_inside(dtype: DType, stride: int) -> None:
    for lanes in (1, 4, 16):
        span = abs(stride) * (lanes - 1) + 1
        start = span - 1 if stride < 0 else 0
        k = Builder("strided")
        n = k.size("N")
        x = k.buffer("x", dtype, (span,))
        y = k.buffer("y", dtype, (lanes,), "w")
        z = k.buffer("z", dtype, (span,), "rw")
        z2 = k.buffer("z2", dtype, (span,), "rw")
        v = k.load(x, (start,), lanes, stride=stride)
        k.store(y, (0,), v)
        if stride:
            k.store(z, (start,), v, stride=stride)
            part = k.load(x, (start,), lanes, stride=stride, mask=n)
            k.store(z2, (start,), part, stride=stride, mask=n)
        fn = k.build()
        verify(fn)
        data = [
            designed(dtype, span, 5),
            np.zeros(lanes, dtype.numpy),
            designed(dtype, span, 6),
            designed(dtype, span, 7),
        ]
        agree(fn, data, [max(lanes - 1, 1)])


def test_run_time_strides_walk_columns() -> None:
    k = Builder("column")
    n, c = k.size("N", lo=16), k.size("C")
    x = k.buffer("x", f32, (n * c,))
    y = k.buffer("y", f32, (c, 16), "w")
    with k.loop("j", 0, c, parallel=True) as j:
        k.store(y, (j, 0), k.load(x, (j,), 16, stride=c))
    fn = k.build()
    verify(fn)
    x_data = np.arange(16 * 5, dtype=np.float32)
    out = agree(fn, [x_data, np.zeros((5, 16), np.float32)], [16, 5])[1]
    assert np.array_equal(out, x_data.reshape(16, 5).T)


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=names)
@pytest.mark.parametrize("lanes", [1, 8, 16])
def test_gathers_clamp_into_the_row(dtype: DType, lanes: int) -> None:
    k = Builder("gather")
    n = k.size("N")
    x = k.buffer("x", dtype, (3, n))
    ids32 = k.buffer("ids32", i32, (lanes,))
    ids64 = k.buffer("ids64", i64, (lanes,))
    y = k.buffer("y", dtype, (3, lanes), "w")
    k.store(y, (0, 0), k.gather(x, (1, 0), k.load(ids32, (0,), lanes)))
    k.store(y, (1, 0), k.gather(x, (2, 2), k.load(ids64, (0,), lanes)))
    k.store(y, (2, 0), k.gather(x, (0, 1), k.load(ids32, (0,), lanes), mask=n - 5))
    fn = k.build()
    assert unproved(fn) == ()
    numbers = np.random.default_rng(1).integers(-4, 14, lanes)
    big = numbers.astype(np.int64)
    big[0] = -(2**62)
    big[-1] = 2**62
    for size in (0, 1, 10):
        agree(
            fn,
            [
                designed(dtype, 3 * size, 8).reshape(3, size),
                numbers.astype(np.int32),
                big,
                np.zeros((3, lanes), dtype.numpy),
            ],
            [size],
        )


def test_rank_zero_buffers_are_single_elements() -> None:
    k = Builder("scalar")
    x = k.buffer("x", f32, ())
    y = k.buffer("y", f32, (), "w")
    k.store(y, (), k.neg(k.load(x, ())))
    fn = k.build()
    verify(fn)
    assert agree(fn, [np.array(3.0, np.float32), np.array(0.0, np.float32)], [])[1] == -3.0


def test_prefetch_may_point_anywhere() -> None:
    k = Builder("prefetch")
    x = k.buffer("x", f32, (16,))
    y = k.buffer("y", f32, (16,), "w")
    k.prefetch(x, (100_000_000,))
    k.prefetch(y, (-5000,), write=True)
    k.store(y, (0,), k.load(x, (0,), 16))
    fn = k.build()
    verify(fn)
    agree(fn, [np.arange(16, dtype=np.float32), np.zeros(16, np.float32)], [])


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("dtype", [f32, f16, i8, i64], ids=lambda d: d.name)
@pytest.mark.parametrize("target", ["host", "x86-64-v3", "x86-64-v2"])
def test_whole_lines_of_a_large_buffer_pass_the_caches_wherever_it_lies(
    target: str, dtype: DType, symbolic: bool
) -> None:
    aim = replace(named_target(target), l3=200 * dtype.itemsize)
    for size in (37, 199, 200, 231):
        k = Builder("stream")
        n = k.size("N") if symbolic else as_int(size)
        x = k.buffer("x", dtype, (n,))
        y = k.buffer("y", dtype, (n,), "w", streams=True)
        with k.loop("i", 0, n, 16) as i, k.loop("j", 0, 1):
            k.store(y, (i,), k.load(x, (i,), 16, mask=n - i), mask=n - i)
        with k.loop("i", 0, n // 16) as i:
            k.store(y, (16 * i,), k.load(x, (16 * i,), 16))
        fn = k.build()
        verify(fn)
        large, whole = symbolic or size >= 200, 16 * dtype.itemsize >= 64
        assert ("!nontemporal" in emit_function(fn, aim, "f")) == (aim.is_x86 and large and whole)
        x_data = designed(dtype, size, seed=4)
        y_data = agree(fn, [x_data, np.zeros(size, dtype.numpy)], [size] if symbolic else [], aim)[1]
        assert y_data.tobytes() == x_data.tobytes()


@pytest.mark.parametrize("under", ["r", "rw", "exclusive", "w"])
def test_a_large_buffer_is_kept_in_the_caches_where_it_lies_over_one_that_is_read(under: str) -> None:
    """Whether it does is known at run time, if the kernel may be called so at all."""
    k = Builder("update")
    mode = "r" if under == "exclusive" else under
    x = k.buffer("x", f32, (256,), mode, exclusive=under == "exclusive")
    y = k.buffer("y", f32, (256,), "w", streams=True)
    with k.loop("i", 0, 256, 16) as i:
        value = k.load(x, (i,), 16) if "r" in mode else k.const(3, f32, 16)
        k.store(y, (i,), value)
        if "w" in mode:
            k.store(x, (i,), value)
    emitted = emit_function(k.build(), replace(named_target("x86-64-v3"), l3=1024), "update")
    assert "!nontemporal" in emitted
    assert ("icmp eq ptr %b1, %b0" in emitted) == (under in ("r", "rw"))


@pytest.mark.parametrize("target", ["x86-64-v4", "x86-64-v3", "x86-64-v2", "aarch64"])
def test_values_survive_where_registers_are_forgotten(target: str) -> None:
    k = Builder("forgetful")
    x, y = k.buffer("x", f32, (4, 16)), k.buffer("y", f32, (4, 16), "rw")
    sums = k.reg(k.const(0.5, f32, 16))
    with k.loop("i", 0, 4) as i:
        k.forget()
        sums.set(k.add(sums.get(), k.load(x, (i, 0), 16)))
        k.store(y, (i, 0), k.mul(sums.get(), 3.25))
    fn, aim = k.build(), named_target(target)
    emitted = emit_function(fn, aim, "forgetful")
    assert emitted.count("~{") == aim.vector_registers and assembly_text((emitted, False), aim)
    assert "forget" in text(fn)
    if runs_here(aim):
        agree(fn, [np.arange(64, dtype=np.float32).reshape(4, 16), np.zeros((4, 16), np.float32)], [], target)
