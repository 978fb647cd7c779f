"""Loops in the forms that ONNX has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from chainrule.ir.body import body_of
from chainrule.ir.graph import Value, build, inline, new_input, results
from chainrule.ir.op import Op
from chainrule.ir.types import TensorType, i64
from chainrule.ops.basic import full
from chainrule.ops.control import Checkpoint, Scan
from chainrule.ops.ranges import iota

Lowering = Callable[[Value], "Value | tuple[Value, ...] | None"]


def _scan(node: Value) -> tuple[Value, ...] | None:
    """A scan over slices: of nothing but numbers where there are none. One without steps gives what it was given."""
    op = node.op
    assert isinstance(op, Scan)
    if op.length == 0:
        empty = [v.tensor.with_shape((0, *v.shape)) for v in op.body.outputs[op.carries :]]
        return (*node.inputs[: op.carries], *(full(0, t.shape, t.dtype) for t in empty))
    if op.scanned > 0:
        return None
    inputs, number = op.body.inputs, new_input("step", TensorType(i64, ()))
    inner = op.body.replace(inputs=(*inputs[: op.carries], number, *inputs[op.carries :]))
    body = body_of(inner)
    numbers = iota((op.length,), 0, i64)
    given = (*node.inputs[: op.carries], numbers, *node.inputs[op.carries :])
    return results(build(replace(op, body=body, scanned=1), *given))


def _checkpoint(node: Value) -> tuple[Value, ...]:
    """The body itself: other runtimes keep what they like."""
    assert isinstance(node.op, Checkpoint)
    return inline(node.op.body, node.inputs)


LOWERINGS: Mapping[type[Op], Lowering] = {Scan: _scan, Checkpoint: _checkpoint}
