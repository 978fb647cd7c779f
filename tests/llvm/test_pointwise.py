"""Compiled elementwise ops agree with their references, alone and in chains, over every way of broadcasting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from chainrule.backends.llvm.target import host_target, named_target
from chainrule.backends.reference import run as run_reference
from chainrule.ir.dims import Dim, symbol
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.types import TensorType, as_dtype, bf16, bool_, f16, f32, i64
from chainrule.ops import arithmetic, compare, elementwise, transcendental
from chainrule.ops.activations import relu
from chainrule.ops.activations_smooth import Gelu
from chainrule.ops.basic import scalar_like
from chainrule.ops.elementwise import Elementwise, add, cast, div, mul, sub, where
from chainrule.ops.ranges import iota
from chainrule.ops.shaping import expand
from chainrule.ops.tolerance import exactly
from tests.llvm.compiled import between_guards, bits_by_threads, complaints, executable, graph_of
from tests.ops.sample import Sample, integers, normal
from tests.ops.samples import SAMPLES

BY_NAME: dict[str, list[Sample]] = {}
for _sample in SAMPLES:
    if isinstance(_sample.op, Elementwise):
        BY_NAME.setdefault(_sample.op.name, []).append(_sample)
NAMES = sorted(BY_NAME)


@pytest.mark.parametrize("name", NAMES)
def test_samples_agree_with_the_reference(name: str) -> None:
    assert complaints(BY_NAME[name]) == []


@pytest.mark.parametrize("start", range(0, len(NAMES), 12))
def test_samples_of_symbolic_sizes_agree_with_the_reference(start: int) -> None:
    chosen = [sample for name in NAMES[start : start + 12] for sample in BY_NAME[name][::4]]
    assert complaints(chosen, symbolic=True) == []


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3"])
def test_samples_agree_on_older_machines(target: str) -> None:
    chosen = [sample for name in NAMES for sample in BY_NAME[name][:2]]
    assert complaints(chosen, target=named_target(target)) == []


SHAPES = [
    [(), ()], [(), (3,)], [(1,), (17,)], [(0,), (1,)], [(3, 0), (1, 1)], [(4, 1), (1, 5)], [(2, 1, 3), (2, 4, 1)],
    [(2, 1, 3, 1, 5), (1, 7, 1, 4, 1)], [(7, 16), (16,)], [(2, 5, 1, 1), (2, 5, 3, 3)], [(3, 1, 1), (1, 1, 33)],
    [(1, 1, 1), (1,)], [(4097,), (4097,)], [(2, 5000), (5000,)], [(20001,), (20001,)], [(2, 17000), (2, 1)],
    [(70, 70), (70, 1)],
]  # fmt: skip


def chain(a: Value, b: Value) -> Value:
    """Operations that round as IEEE does, so that numpy gives the same bits."""
    return relu(sub(mul(add(a, b), a), div(b, scalar_like(3, b))))


def chained(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    y = (a + b) * a - b / a.dtype.type(3)
    return np.where(y < 0, a.dtype.type(0), y)


def sizes_of(shape: tuple[int, ...], n: int) -> tuple[Dim, ...]:
    """The shape with a symbol for each size above 1, by its axis from the right."""
    return tuple(symbol(f"S{n}_{len(shape) - i}") if d > 1 else d for i, d in enumerate(shape))


def pairs(symbolic: bool) -> tuple[Graph, list[np.ndarray], list[np.ndarray]]:
    """One graph of the chain over all pairs of shapes, its arrays and the results expected."""
    inputs: list[Value] = []
    arrays: list[np.ndarray] = []
    outputs: list[Value] = []
    for n, shapes in enumerate(SHAPES):
        own = [normal(*s, seed=n + i) if s else np.asarray(np.float32(n + i)) for i, s in enumerate(shapes)]
        sizes = [sizes_of(s, n) if symbolic else s for s in shapes]
        values = [new_input(f"x{n}_{i}", TensorType(f32, s)) for i, s in enumerate(sizes)]
        inputs, arrays, outputs = inputs + values, arrays + own, [*outputs, chain(*values)]
    expected = [np.asarray(chained(a, b)) for a, b in zip(arrays[::2], arrays[1::2], strict=True)]
    return Graph("pairs", tuple(inputs), tuple(outputs)), arrays, expected


@pytest.mark.parametrize("symbolic", [False, True])
def test_chains_broadcast_as_numpy_does(symbolic: bool) -> None:
    graph, arrays, expected = pairs(symbolic)
    made = executable(graph)
    for y, want in zip(made.run(arrays), expected, strict=True):
        assert y.shape == want.shape and exactly(y, want).ok


@pytest.mark.parametrize("symbolic", [False, True])
def test_nothing_outside_of_the_arrays_is_touched(symbolic: bool) -> None:
    graph, arrays, expected = pairs(symbolic)
    shapes = [(v.tensor.shape, a.shape) for v, a in zip(graph.inputs, arrays, strict=True)]
    dims = {str(d): n for names, sizes in shapes for d, n in zip(names, sizes, strict=True) if not isinstance(d, int)}
    for y, want in zip(between_guards(graph, arrays, dims), expected, strict=True):
        assert exactly(y, want).ok


def test_sizes_may_change_from_call_to_call() -> None:
    a, b = new_input("a", TensorType(f32, (symbol("N"), 3))), new_input("b", TensorType(f32, (1, 3)))
    made = executable(Graph("sizes", (a, b), (chain(a, b),)))
    row = normal(1, 3, seed=9)
    for n in (5, 1, 0, 4000, 5):
        x = normal(n, 3, seed=n)
        assert exactly(made.run([x, row])[0], chained(x, row)).ok


@pytest.mark.parametrize("dtype", [f16, bf16])
def test_half_precision_is_rounded_after_every_op(dtype: object) -> None:
    x, y = (normal(5, 20, seed=i).astype(dtype.numpy) for i in range(2))  # type: ignore[attr-defined]
    a, b = (new_input(n, TensorType(as_dtype(x.dtype), (5, 20))) for n in "ab")
    graph = Graph("half", (a, b), (chain(a, b), transcendental.exp(mul(a, b))))
    for got, want in zip(executable(graph).run([x, y]), run_reference(graph, [x, y]), strict=True):
        assert exactly(got, want).ok


def test_bools_integers_and_casts_live_in_one_chain() -> None:
    x, n, flags = normal(3, 21), integers(-5, 5, 3, 21), integers(0, 2, 3, 1).astype(bool)
    a = new_input("a", TensorType(f32, (3, 21)))
    b = new_input("b", TensorType(i64, (3, 21)))
    c = new_input("c", TensorType(bool_, (3, 1)))
    hit = compare.logical_and(compare.gt(a, scalar_like(0, a)), c)
    total = add(where(hit, cast(a, i64), b), cast(compare.logical_not(hit), i64))
    quotient = arithmetic.floor_divide(total, where(compare.eq(b, scalar_like(0, b)), scalar_like(7, b), b))
    graph = Graph("mixed", (a, b, c), (total, hit, cast(hit, f32), quotient))
    for got, want in zip(executable(graph).run([x, n, flags]), run_reference(graph, [x, n, flags]), strict=True):
        assert exactly(got, want).ok


def test_a_region_with_several_outputs_stores_each() -> None:
    a = new_input("a", TensorType(f32, (symbol("N"), 7)))
    first = mul(a, a)
    second = add(first, scalar_like(1, first))
    made = executable(Graph("several", (a,), (first, second, sub(second, a))))
    assert len(made.main.program.steps) == 1
    x = normal(9, 7)
    for y, want in zip(made.run([x]), (x * x, x * x + 1, x * x + 1 - x), strict=True):
        assert exactly(y, want.astype(np.float32)).ok


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_positions_count_inside_a_sweep(axis: int) -> None:
    shape = (3, 5, 40)
    a = new_input("a", TensorType(f32, shape))
    graph = Graph("positions", (a,), (mul(a, cast(iota(shape, axis), f32)),))
    x = normal(*shape)
    places = np.arange(shape[axis], dtype=np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
    assert exactly(executable(graph).run([x])[0], x * places).ok


def test_a_stretched_value_is_read_where_it_lies() -> None:
    a, b = new_input("a", TensorType(f32, (4, 1))), new_input("b", TensorType(f32, (4, 50)))
    graph = Graph("stretch", (a, b), (add(expand(a, (4, 50)), b),))
    x, y = normal(4, 1), normal(4, 50, seed=1)
    assert exactly(executable(graph).run([x, y])[0], x + y).ok


@pytest.mark.parametrize("symbolic", [False, True])
def test_vectors_that_run_abreast_agree_in_rows_of_every_length(symbolic: bool) -> None:
    samples = [Sample(Gelu(), (normal(3, n),)) for n in (15, 16, 33, 64, 127, 128, 130, 272, 400)]
    assert complaints(samples, symbolic=symbolic) == []
    assert complaints(samples, symbolic=symbolic, target=replace(host_target(), l3=256)) == []


@pytest.mark.parametrize("shape", [(1_000_003,), (3, 300_001), (700, 900)])
def test_bits_are_equal_for_any_number_of_threads(shape: tuple[int, ...]) -> None:
    sample = Sample(transcendental.Tanh(), (normal(*shape),))
    first, *others = bits_by_threads(lambda n: executable(graph_of([sample]), threads=n), sample.inputs)
    assert all(other == first for other in others)


def test_elements_do_not_depend_on_their_place_in_the_array() -> None:
    x = normal(1000, scale=4)
    sample = Sample(transcendental.Exp(), (x,))
    whole = executable(graph_of([sample])).run([x])[0]
    for start in (1, 7, 990):
        part = np.ascontiguousarray(x[start:])
        got = executable(graph_of([Sample(sample.op, (part,))])).run([part])[0]
        assert got.tobytes() == whole[start:].tobytes()


def test_a_long_chain_is_one_sweep_for_every_120_ops() -> None:
    a = new_input("a", TensorType(f32, (symbol("N"),)))
    value: Value = a
    for _ in range(250):
        value = elementwise.add(mul(value, scalar_like(0.5, value)), a)
    made = executable(Graph("long", (a,), (value,)), verified=False)
    x = normal(33)
    want = x
    for _ in range(250):
        want = want * np.float32(0.5) + x
    assert exactly(made.run([x])[0], want).ok
    assert len(made.main.program.steps) <= 5
