"""Forms of elementwise ops: arithmetic, comparisons, functions, activations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from chainrule.backends.onnx.dtypes import dtype_of
from chainrule.backends.onnx.forms.form import Attr, Call, Fixed, Form, Given, Numbers, same
from chainrule.backends.onnx.raw import RawCast, RawDiv, RawMod, RawShift
from chainrule.ir.dims import DimExpr
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import f64
from chainrule.ops import activations as act
from chainrule.ops import activations_smooth as smooth
from chainrule.ops import arithmetic as ar
from chainrule.ops import compare as cmp
from chainrule.ops import elementwise as el
from chainrule.ops import transcendental as tr
from chainrule.ops import trigonometric as tri
from chainrule.ops.basic import scalar_like, zeros_like


def _is_float(node: Value) -> bool:
    return node.inputs[0].dtype.is_float


def _not_f64(node: Value) -> bool:
    return node.dtype != f64


def _widens_or_wraps(node: Value) -> bool:
    """A cast whose meaning ONNX fixes; from float to integer it leaves what does not fit open."""
    assert isinstance(node.op, el.Cast)
    return not (node.inputs[0].dtype.is_float and node.op.dtype.is_int)


def _stretches_weight_only(node: Value) -> bool:
    return node.shape == node.inputs[0].shape


def _is_common_softplus(node: Value) -> bool:
    """Above 20, log(1 + e^x) is x to the last bit of f32."""
    assert isinstance(node.op, smooth.Softplus)
    return node.dtype != f64 and node.op.beta == 1.0 and node.op.threshold >= 20.0


def _bare(node: Value, opset: int) -> Call:
    return Call(node.inputs, {})


def _read_softplus(given: Given) -> Value:
    x = given.value(0)
    return build(smooth.Softplus(1.0, math.inf if x.dtype == f64 else 20.0), x)


def _write_clip(node: Value, opset: int) -> Call:
    assert isinstance(node.op, ar.Clip)
    low, high = node.op.bounds(node.dtype.numpy)
    # Without a bound onnxruntime takes the largest finite number of the type: infinities are bounds too.
    return Call((node.inputs[0], Numbers(array=low), Numbers(array=high)), {})


def _read_clip(given: Given) -> Value:
    x = given.value(0)
    if given.opset < 11:
        return build(ar.Clip(given.fraction("min", -math.inf), given.fraction("max", math.inf)), x)
    if all(not given.has(i) or _is_number(given.known(i)) for i in (1, 2)):
        low, high = (given.number(i) if given.has(i) else side for i, side in ((1, -math.inf), (2, math.inf)))
        return build(ar.Clip(_or_none(low, x, -1), _or_none(high, x, 1)), x)
    raised = el.maximum(x, given.value(1)) if given.has(1) else x
    return el.minimum(raised, given.value(2)) if given.has(2) else raised


def _is_number(content: Array | None) -> bool:
    return content is not None and not any(isinstance(n, DimExpr) for n in content.reshape(-1).tolist())


def _or_none(bound: float, x: Value, side: int) -> float:
    """An integer's own limit is no bound."""
    if x.dtype.is_int:
        limits = np.iinfo(x.dtype.numpy)
        if bound == (limits.max if side > 0 else limits.min):
            return side * math.inf
    return float(bound)


def _read_shift(op: type[Op]) -> Callable[[Given], Value]:
    """ONNX shifts all bits out where the count is negative; here it would count as 0."""

    def read(given: Given) -> Value:
        x, count = given.value(0), given.value(1)
        if count.dtype.is_signed:
            outside = cmp.lt(count, scalar_like(0, count))
            count = el.where(outside, scalar_like(count.dtype.bits - 1, count), count)
            if op is cmp.ShiftLeft:
                x = el.where(outside, zeros_like(x), x)
        return build(op(), x, count)

    return read


def _read_bitcast(given: Given) -> Value:
    """A bool is a byte that holds 0 or 1."""
    x, dtype = given.value(0), dtype_of(given.whole("to"))
    if x.dtype.is_bool and dtype.bits == 8:
        return el.bitcast(el.cast(x, "u8"), dtype)
    if dtype.is_bool and x.dtype.bits == 8:
        return el.cast(x, dtype)
    return el.bitcast(x, dtype)


