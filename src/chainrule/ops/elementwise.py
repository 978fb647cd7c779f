"""The forms of elementwise ops, and the ones all others build on: cast, where, arithmetic, minimum and maximum.

An elementwise op's element i depends on element i of its inputs alone, after numpy broadcasting. That is what fusion
asks: `isinstance(op, Elementwise)`. Derivatives refer to each other in circles, so ops of other files are imported
inside the functions that need them.

An op without attributes inherits being a frozen dataclass: decorating each class again would only cost import time
(0.4 ms a class).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, DTypeError
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import DType, TensorType, as_dtype
from chainrule.ops.basic import scalar_like, zeros_like
from chainrule.ops.shape_rules import broadcast_shapes, require, same_dtype


def expect_inputs(count: int, types: Sequence[TensorType]) -> None:
    """As many inputs as the op takes. Raises ArgumentError."""
    if len(types) != count:
        raise ArgumentError(f"it takes {count} inputs, {len(types)} were given")


def in_double(function: Callable[[Array], Array], x: Array) -> Array:
    """function computed in float64, rounded once to x's own float type."""
    with np.errstate(all="ignore"):
        return np.asarray(function(x.astype(np.float64))).astype(x.dtype)


def pair_in_double(function: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
    """function of two arrays computed in float64, rounded once to their own float type."""
    with np.errstate(all="ignore"):
        return np.asarray(function(a.astype(np.float64), b.astype(np.float64))).astype(a.dtype)


def quiet(function: Callable[..., Array], *arrays: Array) -> Array:
    """function of the arrays without numpy's warnings, as an array of their own type (integers wrap)."""
    with np.errstate(all="ignore"):
        return np.asarray(function(*arrays), arrays[0].dtype)


class Elementwise(Op):
    """The form of an op whose element i depends on element i of its inputs alone, broadcast as numpy does."""

    kinds: ClassVar[str] = "f"


class Unary(Elementwise):
    """The form of an elementwise op on one array. x: any shape, element type of `kinds` -> the same."""

    args: ClassVar[tuple[str, ...]] = ("x",)

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        require(self.kinds, *types)
        return types[0]


class Binary(Elementwise):
    """The form of an elementwise op on two arrays of one element type. a, b -> their broadcast."""

    args: ClassVar[tuple[str, ...]] = ("a", "b")

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        require(self.kinds, *types)
        return TensorType(same_dtype(*types), broadcast_shapes(*(t.shape for t in types)))


def sum_to(grad: Value, shape: Sequence[Dim]) -> Value:
    """grad summed over the axes that broadcasting `shape` added or stretched: it has that shape again."""
    from chainrule.ops.reduce import sum

    added = grad.rank - len(shape)
    if added:
        grad = sum(grad, tuple(range(added)))
    stretched = tuple(i for i, dim in enumerate(shape) if dim == 1 and grad.shape[i] != 1)
    return sum(grad, stretched, keepdims=True) if stretched else grad


@dataclass(frozen=True)
class Cast(Elementwise):
    """Each element converted to another element type. x: any -> x's shape, `dtype`.

    Float to integer drops the fraction and saturates, NaN gives 0; integer to integer wraps; to bool is "not zero"
    (NaN is true); float to float rounds to nearest even. The gradient passes between floats only.
    Source: ONNX Cast-19, with saturation made a promise.
    """

    name: ClassVar[str] = "cast"
    args: ClassVar[tuple[str, ...]] = ("x",)
    kinds: ClassVar[str] = "fiub"
    gradient: ClassVar[str] = "vjp"
    dtype: DType

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        return types[0].with_dtype(self.dtype)

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        with np.errstate(all="ignore"):
            if self.dtype.is_int and x.dtype.kind not in "iub":
                return _saturated(x.astype(np.float64), self.dtype)
            return x != 0 if self.dtype.is_bool else x.astype(self.dtype.numpy)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        if not (inputs[0].dtype.is_float and self.dtype.is_float):
            return (None,)
        return (cast(grads[0], inputs[0].dtype),)


def _saturated(x: Array, dtype: DType) -> Array:
    limits = np.iinfo(dtype.numpy)
    over, under = x >= float(limits.max) + (dtype.bits < 53), x <= float(limits.min)
    inside = np.where(over | under | np.isnan(x), 0.0, x).astype(dtype.numpy)
    return np.where(over, dtype.numpy.type(limits.max), np.where(under, dtype.numpy.type(limits.min), inside))


@dataclass(frozen=True)
class BitCast(Elementwise):
    """The same bits read as another element type of the same width. x: any but bool -> x's shape, `dtype`.

    Raises DTypeError where the widths differ. Source: ONNX BitCast (proposed); numpy's ndarray.view.
    """

    name: ClassVar[str] = "bitcast"
    args: ClassVar[tuple[str, ...]] = ("x",)
    kinds: ClassVar[str] = "fiu"
    gradient: ClassVar[str] = "zero"
    dtype: DType

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        require(self.kinds, *types)
        if self.dtype.bits != types[0].dtype.bits:
            raise DTypeError(f"{types[0].dtype} has {types[0].dtype.bits} bits, {self.dtype} has {self.dtype.bits}",
                             help="both element types have the same width; cast converts values")  # fmt: skip
        return types[0].with_dtype(self.dtype)

    def ref(self, *arrays: Array) -> Array:
        return np.ascontiguousarray(arrays[0]).reshape(arrays[0].shape).view(self.dtype.numpy)


class Where(Elementwise):
    """a where the condition holds, else b. condition: bool; a, b: one element type -> the broadcast of all three.

    Only the chosen value counts: NaN in the other one does not spread, in the gradient neither.
    Source: ONNX Where-16.
    """

    name: ClassVar[str] = "where"
    args: ClassVar[tuple[str, ...]] = ("condition", "a", "b")
    kinds: ClassVar[str] = "fiub"
    gradient: ClassVar[str] = "vjp"

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(3, types)
        condition, a, b = types
        if not condition.dtype.is_bool:
            raise DTypeError(f"the condition is {condition.dtype}, not bool", help="compare first: where(x > 0, a, b)")
        return TensorType(same_dtype(a, b), broadcast_shapes(condition.shape, a.shape, b.shape))

    def ref(self, *arrays: Array) -> Array:
        condition, a, b = arrays
        return np.where(condition, a, b)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        condition, a, b = inputs
        (g,) = grads
        zero = zeros_like(g)
        return (None, sum_to(where(condition, g, zero), a.shape), sum_to(where(condition, zero, g), b.shape))


class Add(Binary):
    """a + b. Integers wrap. Source: ONNX Add-14."""

    name: ClassVar[str] = "add"
    kinds: ClassVar[str] = "fiu"
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.add, *arrays)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        a, b = inputs
        return (sum_to(grads[0], a.shape), sum_to(grads[0], b.shape))


