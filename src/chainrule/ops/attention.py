"""Scaled dot-product attention: one op from queries, keys and values to their mixture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.dims import Dim, DimExpr, floordiv, mod
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, f32
from chainrule.ops.activations import number
from chainrule.ops.arithmetic import square
from chainrule.ops.basic import scalar_like, size_of
from chainrule.ops.compare import eq, le
from chainrule.ops.elementwise import add, cast, div, mul, sub, sum_to, where
from chainrule.ops.matmul import matmul
from chainrule.ops.ranges import iota
from chainrule.ops.reduce import amax, sum
from chainrule.ops.shape_rules import broadcast_shapes, require, same_dtype
from chainrule.ops.shaping import concat, expand, listed, narrow, reshape, stack
from chainrule.ops.softmax import softmax
from chainrule.ops.transcendental import exp, tanh

INFINITY = float("inf")


@dataclass(frozen=True)
class Attention(Op):
    """softmax(scale * q k^T + mask) v: every query's mixture of the values, by how well it fits their keys.

    q: floats [..., H, T, D], k: [..., G, S, D], v: [..., G, S, E] -> [..., H, T, E]. H is G or a multiple of it: each
    run of H/G heads of queries shares one head of keys and values. mask (optional) broadcasts to [..., H, T, S]: bool
    (True takes part) or floats that are added. softcap c > 0 makes scores c * tanh(scores / c) before the mask. causal:
    query i sees keys up to i + offset. A query that sees no key (all masked by False, -inf or the order) gives zeros.
    NaN in a score fills its query's result; a value whose weight is 0 should be finite, for 0 * inf may show or not.
    f16 and bf16 compute in f32. Raises ShapeError where sizes do not meet, DTypeError for other element types.
    Source: ONNX Attention-24; torch.nn.functional.scaled_dot_product_attention; Vaswani et al., arXiv:1706.03762,
    equation 1; grouped heads: Ainslie et al., arXiv:2305.13245.
    """

    name: ClassVar[str] = "attention"
    args: ClassVar[tuple[str, ...]] = ("q", "k", "v", "mask")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "vjp"
    scale: float
    causal: bool = False
    offset: Dim = 0
    softcap: float = 0.0

    def infer(self, *types: TensorType) -> TensorType:
        if not 3 <= len(types) <= 4:
            raise ArgumentError(f"it takes 3 or 4 inputs, {len(types)} were given")
        q, k, v = types[:3]
        require("f", q)
        same_dtype(q, k, v)
        if not self.softcap >= 0:
            raise ArgumentError(f"softcap={self.softcap} is negative", help="0 leaves scores as they are")
        _check_shapes(q, k, v)
        whole = (*q.shape[:-1], k.shape[-2])
        if len(types) == 4:
            _check_mask(types[3], q, whole)
        return q.with_shape((*q.shape[:-1], v.shape[-1]))

    def ref(self, *arrays: Array) -> Array:
        weights, v, _ = self._parts(*arrays)
        with np.errstate(all="ignore"):
            return np.matmul(weights, v).astype(arrays[0].dtype)

    def magnitude(self, *arrays: Array) -> Array:
        """The scale of errors: values by their weights, and what an error of the scores does to the weights."""
        q, k = arrays[:2]
        weights, values, scores = self._parts(*arrays)
        keys = _repeated(k, q)
        products = self.scale * np.matmul(np.abs(q), np.swapaxes(np.abs(keys), -1, -2))
        top = np.max(scores, -1, keepdims=True, initial=-np.inf)
        with np.errstate(all="ignore"):
            doubt = 1.0 + np.abs(products) + 2.0 * np.abs(scores) + np.abs(scores - top)
        doubt = np.where(weights > 0, doubt, 0.0)
        mean = np.sum(weights * doubt, -1, keepdims=True)
        return np.matmul(weights * (doubt + mean), np.abs(values))

    def _parts(self, *arrays: Array) -> tuple[Array, Array, Array]:
        """The weights, the values and the scores in float64, keys and values repeated for each head of queries."""
        q, k, v = (x.astype(np.float64) for x in arrays[:3])
        with np.errstate(all="ignore"):
            scores = np.matmul(q, np.swapaxes(_repeated(k, q), -1, -2)) * self.scale
            scores = self.softcap * np.tanh(scores / self.softcap) if self.softcap else scores
            if len(arrays) == 4:
                mask = arrays[3]
                bias = np.where(mask, 0.0, -np.inf) if mask.dtype == np.bool_ else mask.astype(np.float64)
                scores = np.where(bias == -np.inf, -np.inf, scores + bias)
            if self.causal:
                seen = np.tril(np.ones(scores.shape[-2:], np.bool_), int(self.offset))  # type: ignore[call-overload]
                scores = np.where(seen, scores, -np.inf)
            top = np.max(scores, -1, keepdims=True, initial=-np.inf)
            powers = np.exp(scores - np.where(top == -np.inf, 0.0, top))
            total = np.sum(powers, -1, keepdims=True)
            return powers / np.where(total == 0, 1.0, total), _repeated(v, q), scores

    def decompose(self, *inputs: Value) -> Value:
        q, k, v, *mask = inputs
        wide = [_wide(x) for x in (q, k, v)]
        weights = self.weights(wide[0], wide[1], *mask)
        return cast(matmul(weights, repeated(wide[2], q)), q.dtype)

    def weights(self, q: Value, k: Value, *mask: Value) -> Value:
        """The weight of every key for every query: [..., H, T, S]."""
        scores = self.masked(self.scores(q, k), *mask)
        if not mask and (not self.causal or self._sees_first):
            return softmax(scores, -1)
        top = amax(scores, -1, keepdims=True)
        unseen = eq(top, scalar_like(-INFINITY, top))
        powers = exp(sub(scores, where(unseen, scalar_like(0.0, top), top)))
        total = sum(powers, -1, keepdims=True)
        return div(powers, where(unseen, scalar_like(1.0, total), total))

    @property
    def _sees_first(self) -> bool:
        """True where every query sees the first key."""
        return isinstance(self.offset, int) and self.offset >= 0

    def scores(self, q: Value, k: Value) -> Value:
        """How well queries and keys fit, before the mask."""
        raw = mul(matmul(q, repeated(k, q), transpose_b=True), number(self.scale, q))
        if not self.softcap:
            return raw
        cap = number(self.softcap, q)
        return mul(cap, tanh(div(raw, cap)))

    def masked(self, scores: Value, *mask: Value) -> Value:
        """The scores with what may not be seen at -inf."""
        low = scalar_like(-INFINITY, scores)
        for given in mask:
            if given.dtype.is_bool:
                scores = where(given, scores, low)
            else:
                bias = cast(given, scores.dtype)
                scores = where(eq(bias, low), low, add(scores, bias))
        if self.causal:
            rows, columns = scores.shape[-2:]
            last = add(iota((rows, 1), 0), size_of(self.offset))
            scores = where(le(iota((1, columns), 1), last), scores, low)
        return scores

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        """With P the weights and dP = g v^T, the scores' gradient is P * (dP - rowsum(g * y)); P is computed again."""
        q, k, v = (_wide(x) for x in inputs[:3])
        mask = inputs[3:]
        g = _wide(grads[0])
        weights = self.weights(q, k, *mask)
        slope = matmul(g, repeated(v, q), transpose_b=True)
        rows = sum(mul(g, _wide(output)), -1, keepdims=True)
        d_scores = mul(weights, sub(slope, rows))
        d_raw = mul(d_scores, number(self.scale, q))
        if self.softcap:
            capped = div(self.scores(q, k), number(self.softcap, q))
            d_raw = mul(d_raw, sub(scalar_like(1.0, q), square(capped)))
        found = [matmul(d_raw, repeated(k, q)), grouped(matmul(d_raw, q, transpose_a=True), k),
                 grouped(matmul(weights, g, transpose_a=True), v)]  # fmt: skip
        for given in mask:
            found += [sum_to(d_scores, given.shape)] if given.dtype.is_float else []
        d_mask = [None] * (len(inputs) - len(found))
        return tuple([cast(d, x.dtype) for d, x in zip(found, inputs, strict=False)] + d_mask)


