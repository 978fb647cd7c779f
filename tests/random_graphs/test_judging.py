"""The judge's model moves what rounding moves, and nothing else."""

from __future__ import annotations

import numpy as np

from chainrule.ir.graph import Graph, new_input
from chainrule.ir.parse import parse
from chainrule.ir.types import f32, tensor
from chainrule.ops import OP_BY_NAME
from chainrule.ops.basic import full
from chainrule.ops.control import scan
from chainrule.ops.elementwise import mul
from chainrule.ops.tolerance import UNIT
from tests.onnx.witness import onnxruntime_bound
from tests.random_graphs.judging import Expected, complaint, expected


def judged(source: str, *arrays: np.ndarray) -> Expected:
    return expected(parse(source.strip(), OP_BY_NAME), arrays)


def test_a_sum_of_zeros_and_a_count_are_exact() -> None:
    """Seed 30655: zeros moved by the smallest subnormal took the branch that no program takes."""
    want = judged("""
graph @count(%x_0: f32[9]) -> f32[9] {
  %0 = cumsum(%x_0) axis=0 : f32[9]
  return %0
}
""", np.float32([0, 0, 1, 0, 1, 1, 0, 0, 1]))  # fmt: skip
    assert not want.moved[0].any()


def test_a_mean_of_equal_numbers_is_not_exact() -> None:
    """Seed 600172: their sum is rounded, in onnxruntime too, and their deviation is not 0."""
    want = judged("""
graph @mean(%x_0: f32[6]) -> f32[] {
  %0 = mean(%x_0) axes=(0,) : f32[]
  return %0
}
""", np.full(6, 0.1, np.float32))  # fmt: skip
    assert want.moved[0] > 1e-9


def test_what_a_loop_computes_is_rounded_in_every_step() -> None:
    """Seed 900093 of the random models: a loop's results were taken as rounded once."""
    before, x = new_input("before", tensor("f32", ())), new_input("x", tensor("f32", ()))
    xs = new_input("x_0", tensor("f32", (200,)))
    (product,) = scan(Graph("step", (before, x), (mul(before, x),)), [full(1.0, ())], [xs], [], 200)
    want = expected(Graph("product", (xs,), (product,)), [np.random.default_rng(0).uniform(0.9, 1.1, 200).astype("f4")])
    assert want.moved[0] > 2 * UNIT[f32] * abs(want.exact[0])


def test_a_sum_that_cancels_is_not_exact() -> None:
    want = judged("""
graph @cancels(%x_0: f32[3]) -> f32[] {
  %0 = sum(%x_0) axes=(0,) : f32[]
  return %0
}
""", np.float32([0.1, 0.2, -0.3]))  # fmt: skip
    assert want.moved[0] > 1e-9


def test_an_extremum_that_is_kept_equals_its_input() -> None:
    """Seed 30517: a smallest one that was moved met none of its inputs again."""
    want = judged("""
graph @least(%x_0: f32[3], %i3_1: i64[2], %x_2: f32[2]) -> f32[3] {
  %0 = scatter_reduce(%x_0, %i3_1, %x_2) axis=0 mode="min" : f32[3]
  return %0
}
""", np.float32([0.1, 0.2, 0.3]), np.int64([0, 2]), np.float32([0.7, -0.7]))  # fmt: skip
    assert not want.moved[0].any()


def test_infinity_where_nothing_is_near_it_is_wrong() -> None:
    want = judged("""
graph @large(%x_0: f32[2]) -> f32[2] {
  %0 = mul(%x_0, %x_0) : f32[2]
  return %0
}
""", np.float32([1e16, 1e20]))  # fmt: skip
    assert not complaint([np.float32([1e32, np.inf])], want)
    assert complaint([np.float32([np.inf, np.inf])], want)


def test_onnxruntimes_elu_may_lose_digits_near_zero_and_ours_may_not() -> None:
    """Seed 30505: e^x - 1 of -3.3e-6 is 1 % off there, and a difference of two angles makes 163 of it."""
    graph = parse("graph @elu(%x_0: f32[1]) -> f32[1] {\n  %0 = elu(%x_0) : f32[1]\n  return %0\n}", OP_BY_NAME)
    arrays, theirs = [np.float32([-3.30672e-06])], np.float32([-3.2782555e-06])
    assert complaint([theirs], expected(graph, arrays))
    assert not complaint([theirs], expected(graph, arrays, bound=onnxruntime_bound))
