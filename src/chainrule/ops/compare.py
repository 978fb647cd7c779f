"""Comparisons, logic on bools, and operations on bits."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, bool_
from chainrule.ops.elementwise import Binary, Unary, quiet


class Comparison(Binary):
    """The form of a comparison. a, b: one element type -> bool, their broadcast. No gradient passes."""

    kinds: ClassVar[str] = "fiu"
    gradient: ClassVar[str] = "zero"

    def infer(self, *types: TensorType) -> TensorType:
        return Binary.infer(self, *types).with_dtype(bool_)


class Eq(Comparison):
    """a equals b; NaN equals nothing, -0 equals 0. Source: ONNX Equal-19."""

    name: ClassVar[str] = "eq"
    kinds: ClassVar[str] = "fiub"

    def ref(self, *arrays: Array) -> Array:
        return np.asarray(np.equal(*arrays), np.bool_)


class Ne(Comparison):
    """a differs from b; NaN differs from all. Source: ONNX Not(Equal-19)."""

    name: ClassVar[str] = "ne"
    kinds: ClassVar[str] = "fiub"

    def ref(self, *arrays: Array) -> Array:
        return np.asarray(np.not_equal(*arrays), np.bool_)


class Lt(Comparison):
    """a < b; false where either is NaN. Source: ONNX Less-13."""

    name: ClassVar[str] = "lt"

    def ref(self, *arrays: Array) -> Array:
        return np.asarray(np.less(*arrays), np.bool_)


class Le(Comparison):
    """a <= b; false where either is NaN. Source: ONNX LessOrEqual-16."""

    name: ClassVar[str] = "le"

    def ref(self, *arrays: Array) -> Array:
        return np.asarray(np.less_equal(*arrays), np.bool_)


class Gt(Comparison):
    """a > b; false where either is NaN. Source: ONNX Greater-13."""

    name: ClassVar[str] = "gt"

    def ref(self, *arrays: Array) -> Array:
        return np.asarray(np.greater(*arrays), np.bool_)


class Ge(Comparison):
    """a >= b; false where either is NaN. Source: ONNX GreaterOrEqual-16."""

    name: ClassVar[str] = "ge"

    def ref(self, *arrays: Array) -> Array:
        return np.asarray(np.greater_equal(*arrays), np.bool_)


class LogicalAnd(Binary):
    """Both hold. a, b: bool -> bool. Source: ONNX And-7."""

    name: ClassVar[str] = "logical_and"
    kinds: ClassVar[str] = "b"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.logical_and, *arrays)


class LogicalOr(Binary):
    """One of them holds, or both. a, b: bool -> bool. Source: ONNX Or-7."""

    name: ClassVar[str] = "logical_or"
    kinds: ClassVar[str] = "b"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.logical_or, *arrays)


class LogicalXor(Binary):
    """Just one of them holds. a, b: bool -> bool. Source: ONNX Xor-7."""

    name: ClassVar[str] = "logical_xor"
    kinds: ClassVar[str] = "b"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.logical_xor, *arrays)


class LogicalNot(Unary):
    """It does not hold. x: bool -> bool. Source: ONNX Not-1."""

    name: ClassVar[str] = "logical_not"
    kinds: ClassVar[str] = "b"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.logical_not, *arrays)


class BitAnd(Binary):
    """Each bit that both have. a, b: integers of one type. Source: ONNX BitwiseAnd-18."""

    name: ClassVar[str] = "bitwise_and"
    kinds: ClassVar[str] = "iu"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.bitwise_and, *arrays)


class BitOr(Binary):
    """Each bit that one of them has. a, b: integers of one type. Source: ONNX BitwiseOr-18."""

    name: ClassVar[str] = "bitwise_or"
    kinds: ClassVar[str] = "iu"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.bitwise_or, *arrays)


class BitXor(Binary):
    """Each bit that just one of them has. a, b: integers of one type. Source: ONNX BitwiseXor-18."""

    name: ClassVar[str] = "bitwise_xor"
    kinds: ClassVar[str] = "iu"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.bitwise_xor, *arrays)


class BitNot(Unary):
    """Each bit turned. x: integers. Source: ONNX BitwiseNot-18."""

    name: ClassVar[str] = "bitwise_not"
    kinds: ClassVar[str] = "iu"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.bitwise_not, *arrays)


class ShiftLeft(Binary):
    """The bits of a moved up by b places, zeros coming in. a, b: integers of one type.

    The count is clamped: below 0 it is 0; at the width or more, all bits leave and 0 is left.
    Source: ONNX BitShift-11 (LEFT), made total.
    """

    name: ClassVar[str] = "shift_left"
    kinds: ClassVar[str] = "iu"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        a, b = arrays
        width = a.dtype.itemsize * 8
        moved = np.left_shift(a, np.clip(b, 0, width - 1))
        return np.where(b >= width, np.zeros((), a.dtype), moved)


class ShiftRight(Binary):
    """The bits of a moved down by b places; copies of the sign come in, zeros for unsigned. a, b: integers of one type.

    The count is clamped: below 0 it is 0; at the width or more, the sign (0 or -1) is left.
    Source: ONNX BitShift-11 (RIGHT), made total.
    """

    name: ClassVar[str] = "shift_right"
    kinds: ClassVar[str] = "iu"
    gradient: ClassVar[str] = "zero"

    def ref(self, *arrays: Array) -> Array:
        a, b = arrays
        width = a.dtype.itemsize * 8
        last = np.right_shift(a, np.asarray(width - 1, a.dtype))
        spent = np.zeros((), a.dtype) if a.dtype.kind == "u" else last
        return np.where(b >= width, spent, np.right_shift(a, np.clip(b, 0, width - 1)))


def eq(a: Value, b: Value) -> Value:
    """a equals b."""
    return build(Eq(), a, b)


def ne(a: Value, b: Value) -> Value:
    """a differs from b."""
    return build(Ne(), a, b)


def lt(a: Value, b: Value) -> Value:
    """a < b."""
    return build(Lt(), a, b)


def le(a: Value, b: Value) -> Value:
    """a <= b."""
    return build(Le(), a, b)


def gt(a: Value, b: Value) -> Value:
    """a > b."""
    return build(Gt(), a, b)


def ge(a: Value, b: Value) -> Value:
    """a >= b."""
    return build(Ge(), a, b)


def logical_and(a: Value, b: Value) -> Value:
    """Both hold."""
    return build(LogicalAnd(), a, b)


def logical_or(a: Value, b: Value) -> Value:
    """One of them holds, or both."""
    return build(LogicalOr(), a, b)


def logical_xor(a: Value, b: Value) -> Value:
    """Just one of them holds."""
    return build(LogicalXor(), a, b)


def logical_not(x: Value) -> Value:
    """It does not hold."""
    return build(LogicalNot(), x)


def bitwise_and(a: Value, b: Value) -> Value:
    """Each bit that both have."""
    return build(BitAnd(), a, b)


def bitwise_or(a: Value, b: Value) -> Value:
    """Each bit that one of them has."""
    return build(BitOr(), a, b)


def bitwise_xor(a: Value, b: Value) -> Value:
    """Each bit that just one of them has."""
    return build(BitXor(), a, b)


def bitwise_not(x: Value) -> Value:
    """Each bit turned."""
    return build(BitNot(), x)


def shift_left(a: Value, b: Value) -> Value:
    """The bits of a moved up by b places; the count is clamped."""
    return build(ShiftLeft(), a, b)


def shift_right(a: Value, b: Value) -> Value:
    """The bits of a moved down by b places, keeping the sign; the count is clamped."""
    return build(ShiftRight(), a, b)


OPS: tuple[type[Op], ...] = (Eq, Ne, Lt, Le, Gt, Ge, LogicalAnd, LogicalOr, LogicalXor, LogicalNot,
       BitAnd, BitOr, BitXor, BitNot, ShiftLeft, ShiftRight)  # fmt: skip
