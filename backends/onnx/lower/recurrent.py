"""Recurrent layers with their gates in ONNX's order."""

from __future__ import annotations

from dataclasses import replace

from chainrule.backends.onnx.forms.recurrent import ORDERS
from chainrule.ir.graph import Value, build, results
from chainrule.ir.types import i32
from chainrule.ops.elementwise import cast
from chainrule.ops.recurrent import Gru, Layer, Lstm, Rnn
from chainrule.ops.shaping import concat, narrow


def layer(node: Value) -> tuple[Value, ...] | None:
    """Weights with their gates in ONNX's order, lengths as i32."""
    op = node.op
    assert isinstance(op, Layer)
    order = ORDERS[type(op)]
    given = op.split(node.inputs)
    if op.order == order and not (op.ragged and given["lengths"].dtype != i32):
        return None
    changed = {name: _reordered(v, name, op.order, order) for name, v in given.items()}
    if op.ragged:
        changed["lengths"] = cast(given["lengths"], i32)
    return results(build(replace(op, order=order), *changed.values()))


def _reordered(x: Value, name: str, before: str, after: str) -> Value:
    """Blocks of gates along axis 1: once in w and r, twice in b, without g in peepholes."""
    if before == after or name not in ("w", "r", "b", "p"):
        return x
    if name == "p":
        before, after = before.replace("g", ""), after.replace("g", "")
    halves = 2 if name == "b" else 1
    size = x.shape[1] // (halves * len(before))
    places = [half * len(before) + before.index(letter) for half in range(halves) for letter in after]
    return concat([narrow(x, 1, place * size, size) for place in places], 1)


LOWERINGS = {Lstm: layer, Gru: layer, Rnn: layer}