class Sub(Binary):
    """a - b. Integers wrap. Source: ONNX Sub-14."""

    name: ClassVar[str] = "sub"
    kinds: ClassVar[str] = "fiu"
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.subtract, *arrays)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        a, b = inputs
        return (sum_to(grads[0], a.shape), sum_to(neg(grads[0]), b.shape))


class Mul(Binary):
    """a * b. Integers wrap. Source: ONNX Mul-14."""

    name: ClassVar[str] = "mul"
    kinds: ClassVar[str] = "fiu"
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.multiply, *arrays)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        a, b = inputs
        (g,) = grads
        return (sum_to(mul(g, b), a.shape), sum_to(mul(g, a), b.shape))


class Div(Binary):
    """a / b. Floats as IEEE; integers drop the fraction, and x/0 = -1 (all bits set), INT_MIN/-1 = INT_MIN.

    The gradient of b is -g*(a/b)/b. Source: ONNX Div-14, made total.
    """

    name: ClassVar[str] = "div"
    kinds: ClassVar[str] = "fiu"
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        a, b = arrays
        return quiet(np.divide, a, b) if a.dtype.kind not in "iu" else truncated_quotient(a, b)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        a, b = inputs
        share = div(grads[0], b)
        return (sum_to(share, a.shape), sum_to(neg(mul(share, output)), b.shape))


def truncated_quotient(a: Array, b: Array) -> Array:
    """Integer a/b without its fraction; x/0 = -1, INT_MIN/-1 = INT_MIN."""
    with np.errstate(all="ignore"):
        down = floored_quotient(a, b)
        inexact = (b != 0) & (down * b != a)
        return np.asarray(down + (inexact & ((a < 0) != (b < 0))), a.dtype)


