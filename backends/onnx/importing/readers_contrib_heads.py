"""Attention of the domain com.microsoft: projections joined or apart, shared heads, caches, masks of every kind.

What the ops mean is read from onnxruntime's operator documentation, ContribOperators.md, and checked against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainrule.backends.onnx.importing.readers_attention import MINUS_INFINITY, heads_first, heads_joined
from chainrule.backends.onnx.importing.readers_contrib import with_bias
from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import Dim, DimExpr, dim_max, floordiv
from chainrule.ir.graph import Value
from chainrule.ir.types import i64
from chainrule.ops import elementwise as el
from chainrule.ops import shaping as sh
from chainrule.ops.attention import attention, rotary
from chainrule.ops.basic import constant, full, scalar_like, size_of, zeros_like
from chainrule.ops.compare import ge, gt, le, logical_and, lt, ne
from chainrule.ops.indexing import gather, take_along_axis
from chainrule.ops.matmul import product
from chainrule.ops.ranges import iota


def joint_attention(given: Given) -> Read:
    """Attention: one projection of the input to queries, keys and values, then attention of their heads."""
    whole = with_bias(given, product(given.value(0), given.value(1), False, False), 2)
    return heads_attended(given, whole, mask=3, past=4, bias=5)


def heads_attended(given: Given, whole: Value, mask: int, past: int, bias: int = -1) -> Read:
    """Attention of heads that lie side by side: queries, keys, values. mask, past, bias: where these inputs stand."""
    for name in ("do_rotary", "past_present_share_buffer"):
        if given.whole(name, 0):
            raise NotSupported(f"{given.op_type}: {name} is not built")
    heads = given.whole("num_heads")
    sizes: tuple[Dim, ...] = given.vector("qkv_hidden_sizes") or (floordiv(whole.shape[-1], 3),) * 3
    q, k, v = (heads_first(part, heads) for part in sh.split(whole, sizes, -1))
    length: Dim = 0
    if given.has(past):
        before = [sh.reshape(sh.narrow(given.value(past), 0, i, 1), given.value(past).shape[1:]) for i in (0, 1)]
        length = before[0].shape[2]
        k, v = sh.concat([before[0], k], 2), sh.concat([before[1], v], 2)
    y = _attended(given, q, k, v, _masks(given, mask, bias, q, k), length)
    return (y, sh.stack([k, v], 0)) if given.outputs > 1 else y


def _attended(given: Given, q: Value, k: Value, v: Value, mask: Value | None, past: Dim) -> Value:
    """Attention as the attributes say, heads joined again."""
    causal = bool(given.whole("unidirectional", 0))
    scale = given.fraction("scale", 0.0) or None
    return heads_joined(attention(q, k, v, mask, scale, causal, past if causal else 0))


def multi_head_attention(given: Given) -> Read:
    """MultiHeadAttention: queries, keys and values already projected, apart or packed, their bias yet to be added."""
    if given.has(8) or given.has(9):
        raise NotSupported("MultiHeadAttention: a cache that is written in place is not built",
                           help="give past_key and past_value of the length that they have")  # fmt: skip
    if given.outputs > 3:
        raise NotSupported("MultiHeadAttention: the output qk is not built")
    heads = given.whole("num_heads")
    q, k, v = _unpacked(given)
    if given.has(3):
        sizes = (q.shape[-1], q.shape[-1], given.value(3).shape[0] - 2 * q.shape[-1])
        biases = sh.split(given.value(3), sizes, 0)
        q = el.add(q, biases[0])
        k, v = (el.add(x, b) if x.rank == 3 else x for x, b in zip((k, v), biases[1:], strict=True))
    q, k, v = (heads_first(x, heads) if x.rank == 3 else x for x in (q, k, v))
    return _cached(given, q, k, v, past=6, mask=4, bias=5)


def decoder_attention(given: Given) -> Read:
    """DecoderMaskedMultiHeadAttention: one query a sequence; its keys are new ones behind the cache, or given whole."""
    if given.has(9):
        raise NotSupported("DecoderMaskedMultiHeadAttention: beams are not built", help="search outside of the model")
    if given.outputs > 3:
        raise NotSupported("DecoderMaskedMultiHeadAttention: the output qk is not built")
    if not given.has(1) or not given.has(2):
        raise NotSupported("DecoderMaskedMultiHeadAttention: packed inputs are not built",
                           help="give queries, keys and values")  # fmt: skip
    heads = given.whole("num_heads")
    parts = [given.value(i) for i in range(3)]
    if given.has(10):
        sizes = (parts[0].shape[-1], parts[0].shape[-1], given.value(10).shape[0] - 2 * parts[0].shape[-1])
        biases = sh.split(given.value(10), sizes, 0)
        parts = [el.add(x, b) if x.rank == 3 else x for x, b in zip(parts, biases, strict=True)]
    q, k, v = (heads_first(x, heads) if x.rank == 3 else x for x in parts)
    if not given.whole("past_present_share_buffer", 0) or not given.has(5):
        return _cached(given, q, k, v, past=5, mask=3, bias=4)
    # The cache is as long as it may get: the new key stands behind the past ones, and what follows is not seen.
    last = sh.expand(sh.reshape(el.cast(given.value(7), i64), (1, 1)), (q.shape[0], 1))
    k, v = (_continued(given.value(5 + i), x, last, 0) for i, x in enumerate((k, v)))
    seen = le(iota((1, 1, 1, k.shape[2]), 3, i64), sh.reshape(last, (q.shape[0], 1, 1, 1)))
    mask = _masks(given, 3, 4, q, k)
    both = seen if mask is None else el.where(seen, mask, scalar_like(MINUS_INFINITY, mask))
    return (_attended(given, q, k, v, both, 0), k, v)[: given.outputs]


def _unpacked(given: Given) -> tuple[Value, Value, Value]:
    """Queries, keys and values, each with its heads joined (keys and values of another sequence with heads first)."""
    q = given.value(0)
    if q.rank == 5:
        q, k, v = _apart(q, 3)
        return q, k, v
    if q.rank != 3 or not given.has(1):
        raise ModelError(f"{given.op_type}: queries {q.type} are not [B, T, H * D]")
    if given.value(1).rank == 5:
        k, v = _apart(given.value(1), 2)
        return q, k, v
    return q, given.value(1), given.value(2)


def _apart(x: Value, count: int) -> list[Value]:
    """[B, T, H, count, D] as count arrays [B, T, H * D]."""
    batch, length, heads, parts, size = x.shape
    if parts != count:
        raise ModelError(f"{x.type} does not hold {count} arrays [B, T, H, D]")
    return [sh.reshape(sh.narrow(x, 3, i, 1), (batch, length, heads * size)) for i in range(count)]


def _cached(given: Given, q: Value, k: Value, v: Value, past: int, mask: int, bias: int) -> Read:
    """Attention over a cache and what follows it; y, and all keys and values where they are asked for."""
    length: Dim = 0
    if given.has(past) and given.has(past + 1):
        length = given.value(past).shape[2]
        k, v = sh.concat([given.value(past), k], 2), sh.concat([given.value(past + 1), v], 2)
    y = _attended(given, q, k, v, _masks(given, mask, bias, q, k), length)
    return (y, k, v)[: given.outputs] if given.outputs > 1 else y


# -- masks -------------------------------------------------------------------------------------------------------------


def _masks(given: Given, mask: int, bias: int, q: Value, k: Value) -> Value | None:
    """The mask of keys as numbers to add (0, or the filter value), and what is added to the scores besides."""
    added = el.cast(given.value(bias), q.dtype) if bias >= 0 and given.has(bias) else None
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
            beyond = keys - mask.shape[1]  # of a cache that is longer than what is in it
            mask = mask if beyond == 0 else sh.pad_constant(mask, (0, 0), (0, beyond))
            return _is_set(sh.reshape(mask, (batch, 1, 1, keys)))
        case 3:
            return _is_set(sh.reshape(mask, (batch, 1, q.shape[2], keys)))
        case _:
            raise NotSupported(f"{given.op_type}: a mask {mask.type} is not built",
                               help="give lengths [B], or a mask [B, S] or [B, T, S]")  # fmt: skip


def _is_set(mask: Value) -> Value:
    return mask if mask.dtype.is_bool else ne(mask, scalar_like(0, mask))


# -- grouped queries ---------------------------------------------------------------------------------------------------

REFUSED: Mapping[str, object] = {
    "sliding_window_cache": 0, "qk_output": 0, "k_quant_type": "NONE", "v_quant_type": "NONE",
}  # fmt: skip


def grouped_attention(given: Given) -> Read:
    """GroupQueryAttention: new keys follow each sequence's own in the cache, and queries see what stands before them.

    A prompt fills the cache from its begin; a later call starts where seqlens_k says that its last new key ends.
    """
    for name, plain in REFUSED.items():
        if given.attribute(name, plain) != plain:
            raise NotSupported(f"GroupQueryAttention: {name}={given.attribute(name)} is not built")
    for position, name in ((12, "k_scale"), (13, "v_scale"), (14, "q_norm_weight"), (16, "query_seqlens")):
        if given.has(position):
            raise NotSupported(f"GroupQueryAttention: {name} is not built")
    q, k, v = _grouped(given)
    rows, total = q.shape[2], _total(given)
    last = el.cast(sh.reshape(given.value(5), (q.shape[0], 1)), i64)  # the place of each sequence's last key
    first = zeros_like(last) if rows == total else _start(last, rows, total)
    places = el.add(iota((1, rows), 1, i64), first)  # of the queries
    if given.whole("do_rotary", 0):
        turned = el.cast(given.value(9), i64) if given.has(9) else places
        q, k = (_turned(given, x, turned) for x in (q, k))
    if given.has(3) and given.has(4):
        k, v = (_continued(given.value(3 + i), x, first, total) for i, x in enumerate((k, v)))
    mask = _visible(given, places, last, k)
    y = heads_joined(_with_sink(given, q, k, v, mask))
    return (y, k, v)[: given.outputs] if given.outputs > 1 else y


def _grouped(given: Given) -> tuple[Value, Value, Value]:
    """Queries [B, H, T, D], keys and values [B, G, T, D], that came apart or packed."""
    x, heads, shared = given.value(0), given.whole("num_heads"), given.whole("kv_num_heads")
    if min(heads, shared) < 1 or heads % shared:
        raise ModelError(f"GroupQueryAttention: {heads} heads of queries do not share {shared} heads of keys evenly")
    if given.has(1) and given.has(2):
        parts: Sequence[Value] = (x, given.value(1), given.value(2))
    else:
        size = floordiv(x.shape[-1], heads + 2 * shared)
        parts = sh.split(x, (heads * size, shared * size, shared * size), -1)
    q, k, v = (heads_first(part, n) for part, n in zip(parts, (heads, shared, shared), strict=True))
    return q, k, v


def _total(given: Given) -> Dim:
    """The length of the longest sequence, new keys included."""
    content = given.known(6)
    if content is not None and content.size == 1:
        found = content.reshape(-1)[0]
        return found if isinstance(found, DimExpr) else int(found)
    return given.told(el.cast(sh.reshape(given.value(6), ()), i64), "total_sequence_length")


def _start(last: Value, rows: Dim, total: Dim) -> Value:
    """Where the new keys of each sequence begin: at 0 in a prompt, which is as long as all there is."""
    behind = el.sub(last, size_of(rows - 1))
    if isinstance(rows, int) and isinstance(total, int):
        return behind
    return el.where(ne(size_of(rows), size_of(total)), behind, zeros_like(behind))


def _turned(given: Given, x: Value, places: Value) -> Value:
    """Heads turned by the angles of their places."""
    tables = (sh.unsqueeze(gather(given.value(i, "state"), places, 0), 1) for i in (7, 8))
    cosines, sines = tables
    return rotary(x, cosines, sines, bool(given.whole("rotary_interleaved", 0)))


def _continued(past: Value, new: Value, first: Value, total: Dim) -> Value:
    """The cache with new keys or values at each sequence's own place; as long as the cache was, or as is needed."""
    held, rows = past.shape[2], new.shape[2]
    length = dim_max(held, total)
    place = iota((1, length), 1, i64)
    own = el.add(el.sub(place, first), size_of(held))  # in the cache and the new ones, side by side
    fresh = logical_and(ge(place, first), lt(el.sub(place, first), size_of(rows)))
    source = el.where(fresh, own, el.minimum(place, size_of(dim_max(held - 1, 0))))
    return take_along_axis(sh.concat([past, new], 2), sh.reshape(source, (past.shape[0], 1, length, 1)), 2)


