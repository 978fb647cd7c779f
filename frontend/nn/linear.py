"""Layers that are matrix products. Names, arguments, defaults and initialisation are PyTorch's."""

from __future__ import annotations

import math

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions import linear as functions
from chainrule.frontend.nn import init
from chainrule.frontend.nn.module import Module
from chainrule.frontend.places import error
from chainrule.frontend.stored import Parameter
from chainrule.frontend.tensor import Operand, Tensor, as_tensor
from chainrule.ir.types import as_dtype


def empty_parameter(*shape: int, dtype: object = None) -> Parameter:
    """A parameter of this shape, f32 by default, for an initialiser to fill. Raises ArgumentError for a bad size."""
    for size in shape:
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise error(ArgumentError, f"{size!r} is not a size", help="sizes of layers are non-negative ints")
    return Parameter(np.zeros(shape, as_dtype("f32" if dtype is None else dtype).numpy))


def init_like_linear(weight: Parameter, bias: Parameter | None) -> None:
    """Weight and bias uniform on +-1/sqrt(fan_in), as PyTorch's linear and convolution layers start."""
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        fan_in, _ = init.fans(weight.data.shape)
        bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
        init.uniform_(bias, -bound, bound)


class Identity(Module):
    """What it is given."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def forward(self, x: Operand) -> Operand:
        return x


class Linear(Module):
    """x @ weight.T + bias. x: [..., in_features] -> [..., out_features]; weight: [out_features, in_features]."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype: object = None) -> None:
        self.in_features, self.out_features = in_features, out_features
        self.weight = empty_parameter(out_features, in_features, dtype=dtype)
        self.bias = empty_parameter(out_features, dtype=dtype) if bias else None
        init_like_linear(self.weight, self.bias)

    def forward(self, x: Operand) -> Tensor:
        x = as_tensor(x, "linear")
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            last = f"x has {x.shape[-1]} features" if x.ndim else "x has no axis"
            raise error(ShapeError, f"linear: the layer takes {self.in_features} features, {last}",
                        notes=[f"x: {x.value.type}", f"weight: {self.weight!r}"],
                        help="the last axis of x is in_features; cr.flatten(x, 1) joins axes")  # fmt: skip
        return functions.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """x1 weight x2 + bias for each output. x1: [..., in1], x2: [..., in2] -> [..., out]; weight: [out, in1, in2]."""

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool = True,
                 dtype: object = None) -> None:  # fmt: skip
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        self.weight = empty_parameter(out_features, in1_features, in2_features, dtype=dtype)
        self.bias = empty_parameter(out_features, dtype=dtype) if bias else None
        bound = 1 / math.sqrt(in1_features) if in1_features else 0.0
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Operand, input2: Operand) -> Tensor:
        return functions.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
                f"out_features={self.out_features}, bias={self.bias is not None}")  # fmt: skip
