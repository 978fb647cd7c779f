"""The code of every elementwise op on scalars and vectors: one table from op class to builder calls.

An entry gets the builder, the op and its operands (half precision already widened to f32) and gives the result, before
rounding to the op's own type. An elementwise op without an entry is compiled through its decomposition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from chainrule.backends.llvm.kernels import vector_math as vm
from chainrule.backends.loops import Builder
from chainrule.backends.loops import Value as V
from chainrule.ir.op import Op
from chainrule.ir.types import DType, f32, i32
from chainrule.ops import (
    activations,
    activations_smooth,
    arithmetic,
    compare,
    elementwise,
    quantise,
    transcendental,
    trigonometric,
)

Emit = Callable[[Builder, Op, Sequence[V], Sequence[DType]], V]


def emit_scalar(k: Builder, op: Op, operands: Sequence[V], dtypes: Sequence[DType]) -> V:
    """The op's result for operands of equal lanes; dtypes: the operands' own types in the graph."""
    return SCALAR_OPS[type(op)](k, op, operands, dtypes)


def has_scalar(op: Op) -> bool:
    """True when the table has the op in this form."""
    if isinstance(op, arithmetic.Remainder | arithmetic.FloorDivide):
        return True
    return type(op) in SCALAR_OPS


def _unary(method: Callable[[Builder, V], V]) -> Emit:
    return lambda k, op, v, t: method(k, v[0])


def _binary(method: Callable[[Builder, V, V], V]) -> Emit:
    return lambda k, op, v, t: method(k, v[0], v[1])


def _compare(kind: str) -> Emit:
    return lambda k, op, v, t: k.cmp(kind, v[0], v[1])


def _cast(k: Builder, op: Op, v: Sequence[V], t: Sequence[DType]) -> V:
    assert isinstance(op, elementwise.Cast)
    return k.cast(v[0], op.dtype)


def _bitcast(k: Builder, op: Op, v: Sequence[V], t: Sequence[DType]) -> V:
    assert isinstance(op, elementwise.BitCast)
    return k.bitcast(k.cast(v[0], t[0]), op.dtype)


def maximum(k: Builder, a: V, b: V) -> V:
    """NaN if either is NaN; a where equal, as numpy gives."""
    if not a.dtype.is_float:
        return k.max(a, b)
    return k.select(k.or_(k.cmp("ge", a, b), k.cmp("ne", a, a)), a, b)


def minimum(k: Builder, a: V, b: V) -> V:
    """NaN if either is NaN; a where equal, as numpy gives."""
    if not a.dtype.is_float:
        return k.min(a, b)
    return k.select(k.or_(k.cmp("le", a, b), k.cmp("ne", a, a)), a, b)


def _relu(k: Builder, x: V) -> V:
    """0 where x < 0, else x: NaN and -0 stay."""
    return k.select(k.cmp("lt", x, 0), k.const(0, x.dtype), x)


def _sign(k: Builder, x: V) -> V:
    one, zero = k.const(1, x.dtype), k.const(0, x.dtype)
    if not x.dtype.is_signed:
        return k.select(k.cmp("gt", x, 0), one, zero)
    signs = k.select(k.cmp("gt", x, 0), one, k.select(k.cmp("lt", x, 0), k.const(-1, x.dtype), zero))
    return k.select(k.cmp("ne", x, x), x, signs) if x.dtype.is_float else signs


def _clip(k: Builder, op: Op, v: Sequence[V], t: Sequence[DType]) -> V:
    assert isinstance(op, arithmetic.Clip)
    low, high = (k.const(bound.item(), v[0].dtype) for bound in op.bounds(t[0].numpy))
    raised = k.select(k.cmp("lt", v[0], low), low, v[0])
    return k.select(k.cmp("gt", raised, high), high, raised)


_MAGIC = 3 << 22  # f32 numbers around it lie 1 apart: adding it rounds to whole numbers, halves to even


def _round_to(k: Builder, op: Op, v: Sequence[V], t: Sequence[DType]) -> V:
    """Clamped before it is rounded, as both ends are whole numbers; in f32 the rounded number is the sum's low bits."""
    assert isinstance(op, quantise.RoundTo)
    x, zero = v[0], k.cast(v[1], i32)
    low, high = (k.cast(k.sub(k.const(n, i32, x.lanes), zero), x.dtype) for n in quantise.limits(op.dtype, op.bits))
    bounded = k.min(k.max(x, low), high)  # max gives its second operand for NaN
    if x.dtype == f32:
        steps = k.bitcast(k.add(bounded, k.const(_MAGIC, f32, x.lanes)), i32)
        return k.cast(k.add(steps, zero), op.dtype)  # the magic number's own low 16 bits are 0
    return k.cast(k.add(k.cast(k.rint(bounded), i32), zero), op.dtype)


