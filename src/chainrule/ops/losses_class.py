"""Losses over classes: cross-entropy of logits, and the negative log-likelihood.

The gradient of cross-entropy comes out as softmax minus target: it is the derivative of log_softmax, whose own form is
stable. A class index is looked up, so one out of range is an error when run, never a wrong number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, i64
from chainrule.ops.activations import number
from chainrule.ops.basic import constant, scalar_like, size_of, zeros_like
from chainrule.ops.compare import lt, ne
from chainrule.ops.elementwise import add, cast, div, mul, neg, where
from chainrule.ops.indexing import gather, gather_elements
from chainrule.ops.losses import Loss, alike, doubles, wide
from chainrule.ops.reduce import sum
from chainrule.ops.shape_rules import require, same_dtype
from chainrule.ops.shaping import listed, reshape
from chainrule.ops.softmax import log_softmax


@dataclass(frozen=True)
class ClassLoss(Loss):
    """The form of a loss over classes: a log-probability for each class, the index of the right one, class weights.

    x: floats [N, C, *S] (or [C]), target: integers [N, *S] (or []), weight (optional): [C] -> terms of target's shape.
    Targets equal to ignore_index give 0 and do not count in the mean, which divides by the sum of the targets' weights:
    it is NaN when all are ignored. Raises ShapeError when the shapes do not fit, ArgumentError, when run, for a class
    that is not there.
    """

    args: ClassVar[tuple[str, ...]] = ("x", "target", "weight")
    smoothing: ClassVar[bool] = False
    ignore_index: int = -100

    def logs(self, x: Array, axis: int) -> Array:
        """The log-probabilities of arrays."""
        return x

    def build_logs(self, x: Value, axis: int) -> Value:
        """The log-probabilities of values."""
        return x

    def reach(self, x: Array, axis: int) -> Array:
        """The scale of the errors of the log-probabilities."""
        return np.abs(x)

    def share(self) -> float:
        """The part of the target's weight that is spread over all classes."""
        return 0.0

    def unreduced(self, *types: TensorType) -> TensorType:
        if len(types) not in (2, 3):
            raise ArgumentError(f"it takes 2 or 3 inputs, {len(types)} were given")
        x, target = types[:2]
        require("f", x)
        require("iu", target)
        classes = _classes(x)
        expected = (*x.shape[: class_axis(x.rank)], *x.shape[class_axis(x.rank) + 1 :])
        if target.shape != expected:
            raise ShapeError(f"target is {listed(target.shape)}, x is {listed(x.shape)}",
                             help=f"target is {listed(expected)}: x without its class axis")  # fmt: skip
        _check_weight(types, classes)
        return x.with_shape(expected)

    def terms(self, *arrays: Array) -> Array:
        x, target, *weights = arrays
        axis = class_axis(x.ndim)
        logs = self.logs(x, axis)
        safe, valid = _safe_classes(target, x.shape[axis], self.ignore_index)
        picked = np.take_along_axis(logs, np.expand_dims(safe, axis), axis).reshape(target.shape)
        share = self.share()
        found = -picked * (weights[0][safe] if weights else 1.0) * (1.0 - share)
        if share:
            found = found - share / x.shape[axis] * np.sum(_weigh(logs, weights, axis), axis)
        return np.where(valid, found, 0.0)

    def scale(self, *arrays: Array) -> Array:
        x, target, *weights = arrays
        axis = class_axis(x.ndim)
        reach = self.reach(x, axis)
        share = self.share()
        safe, valid = _safe_classes(target, x.shape[axis], self.ignore_index)
        picked = np.take_along_axis(reach, np.expand_dims(safe, axis), axis).reshape(target.shape)
        found = picked * (np.abs(weights[0][safe]) if weights else 1.0)
        if share:
            found = found + share / x.shape[axis] * np.sum(_weigh(reach, [np.abs(w) for w in weights], axis), axis)
        return np.where(valid, found, 0.0)

    def reduced(self, terms: Array, arrays: Sequence[Array]) -> Array:
        if self.reduction != "mean":
            return Loss.reduced(self, terms, arrays)
        x, target, *weights = doubles(arrays)
        safe, valid = _safe_classes(target, x.shape[class_axis(x.ndim)], self.ignore_index)
        return np.sum(terms) / np.sum(np.where(valid, weights[0][safe] if weights else 1.0, 0.0))

    def decompose(self, *inputs: Value) -> Value:
        x, target, *weights = (wide(v) for v in inputs)
        axis = class_axis(x.rank)
        logs = self.build_logs(x, axis)
        wanted = cast(target, i64)
        valid = ne(wanted, constant(self.ignore_index, i64))
        zero = constant(0, i64)
        # A negative class would count from the end: it is moved out of range, where looking it up is an error.
        checked = where(lt(wanted, zero), size_of(x.shape[axis]), wanted)
        safe = where(valid, checked, zero)
        terms = self._build_terms(logs, safe, weights, axis)
        terms = where(valid, terms, zeros_like(terms))
        if self.reduction == "mean":
            counted = gather(weights[0], safe) if weights else number(1.0, terms)
            found = div(sum(terms), sum(where(valid, counted, zeros_like(terms))))
        else:
            found = self.build_reduced(terms)
        return cast(found, inputs[0].dtype)

    def _build_terms(self, logs: Value, safe: Value, weights: Sequence[Value], axis: int) -> Value:
        places = reshape(safe, (*safe.shape[:axis], 1, *safe.shape[axis:]))
        terms = neg(reshape(gather_elements(logs, places, axis), safe.shape))
        share = self.share()
        if weights:
            terms = mul(terms, gather(weights[0], safe))
        if not share:
            return terms
        each = mul(logs, _along(weights[0], logs.rank)) if weights else logs
        part = div(number(-share, logs), scalar_like(logs.shape[axis], logs))
        return add(mul(terms, number(1.0 - share, logs)), mul(sum(each, axis), part))


