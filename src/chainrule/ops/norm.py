"""Normalisations: each takes the mean away and divides by the deviation, over axes of its own.

Variances are taken in two passes, from the centred elements: one pass would lose all digits where the mean is large
against the deviation. Longer than most files: eight ops of one form, each with its layout, its checks and its scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import Dim, dim_product, mod
from chainrule.ir.graph import Value, build, results
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, TupleType
from chainrule.ops.activations import number
from chainrule.ops.arithmetic import square
from chainrule.ops.basic import Full, scalar_like
from chainrule.ops.elementwise import abs, add, cast, div, expect_inputs, maximum, mul, sub
from chainrule.ops.norm_grad import NormGrad
from chainrule.ops.norm_math import (
    check_eps,
    check_trailing,
    in_double,
    in_f32,
    last_axes,
    mean_array,
    over_power,
    standard_array,
    standardised,
    wide,
)
from chainrule.ops.pool import avg_pool
from chainrule.ops.reduce import count_of, mean, sum
from chainrule.ops.shape_rules import axis_of, require
from chainrule.ops.shaping import reshape
from chainrule.ops.statistics import l1_norm, l2_norm
from chainrule.ops.transcendental import pow, rsqrt


@dataclass(frozen=True)
class LayerNorm(Op):
    """(x - mean) / sqrt(var + eps) * gamma + beta, over the last `trailing` axes.

    x: floats [..., *T], gamma, beta (both optional): [*T] -> x's shape. The variance is the biased one, in two passes;
    f16 and bf16 compute in f32. Rows of nothing give nothing; NaN stays in its row. Raises ShapeError when gamma or
    beta is not of the shape of the last axes; ArgumentError when x has fewer axes, or eps is negative.
    Source: ONNX LayerNormalization-17; torch.nn.LayerNorm; Ba et al., arXiv:1607.06450, equation 4.
    """

    name: ClassVar[str] = "layer_norm"
    args: ClassVar[tuple[str, ...]] = ("x", "gamma", "beta")
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"
    trailing: int = 1
    eps: float = 1e-5

    def infer(self, *types: TensorType) -> TensorType:
        _check_affine(types, 3)
        return check_trailing(types, self.trailing, self.eps)

    def ref(self, *arrays: Array) -> Array:
        def body(x: Array, *affine: Array) -> Array:
            axes = last_axes(x.ndim, self.trailing)
            return _affine(standard_array(x, axes, self.eps)[0], affine)

        return in_double(body, arrays)

    def magnitude(self, *arrays: Array) -> Array:
        """The scale of errors: the result, and what an error of the mean does to it, in deviations."""
        x, *affine = arrays
        return _norm_scale(x, last_axes(x.ndim, self.trailing), self.eps, affine)

    def decompose(self, *inputs: Value) -> Value:
        def body(x: Value, *affine: Value) -> Value:
            return _scaled_shifted(standardised(x, last_axes(x.rank, self.trailing), self.eps)[0], affine)

        return in_f32(body, inputs)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return _norm_vjp(NormGrad(self.trailing, self.eps), inputs, grads[0])


@dataclass(frozen=True)
class RMSNorm(Op):
    """x / sqrt(mean(x^2) + eps) * gamma, over the last `trailing` axes.

    x: floats [..., *T], gamma (optional): [*T] -> x's shape. f16 and bf16 compute in f32. Raises as LayerNorm does.
    Source: ONNX RMSNormalization-23; torch.nn.RMSNorm; Zhang and Sennrich, arXiv:1910.07467, equation 4.
    """

    name: ClassVar[str] = "rms_norm"
    args: ClassVar[tuple[str, ...]] = ("x", "gamma")
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"
    trailing: int = 1
    eps: float = 1e-5

    def infer(self, *types: TensorType) -> TensorType:
        _check_affine(types, 2)
        return check_trailing(types, self.trailing, self.eps)

    def ref(self, *arrays: Array) -> Array:
        def body(x: Array, *affine: Array) -> Array:
            power = mean_array(x * x, last_axes(x.ndim, self.trailing))
            return _affine(x / np.sqrt(power + self.eps), affine)

        return in_double(body, arrays)

    def decompose(self, *inputs: Value) -> Value:
        def body(x: Value, *affine: Value) -> Value:
            return _scaled_shifted(over_power(x, last_axes(x.rank, self.trailing), self.eps)[0], affine)

        return in_f32(body, inputs)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return _norm_vjp(NormGrad(self.trailing, self.eps, centred=False), inputs, grads[0])


@dataclass(frozen=True)
class GroupNorm(Op):
    """(x - mean) / sqrt(var + eps) * gamma + beta, over each image's groups of channels.

    x: floats [N, C, *S], gamma, beta (both optional): [C] -> x's shape. Channels are split into `groups` equal parts.
    f16 and bf16 compute in f32. Raises ShapeError when C does not split, or gamma or beta is not [C].
    Source: ONNX GroupNormalization-21; torch.nn.GroupNorm; Wu and He, arXiv:1803.08494, equations 1 to 3.
    """

    name: ClassVar[str] = "group_norm"
    args: ClassVar[tuple[str, ...]] = ("x", "gamma", "beta")
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "decompose"
    groups: int
    eps: float = 1e-5

    def infer(self, *types: TensorType) -> TensorType:
        _check_affine(types, 3)
        x = _check_channels(types, self.eps)
        if self.groups < 1:
            raise ArgumentError(f"groups {self.groups} is not a number >= 1")
        if mod(x.shape[1], self.groups) != 0:
            raise ShapeError(f"{x.shape[1]} channels do not split into {self.groups} groups",
                             help="the channels are a multiple of groups")  # fmt: skip
        return x

    def ref(self, *arrays: Array) -> Array:
        def body(x: Array, *affine: Array) -> Array:
            y = standard_array(_split_array(x, self.groups), (2,), self.eps)[0].reshape(x.shape)
            return _affine(y, [_channel_array(p, x.ndim) for p in affine])

        return in_double(body, arrays)

    def magnitude(self, *arrays: Array) -> Array:
        """As for LayerNorm."""
        x, *affine = arrays
        scale = _norm_scale(_split_array(x, self.groups), (2,), self.eps, ()).reshape(x.shape)
        return _affine(scale, [np.abs(_channel_array(p, x.ndim)) for p in affine])

    def decompose(self, *inputs: Value) -> Value:
        def body(x: Value, *affine: Value) -> Value:
            size = dim_product(x.shape[1:])
            part = reshape(x, (x.shape[0], self.groups, size // self.groups))
            y = reshape(layer_norm(part, eps=self.eps), x.shape)
            return _scaled_shifted(y, [per_channel(p, x.rank) for p in affine])

        return in_f32(body, inputs)


@dataclass(frozen=True)
class InstanceNorm(Op):
    """(x - mean) / sqrt(var + eps) * gamma + beta, over each channel of each image.

    x: floats [N, C, *S], gamma, beta (both optional): [C] -> x's shape. f16 and bf16 compute in f32. Raises ShapeError
    when gamma or beta is not [C]. Source: ONNX InstanceNormalization-22; torch.nn.InstanceNorm2d; Ulyanov et al.,
    arXiv:1607.08022, equation 7.
    """

    name: ClassVar[str] = "instance_norm"
    args: ClassVar[tuple[str, ...]] = ("x", "gamma", "beta")
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "decompose"
    eps: float = 1e-5

    def infer(self, *types: TensorType) -> TensorType:
        _check_affine(types, 3)
        return _check_channels(types, self.eps)

    def ref(self, *arrays: Array) -> Array:
        def body(x: Array, *affine: Array) -> Array:
            y = standard_array(x, tuple(range(2, x.ndim)), self.eps)[0]
            return _affine(y, [_channel_array(p, x.ndim) for p in affine])

        return in_double(body, arrays)

    def magnitude(self, *arrays: Array) -> Array:
        """As for LayerNorm."""
        x, *affine = arrays
        parts = [_channel_array(p, x.ndim) for p in affine]
        return _norm_scale(x, tuple(range(2, x.ndim)), self.eps, parts)

    def decompose(self, *inputs: Value) -> Value:
        def body(x: Value, *affine: Value) -> Value:
            y = layer_norm(x, trailing=x.rank - 2, eps=self.eps) if x.rank > 2 else sub(x, x)
            return _scaled_shifted(y, [per_channel(p, x.rank) for p in affine])

        return in_f32(body, inputs)


@dataclass(frozen=True)
class BatchNorm(Op):
    """(x - mean) / sqrt(var + eps) * gamma + beta with given statistics, channel by channel.

    x: floats [N, C, *S] (also [N, C]), gamma, beta, mean, var: [C] -> x's shape. A negative var + eps gives NaN. f16
    and bf16 compute in f32. Raises ShapeError when one of the four is not [C].
    Source: ONNX BatchNormalization-15; torch.nn.BatchNorm2d in evaluation; Ioffe and Szegedy, arXiv:1502.03167.
    """

    name: ClassVar[str] = "batch_norm"
    args: ClassVar[tuple[str, ...]] = ("x", "gamma", "beta", "mean", "var")
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "decompose"
    eps: float = 1e-5

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(5, types)
        return _check_channels(types, self.eps, self.args)

    def ref(self, *arrays: Array) -> Array:
        def body(x: Array, *channels: Array) -> Array:
            gamma, beta, mean, var = (_channel_array(p, x.ndim) for p in channels)
            return (x - mean) / np.sqrt(var + self.eps) * gamma + beta

        return in_double(body, arrays)

    def magnitude(self, *arrays: Array) -> Array:
        """The sum of the parts' absolute values."""
        x, *channels = arrays
        gamma, beta, mean, var = (np.abs(_channel_array(p, x.ndim)) for p in channels)
        return (np.abs(x) + mean) / np.sqrt(var + self.eps) * gamma + beta

    def decompose(self, *inputs: Value) -> Value:
        def body(x: Value, *channels: Value) -> Value:
            gamma, beta, mean, var = channels
            scale = mul(gamma, rsqrt(add(var, number(self.eps, x))))
            centred = sub(x, per_channel(mean, x.rank))
            return add(mul(centred, per_channel(scale, x.rank)), per_channel(beta, x.rank))

        return in_f32(body, inputs)