FORMS: tuple[Form, ...] = (
    *same([
        (el.Neg, "Neg"), (el.Abs, "Abs"), (ar.Sign, "Sign"), (ar.Reciprocal, "Reciprocal"),
        (ar.Floor, "Floor"), (ar.Ceil, "Ceil"), (ar.IsNaN, "IsNaN"),
        (tr.Exp, "Exp"), (tr.Log, "Log"), (tr.Sqrt, "Sqrt"), (tr.Tanh, "Tanh"), (tr.Sigmoid, "Sigmoid"),
        (tr.Erf, "Erf"), (tri.Sin, "Sin"), (tri.Cos, "Cos"), (tri.Tan, "Tan"), (tri.ASin, "Asin"),
        (tri.ACos, "Acos"), (tri.ATan, "Atan"),
        (tri.SinH, "Sinh"), (tri.CosH, "Cosh"), (tri.ASinH, "Asinh"), (tri.ACosH, "Acosh"), (tri.ATanH, "Atanh"),
        (act.Relu, "Relu"), (smooth.Softsign, "Softsign"),
        (cmp.LogicalAnd, "And"), (cmp.LogicalOr, "Or"), (cmp.LogicalXor, "Xor"), (cmp.LogicalNot, "Not"),
        (cmp.Eq, "Equal"), (cmp.Lt, "Less"), (cmp.Gt, "Greater"),
        (el.Add, "Add"), (el.Sub, "Sub"), (el.Mul, "Mul"),
    ]),
    *same([(el.Maximum, "Max"), (el.Minimum, "Min")], arity=2),
    *same([(cmp.Le, "LessOrEqual"), (cmp.Ge, "GreaterOrEqual")], since=12),
    *same([(cmp.BitAnd, "BitwiseAnd"), (cmp.BitOr, "BitwiseOr"), (cmp.BitXor, "BitwiseXor"),
           (cmp.BitNot, "BitwiseNot")], since=18),
    Form(ar.Round, "Round", since=11),
    Form(ar.IsInf, "IsInf", (Fixed("detect_negative", 1, 1), Fixed("detect_positive", 1, 1)), since=10),
    Form(el.Div, "Div", when=_is_float),
    Form(RawDiv, "Div", reads=False),
    Form(ar.FMod, "Mod", (Fixed("fmod", 1, 0),), since=10, when=_is_float),
    Form(RawMod, "Mod", (Attr("fmod", "fmod", 0),), since=10, reads=False),
    Form(ar.Remainder, "Mod", (Fixed("fmod", 0, 0),), since=10, writes=False),
    Form(RawShift, "BitShift", (Attr("direction", "direction"),), since=11, reads=False),
    Form(cmp.ShiftLeft, "BitShift", (Fixed("direction", "LEFT"),), since=11, writes=False,
         read=_read_shift(cmp.ShiftLeft)),
    Form(cmp.ShiftRight, "BitShift", (Fixed("direction", "RIGHT"),), since=11, writes=False,
         read=_read_shift(cmp.ShiftRight)),
    Form(tr.Pow, "Pow", when=_is_float, reads=False),
    Form(el.Where, "Where", since=9, typed=1),
    Form(el.Cast, "Cast", (Attr("dtype", "to"),), when=_widens_or_wraps),
    Form(RawCast, "Cast", (Attr("dtype", "to"),), reads=False),
    Form(el.BitCast, "BitCast", (Attr("dtype", "to"),), since=26, read=_read_bitcast),
    Form(ar.Clip, "Clip", write=_write_clip, read=_read_clip),
    Form(act.LeakyRelu, "LeakyRelu", (Attr("slope", "alpha", 0.01),)),
    Form(act.PRelu, "PRelu", when=_stretches_weight_only, kinds="f"),
    Form(act.HardSigmoid, "HardSigmoid", (Fixed("alpha", 1.0 / 6.0, 0.2), Fixed("beta", 0.5, 0.5))),
    Form(act.HardSwish, "HardSwish", since=14, when=_not_f64),
    Form(smooth.Elu, "Elu", (Attr("alpha", "alpha", 1.0),)),
    Form(smooth.Celu, "Celu", (Attr("alpha", "alpha", 1.0),), since=12, when=_not_f64),
    Form(smooth.Selu, "Selu", (Fixed("alpha", smooth.SELU_ALPHA, smooth.SELU_ALPHA),
                               Fixed("gamma", smooth.SELU_SCALE, smooth.SELU_SCALE))),
    Form(smooth.Gelu, "Gelu", (Attr("approximate", "approximate", "none"),), since=20),
    Form(smooth.Mish, "Mish", since=18),
    Form(smooth.Softplus, "Softplus", when=_is_common_softplus, read=_read_softplus, write=_bare),
)  # fmt: skip
