"""Results do not depend on threads, on who calls when, on the sizes of calls before, or on where the code came from."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError
from tests.several_programs import CASES, TRAININGS, Case, Training, as_arrays, bits, classes, normal, state_bits

SOURCE = Path(__file__).parents[1] / "src"
THREADS = (1, 2, 3, 4, 5, 6, 7, 8)
named_cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
named_trainings = pytest.mark.parametrize("training", TRAININGS, ids=lambda training: training.name)


@named_cases
def test_every_count_of_threads_gives_the_same_bits(case: Case) -> None:
    arrays = case.arrays(case.rows)
    found = [bits(as_arrays(case.compiled(threads=count)(*arrays))) for count in THREADS]
    assert all(other == found[0] for other in found)


@named_trainings
def test_every_count_of_threads_trains_the_same_weights(training: Training) -> None:
    found = []
    for count in (1, 2, 3, 8):
        step = training.build(threads=count)
        losses = [step(*training.batch(n)) for n in (12, 12, 7)]
        found.append((losses, state_bits(step)))
    assert all(other == found[0] for other in found)


@named_cases
def test_calling_again_gives_the_same_bits(case: Case) -> None:
    net, arrays = case.compiled(), case.arrays(case.rows)
    first = bits(as_arrays(net(*arrays)))
    assert all(bits(as_arrays(net(*arrays))) == first for _ in range(5))


@pytest.mark.parametrize("case", [c for c in CASES if c.by_row], ids=lambda case: case.name)
def test_a_row_does_not_depend_on_the_rows_around_it(case: Case) -> None:
    net, arrays = case.compiled(), case.arrays(case.rows)
    whole = as_arrays(net(*arrays))
    for first, count in ((0, 1), (case.rows - 1, 1), (1, 2), (0, 3), (2, case.rows - 2)):
        part = as_arrays(net(*(np.ascontiguousarray(a[first : first + count]) for a in arrays)))
        assert bits(part) == bits([np.ascontiguousarray(y[first : first + count]) for y in whole]), (first, count)


@named_cases
def test_sizes_may_alternate(case: Case) -> None:
    net = case.compiled()
    sizes = (case.rows, 1, case.rows, 2, 1, case.rows)
    seen: dict[int, list[bytes]] = {}
    for n in sizes:
        found = bits(as_arrays(net(*case.arrays(n))))
        assert seen.setdefault(n, found) == found, n
    assert seen == {n: bits(as_arrays(case.compiled()(*case.arrays(n)))) for n in seen}


@named_cases
def test_an_empty_batch_gives_what_the_reference_gives(case: Case) -> None:
    if case.name == "statistics":
        pytest.skip("the largest of no elements is refused")
    found = as_arrays(case.compiled()(*case.arrays(0)))
    expected = as_arrays(case.compiled(backend="reference")(*case.arrays(0)))
    assert bits(found) == bits(expected)


def together(*works: Callable[[], object]) -> list[object]:
    """The results of functions that run at the same time in threads of their own."""
    start = threading.Barrier(len(works))

    def begun(work: Callable[[], object]) -> object:
        start.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(begun, work) for work in works]]


@named_cases
@pytest.mark.parametrize("threads", [1, 2])
def test_two_threads_may_call_one_executable(case: Case, threads: int) -> None:
    net = case.compiled(threads=threads)
    inputs = [case.arrays(case.rows), tuple(a[::-1].copy() for a in case.arrays(case.rows))]
    expected = [bits(as_arrays(net(*arrays))) for arrays in inputs]

    def calls(which: int) -> bool:
        return all(bits(as_arrays(net(*inputs[which]))) == expected[which] for _ in range(15))

    assert together(lambda: calls(0), lambda: calls(1)) == [True, True]


def test_threads_may_call_with_more_sizes_than_are_kept() -> None:
    def model(x: cr.Tensor) -> cr.Tensor:
        return cr.softmax(x * 2, axis=0) @ normal(6, 6)

    net = cr.compile(model, cr.spec("N", 6))
    sizes = [1 + n % 90 for n in range(200)]
    expected = {n: net(normal(n, 6)).tobytes() for n in set(sizes)}

    def calls(order: list[int]) -> bool:
        return all(net(normal(n, 6)).tobytes() == expected[n] for n in order)

    assert together(lambda: calls(sizes), lambda: calls(sizes[::-1]), lambda: calls(sizes[50:])) == [True] * 3


def test_two_threads_may_compile_at_once() -> None:
    def model(scale: float, width: int) -> cr.Executable:
        def f(x: cr.Tensor) -> cr.Tensor:
            return cr.tanh(x * scale).sum(axis=1) @ normal(width, width)

        return cr.compile(f, cr.spec("N", 5, width))

    x = {width: normal(4, 5, width) for width in (7, 9)}
    expected = [model(s, w)(x[w]).tobytes() for s, w in ((1.25, 7), (1.75, 9))]
    # Other numbers give other kernels, so that these are not in the process yet.
    fresh = [(1.0 + i / 64, 7 + 2 * (i % 2)) for i in range(8)]
    found = together(*(lambda s=s, w=w: model(s, w)(x[w]).tobytes() for s, w in fresh))
    assert found == [model(s, w)(x[w]).tobytes() for s, w in fresh]
    assert [model(s, w)(x[w]).tobytes() for s, w in ((1.25, 7), (1.75, 9))] == expected


def test_two_threads_may_train_models_of_their_own() -> None:
    def trained(step: cr.Step, training: Training) -> dict[str, bytes]:
        for n in (12, 5, 12, 12):
            step(*training.batch(n))
        return state_bits(step)

    # Built one after another: the weights are drawn from one generator.
    expected = [trained(training.build(threads=2), training) for training in TRAININGS]
    steps = [training.build(threads=2) for training in TRAININGS]
    works = [lambda s=s, t=t: trained(s, t) for s, t in zip(steps, TRAININGS, strict=True)]
    assert together(*works) == expected


def test_a_call_that_fails_leaves_the_executable_usable_in_every_thread() -> None:
    net = cr.compile(nn.Embedding(10, 64), cr.spec("N", dtype="i64"), threads=2)
    good, bad = np.arange(4000) % 10, np.full(4000, 10)
    expected = net(good).tobytes()

    def calls(_: int) -> bool:
        for _ in range(30):
            with pytest.raises(ArgumentError, match="an index is out of range"):
                net(bad)
            if net(good).tobytes() != expected:
                return False
        return True

    assert together(lambda: calls(0), lambda: calls(1)) == [True, True]


@named_trainings
@pytest.mark.parametrize("threads", [1, 3])
def test_a_step_that_fails_changes_no_state(training: Training, threads: int) -> None:
    step = training.build(threads=threads)
    *inputs, target = training.batch(12)
    step(*inputs, target)
    before = state_bits(step)
    wrong = target.copy()
    wrong[5] = 99
    for _ in range(2):
        with pytest.raises(ArgumentError, match="an index is out of range"):
            step(*inputs, wrong)
        changed = [name for name, data in state_bits(step).items() if data != before[name]]
        assert not changed


PROGRAM = """
import hashlib, sys
from tests.several_programs import CASES, TRAININGS, as_arrays, bits, state_bits
for case in CASES:
    found = bits(as_arrays(case.compiled()(*case.arrays(case.rows))))
    print(case.name, hashlib.sha256(b"".join(found)).hexdigest())
