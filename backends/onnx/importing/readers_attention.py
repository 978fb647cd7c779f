"""Attention and rotary embeddings of ONNX's own domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError
from chainrule.ir.dims import Dim, floordiv
from chainrule.ir.graph import Value
from chainrule.ir.types import i64
from chainrule.ops import elementwise as el
from chainrule.ops import shaping as sh
from chainrule.ops.attention import Attention, rotary
from chainrule.ops.attention import attention as attend
from chainrule.ops.basic import constant, scalar_like, size_of
from chainrule.ops.compare import ge, le, logical_and, lt
from chainrule.ops.indexing import gather
from chainrule.ops.ranges import iota

MINUS_INFINITY = float("-inf")


def heads_first(x: Value, heads: int) -> Value:
    """[B, T, H * D] as [B, H, T, D]."""
    batch, length, width = x.shape
    return sh.transpose(sh.reshape(x, (batch, length, heads, floordiv(width, heads))), (0, 2, 1, 3))


def heads_joined(x: Value) -> Value:
    """[B, H, T, D] as [B, T, H * D]."""
    batch, heads, length, size = x.shape
    return sh.reshape(sh.transpose(x, (0, 2, 1, 3)), (batch, length, heads * size))


def attention(given: Given) -> Read:
    """Attention-23 to 25: heads in one axis or joined, a cache, masks of every kind, a window."""
    q, k, v = (given.value(i) for i in range(3))
    flat = q.rank == 3
    if flat:
        counts = given.whole("q_num_heads"), given.whole("kv_num_heads"), given.whole("kv_num_heads")
        if min(counts) < 1:
            raise ModelError(f"Attention: {counts[0]} and {counts[1]} heads")
        q, k, v = (heads_first(x, n) for x, n in zip((q, k, v), counts, strict=True))
    if not q.rank == k.rank == v.rank == 4:
        raise ModelError(f"Attention: {q.type}, {k.type} and {v.type} have not the same axes")
    if given.has(4) != given.has(5):
        raise ModelError("Attention: of past_key and past_value only one is there")
    past: Dim = given.value(4).shape[2] if given.has(4) else 0
    if given.has(4):
        k, v = sh.concat([given.value(4), k], 2), sh.concat([given.value(5), v], 2)
    causal = bool(given.whole("is_causal", 0))
    mask = _mask(given, q, k, past, causal)
    scale = given.fraction("scale", 0.0) or None
    ordered = causal and not given.has(6)
    y = attend(q, k, v, mask, scale, ordered, past if ordered else 0, given.fraction("softcap", 0.0))
    found = (heads_joined(y) if flat else y, k, v)
    if given.outputs < 4:
        return found[: max(1, given.outputs)]
    return (*found, _stage(given, y, mask))


def _mask(given: Given, q: Value, k: Value, past: Dim, causal: bool) -> Value | None:
    """All masks but the plain order of positions as one; None where there is none."""
    rows, columns = q.shape[2], k.shape[2]
    bias = _padded(given.value(3), columns) if given.has(3) else None
    first: Value = size_of(past)
    keep: list[Value] = []
    if given.has(6):
        lengths = el.cast(sh.reshape(given.value(6), (-1, 1, 1, 1)), i64)
        keep.append(lt(iota((1, columns), 1), lengths))
        first = el.sub(lengths, size_of(rows))
    own = el.add(iota((rows, 1), 0), first)
    if causal and given.has(6):
        keep.append(le(iota((1, columns), 1), own))
    left, right = given.whole("left_window_size", -1), given.whole("right_window_size", -1)
    if left >= 0:
        keep.append(ge(iota((1, columns), 1), el.sub(own, constant(left, i64))))
    if right >= 0:
        keep.append(le(iota((1, columns), 1), el.add(own, constant(right, i64))))
    return _joined(bias, keep, q)


def _padded(mask: Value, columns: Dim) -> Value:
    """A mask for fewer keys than there are hides the others."""
    short = columns - mask.shape[-1]
    if short == 0 or mask.shape[-1] == 1:
        return mask
    if isinstance(short, int) and short < 0:
        raise ModelError(f"Attention: a mask for {mask.shape[-1]} keys, there are {columns}")
    none = (0,) * (mask.rank - 1)
    return sh.pad_constant(mask, (*none, 0), (*none, short), 0.0 if mask.dtype.is_bool else MINUS_INFINITY)


def _joined(bias: Value | None, keep: Sequence[Value], q: Value) -> Value | None:
    """One mask that hides what any of them hides."""
    if bias is not None and bias.dtype.is_bool:
        keep, bias = (bias, *keep), None
    elif bias is not None:
        bias = el.cast(bias, q.dtype)
    seen = None
    for part in keep:
        seen = part if seen is None else logical_and(seen, part)
    if bias is None or seen is None:
        return seen if bias is None else bias
    return el.where(seen, bias, scalar_like(MINUS_INFINITY, bias))


def _stage(given: Given, y: Value, mask: Value | None) -> Value:
    """The scores as they are at the stage that the node asks for."""
    while not isinstance(y.op, Attention):
        y = y.inputs[0]
    op, (q, k) = y.op, y.inputs[:2]
    masks = () if mask is None else (mask,)
    match given.whole("qk_matmul_output_mode", 0):
        case 0:
            return Attention(op.scale).scores(q, k)
        case 1:
            return op.scores(q, k)
        case 2:
            return op.masked(op.scores(q, k), *masks)
        case 3:
            return op.weights(q, k, *masks)
        case mode:
            raise ModelError(f"Attention: qk_matmul_output_mode={mode}")


def rotary_embedding(given: Given) -> Read:
    """RotaryEmbedding-23: positions in order, or by position_ids; heads in one axis or joined."""
    x = given.value(0)
    cosines, sines = given.value(1, "state"), given.value(2, "state")
    flat = x.rank == 3
    if flat:
        heads = given.whole("num_heads", 0)
        if heads < 1:
            raise ModelError(f"RotaryEmbedding: {heads} heads of {x.type}")
        x = heads_first(x, heads)
    if given.has(3):
        cosines, sines = (gather(table, given.value(3), 0) for table in (cosines, sines))
    cosines, sines = (sh.unsqueeze(table, 1) for table in (cosines, sines))
    y = rotary(x, cosines, sines, bool(given.whole("interleaved", 0)))
    return heads_joined(y) if flat else y


READERS: Mapping[str, Reader] = {"Attention": attention, "RotaryEmbedding": rotary_embedding}
