"""Results as large as the data says: traced, compiled in stages, differentiated, at once outside of a trace."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.ir.parse import parse
from chainrule.ir.text import text
from chainrule.ir.verify import verify
from chainrule.ops import OP_BY_NAME

Array = np.ndarray
BACKENDS = ("llvm", "reference", "onnxruntime")
X = np.float32([[0, 2, 0, 1], [3, 0, 0, 2], [0, 0, 0, 0]])


def positive_rows(x: cr.Tensor, w: cr.Tensor) -> tuple[cr.Tensor, cr.Tensor]:
    """Rows with a positive sum, times w; and twice the number of the last of them."""
    kept = cr.boolean_mask(x, cr.sum(x, 1) > 0)
    return cr.matmul(kept, w), cr.sum(kept) * 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_program_runs_for_every_size_that_data_tells(backend: str) -> None:
    net = cr.compile(positive_rows, cr.spec("N", 4), cr.spec(4, 2), backend=backend)
    w = np.ones((4, 2), np.float32)
    for rows in (X, X[:2], X[2:], X[:0], np.tile(X, (7, 1)), X):
        kept = rows[rows.sum(1) > 0]
        product, total = net(rows, w)
        assert product.shape == (len(kept), 2)
        assert np.array_equal(product, kept @ w) and total == 2 * kept.sum()


@pytest.mark.parametrize("backend", BACKENDS)
def test_sizes_may_follow_from_sizes(backend: str) -> None:
    def distinct_of_nonzero(x: cr.Tensor) -> tuple[cr.Tensor, ...]:
        rows, columns = cr.nonzero(x)
        values, counts = cr.unique(cr.take(x, rows * 4 + columns), return_counts=True)
        return rows, values, counts

    net = cr.compile(distinct_of_nonzero, cr.spec("N", 4), backend=backend)
    for x in (X, X * 0, X + 1):
        rows, values, counts = net(x)
        wanted = np.unique(x[x != 0], return_counts=True)
        assert np.array_equal(rows, np.nonzero(x)[0])
        assert np.array_equal(values, wanted[0]) and np.array_equal(counts, wanted[1])


def test_outside_of_a_trace_it_is_computed_at_once() -> None:
    assert all(np.array_equal(a, b) for a, b in zip(cr.nonzero(X), np.nonzero(X), strict=True))
    assert np.array_equal(cr.boolean_mask(X, X > 1), X[X > 1])
    assert np.array_equal(cr.unique(X), np.unique(X))
    values, inverse = cr.unique(X, return_inverse=True, sorted=False)
    assert np.array_equal(np.asarray(values)[np.asarray(inverse)], X.reshape(-1))


def test_the_gradient_goes_through_a_mask() -> None:
    def loss(x: cr.Tensor) -> cr.Tensor:
        kept = cr.boolean_mask(x, x > 1)
        return cr.sum(kept * kept)

    slope = cr.compile(cr.grad(loss), cr.spec("N", 4))
    for x in (X, X[:1]):
        assert np.array_equal(slope(x), np.where(x > 1, 2 * x, 0))


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_boxes_that_overlap_the_best_stay(backend: str) -> None:
    boxes = np.float32([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, -0.1, 1, 0.9], [0, 10, 1, 11], [0, 10.1, 1, 11.1]]])
    scores = np.float32([[[0.9, 0.75, 0.6, 0.95, 0.5]]])

    def best(b: cr.Tensor, s: cr.Tensor) -> cr.Tensor:
        return cr.non_max_suppression(b, s, 3, 0.5, 0.0)

    net = cr.compile(best, cr.spec(1, "N", 4), cr.spec(1, 1, "N"), backend=backend)
    assert net(boxes, scores).tolist() == [[0, 0, 3], [0, 0, 0]]
    assert net(boxes[:, :3], scores[:, :, :3]).tolist() == [[0, 0, 0]]
    assert net(boxes[:, :0], scores[:, :, :0]).shape == (0, 3)


def test_the_text_of_a_graph_says_which_sizes_it_tells() -> None:
    graph = cr.trace(positive_rows, (cr.spec("N", 4), cr.spec(4, 2))).graph
    verify(graph)
    printed = text(graph)
    assert "  size nonzero = %" in printed
    assert text(parse(printed, OP_BY_NAME)) == printed


def test_in_a_loop_such_sizes_are_refused() -> None:
    def step(carry: cr.Tensor, x: cr.Tensor) -> tuple[cr.Tensor, cr.Tensor]:
        return carry + cr.sum(cr.boolean_mask(x, x > 0)), carry

    with pytest.raises(cr.NotSupported, match="in the body of a loop or branch"):
        cr.compile(lambda x: cr.scan(step, np.float32(0), x), cr.spec(3, 4))


def test_a_mask_that_does_not_fit_is_refused() -> None:
    with pytest.raises(cr.ShapeError, match="does not fit"):
        cr.compile(lambda x, m: cr.boolean_mask(x, m), cr.spec(3, 4), cr.spec(4, dtype="bool"))
