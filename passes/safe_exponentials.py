"""Rules for exponentials and logarithms that are written out by hand: what overflows on the way, or has no slope there.

They are part of safe_forms, which says what such rules promise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from chainrule.ir.graph import Value, build, rebuild
from chainrule.ir.op import Op
from chainrule.ops.activations_smooth import LogSigmoid, Softplus
from chainrule.ops.arithmetic import Reciprocal, Square
from chainrule.ops.basic import scalar_like
from chainrule.ops.elementwise import Add, Div, Mul, Neg, Sub, abs, add, mul, neg, sub
from chainrule.ops.indexing import Gather, TakeAlongAxis
from chainrule.ops.indexing_nd import GatherND
from chainrule.ops.reduce import AMax, Reduction, Sum
from chainrule.ops.shape_rules import axes_of
from chainrule.ops.shaping import Expand, Flip, Reshape, Slice, Transpose, expand, stack
from chainrule.ops.softmax import LogSoftmax, Softmax
from chainrule.ops.statistics import LogSumExp
from chainrule.ops.transcendental import Exp, Log, Log1P, Sigmoid, Sqrt, Tanh
from chainrule.ops.trigonometric import CosH
from chainrule.passes.rewrite import Any, Match, Rule, of

X, ONE = Any("x"), Any("one", 1.0)


def same_type(m: Match) -> str:
    """Why the result is not of the type of x, or ""."""
    return "" if m["x"].type == m.root.type else f"the result {m.root.type} is not of the type of x, {m['x'].type}"


# What is captured may have other users: it is computed for them, and no longer for this.
POWER, CHANCE, SHARES = Any("power"), Any("chance"), Any("shares")
MOVES = (Reshape, Transpose, Slice, Flip, Expand, Gather, GatherND, TakeAlongAxis)  # results are elements of input 0


def _made_by(name: str, kind: type[Op], what: str, typed: bool = True) -> Callable[[Match], str]:
    """A condition: what is captured as `name` is such an op; typed: and of the result's type."""

    def refusal(m: Match) -> str:
        if not isinstance(m[name].op, kind):
            return f"{m[name].op.mnemonic} is not {what}"
        return "" if not typed or m[name].type == m.root.type else f"the result {m.root.type} is not of the type of x"

    return refusal


_power_of, _is_power = (_made_by("power", Exp, "an exponential", typed) for typed in (True, False))
_chance_of = _made_by("chance", Sigmoid, "a sigmoid")


def _exponent(m: Match) -> Value:
    return m["power"].inputs[0]


def _logit(m: Match) -> Value:
    return m["chance"].inputs[0]


def _soft_log(value: Value) -> Value | None:
    """The logarithm of softmax or sigmoid, or of elements that are picked from one, in its safe form."""
    moves: list[Value] = []
    while isinstance(value.op, MOVES):
        moves.append(value)
        value = value.inputs[0]
    match value.op:
        case Softmax(axis):
            found = build(LogSoftmax(axis), value.inputs[0])
        case Sigmoid() if moves:
            found = build(LogSigmoid(), value.inputs[0])
        case _:
            return None
    for move in reversed(moves):
        found = rebuild(move, (found, *move.inputs[1:]))
    return found


def _picked_from_shares(m: Match) -> str:
    found = _soft_log(m["shares"])
    if found is None:
        return f"{m['shares'].op.mnemonic} does not pick from a softmax or sigmoid"
    return "" if found.type == m.root.type else f"the result {m.root.type} is not of the type of x"


def _safe_log(m: Match) -> Value:
    found = _soft_log(m["shares"])
    assert found is not None
    return found


def _opposite(m: Match) -> str:
    """Why e and its partner are not e^x and e^-x."""
    e, other = m["e"], m["other"]
    if not isinstance(e.op, Exp) or not isinstance(other.op, Exp):
        return "what is divided is not of exponentials"
    minus = other.inputs[0]
    if not isinstance(minus.op, Neg) or minus.inputs[0] is not e.inputs[0]:
        return "the exponents are not x and -x"
    return ""


def _two_powers(m: Match) -> str:
    if not isinstance(m["e"].op, Exp) or not isinstance(m["other"].op, Exp):
        return "what is added is not two exponentials"
    return ""


def _log_of_two(m: Match) -> Value:
    parts = [expand(m[name].inputs[0], m.root.shape) for name in ("e", "other")]
    return build(LogSumExp((0,), False), stack(parts, 0))


def _log_cosh(m: Match) -> Value:
    """|x| + log(1 + e^(-2|x|)) - log 2."""
    size = abs(m["x"])
    rest = build(Softplus(), mul(size, scalar_like(-2.0, size)))
    return sub(add(size, rest), scalar_like(math.log(2.0), size))


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
    return same_type(m) or ("" if _one_axis(m["total"]) is not None else "the sum is not over one axis that is kept")


def _log_sum(m: Match) -> Value:
    op = m["total"].op
    assert isinstance(op, Sum)
    return build(LogSumExp(op.axes, op.keepdims), _exponent(m))


RULES: tuple[Rule, ...] = (
    Rule("log(1 + exp(x)) = softplus(x)", of(Log, of(Add, ONE, POWER, commutes=True)),
         lambda m: build(Softplus(), _exponent(m)), _power_of, False),
    Rule("log1p(exp(x)) = softplus(x)", of(Log1P, POWER), lambda m: build(Softplus(), _exponent(m)), _power_of, False),
    Rule("1 / (1 + exp(-x)) = sigmoid(x)", of(Div, ONE, of(Add, ONE, of(Exp, of(Neg, X)), commutes=True)),
         lambda m: build(Sigmoid(), m["x"]), same_type, False),
    Rule("reciprocal(1 + exp(-x)) = sigmoid(x)", of(Reciprocal, of(Add, ONE, of(Exp, of(Neg, X)), commutes=True)),
         lambda m: build(Sigmoid(), m["x"]), same_type, False),
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
    Rule("log(softmax(x)) = log_softmax(x), picked from or whole", of(Log, SHARES), _safe_log, _picked_from_shares,
         False),
    Rule("log(exp(x)) = x", of(Log, POWER), _exponent, _power_of, False),
    Rule("log(exp(x) + exp(y)) = logsumexp(x, y)", of(Log, of(Add, Any("e"), Any("other"))), _log_of_two, _two_powers,
         False),
    Rule("log(cosh(x)) = |x| + softplus(-2|x|) - log(2)", of(Log, of(CosH, X)), _log_cosh, same_type, False),
    Rule("(exp(x) - exp(-x)) / (exp(x) + exp(-x)) = tanh(x)",
         of(Div, of(Sub, Any("e"), Any("other")), of(Add, Any("e"), Any("other"), commutes=True)),
         lambda m: build(Tanh(), m["e"].inputs[0]), _opposite, False),
    Rule("exp(x) / (1 + exp(x)) = sigmoid(x)", of(Div, POWER, of(Add, ONE, POWER, commutes=True)),
         lambda m: build(Sigmoid(), _exponent(m)), _power_of, False),
    Rule("x / (1 + exp(y)) = x * sigmoid(-y)", of(Div, X, of(Add, ONE, POWER, commutes=True)),
         lambda m: mul(m["x"], build(Sigmoid(), neg(_exponent(m)))), _is_power, False),
    *(Rule("sqrt(x * x) = |x|", of(Sqrt, square), lambda m: abs(m["x"]), exact=False)
      for square in (of(Mul, X, X), of(Square, X))),
)  # fmt: skip