def _floored(k: Builder, a: V, b: V) -> V:
    """The floor of an integer quotient, total: the truncated one, less 1 where a remainder has the other sign."""
    quotient = k.div(a, b)
    if not a.dtype.is_signed:
        return quotient
    rest = k.rem(a, b)
    apart = k.and_(k.cmp("ne", rest, 0), k.cmp("lt", k.xor_(rest, b), 0))
    down = k.and_(apart, k.cmp("ne", b, 0))
    return k.select(down, k.sub(quotient, 1), quotient)


def _remainder(k: Builder, a: V, b: V) -> V:
    rest = k.rem(a, b)
    if a.dtype.is_float:
        apart = k.and_(k.cmp("ne", rest, 0), k.xor_(k.cmp("lt", b, 0), k.cmp("lt", rest, 0)))
        return k.select(k.cmp("eq", rest, 0), k.copysign(k.const(0, a.dtype), b), k.select(apart, k.add(rest, b), rest))
    if not a.dtype.is_signed:
        return rest
    apart = k.and_(k.and_(k.cmp("ne", rest, 0), k.cmp("ne", b, 0)), k.cmp("lt", k.xor_(rest, b), 0))
    return k.select(apart, k.add(rest, b), rest)


def _floor_divide(k: Builder, a: V, b: V) -> V:
    """numpy's: the quotient of what the remainder leaves, snapped to the nearest whole number."""
    if not a.dtype.is_float:
        return _floored(k, a, b)
    rest = k.rem(a, b)
    apart = k.and_(k.cmp("ne", rest, 0), k.xor_(k.cmp("lt", b, 0), k.cmp("lt", rest, 0)))
    quotient = k.div(k.sub(a, rest), b)
    quotient = k.select(apart, k.sub(quotient, 1), quotient)
    whole = k.floor(quotient)
    whole = k.select(k.cmp("gt", k.sub(quotient, whole), 0.5), k.add(whole, 1), whole)
    exact = k.div(a, b)
    signed = k.select(k.cmp("eq", quotient, 0), k.copysign(k.const(0, a.dtype), exact), whole)
    return k.select(k.cmp("eq", b, 0), exact, signed)


def _shift(left: bool) -> Emit:
    def emit(k: Builder, op: Op, v: Sequence[V], t: Sequence[DType]) -> V:
        a, b = v
        count = k.max(b, k.const(0, b.dtype)) if b.dtype.is_signed else b
        return k.shl(a, count) if left else k.shr(a, count)

    return emit


def _is_inf(k: Builder, x: V) -> V:
    return k.cmp("eq", k.abs(x), math.inf)


def _is_finite(k: Builder, x: V) -> V:
    return k.cmp("lt", k.abs(x), math.inf)


def _square(k: Builder, x: V) -> V:
    return k.mul(x, x)


def _reciprocal(k: Builder, x: V) -> V:
    return k.div(k.const(1.0, x.dtype, x.lanes), x)


def _gelu(k: Builder, op: Op, v: Sequence[V], t: Sequence[DType]) -> V:
    assert isinstance(op, activations_smooth.Gelu)
    return vm.gelu(k, v[0]) if op.approximate == "none" else vm.gelu_tanh(k, v[0])


def _pow(k: Builder, op: Op, v: Sequence[V], t: Sequence[DType]) -> V:
    return vm.pow(k, v[0], v[1]) if v[0].dtype.is_float else _integer_pow(k, v[0], v[1])


