"""Gradients of pools for images with their channels last, which only the compiler makes: see ops/lowered.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ir.dims import Dim
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType
from chainrule.ops.elementwise import expect_inputs
from chainrule.ops.lowered import MADE_LATE
from chainrule.ops.pool import AvgPoolGrad, MaxPoolGrad


def _channels_first(x: TensorType) -> TensorType:
    if x.rank < 3:
        raise ShapeError(f"x has {x.rank} axes, 3 to 5 are expected", help="x is [N, *IMAGE, C]")
    return x.with_shape((x.shape[0], x.shape[-1], *x.shape[1:-1]))


def _channels_last(x: TensorType) -> TensorType:
    return x.with_shape((x.shape[0], *x.shape[2:], x.shape[1]))


@dataclass(frozen=True)
class MaxPoolGradLast(Op):
    """MaxPoolGrad of images with their channels last. x: [N, *S, C], dy: [N, *T, C] -> [N, *S, C].

    Places, ties, NaN and errors are those of MaxPoolGrad. Source: the gradient of ONNX MaxPool-12.
    """

    name: ClassVar[str] = "max_pool_grad_last"
    args: ClassVar[tuple[str, ...]] = ("x", "dy")
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = MADE_LATE
    window: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool = False

    @property
    def first(self) -> MaxPoolGrad:
        """The same op for images with their channels first."""
        return MaxPoolGrad(self.window, self.stride, self.pad, self.dilation, self.ceil_mode)

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        return _channels_last(self.first.infer(*(_channels_first(t) for t in types)))

    def ref(self, *arrays: Array) -> Array:
        dx = self.first.ref(*(np.moveaxis(a, -1, 1) for a in arrays))
        return np.ascontiguousarray(np.moveaxis(dx, 1, -1))

    def magnitude(self, *arrays: Array) -> Array:
        """The sum of |dy| at each place."""
        return self.ref(arrays[0], np.abs(arrays[1]))


@dataclass(frozen=True)
class AvgPoolGradLast(Op):
    """AvgPoolGrad of images with their channels last. dy: [N, *T, C] -> [N, *size, C].

    Divisors and errors are those of AvgPoolGrad. Source: the gradient of ONNX AveragePool-22.
    """

    name: ClassVar[str] = "avg_pool_grad_last"
    args: ClassVar[tuple[str, ...]] = ("dy",)
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = MADE_LATE
    size: tuple[Dim, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    ceil_mode: bool = False
    count_include_pad: bool = True

    @property
    def first(self) -> AvgPoolGrad:
        """The same op for images with their channels first."""
        return AvgPoolGrad(self.size, self.window, self.stride, self.pad, self.ceil_mode, self.count_include_pad)

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        return _channels_last(self.first.infer(_channels_first(types[0])))

    def ref(self, *arrays: Array) -> Array:
        return np.ascontiguousarray(np.moveaxis(self.first.ref(np.moveaxis(arrays[0], -1, 1)), 1, -1))


OPS: tuple[type[Op], ...] = (MaxPoolGradLast, AvgPoolGradLast)
