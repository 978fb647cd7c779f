"""Where a NaN or an infinity comes from: the graph run node by node, and the first node that makes one is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.backends.reference.interpreter import bind_sizes, run, run_traced
from chainrule.errors import NumericsError
from chainrule.ir.body import Control
from chainrule.ir.graph import Graph, Input, Value
from chainrule.ir.op import Array, bind_dims
from chainrule.ops.basic import Constant, Full


def check_numerics(graph: Graph, arrays: Sequence[Array], dims: Mapping[str, int] | None = None) -> None:
    """Raises NumericsError at the first node that has a NaN or an infinity in a result and none in its inputs.

    Of a loop or branch it is the node inside, in the first round that has one. arrays: one per input of the graph, in
    order. dims: sizes known already. An input that holds one is named itself. Constants may hold some (the
    -inf of a mask); nodes that use them are then not judged. What the graph updates is computed and thrown away.
    """
    seen: dict[Value, tuple[Array, ...]] = {}
    sizes = dict(dims or {}) | bind_sizes(graph, arrays)
    for node, found in run_traced(graph, arrays, dims=dims):
        seen[node] = found
        if isinstance(node.op, Constant | Full) or not all(_is_finite(seen[v]) for v in node.inputs):
            continue
        if not _is_finite(found):
            if isinstance(node.op, Control):
                _look_inside(node.op, [seen[v][0] for v in node.inputs], sizes)
            raise _complaint(node, found, seen)


def _look_inside(op: Control, arrays: Sequence[Array], sizes: Mapping[str, int]) -> None:
    """Runs a loop or branch again, each of its bodies checked. Recurs over nesting, which is bounded."""

    def checked(body: Graph, given: Sequence[Array]) -> Sequence[Array]:
        check_numerics(body, given, sizes)
        return run(body, given, dims=sizes)

    bind_dims(op, sizes).executed(arrays, checked, sizes)


def _is_finite(results: Sequence[Array]) -> bool:
    return all(bool(np.all(np.isfinite(r))) for r in results if r.dtype.kind == "f")


def _complaint(node: Value, found: Sequence[Array], seen: Mapping[Value, Sequence[Array]]) -> NumericsError:
    array = next(r for r in found if r.dtype.kind == "f" and not np.all(np.isfinite(r)))
    nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    what = " and ".join(f"{count} {name}" for count, name in ((nan, "NaN"), (infinite, "infinite")) if count)
    place = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
    what = f"{what} of {array.size} elements, the first at {place}" if place else f"the number is {float(array)}"
    if isinstance(node.op, Input):
        role = {"input": "input", "param": "parameter", "state": "state"}[node.op.role]
        note = f"{node.op.name_}: {node.type}"
        return NumericsError(f"{role} {node.op.name_}: {what}", notes=[note], help="clean the data before the call")
    names = node.op.argument_names(len(node.inputs))
    notes = [f"{name}: {v.type}{_range(seen[v][0])}" for name, v in zip(names, node.inputs, strict=False)]
    help = "its inputs are finite: hold them where the op is defined"
    return NumericsError(f"{node.op.mnemonic}: {what}", loc=node.loc, notes=notes, help=help)


def _range(array: Array) -> str:
    """The smallest and largest element, in words."""
    if array.size == 0 or array.dtype.kind not in "fiu":
        return ""
    return f" from {float(array.min()):.6g} to {float(array.max()):.6g}"
