"""Outside of a trace a function of tensors computes at once: the meaning (`ref`) of each node, in numpy.

It is handy at a prompt and in tests, and slow: nothing is compiled, fused or kept.
"""

from __future__ import annotations

from chainrule.ir.graph import Value
from chainrule.ir.op import Array
from chainrule.ops.evaluate import run as run


def evaluate(value: Value) -> Array:
    """The array that a value without inputs stands for, of exactly its type."""
    return run((value,), {})[0]
