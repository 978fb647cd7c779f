"""What a kernel's status codes mean: data that only the call itself can show to be wrong.

A kernel sets a code with `k.fail_when` and goes on safely; the call then raises the error of the code for the node
whose step failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainrule.errors import ArgumentError, ChainruleError, ShapeError
from chainrule.ir.dims import dim_substitute
from chainrule.ir.graph import Value
from chainrule.ops.declared import Within

INDEX_OUT_OF_RANGE = 1
SLICE_LEAVES_AXIS = 2
NUMBER_OUT_OF_BOUNDS = 3


def failure(status: int, nodes: Sequence[Value | None], dims: Mapping[str, int]) -> ChainruleError:
    """The error for a frame's status: the code in its lower half, the step in its upper.

    nodes: that of every step that is a kernel call. dims: the sizes of the call, as far as they are known.
    """
    step, code = status >> 32, status & 0xFFFFFFFF
    node = nodes[step] if step < len(nodes) else None
    if node is None:
        return ChainruleError(f"step {step} failed with code {code}")
    name = node.op.mnemonic
    notes = [f"{arg}: {v.tensor}" for arg, v in zip(_arguments(node), node.inputs, strict=False)]
    if code == INDEX_OUT_OF_RANGE:
        return ArgumentError(f"{name}: an index is out of range{_axis_text(node, dims)}", loc=node.loc, notes=notes,
                             help="an index lies in [-size, size) of its axis")  # fmt: skip
    if code == SLICE_LEAVES_AXIS:
        return ShapeError(f"{name}: the slice leaves its axis for these sizes", loc=node.loc, notes=notes,
                          help="the slice must lie inside the axis")  # fmt: skip
    if code == NUMBER_OUT_OF_BOUNDS:
        assert isinstance(node.op, Within)
        high = dim_substitute(node.op.high, dict(dims))
        return ArgumentError(f"{name}: {node.op.what} lie in {node.op.low} to {high}, another is given",
                             loc=node.loc, notes=notes)  # fmt: skip
    return ChainruleError(f"{name}: the kernel failed with code {code}", loc=node.loc, notes=notes)


def _arguments(node: Value) -> Sequence[str]:
    return node.op.args if len(node.op.args) == len(node.inputs) else [f"x{i}" for i in range(len(node.inputs))]


def _axis_text(node: Value, dims: Mapping[str, int]) -> str:
    """Which axis the indices of a node count along, where the op says so."""
    axis = getattr(node.op, "axis", None)
    shape = getattr(node.op, "shape", None) or (node.inputs[0].shape if node.inputs else ())
    if not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
        return ""
    return f" for axis {axis} of size {dim_substitute(shape[axis], dict(dims))}"
