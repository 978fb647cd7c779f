"""What ops of two operands meant before opset 7, when the second was laid along axes of the first by an attribute."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.backends.onnx.node import Entry
from chainrule.errors import ModelError
from chainrule.ops.shaping import reshape

_ALIGNED = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Less", "Greater"})

Entries = tuple[Entry | None, ...]


def aligned(op_type: str, entries: Entries, attributes: Mapping[str, object]) -> Entries:
    """The inputs as numpy would lay them: axes of size 1 behind the second operand, which begins at axis `axis`.

    The slope of PRelu lay along the channels.
    """
    first, second = (*entries, None, None)[:2]
    axis = attributes.get("axis", 1 if op_type == "PRelu" else None)
    if first is None or second is None or axis is None or op_type not in _ALIGNED | {"PRelu"}:
        return entries
    a, b = first.value(), second.value()
    behind = a.rank - (axis if isinstance(axis, int) and axis >= 0 else a.rank) - b.rank
    if b.rank == 0 or b.shape == (1,):
        return entries
    if not isinstance(axis, int) or behind < 0:
        raise ModelError(f"{op_type}: {b.type} does not lie along {a.type} from axis {axis} on")
    wide = reshape(b, (*b.shape, *[1] * behind))
    return (first, Entry(wide, None, wide.dtype), *entries[2:])