@dataclass(frozen=True)
class NLLLoss(ClassLoss):
    """-weight[target] * x[target], x being log-probabilities.

    x: floats [N, C, *S] (or [C]), target: integers [N, *S] (or []), weight (optional): [C]. A target equal to
    ignore_index gives 0; the mean divides by the sum of the counted targets' weights. Raises ShapeError when the shapes
    do not fit, ArgumentError, when run, for a class that is not there.
    Source: ONNX NegativeLogLikelihoodLoss-22; torch.nn.functional.nll_loss.
    """

    name: ClassVar[str] = "nll_loss"


@dataclass(frozen=True)
class CrossEntropyLoss(ClassLoss):
    """-weight[target] * log_softmax(x)[target], x being logits.

    x: floats [N, C, *S] (or [C]), target: integers [N, *S] (or []), weight (optional): [C]. label_smoothing s gives the
    part s to all classes evenly: (1-s) * term - s/C * sum(weight * log_softmax(x)). A target equal to ignore_index
    gives 0; the mean divides by the sum of the counted targets' weights. Raises ShapeError when the shapes do not fit,
    ArgumentError for s outside [0, 1] and, when run, for a class that is not there.
    Source: ONNX SoftmaxCrossEntropyLoss-13; torch.nn.functional.cross_entropy; Szegedy et al., arXiv:1512.00567, 7.
    """

    name: ClassVar[str] = "cross_entropy"
    label_smoothing: float = 0.0

    def share(self) -> float:
        return self.label_smoothing

    def logs(self, x: Array, axis: int) -> Array:
        return log_softmax_array(x, axis)

    def build_logs(self, x: Value, axis: int) -> Value:
        return log_softmax(x, axis)

    def reach(self, x: Array, axis: int) -> Array:
        return log_softmax_reach(x, axis)

    def unreduced(self, *types: TensorType) -> TensorType:
        _check_smoothing(self.label_smoothing)
        return ClassLoss.unreduced(self, *types)


@dataclass(frozen=True)
class SoftCrossEntropyLoss(Loss):
    """-sum over classes of weight * target * log_softmax(x): cross-entropy with a probability for each class.

    x, target: floats [N, C, *S] (or [C]), weight (optional): [C] -> terms [N, *S] (or []). label_smoothing s replaces
    target by (1-s) * target + s/C. The mean divides by the number of terms. Raises ShapeError when the shapes do not
    fit, ArgumentError for s outside [0, 1]. Source: torch.nn.functional.cross_entropy with class probabilities.
    """

    name: ClassVar[str] = "soft_cross_entropy"
    args: ClassVar[tuple[str, ...]] = ("x", "target", "weight")
    label_smoothing: float = 0.0

    def unreduced(self, *types: TensorType) -> TensorType:
        if len(types) not in (2, 3):
            raise ArgumentError(f"it takes 2 or 3 inputs, {len(types)} were given")
        _check_smoothing(self.label_smoothing)
        x = alike(self.args, types[:2])
        _check_weight(types, _classes(x))
        axis = class_axis(x.rank)
        return x.with_shape((*x.shape[:axis], *x.shape[axis + 1 :]))

    def _smooth(self, target: Array, axis: int) -> Array:
        share = self.label_smoothing
        return target * (1.0 - share) + share / target.shape[axis] if share else target

    def terms(self, *arrays: Array) -> Array:
        x, target, *weights = arrays
        axis = class_axis(x.ndim)
        return -np.sum(_weigh(log_softmax_array(x, axis) * self._smooth(target, axis), weights, axis), axis)

    def scale(self, *arrays: Array) -> Array:
        x, target, *weights = arrays
        axis = class_axis(x.ndim)
        reach = log_softmax_reach(x, axis)
        return np.sum(np.abs(_weigh(reach * self._smooth(np.abs(target), axis), weights, axis)), axis)

    def build_terms(self, *inputs: Value) -> Value:
        x, target, *weights = inputs
        axis = class_axis(x.rank)
        share = self.label_smoothing
        if share:
            part = div(number(share, x), scalar_like(x.shape[axis], x))
            target = add(mul(target, number(1.0 - share, x)), part)
        terms = mul(log_softmax(x, axis), target)
        for weight in weights:
            terms = mul(terms, _along(weight, x.rank))
        return neg(sum(terms, axis))


