"""Ops of the domain ai.onnx.ml on numeric tensors: what turns a table's columns into features."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chainrule.backends.onnx.importing.readers_images import Read, Reader
from chainrule.backends.onnx.node import Given
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.graph import Value
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import shaping as sh
from chainrule.ops.basic import constant, scalar_like
from chainrule.ops.compare import gt
from chainrule.ops.matmul import product
from chainrule.ops.transcendental import sqrt


def _numbers(given: Given, name: str, default: float) -> Value:
    """A list of floats, one for each column or one for all."""
    found = given.attribute(name, (default,))
    if not isinstance(found, tuple) or not all(isinstance(n, float | int) for n in found):
        raise ModelError(f"{given.op_type}: the attribute {name} is no list of numbers")
    return constant(np.asarray(found, np.float32))


def _as_f32(x: Value) -> Value:
    return x if x.dtype.name == "f32" else el.cast(x, "f32")


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


def linear_regressor(given: Given) -> Read:
    """x W + b; coefficients are stored target by target."""
    x, targets = _as_f32(given.value(0)), given.whole("targets", 1)
    if given.word("post_transform", "NONE") != "NONE":
        raise NotSupported(f"LinearRegressor: post_transform {given.word('post_transform', '')} is not built")
    weights = sh.reshape(_numbers(given, "coefficients", 0.0), (targets, -1))
    y = product(x, weights, False, True)
    return el.add(y, _numbers(given, "intercepts", 0.0)) if given.attribute("intercepts") is not None else y


READERS: Mapping[str, Reader] = {
    "Scaler": scaler, "Normalizer": normalizer, "Binarizer": binarizer, "LinearRegressor": linear_regressor,
}  # fmt: skip