@dataclass(frozen=True)
class BatchNormTraining(Op):
    """(x - mean) / sqrt(var + eps) * gamma + beta with the batch's own statistics; also the mean and the variance.

    x: floats [N, C, *S] (also [N, C]), gamma, beta: [C] -> x's shape, [C], [C]. The variance is the biased one, in two
    passes; running averages are the caller's. A batch of nothing gives NaN statistics. f16 and bf16 compute in f32.
    Raises ShapeError when gamma or beta is not [C].
    Source: ONNX BatchNormalization-15 with training_mode; torch.nn.BatchNorm2d in training.
    """

    name: ClassVar[str] = "batch_norm_training"
    args: ClassVar[tuple[str, ...]] = ("x", "gamma", "beta")
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"
    eps: float = 1e-5

    def infer(self, *types: TensorType) -> TupleType:
        expect_inputs(3, types)
        x = _check_channels(types, self.eps)
        channels = TensorType(x.dtype, (x.shape[1],))
        return TupleType((x, channels, channels))

    def ref(self, *arrays: Array) -> tuple[Array, ...]:
        x = arrays[0].astype(np.float64)
        gamma, beta = (_channel_array(p.astype(np.float64), x.ndim) for p in arrays[1:])
        with np.errstate(all="ignore"):
            y, mean, var = standard_array(x, _batch_axes(x.ndim), self.eps)
            found = (y * gamma + beta, mean.reshape(x.shape[1]), var.reshape(x.shape[1]))
            return tuple(part.astype(arrays[0].dtype) for part in found)

    def magnitude(self, *arrays: Array) -> tuple[Array, ...]:
        """As for LayerNorm, for the mean and for Var."""
        x, *affine = arrays
        axes = _batch_axes(x.ndim)
        level = mean_array(np.abs(x), axes).reshape(x.shape[1])
        var = standard_array(x, axes, self.eps)[2].reshape(x.shape[1])
        parts = [_channel_array(p, x.ndim) for p in affine]
        spread = var + 2.0 * np.sqrt(var) * level + 2.0**-22 * level * level
        return _norm_scale(x, axes, self.eps, parts), level, spread

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        x, gamma, beta = (wide(v) for v in inputs)
        axes = _batch_axes(x.rank)
        middle = mean(x, axes, keepdims=True)
        var = mean(square(sub(x, middle)), axes, keepdims=True)
        y, _ = standardised(x, axes, self.eps)
        y = add(mul(y, per_channel(gamma, x.rank)), per_channel(beta, x.rank))
        found = (y, reshape(middle, (x.shape[1],)), reshape(var, (x.shape[1],)))
        return tuple(cast(v, inputs[0].dtype) for v in found)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        x, gamma, _ = (wide(v) for v in inputs)
        g, g_mean, g_var = (wide(v) for v in grads)
        axes = _batch_axes(x.rank)
        y, scale = standardised(x, axes, self.eps)
        d_gamma, d_beta = sum(mul(g, y), axes), sum(g, axes)
        count = scalar_like(count_of(x, axes), x)
        shares = (per_channel(div(d, count), x.rank) for d in (d_beta, d_gamma))
        inner = sub(sub(g, next(shares)), mul(y, next(shares)))
        dx = mul(mul(scale, per_channel(gamma, x.rank)), inner)
        # The statistics are seldom used beyond the running averages, which carry no gradient.
        if not _is_zero(grads[1]):
            dx = add(dx, per_channel(div(g_mean, count), x.rank))
        if not _is_zero(grads[2]):
            share = per_channel(div(mul(number(2.0, x), g_var), count), x.rank)
            dx = add(dx, mul(share, sub(x, mean(x, axes, keepdims=True))))
        return tuple(cast(v, given.dtype) for v, given in zip((dx, d_gamma, d_beta), inputs, strict=True))


