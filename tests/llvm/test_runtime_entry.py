"""The call path: what the entry accepts, returns, refuses and owns; the native one and the one through ctypes alike."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule.backends.llvm.runtime import BUSY, Frame, PlainEntry, StepFailed
from chainrule.backends.llvm.runtime_native import native
from chainrule.backends.llvm.runtime_numpy import layout_is_known
from chainrule.ir.types import bf16, f32
from tests.llvm.runtime_kernels import BOOL, F32, I64, call, kernels, mapping_frame, scaled

Entry = Callable[..., Any]


@pytest.fixture(params=["native", "plain"])
def entry_of(request: pytest.FixtureRequest) -> Callable[[Frame], Entry]:
    """Gives the entry of a frame in one of its two forms."""
    if request.param == "plain":
        return PlainEntry
    assert native().entry, "the native entry cannot be used here"
    return lambda frame: frame.entry


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(1, 2, shape).astype(np.float32)


def two_out(n: int = 8) -> Frame:
    """(x) -> (scale(x), root(x))"""
    ports = [(i, F32, (n,)) for i in range(3)]
    return Frame([call("scale", n, 0, 1), call("root", n, 0, 2)], 3, {}, ports[:1], ports[1:], keep_alive=kernels())


def test_the_native_entry_is_used_where_the_layout_is_known() -> None:
    assert layout_is_known() == bool(native().entry)
    assert layout_is_known() or sys.implementation.name != "cpython" or not sys._is_gil_enabled()


def test_one_output_comes_as_an_array_of_its_own(entry_of: Callable[[Frame], Entry]) -> None:
    entry, x = entry_of(mapping_frame(8, "scale")), floats(8)
    first, second = entry(x), entry(x * 2)
    assert type(first) is np.ndarray and first.dtype == F32 and first.shape == (8,)
    assert first.flags.owndata and first.flags.writeable and first.flags.c_contiguous
    assert np.array_equal(first, scaled(x)) and np.array_equal(second, scaled(x * 2))


def test_several_outputs_come_as_a_tuple(entry_of: Callable[[Frame], Entry]) -> None:
    x = floats(8)
    result = entry_of(two_out())(x)
    assert type(result) is tuple and len(result) == 2
    assert np.array_equal(result[0], scaled(x)) and np.array_equal(result[1], np.sqrt(x))


def test_a_single_output_may_be_asked_for_as_a_tuple_and_none_is_an_empty_one(
    entry_of: Callable[[Frame], Entry],
) -> None:
    port, x = (0, F32, (4,)), floats(4)
    steps = [call("scale", 4, 0, 1)]
    one = Frame(steps, 2, {}, [port], [(1, F32, (4,))], as_tuple=True, keep_alive=kernels())
    (y,) = entry_of(one)(x)
    assert np.array_equal(y, scaled(x))
    assert entry_of(Frame([], 1, {}, [port], []))(x) == ()


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1), (2, 3, 4), (1,) * 20])
def test_every_shape_is_accepted_and_made(entry_of: Callable[[Frame], Entry], shape: tuple[int, ...]) -> None:
    n = int(np.prod(shape))
    frame = Frame([call("scale", n, 0, 1)], 2, {}, [(0, f32, shape)], [(1, f32, shape)], keep_alive=kernels())
    x = floats(*shape)
    y = entry_of(frame)(x)
    assert y.shape == shape and np.array_equal(y, scaled(x))


@pytest.mark.parametrize("dtype", [BOOL, I64, np.dtype(np.uint16), np.dtype(np.float16), bf16])
def test_every_dtype_is_made(entry_of: Callable[[Frame], Entry], dtype: Any) -> None:
    frame = Frame([], 1, {}, [], [(0, dtype, (3,))])
    expected = dtype.numpy if dtype is bf16 else dtype
    assert entry_of(frame)().dtype == expected


class Subclass(np.ndarray):
    pass


def unaligned(n: int) -> np.ndarray:
    return np.zeros(4 * n + 4, np.uint8)[1 : 4 * n + 1].view(np.float32)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        1.0,
        [0.0] * 8,
        np.float32(3),
        np.zeros(8, np.float64),
        np.zeros(8, np.int32),
        np.zeros(8, ">f4"),
        np.zeros(7, np.float32),
        np.zeros((8, 1), np.float32),
        np.zeros((), np.float32),
        np.zeros(16, np.float32)[::2],
        np.zeros(8, np.float32)[::-1],
        unaligned(8),
        np.zeros(8, np.float32).view(Subclass),
        np.ma.zeros(8, np.float32),
    ],
)
def test_an_argument_of_another_kind_is_declined(entry_of: Callable[[Frame], Entry], wrong: Any) -> None:
    entry, x = entry_of(mapping_frame(8, "scale")), floats(8)
    assert entry(wrong) is NotImplemented
    assert entry(x, wrong) is NotImplemented
    assert np.array_equal(entry(x), scaled(x))


def test_a_wrong_number_of_arguments_is_declined(entry_of: Callable[[Frame], Entry]) -> None:
    entry, x = entry_of(two_out()), floats(8)
    for arguments in ((), (x, x.copy()), (x, x.copy(), x.copy(), x.copy())):
        assert entry(*arguments) is NotImplemented
    with pytest.raises(TypeError):
        entry(x=x)


def test_given_outputs_are_filled_and_returned(entry_of: Callable[[Frame], Entry]) -> None:
    entry, x = entry_of(two_out()), floats(8)
    a, b = np.zeros(8, np.float32), np.zeros(8, np.float32)
    result = entry(x, a, b)
    assert result[0] is a and result[1] is b
    assert np.array_equal(a, scaled(x)) and np.array_equal(b, np.sqrt(x))


def test_given_outputs_must_be_writeable_and_apart(entry_of: Callable[[Frame], Entry]) -> None:
    entry, x, y = entry_of(two_out()), floats(8), np.zeros(8, np.float32)
    frozen = np.zeros(8, np.float32)
    frozen.flags.writeable = False
    block = np.zeros(32, np.float32)
    for pair in ((y, y), (x, y), (y, frozen), (block[:8], block[7:15]), (block[8:16], block[1:9])):
        assert entry(x, *pair) is NotImplemented
    assert entry(block[8:16], block[:8], block[16:24]) is not NotImplemented


def test_read_only_inputs_and_equal_inputs_are_fine(entry_of: Callable[[Frame], Entry]) -> None:
    ports = [(i, F32, (8,)) for i in range(4)]
    steps = [call("scale", 8, 0, 2), call("root", 8, 1, 3)]
    entry, x = entry_of(Frame(steps, 4, {}, ports[:2], ports[2:], keep_alive=kernels())), floats(8)
    x.flags.writeable = False
    a, b = entry(x, x)
    assert np.array_equal(a, scaled(x)) and np.array_equal(b, np.sqrt(x))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_failing_step_raises_and_leaves_the_frame_usable(entry_of: Callable[[Frame], Entry], threads: int) -> None:
    ports = [(0, I64, (6,)), (1, F32, (6,)), (2, F32, (6,))]
    steps = [call("scale", 6, 1, 2), call("fail", 6, 0)]
    entry = entry_of(Frame(steps, 3, {}, ports[:2], ports[2:], None, threads, keep_alive=kernels()))
    codes, x = np.array([0, 0, 77, 0, 5, 0]), floats(6)
    for _ in range(3):
        with pytest.raises(StepFailed, match="step 1 failed with code 77") as caught:
            entry(codes, x)
        assert (caught.value.step, caught.value.code) == (1, 77)
        assert np.array_equal(entry(np.zeros(6, np.int64), x), scaled(x))


def test_an_output_that_does_not_fit_in_memory_raises_and_leaves_nothing(entry_of: Callable[[Frame], Entry]) -> None:
    outputs = [(1, F32, (4_000_000,)), (2, F32, (1 << 59,))]
    entry, x = (
        entry_of(Frame([call("scale", 4, 0, 1)], 3, {}, [(0, F32, (4,))], outputs, keep_alive=kernels())),
        floats(4),
    )
    tracemalloc.start()
    try:
        for _ in range(3):
            with pytest.raises((MemoryError, ValueError)):
                entry(x)
        # numpy 2.4 notes the block that it did not get, 1 << 61 bytes at address 0; what it did get must be gone.
        assert tracemalloc.get_traced_memory()[0] % (1 << 61) < 1_000_000
    finally:
        tracemalloc.stop()
    small = np.zeros(4, np.float32)
    assert entry(x, small, small) is NotImplemented


def test_no_call_changes_a_reference_count(entry_of: Callable[[Frame], Entry]) -> None:
    codes, x, out = np.zeros(8, np.int64), floats(8), np.zeros(8, np.float32)
    bad = np.ones(8, np.int64)
    ports = [(0, I64, (8,)), (1, F32, (8,)), (2, F32, (8,))]
    steps = [call("scale", 8, 1, 2), call("fail", 8, 0)]
    frames = [Frame(steps, 3, {}, ports[:2], ports[2:], as_tuple=t, keep_alive=kernels()) for t in (True, False)]
    watched = (codes, x, out, bad, F32, np.ndarray, StepFailed, *frames, *(f._words for f in frames))
    entries = [entry_of(frame) for frame in frames]

    def use() -> None:
        for entry in entries:
            entry(codes, x), entry(codes, x, out), entry(x, codes), entry(codes, x, x), entry(codes)
            for arguments in ((bad, x), (bad, x, out)):
                try:
                    entry(*arguments)
                except StepFailed:
                    continue
                raise AssertionError("the step did not fail")

    use()
    gc.collect()
    before = [sys.getrefcount(thing) for thing in watched]
    for _ in range(100):
        use()
    gc.collect()
    assert [sys.getrefcount(thing) for thing in watched] == before


def test_calls_that_fail_leave_no_memory_behind(entry_of: Callable[[Frame], Entry]) -> None:
    codes, out = np.full(4, 5, np.int64), np.zeros(4000, np.float32)
    ports = [(0, I64, (4,)), (1, F32, (4000,))]
    steps = [call("scale", 4, 0, 1), call("fail", 4, 0)]
    entry = entry_of(Frame(steps, 2, {}, ports[:1], ports[1:], keep_alive=kernels()))

    def fail(times: int) -> None:
        for i in range(times):
            with contextlib.suppress(StepFailed):
                entry(codes) if i % 2 else entry(codes, out)

    fail(10)
    gc.collect()
    tracemalloc.start()
    try:
        fail(1000)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 16_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("release_gil", [False, True])
def test_a_frame_is_free_after_each_call(entry_of: Callable[[Frame], Entry], release_gil: bool) -> None:
    frame, x = mapping_frame(8, "scale", "root", release_gil=release_gil), floats(8)
    for _ in range(5):
        assert np.array_equal(entry_of(frame)(x), np.sqrt(scaled(x)))
        assert np.array_equal(entry_of(frame)(x, np.zeros(8, np.float32)), np.sqrt(scaled(x)))


def test_results_are_freed_with_their_last_reference(entry_of: Callable[[Frame], Entry]) -> None:
    entry, x = entry_of(two_out()), floats(8)
    a, b = entry(x)
    one = entry_of(mapping_frame(8, "root"))(x)
    ours = np.zeros(8, np.float32)
    assert len({sys.getrefcount(r) for r in (a, b, one, ours)}) == 1


class Owner:
    pass


def test_the_entry_keeps_the_program_alive_and_frees_it(entry_of: Callable[[Frame], Entry]) -> None:
    x, owner, weights = floats(8), Owner(), floats(8)
    alive = weakref.ref(owner)
    owner.weights, owner.code = weights, kernels()  # type: ignore[attr-defined]
    ports = [(1, F32, (8,))]
    frame = Frame([call("scale", 8, 0, 1)], 2, {0: weights.ctypes.data}, [], ports, keep_alive=owner)
    expected = scaled(weights)
    entry = entry_of(frame)
    del owner, frame, weights
    gc.collect()
    assert alive() is not None and np.array_equal(entry(), expected)
    del entry
    gc.collect()
    assert alive() is None
    assert np.array_equal(mapping_frame(8, "scale").entry(x), scaled(x))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_busy_frame_declines_and_says_so(threads: int) -> None:
    # The kernel runs until the second thread has tried: the frame is surely busy meanwhile.
    stop = np.zeros(1, np.float32)
    waiting = Frame(
        [call("wait", 2, 0)],
        2,
        {0: stop.ctypes.data},
        [],
        [(1, F32, (1,))],
        None,
        threads,
        keep_alive=(kernels(), stop),
    )
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(waiting.entry()))
    given = np.zeros(1, np.float32)
    thread.start()
    try:
        while waiting._words[0] == 0:
            pass
        count = sys.getrefcount(given)
        tries = [waiting.entry(), PlainEntry(waiting)(), waiting.entry(given), PlainEntry(waiting)(given)]
        status, count_after = waiting.run([given.ctypes.data]), sys.getrefcount(given)
    finally:
        stop[0] = 1
        thread.join()
    assert all(answer is NotImplemented for answer in tries) and status == BUSY and count_after == count
    assert len(done) == 1 and done[0].shape == (1,)
    assert waiting.entry() is not NotImplemented
