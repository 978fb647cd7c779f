"""The algebra that always makes a graph smaller or plainer, one line a rule, named by what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chainrule.ir.graph import Graph, Value, build
from chainrule.ir.types import DType
from chainrule.ops.activations import Relu
from chainrule.ops.elementwise import Add, Cast, Div, Maximum, Minimum, Mul, Neg, Sub, cast, mul
from chainrule.ops.reduce import Mean, Sum
from chainrule.ops.shaping import Concat, Expand, Reshape, Slice, Transpose, reshape, transpose
from chainrule.ops.softmax import LogSoftmax, Softmax
from chainrule.ops.transcendental import Log, Pow
from chainrule.passes import unit_axes
from chainrule.passes.base import Notes, Pass
from chainrule.passes.rewrite import Any, Match, Rule, apply_rules, of

X = Any("x")
ZERO, MINUS_ZERO, ONE = Any("zero", 0.0), Any("minus_zero", -0.0), Any("one", 1.0)


def same_type(m: Match) -> str:
    """The captured x already has the type of the whole."""
    return "" if m["x"].type == m.root.type else f"the result {m.root.type} is not of the type of x, {m['x'].type}"


def _integer(m: Match) -> str:
    return same_type(m) or ("x is a float: -0 + 0 is +0" if m["x"].tensor.dtype.is_float else "")


def _widening(m: Match) -> str:
    """A cast that loses nothing, followed by another, is the second alone."""
    first, x, last = m["inner"].tensor.dtype, m["x"].tensor.dtype, m.root.tensor.dtype
    return "" if _holds(first, x) else f"{x} to {first} to {last} may lose digits on the way"


def _holds(wide: DType, narrow: DType) -> bool:
    """True when every value of the narrow type is one of the wide type."""
    if narrow.is_bool or wide == narrow:
        return True
    if wide.is_float and narrow.is_float:
        return wide.bits > narrow.bits
    if wide.is_int and narrow.is_int:
        return wide.bits > narrow.bits and (wide.is_signed or not narrow.is_signed)
    digits = {64: 53, 32: 24, 16: 8}
    return wide.is_float and narrow.is_int and narrow.bits <= digits[wide.bits]


def _composed(m: Match) -> Value:
    outer, inner = m.root.op, m["inner"].op
    assert isinstance(outer, Transpose) and isinstance(inner, Transpose)
    return transpose(m["x"], tuple(inner.perm[p] for p in outer.perm))


def _along_one_axis(m: Match) -> str:
    return "" if m["inner"].tensor.dtype.is_float else "softmax of integers"


def _moves_no_axis(m: Match) -> str:
    op = m.root.op
    assert isinstance(op, Transpose)
    return "" if op.perm == tuple(range(m.root.rank)) else "the axes move"


def _has_no_axes(m: Match) -> str:
    op = m.root.op
    assert isinstance(op, Sum | Mean)
    return same_type(m) or ("" if op.axes == () else "it has axes")


def _steps_by_one(m: Match) -> str:
    op = m.root.op
    assert isinstance(op, Slice)
    return same_type(m) or ("" if set(op.steps) <= {1} else "it steps")


def _log_softmax(m: Match) -> Value:
    inner = m["inner"].op
    assert isinstance(inner, Softmax)
    return build(LogSoftmax(inner.axis), m["x"])


RULES: tuple[Rule, ...] = (
    Rule("x + -0 = x", of(Add, X, MINUS_ZERO, commutes=True), lambda m: m["x"], same_type),
    Rule("x + 0 = x, integers", of(Add, X, ZERO, commutes=True), lambda m: m["x"], _integer),
    Rule("x - 0 = x", of(Sub, X, ZERO), lambda m: m["x"], same_type),
    Rule("x * 1 = x", of(Mul, X, ONE, commutes=True), lambda m: m["x"], same_type),
    Rule("x / 1 = x", of(Div, X, ONE), lambda m: m["x"], same_type),
    Rule("-(-x) = x", of(Neg, of(Neg, X)), lambda m: m["x"]),
    Rule("relu(relu(x)) = relu(x)", of(Relu, of(Relu, X, name="inner")), lambda m: m["inner"]),
    Rule("max(x, x) = x", of(Maximum, X, X), lambda m: m["x"]),
    Rule("min(x, x) = x", of(Minimum, X, X), lambda m: m["x"]),
    Rule("cast to the same type = x", of(Cast, X), lambda m: m["x"], same_type),
    Rule("cast after a widening cast = one cast", of(Cast, of(Cast, X, name="inner")),
         lambda m: cast(m["x"], m.root.tensor.dtype), _widening),
    Rule("reshape to the same shape = x", of(Reshape, X), lambda m: m["x"], same_type),
    Rule("reshape of reshape = one reshape", of(Reshape, of(Reshape, X)),
         lambda m: reshape(m["x"], m.root.tensor.shape)),
    Rule("transpose by no change = x", of(Transpose, X), lambda m: m["x"],
         _moves_no_axis),
    Rule("transpose of transpose = one transpose", of(Transpose, of(Transpose, X, name="inner")), _composed),
    Rule("expand to the same shape = x", of(Expand, X), lambda m: m["x"], same_type),
    Rule("slice of everything = x", of(Slice, X), lambda m: m["x"],
         _steps_by_one),
    Rule("concat of one = x", of(Concat, X), lambda m: m["x"], same_type),
    Rule("sum over no axes = x", of((Sum, Mean), X), lambda m: m["x"],
         _has_no_axes),
    Rule("log(softmax(x)) = log_softmax(x)", of(Log, of(Softmax, X, name="inner")), _log_softmax, _along_one_axis,
         exact=False),
    Rule("x ^ 2 = x * x", of(Pow, X, Any("two", 2.0)), lambda m: mul(m["x"], m["x"]), same_type, exact=False),
    *unit_axes.RULES,
)  # fmt: skip


@dataclass(frozen=True)
class Canonicalize(Pass):
    """Applies the algebra of RULES. strict: only the rules that keep every bit."""

    name: ClassVar[str] = "canonicalize"
    strict: bool = False

    def run(self, graph: Graph, notes: Notes) -> Graph:
        return apply_rules(graph, [r for r in RULES if r.exact or not self.strict], notes)
