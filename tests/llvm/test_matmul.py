"""Compiled matrix products: samples, sizes around the tile, run-time sizes, epilogues, threads, targets, guards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.target import host_target, named_target
from chainrule.backends.loops import verify
from chainrule.ir.dims import symbol
from chainrule.ir.graph import Graph, Value, build, new_input
from chainrule.ir.types import TensorType, as_dtype, tensor, type_of
from chainrule.ops.activations import relu
from chainrule.ops.basic import Fuse
from chainrule.ops.elementwise import add
from chainrule.ops.lowered import PackPanels
from chainrule.ops.matmul import MatMul
from chainrule.ops.shaping import expand
from chainrule.ops.tolerance import judge, models_agree
from tests.llvm.compiled import bits_by_threads, graph_of
from tests.llvm.guarded_programs import guarded_run
from tests.ops.sample import Sample, integers, normal, uniform
from tests.ops.samples import SAMPLES

Array = np.ndarray
OPS = ("matmul", "pack_panels", "panel_matmul")
PRODUCTS = [s for s in SAMPLES if s.op.name in OPS]
FORMS = [MatMul(a, b) for a in (False, True) for b in (False, True)]


def own(sample: Sample) -> list[Array]:
    """The sample's arrays, contiguous."""
    return [np.ascontiguousarray(x).reshape(x.shape) for x in sample.inputs]


def complaints(samples: Sequence[Sample], target: str = "host") -> list[str]:
    """What is wrong with the samples compiled as one program, one line each."""
    made = LlvmExecutable(graph_of(samples), [], threads=1, target=named_target(target))
    results = made.run([x for s in samples for x in own(s)])
    verdicts = [(s, judge(s.op, own(s), [y])) for s, y in zip(samples, results, strict=True)]
    return [f"{s.id}: {verdict.reason}" for s, verdict in verdicts if not verdict]


def products(m: int, k: int, n: int, dtype: str = "float32") -> list[Sample]:
    """A product of these sizes in all four forms."""
    return [Sample(op, (normal(*((k, m) if op.transpose_a else (m, k)), dtype=dtype),
                        normal(*((n, k) if op.transpose_b else (k, n)), seed=1, dtype=dtype)), f"{m} {k} {n} {op}")
            for op in FORMS]  # fmt: skip


@pytest.mark.parametrize("target", ["host", "x86-64-v3", "x86-64-v2"])
def test_samples_are_within_their_tolerance(target: str) -> None:
    assert complaints(PRODUCTS, target) == []


def test_every_kernel_of_the_samples_is_proved() -> None:
    """On a target of small tiles: they are the same loops with fewer accesses."""
    for sample in PRODUCTS:
        made = LlvmExecutable(graph_of([sample]), [], threads=1, target=named_target("x86-64-v2"))
        for fn in made.main.program.functions:
            verify(fn)


@pytest.mark.parametrize(("m", "k", "n"), [(1, 7, 65), (5, 1, 64), (6, 64, 64), (7, 3, 63), (13, 33, 130),
                                           (49, 650, 24), (50, 17, 129), (3, 1300, 10)])  # fmt: skip
def test_sizes_around_the_tile_are_within_their_tolerance(m: int, k: int, n: int) -> None:
    assert complaints(products(m, k, n)) == []


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32"])
def test_element_types_are_within_their_tolerance(dtype: str) -> None:
    if dtype == "int32":
        samples = [Sample(op, (integers(-99, 99, 9, 9, dtype=dtype), integers(-99, 99, 9, 9, dtype=dtype, seed=1)))
                   for op in FORMS]  # fmt: skip
    else:
        samples = products(7, 70, 37, dtype)
    assert complaints(samples) == []


def test_a_long_sum_of_numbers_of_one_sign_keeps_its_digits() -> None:
    sample = Sample(MatMul(), (uniform(0.5, 1, 2, 65536), uniform(0.5, 1, 65536, 3, seed=1)), "65,536 products")
    assert complaints([sample]) == []


@pytest.mark.parametrize("op", FORMS, ids=str)
def test_one_program_serves_every_size(op: MatMul) -> None:
    m, k, n = symbol("M"), symbol("K"), symbol("N")
    a = new_input("a", TensorType(as_dtype("f32"), (k, m) if op.transpose_a else (m, k)))
    b = new_input("b", TensorType(as_dtype("f32"), (n, k) if op.transpose_b else (k, n)))
    made = LlvmExecutable(Graph("g", (a, b), (build(op, a, b),)), [], threads=1)
    for sizes in [(1, 5, 3), (6, 64, 64), (7, 0, 70), (0, 3, 2), (2, 3, 0), (50, 700, 130), (49, 9, 128)]:
        (sample,) = (s for s in products(*sizes) if s.op == op)
        verdict = judge(op, own(sample), made.run(own(sample)))
        assert verdict, f"{sizes}: {verdict.reason}"


def test_batches_of_run_time_sizes_broadcast() -> None:
    types = [tensor("f32", ("B", 1, "T", 5)), tensor("f32", ("H", 5, "T"))]
    inputs = [new_input(f"x{i}", t) for i, t in enumerate(types)]
    made = LlvmExecutable(Graph("g", tuple(inputs), (build(MatMul(), *inputs),)), [], threads=1)
    for b, h, t in ((2, 3, 4), (1, 1, 1), (3, 2, 17)):
        arrays = [normal(b, 1, t, 5), normal(h, 5, t, seed=1)]
        verdict = judge(MatMul(), arrays, made.run(arrays))
        assert verdict, f"{(b, h, t)}: {verdict.reason}"