def _integer_pow(k: Builder, base: V, exponent: V) -> V:
    """Repeated squaring over the exponent's bits; wraps. A negative exponent gives the truncated 1 / base**n."""
    one, zero = k.const(1, base.dtype, base.lanes), k.const(0, base.dtype, base.lanes)
    result, square, rest = one, base, exponent
    for _ in range(base.dtype.bits):
        odd = k.cmp("ne", k.and_(rest, 1), 0)
        result = k.select(odd, k.mul(result, square), result)
        square = k.mul(square, square)
        rest = k.shr(rest, 1)
    if not base.dtype.is_signed:
        return result
    odd = k.cmp("ne", k.and_(exponent, 1), 0)
    alternating = k.select(odd, k.const(-1, base.dtype, base.lanes), one)
    inverse = k.select(k.cmp("eq", base, 1), one, k.select(k.cmp("eq", base, -1), alternating, zero))
    return k.select(k.cmp("lt", exponent, 0), inverse, result)


E, A, C, T, G, S = elementwise, arithmetic, compare, transcendental, trigonometric, activations_smooth

SCALAR_OPS: Mapping[type[Op], Emit] = {
    E.Add: _binary(Builder.add), E.Sub: _binary(Builder.sub), E.Mul: _binary(Builder.mul), E.Div: _binary(Builder.div),
    E.Neg: _unary(Builder.neg), E.Abs: _unary(lambda k, x: k.abs(x) if x.dtype.is_signed else x),
    E.Maximum: _binary(maximum), E.Minimum: _binary(minimum),
    E.Cast: _cast, E.BitCast: _bitcast, E.Where: lambda k, op, v, t: k.select(v[0], v[1], v[2]),
    A.Sign: _unary(_sign), A.Reciprocal: _unary(_reciprocal), A.Square: _unary(_square),
    A.FloorDivide: _binary(_floor_divide), A.Remainder: _binary(_remainder), A.FMod: _binary(Builder.rem),
    A.Clip: _clip, A.Round: _unary(Builder.rint), A.Floor: _unary(Builder.floor), A.Ceil: _unary(Builder.ceil),
    A.Trunc: _unary(Builder.trunc), A.IsNaN: _unary(lambda k, x: k.cmp("ne", x, x)), A.IsInf: _unary(_is_inf),
    A.IsFinite: _unary(_is_finite),
    quantise.RoundTo: _round_to,
    C.Eq: _compare("eq"), C.Ne: _compare("ne"), C.Lt: _compare("lt"), C.Le: _compare("le"), C.Gt: _compare("gt"),
    C.Ge: _compare("ge"),
    C.LogicalAnd: _binary(Builder.and_), C.LogicalOr: _binary(Builder.or_), C.LogicalXor: _binary(Builder.xor_),
    C.LogicalNot: _unary(Builder.not_), C.BitAnd: _binary(Builder.and_), C.BitOr: _binary(Builder.or_),
    C.BitXor: _binary(Builder.xor_), C.BitNot: _unary(Builder.not_), C.ShiftLeft: _shift(True),
    C.ShiftRight: _shift(False),
    activations.Relu: _unary(_relu),
    T.Exp: _unary(vm.exp), T.Exp2: _unary(vm.exp2), T.ExpM1: _unary(vm.expm1), T.Log: _unary(vm.log),
    T.Log2: _unary(vm.log2), T.Log10: _unary(vm.log10), T.Log1P: _unary(vm.log1p), T.Sqrt: _unary(Builder.sqrt),
    T.Rsqrt: _unary(vm.rsqrt), T.Cbrt: _unary(vm.cbrt), T.Pow: _pow, T.Tanh: _unary(vm.tanh),
    T.Sigmoid: _unary(vm.sigmoid), T.Erf: _unary(vm.erf), T.Erfc: _unary(vm.erfc),
    G.Sin: _unary(vm.sin), G.Cos: _unary(vm.cos), G.Tan: _unary(vm.tan), G.ASin: _unary(vm.asin),
    G.ACos: _unary(vm.acos), G.ATan: _unary(vm.atan), G.ATan2: _binary(vm.atan2), G.SinH: _unary(vm.sinh),
    G.CosH: _unary(vm.cosh), G.ASinH: _unary(vm.asinh), G.ACosH: _unary(vm.acosh), G.ATanH: _unary(vm.atanh),
    S.Gelu: _gelu, S.Silu: _unary(vm.silu),
}  # fmt: skip

