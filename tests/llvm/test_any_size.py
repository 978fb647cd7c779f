"""Kernels that prepare weights serve every size, with the bits of those that are made for one."""

import numpy as np
import pytest

from chainrule.backends.llvm.any_size import at_sizes, for_any_size
from chainrule.backends.llvm.cache import Cache
from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.kernels.region import region_of
from chainrule.backends.llvm.records import Lowering
from chainrule.backends.llvm.target import host_target
from chainrule.ir.graph import Graph, Value, build, new_input
from chainrule.ir.types import tensor
from chainrule.ops.elementwise import add
from chainrule.ops.lowered import PackKernel, PackPanels
from chainrule.ops.reduce import sum as sum_of
from chainrule.ops.shaping import expand
from chainrule.passes.base import Pipeline


def packed(*shape: int) -> Value:
    return build(PackKernel(32), new_input("w", tensor("f32", shape), "param"))


def symbols(*nodes: Value) -> set[str]:
    lowering = Lowering(host_target(), Cache(None))
    found: set[str] = set()
    for node in nodes:
        shared = for_any_size(region_of(node))
        assert shared is not None
        found |= {call.code.symbol for call in lowering.calls(shared.region)}
    return found


def test_weights_of_different_sizes_share_a_kernel():
    assert len(symbols(packed(64, 48, 3, 3), packed(128, 200, 3, 3), packed(33, 17, 3, 3))) == 1


def test_taps_stay_numbers():
    assert len(symbols(packed(64, 48, 1, 1), packed(64, 48, 3, 3))) == 2


def test_an_op_that_names_its_shape_keeps_its_sizes():
    assert for_any_size(region_of(expand(new_input("s", tensor("f32", (40, 1)), "param"), (40, 24)))) is None


def test_a_reduction_keeps_its_sizes_and_so_its_order():
    assert for_any_size(region_of(sum_of(new_input("w", tensor("f32", (40, 24)), "param"), (1,)))) is None


def test_calls_bring_the_sizes_along():
    shared = for_any_size(region_of(packed(64, 48, 3, 3)))
    assert shared is not None
    (call,) = at_sizes(Lowering(host_target(), Cache(None)).calls(shared.region), shared.sizes)
    assert set(call.dims) == {64, 48}
    assert call.code.extent == 2


SHAPES = [(64, 48, 3, 3), (33, 17, 1, 1), (100, 3, 7, 7), (5, 20, 3), (48, 31, 1, 3), (17, 40, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backward", [False, True])
def test_prepared_weights_are_those_of_the_meaning(shape, backward):
    w = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    op = PackKernel(24, backward=backward)
    assert np.array_equal(_prepared(op, w), op.ref(w))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(70, 45), (2, 17, 40), (19, 18), (300, 5)])
def test_prepared_matrices_are_those_of_the_meaning(shape, transposed):
    w = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    op = PackPanels(16, transposed)
    assert np.array_equal(_prepared(op, w), op.ref(w))


def _prepared(op: PackKernel | PackPanels, w: np.ndarray) -> np.ndarray:
    """The packed weight that a program computes once, seen through a sum with nothing."""
    weight = new_input("w", tensor("f32", w.shape), "param")
    node = build(op, weight)
    x = new_input("x", node.tensor)
    program = LlvmExecutable(Graph("g", (x, weight), (add(x, node),)), [w], passes=Pipeline("none", ()))
    assert program._prepare is not None
    return program.run([np.zeros(node.shape, np.float32)])[0]