def _visible(given: Given, places: Value, last: Value, k: Value) -> Value:
    """Which keys each query sees, as bools, or as numbers to add: [B, 1 or H, T, S]."""
    batch, rows = places.shape
    key = iota((1, 1, 1, k.shape[2]), 3, i64)
    query = sh.reshape(places, (batch, 1, rows, 1))
    window = given.whole("local_window_size", -1)
    if given.whole("causal", 1):
        seen = le(key, query)
        seen = logical_and(seen, gt(key, el.sub(query, constant(window, i64)))) if window >= 0 else seen
    elif window >= 0:
        raise ModelError("GroupQueryAttention: local_window_size without causal")
    else:
        seen = le(key, sh.reshape(last, (batch, 1, 1, 1)))
    if not given.has(10):
        return seen
    bias = given.value(10)
    room = (0, 0, 0, k.shape[2] - bias.shape[3])
    bias = bias if room[3] == 0 else sh.pad_constant(bias, (0,) * 4, room)
    return el.where(seen, bias, scalar_like(MINUS_INFINITY, bias))


def _with_sink(given: Given, q: Value, k: Value, v: Value, mask: Value) -> Value:
    """Attention; with a sink each head has one more key, of a score of its own (0 if smooth), that has no value."""
    scale, cap = given.fraction("scale", 0.0) or None, given.fraction("softcap", 0.0)
    if not given.has(11) and given.whole("smooth_softmax", 0) != 1:
        return attention(q, k, v, mask, scale, softcap=cap)
    heads = q.shape[1]
    sink = given.value(11) if given.has(11) else full(0.0, (heads,), q.dtype)
    added = mask if mask.dtype.is_float else el.where(mask, scalar_like(0.0, q), scalar_like(MINUS_INFINITY, q))
    shape = (q.shape[0], heads, q.shape[2], k.shape[2])
    whole = sh.concat([sh.expand(added, shape), sh.expand(sh.reshape(sink, (1, heads, 1, 1)), (*shape[:3], 1))], 3)
    k, v = (sh.concat([x, full(0.0, (*x.shape[:2], 1, x.shape[3]), x.dtype)], 2) for x in (k, v))
    return attention(q, k, v, whole, scale, softcap=cap)


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
    "Attention": joint_attention, "MultiHeadAttention": multi_head_attention, "RotaryEmbedding": rotary_embedding,
    "DecoderMaskedMultiHeadAttention": decoder_attention, "GroupQueryAttention": grouped_attention,
}  # fmt: skip
