"""Products of pairs of bf16 have the same bits with the processor's instruction and without it."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.jit import assembly, function_module, runs_here
from chainrule.backends.llvm.pipeline import pipeline
from chainrule.backends.llvm.target import Target, host_target, named_target
from chainrule.backends.loops import Builder, Function, interpret, verify
from chainrule.ir.dims import symbol
from chainrule.ir.graph import Graph, Value, build, new_input
from chainrule.ir.types import TensorType, bf16, f32, type_of
from chainrule.ops.elementwise import Cast
from chainrule.ops.lowered_pairs import PackPairs, PairMatMul
from chainrule.ops.matmul import MatMul
from chainrule.ops.tolerance import judge
from chainrule.passes.base import Notes
from chainrule.passes.pack_pairs import PackBf16
from tests.guard_pages import run_kernel
from tests.llvm.compiled import between_guards, bits_by_threads, complaints, graph_of
from tests.llvm.kernel_inputs import assert_same_bits
from tests.ops.samples_lowered_pairs import SAMPLES, pairs

V4 = named_target("x86-64-v4")
PAIRS = Target("pairs", V4.triple, "x86-64-v4", tuple(sorted((*V4.features, "avx512bf16"))), 512, 32)
V3 = named_target("x86-64-v3")
COUNT = 512


def dots(lanes: int) -> Function:
    k = Builder(f"dots_{lanes}")
    a, b = (k.buffer(name, bf16, (2 * COUNT,)) for name in "ab")
    c, y = k.buffer("c", f32, (COUNT,)), k.buffer("y", f32, (COUNT,), "w")
    with k.loop("i", 0, COUNT // lanes, parallel=True) as i:
        x, w = (k.load(buffer, (i * (2 * lanes),), 2 * lanes) for buffer in (a, b))
        k.store(y, (i * lanes,), k.dot(x, w, k.load(c, (i * lanes,), lanes)))
    return k.build()


@pytest.mark.parametrize("target", [PAIRS, V4, V3], ids=lambda t: t.name)
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16])
def test_dot_of_bf16_equals_the_interpreter(lanes: int, target: Target) -> None:
    if not runs_here(target):
        pytest.skip(f"this machine cannot run {target.name}")
    a, b = pairs(2 * COUNT), pairs(2 * COUNT, seed=1)
    a[:4], b[:4] = [np.inf, 1, np.nan, 1], [0, 1, 1, 1]
    c = np.random.default_rng(2).standard_normal(COUNT).astype(np.float32)
    fn = dots(lanes)
    verify(fn)
    got, want = np.zeros(COUNT, np.float32), np.zeros(COUNT, np.float32)
    interpret(fn, [a, b, c, want])
    assert run_kernel(fn, [a, b, c, got], target=target) == 0
    assert_same_bits(got, want, fn.name)


@pytest.mark.parametrize("target, used", [(PAIRS, True), (V4, False), (V3, False), (named_target("aarch64"), False)],
                         ids=lambda v: v.name if isinstance(v, Target) else "")  # fmt: skip
def test_the_instruction_is_used_where_the_processor_has_it(target: Target, used: bool) -> None:
    _, module = function_module(dots(16), target)
    assert ("vdpbf16ps" in assembly(module, target)) is used
    assert any(isinstance(step, PackBf16) for step in pipeline(target).passes) is used


def by_weight(rows: object, depth: int, op: MatMul, w: np.ndarray) -> Graph:
    """A product of bf16 by a weight in f32, rounded on the way."""
    shape = (depth, rows) if op.transpose_a else (rows, depth)
    a, param = new_input("a", TensorType(bf16, shape)), new_input("w", type_of(w), "param")  # type: ignore[arg-type]
    return Graph("product", (a, param), (build(op, a, build(Cast(bf16), param)),))


@pytest.mark.parametrize("op", [MatMul(), MatMul(transpose_b=True), MatMul(transpose_a=True)], ids=str)
@pytest.mark.parametrize("depth", [1, 2, 33, 64])
def test_products_of_even_and_odd_depth_are_within_their_class(depth: int, op: MatMul) -> None:
    w = np.random.default_rng(depth).standard_normal((depth, 71)).astype(np.float32)
    given = np.ascontiguousarray(w.T) if op.transpose_b else w
    a = pairs(*((depth, 9) if op.transpose_a else (9, depth)))
    graph = by_weight(9, depth, op, given)
    packed = PackBf16().run(graph, Notes())
    assert {type(n.op) for n in packed.nodes} >= {PackPairs, PairMatMul}
    target = PAIRS if runs_here(PAIRS) else host_target()
    (y,) = LlvmExecutable(graph, [given], threads=1, target=target).run([a])
    assert judge(op, [a, given.astype(bf16.numpy)], y)


def test_rows_told_by_the_call_and_any_number_of_threads_give_equal_results() -> None:
    w = np.random.default_rng(3).standard_normal((131, 150)).astype(np.float32)
    graph = by_weight(symbol("M"), 131, MatMul(), w)
    target = PAIRS if runs_here(PAIRS) else host_target()
    made = {n: LlvmExecutable(graph, [w], threads=n, target=target) for n in (1, 2, 3)}
    for rows in (0, 1, 5, 64, 131):
        a = pairs(rows, 131)
        assert judge(MatMul(), [a, w.astype(bf16.numpy)], made[1].run([a])[0]), rows
        assert len(set(bits_by_threads(made.__getitem__, [a]))) == 1, rows


@pytest.mark.parametrize("target", [PAIRS, V3], ids=lambda t: t.name)
def test_kernels_of_pairs_are_proved_and_stay_between_guard_pages(target: Target) -> None:
    if not runs_here(target):
        pytest.skip(f"this machine cannot run {target.name}")
    for sample in (s for s in SAMPLES if all(x.size for x in s.inputs)):
        (y,) = between_guards(graph_of([sample]), list(sample.inputs), target=target)
        assert judge(sample.op, sample.inputs, y), sample.id


def test_every_target_gives_the_same_bits_for_normal_numbers() -> None:
    sample = next(s for s in SAMPLES if isinstance(s.op, PairMatMul) and "two panels" in s.label)
    here = [t for t in (PAIRS, V4, V3) if runs_here(t)]
    found = {LlvmExecutable(graph_of([sample]), [], threads=1, target=t).run(list(sample.inputs))[0].tobytes()
             for t in here}  # fmt: skip
    assert len(found) <= 1
    assert not complaints([sample], symbolic=False)


def test_what_is_no_single_matrix_of_known_size_stays_a_product() -> None:
    def kept(a: tuple[object, ...], b: tuple[object, ...]) -> bool:
        x, y = (new_input(n, TensorType(bf16, s)) for n, s in (("a", a), ("b", b)))  # type: ignore[arg-type]
        out: Value = build(MatMul(), x, y)
        graph = Graph("product", (x, y), (out,))
        return PackBf16().run(graph, Notes()) is graph

    assert kept((2, 3, 4), (2, 4, 5)) and kept((3, 4), (4, symbol("N"))) and not kept((3, 4), (4, 5))
