"""A linear-chain conditional random field over sequences of tags."""

from __future__ import annotations

from chainrule.frontend.functions import reduce, sequences, shape
from chainrule.frontend.functions.losses import check_reduction
from chainrule.frontend.nn import init
from chainrule.frontend.nn.linear import empty_parameter
from chainrule.frontend.nn.module import Module
from chainrule.frontend.tensor import Operand, Tensor, as_tensor


class CRF(Module):
    """Scores of the first tag, of the last, and of each tag after each other one.

    emissions: [T, N, num_tags] ([N, T, ...] with batch_first), tags: [T, N], lengths: [N], all T when left out.
    Source: Lafferty et al. 2001; the names of pytorch-crf.
    """

    def __init__(self, num_tags: int, batch_first: bool = False, dtype: object = None) -> None:
        self.num_tags, self.batch_first = num_tags, batch_first
        self.start_transitions = empty_parameter(num_tags, dtype=dtype)
        self.end_transitions = empty_parameter(num_tags, dtype=dtype)
        self.transitions = empty_parameter(num_tags, num_tags, dtype=dtype)
        for parameter in (self.start_transitions, self.end_transitions, self.transitions):
            init.uniform_(parameter, -0.1, 0.1)

    def forward(
        self, emissions: Operand, tags: Operand, lengths: Operand | None = None, reduction: str = "sum"
    ) -> Tensor:
        """The log-likelihood of the tags: a loss is its negative. reduction: over the rows."""
        check_reduction("CRF", reduction)
        scores, goal = as_tensor(emissions, "CRF"), as_tensor(tags, "CRF")
        if self.batch_first:
            scores, goal = shape.transpose(scores, (1, 0, 2)), shape.transpose(goal)
        found = sequences.crf_log_likelihood(scores, goal, self.transitions, self.start_transitions,
                                             self.end_transitions, lengths)  # fmt: skip
        if reduction == "none":
            return found
        return reduce.sum(found) if reduction == "sum" else reduce.mean(found)

    def decode(self, emissions: Operand, lengths: Operand | None = None) -> Tensor:
        """The best tags, [T, N] ([N, T] with batch_first); 0 beyond a row's length."""
        scores = as_tensor(emissions, "CRF")
        scores = shape.transpose(scores, (1, 0, 2)) if self.batch_first else scores
        _, tags = sequences.viterbi_decode(scores, self.transitions, self.start_transitions, self.end_transitions,
                                           lengths)  # fmt: skip
        return shape.transpose(tags) if self.batch_first else tags

    def extra_repr(self) -> str:
        return f"{self.num_tags}" + (", batch_first=True" if self.batch_first else "")
