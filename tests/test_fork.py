"""A process may fork after it has compiled: parent and child go on, with threads, and give the same bits."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

import chainrule as cr
from tests.several_programs import CASES, TRAININGS, Case, Training, as_arrays, bits, normal, state_bits

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    # Python warns of every fork while threads run; that it goes well here is what is tested.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
CHILD_SECONDS = 20  # after this a child counts as hanging and is ended


def digest(arrays: list[bytes]) -> bytes:
    return hashlib.sha256(b"".join(arrays)).digest()


def in_child(work: Callable[[], bytes]) -> bytes:
    """What a function gives in a forked child. Fails when the child hangs or dies."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            os.write(writer, work())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    deadline = time.monotonic() + CHILD_SECONDS
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.005)
    with os.fdopen(reader, "rb") as pipe:
        found = pipe.read()
    assert status == 0, f"the child ended with status {status}"
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_child_calls_what_its_parent_compiled(case: Case) -> None:
    net, arrays = case.compiled(threads=3), case.arrays(case.rows)
    expected = digest(bits(as_arrays(net(*arrays))))
    assert in_child(lambda: digest(bits(as_arrays(net(*arrays))))) == expected
    assert digest(bits(as_arrays(net(*arrays)))) == expected


def test_a_child_calls_with_sizes_that_its_parent_did_not() -> None:
    case = CASES[0]
    net = case.compiled(threads=2)
    net(*case.arrays(4))
    expected = digest(bits(as_arrays(case.compiled(threads=2)(*case.arrays(9)))))
    assert in_child(lambda: digest(bits(as_arrays(net(*case.arrays(9)))))) == expected


def test_a_child_compiles() -> None:
    def model(x: cr.Tensor) -> cr.Tensor:
        return cr.tanh(x @ normal(40, 40, seed=77)).sum(axis=1) * 1.0625

    x = normal(500, 40)

    def compiled() -> bytes:
        return cr.compile(model, cr.spec("N", 40), threads=2)(x).tobytes()

    first = in_child(compiled)
    assert compiled() == first
    assert in_child(compiled) == first


@pytest.mark.parametrize("training", TRAININGS, ids=lambda training: training.name)
def test_a_child_trains_on_while_its_parent_keeps_its_own_weights(training: Training) -> None:
    step, batch = training.build(threads=2), training.batch(12)
    step(*batch)
    before = state_bits(step)

    def trained() -> bytes:
        step(*batch)
        return digest(list(state_bits(step).values()))

    found = in_child(trained)
    assert state_bits(step) == before
    assert trained() == found


def test_a_fork_while_other_threads_are_calling_leaves_the_child_free() -> None:
    case = CASES[0]
    net, arrays = case.compiled(threads=2), case.arrays(case.rows)
    expected = digest(bits(as_arrays(net(*arrays))))
    stop = threading.Event()

    def calls() -> None:
        while not stop.is_set():
            net(*arrays)

    callers = [threading.Thread(target=calls) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(5):
            assert in_child(lambda: digest(bits(as_arrays(net(*arrays))))) == expected
    finally:
        stop.set()
        for caller in callers:
            caller.join()


def test_a_fork_while_another_thread_compiles_leaves_the_child_free() -> None:
    case = CASES[1]
    net, arrays = case.compiled(threads=2), case.arrays(case.rows)
    expected = digest(bits(as_arrays(net(*arrays))))
    stop = threading.Event()

    def compiles() -> None:
        number = 0
        while not stop.is_set():
            number += 1

            def model(x: cr.Tensor, factor: float = 1 + number / 1024) -> cr.Tensor:
                return cr.exp(x * factor).sum()

            cr.compile(model, cr.spec("N", 3))

    compiler = threading.Thread(target=compiles)
    compiler.start()
    try:
        for _ in range(8):
            time.sleep(0.05)
            assert in_child(lambda: digest(bits(as_arrays(net(*arrays))))) == expected
            assert in_child(lambda: digest(bits(as_arrays(case.compiled(threads=2)(*arrays))))) == expected
    finally:
        stop.set()
        compiler.join()
