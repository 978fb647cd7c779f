"""Losses, element by element: the form that all share, and those between arrays of one shape.

Each is a sum or mean of terms. It decomposes into the terms and a reduction, and its gradient is that of the
decomposition; where that would divide zero by zero it has its own. f16 and bf16 compute in f32. Losses over classes are
in losses_class.py. Longer than most files: ten small ops of one form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, f32
from chainrule.ops.activations import number
from chainrule.ops.activations_smooth import log_sigmoid
from chainrule.ops.arithmetic import clip, square
from chainrule.ops.basic import ones_like, scalar_like, zeros_like
from chainrule.ops.compare import eq, ne
from chainrule.ops.elementwise import abs, add, cast, div, expect_inputs, maximum, minimum, mul, neg, sub, where
from chainrule.ops.reduce import mean, sum
from chainrule.ops.shape_rules import broadcast_shapes, require, same_dtype
from chainrule.ops.shaping import expand, listed
from chainrule.ops.statistics import l1_norm, l2_norm
from chainrule.ops.transcendental import exp, log, log1p, pow, sqrt


def _above_zero(x: Value) -> Value:
    """max(0, x), whose slope at 0 is 1, as in PyTorch's losses."""
    return clip(x, 0.0, np.inf)


@dataclass(frozen=True)
class Loss(Op):
    """The form of a loss: terms, and how they are reduced: "mean" (of nothing: NaN), "sum" or "none"."""

    args: ClassVar[tuple[str, ...]] = ("x", "target")
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "decompose"
    reductions: ClassVar[tuple[str, ...]] = ("mean", "sum", "none")
    reduction: str = "mean"

    def infer(self, *types: TensorType) -> TensorType:
        if self.reduction not in self.reductions:
            raise ArgumentError(f"reduction {self.reduction!r} is unknown",
                                help="it is " + " or ".join(self.reductions))  # fmt: skip
        terms = self.unreduced(*types)
        return terms if self.reduction == "none" else terms.with_shape(())

    def unreduced(self, *types: TensorType) -> TensorType:
        """The type of the terms. Raises what infer raises."""
        expect_inputs(2, types)
        return alike(self.args, types)

    def terms(self, *arrays: Array) -> Array:
        """The terms, in float64."""
        raise AssertionError(self.name)

    def scale(self, *arrays: Array) -> Array:
        """The scale of the errors of each term."""
        return np.abs(self.terms(*arrays))

    def build_terms(self, *inputs: Value) -> Value:
        """The terms as values, in f32 or f64."""
        raise AssertionError(self.name)

    def ref(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(self.reduced(self.terms(*doubles(arrays)), arrays)).astype(arrays[0].dtype)

    def reduced(self, terms: Array, arrays: Sequence[Array]) -> Array:
        """The terms reduced."""
        if self.reduction == "none":
            return terms
        total = np.sum(terms)
        return total if self.reduction == "sum" else total / np.float64(terms.size)

    def magnitude(self, *arrays: Array) -> Array:
        """The scales of the terms, reduced as they are."""
        with np.errstate(all="ignore"):
            return self.reduced(self.scale(*doubles(arrays)), arrays)

    def decompose(self, *inputs: Value) -> Value:
        found = self.build_terms(*(wide(v) for v in inputs))
        return cast(self.build_reduced(found), inputs[0].dtype)

    def build_reduced(self, terms: Value) -> Value:
        """The terms reduced, as a value."""
        if self.reduction == "none":
            return terms
        return sum(terms) if self.reduction == "sum" else mean(terms)


@dataclass(frozen=True)
class MSELoss(Loss):
    """(x - target)^2. x, target: floats of one shape. Raises ShapeError when the shapes differ: they never stretch.

    Source: torch.nn.functional.mse_loss.
    """

    name: ClassVar[str] = "mse_loss"

    def terms(self, *arrays: Array) -> Array:
        return (arrays[0] - arrays[1]) ** 2

    def build_terms(self, *inputs: Value) -> Value:
        return square(sub(*inputs))


@dataclass(frozen=True)
class L1Loss(Loss):
    """|x - target|; the gradient at 0 is 0. x, target: floats of one shape. Source: torch.nn.functional.l1_loss."""

    name: ClassVar[str] = "l1_loss"

    def terms(self, *arrays: Array) -> Array:
        return np.abs(arrays[0] - arrays[1])

    def build_terms(self, *inputs: Value) -> Value:
        return abs(sub(*inputs))


@dataclass(frozen=True)
class HuberLoss(Loss):
    """d^2/2 where d = |x - target| <= delta, else delta * (d - delta/2). x, target: floats of one shape.

    Raises ArgumentError unless delta > 0. Source: torch.nn.functional.huber_loss; Huber 1964, equation 3.
    """

    name: ClassVar[str] = "huber_loss"
    delta: float = 1.0

    def unreduced(self, *types: TensorType) -> TensorType:
        if not self.delta > 0:
            raise ArgumentError(f"delta={self.delta} is not positive")
        return Loss.unreduced(self, *types)

    def terms(self, *arrays: Array) -> Array:
        return _huber(np.abs(arrays[0] - arrays[1]), self.delta)

    def build_terms(self, *inputs: Value) -> Value:
        return _build_huber(abs(sub(*inputs)), self.delta)


@dataclass(frozen=True)
class SmoothL1Loss(Loss):
    """d^2/(2 beta) where d = |x - target| < beta, else d - beta/2; |x - target| for beta = 0. One shape for both.

    Raises ArgumentError for a negative beta. Source: torch.nn.functional.smooth_l1_loss; Girshick, arXiv:1504.08083,
    equation 3.
    """

    name: ClassVar[str] = "smooth_l1_loss"
    beta: float = 1.0

    def unreduced(self, *types: TensorType) -> TensorType:
        if not self.beta >= 0:
            raise ArgumentError(f"beta={self.beta} is negative")
        return Loss.unreduced(self, *types)

    def terms(self, *arrays: Array) -> Array:
        distance = np.abs(arrays[0] - arrays[1])
        return _huber(distance, self.beta) / self.beta if self.beta else distance

    def build_terms(self, *inputs: Value) -> Value:
        distance = abs(sub(*inputs))
        return div(_build_huber(distance, self.beta), number(self.beta, distance)) if self.beta else distance


def _huber(distance: Array, delta: float) -> Array:
    inner = np.minimum(distance, delta)
    return inner * (distance - 0.5 * inner)


def _build_huber(distance: Value, delta: float) -> Value:
    """min(d, delta) * (d - min(d, delta)/2): one formula for both parts, without an overflow in the one not taken."""
    inner = minimum(distance, number(delta, distance))
    return mul(inner, sub(distance, mul(number(0.5, distance), inner)))


@dataclass(frozen=True)
class BCELoss(Loss):
    """-(target * log(x) + (1 - target) * log(1 - x)), each logarithm at least -100.

    x: probabilities, target: floats of one shape. x outside [0, 1] gives NaN. The gradient divides by
    max(x * (1 - x), 1e-12), so it is finite at 0 and 1. Source: torch.nn.functional.binary_cross_entropy.
    """

    name: ClassVar[str] = "binary_cross_entropy"
    gradient: ClassVar[str] = "vjp"

    def terms(self, *arrays: Array) -> Array:
        x, target = arrays
        hit, miss = np.maximum(np.log(x), -100.0), np.maximum(np.log1p(-x), -100.0)
        return -(target * hit + (1.0 - target) * miss)

    def scale(self, *arrays: Array) -> Array:
        x, target = arrays
        hit, miss = np.maximum(np.log(x), -100.0), np.maximum(np.log1p(-x), -100.0)
        return np.abs(target * hit) + np.abs((1.0 - target) * miss)

    def build_terms(self, *inputs: Value) -> Value:
        x, target = inputs
        hit, miss = self._logarithms(x)
        return neg(add(mul(target, hit), mul(sub(ones_like(target), target), miss)))

    def _logarithms(self, x: Value) -> tuple[Value, Value]:
        least = number(-100.0, x)
        return maximum(log(x), least), maximum(log1p(neg(x)), least)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        x, target = (wide(v) for v in inputs)
        g = spread_grad(self, wide(grads[0]), x)
        steep = maximum(mul(x, sub(ones_like(x), x)), number(1e-12, x))
        hit, miss = self._logarithms(x)
        found = (mul(g, div(sub(x, target), steep)), mul(g, sub(miss, hit)))
        return tuple(cast(v, given.dtype) for v, given in zip(found, inputs, strict=True))


@dataclass(frozen=True)
class BCEWithLogitsLoss(Loss):
    """(1 - target) * x - (1 + (pos_weight - 1) * target) * log_sigmoid(x): stable for every x.

    x, target: floats of one shape; pos_weight (optional): broadcasts to it. Raises ShapeError when they do not fit.
    Source: torch.nn.functional.binary_cross_entropy_with_logits.
    """

    name: ClassVar[str] = "binary_cross_entropy_with_logits"
    args: ClassVar[tuple[str, ...]] = ("x", "target", "pos_weight")

    def unreduced(self, *types: TensorType) -> TensorType:
        if len(types) not in (2, 3):
            raise ArgumentError(f"it takes 2 or 3 inputs, {len(types)} were given")
        same_dtype(*types)
        x = alike(self.args, types[:2])
        if broadcast_shapes(x.shape, *(t.shape for t in types[2:])) != x.shape:
            raise ShapeError(f"pos_weight is {types[2]}, x is {x}", help="pos_weight broadcasts to the shape of x")
        return x

    def terms(self, *arrays: Array) -> Array:
        x, target = arrays[:2]
        return (1.0 - target) * x + _positive_part(arrays) * np.logaddexp(0.0, -x)

    def scale(self, *arrays: Array) -> Array:
        x, target = arrays[:2]
        weight = np.abs(arrays[2] if len(arrays) > 2 else np.ones(()))
        factor = 1.0 + (weight + 1.0) * np.abs(target)
        return (1.0 + np.abs(target)) * np.abs(x) + factor * np.logaddexp(0.0, -x)

    def build_terms(self, *inputs: Value) -> Value:
        x, target, *weights = inputs
        one = number(1.0, x)
        soft = log_sigmoid(x)
        for weight in weights:
            soft = mul(soft, add(one, mul(sub(weight, one), target)))
        return sub(mul(sub(one, target), x), soft)


def _positive_part(arrays: Sequence[Array]) -> Array:
    return 1.0 + (arrays[2] - 1.0) * arrays[1] if len(arrays) > 2 else np.ones(())


@dataclass(frozen=True)
class KLDivLoss(Loss):
    """target * (log(target) - x), 0 where target is 0; with log_target, e^target * (target - x). x: log-probabilities.

    x, target: floats of one shape. reduction "batchmean" divides the sum by the size of the first axis, as the
    mathematical definition has it. Raises ArgumentError for "batchmean" of 0-d.
    Source: torch.nn.functional.kl_div; Kullback and Leibler 1951.
    """

    name: ClassVar[str] = "kl_div"
    reductions: ClassVar[tuple[str, ...]] = ("mean", "batchmean", "sum", "none")
    log_target: bool = False

    def unreduced(self, *types: TensorType) -> TensorType:
        found = Loss.unreduced(self, *types)
        if self.reduction == "batchmean" and found.rank == 0:
            raise ArgumentError(f"batchmean of {found}: it has no batch axis", help='use "sum"')
        return found

    def terms(self, *arrays: Array) -> Array:
        x, target = arrays
        if self.log_target:
            return np.exp(target) * (target - x)
        return target * (np.log(np.where(target == 0, 1.0, target)) - x)

    def scale(self, *arrays: Array) -> Array:
        x, target = arrays
        if self.log_target:
            return np.exp(target) * (np.abs(target) + np.abs(x))
        return np.abs(target) * (np.abs(np.log(np.where(target == 0, 1.0, target))) + np.abs(x))

    def reduced(self, terms: Array, arrays: Sequence[Array]) -> Array:
        if self.reduction == "batchmean":
            return np.sum(terms) / np.float64(terms.shape[0])
        return Loss.reduced(self, terms, arrays)

    def build_terms(self, *inputs: Value) -> Value:
        x, target = inputs
        if self.log_target:
            return mul(exp(target), sub(target, x))
        certain = where(eq(target, zeros_like(target)), ones_like(target), target)
        return mul(target, sub(log(certain), x))

    def build_reduced(self, terms: Value) -> Value:
        if self.reduction == "batchmean":
            return div(sum(terms), scalar_like(terms.shape[0], terms))
        return Loss.build_reduced(self, terms)


@dataclass(frozen=True)
class HingeLoss(Loss):
    """max(0, margin - target * x), for targets -1 and 1. x, target: floats of one shape. The gradient at 0 is 0.

    Source: the hinge loss of support vector machines, Cortes and Vapnik 1995.
    """

    name: ClassVar[str] = "hinge_loss"
    margin: float = 1.0

    def terms(self, *arrays: Array) -> Array:
        return np.maximum(0.0, self.margin - arrays[1] * arrays[0])

    def scale(self, *arrays: Array) -> Array:
        return np.abs(self.margin) + np.abs(arrays[1] * arrays[0])

    def build_terms(self, *inputs: Value) -> Value:
        x, target = inputs
        return _above_zero(sub(number(self.margin, x), mul(target, x)))


@dataclass(frozen=True)
class HingeEmbeddingLoss(Loss):
    """x where target is 1, max(0, margin - x) where it is -1 (another target adds both). One shape for both.

    Source: torch.nn.functional.hinge_embedding_loss.
    """

    name: ClassVar[str] = "hinge_embedding_loss"
    margin: float = 1.0

    def terms(self, *arrays: Array) -> Array:
        x, target = arrays
        return np.where(target != 1, np.maximum(0.0, self.margin - x), 0.0) + np.where(target != -1, x, 0.0)

    def scale(self, *arrays: Array) -> Array:
        return np.abs(self.margin) + np.abs(arrays[0])

    def build_terms(self, *inputs: Value) -> Value:
        x, target = inputs
        apart, zero = _above_zero(sub(number(self.margin, x), x)), zeros_like(x)
        far = where(ne(target, ones_like(target)), apart, zero)
        return add(far, where(ne(target, number(-1.0, target)), x, zero))


@dataclass(frozen=True)
class MarginRankingLoss(Loss):
    """max(0, margin - target * (a - b)): a should rank above b where target is 1, below where it is -1. One shape.

    Source: torch.nn.functional.margin_ranking_loss.
    """

    name: ClassVar[str] = "margin_ranking_loss"
    args: ClassVar[tuple[str, ...]] = ("a", "b", "target")
    margin: float = 0.0

    def unreduced(self, *types: TensorType) -> TensorType:
        expect_inputs(3, types)
        return alike(self.args, types)

    def terms(self, *arrays: Array) -> Array:
        a, b, target = arrays
        return np.maximum(0.0, self.margin - target * (a - b))

    def scale(self, *arrays: Array) -> Array:
        a, b, target = arrays
        return np.abs(self.margin) + np.abs(target * (a - b))

    def build_terms(self, *inputs: Value) -> Value:
        a, b, target = inputs
        return _above_zero(sub(number(self.margin, a), mul(target, sub(a, b))))


@dataclass(frozen=True)
class CosineEmbeddingLoss(Loss):
    """1 - cos(a, b) where target is 1, max(0, cos(a, b) - margin) where it is -1, else 0.

    a, b: floats [..., D], target: [...] -> terms [...]. cos is a.b / sqrt((a.a + 1e-12) * (b.b + 1e-12)): 0 for zeros.
    Raises ShapeError when the shapes do not fit. Source: torch.nn.functional.cosine_embedding_loss.
    """

    name: ClassVar[str] = "cosine_embedding_loss"
    args: ClassVar[tuple[str, ...]] = ("a", "b", "target")
    margin: float = 0.0

    def unreduced(self, *types: TensorType) -> TensorType:
        expect_inputs(3, types)
        same_dtype(*types)
        a = alike(self.args, types[:2])
        if a.rank == 0 or types[2].shape != a.shape[:-1]:
            raise ShapeError(f"target is {types[2]}, a is {a}", help="target is a's shape without the last axis")
        return types[2]

    def terms(self, *arrays: Array) -> Array:
        a, b, target = arrays
        lengths = (np.sum(a * a, -1) + 1e-12) * (np.sum(b * b, -1) + 1e-12)
        cosine = np.sum(a * b, -1) / np.sqrt(lengths)
        far = np.where(target == -1, np.maximum(0.0, cosine - self.margin), 0.0)
        return np.where(target == 1, 1.0 - cosine, 0.0) + far

    def scale(self, *arrays: Array) -> Array:
        return np.full(arrays[2].shape, 2.0 + np.abs(self.margin))

    def build_terms(self, *inputs: Value) -> Value:
        a, b, target = inputs
        tiny, zero, one = number(1e-12, a), zeros_like(target), ones_like(target)
        lengths = mul(add(sum(square(a), -1), tiny), add(sum(square(b), -1), tiny))
        cosine = div(sum(mul(a, b), -1), sqrt(lengths))
        near = where(eq(target, one), sub(one, cosine), zero)
        return add(near, where(eq(target, neg(one)), _above_zero(sub(cosine, number(self.margin, a))), zero))


@dataclass(frozen=True)
class TripletMarginLoss(Loss):
    """max(0, margin + |anchor - positive + eps| - |anchor - negative + eps|), p-norms over the last axis.

    anchor, positive, negative: floats [..., D] -> terms [...]. swap: the smaller of the distances from anchor and from
    positive to negative counts. Raises ArgumentError unless p > 0.
    Source: torch.nn.functional.triplet_margin_loss; Balntas et al. 2016.
    """

    name: ClassVar[str] = "triplet_margin_loss"
    args: ClassVar[tuple[str, ...]] = ("anchor", "positive", "negative")
    margin: float = 1.0
    p: float = 2.0
    eps: float = 1e-6
    swap: bool = False

    def unreduced(self, *types: TensorType) -> TensorType:
        expect_inputs(3, types)
        x = alike(self.args, types)
        if x.rank == 0:
            raise ShapeError(f"anchor is {x}: it has no axis to measure along")
        if not self.p > 0:
            raise ArgumentError(f"p={self.p} is not positive")
        return x.with_shape(x.shape[:-1])

    def _distance(self, a: Array, b: Array) -> Array:
        return np.sum(np.abs(a - b + self.eps) ** self.p, -1) ** (1.0 / self.p)

    def terms(self, *arrays: Array) -> Array:
        anchor, positive, negative = arrays
        apart = self._distance(anchor, negative)
        if self.swap:
            apart = np.minimum(apart, self._distance(positive, negative))
        return np.maximum(0.0, self.margin + self._distance(anchor, positive) - apart)

    def scale(self, *arrays: Array) -> Array:
        anchor, positive, negative = arrays
        return np.abs(self.margin) + self._distance(anchor, positive) + self._distance(anchor, negative)

    def _build_distance(self, a: Value, b: Value) -> Value:
        apart = add(sub(a, b), number(self.eps, a))
        if self.p in (1.0, 2.0):
            return l2_norm(apart, -1) if self.p == 2 else l1_norm(apart, -1)
        return pow(sum(pow(abs(apart), number(self.p, a)), -1), number(1.0 / self.p, a))

    def build_terms(self, *inputs: Value) -> Value:
        anchor, positive, negative = inputs
        apart = self._build_distance(anchor, negative)
        if self.swap:
            apart = minimum(apart, self._build_distance(positive, negative))
        return _above_zero(sub(add(number(self.margin, anchor), self._build_distance(anchor, positive)), apart))


def alike(names: Sequence[str], types: Sequence[TensorType]) -> TensorType:
    """The one float type of all. Raises ShapeError or DTypeError."""
    same_dtype(*types)
    require("f", types[0])
    for name, given in zip(names, types, strict=False):
        if given.shape != types[0].shape:
            raise ShapeError(f"{names[0]} is {listed(types[0].shape)}, {name} is {listed(given.shape)}",
                             help="losses do not broadcast: reshape or expand one of them")  # fmt: skip
    return types[0]


def doubles(arrays: Sequence[Array]) -> list[Array]:
    """Floats in float64, integers as they are."""
    return [x if x.dtype.kind in "iub" else x.astype(np.float64) for x in arrays]


def wide(x: Value) -> Value:
    """f16 and bf16 in f32, other element types as they are."""
    return cast(x, f32) if x.dtype.is_float and x.dtype.bits < 32 else x


def spread_grad(op: Loss, grad: Value, terms: Value) -> Value:
    """The gradient of each term, given that of their reduction."""
    if op.reduction == "none":
        return grad
    if op.reduction == "mean":
        grad = div(grad, scalar_like(terms.tensor.size, grad))
    return expand(grad, terms.shape)


def _weighted(op: Loss, weight: Value | None, *inputs: Value) -> Value:
    """The loss with its terms times a weight that broadcasts to them."""
    if weight is None:
        return build(op, *inputs)
    terms = mul(build(replace(op, reduction="none"), *inputs), weight)
    return op.build_reduced(terms)


def mse_loss(x: Value, target: Value, reduction: str = "mean") -> Value:
    """(x - target)^2, reduced."""
    return build(MSELoss(reduction), x, target)


def l1_loss(x: Value, target: Value, reduction: str = "mean") -> Value:
    """|x - target|, reduced."""
    return build(L1Loss(reduction), x, target)


def huber_loss(x: Value, target: Value, reduction: str = "mean", delta: float = 1.0) -> Value:
    """Squares near 0, delta times the distance beyond delta, reduced."""
    return build(HuberLoss(reduction, float(delta)), x, target)


def smooth_l1_loss(x: Value, target: Value, reduction: str = "mean", beta: float = 1.0) -> Value:
    """Squares over beta near 0, the distance beyond beta, reduced."""
    return build(SmoothL1Loss(reduction, float(beta)), x, target)


def binary_cross_entropy(x: Value, target: Value, weight: Value | None = None, reduction: str = "mean") -> Value:
    """The cross-entropy of probabilities x of yes, reduced."""
    return _weighted(BCELoss(reduction), weight, x, target)


def binary_cross_entropy_with_logits(x: Value, target: Value, weight: Value | None = None, reduction: str = "mean",
                                     pos_weight: Value | None = None) -> Value:  # fmt: skip
    """The cross-entropy of logits x of yes, reduced."""
    inputs = (x, target) if pos_weight is None else (x, target, pos_weight)
    return _weighted(BCEWithLogitsLoss(reduction), weight, *inputs)


def kl_div(x: Value, target: Value, reduction: str = "mean", log_target: bool = False) -> Value:
    """The divergence of target from log-probabilities x, reduced."""
    return build(KLDivLoss(reduction, log_target), x, target)


def hinge_loss(x: Value, target: Value, reduction: str = "mean", margin: float = 1.0) -> Value:
    """max(0, margin - target * x), reduced."""
    return build(HingeLoss(reduction, float(margin)), x, target)


def hinge_embedding_loss(x: Value, target: Value, margin: float = 1.0, reduction: str = "mean") -> Value:
    """x, or max(0, margin - x), by target, reduced."""
    return build(HingeEmbeddingLoss(reduction, float(margin)), x, target)


def margin_ranking_loss(a: Value, b: Value, target: Value, margin: float = 0.0, reduction: str = "mean") -> Value:
    """max(0, margin - target * (a - b)), reduced."""
    return build(MarginRankingLoss(reduction, float(margin)), a, b, target)


def cosine_embedding_loss(a: Value, b: Value, target: Value, margin: float = 0.0, reduction: str = "mean") -> Value:
    """How far a and b are from pointing one way, or apart, by target, reduced."""
    return build(CosineEmbeddingLoss(reduction, float(margin)), a, b, target)


def triplet_margin_loss(anchor: Value, positive: Value, negative: Value, margin: float = 1.0, p: float = 2.0,
                        eps: float = 1e-6, swap: bool = False, reduction: str = "mean") -> Value:  # fmt: skip
    """How far negative is from being farther than positive by margin, reduced."""
    op = TripletMarginLoss(reduction, float(margin), float(p), float(eps), swap)
    return build(op, anchor, positive, negative)


OPS: tuple[type[Op], ...] = (MSELoss, L1Loss, HuberLoss, SmoothL1Loss, BCELoss, BCEWithLogitsLoss, KLDivLoss, HingeLoss,
                             HingeEmbeddingLoss, MarginRankingLoss, CosineEmbeddingLoss, TripletMarginLoss)  # fmt: skip
