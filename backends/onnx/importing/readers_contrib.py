"""Ops of the domain com.microsoft that optimised transformers hold: fused activations, norms and attention.

What they mean is read from onnxruntime's operator documentation, ContribOperators.md, and checked against it.
"""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.backends.onnx.importing.readers_attention import heads_first, heads_joined
from chainrule.backends.onnx.importing.readers_images import Read, Reader
from chainrule.backends.onnx.node import Given
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import Dim, floordiv
from chainrule.ir.graph import Value
from chainrule.ir.types import i32, i64
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import shaping as sh
from chainrule.ops.activations import number
from chainrule.ops.activations_smooth import gelu, silu
from chainrule.ops.attention import attention, rotary
from chainrule.ops.basic import full, scalar_like
from chainrule.ops.compare import ge, logical_and, lt, ne
from chainrule.ops.indexing import gather
from chainrule.ops.matmul import matmul, product
from chainrule.ops.norm import layer_norm, rms_norm
from chainrule.ops.ranges import iota
from chainrule.ops.transcendental import sigmoid

# -- activations and products ------------------------------------------------------------------------------------------


def exact_gelu(given: Given) -> Read:
    """Gelu, BiasGelu: x, plus a bias where there is one, through GELU."""
    return gelu(_with_bias(given, given.value(0), 1))


def fast_gelu(given: Given) -> Read:
    """FastGelu: the form by tanh."""
    return gelu(_with_bias(given, given.value(0), 1), "tanh")


def quick_gelu(given: Given) -> Read:
    """x * sigmoid(alpha x)."""
    x, alpha = given.value(0), given.fraction("alpha", 1.702)
    return silu(x) if alpha == 1.0 else el.mul(x, sigmoid(el.mul(number(alpha, x), x)))


def _with_bias(given: Given, x: Value, position: int) -> Value:
    return el.add(x, given.value(position)) if given.has(position) else x


def fused_matmul(given: Given) -> Read:
    """alpha * A B, either with its last two axes swapped."""
    if given.whole("transBatchA", 0) or given.whole("transBatchB", 0):
        raise NotSupported("FusedMatMul: transBatchA and transBatchB are not built")
    a, b, alpha = given.value(0), given.value(1), given.fraction("alpha", 1.0)
    y = matmul(a, b, bool(given.whole("transA", 0)), bool(given.whole("transB", 0)))
    return y if alpha == 1.0 else el.mul(y, scalar_like(alpha, y))


# -- norms -------------------------------------------------------------------------------------------------------------


def skip_layer_norm(given: Given) -> Read:
    """The norm of input + skip + bias, and that sum as the fourth output."""
    total = _with_bias(given, el.add(given.value(0), given.value(1)), 4)
    gamma = given.value(2)
    beta = given.value(3) if given.has(3) else None
    y = layer_norm(total, gamma, beta, 1, given.fraction("epsilon", 1e-12))
    return (y, None, None, total)[: given.outputs] if given.outputs > 1 else y


def skip_rms_norm(given: Given) -> Read:
    """SkipSimplifiedLayerNormalization: the RMS norm of input + skip + bias."""
    total = _with_bias(given, el.add(given.value(0), given.value(1)), 3)
    y = rms_norm(total, given.value(2), 1, given.fraction("epsilon", 1e-12))
    return (y, None, None, total)[: given.outputs] if given.outputs > 1 else y


def embed_layer_norm(given: Given) -> Read:
    """The norm of word, position and segment embeddings; how many tokens the mask keeps; the sum of embeddings."""
    ids = given.value(0)
    total = gather(given.value(2), ids, 0)
    if given.has(8):
        total = el.add(total, gather(given.value(3), given.value(8), 0))
    else:
        total = el.add(total, sh.narrow(given.value(3), 0, 0, ids.shape[1]))
    if given.has(1) and given.has(4):
        total = el.add(total, gather(given.value(4), given.value(1), 0))
    y = layer_norm(total, given.value(5), given.value(6), 1, given.fraction("epsilon", 1e-12))
    if given.outputs == 1:
        return y
    kept = el.cast(red.sum(given.value(7), 1), i32) if given.has(7) else full(0, ids.shape[:1], i32)
    return (y, kept, total)[: given.outputs]


# -- attention ---------------------------------------------------------------------------------------------------------


def joint_attention(given: Given) -> Read:
    """Attention: one projection of the input to queries, keys and values, then attention of their heads."""
    for name in ("do_rotary", "past_present_share_buffer"):
        if given.whole(name, 0):
            raise NotSupported(f"Attention: {name} is not built")
    x, weights, heads = given.value(0), given.value(1), given.whole("num_heads")
    whole = _with_bias(given, product(x, weights, False, False), 2)
    sizes: tuple[Dim, ...] = given.vector("qkv_hidden_sizes") or (floordiv(weights.shape[1], 3),) * 3
    q, k, v = (heads_first(part, heads) for part in sh.split(whole, sizes, -1))
    past: Dim = 0
    if given.has(4):
        before = [sh.reshape(sh.narrow(given.value(4), 0, i, 1), given.value(4).shape[1:]) for i in (0, 1)]
        past = before[0].shape[2]
        k, v = sh.concat([before[0], k], 2), sh.concat([before[1], v], 2)
    mask = _masks(given, 3, 5, q, k)
    causal = bool(given.whole("unidirectional", 0))
    y = heads_joined(attention(q, k, v, mask, given.fraction("scale", 0.0) or None, causal, past if causal else 0))
    return (y, sh.stack([k, v], 0)) if given.outputs > 1 else y