def layer(x: Value, w: Value, bias: Value, residual: Value) -> Value:
    """relu(x @ w.T + bias) + residual."""
    return add(relu(add(build(MatMul(False, True), x, w), bias)), residual)


@pytest.mark.parametrize("shape", [(13,), (2, 7), ("B", 3), ("B", "T")], ids=str)
def test_bias_activation_and_residual_are_one_kernel_with_the_product(shape: tuple[int | str, ...]) -> None:
    x, y = new_input("x", tensor("f32", (*shape, 20))), new_input("y", tensor("f32", (*shape, 70)))
    w, b = new_input("w", tensor("f32", (70, 20)), "param"), new_input("b", tensor("f32", (70,)), "param")
    arrays = [normal(70, 20, seed=2), normal(70, seed=3)]
    made = LlvmExecutable(Graph("g", (x, y, w, b), (layer(x, w, b, y),)), arrays, threads=1)
    assert len(made.main.program.steps) == 1
    lead = [4 if isinstance(d, str) else d for d in shape]
    given = [normal(*lead, 20), normal(*lead, 70, seed=1)]
    wide = [v.astype(np.float64) for v in (*given, *arrays)]
    expected = np.maximum(wide[0] @ wide[2].T + wide[3], 0) + wide[1]
    (got,) = made.run(given)
    assert models_agree(got, expected)


def test_a_fixed_weight_is_packed_once_and_again_after_a_change() -> None:
    x = new_input("x", tensor("f32", (3, 5)))
    w = new_input("w", tensor("f32", (5, 9)), "param")
    weight = normal(5, 9)
    made = LlvmExecutable(Graph("g", (x, w), (build(MatMul(), x, w),)), [weight], threads=1)
    assert not any(isinstance(n.op, PackPanels) for step in made.main.program.steps for n in [step.node])
    given = normal(3, 5, seed=1)
    weight *= 2
    made.refresh()
    assert judge(MatMul(), [given, weight], made.run([given]))


def test_a_number_in_place_of_an_operand_is_multiplied_too() -> None:
    from chainrule.ops.basic import full

    x = new_input("x", tensor("f32", (3, 20)))
    outputs = (build(MatMul(), x, full(0.5, (20, 9))), build(MatMul(False, True), full(2.0, (4, 20)), x))
    made = LlvmExecutable(Graph("g", (x,), outputs), [], threads=1)
    given = normal(3, 20)
    for got, op, arrays in zip(made.run([given]), (MatMul(), MatMul(False, True)),
                               ([given, np.full((20, 9), 0.5, np.float32)],
                                [np.full((4, 20), 2.0, np.float32), given]), strict=True):  # fmt: skip
        assert judge(op, arrays, [got])


def test_a_bias_that_is_stretched_over_a_batch_is_read_where_it_lies() -> None:
    x, w = new_input("x", tensor("f32", (2, 3, 5))), new_input("w", tensor("f32", (5, 4)))
    b = new_input("b", tensor("f32", (2, 1, 4)))
    made = LlvmExecutable(Graph("g", (x, w, b), (add(build(MatMul(), x, w), expand(b, (2, 3, 4))),)), [], threads=1)
    assert [type(n.op) for n in made.graph.nodes if n.inputs] == [Fuse]
    arrays = [normal(2, 3, 5), normal(5, 4, seed=1), normal(2, 1, 4, seed=2)]
    (got,) = made.run(arrays)
    assert models_agree(got, arrays[0].astype(np.float64) @ arrays[1] + arrays[2])


@pytest.mark.parametrize("op", FORMS, ids=str)
def test_bits_do_not_depend_on_the_number_of_threads(op: MatMul) -> None:
    (sample,) = (s for s in products(130, 650, 150) if s.op == op)
    bits = bits_by_threads(lambda n: LlvmExecutable(graph_of([sample]), [], threads=n), own(sample))
    assert bits[0] == bits[1] == bits[2]


def test_a_row_does_not_depend_on_how_many_there_are() -> None:
    a, b = normal(50, 700), normal(70, 700, seed=1)
    rows = [new_input("a", tensor("f32", ("M", 700))), new_input("b", type_of(b))]
    made = LlvmExecutable(Graph("g", tuple(rows), (build(MatMul(False, True), *rows),)), [], threads=1)
    whole = made.run([a, b])[0]
    for count in (1, 2, 5, 6, 7, 13):
        assert np.array_equal(made.run([a[:count].copy(), b])[0], whole[:count]), f"{count} rows"
        sample = Sample(MatMul(False, True), (a[:count].copy(), b))
        fixed = LlvmExecutable(graph_of([sample]), [], threads=1).run(own(sample))[0]
        assert np.array_equal(fixed, whole[:count]), f"{count} rows of a fixed size"


def test_bits_are_the_same_on_every_target_that_fuses_multiply_and_add() -> None:
    targets = [t for t in (host_target(), named_target("x86-64-v3")) if t.has_fma]
    samples = products(13, 650, 70)
    arrays = [x for s in samples for x in own(s)]
    bits = {b"".join(y.tobytes() for y in LlvmExecutable(graph_of(samples), [], threads=1, target=t).run(arrays))
            for t in targets}  # fmt: skip
    assert len(bits) == 1


def test_nothing_outside_of_the_arrays_is_touched() -> None:
    for sample in [*products(7, 33, 70), *products(1, 9, 20), *[s for s in PRODUCTS if s.op.name == "pack_panels"]]:
        made = LlvmExecutable(graph_of([sample]), [], threads=1)
        verdict = judge(sample.op, own(sample), guarded_run(made, own(sample)))
        assert verdict, f"{sample.id}: {verdict.reason}"
