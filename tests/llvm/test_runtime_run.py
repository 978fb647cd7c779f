"""What the driver computes: every kind of step, statuses, and the same bits on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.llvm.runtime import (
    Branch,
    Copy,
    Frame,
    Jump,
    JumpUnless,
    Loop,
    Slice,
    Step,
    StepFailed,
    StoreCounter,
    While,
    Zero,
)
from chainrule.errors import ArgumentError
from chainrule.ir.memory import aligned_bytes
from tests.llvm.runtime_kernels import F32, call, kernels, mapping_frame, run, scaled

THREADS = (1, 2, 3, 4, 5, 6, 7, 8)
by_threads = pytest.mark.parametrize("threads", THREADS)


def floats(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 2, n).astype(np.float32)


@by_threads
@pytest.mark.parametrize("n", [1, 2, 5, 8, 63, 1000])
def test_a_kernel_does_every_iteration_once(threads: int, n: int) -> None:
    x, y = floats(n), np.full(n + 1, np.nan, np.float32)
    assert run([call("scale", n, 0, 1)], [x, y], threads) == 0
    assert np.array_equal(y[:n], scaled(x)) and np.isnan(y[n])


def test_a_kernel_of_no_iterations_is_not_called() -> None:
    assert run([call("fail", 0, 0)], [np.ones(1, np.int64)]) == 0


@by_threads
def test_a_step_sees_all_that_threads_wrote_in_the_step_before(threads: int) -> None:
    n = 97
    x, y, z = floats(n), np.zeros(n, np.float32), np.zeros(n, np.float32)
    body = (
        call("scale", n, 0, 1), call("gather_sum", n, 1, 2, sizes=(n,)), call("scale", n, 2, 1, serial=True),
        call("root", n, 1, 0), call("gather_sum", n, 0, 2, sizes=(n,)),
    )  # fmt: skip
    assert run([Loop(0, 20, body)], [x, y, z], threads) == 0
    a = floats(n)
    for _ in range(20):
        a = np.sqrt(scaled(_times_sum(scaled(a))))
    assert np.array_equal(x, a) and np.array_equal(z, _times_sum(a)) and np.isfinite(z).all()


def _times_sum(a: np.ndarray) -> np.ndarray:
    """What "gather_sum" computes: a's sum from left to right, times the index."""
    return np.add.accumulate(a)[-1] * np.arange(len(a), dtype=np.float32)


@by_threads
@pytest.mark.parametrize("nbytes", [0, 1, 100, 64 * 1024 + 7, 1_000_003])
def test_copy_and_zero_touch_just_their_bytes(threads: int, nbytes: int) -> None:
    source = np.random.default_rng(1).integers(1, 256, nbytes + 8).astype(np.uint8)
    copied, cleared = np.full(nbytes + 8, 255, np.uint8), source.copy()
    wide = [np.zeros(4, np.float32), np.zeros(4, np.float32)]
    steps: list[Step] = [Copy(1, 0, nbytes), Zero(2, nbytes), call("scale", 4, 3, 4)]
    assert run(steps, [source, copied, cleared, *wide], threads) == 0
    assert np.array_equal(copied[:nbytes], source[:nbytes]) and (copied[nbytes:] == 255).all()
    assert not cleared[:nbytes].any() and np.array_equal(cleared[nbytes:], source[nbytes:])


@by_threads
def test_slices_follow_the_counters_of_nested_loops(threads: int) -> None:
    x, y, order = floats(6 * 5), np.zeros(6 * 5, np.float32), np.zeros(6, np.int64)
    row = Slice(0, 0, 20)
    steps: list[Step] = [
        Loop(0, 6, (
            Loop(1, 5, (call("scale", 1, Slice(0, 1, 4), Slice(1, 1, 4)),)),
            call("scale", 5, row, Slice(1, 0, -20, 100)),
            StoreCounter(Slice(2, 0, 8), 0),
        )),
    ]  # fmt: skip
    assert run(steps, [x, y, order], threads) == 0
    expected = scaled(x.reshape(6, 5))[::-1].copy()
    expected[0] = scaled(x.reshape(6, 5))[5]
    assert np.array_equal(y.reshape(6, 5)[1:], expected[1:])
    assert order.tolist() == [0, 1, 2, 3, 4, 5]


@by_threads
@pytest.mark.parametrize("limit", [0, 1, 250])
def test_a_while_loop_ends_when_its_condition_says_so(threads: int, limit: int) -> None:
    count, bound = np.zeros(1, np.float32), np.full(1, limit, np.float32)
    x, y, cond = floats(40), np.zeros(40, np.float32), np.zeros(1, np.bool_)
    body = (call("count_up", 1, 0, 4, 1), call("scale", 40, 2, 3), Copy(2, 3, 160))
    assert run([While((call("less", 1, 0, 1, 4),), 4, body)], [count, bound, x, y, cond], threads) == 0
    expected = floats(40)
    for _ in range(limit):
        expected = scaled(expected)
    assert count[0] == limit and np.array_equal(x, expected)


@by_threads
@pytest.mark.parametrize("taken", [False, True])
def test_a_branch_runs_one_side(threads: int, taken: bool) -> None:
    cond, x = np.array([taken]), floats(100)
    one, other = np.zeros(100, np.float32), np.zeros(100, np.float32)
    assert (
        run([Branch(0, (call("scale", 100, 1, 2),), (call("root", 100, 1, 3),))], [cond, x, one, other], threads) == 0
    )
    assert np.array_equal(one, scaled(x) * taken) and np.array_equal(other, np.sqrt(x) * (not taken))


