"""Weights that are larger than the caches: they are fetched ahead, panels are shared out, images are padded once."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.pipeline import pipeline
from chainrule.backends.llvm.target import named_target
from chainrule.backends.loops import Function, verify
from chainrule.backends.loops.nodes import Prefetch, children
from chainrule.ir.graph import Graph, build, new_input
from chainrule.ir.op import Array
from chainrule.ir.types import tensor, type_of
from chainrule.ops.conv import Conv
from chainrule.ops.elementwise import add
from chainrule.ops.matmul import MatMul
from chainrule.ops.tolerance import judge
from tests.llvm.guarded_programs import guarded_run
from tests.ops.sample import normal

# x, weight, op: maps of 7, 13 and 5 pixels, strides, groups, ragged channels, one and several blocks of depth
CONVOLUTIONS = [
    ((1, 512, 7, 7), (70, 512, 3, 3), Conv((1, 1), (1,) * 4, (1, 1))),
    ((2, 256, 9, 13), (128, 256, 3, 3), Conv((1, 1), (1,) * 4, (1, 1))),
    ((1, 130, 12, 11), (250, 130, 3, 3), Conv((2, 2), (1, 1, 1, 1), (1, 1))),
    ((1, 512, 6, 10), (600, 512, 1, 1), Conv((2, 2), (0,) * 4, (1, 1))),
    ((1, 512, 4, 5), (1024, 256, 1, 3), Conv((1, 1), (0, 1, 0, 1), (1, 1), 2)),
    ((1, 96, 40), (1400, 96, 2), Conv((1,), (0, 0), (3,))),
]


def conv_program(x: Array, w: Array, op: Conv, target: str = "host", threads: int = 1) -> LlvmExecutable:
    """The convolution with a fixed weight, by direct sums."""
    image, weight = new_input("x", type_of(x)), new_input("w", type_of(w), "param")
    graph = Graph("g", (image, weight), (build(op, image, weight),))
    aim = named_target(target)
    return LlvmExecutable(graph, [w], threads=threads, target=aim, passes=pipeline(aim, "strict"))


def prefetches(fn: Function) -> bool:
    """True when the kernel asks for lines ahead of time."""
    todo = [fn.body]
    while todo:
        for node in todo.pop():
            if isinstance(node, Prefetch):
                return True
            todo += children(node)
    return False


@pytest.mark.parametrize("target", ["host", "x86-64-v3", "x86-64-v2"])
@pytest.mark.parametrize(("x", "w", "op"), CONVOLUTIONS, ids=lambda v: str(v))
def test_a_convolution_is_within_its_tolerance(x: tuple[int, ...], w: tuple[int, ...], op: Conv, target: str) -> None:
    arrays = [normal(*x), normal(*w, seed=1)]
    made = conv_program(arrays[0], arrays[1], op, target)
    assert any(prefetches(fn) for fn in made.functions)
    verdict = judge(op, arrays, made.run(arrays[:1]))
    assert verdict, verdict.reason


@pytest.mark.parametrize(("x", "w", "op"), CONVOLUTIONS[:4], ids=lambda v: str(v))
def test_a_convolution_touches_nothing_else_and_has_the_same_bits_on_two_threads(
    x: tuple[int, ...], w: tuple[int, ...], op: Conv
) -> None:
    arrays = [normal(*x), normal(*w, seed=1)]
    inputs = tuple(new_input(f"x{i}", type_of(a)) for i, a in enumerate(arrays))
    graph, direct = Graph("g", inputs, (build(op, *inputs),)), pipeline(name="strict")
    one, two = (LlvmExecutable(graph, [], threads=threads, passes=direct) for threads in (1, 2))
    for fn in (f for f in one.functions if f.name.startswith(("conv", "pad"))):
        verify(fn)
    (guarded,) = guarded_run(one, arrays)
    assert guarded.tobytes() == two.run(arrays)[0].tobytes()


@pytest.mark.parametrize("m", [1, 2, 7, 49, 53, 200])
@pytest.mark.parametrize(("k", "n"), [(300, 160), (700, 96), (1300, 90), (5, 20), (9, 36)])
@pytest.mark.parametrize("target", ["host", "x86-64-v3", "x86-64-v2"])
def test_a_product_is_within_its_tolerance(m: int, k: int, n: int, target: str) -> None:
    a, b = normal(m, k), normal(k, n, seed=1)
    x, w = new_input("a", type_of(a)), new_input("b", type_of(b), "param")
    graph = Graph("g", (x, w), (build(MatMul(), x, w),))
    made = LlvmExecutable(graph, [b], threads=1, target=named_target(target))
    verdict = judge(MatMul(), [a, b], made.run([a]))
    assert verdict, verdict.reason


def test_a_product_of_any_number_of_rows_touches_nothing_else() -> None:
    op, b = MatMul(transpose_b=True), normal(200, 300, seed=1)
    inputs = new_input("a", tensor("f32", ("N", 300))), new_input("b", type_of(b))
    one, two = (LlvmExecutable(Graph("g", inputs, (build(op, *inputs),)), [], threads=threads) for threads in (1, 2))
    assert any(prefetches(fn) for fn in one.functions)
    for rows in (0, 1, 2, 6, 61):
        arrays = [normal(rows, 300), b]
        found = guarded_run(one, arrays)
        assert judge(op, arrays, found)
        assert np.array_equal(found[0], two.run(arrays)[0])


def test_what_the_epilogue_of_a_product_reads_is_asked_for_and_nothing_else_is_touched() -> None:
    op, shapes = MatMul(transpose_a=True), [(128, 203), (128, 256), (203, 256)]  # one block of a depth that is turned
    inputs = tuple(new_input(f"x{i}", tensor("f32", shape)) for i, shape in enumerate(shapes))
    graph = Graph("g", inputs, (add(inputs[2], build(op, *inputs[:2])),))
    one, two = (LlvmExecutable(graph, [], threads=threads) for threads in (1, 2))
    bare = LlvmExecutable(Graph("g", inputs[:2], graph.outputs[0].inputs[1:]), [], threads=1)
    assert any(prefetches(fn) for fn in one.functions)
    assert not any(prefetches(fn) for fn in bare.functions)
    arrays = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    (found,) = guarded_run(one, arrays)
    assert np.array_equal(found, arrays[2] + bare.run(arrays[:2])[0])
    assert np.array_equal(found, two.run(arrays)[0])
