"""What the indexing ops promise beyond their samples: errors at run time, order of writes, gradients, free sizes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from chainrule.backends.reference.interpreter import run
from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.op import Op
from chainrule.ir.types import tensor, type_of
from chainrule.ops import indexing, indexing_nd, sorting
from chainrule.ops.indexing import Embedding, Gather, IndexAdd, Scatter, ScatterAdd, TakeAlongAxis
from chainrule.ops.indexing_nd import GatherND, ScatterND
from chainrule.passes.autodiff import gradients

Array = np.ndarray

OUTSIDE: list[tuple[Op, tuple[tuple[int, ...] | None, ...]]] = [
    (Gather(0), ((3, 2), None)),
    (IndexAdd((3, 2), 0), (None, (1, 2))),
    (Embedding(0), ((3, 2), None)),
    (TakeAlongAxis(0), ((3,), None)),
    (ScatterAdd(0), ((3,), None, (1,))),
    (Scatter(0), ((3,), None, (1,))),
]


def inputs_of(arrays: Sequence[Array]) -> list[Value]:
    return [new_input(f"x{i}", type_of(a)) for i, a in enumerate(arrays)]


def compute(outputs: Sequence[Value], inputs: Sequence[Value], arrays: Sequence[Array]) -> list[Array]:
    return run(Graph("test", tuple(inputs), tuple(outputs)), arrays)


@pytest.mark.parametrize("index", [3, -4, 2**62, -(2**63)])
@pytest.mark.parametrize("op, shapes", OUTSIDE, ids=lambda item: getattr(item, "name", ""))
def test_an_index_out_of_range_is_an_error(op: Op, shapes: Sequence[tuple[int, ...] | None], index: int) -> None:
    arrays = [np.array([index]) if s is None else np.ones(s, np.float32) for s in shapes]
    with pytest.raises(ArgumentError, match=f"index {index} is out of range for axis 0 of size 3"):
        op.ref(*arrays)


def test_a_large_unsigned_index_is_out_of_range() -> None:
    with pytest.raises(ArgumentError, match="out of range"):
        Gather(0).ref(np.ones(3), np.array([2**64 - 1], np.uint64))


@pytest.mark.parametrize("index", [[0, 4], [0, -5], [3, 0], [2, 2**40]])
@pytest.mark.parametrize("decomposed", [False, True])
def test_a_part_of_an_index_tuple_out_of_range_is_an_error(index: list[int], decomposed: bool) -> None:
    arrays = [np.ones((3, 4), np.float32), np.array([index]), np.ones(1, np.float32)]
    for op in (GatherND(), ScatterND("add"), ScatterND("assign")):
        taken = arrays[: 2 if isinstance(op, GatherND) else 3]
        with pytest.raises(ArgumentError, match="out of range"):
            if decomposed:
                values = inputs_of(taken)
                compute([op.decompose(*values)], values, taken)
            else:
                op.ref(*taken)


def test_additions_happen_in_the_order_of_the_indices() -> None:
    # 1e8 + 1 is 1e8 in f32: the order of the three additions is seen in the sum.
    at = np.zeros(3, np.int64)
    for parts in ([1e8, -1e8, 1.0], [1.0, 1e8, -1e8]):
        updates = np.array(parts, np.float32)
        wanted = np.float32(np.float32(updates[0] + updates[1]) + updates[2])
        assert IndexAdd((1,), 0).ref(at, updates)[0] == wanted
        assert ScatterAdd(0).ref(np.zeros(1, np.float32), at, updates)[0] == wanted


def test_of_repeated_positions_the_last_counts_and_alone_gets_the_gradient() -> None:
    arrays = [np.zeros(3, np.float32), np.array([1, 1, -2, 0]), np.array([5.0, 6.0, 7.0, 8.0], np.float32)]
    inputs = inputs_of(arrays)
    y = indexing.scatter(*inputs, axis=0)
    seed = new_input("g", y.tensor)
    to_x, to_updates = gradients([y], [inputs[0], inputs[2]], [seed])
    assert to_x is not None and to_updates is not None
    found = compute([y, to_x, to_updates], [*inputs, seed], [*arrays, np.array([10.0, 20.0, 30.0], np.float32)])
    for got, want in zip(found, ([8, 7, 0], [0, 0, 30], [0, 0, 20, 10]), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("padding", [1, -2])
def test_the_padding_row_of_an_embedding_gets_no_gradient(padding: int) -> None:
    arrays = [np.ones((3, 2), np.float32), np.array([[1, 2], [-2, 0]])]
    inputs = inputs_of(arrays)
    y = indexing.embedding(*inputs, padding_idx=padding)
    seed = new_input("g", y.tensor)
    (grad,) = gradients([y], inputs[:1], [seed])
    assert grad is not None
    (found,) = compute([grad], [*inputs, seed], [*arrays, np.arange(8, dtype=np.float32).reshape(2, 2, 2)])
    np.testing.assert_array_equal(found, [[6, 7], [0, 0], [2, 3]])


def test_take_along_axis_stretches_axes_of_one() -> None:
    arrays = [np.arange(12.0).reshape(3, 4), np.array([[1], [0]])]
    inputs = inputs_of(arrays)
    (found,) = compute([indexing.take_along_axis(*inputs, axis=0)], inputs, arrays)
    np.testing.assert_array_equal(found, np.take_along_axis(*arrays, axis=0))
    (first,) = compute([indexing.gather_elements(*inputs, axis=0)], inputs, arrays)
    np.testing.assert_array_equal(first, [[4], [0]])


def test_index_tuples_go_side_by_side_along_batch_axes() -> None:
    arrays = [np.arange(24.0).reshape(2, 3, 4), np.array([[[0, 1], [2, -1]], [[1, 0], [1, 1]]])]
    inputs = inputs_of(arrays)
    (found,) = compute([indexing_nd.gather_nd(*inputs, batch_dims=1)], inputs, arrays)
    np.testing.assert_array_equal(found, [[1, 11], [16, 17]])
    with pytest.raises(ShapeError, match="do not share their first 1 axes"):
        indexing_nd.gather_nd(new_input("x", tensor("f32", (3, 3))), inputs[1], 1)


def test_symbolic_sizes_pass_through_every_index_and_its_gradient() -> None:
    x, at = new_input("x", tensor("f32", ("N", 3))), new_input("at", tensor("i64", ("M",)))
    arrays = [np.arange(12, dtype=np.float32).reshape(4, 3), np.array([3, 0, 3, -1, 2])]
    y = indexing.gather(x, at, 0)
    values, positions = sorting.top_k(y, 2, 0)
    seed = new_input("g", values.tensor)
    (grad,) = gradients([values], [x], [seed])
    assert grad is not None
    arrays.append(np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    found = compute([y, positions, grad], [x, at, seed], arrays)
    np.testing.assert_array_equal(found[0], arrays[0][arrays[1]])
    np.testing.assert_array_equal(found[1], [[0] * 3, [2] * 3])
    np.testing.assert_array_equal(found[2], [[0] * 3, [0] * 3, [0] * 3, [5, 7, 9]])