@dataclass(frozen=True)
class LpNormalize(Op):
    """x / max(norm, eps) along one axis, where norm = (sum |x|^p)^(1/p).

    x: floats [...] -> the same. A line of zeros stays zeros while eps > 0, and is NaN with eps = 0. f16 and bf16
    compute in f32. Raises ArgumentError for an axis out of range, p <= 0 or a negative eps.
    Source: ONNX LpNormalization-22 (eps = 0); torch.nn.functional.normalize.
    """

    name: ClassVar[str] = "lp_normalize"
    args: ClassVar[tuple[str, ...]] = ("x",)
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "decompose"
    p: float = 2.0
    axis: int = 1
    eps: float = 1e-12

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        require("f", *types)
        axis_of(self.axis, types[0].rank)
        if not self.p > 0 or not self.eps >= 0:
            raise ArgumentError(f"p={self.p}, eps={self.eps}", help="p is positive, eps is not negative")
        return types[0]

    def ref(self, *arrays: Array) -> Array:
        def body(x: Array) -> Array:
            norm = np.sum(np.abs(x) ** self.p, self.axis, keepdims=True) ** (1.0 / self.p)
            return x / np.maximum(norm, self.eps)

        return in_double(body, arrays)

    def decompose(self, *inputs: Value) -> Value:
        def body(x: Value) -> Value:
            norm = _norm(x, self.p, self.axis)
            return div(x, maximum(norm, number(self.eps, x)) if self.eps > 0 else norm)

        return in_f32(body, inputs)


