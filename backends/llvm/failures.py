"""What a kernel's status codes mean: data that only the call itself can show to be wrong.

A kernel sets a code with `k.fail_when` and goes on safely; the call then raises the error of the code for the node whose
step failed.
"""

from __future__ import annotations

from chainrule.errors import ArgumentError, ChainruleError, ShapeError
from chainrule.ir.graph import Value

INDEX_OUT_OF_RANGE = 1
SLICE_LEAVES_AXIS = 2


def failure(code: int, node: Value) -> ChainruleError:
    """The error for a status code that a node's kernel gave."""
    name = node.op.mnemonic
    notes = [f"x{i}: {v.tensor}" for i, v in enumerate(node.inputs)]
    match code:
        case 1:
            return ArgumentError(f"{name}: an index is out of range", loc=node.loc, notes=notes,
                                 help="an index lies in [-size, size) of its axis")  # fmt: skip
        case 2:
            return ShapeError(f"{name}: a slice leaves its axis for these sizes", loc=node.loc, notes=notes,
                              help="the slice must lie inside the axis")  # fmt: skip
    return ChainruleError(f"{name}: the kernel failed with code {code}", loc=node.loc, notes=notes)
