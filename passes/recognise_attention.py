"""Recognises attention that is written out: softmax(q k^T * scale + mask) v becomes one op.

The rules fit what models write by hand and what exporters of BERT and GPT leave in ONNX files: the scale as a product
or a quotient, of the scores or of the queries; a mask that is added, or chosen by a condition; keys turned by a
transpose of their own. None is exact: sums are taken in another order, and a query that sees nothing gives zeros.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from chainrule.ir.graph import Graph, Value, build
from chainrule.ops.arithmetic import IsNaN
from chainrule.ops.attention import Attention
from chainrule.ops.basic import Constant, scalar_like
from chainrule.ops.elementwise import Add, Div, Mul, Where, where
from chainrule.ops.matmul import MatMul
from chainrule.ops.shape_rules import broadcast_shapes
from chainrule.ops.shaping import Expand, Reshape, Transpose, reshape, transpose
from chainrule.ops.softmax import Softmax
from chainrule.passes.base import Notes, Pass
from chainrule.passes.canonicalize import RULES as ALGEBRA
from chainrule.passes.fold import scalar_of
from chainrule.passes.rewrite import Any, Match, Of, Rule, apply_rules, of

Q, K, V, MASK, SCALE, FILL, SEEN = (Any(n) for n in ("q", "k", "v", "mask", "scale", "fill", "seen"))
UNSEEN = -1e4  # what is filled with this or less has a weight of 0 beside scores of usual size
PRODUCT = of(MatMul, Q, K, name="product")


def _plain(m: Match) -> str:
    """Why the two products are not those of an attention, or ""."""
    outer, product = m["outer"].op, m["product"]
    if "again" in m.found and m["again"] is not m["soft"]:
        return "the NaN of another value is replaced"
    soft = m["soft"].op
    assert isinstance(outer, MatMul) and isinstance(product.op, MatMul) and isinstance(soft, Softmax)
    if outer.transpose_a or outer.transpose_b or product.op.transpose_a:
        return "an operand other than the keys is transposed"
    if soft.axis % m["soft"].rank != m["soft"].rank - 1:
        return "the softmax is not over the keys"
    q, k, v = m["q"], m["k"], m["v"]
    if not q.dtype.is_float or not q.rank == k.rank == v.rank:
        return f"{q.type}, {k.type} and {v.type} have not the same axes"
    if not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        return "the leading axes differ"
    if not product.op.transpose_b and not isinstance(_unscaled(k).op, Transpose):
        return "the keys are not turned by a transpose"
    return ""


def _scaled(m: Match) -> str:
    return _plain(m) or ("" if scalar_of(m["scale"]) is not None else "the scale is not a number")


def _masked(m: Match) -> str:
    refused = _scaled(m) if "scale" in m.found else _plain(m)
    return refused or _mask_fits(m, m["mask"])


def _mask_fits(m: Match, mask: Value) -> str:
    scores = m["product"]
    if mask.dtype != scores.dtype or broadcast_shapes(mask.shape, scores.shape) != scores.shape:
        return f"the mask {mask.type} does not broadcast to the scores {scores.type}"
    return ""


def _chosen(m: Match) -> str:
    refused = _scaled(m) if "scale" in m.found else _plain(m)
    fill = scalar_of(m["fill"])
    if refused or fill is None or not fill <= UNSEEN:
        return refused or "what is filled in is no large negative number"
    seen, scores = m["seen"], m["product"]
    if broadcast_shapes(seen.shape, scores.shape) != scores.shape:
        return f"the condition {seen.type} does not broadcast to the scores {scores.type}"
    return ""


def _factor(m: Match) -> float:
    if "scale" not in m.found:
        return 1.0
    number = scalar_of(m["scale"])
    assert number is not None
    return 1.0 / float(number) if isinstance(m["scaled"].op, Div) else float(number)


def _unscaled(k: Value) -> Value:
    """Keys in front of a multiplication by one number, known or not."""
    scaled = isinstance(k.op, Mul | Div) and k.inputs[1].tensor.size == 1 and k.inputs[0].type == k.type
    return k.inputs[0] if scaled else k


def _keys(m: Match) -> Value:
    """[..., S, D], with their factor where they have one."""
    k, op = m["k"], m["product"].op
    assert isinstance(op, MatMul)
    if op.transpose_b:
        return k
    inner = _unscaled(k)
    turned = transpose(inner, (*range(k.rank - 2), k.rank - 1, k.rank - 2))
    return turned if inner is k else build(k.op, turned, k.inputs[1])


def _attention(m: Match, mask: Value | None = None) -> Value:
    masks = () if mask is None else (mask,)
    return build(Attention(_factor(m)), m["q"], _keys(m), m["v"], *masks)


def _with_bias(m: Match) -> Value:
    return _attention(m, m["mask"])


def _with_choice(m: Match) -> Value:
    """The scores where the condition holds, else a number: -inf, or one that is added to 0 where it is finite."""
    seen, fill = m["seen"], scalar_of(m["fill"])
    if fill == float("-inf"):
        return _attention(m, seen)
    zero = scalar_like(0.0, m["product"])
    return _attention(m, where(seen, zero, m["fill"]))


def _forms(scores: Of) -> tuple[Of, Of]:
    """The mixture by a softmax, and by one whose NaN is made 0, as rows without keys give it."""
    soft = of(Softmax, scores, name="soft")
    guarded = of(Where, of(IsNaN, soft), Any("zero", 0.0), Any("again"))
    return of(MatMul, soft, V, name="outer"), of(MatMul, guarded, V, name="outer")


def _rules() -> tuple[Rule, ...]:
    found: list[Rule] = []
    scaled = of((Mul, Div), PRODUCT, SCALE, name="scaled"), of(Mul, SCALE, PRODUCT, name="scaled")
    for scores, why in ((PRODUCT, _plain), (scaled[0], _scaled), (scaled[1], _scaled)):
        forms = (
            ("softmax(q k^T * scale) v = attention(q, k, v)", scores, _attention, why),
            ("softmax(q k^T * scale + mask) v = attention(q, k, v, mask)", of(Add, scores, MASK, commutes=True),
             _with_bias, _masked),
            ("softmax(where(seen, q k^T * scale, -inf)) v = attention(q, k, v, seen)", of(Where, SEEN, scores, FILL),
             _with_choice, _chosen),
        )  # fmt: skip
        found += [Rule(name, pattern, rewrite, check, False)
                  for name, inner, rewrite, check in forms for pattern in _forms(inner)]  # fmt: skip
    return tuple(found)


# -- rules on attention itself -----------------------------------------------------------------------------------------


def _number_of_queries(m: Match) -> str:
    return "" if scalar_of(m["scale"]) is not None and m["scaled"].type == m["q"].type else "the factor is not a number"


def _absorbed(m: Match, *rest: str) -> Value:
    op = m.root.op
    assert isinstance(op, Attention)
    return build(replace(op, scale=op.scale * _factor(m)), m["q"], *(m[name] for name in rest))


def _absorbed_by_keys(m: Match, *rest: str) -> Value:
    op = m.root.op
    assert isinstance(op, Attention)
    return build(replace(op, scale=op.scale * _factor(m)), *(m[name] for name in rest))


def _number_of_keys(m: Match) -> str:
    return "" if scalar_of(m["scale"]) is not None and m["scaled"].type == m["k"].type else "the factor is not a number"


def _is_order(m: Match) -> str:
    """Why a mask is not the order of positions, or ""."""
    mask, op = m["mask"], m.root.op
    assert isinstance(op, Attention)
    if op.causal or not isinstance(mask.op, Constant):
        return "the mask is no constant, or the order is known"
    array = mask.op.data.array
    if array.shape[-2:] != (m.root.shape[-2], m["k"].shape[-2]) or array.size != array.shape[-1] * array.shape[-2]:
        return "the mask is not one for all heads"
    seen = np.tril(np.ones(array.shape[-2:], np.bool_))
    plane = array.reshape(array.shape[-2:])
    fits = plane == seen if array.dtype == np.bool_ else np.where(seen, plane == 0, plane == -np.inf)
    return "" if bool(np.all(fits)) else "the mask is not a triangle"


def _ordered(m: Match) -> Value:
    op = m.root.op
    assert isinstance(op, Attention)
    return build(replace(op, causal=True), m["q"], m["k"], m["v"])


# -- keys and values that are repeated, or turned within a batch of matrices -------------------------------------------


def _source(x: Value) -> Value | None:
    """[..., G, S, D] behind [..., G * r, S, D], where each head is there r times in a row; None for others."""
    wide = x.inputs[0] if isinstance(x.op, Reshape) else x
    if wide is x or not isinstance(wide.op, Expand) or x.rank < 3 or wide.rank != x.rank + 1:
        return None
    one = wide.inputs[0]
    lead, shared, length, size = x.shape[:-3], wide.shape[-4], *x.shape[-2:]
    if wide.shape[:-3] != (*lead, shared) or wide.shape[-2:] != (length, size):
        return None
    return reshape(one, (*lead, shared, length, size)) if one.shape == (*lead, shared, 1, length, size) else None


def _are_repeated(m: Match) -> str:
    sources = _source(m["k"]), _source(m["v"])
    if sources[0] is None or sources[1] is None:
        return "keys and values are not repeated"
    return "" if sources[0].shape[:-1] == sources[1].shape[:-1] else "keys and values are repeated by different counts"


def _shared(m: Match, *rest: str) -> Value:
    k, v = _source(m["k"]), _source(m["v"])
    assert k is not None and v is not None
    return build(m.root.op, m["q"], k, v, *(m[name] for name in rest))


def _turns_matrices(m: Match) -> str:
    inner, flat = m["inner"].op, m["flat"]
    assert isinstance(inner, Transpose)
    if inner.perm != (0, 2, 1) or m.root.shape[-2:] != (flat.shape[2], flat.shape[1]):
        return "it does not turn the matrices of a batch"
    return ""


def _turned_outside(m: Match) -> Value:
    flat, rank = m["flat"], m.root.rank
    apart = reshape(flat, (*m.root.shape[:-2], *flat.shape[1:]))
    return transpose(apart, (*range(rank - 2), rank - 1, rank - 2))


Q_SCALED = of((Mul, Div), Q, SCALE, name="scaled")
K_SCALED = of((Mul, Div), K, SCALE, name="scaled")

RULES: tuple[Rule, ...] = (
    *_rules(),
    Rule("reshape of turned matrices = turned reshape", of(Reshape, of(Transpose, Any("flat"), name="inner")),
         _turned_outside, _turns_matrices),
    Rule("attention(q, repeated k, repeated v) = attention(q, k, v)", of(Attention, Q, K, V), _shared, _are_repeated),
    Rule("attention(q, repeated k, repeated v, mask) = attention(q, k, v, mask)", of(Attention, Q, K, V, MASK),
         lambda m: _shared(m, "mask"), _are_repeated),
    Rule("attention(q * c, k, v) = attention(q, k, v), scale c", of(Attention, Q_SCALED, K, V),
         lambda m: _absorbed(m, "k", "v"), _number_of_queries, False),
    Rule("attention(q * c, k, v, mask) = attention(q, k, v, mask), scale c", of(Attention, Q_SCALED, K, V, MASK),
         lambda m: _absorbed(m, "k", "v", "mask"), _number_of_queries, False),
    Rule("attention(q, k * c, v) = attention(q, k, v), scale c", of(Attention, Q, K_SCALED, V),
         lambda m: _absorbed_by_keys(m, "q", "k", "v"), _number_of_keys, False),
    Rule("attention(q, k * c, v, mask) = attention(q, k, v, mask), scale c", of(Attention, Q, K_SCALED, V, MASK),
         lambda m: _absorbed_by_keys(m, "q", "k", "v", "mask"), _number_of_keys, False),
    Rule("attention(q, k, v, triangle) = attention(q, k, v), causal", of(Attention, Q, K, V, MASK), _ordered, _is_order,
         False),
)  # fmt: skip


VIEWS: tuple[Rule, ...] = tuple(r for r in ALGEBRA if set(r.pattern.ops) <= {Reshape, Transpose, Expand})


@dataclass(frozen=True)
class RecogniseAttention(Pass):
    """Applies RULES, and the algebra of views between them."""

    name: ClassVar[str] = "recognise-attention"

    def run(self, graph: Graph, notes: Notes) -> Graph:
        return apply_rules(graph, (*RULES, *VIEWS), notes)
