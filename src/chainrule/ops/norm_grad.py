"""The gradient of layer and RMS norm, all of it in one op: that of x needs four sums of each row, read with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.graph import Value
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, TupleType
from chainrule.ops.elementwise import cast, mul, sub
from chainrule.ops.norm_math import (
    check_trailing,
    last_axes,
    mean_array,
    over_power,
    standard_array,
    standardised,
    wide,
)
from chainrule.ops.reduce import mean, sum


@dataclass(frozen=True)
class NormGrad(Op):
    """The gradients of x, and with gamma those of gamma and beta, of a norm over the last `trailing` axes.

    x, dy: floats [..., *T], gamma (optional): [*T] -> x's shape, and with gamma also [*T] twice. With y the norm of x
    without gamma and s = dy * gamma: dx = (s - mean(s) - y * mean(s * y)) / deviation, the sums of dy * y and of dy
    over all rows. Of a norm that is not `centred`, an RMS norm, mean(s) is left out, and there is no beta. f16 and bf16
    compute in f32. No rows give sums of 0. Raises as LayerNorm does, and ShapeError when dy is not of x's type.
    Source: the gradients of ONNX LayerNormalization-17 and RMSNormalization-23; Ba et al., arXiv:1607.06450.
    """

    name: ClassVar[str] = "norm_grad"
    args: ClassVar[tuple[str, ...]] = ("x", "dy", "gamma")
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "decompose"
    trailing: int = 1
    eps: float = 1e-5
    centred: bool = True

    def infer(self, *types: TensorType) -> TensorType | TupleType:
        if not 2 <= len(types) <= 3:
            raise ArgumentError(f"it takes 2 or 3 inputs, {len(types)} were given")
        x, dy, *gamma = types
        check_trailing((x, *gamma), self.trailing, self.eps)
        if dy != x:
            raise ShapeError(f"dy is {dy}, x is {x}", help="dy is the gradient of a result of x's type")
        return TupleType((x, *gamma * (2 if self.centred else 1))) if gamma else x

    def ref(self, *arrays: Array) -> Array | tuple[Array, ...]:
        x, dy, *gamma = (a.astype(np.float64) for a in arrays)
        axes = last_axes(x.ndim, self.trailing)
        with np.errstate(all="ignore"):
            y, deviation = self._standard(x)
            slope = dy * gamma[0] if gamma else dy
            level = mean_array(slope, axes) if self.centred else 0.0
            dx = (slope - level - y * mean_array(slope * y, axes)) / deviation
        return self._results(arrays, dx, dy * y, dy)

    def _results(self, arrays: Sequence[Array], dx: Array, dgamma: Array, dbeta: Array) -> Array | tuple[Array, ...]:
        """In the inputs' type: the first alone without gamma, else those there are, the others summed over the rows."""
        dtype, leading = arrays[0].dtype, tuple(range(dx.ndim - self.trailing))
        if len(arrays) == 2:
            return np.asarray(dx).astype(dtype)
        with np.errstate(all="ignore"):
            sums = (np.sum(v, leading) for v in ((dgamma, dbeta) if self.centred else (dgamma,)))
            return tuple(np.asarray(v).astype(dtype) for v in (dx, *sums))

    def _standard(self, x: Array) -> tuple[Array, Array]:
        """x without mean and deviation, and the deviation."""
        axes = last_axes(x.ndim, self.trailing)
        if self.centred:
            y, _, var = standard_array(x, axes, self.eps)
            return y, np.sqrt(var + self.eps)
        deviation = np.sqrt(mean_array(x * x, axes) + self.eps)
        return x / deviation, deviation

    def magnitude(self, *arrays: Array) -> Array | tuple[Array, ...]:
        """The sum of all terms' sizes, y with what an error of the mean does to it, as in LayerNorm."""
        x, dy, *gamma = arrays
        axes = last_axes(x.ndim, self.trailing)
        with np.errstate(all="ignore"):
            y, deviation = self._standard(x)
            size = np.abs(y) + (mean_array(np.abs(x), axes) / deviation + 1.0 if self.centred else 0.0)
            slope = np.abs(dy * gamma[0] if gamma else dy)
            level = mean_array(slope, axes) if self.centred else 0.0
            dx = (slope + level + size * mean_array(slope * size, axes)) / deviation
            return self._results(arrays, dx, np.abs(dy) * size, np.abs(dy))

    def decompose(self, *inputs: Value) -> Value | tuple[Value, ...]:
        x, dy, *gamma = (wide(v) for v in inputs)
        axes, leading = last_axes(x.rank, self.trailing), tuple(range(x.rank - self.trailing))
        y, scale = (standardised if self.centred else over_power)(x, axes, self.eps)
        slope = mul(dy, gamma[0]) if gamma else dy
        level = sub(slope, mean(slope, axes, True)) if self.centred else slope
        dx = mul(scale, sub(level, mul(y, mean(mul(slope, y), axes, True))))
        if not gamma:
            return cast(dx, inputs[0].dtype)
        found = [dx, sum(mul(dy, y), leading)] + ([sum(dy, leading)] if self.centred else [])
        return tuple(cast(v, inputs[0].dtype) for v in found)


OPS: tuple[type[Op], ...] = (NormGrad,)
