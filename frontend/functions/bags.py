"""Embeddings of bags of words: rows of a table, summed, averaged or compared within each bag."""

from __future__ import annotations

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions import elementwise
from chainrule.frontend.functions.create import full, ones, zeros
from chainrule.frontend.functions.indexing import embedding, scatter_add
from chainrule.frontend.functions.reduce import cumsum
from chainrule.frontend.functions.shape import broadcast_to
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Operand, Tensor, as_tensor, value_of, wrap
from chainrule.ops.indexing import index_add
from chainrule.ops.indexing_reduce import scatter_reduce

MODES = ("sum", "mean", "max")


def check_mode(mode: str) -> None:
    """Raises ArgumentError unless bags can be put together so."""
    if mode not in MODES:
        raise error(ArgumentError, f"embedding_bag: mode {mode!r} is not known", help='"sum", "mean" or "max"')


def embedding_bag(
    indices: Operand,
    weight: Operand,
    offsets: Operand | None = None,
    mode: str = "mean",
    per_sample_weights: Operand | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The rows of weight [V, D] at each bag's indices, put together: [BAGS, D]. An empty bag gives zeros.

    indices: [BAGS, n]; or [n] with offsets [BAGS], where each bag begins, ascending from 0; with include_last_offset
    the last offset is the end. per_sample_weights: of indices' shape, factors, for mode "sum". Indices equal to
    padding_idx count nothing. Source: torch.nn.functional.embedding_bag.
    """
    check_mode(mode)
    at, table = as_tensor(indices, "embedding_bag"), as_tensor(weight, "embedding_bag")
    if at.ndim != (2 if offsets is None else 1) or table.ndim != 2:
        raise error(ShapeError, f"embedding_bag: indices have {at.ndim} axes",
                    notes=[f"indices: {at.value.type}", f"weight: {table.value.type}"],
                    help="indices are [BAGS, n], or [n] with offsets; weight is [V, D]")  # fmt: skip
    if per_sample_weights is not None and mode != "sum":
        raise error(ArgumentError, f"embedding_bag: per_sample_weights with mode {mode!r}", help='use mode "sum"')
    rows = embedding(at, table, padding_idx)
    if per_sample_weights is not None:
        rows = rows * as_tensor(per_sample_weights, "embedding_bag")[..., None]
    counted = at == at if padding_idx is None else at != padding_idx % table.shape[0]
    if offsets is None:
        return _together(rows, counted[..., None], mode)
    starts = as_tensor(offsets, "embedding_bag")
    return _ragged(rows, counted[:, None], starts[:-1] if include_last_offset else starts, mode)


def _together(rows: Tensor, counted: Tensor, mode: str) -> Tensor:
    """rows [BAGS, n, D] of which some count [BAGS, n, 1], put together to [BAGS, D]."""
    if mode == "max":
        largest = elementwise.where(counted, rows, float("-inf")).max(axis=1)
        return elementwise.where(counted.any(axis=1), largest, 0.0)
    total = elementwise.where(counted, rows, 0.0).sum(axis=1)
    return total if mode == "sum" else total / _divisor(elementwise.astype(counted, rows.dtype).sum(axis=1))


def _ragged(rows: Tensor, counted: Tensor, starts: Tensor, mode: str) -> Tensor:
    """rows [n, D] of which some count [n, 1], put together by where bags start."""
    what = "embedding_bag"
    (n, depth), (bags,) = rows.shape, starts.shape
    begun = cumsum(scatter_add(zeros((n + 1,), "i64"), starts, ones((bags,), "i64"), 0))[:n]
    bag = elementwise.where(begun > 0, begun - 1, bags)  # what lies before the first bag is out of range
    members = value_of(elementwise.astype(counted, rows.dtype), what)
    count = wrap(index_add((bags, 1), value_of(bag, what), members))
    if mode == "max":
        at = broadcast_to(bag[:, None], (n, depth))
        least = value_of(full((bags, depth), float("-inf"), rows.dtype), what)
        kept = value_of(elementwise.where(counted, rows, float("-inf")), what)
        return elementwise.where(count > 0, wrap(scatter_reduce(least, value_of(at, what), kept, 0, "max")), 0.0)
    kept = value_of(elementwise.where(counted, rows, 0.0), what)
    total = wrap(index_add((bags, depth), value_of(bag, what), kept))
    return total if mode == "sum" else total / _divisor(count)


def _divisor(count: Tensor) -> Tensor:
    """The size of a bag, 1 for an empty one."""
    return elementwise.maximum(count, 1.0)
