"""Attention and the positions that go with it."""

from __future__ import annotations

import math

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions import random
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, value_of, values_of, wrap
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value
from chainrule.ir.types import as_dtype
from chainrule.ops import attention as ops
from chainrule.ops import elementwise, shaping
from chainrule.ops.activations import number
from chainrule.ops.matmul import matmul
from chainrule.ops.ranges import iota
from chainrule.ops.shape_rules import broadcast_shapes
from chainrule.ops.transcendental import exp
from chainrule.ops.trigonometric import cos, sin


def scaled_dot_product_attention(
    query: Operand,
    key: Operand,
    value: Operand,
    attn_mask: Operand | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query key^T * scale + mask) value.

    query: [..., H, L, E], key: [..., G, S, E], value: [..., G, S, V] -> [..., H, L, V]; leading axes broadcast.
    attn_mask: bools (True takes part) or numbers that are added, broadcast to [..., H, L, S]; a query that sees nothing
    gives zeros. dropout_p: the part of the weights that is dropped, always (layers pass it in training only). is_causal
    lets position i see positions up to i. scale is 1/sqrt(E) by default. enable_gqa: H is a multiple of G, each run of
    H/G heads of queries shares one head of keys. Source: torch.nn.functional.scaled_dot_product_attention.
    """
    with located():
        q, k, v = values_of("attention", query, key, value)
        if not enable_gqa:
            q, k, v = _spread(q, k, v)
        mask = None if attn_mask is None else _mask(value_of(attn_mask, "attention"), q)
        if not random.dropped(dropout_p, True):
            return wrap(ops.attention(q, k, v, mask, scale, is_causal))
        size = q.shape[-1]
        if scale is None and not isinstance(size, int):
            raise error(ArgumentError, f"attention: {size} features and dropout", help="state scale=")
        form = ops.Attention((1.0 / math.sqrt(int(size)) if scale is None else scale) if size else 1.0, is_causal)
        weights = form.weights(q, k, *(() if mask is None else (mask,)))
        kept = value_of(random.dropout(wrap(weights), dropout_p, True), "attention")
        return wrap(matmul(kept, ops.repeated(v, q)))


def _spread(*values: Value) -> tuple[Value, ...]:
    """Queries, keys and values with their leading axes broadcast."""
    if any(v.rank < 2 for v in values):
        return values
    lead = broadcast_shapes(*(v.shape[:-2] for v in values))
    return tuple(shaping.expand(v, (*lead, *v.shape[-2:])) if v.shape[:-2] != lead else v for v in values)


def _mask(mask: Value, q: Value) -> Value:
    return mask if mask.dtype.is_bool else elementwise.cast(mask, q.dtype)


def sinusoidal_positions(length: Dim, width: int, base: float = 10000.0, dtype: object = "f32") -> Tensor:
    """Sines at even and cosines at odd features of positions 0, 1, ...: [length, width].

    Feature 2i turns by base^(-2i/width) from one position to the next. Raises ArgumentError when width is odd.
    Source: Vaswani et al., arXiv:1706.03762, section 3.5.
    """
    with located():
        angles = _angles(length, width, base, dtype)
        both = shaping.stack([sin(angles), cos(angles)], -1)
        return wrap(shaping.reshape(both, (length, width)))


def rotary_positions(length: Dim, width: int, base: float = 10000.0,
                     dtype: object = "f32") -> tuple[Tensor, Tensor]:  # fmt: skip
    """Cosines and sines for rotary_embedding at positions 0, 1, ...: each [length, width / 2].

    Pair i turns by base^(-2i/width) from one position to the next. Source: Su et al., arXiv:2104.09864, equation 15.
    """
    with located():
        angles = _angles(length, width, base, dtype)
        return wrap(cos(angles)), wrap(sin(angles))


def rotary_embedding(x: Operand, cosines: Operand, sines: Operand, interleaved: bool = False) -> Tensor:
    """Pairs of features turned by an angle of their position.

    x: [..., T, D], cosines, sines: [..., T, R/2] with R <= D -> x's shape; features from R on stay. Pairs are features
    (i, i + R/2), or (2i, 2i + 1) with interleaved. Source: ONNX RotaryEmbedding-23; Su et al., arXiv:2104.09864.
    """
    with located():
        value, c, s = values_of("rotary_embedding", x, cosines, sines)
        if value.rank < 2 or c.rank < 1 or c.shape != s.shape:
            raise error(ShapeError, "rotary_embedding: cosines and sines differ, or x has no features",
                        notes=[f"x: {value.type}", f"cosines: {c.type}", f"sines: {s.type}"],
                        help="x is [..., T, D], cosines and sines are [..., T, R/2]")  # fmt: skip
        return wrap(ops.rotary(value, c, s, interleaved))


def _angles(length: Dim, width: int, base: float, dtype: object) -> Value:
    """The angle of each pair of features at each position: [length, width / 2], computed in the type it is asked in."""
    if width < 2 or width % 2:
        raise error(ArgumentError, f"positions of width {width}", help="the width is even: features come in pairs")
    kind = as_dtype(dtype)
    pair = iota((1, width // 2), 1, kind)
    rate = exp(elementwise.mul(pair, number(-2.0 * math.log(base) / width, pair)))
    return elementwise.mul(iota((length, 1), 0, kind), rate)
