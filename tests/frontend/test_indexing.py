"""x[...] means what numpy's does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule.compiler import compile
from chainrule.errors import ArgumentError, NotSupported, ShapeError
from chainrule.frontend.trace import spec, trace
from tests.frontend.agreement import assert_same, normal, run_traced

A = normal(4, 5, 6)
ROWS, COLUMNS = np.array([3, 0, -1]), np.array([[1], [4]])

INDICES: list[Any] = [
    0, -1, (1, 2), (1, 2, 3), slice(1, 3), slice(None, None, 2), slice(None, None, -1), slice(-3, None), slice(3, 1),
    (slice(None), 1), (Ellipsis, 0), (0, Ellipsis), (Ellipsis, slice(1, 4), 2), None, (None, 0), (slice(None), None, 1),
    (Ellipsis, None), ROWS, (slice(None), ROWS), (Ellipsis, ROWS), (ROWS, ROWS), (ROWS, COLUMNS),
    (ROWS, slice(None), COLUMNS), (0, ROWS), (0, slice(None), ROWS),
    (slice(1, 3), ROWS, ROWS), (np.int64(2), 1), np.array([[1], [3]]), (), np.array(2), [1, 0],
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_an_index_takes_what_numpys_takes(index: Any) -> None:
    assert_same(run_traced(trace(lambda x: x[index], spec(4, 5, 6, dtype="f64")), A), A[index])


@pytest.mark.parametrize("index", [0, -1, slice(1, 3), slice(None, -1), slice(None, None, -1), slice(-2, None), ROWS],
                         ids=repr)  # fmt: skip
def test_an_axis_of_symbolic_size_can_be_indexed(index: Any) -> None:
    traced = trace(lambda x: x[index], spec("N", 5, 6, dtype="f64"))
    assert_same(run_traced(traced, A), A[index])


def test_a_traced_index_takes_its_place() -> None:
    traced = trace(lambda x, i: (x[i], x[:, i[0]]), (spec(4, 5, 6, dtype="f64"), spec(3, dtype="i64")))
    first, second = run_traced(traced, A, ROWS)
    assert_same(first, A[ROWS])
    assert_same(second, A[:, 3])


BAD: list[tuple[Any, type[Exception], str]] = [
    (4, ArgumentError, "index: 4 is out of range for axis 0 of size 4"),
    ((0, 0, 0, 0), ArgumentError, "index: 4 indices for 3 axes"),
    ((Ellipsis, Ellipsis), ArgumentError, "index: more than one Ellipsis"),
    (True, ArgumentError, "index: a bool is not an index"),
    (A[0] > 0, ShapeError, "index: the mask has shape [5, 6]"),
    ((0, A[0] > 0), NotSupported, "index: a mask together with other indices"),
    (1.0, ArgumentError, "index: 1.0 is not an integer"),
    ("a", ArgumentError, "index: str is not a tensor"),
    (np.ones(2), ArgumentError, "index: an array of f64 is not an index"),
    (slice(None, None, 0), ArgumentError, "slice: a step is 0"),
    (slice(0.5, None), ArgumentError, "index: a slice with float"),
    ((ROWS, None), NotSupported, "index: integer arrays together with None"),
]


@pytest.mark.parametrize(("index", "kind", "cause"), BAD, ids=lambda x: repr(x)[:20])
def test_a_bad_index_is_refused(index: Any, kind: type[Exception], cause: str) -> None:
    with pytest.raises(kind) as caught:
        trace(lambda x: x[index], spec(4, 5, 6))
    assert caught.value.cause == cause  # type: ignore[attr-defined]


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_mask_alone_is_an_index(axes: int) -> None:
    mask = A.sum(tuple(range(axes, 3))) > A.mean() * A[(0,) * axes].size
    known = trace(lambda x: x[mask], spec(4, 5, 6, dtype="f64"))
    assert_same(run_traced(known, A), A[mask])
    told = compile(lambda x, m: x[m], spec(4, "H", 6, dtype="f64"), spec(*(4, "H", 6)[:axes], dtype="bool"))
    assert_same(told(A, mask), A[mask])
