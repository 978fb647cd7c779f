"""A word language model: two LSTM layers of 512, 64 steps, 10,000 words. Source: Zaremba et al., arXiv:1409.2329."""

from __future__ import annotations

import chainrule as cr
from chainrule.frontend import nn

VOCABULARY, UNITS, STEPS = 10_000, 512, 64


class LanguageModel(nn.Module):
    """words: i64[N, T] -> scores of the next word [N, T, VOCABULARY]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, UNITS)
        self.lstm = nn.LSTM(UNITS, UNITS, 2, batch_first=True)
        self.head = nn.Linear(UNITS, VOCABULARY)

    def __call__(self, words: cr.Tensor) -> cr.Tensor:
        return self.head(self.lstm(self.embedding(words))[0])


def build(batch: int | str = 1) -> tuple[nn.Module, tuple[object, ...]]:
    """The model in inference mode and the specs of its inputs."""
    return LanguageModel().eval(), (cr.spec(batch, STEPS, dtype="i64"),)