def _check_shapes(q: TensorType, k: TensorType, v: TensorType) -> None:
    if q.rank < 2 or not q.rank == k.rank == v.rank:
        raise ShapeError(f"q {q}, k {k} and v {v} have not the same axes", help="q is [..., T, D], k and v are alike")
    if q.shape[-1] != k.shape[-1]:
        raise ShapeError(f"queries have {q.shape[-1]} features, keys have {k.shape[-1]}",
                         help="q is [..., H, T, D], k is [..., G, S, D]")  # fmt: skip
    if k.shape[:-1] != v.shape[:-1]:
        raise ShapeError(f"k is {listed(k.shape)}, v is {listed(v.shape)}",
                         help="keys and values differ in their last axis at most")  # fmt: skip
    if q.rank == 2:
        return
    heads, shared = q.shape[-3], k.shape[-3]
    if q.shape[:-3] != k.shape[:-3]:
        raise ShapeError(f"the leading axes of q {listed(q.shape)} and k {listed(k.shape)} differ",
                         help="expand the smaller one")  # fmt: skip
    if heads != shared and (not isinstance(shared, int) or shared == 0 or mod(heads, shared) != 0):
        raise ShapeError(f"{heads} heads of queries do not share {shared} heads of keys evenly",
                         help="the heads of q are a multiple of those of k and v")  # fmt: skip


