"""Loops and branches as native steps: what is copied and what is not, threads, failures, sizes, nested slices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.backends.llvm import runtime_steps as native
from chainrule.backends.llvm.program import Copy
from chainrule.backends.llvm.target import named_target
from chainrule.compiler import Executable
from chainrule.errors import ArgumentError
from chainrule.ops.control import Cond, Scan, While
from chainrule.ops.lowered import PackPanels
from tests.llvm.compiled import complaints
from tests.ops.sample import normal
from tests.ops.samples import SAMPLES

OWN = [sample for sample in SAMPLES if isinstance(sample.op, Cond | Scan | While)]


def items(net: Executable, kind: type) -> list[Any]:
    return [item for item in net.program.main.program.items if isinstance(item, kind)]


def close(fn: Any, *arrays: np.ndarray, specs: Any = None, threads: int = 1) -> Executable:
    """The function compiled; its results are those of the reference."""
    specs = specs or [cr.spec(*a.shape, dtype=a.dtype.name) for a in arrays]
    net = cr.compile(fn, *specs, threads=threads, verify=True)
    own = cr.compile(fn, *specs, backend="reference")
    for got, want in zip(net.run(list(arrays)), own.run(list(arrays)), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)
    return net


def test_every_sample_is_within_its_tolerance_for_threads_and_older_targets() -> None:
    assert complaints(OWN, threads=2) == []
    assert complaints(OWN, target=named_target("x86-64-v2")) == []


def test_a_carry_that_is_read_before_it_is_replaced_lives_in_one_place() -> None:
    net = close(lambda h, x: cr.scan(lambda h, v: (cr.tanh(h * 0.5 + v), None), h, x)[0], normal(5), normal(7, 5))
    assert len(items(net, Copy)) == 1, "only the initial value is copied"
    assert not items(net, native.FlipCounter)


def test_a_carry_that_is_read_later_changes_places_instead_of_being_copied() -> None:
    w = normal(5, 5, seed=3)
    net = close(lambda h, x: cr.scan(lambda h, v: (cr.tanh(h @ w + v), None), h, x)[0], normal(2, 5), normal(7, 2, 5))
    assert len(items(net, native.FlipCounter)) == 1
    loop = [type(i).__name__ for i in net.program.main.program.items]
    assert "Copy" not in loop[loop.index("Repeat") : loop.index("Again")]


def test_results_are_written_where_their_slices_lie() -> None:
    net = close(lambda x: cr.scan(lambda n, v: (n + 1, cr.exp(v)), 0, x, reverse=True), normal(4, 3))
    loop = [type(i).__name__ for i in net.program.main.program.items]
    assert "Copy" not in loop[loop.index("Repeat") : loop.index("Again")]


def test_weights_are_packed_once_and_not_in_the_loop() -> None:
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)

    def model(x: Any, y: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            h = cr.cond(v.sum() > 0, lambda: cr.tanh(first(v) + second(h)), lambda: h)
            return h, cr.map(second, y)

        return cr.scan(step, cr.zeros((3, 6)), x)

    net = close(model, normal(5, 3, 6), normal(2, 3, 6, seed=1))
    assert not any(isinstance(step.node.op, PackPanels) for step in net.program.steps)


def deep(x: Any, n: Any) -> Any:
    """A scan over rows with a loop over columns inside, whose slices are slices of slices, and a branch within that."""

    def column(s: Any, v: Any) -> Any:
        s = cr.cond(v.sum() > 0, lambda: s * 0.5 + v, lambda: s - v)
        return cr.while_loop(lambda c: (c * c).sum() > 1, lambda c: c * 0.5, s, max_trips=20), s

    def row(carry: Any, matrix: Any) -> Any:
        total, count = carry
        last, made = cr.scan(column, total, matrix, reverse=True)
        return (last, count + n), (made, last)

    return cr.scan(row, (cr.zeros(4), 0), x)


def test_loops_in_loops_mean_what_the_reference_computes_for_every_size() -> None:
    net = cr.compile(deep, cr.spec("A", "B", 4), cr.spec(dtype="i64"))
    own = cr.compile(deep, cr.spec("A", "B", 4), cr.spec(dtype="i64"), backend="reference")
    for shape in ((3, 2, 4), (1, 5, 4), (0, 3, 4), (4, 0, 4)):
        x = normal(*shape, seed=sum(shape)) * 2
        for got, want in zip(net.run([x, np.int64(2)]), own.run([x, np.int64(2)]), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    w = normal(256, 256, seed=5) * np.float32(0.05)

    def model(h: Any, x: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            h = cr.tanh(h @ w + v)
            h = cr.while_loop(lambda c: cr.abs(c).max() > 0.5, lambda c: c * 0.9, h)
            return h, cr.softmax(h, -1).sum(0)

        return cr.scan(step, h, x)

    h, x = normal(128, 256), normal(6, 128, 256, seed=1)
    found = [cr.compile(model, cr.spec(128, 256), cr.spec("T", 128, 256), threads=n).run([h, x]) for n in (1, 2, 3)]
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("threads", [1, 2])
def test_an_index_out_of_range_in_a_loop_is_reported_and_changes_no_state(threads: int) -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            self.rows = nn.Buffer(normal(4, 3))
            self.calls = nn.Buffer(np.zeros((), np.int64))

        def __call__(self, places: Any) -> Any:
            self.calls.assign(self.calls + 1)
            return cr.scan(lambda total, i: (total + self.rows[i], None), cr.zeros(3), places)[0]

    table = Table()
    net = cr.compile(table, cr.spec("T", dtype="i64"), threads=threads)
    np.testing.assert_allclose(net(np.array([0, 3, -1])), table.rows.data[[0, 3, 3]].sum(0), rtol=1e-6)
    assert table.calls.data == 1
    with pytest.raises(ArgumentError, match="an index is out of range for axis 0 of size 4") as caught:
        net(np.array([0, 9, 1]))
    assert caught.value.loc is not None
    assert caught.value.loc.file.endswith("test_control.py")
    assert table.calls.data == 1


def test_a_loop_whose_numbers_are_wrong_ends() -> None:
    def model(x: Any, i: Any) -> Any:
        return cr.while_loop(lambda c: c[0] < 3.0, lambda c: (c[0] + x[c[1]], c[1] + 1), (x[0] * 0, i))[0]

    net = cr.compile(model, cr.spec(3), cr.spec(dtype="i64"))
    assert net(np.ones(3, np.float32), np.int64(0)) == 3
    with pytest.raises(ArgumentError, match="out of range"):
        net(np.zeros(3, np.float32), np.int64(0))


def test_state_that_a_loop_replaces_is_there_in_the_next_call() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            self.mean = nn.Buffer(np.zeros(3, np.float32))

        def __call__(self, x: Any) -> Any:
            def step(c: Any, v: Any) -> Any:
                self.mean.assign(self.mean * 0.5 + v * 0.5)
                return c, self.mean + 0

            return cr.scan(step, None, x)[1]

    mean = Mean()
    net = cr.compile(mean, cr.spec("T", 3))
    x = normal(6, 3)
    found = np.concatenate([net(x[:4]), net(x[4:])])
    want = np.zeros(3)
    for row, got in zip(x, found):
        want = want * 0.5 + row * 0.5
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(mean.mean.data, found[-1])


def test_profiles_count_every_round() -> None:
    net = cr.compile(lambda h, x: cr.scan(lambda h, v: (h * 0.5 + v, None), h, x)[0], cr.spec(8), cr.spec("T", 8))
    net(normal(8), normal(30, 8))
    (row,) = net.profile(normal(8), normal(30, 8))
    assert row.flops == 30 * net.program.bound({"T": 30}).steps[0].flops > 0
