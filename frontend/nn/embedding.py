"""Tables that are looked up."""

from __future__ import annotations

from chainrule.errors import ArgumentError
from chainrule.frontend.functions import bags, indexing
from chainrule.frontend.nn import init
from chainrule.frontend.nn.linear import empty_parameter
from chainrule.frontend.nn.module import Module
from chainrule.frontend.places import error
from chainrule.frontend.stored import Parameter
from chainrule.frontend.tensor import Operand, Tensor


def _table(what: str, rows: int, columns: int, padding_idx: int | None, dtype: object) -> Parameter:
    """A normally distributed table, with zeros in the row at padding_idx. Raises ArgumentError for no such row."""
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise error(ArgumentError, f"{what}: padding_idx={padding_idx} is not one of {rows} rows",
                    help=f"it runs from {-rows} to {rows - 1}")  # fmt: skip
    weight = empty_parameter(rows, columns, dtype=dtype)
    init.normal_(weight)
    if padding_idx is not None:
        weight.data[padding_idx] = 0
    return weight


class Embedding(Module):
    """Rows of weight [num_embeddings, embedding_dim] at integers: [...] -> [..., embedding_dim].

    The row at padding_idx starts as zeros and gets no gradient. An index out of range is an error at run time.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, dtype: object = None
    ) -> None:
        self.weight = _table("Embedding", num_embeddings, embedding_dim, padding_idx, dtype)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings

    def forward(self, indices: Operand) -> Tensor:
        return indexing.embedding(indices, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        extra = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{extra}"


class EmbeddingBag(Module):
    """Rows of weight [num_embeddings, embedding_dim] at each bag's integers, put together: [BAGS, embedding_dim].

    mode: "mean", "sum" or "max". Bags are [BAGS, n], or [n] with offsets. padding_idx counts nothing.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, mode: str = "mean", include_last_offset: bool = False,
                 padding_idx: int | None = None, dtype: object = None) -> None:  # fmt: skip
        bags.check_mode(mode)
        self.weight = _table("EmbeddingBag", num_embeddings, embedding_dim, padding_idx, dtype)
        self.num_embeddings, self.embedding_dim, self.mode = num_embeddings, embedding_dim, mode
        self.include_last_offset, self.padding_idx = include_last_offset, padding_idx

    def forward(self, indices: Operand, offsets: Operand | None = None,
                per_sample_weights: Operand | None = None) -> Tensor:  # fmt: skip
        return bags.embedding_bag(indices, self.weight, offsets, self.mode, per_sample_weights,
                                  self.include_last_offset, self.padding_idx)  # fmt: skip

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, mode={self.mode!r}"
