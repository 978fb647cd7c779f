"""Compiled softmax and log-softmax agree with their references: short and long lines, any axis, fused."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.llvm.target import named_target
from chainrule.ir.dims import symbol
from chainrule.ir.op import Op
from chainrule.ops.softmax import LogSoftmax, Softmax
from chainrule.ops.tolerance import judge
from tests.llvm.compiled import between_guards, bits_by_threads, complaints, executable, fused_complaint, graph_of
from tests.ops.sample import Sample, normal, uniform
from tests.ops.samples import SAMPLES

OPS: tuple[type[Op], ...] = (Softmax, LogSoftmax)
OWN = [s for s in SAMPLES if isinstance(s.op, OPS)]
# One vector with a tail, lines in registers and beyond, across memory with tails, in the middle.
SHAPES = [((5, 3), 1), ((4, 128), 1), ((3, 130), 1), ((2, 1500), 1), ((130, 3), 0), ((9, 70), 0), ((2, 5, 33), 1),
          ((3, 40, 64), 1), ((2, 1, 4), 1)]  # fmt: skip


def test_samples_agree_with_the_reference() -> None:
    assert complaints(OWN) == []


def test_samples_of_symbolic_sizes_agree_with_the_reference() -> None:
    assert complaints(OWN, symbolic=True) == []


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3"])
def test_samples_agree_on_older_machines(target: str) -> None:
    assert complaints(OWN, target=named_target(target)) == []


def shaped(dtype: str) -> list[Sample]:
    """Both ops at every shape."""
    return [Sample(op(axis), (normal(*shape, seed=axis, dtype=dtype, scale=4),), f"{op.name} {shape} {axis}")
            for op in OPS for shape, axis in SHAPES]  # type: ignore[call-arg]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_lines_of_every_length_agree(dtype: str) -> None:
    assert complaints(shaped(dtype)) == []


def test_lines_of_lengths_known_at_run_time_agree() -> None:
    assert complaints(shaped("float32")[::2], symbolic=True) == []


@pytest.mark.parametrize("n", [5, 100, 1000])
def test_hard_lines_agree(n: int) -> None:
    x = uniform(-1, 1, 7, n).astype(np.float32)
    x[0] = np.inf
    x[1, 1:] = -np.inf
    x[2] = -np.inf
    x[3, -1] = np.nan
    x[4] = 3e38
    x[5, 0] = 1e4
    x[6] = np.linspace(-100, 0, n)
    turned = np.ascontiguousarray(x.T)
    assert complaints([Sample(op(axis), (y,)) for op in OPS for axis, y in ((1, x), (0, turned))]) == []  # type: ignore[call-arg]


def test_the_logarithm_keeps_the_digits_of_a_sure_class() -> None:
    x = np.full((2, 40), -18, np.float32)
    x[:, 3] = 0
    (y,) = executable(graph_of([Sample(LogSoftmax(), (x,))])).run([x])
    assert abs(y[0, 3] / -np.log1p(39 * np.exp(-18.0)) - 1) < 4 * 2.0**-23


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("op", [Softmax(-1), LogSoftmax(-1), Softmax(1)], ids=lambda op: f"{op.name}{op.axis}")
@pytest.mark.parametrize("length", [10, 200])
def test_scale_and_mask_join_the_sweeps(op: Op, length: int, symbolic: bool) -> None:
    x, scale, mask = normal(3, 4, length), np.full((1, 1), 0.125, np.float32), normal(4, length, seed=1)
    mask[:, length // 2 :] = -np.inf
    n, t = (symbol("N"), symbol("T")) if symbolic else (3, length)
    assert fused_complaint(op, [(n, 4, t), (1, 1), (4, t)], [x, scale, mask]) == ""


def test_bits_are_equal_for_any_number_of_threads() -> None:
    for op, shape in ((Softmax(-1), (900, 500)), (LogSoftmax(1), (5, 70, 900))):
        sample = Sample(op, (normal(*shape),))
        first, *others = bits_by_threads(lambda n, s=sample: executable(graph_of([s]), threads=n), sample.inputs)
        assert all(other == first for other in others)


def test_a_row_does_not_depend_on_the_batch() -> None:
    x = normal(9, 300)
    whole, one = (executable(graph_of([Sample(Softmax(), (y,))])).run([y])[0] for y in (x, x[3:4].copy()))
    assert whole[3:4].tobytes() == one.tobytes()


@pytest.mark.parametrize("symbolic", [False, True])
def test_nothing_outside_of_the_arrays_is_touched(symbolic: bool) -> None:
    for sample in shaped("float32")[:: 4 if symbolic else 1]:
        graph = graph_of([sample], symbolic)
        dims = {name: int(name[1:].split("_")[0]) for name in graph.symbols}
        assert judge(sample.op, sample.inputs, between_guards(graph, sample.inputs, dims)).reason == ""


@pytest.mark.parametrize("shape", [(2, 9, 130), (3, 21, 10, 70), (1100, 66)])
def test_lines_across_taken_in_step_agree(shape: tuple[int, ...]) -> None:
    axis, x = min(1, len(shape) - 2), normal(*shape)
    assert complaints([Sample(op(axis), (x,), f"{op.__name__} of {shape}") for op in (Softmax, LogSoftmax)]) == []