def floored_quotient(a: Array, b: Array) -> Array:
    """Integer floor(a/b); x/0 = -1, INT_MIN/-1 = INT_MIN."""
    with np.errstate(all="ignore"):
        if a.dtype.kind == "u":
            return np.where(
                b == 0, np.asarray(np.iinfo(a.dtype).max, a.dtype), a // np.where(b == 0, np.ones_like(b), b)
            )
        risky = (b == 0) | (b == -1)
        quotient = a // np.where(risky, np.ones_like(b), b)
        return np.where(b == 0, -np.ones((), a.dtype), np.where(b == -1, -a, quotient))


class Neg(Unary):
    """-x. -0 for 0; integers wrap. Source: ONNX Neg-13."""

    name: ClassVar[str] = "neg"
    kinds: ClassVar[str] = "fiu"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.negative, *arrays)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (neg(grads[0]),)


class Abs(Unary):
    """The absolute value. |-0| = 0, |INT_MIN| = INT_MIN; the gradient at 0 is 0. Source: ONNX Abs-13."""

    name: ClassVar[str] = "abs"
    kinds: ClassVar[str] = "fiu"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        return quiet(np.abs, *arrays)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        from chainrule.ops.arithmetic import sign

        return (mul(grads[0], sign(inputs[0])),)


class Maximum(Binary):
    """The larger of a and b; NaN where either is NaN; b where they are equal (the sign of a zero is not promised).

    At ties the gradient goes half to each. Source: ONNX Max-13 (two inputs); numpy.maximum; PyTorch's gradient.
    """

    name: ClassVar[str] = "maximum"
    kinds: ClassVar[str] = "fiu"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        a, b = arrays
        return np.where((a > b) | (a != a), a, b)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        a, b = inputs
        return _split_at_ties(grads[0], a, b, a, b)


class Minimum(Binary):
    """The smaller of a and b; NaN where either is NaN; b where they are equal (the sign of a zero is not promised).

    At ties the gradient goes half to each. Source: ONNX Min-13 (two inputs); numpy.minimum; PyTorch's gradient.
    """

    name: ClassVar[str] = "minimum"
    kinds: ClassVar[str] = "fiu"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        a, b = arrays
        return np.where((a < b) | (a != a), a, b)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        a, b = inputs
        return _split_at_ties(grads[0], a, b, b, a)


def _split_at_ties(grad: Value, a: Value, b: Value, large: Value, small: Value) -> tuple[Value, Value]:
    """The gradients of a and b: a has it where large > small, b where large < small, half each where they are equal."""
    from chainrule.ops.compare import eq, gt, lt

    zero = zeros_like(grad)
    half = where(eq(a, b), mul(grad, scalar_like(0.5, grad)), zero)
    to_a = where(gt(large, small), grad, half)
    to_b = where(lt(large, small), grad, half)
    return (sum_to(to_a, a.shape), sum_to(to_b, b.shape))


def cast(x: Value, dtype: object) -> Value:
    """x converted to another element type; x itself where it has it."""
    wanted = as_dtype(dtype)
    return x if x.dtype == wanted else build(Cast(wanted), x)


def bitcast(x: Value, dtype: object) -> Value:
    """The bits of x read as another element type of the same width."""
    return build(BitCast(as_dtype(dtype)), x)


def where(condition: Value, a: Value, b: Value) -> Value:
    """a where the condition holds, else b."""
    return build(Where(), condition, a, b)


def add(a: Value, b: Value) -> Value:
    """a + b."""
    return build(Add(), a, b)


def sub(a: Value, b: Value) -> Value:
    """a - b."""
    return build(Sub(), a, b)


def mul(a: Value, b: Value) -> Value:
    """a * b."""
    return build(Mul(), a, b)


def div(a: Value, b: Value) -> Value:
    """a / b; integers drop the fraction."""
    return build(Div(), a, b)


def neg(x: Value) -> Value:
    """-x."""
    return build(Neg(), x)


def abs(x: Value) -> Value:
    """The absolute value."""
    return build(Abs(), x)


def maximum(a: Value, b: Value) -> Value:
    """The larger of a and b; NaN where either is NaN."""
    return build(Maximum(), a, b)


def minimum(a: Value, b: Value) -> Value:
    """The smaller of a and b; NaN where either is NaN."""
    return build(Minimum(), a, b)


OPS: tuple[type[Op], ...] = (Cast, BitCast, Where, Add, Sub, Mul, Div, Neg, Abs, Maximum, Minimum)