def _norm(x: Value, p: float, axis: int) -> Value:
    if p == 2:
        return l2_norm(x, axis, keepdims=True)
    if p == 1:
        return l1_norm(x, axis, keepdims=True)
    return pow(sum(pow(abs(x), number(p, x)), axis, keepdims=True), number(1.0 / p, x))


def per_channel(value: Value, rank: int) -> Value:
    """[C] as [1, C, 1, ...] of `rank` axes, to broadcast against [N, C, *S]."""
    return reshape(value, (1, *value.shape, *(1,) * (rank - 2)))


def _scaled_shifted(y: Value, affine: Sequence[Value]) -> Value:
    y = mul(y, affine[0]) if affine else y
    return add(y, affine[1]) if len(affine) > 1 else y


def _norm_vjp(op: NormGrad, inputs: Sequence[Value], grad: Value) -> Sequence[Value]:
    """The gradients of x, gamma and beta, as many as there are, from one op, each in its input's type."""
    x, *affine = (wide(v) for v in inputs)
    found = results(build(op, x, wide(grad), *affine[:1]))
    return tuple(cast(v, given.dtype) for v, given in zip(found, inputs, strict=False))


def _is_zero(value: Value) -> bool:
    return isinstance(value.op, Full) and value.op.value == 0


def _batch_axes(rank: int) -> tuple[int, ...]:
    return (0, *range(2, rank))


def _check_affine(types: Sequence[TensorType], most: int) -> None:
    if not 1 <= len(types) <= most:
        raise ArgumentError(f"it takes 1 to {most} inputs, {len(types)} were given")


def _check_channels(types: Sequence[TensorType], eps: float,
                    names: Sequence[str] = ("x", "gamma", "beta")) -> TensorType:  # fmt: skip
    check_eps(types, eps)
    x = types[0]
    if x.rank < 2:
        raise ShapeError(f"x is {x}: it has no channel axis", help="x is [N, C, ...]")
    for what, given in zip(names[1:], types[1:]):
        if given.shape != (x.shape[1],):
            raise ShapeError(f"{what} is {given}, x has {x.shape[1]} channels", help=f"{what} is [{x.shape[1]}]")
    return x