for training in TRAININGS:
    step = training.build()
    losses = [step(*training.batch(n)) for n in (12, 12, 7)]
    print(training.name, losses, hashlib.sha256(b"".join(state_bits(step).values())).hexdigest())
"""


def run_fresh(cache: Path, seed: int) -> str:
    """What a new process prints that runs all programs with this cache folder."""
    root = SOURCE.parent
    environment = os.environ | {
        "PYTHONPATH": f"{SOURCE}{os.pathsep}{root}",
        "CHAINRULE_CACHE_DIR": str(cache),
        "PYTHONHASHSEED": str(seed),
    }
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, cwd=root,
                          timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_cold_and_cached_code_and_every_process_give_the_same_bits(tmp_path: Path) -> None:
    cold = run_fresh(tmp_path / "cache", 1)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    warm = run_fresh(tmp_path / "cache", 2)
    assert kept, "nothing was cached"
    assert warm == cold
    here = {case.name: hashlib.sha256(b"".join(bits(as_arrays(case.compiled()(*case.arrays(case.rows)))))).hexdigest()
            for case in CASES}  # fmt: skip
    lines = dict(line.split(" ", 1) for line in cold.splitlines()[: len(CASES)])
    assert lines == here


def test_a_step_and_its_evaluation_share_weights() -> None:
    cr.manual_seed(2)
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
    step = cr.training_step(model, nn.CrossEntropyLoss(), optim.SGD(0.5), (cr.spec("N", 6), cr.spec("N", dtype="i64")))
    net = cr.compile(model, cr.spec("N", 6))
    x, y = normal(20, 6), classes(3, 20)
    before = net(x).tobytes()
    step(x, y)
    net.refresh()
    expected = cr.compile(model, cr.spec("N", 6), backend="reference")(x)
    assert net(x).tobytes() != before
    np.testing.assert_allclose(net(x), expected, rtol=1e-5, atol=1e-6)
    assert step.eval(x, y) == step.eval(x, y)
