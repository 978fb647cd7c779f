"""Compiled running sums and products agree with their references, along any axis and in both directions."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.llvm.target import named_target
from chainrule.ir.op import Op
from chainrule.ops.cumulative import CumProd, CumSum, LinearRecurrence
from chainrule.ops.tolerance import judge
from tests.llvm.compiled import between_guards, bits_by_threads, complaints, executable, fused_complaint, graph_of
from tests.ops.sample import Sample, integers, normal, uniform
from tests.ops.samples import SAMPLES

OWN = [s for s in SAMPLES if isinstance(s.op, CumSum | CumProd | LinearRecurrence)]
SHAPES = [((1,), 0), ((16,), 0), ((3, 37), 1), ((3, 37), 0), ((37, 130), 0), ((2, 5, 20), 1), ((2, 2000), 1)]


def test_samples_agree_with_the_reference() -> None:
    assert complaints(OWN) == []


def test_samples_of_symbolic_sizes_agree_with_the_reference() -> None:
    assert complaints(OWN[::2], symbolic=True) == []


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3"])
def test_samples_agree_on_older_machines(target: str) -> None:
    assert complaints(OWN, target=named_target(target)) == []


def ops(axis: int) -> list[Op]:
    """All forms along an axis."""
    return [*(CumSum(axis, e, r) for e in (False, True) for r in (False, True)), CumProd(axis)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "uint8"])
def test_lines_of_every_length_agree(dtype: str) -> None:
    samples: list[Sample] = []
    for shape, axis in SHAPES:
        x = uniform(0.8, 1.2, *shape, dtype=dtype) if dtype.startswith("f") else integers(0, 9, *shape, dtype=dtype)
        samples += [Sample(op, (x,), f"{op.mnemonic} {op} {shape}") for op in ops(axis)]
    assert complaints(samples) == []


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_recurrences_of_every_length_agree(dtype: str) -> None:
    samples: list[Sample] = []
    for shape, axis in SHAPES:
        arrays = uniform(-1, 1, *shape, dtype=dtype), normal(*shape, dtype=dtype)
        samples += [Sample(LinearRecurrence(axis, reverse), arrays, f"{shape}") for reverse in (False, True)]
    assert complaints(samples) == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_sums_of_equal_numbers_do_not_drift(dtype: str) -> None:
    # 0.1 is rounded up: every addition that rounds errs the same way.
    x = np.full(200_000, 0.1, dtype)
    for op in (CumSum(0), CumSum(0, False, True)):
        exact = np.arange(1, x.size + 1) * x[0].astype(np.float64)
        exact = exact[::-1] if op.reverse else exact
        got = executable(graph_of([Sample(op, (x,))])).run([x])
        assert judge(op, [x], got, own=[x], precise=[exact]).reason == ""


@pytest.mark.parametrize("reverse", [False, True])
def test_infinities_and_nan_spread_in_the_direction_of_the_sum(reverse: bool) -> None:
    x = normal(3, 50)
    x[0, 20], x[1, 33], x[2, 5], x[2, 30] = np.inf, np.nan, np.inf, -np.inf
    turned = np.ascontiguousarray(x.T)
    samples = [Sample(CumSum(1, e, reverse), (x,)) for e in (False, True)]
    assert complaints([*samples, Sample(CumSum(0, True, reverse), (turned,))]) == []


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_what_surrounds_a_running_sum_joins_its_loops(axis: int, reverse: bool) -> None:
    arrays = [normal(3, 7, 40), normal(7, 1, seed=1), normal(40, seed=2)]
    assert fused_complaint(CumSum(axis, False, reverse), [a.shape for a in arrays], arrays) == ""


def test_bits_are_equal_for_any_number_of_threads() -> None:
    for axis in (0, 1):
        sample = Sample(CumSum(axis), (normal(700, 800),))
        first, *others = bits_by_threads(lambda n, s=sample: executable(graph_of([s]), threads=n), sample.inputs)
        assert all(other == first for other in others)


def test_nothing_outside_of_the_arrays_is_touched() -> None:
    for shape, axis in SHAPES:
        for op in ops(axis):
            x = normal(*shape)
            assert judge(op, [x], between_guards(graph_of([Sample(op, (x,))]), [x])).reason == ""
