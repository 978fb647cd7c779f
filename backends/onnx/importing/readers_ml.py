"""Ops of the domain ai.onnx.ml on numeric tensors: what turns a table's columns into features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.graph import Value
from chainrule.ir.op import Array
from chainrule.ir.types import i64
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import shaping as sh
from chainrule.ops.basic import constant, scalar_like
from chainrule.ops.compare import gt
from chainrule.ops.indexing import gather
from chainrule.ops.matmul import product
from chainrule.ops.softmax import softmax
from chainrule.ops.transcendental import exp, pow, sigmoid, sqrt, tanh


def _numbers(given: Given, name: str, default: float) -> Value:
    """A list of floats, one for each column or one for all."""
    return constant(np.asarray(tuple_of_numbers(given, name) or (default,), np.float32))


def tuple_of_numbers(given: Given, name: str) -> tuple[float, ...]:
    """A list of floats; empty where it is left out."""
    found = given.attribute(name, ())
    if not isinstance(found, tuple) or not all(isinstance(n, float | int) for n in found):
        raise ModelError(f"{given.op_type}: the attribute {name} is no list of numbers")
    return found


def _as_f32(x: Value) -> Value:
    return x if x.dtype.name == "f32" else el.cast(x, "f32")


def floats_as_f32(x: Value) -> Value:
    """Rows of numbers: floats as they are, whole numbers as f32."""
    return x if x.dtype.is_float else el.cast(x, "f32")


def scaler(given: Given) -> Read:
    """(x - offset) * scale, column by column."""
    x = _as_f32(given.value(0))
    return el.mul(el.sub(x, _numbers(given, "offset", 0.0)), _numbers(given, "scale", 1.0))


def normalizer(given: Given) -> Read:
    """Each row by its largest absolute value, by the sum of those, or by its Euclidean norm; zeros stay."""
    x, kind = _as_f32(given.value(0)), given.word("norm", "MAX")
    match kind:
        case "MAX":
            size = red.amax(el.abs(x), (-1,), True)
        case "L1":
            size = red.sum(el.abs(x), (-1,), True)
        case "L2":
            size = sqrt(red.sum(el.mul(x, x), (-1,), True))
        case _:
            raise ModelError(f"Normalizer: the norm {kind!r} is unknown")
    return el.div(x, el.where(gt(size, scalar_like(0.0, size)), size, scalar_like(1.0, size)))


def binarizer(given: Given) -> Read:
    """1 above a threshold, else 0."""
    x = given.value(0)
    return el.cast(gt(x, scalar_like(given.fraction("threshold", 0.0), x)), x.dtype)


@dataclass(frozen=True, eq=False)
class Labels:
    """The classes of a classifier, by their places among its scores."""

    numbers: Array

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.numbers)

    def largest(self, scores: Value) -> Value:
        """Of each row the class with the largest score, the first of equal ones."""
        return gather(constant(self.numbers), red.argmax(scores, 1), 0)

    def chosen(self, second: Value) -> Value:
        """Of two classes the second where that is said, else the first."""
        return gather(constant(self.numbers), el.cast(second, i64), 0)


def labels_of(given: Given, numbers: str, texts: str) -> Labels:
    """The classes that a classifier names. Raises NotSupported for texts."""
    if given.attribute(texts):
        raise NotSupported(f"{given.op_type}: classes that are texts are not built",
                           help="export the classifier with whole numbers as classes")  # fmt: skip
    found = np.asarray(given.vector(numbers) or (), np.int64)
    if not len(found):
        raise ModelError(f"{given.op_type}: the attribute {numbers} is missing")
    return Labels(found)


def linear_classifier(given: Given) -> Read:
    """The class with the largest of the scores x W + b, and these; of two classes one score may be left out."""
    x, labels = floats_as_f32(given.value(0)), labels_of(given, "classlabels_ints", "classlabels_strings")
    weights, transform = _numbers(given, "coefficients", 0.0), given.word("post_transform", "NONE")
    count = len(tuple_of_numbers(given, "intercepts")) or labels.count
    scores = product(x, sh.reshape(el.cast(weights, x.dtype), (count, -1)), False, True)
    if given.attribute("intercepts") is not None:
        scores = el.add(scores, el.cast(_numbers(given, "intercepts", 0.0), x.dtype))
    if count == 1 and labels.count == 2:
        label = labels.chosen(sh.squeeze(gt(scores, scalar_like(0.0, scores)), 1))
        scores = sh.concat([el.neg(scores), scores], 1)
    elif count == labels.count:
        label = labels.largest(scores)
    else:
        raise ModelError(f"LinearClassifier: {count} scores for {labels.count} classes")
    match transform:
        case "NONE":
            return label, scores
        case "SOFTMAX":
            return label, softmax(scores, -1)
        case "LOGISTIC":
            return label, sigmoid(scores)
        case _:
            raise NotSupported(f"LinearClassifier: post_transform {transform} is not built")


def linear_regressor(given: Given) -> Read:
    """x W + b; coefficients are stored target by target."""
    x, targets = _as_f32(given.value(0)), given.whole("targets", 1)
    if given.word("post_transform", "NONE") != "NONE":
        raise NotSupported(f"LinearRegressor: post_transform {given.word('post_transform', '')} is not built")
    weights = sh.reshape(_numbers(given, "coefficients", 0.0), (targets, -1))
    y = product(x, weights, False, True)
    return el.add(y, _numbers(given, "intercepts", 0.0)) if given.attribute("intercepts") is not None else y


def extracted(given: Given) -> Read:
    """Columns of a table, by their places."""
    x, places = given.value(0), given.value(1)
    rows = x if x.rank > 1 else sh.unsqueeze(x, 0)
    return gather(rows, sh.reshape(places, (places.tensor.size,)), rows.rank - 1)


def svm_regressor(given: Given) -> Read:
    """A sum of kernels of a row and of the support vectors; without these, a linear function of the row."""
    x, count = _as_f32(given.value(0)), given.whole("n_supports", 0)
    if given.word("post_transform", "NONE") != "NONE" or given.whole("one_class", 0):
        raise NotSupported("SVMRegressor: post_transform and one_class are not built")
    weights = sh.reshape(_numbers(given, "coefficients", 0.0), (1, -1))
    near = _kernel(given, x, sh.reshape(_numbers(given, "support_vectors", 0.0), (count, -1))) if count else x
    return el.add(product(near, weights, False, True), _numbers(given, "rho", 0.0))


def _kernel(given: Given, x: Value, vectors: Value) -> Value:
    """How near each row of x is to each vector. f32[N, vectors]"""
    gamma, shift, degree = (*tuple_of_numbers(given, "kernel_params"), 0.0, 0.0, 0.0)[:3]
    dot = product(x, vectors, False, True)
    scaled = el.add(el.mul(dot, constant(np.float32(gamma))), constant(np.float32(shift)))
    match given.word("kernel_type", "LINEAR"):
        case "LINEAR":
            return dot
        case "POLY":
            return pow(scaled, constant(np.float32(degree)))
        case "SIGMOID":
            return tanh(scaled)
        case "RBF":
            apart = el.sub(sh.unsqueeze(x, 1), vectors)
            return exp(el.mul(red.sum(el.mul(apart, apart), (-1,)), constant(np.float32(-gamma))))
        case other:
            raise ModelError(f"SVMRegressor: the kernel_type {other!r} is unknown")


READERS: Mapping[str, Reader] = {
    "Scaler": scaler, "Normalizer": normalizer, "Binarizer": binarizer, "LinearRegressor": linear_regressor,
    "LinearClassifier": linear_classifier, "ArrayFeatureExtractor": extracted, "SVMRegressor": svm_regressor,
}  # fmt: skip
