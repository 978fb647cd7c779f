"""A frame whose threads wait for each other longer than it takes alone goes alone for a while, and tries again."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

import pytest

from chainrule.backends.llvm.runtime import Call, Frame
from chainrule.backends.llvm.runtime_driver import FRAME_FIELDS
from chainrule.backends.llvm.runtime_native import native
from chainrule.backends.llvm.runtime_strain import FIRST_REST, PATIENCE
from tests.llvm.runtime_kernels import call, kernels

EXTENT = 2
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)

pytestmark = pytest.mark.skipif(not native().threads, reason="this system has no pool of threads")


def ways(calls: int, together: Callable[[int], None], alone: Callable[[], None], steady: bool = False) -> str:
    """How each call of a frame for two threads went: T together, A alone. together: given where a thread begins."""
    seen: list[str] = []

    def kernel(_buffers: int, _sizes: int, lo: int, hi: int, _status: int) -> None:
        whole = hi - lo == EXTENT
        if lo == 0:
            seen.append("A" if whole else "T")
        if whole:
            alone()
        else:
            together(lo)

    function = KERNEL(kernel)
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address
    frame = Frame([Call(address, EXTENT, False, ())], 0, {}, [], [], None, 2, steady=steady, keep_alive=function)
    for _ in range(calls):
        assert frame.run([]) == 0
    return "".join(seen)


def test_a_frame_that_threads_slow_down_goes_alone_longer_and_longer() -> None:
    found = ways(80, together=lambda lo: time.sleep(0.05 if lo else 0), alone=lambda: None)
    rests = [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST]
    want = "TA" + "T" * PATIENCE + "T".join("A" * rest for rest in rests) + "T"
    assert found == (want + "A" * 80)[:80]


def test_a_frame_with_an_uneven_split_stays_on_its_threads() -> None:
    found = ways(40, together=lambda lo: time.sleep(0.02 if lo else 0), alone=lambda: time.sleep(0.5))
    assert found == "TA" + "T" * 38


def test_a_run_in_which_nobody_slept_takes_half_of_the_count_away() -> None:
    """Else slow runs far from each other add up: the first run after each pause is one, as its workers sleep."""
    frame = Frame([call("spin", EXTENT, sizes=(100,))], 0, {}, [], [], None, 2, keep_alive=kernels())
    slower, rest, seen = FRAME_FIELDS.index("slower"), FRAME_FIELDS.index("alone_calls"), set[int]()
    until = time.monotonic() + 30.0  # on a busy machine nearly every run has a sleep
    while 32 not in seen and time.monotonic() < until:
        frame._words[slower], frame._words[rest] = 64, 0
        assert frame.run([]) == 0
        seen.add(int(frame._words[slower]))
    assert 32 in seen and seen <= {32, 64, 65, 0}


def test_a_steady_frame_stays_on_its_threads() -> None:
    found = ways(20, together=lambda lo: time.sleep(0.02 if lo else 0), alone=lambda: None, steady=True)
    assert found == "T" * 20


def test_a_profile_runs_on_all_threads_and_decides_nothing() -> None:
    seen: list[int] = []
    function = KERNEL(lambda _b, _s, lo, hi, _status: seen.append(hi - lo))
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address
    frame = Frame([Call(address, EXTENT, False, ())], 0, {}, [], [], None, 2, keep_alive=function)
    for _ in range(20):
        frame.profile([])
    assert seen == [1] * 40
