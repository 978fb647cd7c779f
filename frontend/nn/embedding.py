"""Tables that are looked up."""

from __future__ import annotations

from chainrule.errors import ArgumentError
from chainrule.frontend.functions import indexing
from chainrule.frontend.nn import init
from chainrule.frontend.nn.linear import empty_parameter
from chainrule.frontend.nn.module import Module
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Operand, Tensor


class Embedding(Module):
    """Rows of weight [num_embeddings, embedding_dim] at integers: [...] -> [..., embedding_dim].

    The row at padding_idx starts as zeros and gets no gradient. An index out of range is an error at run time.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, dtype: object = None
    ) -> None:
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise error(ArgumentError, f"Embedding: padding_idx={padding_idx} is not one of {num_embeddings} rows",
                        help=f"it runs from {-num_embeddings} to {num_embeddings - 1}")  # fmt: skip
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.weight = empty_parameter(num_embeddings, embedding_dim, dtype=dtype)
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, indices: Operand) -> Tensor:
        return indexing.embedding(indices, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        extra = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{extra}"