def class_axis(rank: int) -> int:
    """The class axis: the second one, or the only one."""
    return 1 if rank > 1 else 0


def log_softmax_array(x: Array, axis: int) -> Array:
    """log_softmax of an array in its own precision."""
    shifted = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def log_softmax_reach(x: Array, axis: int) -> Array:
    """The scale of the errors of log_softmax: its size, the largest element's, and 1 for the logarithm's argument."""
    finite = np.where(np.isfinite(x), np.abs(x), 0.0)
    return np.abs(log_softmax_array(x, axis)) + np.max(finite, axis=axis, keepdims=True, initial=0.0) + 1.0


def _classes(x: TensorType) -> Dim:
    if x.rank == 0:
        raise ShapeError(f"x is {x}: it has no class axis", help="x is [N, C, ...] or [C]")
    classes = x.shape[class_axis(x.rank)]
    if classes == 0:
        raise ShapeError(f"x is {x}: there are no classes")
    return classes


def _check_weight(types: Sequence[TensorType], classes: Dim) -> None:
    if len(types) < 3:
        return
    same_dtype(types[0], types[2])
    if types[2].shape != (classes,):
        raise ShapeError(f"weight is {types[2]}, there are {classes} classes", help=f"weight is [{classes}]")


def _check_smoothing(share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise ArgumentError(f"label_smoothing={share} is not in [0, 1]")


def _safe_classes(target: Array, classes: int, ignored: int) -> tuple[Array, Array]:
    """The targets as i64 with 0 for those that are ignored, and which ones count. Raises ArgumentError."""
    wanted = target.astype(np.int64)
    valid = wanted != ignored
    wrong = valid & ((wanted < 0) | (wanted >= classes))
    if wrong.any():
        raise ArgumentError(f"target {wanted[wrong].flat[0]} is not one of {classes} classes",
                            help=f"classes run from 0 to {classes - 1}; ignore_index is {ignored}")  # fmt: skip
    return np.where(valid, wanted, 0), valid


def _weigh(x: Array, weights: Sequence[Array], axis: int) -> Array:
    return x * weights[0].reshape(-1, *(1,) * (x.ndim - 1 - axis)) if weights else x


def _along(weight: Value, rank: int) -> Value:
    """[C] so that it broadcasts along the class axis."""
    return reshape(weight, (*weight.shape, *(1,) * (rank - 1 - class_axis(rank))))


def nll_loss(x: Value, target: Value, weight: Value | None = None, ignore_index: int = -100,
             reduction: str = "mean") -> Value:  # fmt: skip
    """The negative log-likelihood of classes, given log-probabilities, reduced."""
    return build(NLLLoss(reduction, ignore_index), *((x, target) if weight is None else (x, target, weight)))


def cross_entropy(x: Value, target: Value, weight: Value | None = None, ignore_index: int = -100,
                  reduction: str = "mean", label_smoothing: float = 0.0) -> Value:  # fmt: skip
    """The cross-entropy of logits: with class indices where target is of integers, of probabilities where of floats."""
    inputs = (x, target) if weight is None else (x, target, weight)
    share = float(label_smoothing)
    if target.dtype.is_float:
        return build(SoftCrossEntropyLoss(reduction, share), *inputs)
    return build(CrossEntropyLoss(reduction, ignore_index, share), *inputs)


OPS: tuple[type[Op], ...] = (NLLLoss, CrossEntropyLoss, SoftCrossEntropyLoss)
