"""Memory of large outputs is kept and given out again, never to two arrays at a time, and given back in the end."""

from __future__ import annotations

import contextvars
import ctypes
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.llvm import runtime_outputs as outputs
from chainrule.backends.llvm.runtime_driver import API_FIELDS
from chainrule.backends.llvm.runtime_native import native
from chainrule.backends.llvm.runtime_numpy import numpy_functions
from chainrule.errors import ArgumentError

pytestmark = pytest.mark.skipif(not native().outputs, reason="outputs are not kept on this system")

LEAST = outputs.LEAST_BYTES // 4  # f32 elements


@pytest.fixture(scope="module")
def plus_one() -> cr.Executable:
    return cr.compile(lambda x: x + 1, cr.spec("N"), threads=1)


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """Tests begin and end without kept blocks of others that could be found."""
    gc.collect()
    outputs.reset_outputs(native().outputs, word(outputs.API), word(outputs.LIMIT))
    yield


def word(offset: int, state: int = 0) -> int:
    return ctypes.c_int64.from_address((state or native().outputs) + offset).value


def kept() -> tuple[int, int]:
    """Blocks and bytes."""
    return word(outputs.KEPT_BLOCKS), word(outputs.KEPT_BYTES)


def test_a_dropped_output_gives_its_memory_to_the_next(plus_one: cr.Executable) -> None:
    x = np.arange(LEAST, dtype=np.float32)
    first = plus_one(x)
    place = first.ctypes.data
    assert first.flags.owndata and first.base is None and place % 64 == 0
    del first
    assert kept() == (1, outputs.LEAST_BYTES)
    second = plus_one(x * 2)
    assert second.ctypes.data == place and kept() == (0, 0)
    assert np.array_equal(second, x * 2 + 1)


def test_memory_in_use_is_given_to_nobody(plus_one: cr.Executable) -> None:
    x = np.zeros(LEAST, np.float32)
    first = plus_one(x)
    view = first[7:9]
    del first
    assert kept() == (0, 0)
    second = plus_one(x + 1)
    assert view.tolist() == [1, 1] and second[0] == 2 and not np.may_share_memory(view, second)


def test_small_outputs_and_given_ones_are_not_kept(plus_one: cr.Executable) -> None:
    plus_one(np.zeros(LEAST - 1, np.float32))
    assert kept() == (0, 0)
    x, own = np.zeros(LEAST, np.float32), np.empty(LEAST, np.float32)
    plus_one(x)  # makes the program ready for this size
    before = kept()
    plus_one(x, out=own)
    assert kept() == before and own[0] == 1


def test_what_is_kept_stays_within_the_limit_and_the_oldest_goes(plus_one: cr.Executable) -> None:
    big = outputs.LIMIT_BYTES // 4 // 3
    arrays = [plus_one(np.zeros(big + i, np.float32)) for i in range(4)]
    places = [a.ctypes.data for a in arrays]
    for _ in range(4):
        del arrays[0]
    assert kept()[0] == 2 and kept()[1] <= outputs.LIMIT_BYTES
    again = [plus_one(np.zeros(big, np.float32)) for _ in range(2)]
    assert {a.ctypes.data for a in again} <= set(places[2:])
    many = [plus_one(np.zeros(LEAST, np.float32)) for _ in range(20)]
    del many, again
    assert kept()[0] <= 16 and kept()[1] <= outputs.LIMIT_BYTES


def test_a_much_larger_block_is_not_taken_for_a_small_array(plus_one: cr.Executable) -> None:
    del_me = plus_one(np.zeros(4 * LEAST, np.float32))
    del del_me
    small = plus_one(np.zeros(LEAST, np.float32))
    assert kept() == (1, 4 * outputs.LEAST_BYTES) and small[0] == 1


def test_an_output_can_be_resized_like_any_array(plus_one: cr.Executable) -> None:
    y = plus_one(np.arange(LEAST, dtype=np.float32))
    y.resize(3 * LEAST, refcheck=False)
    assert np.array_equal(y[:LEAST], np.arange(1, LEAST + 1)) and not y[LEAST:].any()
    y.resize(5, refcheck=False)
    assert y.tolist() == [1, 2, 3, 4, 5]
    del y
    assert kept()[0] == 2


