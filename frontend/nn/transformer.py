"""Transformer encoders and decoders, with PyTorch's arguments, defaults, initialisation and state_dict keys."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.frontend.functions import activations
from chainrule.frontend.nn import init
from chainrule.frontend.nn.attention import MultiheadAttention
from chainrule.frontend.nn.containers import ModuleList
from chainrule.frontend.nn.dropout import Dropout
from chainrule.frontend.nn.linear import Linear
from chainrule.frontend.nn.module import Module
from chainrule.frontend.nn.norm import LayerNorm
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Operand, Tensor

Activation = Callable[..., Any]


def _activation(given: str | Activation) -> Activation:
    if callable(given):
        return given
    found = {"relu": activations.relu, "gelu": activations.gelu}.get(given)
    if found is None:
        raise error(ArgumentError, f"activation {given!r} is not known", help='"relu", "gelu", or a function')
    return found


class _Layer(Module):
    """What encoder and decoder layers share: the feed-forward part."""

    def _build(self, d_model: int, nhead: int, dim_feedforward: int, dropout: float, activation: str | Activation,
               layer_norm_eps: float, batch_first: bool, norm_first: bool, bias: bool, dtype: object,
               norms: int) -> None:  # fmt: skip
        """The members in PyTorch's order; norms: how many parts there are, each with a norm and a dropout."""
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)
        if norms == 3:
            self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first,
                                                     dtype=dtype)  # fmt: skip
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype)
        self.norm_first = norm_first
        for i in range(1, norms + 1):
            setattr(self, f"norm{i}", LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype))
        for i in range(1, norms + 1):
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = _activation(activation)

    def _part(self, number: int, x: Any, function: Callable[[Any], Any]) -> Any:
        """x + function(x), with the norm of that number before or behind."""
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        if self.norm_first:
            return x + dropout(function(norm(x)))
        return norm(x + dropout(function(x)))

    def _feed_forward(self, x: Any) -> Any:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_Layer):
    """Self-attention, then a feed-forward part, each added to its input and normalised.

    src: [S, N, E] ([N, S, E] with batch_first, [S, E]) -> the same. Source: Vaswani et al. 2017; torch.nn.
    """

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: str | Activation = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = False,
                 norm_first: bool = False, bias: bool = True, dtype: object = None) -> None:  # fmt: skip
        self._build(d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first,
                    bias, dtype, 2)  # fmt: skip

    def forward(self, src: Operand, src_mask: Operand | None = None, src_key_padding_mask: Operand | None = None,
                is_causal: bool = False) -> Tensor:  # fmt: skip
        def attend(x: Any) -> Any:
            return self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]

        return self._part(2, self._part(1, src, attend), self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention over an encoder's result, then a feed-forward part.

    tgt: [T, N, E], memory: [S, N, E] -> tgt's shape; with batch_first [N, T, E], [N, S, E].
    Source: Vaswani et al. 2017; torch.nn.
    """

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
                 activation: str | Activation = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = False,
                 norm_first: bool = False, bias: bool = True, dtype: object = None) -> None:  # fmt: skip
        self._build(d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first,
                    bias, dtype, 3)  # fmt: skip

    def forward(self, tgt: Operand, memory: Operand, tgt_mask: Operand | None = None,
                memory_mask: Operand | None = None, tgt_key_padding_mask: Operand | None = None,
                memory_key_padding_mask: Operand | None = None, tgt_is_causal: bool = False,
                memory_is_causal: bool = False) -> Tensor:  # fmt: skip
        def attend(x: Any) -> Any:
            return self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]

        def look(x: Any) -> Any:
            return self.multihead_attn(x, memory, memory, memory_key_padding_mask, False, memory_mask,
                                       is_causal=memory_is_causal)[0]  # fmt: skip

        return self._part(3, self._part(2, self._part(1, tgt, attend), look), self._feed_forward)


class TransformerEncoder(Module):
    """num_layers copies of a layer, then a norm where one is given."""

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm

    def forward(self, src: Operand, mask: Operand | None = None, src_key_padding_mask: Operand | None = None,
                is_causal: bool = False) -> Any:  # fmt: skip
        x: Any = src
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, is_causal)
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """num_layers copies of a layer, then a norm where one is given."""

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = ModuleList([copy.deepcopy(decoder_layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm

    def forward(self, tgt: Operand, memory: Operand, tgt_mask: Operand | None = None,
                memory_mask: Operand | None = None, tgt_key_padding_mask: Operand | None = None,
                memory_key_padding_mask: Operand | None = None, tgt_is_causal: bool = False,
                memory_is_causal: bool = False) -> Any:  # fmt: skip
        x: Any = tgt
        for layer in self.layers:
            x = layer(x, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal,
                      memory_is_causal)  # fmt: skip
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """An encoder of src and a decoder of tgt that looks at its result.

    src: [S, N, E], tgt: [T, N, E] -> tgt's shape; with batch_first [N, S, E], [N, T, E]. Matrices start Xavier-uniform.
    Source: Vaswani et al. 2017; torch.nn.Transformer.
    """

    def __init__(self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6, num_decoder_layers: int = 6,
                 dim_feedforward: int = 2048, dropout: float = 0.1, activation: str | Activation = "relu",
                 custom_encoder: Module | None = None, custom_decoder: Module | None = None,
                 layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False,
                 bias: bool = True, dtype: object = None) -> None:  # fmt: skip
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

        def layer(kind: type[TransformerEncoderLayer] | type[TransformerDecoderLayer]) -> Module:
            return kind(d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first,
                        bias, dtype)  # fmt: skip

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)

        self.encoder = custom_encoder or TransformerEncoder(layer(TransformerEncoderLayer), num_encoder_layers, norm())
        self.decoder = custom_decoder or TransformerDecoder(layer(TransformerDecoderLayer), num_decoder_layers, norm())
        for parameter in self.parameters():
            if parameter.data.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(self, src: Operand, tgt: Operand, src_mask: Operand | None = None, tgt_mask: Operand | None = None,
                memory_mask: Operand | None = None, src_key_padding_mask: Operand | None = None,
                tgt_key_padding_mask: Operand | None = None, memory_key_padding_mask: Operand | None = None,
                src_is_causal: bool = False, tgt_is_causal: bool = False,
                memory_is_causal: bool = False) -> Any:  # fmt: skip
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
                            tgt_is_causal, memory_is_causal)  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int, dtype: object = np.float32) -> Any:
        """[sz, sz] of 0, and -inf above the diagonal: what hides later positions."""
        return np.triu(np.full((sz, sz), -np.inf), 1).astype(np.dtype(dtype))  # type: ignore[call-overload]