def _norm_scale(x: Array, axes: Sequence[int], eps: float, affine: Sequence[Array]) -> Array:
    with np.errstate(all="ignore"):
        y, _, var = standard_array(x, axes, eps)
        scale = np.abs(y) + mean_array(np.abs(x), axes) / np.sqrt(var + eps) + 1.0
        return _affine(scale, [np.abs(p) for p in affine])


def _affine(y: Array, affine: Sequence[Array]) -> Array:
    y = y * affine[0] if len(affine) > 0 else y
    return y + affine[1] if len(affine) > 1 else y


def _channel_array(p: Array, rank: int) -> Array:
    return p.reshape(1, p.shape[0], *(1,) * (rank - 2))


def _split_array(x: Array, groups: int) -> Array:
    return x.reshape(x.shape[0], groups, math.prod(x.shape[1:]) // groups)


def _inputs(x: Value, gamma: Value | None, beta: Value | None, name: str) -> tuple[Value, ...]:
    if gamma is None and beta is not None:
        raise ArgumentError(f"{name}: beta is given without gamma", help="give gamma as ones")
    return tuple(v for v in (x, gamma, beta) if v is not None)


def layer_norm(x: Value, gamma: Value | None = None, beta: Value | None = None, trailing: int = 1,
               eps: float = 1e-5) -> Value:  # fmt: skip
    """x standardised over its last `trailing` axes, times gamma, plus beta."""
    return build(LayerNorm(trailing, eps), *_inputs(x, gamma, beta, "layer_norm"))


def rms_norm(x: Value, gamma: Value | None = None, trailing: int = 1, eps: float = 1e-5) -> Value:
    """x over its root mean square along the last `trailing` axes, times gamma."""
    return build(RMSNorm(trailing, eps), *_inputs(x, gamma, None, "rms_norm"))


def group_norm(x: Value, groups: int, gamma: Value | None = None, beta: Value | None = None,
               eps: float = 1e-5) -> Value:  # fmt: skip
    """x [N, C, *S] standardised over groups of channels, times gamma [C], plus beta [C]."""
    return build(GroupNorm(groups, eps), *_inputs(x, gamma, beta, "group_norm"))


def instance_norm(x: Value, gamma: Value | None = None, beta: Value | None = None, eps: float = 1e-5) -> Value:
    """x [N, C, *S] standardised over each channel of each image, times gamma [C], plus beta [C]."""
    return build(InstanceNorm(eps), *_inputs(x, gamma, beta, "instance_norm"))


def batch_norm(x: Value, gamma: Value, beta: Value, mean: Value, var: Value, eps: float = 1e-5) -> Value:
    """x [N, C, *S] with given statistics [C] taken out, times gamma [C], plus beta [C]."""
    return build(BatchNorm(eps), x, gamma, beta, mean, var)


def batch_norm_training(x: Value, gamma: Value, beta: Value, eps: float = 1e-5) -> tuple[Value, Value, Value]:
    """x [N, C, *S] standardised by its own statistics, times gamma, plus beta; the mean; the biased variance."""
    y, mean, var = results(build(BatchNormTraining(eps), x, gamma, beta))
    return y, mean, var


def lp_normalize(x: Value, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Value:
    """x over its p-norm along an axis (torch.nn.functional.normalize)."""
    return build(LpNormalize(float(p), axis + x.rank if -x.rank <= axis < 0 else axis, eps), x)


def local_response_norm(x: Value, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Value:
    """x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta.

    x: [N, C, ...] -> the same; channels beyond the first and last count as 0. Of an even size, one channel more lies in
    front than behind (in ONNX LRN-13, behind). Raises ArgumentError unless size >= 1.
    Source: torch.nn.LocalResponseNorm; Krizhevsky et al. 2012, section 3.3.
    """
    if size < 1:
        raise ArgumentError(f"local_response_norm: size {size} is not a number >= 1")
    if x.rank < 2:
        raise ShapeError(f"local_response_norm: x is {x.tensor}: it has no channel axis", help="x is [N, C, ...]")
    inner: Dim = dim_product(x.shape[2:])
    rows = reshape(square(x), (x.shape[0], 1, x.shape[1], inner))
    power = reshape(avg_pool(rows, (size, 1), 1, (size // 2, 0, (size - 1) // 2, 0)), x.shape)
    return div(x, pow(add(number(k, x), mul(number(alpha, x), power)), number(beta, x)))


OPS: tuple[type[Op], ...] = (LayerNorm, RMSNorm, GroupNorm, InstanceNorm, BatchNorm, BatchNormTraining, LpNormalize)
