"""One token through the layers of gpt_prefill.py, with a cache of 128 tokens before it."""

from __future__ import annotations

import chainrule as cr
from benchmarks.models.gpt_prefill import HEADS, LAYERS, TOKENS, VOCABULARY, WIDTH, Decoder
from chainrule.frontend import nn

__all__ = ["VOCABULARY", "build"]


def build(batch: int | str = 1, cached: int | str = TOKENS) -> tuple[nn.Module, tuple[object, ...]]:
    """The model in inference mode and the specs of its inputs."""
    cache = cr.spec(batch, HEADS, cached, WIDTH // HEADS)
    return Decoder().eval(), (cr.spec(batch, 1, dtype="i64"), [(cache, cache) for _ in range(LAYERS)])
