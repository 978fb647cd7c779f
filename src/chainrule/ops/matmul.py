"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ir.dims import dim_product
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import DType, TensorType
from chainrule.ops.elementwise import expect_inputs, sum_to
from chainrule.ops.shape_rules import broadcast_shapes, same_dtype
from chainrule.ops.shaping import reshape

_ELEMENTS = ("f32", "f64", "f16", "bf16", "i32", "i64", "u32", "u64")


@dataclass(frozen=True)
class MatMul(Op):
    """y[..., m, n] = sum over k of a[..., m, k] * b[..., k, n], leading axes broadcast.

    a: [..., M, K] ([..., K, M] with transpose_a), b: [..., K, N] ([..., N, K] with transpose_b) -> [..., M, N].
    K = 0 gives zeros. f16 and bf16 accumulate in f32 and round once; i32, i64, u32, u64 wrap. NaN and infinities
    propagate through every product, also with 0. Raises ShapeError when the inner sizes differ, when leading axes do
    not broadcast or an operand has fewer than 2 axes; DTypeError for small integers and bool.
    Source: ONNX MatMul-13, with Gemm-13's transposes; numpy.matmul; torch.matmul.
    """

    name: ClassVar[str] = "matmul"
    args: ClassVar[tuple[str, ...]] = ("a", "b")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "vjp"
    transpose_a: bool = False
    transpose_b: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        a, b = types
        dtype = same_dtype(a, b)
        require_product(dtype)
        if a.rank < 2 or b.rank < 2:
            raise ShapeError(f"{a} and {b} are not both matrices", help="reshape a vector to [1,K] or [K,1]")
        m, k = a.shape[-2:] if not self.transpose_a else a.shape[:-3:-1]
        inner, n = b.shape[-2:] if not self.transpose_b else b.shape[:-3:-1]
        if k != inner:
            raise ShapeError(f"the inner sizes differ: a has {k}, b has {inner}",
                             help=f"a is {_layout('M', 'K', self.transpose_a)}, "
                                  f"b is {_layout('K', 'N', self.transpose_b)}", apart=(k, inner))  # fmt: skip
        return TensorType(dtype, (*broadcast_shapes(a.shape[:-2], b.shape[:-2]), m, n))

    def ref(self, *arrays: Array) -> Array:
        a, b = (x.astype(accumulator(x.dtype), copy=False) for x in arrays)
        left = np.swapaxes(a, -1, -2) if self.transpose_a else a
        right = np.swapaxes(b, -1, -2) if self.transpose_b else b
        with np.errstate(all="ignore"):
            return np.matmul(left, right).astype(arrays[0].dtype, copy=False)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        a, b = inputs
        (dy,) = grads
        if b.rank == 2 and a.rank > 2 and not self.transpose_a:
            # One product over all rows: as a batch, the gradient of b would be a sum of as many matrices.
            return self._flat_vjp(a, b, dy)
        da = product(b, dy, self.transpose_b, True) if self.transpose_a else product(dy, b, False, not self.transpose_b)
        db = product(dy, a, True, self.transpose_a) if self.transpose_b else product(a, dy, not self.transpose_a, False)
        return sum_to(da, a.shape), sum_to(db, b.shape)

    def _flat_vjp(self, a: Value, b: Value, dy: Value) -> tuple[Value, Value]:
        rows = dim_product(a.shape[:-1])
        flat_a, flat_dy = reshape(a, (rows, a.shape[-1])), reshape(dy, (rows, dy.shape[-1]))
        da = product(flat_dy, b, False, not self.transpose_b)
        db = product(flat_dy, flat_a, True, False) if self.transpose_b else product(flat_a, flat_dy, True, False)
        return reshape(da, a.shape), db


def _layout(rows: str, columns: str, transposed: bool) -> str:
    return f"[...,{columns},{rows}]" if transposed else f"[...,{rows},{columns}]"


def require_product(dtype: DType) -> None:
    """The element type is one that sums of products are defined for. Raises DTypeError."""
    if dtype.name not in _ELEMENTS:
        raise DTypeError(f"{dtype} is not among its element types", help="it takes " + ", ".join(_ELEMENTS))


def accumulator(dtype: np.dtype) -> np.dtype:
    """The element type that sums of products of dtype are kept in: f32 for half precision, else itself."""
    return np.dtype(np.float32) if dtype.itemsize == 2 and dtype.kind in "fV" else dtype


def product(a: Value, b: Value, transpose_a: bool, transpose_b: bool) -> Value:
    """The matrix product with the last two axes of either operand swapped."""
    return build(MatMul(transpose_a, transpose_b), a, b)


def matmul(a: Value, b: Value, transpose_a: bool = False, transpose_b: bool = False) -> Value:
    """numpy.matmul: matrices in the last two axes, leading axes broadcast; a 1-d operand is a row (a) or column (b)."""
    if a.rank == 0 or b.rank == 0:
        return product(a, b, transpose_a, transpose_b)
    row, column = a.rank == 1, b.rank == 1
    left = reshape(a, (1, *a.shape)) if row else a
    right = reshape(b, (*b.shape, 1)) if column else b
    y = product(left, right, transpose_a and not row, transpose_b and not column)
    if not row and not column:
        return y
    shape = y.shape[:-2] + (() if row else y.shape[-2:-1]) + (() if column else y.shape[-1:])
    return reshape(y, shape)


def linear(x: Value, weight: Value) -> Value:
    """x @ weight.T. x: [..., IN], weight: [OUT, IN] -> [..., OUT]. Source: torch.nn.functional.linear without bias."""
    return matmul(x, weight, transpose_b=True)


def dot(a: Value, b: Value) -> Value:
    """The inner product of two vectors. [K], [K] -> []."""
    if a.rank != 1 or b.rank != 1:
        raise ShapeError(f"dot: {a.tensor} and {b.tensor} are not both vectors", help="matmul takes matrices")
    return matmul(a, b)


def outer(a: Value, b: Value) -> Value:
    """Every product of an element of a with one of b. [M], [N] -> [M, N]."""
    if a.rank != 1 or b.rank != 1:
        raise ShapeError(f"outer: {a.tensor} and {b.tensor} are not both vectors", help="flatten them first")
    return matmul(reshape(a, (*a.shape, 1)), reshape(b, (1, *b.shape)))


OPS: tuple[type[Op], ...] = (MatMul,)