def test_many_threads_never_share_a_block(plus_one: cr.Executable) -> None:
    wrong: list[str] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        held: list[tuple[np.ndarray, float]] = []
        for step in range(40):
            n, value = LEAST + int(rng.integers(0, LEAST)), float(seed * 1000 + step)
            held.append((plus_one(np.full(n, value, np.float32)), value + 1))
            if len(held) > 3:
                array, expected = held.pop(int(rng.integers(0, len(held))))
                if array.min() != expected or array.max() != expected:
                    wrong.append(f"{seed}/{step}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert word(outputs.LOCK) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_fork_has_memory_of_its_own(plus_one: cr.Executable) -> None:
    x = np.zeros(LEAST, np.float32)
    mine = plus_one(x)
    del mine
    child = os.fork()
    if child == 0:
        theirs = [plus_one(x + i) for i in range(3)]
        os._exit(0 if [a[0] for a in theirs] == [1, 2, 3] else 1)
    mine = plus_one(x + 5)
    assert os.waitpid(child, 0)[1] == 0
    assert mine.min() == mine.max() == 6


def test_a_lock_that_another_thread_held_at_the_fork_is_free_in_the_child(plus_one: cr.Executable) -> None:
    ctypes.c_int64.from_address(native().outputs).value = 1
    try:
        y = plus_one(np.zeros(LEAST, np.float32))  # nobody waits
        assert y[0] == 1
        del y
        assert kept() == (0, 0)
        child = os.fork()
        if child == 0:
            os._exit(word(outputs.LOCK))
        assert os.waitpid(child, 0)[1] == 0
    finally:
        ctypes.c_int64.from_address(native().outputs).value = 0


def test_an_allocator_of_the_user_is_used_instead(plus_one: cr.Executable) -> None:
    api = (ctypes.c_int64 * len(API_FIELDS)).from_address(word(outputs.API))
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p)
    ours = outputs.Allocator.from_address(get(api[API_FIELDS.index("output_allocator")], b"mem_handler") or 0)
    state = np.zeros(outputs.STATE_BYTES // 8, np.int64)
    outputs.reset_outputs(state.ctypes.data, word(outputs.API), outputs.LIMIT_BYTES)
    capsule, structure = outputs.allocator(list(ours.functions), state.ctypes.data)
    set_allocator = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(numpy_functions()["set_allocator"])

    def call() -> None:
        set_allocator(capsule)
        plus_one(np.zeros(LEAST, np.float32))

    contextvars.copy_context().run(call)
    assert kept() == (0, 0)
    assert word(outputs.KEPT_BLOCKS, state.ctypes.data) == 2, structure  # the input and the output


@pytest.mark.parametrize(("asked", "limit"), [("", outputs.LIMIT_BYTES), ("0", 0), ("1000000", 1_000_000)])
def test_the_limit_is_an_environment_variable(asked: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_KEPT_OUTPUT_BYTES", asked)
    assert outputs.output_limit() == limit
    monkeypatch.setenv("CHAINRULE_KEPT_OUTPUT_BYTES", "-1")
    with pytest.raises(ArgumentError, match="not a number of bytes"):
        outputs.output_limit()


def test_a_limit_of_zero_keeps_nothing() -> None:
    program = (
        "import numpy as np, chainrule as cr\n"
        "from chainrule.backends.llvm.runtime_native import native\n"
        f"y = cr.compile(lambda x: x + 1, cr.spec({LEAST}))(np.zeros({LEAST}, np.float32))\n"
        "assert native().outputs == 0 and y[0] == 1 and y.flags.owndata\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"CHAINRULE_KEPT_OUTPUT_BYTES": "0"})
    assert done.returncode == 0


def test_arrays_that_outlive_the_interpreter_do_no_harm() -> None:
    program = (
        "import numpy as np, chainrule as cr, sys\n"
        f"net = cr.compile(lambda x: x + 1, cr.spec({LEAST}))\n"
        f"sys.kept = np.kept = [net(np.zeros({LEAST}, np.float32)) for _ in range(3)]\n"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
