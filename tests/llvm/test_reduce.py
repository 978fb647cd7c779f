"""Compiled reductions agree with their references, over any axes, of any size, fused, and for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.llvm.kernels.reduce_sweeps import BLOCK
from chainrule.backends.llvm.target import named_target
from chainrule.ir.dims import symbol
from chainrule.ir.graph import Graph, new_input
from chainrule.ir.op import Op
from chainrule.ir.types import TensorType, f32
from chainrule.ops import elementwise, reduce
from chainrule.ops.reduce import AMax, AMin, ArgMax, ArgMin, Mean, Prod, Sum
from chainrule.ops.tolerance import judge
from tests.llvm.compiled import between_guards, bits_by_threads, complaints, executable, fused_complaint, graph_of
from tests.ops.sample import Sample, integers, normal, uniform
from tests.ops.samples import SAMPLES

NAMES = ("sum", "mean", "amax", "amin", "prod", "any", "all", "argmax", "argmin", "logsumexp", "var", "std", "l1_norm",
         "l2_norm", "sum_square")  # fmt: skip
BY_NAME = {name: [s for s in SAMPLES if s.op.name == name] for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_samples_agree_with_the_reference(name: str) -> None:
    assert complaints(BY_NAME[name]) == []


@pytest.mark.parametrize("name", NAMES[:9])
def test_samples_of_symbolic_sizes_agree_with_the_reference(name: str) -> None:
    assert complaints(BY_NAME[name], symbolic=True) == []


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3"])
def test_samples_agree_on_older_machines(target: str) -> None:
    chosen = [s for name in ("sum", "amax", "argmin", "prod", "any") for s in BY_NAME[name]]
    assert complaints(chosen, target=named_target(target)) == []


SHAPES = [
    ((1,), (0,)), ((15,), (0,)), ((1023,), (0,)), ((1090,), (0,)), ((66000,), (0,)), ((3, 17), (1,)), ((3, 17), (0,)),
    ((67, 70), (0,)), ((5, 129), (0,)), ((2, 3, 5), (1,)), ((2, 35, 4), (0, 2)), ((4, 3, 130), (1,)),
    ((66000, 3), (0,)), ((2, 33000, 2), (1,)), ((3, 1, 5, 1), (1, 2)), ((7, 5), ()),
    ((2, 2, 2, 2, 2), (0, 2, 4)), ((70, 3, 300), (0, 2)),
    ((50, 2100), (0,)), ((2, 20, 2048), (1,)), ((3, 5, 2, 2053), (0, 2)),
]  # fmt: skip


def designed(shape: tuple[int, ...], axes: tuple[int, ...], dtype: str) -> list[Sample]:
    """Floats and the ops on them at one shape."""
    x = normal(*shape, seed=len(shape), dtype=dtype)
    ops: list[Op] = [Sum(axes), Mean(axes, True), AMax(axes), AMin(axes, True)]
    found = [Sample(op, (x,), f"{op.name} {shape} {axes}") for op in ops]
    found.append(Sample(Prod(axes), (uniform(0.9, 1.1, *shape, dtype=dtype),), f"prod {shape} {axes}"))
    if len(axes) == 1:
        tied = integers(0, 5, *shape, seed=3, dtype=dtype)
        found += [Sample(op(axes[0]), (y,), f"{op.name} {shape} {axes}") for op in (ArgMax, ArgMin) for y in (x, tied)]
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "uint8"])
def test_shapes_with_tails_cuts_and_many_axes_agree(dtype: str) -> None:
    samples = [s for shape, axes in SHAPES for s in designed(shape, axes, dtype)]
    if not dtype.startswith("float"):
        samples = [Sample(s.op, (integers(0, 100, *s.inputs[0].shape, dtype=dtype),), s.label) for s in samples
                   if not isinstance(s.op, Mean)]  # fmt: skip
    assert complaints(samples) == []


def test_shapes_known_at_run_time_alone_agree() -> None:
    samples = [s for shape, axes in SHAPES for s in designed(shape, axes, "float32")]
    assert complaints(samples[::2], symbolic=True) == []


@pytest.mark.parametrize("length", [100, 65_536, 1_000_003])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_equal_numbers_do_not_drift(length: int, dtype: str) -> None:
    # 0.1 is rounded up: every addition that rounds errs the same way.
    row = np.full((1, length), 0.1, dtype)
    assert complaints([Sample(Sum((1,)), (row,), "row"), Sample(Sum((0,)), (row.reshape(length, 1),), "column")]) == []


def test_a_sum_in_float64_carries_errors_from_block_to_block_and_keeps_infinities() -> None:
    x = np.zeros((3, 8 * BLOCK))
    x[0, ::BLOCK] = [1e16, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1e16]
    x[1, [0, 5000]], x[2, [0, 5000]] = (np.inf, 1e300), (np.inf, -np.inf)
    for sample in (Sample(Sum((1,)), (x,)), Sample(Sum((0,)), (np.ascontiguousarray(x.T),))):
        got = executable(graph_of([sample])).run(list(sample.inputs))[0]
        assert got[0] == 6.0 and got[1] == np.inf and np.isnan(got[2])


def test_a_negative_zero_and_a_nan_behave_as_in_the_reference() -> None:
    x = np.array([[-0.0] * 20, [0.0] * 19 + [np.nan], [np.nan] * 20, [-np.inf] * 20], np.float32)
    wide = np.tile(x, (1, 40))
    samples = [Sample(op((1,)), (y,)) for op in (Sum, AMax, AMin, Prod) for y in (x, wide)]
    samples += [Sample(op(1), (y,)) for op in (ArgMax, ArgMin) for y in (x, wide)]
    samples += [Sample(op(0), (y.T,)) for op in (ArgMax, ArgMin) for y in (x, wide)]
    assert complaints(samples) == []


FUSED: list[tuple[Op, tuple[int, ...]]] = [
    (Sum((1,)), (6, 40)), (Sum((0,), True), (40, 70)), (Mean((0, 2)), (3, 20, 50)), (AMax((1,)), (3, 20, 50)),
    (Prod((-1,), True), (3, 20)), (Sum((0, 1)), (300, 250)), (ArgMax(1), (9, 40)), (ArgMin(0, True), (40, 9)),
]  # fmt: skip


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize(("op", "shape"), FUSED, ids=lambda v: v.mnemonic if isinstance(v, Op) else str(v))
def test_what_surrounds_a_reduction_joins_its_loops(op: Op, shape: tuple[int, ...], symbolic: bool) -> None:
    x, scale, shift = normal(*shape), normal(shape[-2], 1, seed=1), normal(shape[-1], seed=2)
    sizes = [symbol(f"N{i}") for i in range(len(shape))] if symbolic else list(shape)
    assert fused_complaint(op, [sizes, (sizes[-2], 1), sizes[-1:]], [x, scale, shift]) == ""


def test_one_input_may_lie_along_different_axes_before_and_behind() -> None:
    x, v = normal(9, 9), normal(9, seed=1)
    a, b = new_input("x", TensorType(f32, (9, 9))), new_input("v", TensorType(f32, (9,)))
    y = elementwise.sub(reduce.sum(elementwise.mul(a, b), 1), b)
    (got,) = executable(Graph("square", (a, b), (y,))).run([x, v])
    assert judge(Sum((1,)), [x * v], got + v, own=[(x * v).sum(1)]).worst < 2


def test_rows_do_not_depend_on_how_many_there_are() -> None:
    x = normal(9, 1000)
    whole, one = (executable(graph_of([Sample(Sum((1,)), (y,))])).run([y])[0] for y in (x, x[:1]))
    n = new_input("x", TensorType(f32, (symbol("N"), 1000)))
    (free,) = executable(Graph("rows", (n,), (reduce.sum(n, 1),))).run([x])
    assert whole[:1].tobytes() == one.tobytes() and whole.tobytes() == free.tobytes()


THREADED: list[tuple[Op, tuple[int, ...]]] = [
    (Sum((0,)), (1_000_003,)), (Mean((0,)), (300_000, 3)), (AMax((0, 1)), (3, 5, 70_001)), (ArgMax(0), (700_001,)),
    (Sum((1,)), (999, 700)),
]  # fmt: skip


@pytest.mark.parametrize(("op", "shape"), THREADED, ids=lambda v: v.mnemonic if isinstance(v, Op) else str(v))
def test_bits_are_equal_for_any_number_of_threads(op: Op, shape: tuple[int, ...]) -> None:
    sample = Sample(op, (normal(*shape),))
    first, *others = bits_by_threads(lambda n: executable(graph_of([sample]), threads=n, verified=False), sample.inputs)
    assert all(other == first for other in others)


@pytest.mark.parametrize("symbolic", [False, True])
def test_nothing_outside_of_the_arrays_is_touched(symbolic: bool) -> None:
    samples = [s for shape, axes in SHAPES for s in designed(shape, axes, "float32") if np.prod(shape) < 3000]
    for sample in samples[::3]:
        graph = graph_of([sample], symbolic)
        dims = {n: int(n[1:].split("_")[0]) for n in graph.symbols}
        assert judge(sample.op, sample.inputs, between_guards(graph, sample.inputs, dims)).reason == ""


PANELS = [((3000, 100), 0), ((300, 1000), 0), ((20, 40, 130), 1), ((400, 5000), 0), ((64, 9, 700), 1)]


@pytest.mark.parametrize("threads", [1, 2])
def test_panels_of_rows_agree_however_they_are_shared(threads: int) -> None:
    samples: list[Sample] = []
    for shape, axis in PANELS:
        x = normal(*shape)
        samples += [Sample(op, (x,), f"{op.name} {shape}") for op in (Sum((axis,)), AMax((axis,)), ArgMax(axis))]
    assert complaints(samples, threads=threads) == []