def _check_mask(mask: TensorType, q: TensorType, whole: Sequence[Dim]) -> None:
    if not mask.dtype.is_bool and mask.dtype != q.dtype:
        raise DTypeError(f"the mask is of {mask.dtype}, q of {q.dtype}", help="give bools, or numbers of q's type")
    if broadcast_shapes(mask.shape, whole) != tuple(whole):
        raise ShapeError(f"the mask {listed(mask.shape)} does not broadcast to the scores {listed(whole)}")


def _repeated(x: Array, q: Array) -> Array:
    """Keys or values once for each head of queries."""
    return x if q.ndim == 2 or x.shape[-3] == q.shape[-3] else np.repeat(x, q.shape[-3] // x.shape[-3], -3)


def _wide(x: Value) -> Value:
    return cast(x, f32) if x.dtype.bits == 16 else x


def group_of(q: Value, k: Value) -> Dim:
    """How many heads of queries share a head of keys."""
    return 1 if q.rank == 2 or q.shape[-3] == k.shape[-3] else floordiv(q.shape[-3], k.shape[-3])


def repeated(x: Value, q: Value) -> Value:
    """Keys or values [..., G, S, D] once for each head of queries: [..., H, S, D]."""
    count = group_of(q, x)
    if count == 1:
        return x
    *lead, shared, length, size = x.shape
    apart = reshape(x, (*lead, shared, 1, length, size))
    return reshape(expand(apart, (*lead, shared, count, length, size)), (*lead, shared * count, length, size))


def grouped(d: Value, x: Value) -> Value:
    """The gradient [..., H, S, D] of repeated keys or values x, summed over the heads that share them."""
    count = group_of(d, x)
    if count == 1:
        return d
    *lead, shared, length, size = x.shape
    return sum(reshape(d, (*lead, shared, count, length, size)), len(lead) + 1)


def attention(q: Value, k: Value, v: Value, mask: Value | None = None, scale: float | None = None,
              causal: bool = False, offset: Dim = 0, softcap: float = 0.0) -> Value:  # fmt: skip
    """softmax(scale * q k^T + mask) v; scale is 1/sqrt(D) by default."""
    inputs = (q, k, v) if mask is None else (q, k, v, mask)
    size = q.shape[-1] if q.rank else 0
    if scale is None and isinstance(size, DimExpr):
        from chainrule.ops.transcendental import rsqrt

        q, scale = mul(q, rsqrt(scalar_like(size, q))), 1.0
        inputs = (q, *inputs[1:])
    if scale is None:
        scale = 1.0 / math.sqrt(size) if size else 1.0
    return build(Attention(float(scale), causal, offset, float(softcap)), *inputs)


def rotary(x: Value, cosines: Value, sines: Value, interleaved: bool = False) -> Value:
    """Pairs of features of x [..., T, D] turned by angles whose cosines and sines are [..., T, R/2]; R <= D."""
    half = cosines.shape[-1]
    rest = x.shape[-1] - 2 * half
    turned = narrow(x, -1, 0, 2 * half)
    if interleaved:
        pairs = reshape(turned, (*x.shape[:-1], half, 2))
        a, b = (reshape(narrow(pairs, -1, i, 1), (*x.shape[:-1], half)) for i in (0, 1))
    else:
        a, b = narrow(turned, -1, 0, half), narrow(turned, -1, half, half)
    real = sub(mul(cosines, a), mul(sines, b))
    imaginary = add(mul(sines, a), mul(cosines, b))
    if interleaved:
        whole = reshape(stack([real, imaginary], -1), turned.shape)
    else:
        whole = concat([real, imaginary], -1)
    return whole if rest == 0 else concat([whole, narrow(x, -1, 2 * half, rest)], -1)


OPS: tuple[type[Op], ...] = (Attention,)
