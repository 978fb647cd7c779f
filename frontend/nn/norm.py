"""Normalisation layers. Names, arguments, defaults and state_dict keys are PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions import norms
from chainrule.frontend.functions.elementwise import astype
from chainrule.frontend.nn import init
from chainrule.frontend.nn.linear import empty_parameter
from chainrule.frontend.nn.module import Module
from chainrule.frontend.places import error, located
from chainrule.frontend.stored import Buffer, Parameter
from chainrule.frontend.tensor import Operand, Tensor, as_tensor, float_value_of, wrap
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Value
from chainrule.ir.types import as_dtype
from chainrule.ops import elementwise
from chainrule.ops import norm as builders
from chainrule.ops.basic import scalar_like


class BatchNorm(Module):
    """What the batch norms share: x [N, C, *S] standardised by channel, times weight [C], plus bias [C].

    In training (and without running statistics) mean and variance are those of the batch; in training the running ones
    move towards them by `momentum` (momentum=None: they are the mean of all batches so far), the variance with divisor
    count - 1. Otherwise the running ones are used. Source: Ioffe and Szegedy 2015; torch.nn.BatchNorm2d.
    """

    ranks: tuple[int, ...] = ()
    form = ""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: object = None,
        bias: bool = True,
    ) -> None:
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight, self.bias = _affine(affine, (num_features,), dtype, bias)
        self.running_mean, self.running_var, self.num_batches_tracked = _running(
            track_running_stats, num_features, dtype)  # fmt: skip

    def forward(self, x: Operand) -> Tensor:
        what = type(self).__name__
        value = float_value_of(x, what)
        if value.rank not in self.ranks or value.shape[1] != self.num_features:
            raise error(ShapeError, f"{what}: the layer takes {self.form} with C = {self.num_features}",
                        notes=[f"x: {value.type}"], help="axis 1 of x holds the channels")  # fmt: skip
        if not self.training and self.running_mean is not None and self.running_var is not None:
            return norms.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)
        with located():
            gamma, beta = norms.affine(value, self.weight, self.bias, what)
            y, mean, var = builders.batch_norm_training(value, gamma, beta, self.eps)
            if self.training:
                self._track(mean, var, dim_product(d for i, d in enumerate(value.shape) if i != 1))
            return wrap(y)

    def _track(self, mean: Value, var: Value, count: Dim) -> None:
        """Moves the running statistics towards those of a batch of `count` elements for each channel."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        seen = self.num_batches_tracked + 1
        self.num_batches_tracked.assign(seen)
        many = scalar_like(count, var)
        unbiased = elementwise.mul(var, elementwise.div(many, elementwise.sub(many, scalar_like(1, var))))
        for buffer, batch in ((self.running_mean, wrap(mean)), (self.running_var, wrap(unbiased))):
            share = 1.0 / astype(seen, buffer.data.dtype) if self.momentum is None else self.momentum
            buffer.assign((1 - share) * buffer + share * batch)

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"track_running_stats={self.track_running_stats}")  # fmt: skip


class BatchNorm1d(BatchNorm):
    """Batch norm of x [N, C] or [N, C, T]."""

    ranks = (2, 3)
    form = "[N, C] or [N, C, T]"


class BatchNorm2d(BatchNorm):
    """Batch norm of x [N, C, H, W]."""

    ranks = (4,)
    form = "[N, C, H, W]"


class BatchNorm3d(BatchNorm):
    """Batch norm of x [N, C, D, H, W]."""

    ranks = (5,)
    form = "[N, C, D, H, W]"


