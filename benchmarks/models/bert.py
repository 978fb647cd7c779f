"""Four layers like BERT-base's on 128 tokens: 768 wide, 12 heads, GELU. Source: Devlin et al., arXiv:1810.04805."""

from __future__ import annotations

import chainrule as cr
from chainrule.frontend import nn

VOCABULARY, PLACES, WIDTH, HEADS, LAYERS, TOKENS = 30_522, 512, 768, 12, 4, 128


class Encoder(nn.Module):
    """tokens: i64[N, T] -> [N, T, WIDTH]."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS)

    def __call__(self, tokens: cr.Tensor) -> cr.Tensor:
        return self.layers(self.norm(self.words(tokens) + self.places.weight[: tokens.shape[1]]))


def build(batch: int | str = 1, tokens: int | str = TOKENS) -> tuple[nn.Module, tuple[object, ...]]:
    """The model in inference mode and the specs of its inputs."""
    return Encoder().eval(), (cr.spec(batch, tokens, dtype="i64"),)
