"""Outside of a trace a function of tensors computes at once: the meaning (`ref`) of each node, in numpy.

It is handy at a prompt and in tests, and slow: nothing is compiled, fused or kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.errors import NotSupported
from chainrule.ir.graph import Get, Graph, Value, reachable
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, TupleType


def evaluate(value: Value) -> Array:
    """The array that a value without inputs stands for, of exactly its type."""
    return run((value,), {})[0]


def run(outputs: Sequence[Value], given: dict[Value, Array]) -> list[Array]:
    """The arrays of the outputs, where `given` holds those of the inputs."""
    results: dict[Value, tuple[Array, ...]] = {value: (array,) for value, array in given.items()}
    for node in reachable(outputs):
        if node in results:
            continue
        with np.errstate(all="ignore"):
            found = _results(node, [results[v] for v in node.inputs])
        types = node.type.items if isinstance(node.type, TupleType) else (node.type,)
        results[node] = tuple(_typed(array, type) for array, type in zip(found, types, strict=True))
    return [results[v][0] for v in outputs]


def _results(node: Value, inputs: Sequence[tuple[Array, ...]]) -> Sequence[Array]:
    op = node.op
    if isinstance(op, Get):
        return (inputs[0][op.index],)
    arrays = [results[0] for results in inputs]
    if type(op).ref is not Op.ref:
        found = op.ref(*arrays)
        return found if isinstance(found, tuple) else (found,)
    body = getattr(op, "body", None)
    if isinstance(body, Graph):
        return run(body.outputs, dict(zip(body.inputs, arrays, strict=True)))
    parts = op.decompose(*node.inputs)
    if parts is None:
        raise NotSupported(f"{op.mnemonic} has no reference meaning", loc=node.loc)
    return run(parts if isinstance(parts, tuple) else (parts,), dict(zip(node.inputs, arrays, strict=True)))


def _typed(array: Array, type: TensorType) -> Array:
    return np.asarray(array).astype(type.dtype.numpy, copy=False)