def test_jumps_may_be_given_flat() -> None:
    cond, x, y = np.array([False]), floats(3), np.zeros(3, np.float32)
    steps = [Jump(2), call("scale", 3, 1, 2), JumpUnless(0, 4), call("scale", 3, 1, 2), call("root", 3, 1, 2)]
    assert run(steps, [cond, x, y]) == 0
    assert np.array_equal(y, np.sqrt(x))


@by_threads
def test_the_status_names_the_failure_that_one_thread_would_meet_first(threads: int) -> None:
    clean, dirty = np.zeros(64, np.int64), np.zeros(64, np.int64)
    dirty[[40, 9, 63]] = 7, 5, 3
    late = np.full(64, 11, np.int64)
    wide = call("scale", 64, 3, 4)
    arrays = [clean, dirty, late, floats(64), np.zeros(64, np.float32)]
    steps = [call("fail", 64, 0), wide, call("fail", 64, 1), call("fail", 64, 2)]
    assert run(steps, arrays, threads) == 5 | 2 << 32


@by_threads
def test_of_failures_in_a_loop_the_first_in_time_counts(threads: int) -> None:
    codes = np.zeros((3, 16), np.int64)
    codes[1, 15], codes[2, 0] = 8, 9
    early = np.zeros((3, 16), np.int64)
    early[2, 3] = 6
    body = (call("fail", 16, Slice(1, 0, 128)), call("fail", 16, Slice(0, 0, 128)))
    assert run([Loop(0, 3, body)], [codes, early], threads) == 8 | 2 << 32


def test_a_run_after_a_failed_one_is_clean() -> None:
    bad, good = np.ones(9, np.int64), np.zeros(9, np.int64)
    for threads in (1, 4):
        steps = [call("fail", 9, 0)]
        frame = Frame(steps, 1, {}, [(0, np.dtype(np.int64), (9,))], [], None, threads, keep_alive=kernels())
        assert frame.run([bad.ctypes.data]) == 1
        assert frame.run([good.ctypes.data]) == 0


def test_the_profile_tells_every_step_that_ran() -> None:
    for threads in (1, 3):
        x, y = floats(50), np.zeros(50, np.float32)
        body = (call("scale", 50, 0, 1), call("root", 50, 1, 0))
        ports = [(0, F32, (50,)), (1, F32, (50,))]
        frame = Frame([Loop(0, 7, body)], 2, {}, ports[:1], ports[1:], None, threads, keep_alive=kernels())
        times = frame.profile([x.ctypes.data, y.ctypes.data])
        assert [(t.step, t.runs) for t in times] == [(0, 1), (1, 7), (2, 7), (3, 7)]
        assert all(t.ns >= 0 for t in times) and sum(t.ns for t in times) > 0
        expected = floats(50)
        for _ in range(7):
            expected = np.sqrt(scaled(expected))
        assert np.array_equal(x, expected)


def test_the_profile_raises_for_a_failing_step() -> None:
    codes = np.full(2, 4, np.int64)
    frame = Frame([call("fail", 2, 0)], 1, {}, [(0, np.dtype(np.int64), (2,))], [], keep_alive=kernels())
    with pytest.raises(StepFailed) as caught:
        frame.profile([codes.ctypes.data])
    assert (caught.value.step, caught.value.code) == (0, 4)


def test_a_kernel_may_have_many_buffers_and_sizes() -> None:
    n = 300
    arrays = [floats(8), np.zeros(8, np.float32)] + [np.zeros(1, np.float32) for _ in range(n)]
    step = call("gather_sum", 8, *range(n + 2), sizes=(8, *range(n)))
    assert run([step], arrays, 2) == 0
    assert arrays[1][1] == np.add.accumulate(arrays[0])[-1]


def test_an_arena_is_aligned() -> None:
    for nbytes in (0, 1, 63, 4096):
        arena = aligned_bytes(nbytes)
        assert arena.ctypes.data % 64 == 0 and arena.nbytes == nbytes


def test_a_program_without_shared_steps_takes_one_thread() -> None:
    serial = [call("scale", 9, 0, 1, serial=True), Loop(0, 3, (Zero(1, 4),))]
    assert Frame(serial, 2, {}, [(0, F32, (9,))], [(1, F32, (9,))], None, 8).threads == 1
    assert mapping_frame(9, "scale", threads=8).threads == 8


def test_frames_that_cannot_be_are_refused() -> None:
    port = (0, F32, (4,))
    for arguments in (
        ([], 1, {1: 64}, [port], []), ([], 0, {}, [port], []), ([], 1, {}, [(0, F32, (-1,))], []),
        ([], 1, {}, [(0, F32, (1 << 40, 1 << 40))], []),
    ):  # fmt: skip
        with pytest.raises(ArgumentError):
            Frame(*arguments)
    with pytest.raises(ArgumentError):
        Frame([], 1, {}, [port], [], threads=0)
    with pytest.raises(ArgumentError):
        Frame([], 1, {}, [port], [], as_tuple=False)
    with pytest.raises(ArgumentError):
        Frame([], 1, {}, [port], []).run([])
