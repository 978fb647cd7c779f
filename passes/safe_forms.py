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
from chainrule.ops.activations_smooth import Gelu, Silu
from chainrule.ops.arithmetic import Reciprocal, Square
from chainrule.ops.elementwise import Add, Div, Mul, Sub
from chainrule.ops.norm import LayerNorm, RMSNorm
from chainrule.ops.reduce import Mean, Reduction
from chainrule.ops.shape_rules import axes_of
from chainrule.ops.shaping import listed
from chainrule.ops.statistics import Var
from chainrule.ops.transcendental import Erf, Pow, Rsqrt, Sigmoid, Sqrt, Tanh
from chainrule.passes.base import Notes, Pass
from chainrule.passes.fold import scalar_of
from chainrule.passes.rewrite import Any, Match, Of, Rule, apply_rules, of
from chainrule.passes.safe_exponentials import ONE, X, same_type
from chainrule.passes.safe_exponentials import RULES as EXPONENTIALS

C, CENTRED, EPS, GAMMA, BETA = Any("c"), Any("centred"), Any("eps"), Any("gamma"), Any("beta")
HALF, TWO, THREE = Any("half", 0.5), Any("two", 2.0), Any("three", 3.0)
CLOSE = 1e-5  # how far a written-out constant may be from the number it stands for, relatively


def _number(value: Value) -> float | None:
    found = scalar_of(value)
    return None if found is None else float(found)


def _is_near(value: Value, wanted: float, what: str) -> str:
    found = _number(value)
    if found is None:
        return f"{what} is not a number"
    return "" if abs(found - wanted) <= CLOSE * abs(wanted) else f"{what} is {found:g}, not {wanted:g}"


# -- activations -------------------------------------------------------------------------------------------------------

SCALED = of((Div, Mul), X, C, name="scaled")
PHI = of(Add, ONE, of(Erf, SCALED), commutes=True)
CUBE = (of(Pow, X, THREE), of(Mul, X, of(Mul, X, X), commutes=True), of(Mul, X, of(Square, X), commutes=True),
        of(Mul, X, of(Pow, X, TWO), commutes=True))  # fmt: skip


def _over_root_two(m: Match) -> str:
    divides = isinstance(m["scaled"].op, Div)
    return same_type(m) or _is_near(m["c"], math.sqrt(2.0) if divides else math.sqrt(0.5), "the factor of x in erf")


def _halved(phi: Of) -> tuple[Of, ...]:
    """x * phi / 2 in its orders."""
    return (
        of(Mul, of(Mul, X, phi, commutes=True), HALF, commutes=True),
        of(Mul, of(Mul, X, HALF, commutes=True), phi, commutes=True),
        of(Mul, X, of(Mul, HALF, phi, commutes=True), commutes=True),
        of(Div, of(Mul, X, phi, commutes=True), TWO),
    )


def _tanh_terms(m: Match) -> str:
    return (same_type(m) or _is_near(m["slope"], math.sqrt(2.0 / math.pi), "the factor in tanh")
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

RULES: tuple[Rule, ...] = (*EXPONENTIALS, *ACTIVATIONS, *NORMS)


@dataclass(frozen=True)
class SafeForms(Pass):
    """Applies RULES."""

    name: ClassVar[str] = "safe-forms"

    def run(self, graph: Graph, notes: Notes) -> Graph:
        return apply_rules(graph, RULES, notes)


def safe(values: Sequence[Value]) -> list[Value]:
    """The values with what leads to them in safe forms; inputs stay what they are. For differentiation."""
    return list(SafeForms().run(Graph("safe", (), tuple(values)), Notes()).outputs)
