"""Recognises functions that are written out by hand, and puts the ops in their place that compute them safely.

log(1 + e^x) overflows where softplus does not; e^x / sum(e^x) gives NaN where softmax is 1; the gradient of a naive
log(sigmoid(x)) is NaN at -200. Norms and activations that come as a dozen nodes (from ONNX files, above all) become one
op with a kernel. The rules run before differentiation too, so that gradients are those of the safe forms. None is
exact: digits differ, and where the hand-written form overflows the result does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule.ir.graph import Graph, Value, build
from chainrule.ops.activations_smooth import Gelu, LogSigmoid, Silu, Softplus
from chainrule.ops.arithmetic import Reciprocal, Square
from chainrule.ops.elementwise import Add, Div, Mul, Neg, Sub, neg
from chainrule.ops.norm import LayerNorm, RMSNorm
from chainrule.ops.reduce import AMax, Mean, Reduction, Sum
from chainrule.ops.shape_rules import axes_of
from chainrule.ops.shaping import listed
from chainrule.ops.softmax import LogSoftmax, Softmax
from chainrule.ops.statistics import LogSumExp, Var
from chainrule.ops.transcendental import Erf, Exp, Log, Log1P, Pow, Rsqrt, Sigmoid, Sqrt, Tanh
from chainrule.passes.base import Notes, Pass
from chainrule.passes.fold import scalar_of
from chainrule.passes.rewrite import Any, Match, Of, Rule, apply_rules, of

X, C, CENTRED, EPS, GAMMA, BETA = Any("x"), Any("c"), Any("centred"), Any("eps"), Any("gamma"), Any("beta")
ONE, HALF, TWO, THREE = Any("one", 1.0), Any("half", 0.5), Any("two", 2.0), Any("three", 3.0)
CLOSE = 1e-5  # how far a written-out constant may be from the number it stands for, relatively


def _same_type(m: Match) -> str:
    return "" if m["x"].type == m.root.type else f"the result {m.root.type} is not of the type of x, {m['x'].type}"


def _number(value: Value) -> float | None:
    found = scalar_of(value)
    return None if found is None else float(found)


def _is_near(value: Value, wanted: float, what: str) -> str:
    found = _number(value)
    if found is None:
        return f"{what} is not a number"
    return "" if abs(found - wanted) <= CLOSE * abs(wanted) else f"{what} is {found:g}, not {wanted:g}"


# -- exponentials and logarithms ---------------------------------------------------------------------------------------

# What is captured may have other users: it is computed for them, and no longer for this.
POWER, CHANCE = Any("power"), Any("chance")


def _power_of(m: Match) -> str:
    if not isinstance(m["power"].op, Exp):
        return f"{m['power'].op.mnemonic} is not an exponential"
    return "" if m["power"].type == m.root.type else f"the result {m.root.type} is not of the type of x"


def _exponent(m: Match) -> Value:
    return m["power"].inputs[0]


def _chance_of(m: Match) -> str:
    if not isinstance(m["chance"].op, Sigmoid):
        return f"{m['chance'].op.mnemonic} is not a sigmoid"
    return "" if m["chance"].type == m.root.type else f"the result {m.root.type} is not of the type of x"


def _logit(m: Match) -> Value:
    return m["chance"].inputs[0]


def _one_axis(value: Value) -> int | None:
    """The one axis that a reduction goes over, its result kept as 1; None for another."""
    op = value.op
    if not isinstance(op, Reduction) or not op.keepdims:
        return None
    axes = axes_of(op.axes, value.inputs[0].rank)
    return axes[0] if len(axes) == 1 else None


def _powers_over_their_sum(m: Match) -> str:
    if not isinstance(m["e"].op, Exp):
        return "what is divided is not an exponential"
    return "" if _one_axis(m["total"]) is not None else "the sum is not over one axis that is kept"


def _softmax(m: Match) -> Value:
    axis = _one_axis(m["total"])
    assert axis is not None
    return build(Softmax(axis), m["e"].inputs[0])


def _same_axis(m: Match) -> str:
    op = m.root.op
    assert isinstance(op, Softmax | LogSoftmax)
    axis = _one_axis(m["top"])
    return "" if axis == op.axis % m.root.rank else "the largest is not taken over the softmax's axis"


def _soft_of_x(m: Match) -> Value:
    return build(m.root.op, m["x"])


def _log_softmax(m: Match) -> Value:
    axis = _one_axis(m["total"])
    assert axis is not None
    return build(LogSoftmax(axis), m["x"])


def _over_one_axis(m: Match) -> str:
    return _same_type(m) or ("" if _one_axis(m["total"]) is not None else "the sum is not over one axis that is kept")


def _is_power(m: Match) -> str:
    return "" if isinstance(m["power"].op, Exp) else f"{m['power'].op.mnemonic} is not an exponential"


def _log_sum(m: Match) -> Value:
    op = m["total"].op
    assert isinstance(op, Sum)
    return build(LogSumExp(op.axes, op.keepdims), _exponent(m))


LOGARITHMS: tuple[Rule, ...] = (
    Rule("log(1 + exp(x)) = softplus(x)", of(Log, of(Add, ONE, POWER, commutes=True)),
         lambda m: build(Softplus(), _exponent(m)), _power_of, False),
    Rule("log1p(exp(x)) = softplus(x)", of(Log1P, POWER), lambda m: build(Softplus(), _exponent(m)), _power_of, False),
    Rule("1 / (1 + exp(-x)) = sigmoid(x)", of(Div, ONE, of(Add, ONE, of(Exp, of(Neg, X)), commutes=True)),
         lambda m: build(Sigmoid(), m["x"]), _same_type, False),
    Rule("reciprocal(1 + exp(-x)) = sigmoid(x)", of(Reciprocal, of(Add, ONE, of(Exp, of(Neg, X)), commutes=True)),
         lambda m: build(Sigmoid(), m["x"]), _same_type, False),
    Rule("log(sigmoid(x)) = log_sigmoid(x)", of(Log, CHANCE), lambda m: build(LogSigmoid(), _logit(m)), _chance_of,
         False),
    Rule("log(1 - sigmoid(x)) = log_sigmoid(-x)", of(Log, of(Sub, ONE, CHANCE)),
         lambda m: build(LogSigmoid(), neg(_logit(m))), _chance_of, False),
    Rule("exp(x) / sum(exp(x)) = softmax(x)", of(Div, Any("e"), of(Sum, Any("e"), name="total")), _softmax,
         _powers_over_their_sum, False),
    Rule("softmax(x - max(x)) = softmax(x)", of((Softmax, LogSoftmax), of(Sub, X, of(AMax, X, name="top"))), _soft_of_x,
         _same_axis, False),
    Rule("log(sum(exp(x))) = logsumexp(x)", of(Log, of(Sum, POWER, name="total")), _log_sum, _is_power, False),
    Rule("x - logsumexp(x) = log_softmax(x)", of(Sub, X, of(LogSumExp, X, name="total")), _log_softmax, _over_one_axis,
         False),
    Rule("log(softmax(x)) = log_softmax(x), hand-written", of(Log, of(Softmax, X, name="inner")),
         lambda m: build(LogSoftmax(m["inner"].op.axis), m["x"]), exact=False),  # type: ignore[attr-defined]
)  # fmt: skip

# -- activations -------------------------------------------------------------------------------------------------------

SCALED = of((Div, Mul), X, C, name="scaled")
PHI = of(Add, ONE, of(Erf, SCALED), commutes=True)
CUBE = (of(Pow, X, THREE), of(Mul, X, of(Mul, X, X), commutes=True), of(Mul, X, of(Square, X), commutes=True),
        of(Mul, X, of(Pow, X, TWO), commutes=True))  # fmt: skip


def _over_root_two(m: Match) -> str:
    divides = isinstance(m["scaled"].op, Div)
    return _same_type(m) or _is_near(m["c"], math.sqrt(2.0) if divides else math.sqrt(0.5), "the factor of x in erf")


def _halved(phi: Of) -> tuple[Of, ...]:
    """x * phi / 2 in its orders."""
    return (
        of(Mul, of(Mul, X, phi, commutes=True), HALF, commutes=True),
        of(Mul, of(Mul, X, HALF, commutes=True), phi, commutes=True),
        of(Mul, X, of(Mul, HALF, phi, commutes=True), commutes=True),
        of(Div, of(Mul, X, phi, commutes=True), TWO),
    )


def _tanh_terms(m: Match) -> str:
    return (_same_type(m) or _is_near(m["slope"], math.sqrt(2.0 / math.pi), "the factor in tanh")
            or _is_near(m["c"], 0.044715, "the factor of the cube"))  # fmt: skip


def _tanh_phi(cube: Of) -> Of:
    inner = of(Add, X, of(Mul, C, cube, commutes=True), commutes=True)
    return of(Add, ONE, of(Tanh, of(Mul, Any("slope"), inner, commutes=True)), commutes=True)


def _gelu(approximate: str, phis: Sequence[Of]) -> tuple[Rule, ...]:
    name, check = {
        "none": ("x * (1 + erf(x/sqrt(2))) / 2 = gelu(x)", _over_root_two),
        "tanh": ("x * (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2 = gelu(x)", _tanh_terms),
    }[approximate]
    return tuple(Rule(name, pattern, lambda m: build(Gelu(approximate), m["x"]), check, False)
                 for phi in phis for pattern in _halved(phi))  # fmt: skip


ACTIVATIONS: tuple[Rule, ...] = (
    Rule("x * sigmoid(x) = silu(x)", of(Mul, X, of(Sigmoid, X), commutes=True), lambda m: build(Silu(), m["x"]),
         exact=False),
    *_gelu("none", (PHI,)),
    *_gelu("tanh", tuple(map(_tanh_phi, CUBE))),
)  # fmt: skip

# -- norms -------------------------------------------------------------------------------------------------------------


def _power(value: Any) -> tuple[Of, ...]:
    """The mean of squares in its forms."""
    squares = of(Pow, value, TWO), of(Mul, value, value), of(Square, value)
    return tuple(of(Mean, square, name="mean") for square in squares)


def _over_root(top: Any, power: Of) -> tuple[Of, ...]:
    """top / sqrt(power + eps) in its forms."""
    inner = of(Add, power, EPS, commutes=True)
    return (
        of(Div, top, of(Sqrt, inner)),
        of(Mul, top, of(Rsqrt, inner), commutes=True),
        of(Mul, top, of(Reciprocal, of(Sqrt, inner)), commutes=True),
        of(Mul, top, of(Div, ONE, of(Sqrt, inner)), commutes=True),
    )


def _trailing(value: Value) -> int:
    """How many last axes a reduction goes over, kept as 1; 0 for others."""
    op = value.op
    if not isinstance(op, Reduction) or not op.keepdims:
        return 0
    rank = value.inputs[0].rank
    axes = axes_of(op.axes, rank)
    return len(axes) if axes == tuple(range(rank - len(axes), rank)) else 0


def _stable(m: Match) -> str:
    count, eps = _trailing(m["mean"]), _number(m["eps"])
    if not count:
        return "the mean is not over the last axes, kept as 1"
    if eps is None or not eps >= 0:
        return "eps is not a number >= 0"
    if m["mean"].dtype.bits == 16:
        return "a norm of half precision is computed in f32"
    return ""


def _is_centred(m: Match) -> str:
    centred = m["centred"]
    if not isinstance(centred.op, Sub):
        return "what is divided is not x - mean(x)"
    x, mean = centred.inputs
    if not isinstance(mean.op, Mean) or mean.inputs[0] is not x or _trailing(mean) != _trailing(m["mean"]):
        return "what is divided is not x - mean(x) over the same axes"
    return _stable(m)


def _layer_norm(m: Match) -> Value:
    eps = _number(m["eps"])
    assert eps is not None
    return build(LayerNorm(_trailing(m["mean"]), _shortest(eps, m)), m["centred"].inputs[0])


def _has_biased_variance(m: Match) -> str:
    op, centred = m["mean"].op, m["centred"]
    if not isinstance(op, Var) or op.correction != 0:
        return "the variance is not the biased one"
    if not isinstance(centred.op, Sub) or centred.inputs[0] is not m["mean"].inputs[0]:
        return "the variance is not that of what is divided"
    return _is_centred(m)


def _rms_norm(m: Match) -> Value:
    eps = _number(m["eps"])
    assert eps is not None
    return build(RMSNorm(_trailing(m["mean"]), _shortest(eps, m)), m["x"])


def _shortest(eps: float, m: Match) -> float:
    """The number with the fewest digits that rounds to eps in the type that it was written in."""
    return float(str(m["eps"].dtype.numpy.type(eps)))



def _fits(name: str, m: Match) -> str:
    given, whole, op = m[name], m.root, m["norm"].op
    assert isinstance(op, LayerNorm | RMSNorm)
    wanted = whole.shape[whole.rank - op.trailing :]
    return "" if given.shape == wanted and m["norm"].type == whole.type else f"{name} is not {listed(wanted)}"


def _with(name: str, m: Match) -> Value:
    inner = m["norm"]
    return build(inner.op, m["x"], *([m["gamma"]] if name == "beta" else []), m[name])


NORMS: tuple[Rule, ...] = (
    *(Rule("(x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) = layer_norm(x)", pattern, _layer_norm, _is_centred,
           False)
      for power in _power(CENTRED) for pattern in _over_root(CENTRED, power)),
    *(Rule("(x - mean(x)) / sqrt(var(x) + eps) = layer_norm(x)", pattern, _layer_norm, _has_biased_variance, False)
      for pattern in _over_root(CENTRED, of(Var, X, name="mean"))),
    *(Rule("x / sqrt(mean(x^2) + eps) = rms_norm(x)", pattern, _rms_norm, _stable, False)
      for power in _power(X) for pattern in _over_root(X, power)),
    Rule("norm(x) * gamma = norm(x, gamma)", of(Mul, of((LayerNorm, RMSNorm), X, name="norm"), GAMMA, commutes=True),
         lambda m: _with("gamma", m), lambda m: _fits("gamma", m), False),
    Rule("layer_norm(x, gamma) + beta = layer_norm(x, gamma, beta)",
         of(Add, of(LayerNorm, X, GAMMA, name="norm"), BETA, commutes=True),
         lambda m: _with("beta", m), lambda m: _fits("beta", m), False),
)  # fmt: skip

RULES: tuple[Rule, ...] = (*LOGARITHMS, *ACTIVATIONS, *NORMS)


@dataclass(frozen=True)
class SafeForms(Pass):
    """Applies RULES."""

    name: ClassVar[str] = "safe-forms"

    def run(self, graph: Graph, notes: Notes) -> Graph:
        return apply_rules(graph, RULES, notes)


def safe(values: Sequence[Value]) -> list[Value]:
    """The values with what leads to them in safe forms; inputs stay what they are. For differentiation."""
    return list(SafeForms().run(Graph("safe", (), tuple(values)), Notes()).outputs)
