"""A GRU encoder-decoder with attention, 256 units, 24 words to 24 words. Source: Luong et al., arXiv:1508.04025."""

from __future__ import annotations

import chainrule as cr
from chainrule.frontend import nn

VOCABULARY, UNITS, STEPS = 4_000, 256, 24


class EncoderDecoder(nn.Module):
    """source: i64[N, S], target: i64[N, T] -> scores of the next word of the target [N, T, VOCABULARY]."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(VOCABULARY, UNITS), nn.Embedding(VOCABULARY, UNITS)
        self.encoder = nn.GRU(UNITS, UNITS, batch_first=True)
        self.decoder = nn.GRU(UNITS, UNITS, batch_first=True)
        self.mixed = nn.Linear(2 * UNITS, UNITS)
        self.head = nn.Linear(UNITS, VOCABULARY)

    def __call__(self, source: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
        read, last = self.encoder(self.source(source))
        state, _ = self.decoder(self.target(target), last)
        attention = cr.softmax(state @ cr.transpose(read, (0, 2, 1)) * UNITS**-0.5, -1)
        return self.head(cr.tanh(self.mixed(cr.concatenate([attention @ read, state], -1))))


def build(batch: int | str = 1) -> tuple[nn.Module, tuple[object, ...]]:
    """The model in inference mode and the specs of its inputs."""
    words = cr.spec(batch, STEPS, dtype="i64")
    return EncoderDecoder().eval(), (words, words)
