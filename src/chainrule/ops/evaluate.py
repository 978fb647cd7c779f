"""The plainest meaning of values: each node's `ref`, in numpy, in the types of the graph.

What functions outside of a trace compute with, and what ops that hold bodies mean. The reference backend adds to it:
float64 throughout, memory given back, source lines in errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.errors import NotSupported, ShapeError
from chainrule.ir.body import Control
from chainrule.ir.dims import DimExpr
from chainrule.ir.graph import Get, Graph, Value, reachable
from chainrule.ir.op import Array, Op, bind_dims
from chainrule.ir.types import TensorType, TupleType


def run(outputs: Sequence[Value], given: Mapping[Value, Array], outer: Mapping[str, int] | None = None) -> list[Array]:
    """The arrays of the outputs, where `given` holds those of the inputs. outer: symbolic sizes known already."""
    results: dict[Value, tuple[Array, ...]] = {value: (array,) for value, array in given.items()}
    sizes = dict(outer or {}) | _sizes(given)
    for node in reachable(outputs):
        if node in results:
            continue
        with np.errstate(all="ignore"):
            found = _results(node, [results[v] for v in node.inputs], sizes)
        types = node.type.items if isinstance(node.type, TupleType) else (node.type,)
        results[node] = tuple(_typed(array, type) for array, type in zip(found, types, strict=True))
    return [results[v][0] for v in outputs]


def run_body(body: Graph, arrays: Sequence[Array], sizes: Mapping[str, int]) -> list[Array]:
    """The outputs of a body for these arrays."""
    return run(body.outputs, dict(zip(body.inputs, arrays, strict=True)), sizes)


def _results(node: Value, inputs: Sequence[tuple[Array, ...]], sizes: Mapping[str, int]) -> Sequence[Array]:
    op = bind_dims(node.op, sizes)
    if isinstance(op, Get):
        return (inputs[0][op.index],)
    arrays = [results[0] for results in inputs]
    if isinstance(op, Control):
        return op.executed(arrays, lambda body, given: run_body(body, given, sizes), sizes)
    if type(op).ref is not Op.ref:
        found = op.ref(*arrays)
        return found if isinstance(found, tuple) else (found,)
    body = getattr(op, "body", None)
    if isinstance(body, Graph):
        return run_body(body, arrays, sizes)
    parts = node.op.decompose(*node.inputs)
    if parts is None:
        raise NotSupported(f"{op.mnemonic} has no reference meaning", loc=node.loc)
    return run(parts if isinstance(parts, tuple) else (parts,), dict(zip(node.inputs, arrays, strict=True)), sizes)


def _sizes(given: Mapping[Value, Array]) -> dict[str, int]:
    """The symbolic sizes that the shapes of the inputs tell."""
    found: dict[str, int] = {}
    for value, array in given.items():
        for dim, size in zip(value.shape, array.shape, strict=True):
            name = dim.symbol_name() if isinstance(dim, DimExpr) else None
            if name is not None and found.setdefault(name, size) != size:
                raise ShapeError(f"the size {name} is {found[name]} in one input and {size} in another")
    return found


def _typed(array: Array, type: TensorType) -> Array:
    return np.asarray(array).astype(type.dtype.numpy, copy=False)
