"""Moves per-channel scales and shifts behind a convolution or product into its weights, where they are fixed.

After a batch norm is decomposed it is a subtraction, a product and a sum with one number per channel. Those numbers
depend on weights alone at inference, so the scaled weights are computed once, by the split that passes.hoist makes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from chainrule.ir.dims import Dim
from chainrule.ir.graph import Graph, Value, build
from chainrule.ops.conv import Conv
from chainrule.ops.elementwise import Add, Mul, Sub, add, mul, neg
from chainrule.ops.shaping import expand, reshape
from chainrule.passes.base import Notes, Pass
from chainrule.passes.rewrite import Any, Match, Rule, apply_rules, of

W, B, X, S = Any("w"), Any("b"), Any("x"), Any("s")
BARE = of(Conv, X, W, name="conv")
BIASED = of(Conv, X, W, B, name="conv")


def per_channel(m: Match) -> str:
    """s is fixed and has one number for each output channel, or one number."""
    s, conv = m["s"], m["conv"]
    if not m.is_fixed(s):
        return "the other operand is not a fixed weight"
    if not m.is_fixed(m["w"]) or ("b" in m.found and not m.is_fixed(m["b"])):
        return "the convolution's weights change"
    if _channel_count(s, conv) is None:
        return f"{s.type} has not one number per channel of {conv.type}"
    return ""


def _channel_count(s: Value, conv: Value) -> Dim | None:
    shape = (1,) * (conv.rank - s.rank) + tuple(s.tensor.shape)
    if s.rank > conv.rank or any(d != 1 for i, d in enumerate(shape) if i != 1):
        return None
    return shape[1] if shape[1] in (1, conv.tensor.shape[1]) else None


def _vector(m: Match) -> Value:
    """s as [O], or [1] for all channels."""
    count = _channel_count(m["s"], m["conv"])
    assert count is not None
    return reshape(m["s"], (count,))


def _scaled(m: Match) -> Value:
    s, w = _vector(m), m["w"]
    column = reshape(s, (s.tensor.shape[0], *(1 for _ in range(w.rank - 1))))
    bias = (mul(m["b"], s),) if "b" in m.found else ()
    return build(m["conv"].op, m["x"], mul(w, column), *bias)


def _shifted(sign: int) -> Callable[[Match], Value]:
    def rewrite(m: Match) -> Value:
        s = _vector(m) if sign > 0 else neg(_vector(m))
        channels = m["conv"].tensor.shape[1]
        if "b" in m.found:
            return build(m["conv"].op, m["x"], m["w"], add(m["b"], s))
        return build(m["conv"].op, m["x"], m["w"], expand(s, (channels,)))

    return rewrite


RULES: tuple[Rule, ...] = tuple(
    rule
    for pattern, label in ((BARE, ""), (BIASED, " + b"))
    for rule in (
        Rule(f"conv(x, w){label} * s = conv(x, w*s){label and ' + b*s'}", of(Mul, pattern, S, commutes=True), _scaled,
             per_channel, exact=False),
        Rule(f"conv(x, w){label} + s = conv(x, w, {'b+' if label else ''}s)", of(Add, pattern, S, commutes=True),
             _shifted(1), per_channel, exact=not label),
        Rule(f"conv(x, w){label} - s = conv(x, w, {'b' if label else ''}-s)", of(Sub, pattern, S), _shifted(-1),
             per_channel, exact=not label),
    )
)  # fmt: skip


@dataclass(frozen=True)
class FoldNorm(Pass):
    """Folds fixed per-channel scales and shifts (a batch norm in evaluation) into the convolution before them."""

    name: ClassVar[str] = "fold-norm"

    def run(self, graph: Graph, notes: Notes) -> Graph:
        return apply_rules(graph, RULES, notes)
