"""Compiled sorts agree with their references: stable, NaN last, both directions, every type, along any axis."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.llvm.kernels.sort import INSERTED
from chainrule.backends.llvm.target import named_target
from chainrule.ops.sorting import Argsort, Sort, TopK
from chainrule.ops.tolerance import judge
from tests.llvm.compiled import between_guards, bits_by_threads, complaints, executable, graph_of
from tests.ops.sample import Sample, integers, normal
from tests.ops.samples import SAMPLES

OWN = [s for s in SAMPLES if isinstance(s.op, Argsort | Sort | TopK)]
DTYPES = ("float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
          "bool")  # fmt: skip
LENGTHS = (1, 2, INSERTED, INSERTED + 1, 300)


def test_samples_agree_with_the_reference() -> None:
    assert complaints(OWN) == []


def test_samples_of_symbolic_sizes_agree_with_the_reference() -> None:
    assert complaints([s for s in OWN if not isinstance(s.op, TopK) or int(s.op.k) <= 1], symbolic=True) == []


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3"])
def test_samples_agree_on_older_machines(target: str) -> None:
    assert complaints(OWN, target=named_target(target)) == []


def values(dtype: str, *shape: int) -> np.ndarray:
    """Values with many ties; of floats also both zeros, infinities, NaN and subnormals; of integers the ends."""
    if dtype == "bool":
        return integers(0, 2, *shape).astype(bool)
    x = integers(-20, 20, *shape).astype(dtype)
    flat = x.reshape(-1)
    if dtype.startswith("f"):
        special = np.array([np.nan, -0.0, 0.0, np.inf, -np.inf, 6e-8, -6e-8, -np.nan, 0.5], dtype)
        flat[:: max(1, flat.size // 40)] = np.resize(special, flat[:: max(1, flat.size // 40)].size)
    else:
        info = np.iinfo(dtype)
        flat[::7], flat[3::11] = info.min, info.max
    return x


def forms(x: np.ndarray, axis: int) -> list[Sample]:
    """Every op in both directions."""
    n = x.shape[axis]
    found = [Sample(op(axis, down), (x,), f"{op.name} {x.dtype} {x.shape} {axis} {down}")
             for op in (Argsort, Sort) for down in (False, True)]  # fmt: skip
    return found + [Sample(TopK(k, axis, largest), (x,), f"top {k} {x.dtype} {x.shape} {axis} {largest}")
                    for k in {1, min(5, n), n} for largest in (False, True)]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_zeros_and_nan_are_ordered_as_in_the_reference(dtype: str) -> None:
    samples = [s for n in LENGTHS for s in forms(values(dtype, 3, n), 1)]
    samples += [s for n in (20, 70) for s in forms(values(dtype, 2, n, 3), 1)]
    assert complaints(samples) == []


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int16", "uint64", "bool"])
def test_lines_of_lengths_known_at_run_time_agree(dtype: str) -> None:
    samples = [s for s in forms(values(dtype, 3, 90), 1) if not isinstance(s.op, TopK)]
    assert complaints([*samples, *(s for s in forms(values(dtype, 40, 3), 0) if not isinstance(s.op, TopK))],
                      symbolic=True) == []  # fmt: skip


def test_sorted_and_reversed_lines_are_sorted() -> None:
    up = np.arange(5000, dtype=np.float32)[None]
    lines = up, up[:, ::-1].copy(), up * 0
    assert complaints([Sample(Argsort(1, down), (x,)) for x in lines for down in (False, True)]) == []


def test_a_long_line_is_sorted() -> None:
    assert complaints([Sample(Argsort(0), (normal(200_000),)), Sample(TopK(7, 0), (normal(200_000, seed=1),))]) == []


def test_bits_are_equal_for_any_number_of_threads() -> None:
    sample = Sample(Argsort(1), (normal(40, 3000),))
    first, *others = bits_by_threads(lambda n: executable(graph_of([sample]), threads=n), sample.inputs)
    assert all(other == first for other in others)


def test_nothing_outside_of_the_arrays_is_touched() -> None:
    for sample in [*forms(values("float32", 3, 50), 1), *forms(values("float64", 40, 2), 0)]:
        assert judge(sample.op, sample.inputs, between_guards(graph_of([sample]), sample.inputs)).reason == ""
