"""Four layers like GPT-2 small's on a prompt of 128 tokens. Source: Radford et al., "Language models ...", 2019."""

from __future__ import annotations

import chainrule as cr
from chainrule.frontend import nn

VOCABULARY, WIDTH, HEADS, LAYERS, TOKENS = 50_257, 768, 12, 4, 128


class Block(nn.Module):
    """Attention and a multilayer net, each behind a norm and added. x: [N, T, WIDTH]; past: earlier keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def __call__(self, x: cr.Tensor, past: object = None) -> tuple[cr.Tensor, cr.Tensor, cr.Tensor]:
        n, t, _ = x.shape
        parts = cr.reshape(self.qkv(self.norm1(x)), (n, t, 3, HEADS, WIDTH // HEADS))
        q, k, v = (cr.transpose(parts[:, :, i], (0, 2, 1, 3)) for i in range(3))
        if past is not None:
            k, v = cr.concatenate([past[0], k], 2), cr.concatenate([past[1], v], 2)
        heads = cr.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        x = x + self.out(cr.reshape(cr.transpose(heads, (0, 2, 1, 3)), (n, t, WIDTH)))
        return x + self.down(cr.gelu(self.up(self.norm2(x)), approximate="tanh")), k, v


class Decoder(nn.Module):
    """tokens: i64[N, T], cache: keys and values [N, HEADS, P, 64] by layer, or none -> scores of the next, cache."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(1024, WIDTH)
        self.blocks = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(WIDTH)

    def __call__(self, tokens: cr.Tensor, cache: object = None) -> tuple[cr.Tensor, list[tuple[cr.Tensor, cr.Tensor]]]:
        start = 0 if cache is None else cache[0][0].shape[2]
        x = self.words(tokens) + self.places.weight[start : start + tokens.shape[1]]
        kept: list[tuple[cr.Tensor, cr.Tensor]] = []
        for i, block in enumerate(self.blocks):
            x, k, v = block(x, None if cache is None else cache[i])
            kept.append((k, v))
        return self.norm(x[:, -1]) @ cr.transpose(self.words.weight, (1, 0)), kept


def build(batch: int | str = 1, tokens: int | str = TOKENS) -> tuple[nn.Module, tuple[object, ...]]:
    """The model in inference mode and the specs of its inputs."""
    return Decoder().eval(), (cr.spec(batch, tokens, dtype="i64"),)