def multi_head_attention(given: Given) -> Read:
    """MultiHeadAttention: queries, keys and values already projected, their bias yet to be added."""
    q, heads = given.value(0), given.whole("num_heads")
    if q.rank != 3 or not given.has(1) or not given.has(2):
        raise NotSupported("MultiHeadAttention: packed inputs are not built", help="unpack queries, keys and values")
    k, v = given.value(1), given.value(2)
    if given.has(3):
        sizes = (q.shape[-1], q.shape[-1], given.value(3).shape[0] - 2 * q.shape[-1])
        biases = sh.split(given.value(3), sizes, 0)
        q = el.add(q, biases[0])
        k, v = (el.add(x, b) if x.rank == 3 else x for x, b in zip((k, v), biases[1:], strict=True))
    q, k, v = (heads_first(x, heads) if x.rank == 3 else x for x in (q, k, v))
    past: Dim = 0
    if given.has(6) and given.has(7):
        past = given.value(6).shape[2]
        k, v = sh.concat([given.value(6), k], 2), sh.concat([given.value(7), v], 2)
    mask = _masks(given, 4, 5, q, k)
    causal = bool(given.whole("unidirectional", 0))
    y = attention(q, k, v, mask, given.fraction("scale", 0.0) or None, causal, past if causal else 0)
    return (heads_joined(y), k, v)[: given.outputs] if given.outputs > 1 else heads_joined(y)


def _masks(given: Given, mask: int, bias: int, q: Value, k: Value) -> Value | None:
    """The mask of keys as numbers to add (0, or the filter value), and what is added to the scores besides."""
    added = el.cast(given.value(bias), q.dtype) if given.has(bias) else None
    if not given.has(mask):
        return added
    seen = _seen(given, given.value(mask), q, k)
    low = scalar_like(given.fraction("mask_filter_value", -10000.0), q)
    hidden = el.where(seen, scalar_like(0.0, q), low)
    return hidden if added is None else el.add(hidden, added)


def _seen(given: Given, mask: Value, q: Value, k: Value) -> Value:
    """Which keys are seen: by lengths [B], by ends and starts [2 B], by a mask [B, S] or [B, T, S]."""
    batch, keys = q.shape[0], k.shape[2]
    place = iota((1, 1, 1, keys), 3, i64)

    def column(start: int | Dim) -> Value:
        return el.cast(sh.reshape(sh.narrow(mask, 0, start, batch), (batch, 1, 1, 1)), i64)

    match mask.rank:
        case 1 if mask.shape[0] == batch:
            return lt(place, column(0))
        case 1 if mask.shape[0] == 2 * batch:
            return logical_and(lt(place, column(0)), ge(place, column(batch)))
        case 2:
            return _is_set(sh.reshape(mask, (batch, 1, 1, keys)))
        case 3:
            return _is_set(sh.reshape(mask, (batch, 1, q.shape[2], keys)))
        case _:
            raise NotSupported(f"{given.op_type}: a mask {mask.type} is not built",
                               help="give lengths [B], or a mask [B, S] or [B, T, S]")  # fmt: skip


def _is_set(mask: Value) -> Value:
    return mask if mask.dtype.is_bool else ne(mask, scalar_like(0, mask))


def rotary_embedding(given: Given) -> Read:
    """RotaryEmbedding: as ONNX's own, with positions second; one position counts up from there."""
    x, positions = given.value(0), el.cast(given.value(1), i64)
    cosines, sines = given.value(2, "state"), given.value(3, "state")
    size = 2 * cosines.shape[-1]
    flat = x.rank == 3
    if flat:
        heads = given.whole("num_heads", 0)
        partial = given.whole("rotary_embedding_dim", 0)
        if partial and heads < 1:
            raise ModelError("RotaryEmbedding: rotary_embedding_dim without num_heads")
        batch, length, width = x.shape
        count = heads if heads > 0 else floordiv(width, size)
        x = sh.transpose(sh.reshape(x, (batch, length, count, floordiv(width, count))), (0, 2, 1, 3))
    if positions.rank == 1:
        positions = el.add(iota((1, x.shape[2]), 1, i64), sh.reshape(positions, (1, 1)))
    cosines, sines = (sh.unsqueeze(gather(table, positions, 0), 1) for table in (cosines, sines))
    y = rotary(x, cosines, sines, bool(given.whole("interleaved", 0)))
    return heads_joined(y) if flat else y


READERS: Mapping[str, Reader] = {
    "Gelu": exact_gelu, "BiasGelu": exact_gelu, "FastGelu": fast_gelu, "QuickGelu": quick_gelu,
    "FusedMatMul": fused_matmul, "SkipLayerNormalization": skip_layer_norm,
    "SkipSimplifiedLayerNormalization": skip_rms_norm, "EmbedLayerNormalization": embed_layer_norm,
    "Attention": joint_attention, "MultiHeadAttention": multi_head_attention, "RotaryEmbedding": rotary_embedding,
}  # fmt: skip
