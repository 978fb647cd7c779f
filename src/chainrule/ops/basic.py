"""Ops that hold a graph together: constants, filled arrays, sizes as values, fused regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.ir.data import Data as Data
from chainrule.ir.dims import Dim, as_dim
from chainrule.ir.graph import Graph, Value, build, inline
from chainrule.ir.op import Array, Op
from chainrule.ir.types import DType, TensorType, TupleType, Type, f32, i64, type_of


@dataclass(frozen=True)
class Constant(Op):
    """The value of a fixed array. () -> data.shape. Source: ONNX Constant-13."""

    name: ClassVar[str] = "constant"
    gradient: ClassVar[str] = "zero"
    data: Data

    def infer(self, *types: TensorType) -> TensorType:
        return type_of(self.data.array)

    def ref(self, *arrays: Array) -> Array:
        return self.data.array


@dataclass(frozen=True)
class Full(Op):
    """Every element is `value`. () -> shape, which may hold symbols. Source: ONNX ConstantOfShape-9."""

    name: ClassVar[str] = "full"
    gradient: ClassVar[str] = "zero"
    value: float
    shape: tuple[Dim, ...] = ()
    dtype: DType = f32

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(self.dtype, self.shape)

    def ref(self, *arrays: Array) -> Array:
        return np.full(self.shape, self.value, self.dtype.numpy)  # type: ignore[arg-type]


@dataclass(frozen=True)
class SizeOf(Op):
    """A symbolic size as a number. () -> i64[]. Source: ONNX Shape-15 of the dim."""

    name: ClassVar[str] = "size"
    gradient: ClassVar[str] = "zero"
    dim: Dim

    def infer(self, *types: TensorType) -> TensorType:
        return TensorType(i64, ())

    def ref(self, *arrays: Array) -> Array:
        return np.asarray(self.dim, np.int64)


@dataclass(frozen=True)
class StopGradient(Op):
    """x itself; no gradient passes. x: any type -> the same. Source: ONNX Identity-1; torch.Tensor.detach."""

    name: ClassVar[str] = "stop_gradient"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "zero"

    def infer(self, *types: TensorType) -> TensorType:
        if len(types) != 1:
            raise ArgumentError(f"it takes 1 value, {len(types)} were given")
        return types[0]

    def ref(self, *arrays: Array) -> Array:
        return arrays[0]

    def decompose(self, *inputs: Value) -> Value:
        return inputs[0]


@dataclass(frozen=True)
class Fuse(Op):
    """A region: one op that means its body. inputs: those of the body; results: its outputs.

    kind names the shape of kernel that the region was formed for ("elementwise", "conv", "matmul", "reduce", ...).
    """

    name: ClassVar[str] = "fuse"
    args: ClassVar[tuple[str, ...]] = ("x*",)
    gradient: ClassVar[str] = "decompose"
    body: Graph
    kind: str = "elementwise"

    def infer(self, *types: TensorType) -> Type:
        if len(types) != len(self.body.inputs):
            raise ArgumentError(f"the region takes {len(self.body.inputs)} values, {len(types)} were given")
        outputs = tuple(v.tensor for v in self.body.outputs)
        return outputs[0] if len(outputs) == 1 else TupleType(outputs)

    def decompose(self, *inputs: Value) -> Value | tuple[Value, ...]:
        outputs = inline(self.body, inputs)
        return outputs[0] if len(outputs) == 1 else outputs


def constant(array: object, dtype: DType | None = None) -> Value:
    """The value of an array or number."""
    data = np.asarray(array) if dtype is None else np.asarray(array, dtype.numpy)
    return build(Constant(Data(data)))


def full(value: float, shape: Sequence[Dim], dtype: DType = f32) -> Value:
    """An array of one value."""
    return build(Full(value, tuple(as_dim(d) for d in shape), dtype))


def zeros_like(x: Value) -> Value:
    """Zeros of the type of x."""
    return full(0 if x.tensor.dtype.kind != "f" else 0.0, x.tensor.shape, x.tensor.dtype)


def ones_like(x: Value) -> Value:
    """Ones of the type of x."""
    return full(1 if x.tensor.dtype.kind != "f" else 1.0, x.tensor.shape, x.tensor.dtype)


def stop_gradient(x: Value) -> Value:
    """x, as a constant for differentiation."""
    return build(StopGradient(), x)


def size_of(dim: Dim) -> Value:
    """A size as an i64 scalar."""
    return constant(dim, i64) if isinstance(dim, int) else build(SizeOf(dim))


def scalar_like(value: float | Dim, x: Value) -> Value:
    """A number as a 0-d value of the element type of x; a symbolic size is cast to it."""
    if isinstance(value, int | float):
        return constant(value, x.tensor.dtype)
    from chainrule.ops.elementwise import cast

    return cast(size_of(value), x.tensor.dtype)


OPS: tuple[type[Op], ...] = (Constant, Full, SizeOf, StopGradient, Fuse)
