"""Attention layers. MultiheadAttention has PyTorch's arguments, defaults, masks and state_dict keys."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions.attention import scaled_dot_product_attention
from chainrule.frontend.nn import init
from chainrule.frontend.nn.linear import Linear, empty_parameter
from chainrule.frontend.nn.module import Module
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, as_float, value_of, values_of, wrap
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value
from chainrule.ops import elementwise, reduce, shaping
from chainrule.ops.attention import Attention
from chainrule.ops.basic import full, scalar_like
from chainrule.ops.compare import logical_and, logical_not
from chainrule.ops.matmul import linear, matmul
from chainrule.ops.softmax import softmax
from chainrule.ops.transcendental import tanh

MINUS_INFINITY = float("-inf")


class MultiheadAttention(Module):
    """Attention of num_heads heads, each on its part of projected features, projected again.

    query: [L, N, embed_dim] ([N, L, embed_dim] with batch_first, [L, embed_dim] without batch), key: [S, N, kdim],
    value: [S, N, vdim] -> (output of query's shape, weights [N, L, S] or None). Source: Vaswani et al. 2017.
    """

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
                 add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
                 vdim: int | None = None, batch_first: bool = False, dtype: object = None) -> None:  # fmt: skip
        if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
            raise error(ArgumentError, f"MultiheadAttention: {embed_dim} features do not split into {num_heads} heads",
                        help="embed_dim is a multiple of num_heads")  # fmt: skip
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        joint = self.kdim == embed_dim and self.vdim == embed_dim
        self.in_proj_weight = empty_parameter(3 * embed_dim, embed_dim, dtype=dtype) if joint else None
        self.q_proj_weight = None if joint else empty_parameter(embed_dim, embed_dim, dtype=dtype)
        self.k_proj_weight = None if joint else empty_parameter(embed_dim, self.kdim, dtype=dtype)
        self.v_proj_weight = None if joint else empty_parameter(embed_dim, self.vdim, dtype=dtype)
        self.in_proj_bias = empty_parameter(3 * embed_dim, dtype=dtype) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, dtype=dtype)
        self.bias_k = empty_parameter(1, 1, embed_dim, dtype=dtype) if add_bias_kv else None
        self.bias_v = empty_parameter(1, 1, embed_dim, dtype=dtype) if add_bias_kv else None
        self._initialise()

    def _initialise(self) -> None:
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)
        for offset in (self.bias_k, self.bias_v):
            if offset is not None:
                init.xavier_normal_(offset)

    def forward(self, query: Operand, key: Operand, value: Operand, key_padding_mask: Operand | None = None,
                need_weights: bool = True, attn_mask: Operand | None = None, average_attn_weights: bool = True,
                is_causal: bool = False) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """(output, weights). Masks as in PyTorch: True hides, numbers are added.

        key_padding_mask: [N, S]. attn_mask: [L, S] or [N * num_heads, L, S]. is_causal without attn_mask hides later
        keys. A query that sees nothing gives zeros before the last projection. weights, where need_weights asks for
        them: [N, L, S], their mean over heads, or of each head [N, num_heads, L, S]; before dropout.
        """
        with located():
            q, k, v = (as_float(value_of(x, "MultiheadAttention")) for x in (query, key, value))
            batched = self._check(q, k, v)
            q, k, v = self._extended(*self._heads(*self._projected(q, k, v), batched))
            mask = self._mask(q, k, key_padding_mask, attn_mask)
            form = Attention(1.0 / math.sqrt(self.head_dim), is_causal and attn_mask is None)
            masks = () if mask is None else (mask,)
            y = scaled_dot_product_attention(
                wrap(q), wrap(k), wrap(v), None if mask is None else wrap(mask), self.dropout if self.training else 0.0,
                form.causal)  # fmt: skip
            output = self._joined(value_of(y, "MultiheadAttention"), batched)
            weights = None
            if need_weights:
                each = form.weights(q, k, *masks)
                each = reduce.mean(each, 1) if average_attn_weights else each
                weights = wrap(each if batched else shaping.squeeze(each, 0))
            return self.out_proj(wrap(output)), weights

    def _check(self, q: Value, k: Value, v: Value) -> bool:
        """True for inputs with a batch."""
        sizes = (self.embed_dim, self.kdim, self.vdim)
        if q.rank not in (2, 3) or not q.rank == k.rank == v.rank or any(
                x.shape[-1] != n for x, n in zip((q, k, v), sizes, strict=True)):  # fmt: skip
            raise error(ShapeError, f"MultiheadAttention: features of {sizes} are taken, as [L, N, E] or [L, E]",
                        notes=[f"query: {q.type}", f"key: {k.type}", f"value: {v.type}"],
                        help="batch_first=True takes [N, L, E]")  # fmt: skip
        return q.rank == 3

    def _projected(self, q: Value, k: Value, v: Value) -> tuple[Value, Value, Value]:
        """Queries, keys and values; one product where they come from one tensor."""
        size, what = self.embed_dim, "MultiheadAttention"
        bias = None if self.in_proj_bias is None else value_of(self.in_proj_bias, what)
        if self.in_proj_weight is None:
            weights = [value_of(w, what) for w in (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)]
        else:
            whole = value_of(self.in_proj_weight, what)
            if q is k and k is v:
                every = _affine(q, whole, bias)
                return _third(every, -1, 0, size), _third(every, -1, 1, size), _third(every, -1, 2, size)
            weights = [_third(whole, 0, i, size) for i in range(3)]
        offsets = [None if bias is None else _third(bias, 0, i, size) for i in range(3)]
        a, b, c = (_affine(x, w, o) for x, w, o in zip((q, k, v), weights, offsets, strict=True))
        return a, b, c

    def _heads(self, q: Value, k: Value, v: Value, batched: bool) -> tuple[Value, Value, Value]:
        """[N, H, L, D] of each."""
        def split(x: Value) -> Value:
            if not batched:
                x = shaping.unsqueeze(x, 0 if self.batch_first else 1)
            apart = shaping.reshape(x, (*x.shape[:2], self.num_heads, self.head_dim))
            return shaping.transpose(apart, (0, 2, 1, 3) if self.batch_first else (1, 2, 0, 3))

        return split(q), split(k), split(v)

    def _extended(self, q: Value, k: Value, v: Value) -> tuple[Value, Value, Value]:
        """Keys and values with the learned one and the one of zeros behind, where the layer has them."""
        extra: list[tuple[Value, Value]] = []
        shape = (k.shape[0], self.num_heads, 1, self.head_dim)
        if self.bias_k is not None and self.bias_v is not None:
            made = [shaping.reshape(value_of(b, "MultiheadAttention"), (1, *shape[1:])) for b in
                    (self.bias_k, self.bias_v)]  # fmt: skip
            extra.append((shaping.expand(made[0], shape), shaping.expand(made[1], shape)))
        if self.add_zero_attn:
            zeros = full(0.0, shape, k.dtype)
            extra.append((zeros, zeros))
        for key, value in extra:
            k, v = shaping.concat([k, key], 2), shaping.concat([v, value], 2)
        return q, k, v

    def _mask(self, q: Value, k: Value, padding: Operand | None, order: Operand | None) -> Value | None:
        """Both masks as one that says what is seen, or what is added."""
        parts: list[Value] = []
        if padding is not None:
            given = value_of(padding, "MultiheadAttention")
            parts.append(self._padded(shaping.reshape(given, (q.shape[0], 1, 1, given.shape[-1])), k))
        if order is not None:
            given = value_of(order, "MultiheadAttention")
            if given.rank == 3:
                given = shaping.reshape(given, (q.shape[0], self.num_heads, *given.shape[1:]))
            parts.append(self._padded(given, k))
        seen = [logical_not(p) for p in parts if p.dtype.is_bool]
        added = [elementwise.cast(p, q.dtype) for p in parts if not p.dtype.is_bool]
        keep = None if not seen else (seen[0] if len(seen) == 1 else logical_and(*seen))
        if not added:
            return keep
        bias = added[0] if len(added) == 1 else elementwise.add(*added)
        return bias if keep is None else elementwise.where(keep, bias, scalar_like(MINUS_INFINITY, bias))

    def _padded(self, mask: Value, k: Value) -> Value:
        """A mask with room for the keys that the layer adds, which are seen."""
        extra = int(self.bias_k is not None) + int(self.add_zero_attn)
        if not extra:
            return mask
        none: Sequence[Dim] = (0,) * (mask.rank - 1)
        return shaping.pad_constant(mask, (*none, 0), (*none, extra), 0.0)

    def _joined(self, y: Value, batched: bool) -> Value:
        """Heads beside each other again, in the input's form."""
        turned = shaping.transpose(y, (0, 2, 1, 3) if self.batch_first else (2, 0, 1, 3))
        joined = shaping.reshape(turned, (*turned.shape[:2], self.embed_dim))
        return joined if batched else shaping.squeeze(joined, 0 if self.batch_first else 1)

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, batch_first={self.batch_first}"


def _affine(x: Value, weight: Value, bias: Value | None) -> Value:
    y = linear(x, weight)
    return y if bias is None else elementwise.add(y, bias)


def _third(x: Value, axis: int, part: int, size: int) -> Value:
    return shaping.narrow(x, axis, part * size, size)


class AdditiveAttention(Module):
    """Values by softmax over keys of energy . tanh(query W + key U), the attention of the first translation models.

    query: [N, L, query_dim], key: [N, S, key_dim], value: [N, S, V] (the keys themselves by default) -> (output
    [N, L, V], weights [N, L, S]). mask: bool, True is seen, broadcast to [N, L, S]; a query that sees nothing is NaN.
    Source: Bahdanau et al., arXiv:1409.0473, section 3.1 and appendix A.1.2.
    """

    def __init__(self, query_dim: int, key_dim: int, hidden_dim: int, dtype: object = None) -> None:
        self.query_dim, self.key_dim, self.hidden_dim = query_dim, key_dim, hidden_dim
        self.query_proj = Linear(query_dim, hidden_dim, bias=False, dtype=dtype)
        self.key_proj = Linear(key_dim, hidden_dim, dtype=dtype)
        self.energy = Linear(hidden_dim, 1, bias=False, dtype=dtype)

    def forward(self, query: Operand, key: Operand, value: Operand | None = None,
                mask: Operand | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
        """(output, weights)."""
        with located():
            q, k = values_of("AdditiveAttention", self.query_proj(query), self.key_proj(key))
            both = tanh(elementwise.add(shaping.unsqueeze(q, -2), shaping.unsqueeze(k, -3)))
            scores = shaping.squeeze(value_of(self.energy(wrap(both)), "AdditiveAttention"), -1)
            if mask is not None:
                keep = value_of(mask, "AdditiveAttention")
                scores = elementwise.where(keep, scores, scalar_like(MINUS_INFINITY, scores))
            weights = softmax(scores, -1)
            v = values_of("AdditiveAttention", key if value is None else value, wrap(weights))[0]
            return wrap(matmul(weights, v)), wrap(weights)

    def extra_repr(self) -> str:
        return f"query_dim={self.query_dim}, key_dim={self.key_dim}, hidden_dim={self.hidden_dim}"