class LayerNorm(Module):
    """x standardised over its last axes (normalized_shape), times weight, plus bias. Source: Ba et al. 2016."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: object = None,
    ) -> None:
        self.normalized_shape = _shape(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.weight, self.bias = _affine(elementwise_affine, self.normalized_shape, dtype, bias)

    def forward(self, x: Operand) -> Tensor:
        return norms.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class RMSNorm(Module):
    """x over its root mean square along its last axes, times weight. Source: Zhang and Sennrich 2019."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        dtype: object = None,
    ) -> None:
        self.normalized_shape = _shape(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        self.weight, _ = _affine(elementwise_affine, self.normalized_shape, dtype, bias=False)

    def forward(self, x: Operand) -> Tensor:
        return norms.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """x [N, C, *S] standardised over groups of channels, times weight [C], plus bias [C]. Source: Wu and He 2018."""

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, dtype: object = None,
        bias: bool = True,
    ) -> None:  # fmt: skip
        if num_groups < 1 or num_channels % num_groups:
            raise error(ArgumentError, f"GroupNorm: {num_channels} channels do not divide into {num_groups} groups",
                        help="num_groups divides num_channels")  # fmt: skip
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self.weight, self.bias = _affine(affine, (num_channels,), dtype, bias)

    def forward(self, x: Operand) -> Tensor:
        return norms.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class InstanceNorm(Module):
    """What the instance norms share: each channel of each image standardised, times weight [C], plus bias [C].

    With track_running_stats the running mean and variance move in training towards the mean of those of the images, by
    `momentum`, and stand for them otherwise. Source: Ulyanov et al. 2016; torch.nn.InstanceNorm2d.
    """

    rank = 0

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        dtype: object = None,
        bias: bool = True,
    ) -> None:
        self.num_features, self.eps, self.momentum, self.affine = num_features, eps, momentum, affine
        self.track_running_stats = track_running_stats
        self.weight, self.bias = _affine(affine, (num_features,), dtype, bias)
        self.running_mean, self.running_var, self.num_batches_tracked = _running(
            track_running_stats, num_features, dtype)  # fmt: skip

    def forward(self, x: Operand) -> Tensor:
        x = as_tensor(x, type(self).__name__)
        alone = x.ndim == self.rank + 1
        if x.ndim - 2 + alone != self.rank or x.shape[1 - alone] != self.num_features:
            wanted = f"{self.rank + 2} axes with C = {self.num_features}"
            raise error(ShapeError, f"{type(self).__name__}: the layer takes {wanted}",
                        notes=[f"x: {x.value.type}"], help="x is [N, C, *S], or [C, *S]")  # fmt: skip
        y = self._normalised(x[None] if alone else x)
        return y[0] if alone else y

    def _normalised(self, x: Tensor) -> Tensor:
        if self.running_mean is None or self.running_var is None:
            return norms.instance_norm(x, self.weight, self.bias, self.eps)
        if not self.training:
            return norms.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)
        share, image = self.momentum or 0.0, tuple(range(2, x.ndim))
        for buffer, batch in ((self.running_mean, x.mean(image)), (self.running_var, x.var(image, ddof=1))):
            buffer.assign((1 - share) * buffer + share * astype(batch.mean(0), buffer.data.dtype))
        return norms.instance_norm(x, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"track_running_stats={self.track_running_stats}")  # fmt: skip


class InstanceNorm1d(InstanceNorm):
    """Instance norm of x [N, C, T]."""

    rank = 1


class InstanceNorm2d(InstanceNorm):
    """Instance norm of x [N, C, H, W]."""

    rank = 2


class InstanceNorm3d(InstanceNorm):
    """Instance norm of x [N, C, D, H, W]."""

    rank = 3


class LocalResponseNorm(Module):
    """x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta. Source: Krizhevsky et al. 2012."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Operand) -> Tensor:
        return norms.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def _affine(
    wanted: bool, shape: Sequence[int], dtype: object, bias: bool = True
) -> tuple[Parameter | None, Parameter | None]:
    """A weight of ones and a bias of zeros, where they are wanted."""
    if not wanted:
        return None, None
    weight = empty_parameter(*shape, dtype=dtype)
    init.ones_(weight)
    return weight, empty_parameter(*shape, dtype=dtype) if bias else None


def _running(
    wanted: bool, count: int, dtype: object
) -> tuple[Buffer, Buffer, Buffer] | tuple[None, None, None]:
    """A running mean of zeros and variance of ones, and how many batches they have seen, where they are wanted."""
    if not wanted:
        return None, None, None
    kind = as_dtype("f32" if dtype is None else dtype).numpy
    return Buffer(np.zeros(count, kind)), Buffer(np.ones(count, kind)), Buffer(np.zeros((), np.int64))


def _shape(sizes: int | Sequence[int]) -> tuple[int, ...]:
    return (sizes,) if isinstance(sizes, int) else tuple(sizes)
