"""A graph means what this interpreter computes: each node's `ref`, in order.

In precise mode every float array is float64, and casts between f32 and f64 round nothing, so that the result is a
yardstick for the other backends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from chainrule import loc as locations
from chainrule.errors import ChainruleError, NotSupported, ShapeError
from chainrule.ir.body import Control
from chainrule.ir.dims import DimExpr, dim_symbols, dim_value, fits_no_size, solve_dim
from chainrule.ir.graph import Get, Graph, Input, Value, explained, input_name, new_input
from chainrule.ir.op import Array, Op, bind_dims
from chainrule.ir.types import TensorType, TupleType
from chainrule.ops.elementwise import Cast

EXAMPLES = tuple(2**n for n in range(11))  # sizes that are tried where those of a call do not fit together


def run(graph: Graph, arrays: Sequence[Array], *, precise: bool = False,
        dims: Mapping[str, int] | None = None) -> list[Array]:  # fmt: skip
    """The graph's outputs, then the new values of its state, for one array per input (in the order of graph.inputs).

    precise: compute in float64 and return float64. dims: values for symbols that no input shape tells.
    """
    values: dict[Value, tuple[Array, ...]] = {}
    last_use = _last_uses(graph)
    keep = set(graph.results)
    for node, results in _steps(graph, arrays, precise, dims, values):
        values[node] = results
        for value in node.inputs:
            if last_use[value] is node and value not in keep:
                values.pop(value, None)
    return [values[v][0] for v in graph.results]


def run_traced(graph: Graph, arrays: Sequence[Array], *, precise: bool = False,
               dims: Mapping[str, int] | None = None) -> Iterator[tuple[Value, tuple[Array, ...]]]:  # fmt: skip
    """Every node with its results, in order: what `verify` and `check_numerics` look at."""
    values: dict[Value, tuple[Array, ...]] = {}
    for node, results in _steps(graph, arrays, precise, dims, values):
        values[node] = results
        yield node, results


def _steps(graph: Graph, arrays: Sequence[Array], precise: bool, dims: Mapping[str, int] | None,
           values: dict[Value, tuple[Array, ...]]) -> Iterator[tuple[Value, tuple[Array, ...]]]:  # fmt: skip
    env = dict(dims or {}) | bind_sizes(graph, arrays, dims)
    told = sizes_told(graph)
    given = dict(zip(graph.inputs, arrays, strict=True))
    for node in graph.nodes:
        if isinstance(node.op, Input):
            results: tuple[Array, ...] = (np.asarray(given[node]),)
        elif isinstance(node.op, Get):
            results = (values[node.inputs[0]][node.op.index],)
        else:
            results = _evaluated(node, [values[v][0] for v in node.inputs], env, precise)
        yield node, tuple(_as_typed(r, t, precise) for r, t in zip(results, _types(node), strict=True))
        for name in told.get(node, ()):
            env[name] = size_told(name, node, results[0])


def _evaluated(node: Value, inputs: Sequence[Array], env: Mapping[str, int], precise: bool) -> tuple[Array, ...]:
    """The results of one node. An error that the numbers cause (an index out of range) gets the node's own line."""
    try:
        with np.errstate(all="ignore"):
            return evaluate(node, inputs, env, precise)
    except ChainruleError as error:
        with locations.using(node.locs):
            raise explained(error, node.op, node.inputs) from None


def evaluate(node: Value, inputs: Sequence[Array], env: Mapping[str, int], precise: bool) -> tuple[Array, ...]:
    """The results of one node: its ref, or, for an op that only has a decomposition, that of the decomposition."""
    op = bind_dims(node.op, env)
    if precise and _is_nothing_in_float64(node):
        return (inputs[0],)
    if isinstance(op, Control):
        return op.executed(inputs, lambda body, arrays: run(body, arrays, precise=precise, dims=env), env)
    if type(op).ref is not Op.ref:
        result = op.ref(*inputs)
        return result if isinstance(result, tuple) else (result,)
    body = getattr(node.op, "body", None)
    if isinstance(body, Graph):
        return tuple(run(body, inputs, precise=precise, dims=env))
    parameters = [new_input(f"x{i}", v.tensor) for i, v in enumerate(node.inputs)]
    parts = node.op.decompose(*parameters)
    if parts is None:
        raise NotSupported(f"{node.op.mnemonic} has no reference meaning")
    outputs = parts if isinstance(parts, tuple) else (parts,)
    return tuple(run(Graph(node.op.name, tuple(parameters), outputs), inputs, precise=precise, dims=env))


def _is_nothing_in_float64(node: Value) -> bool:
    """A cast between f32 and f64, both float64 in precise mode. One to half precision is a step that models mean."""
    if not isinstance(node.op, Cast):
        return False
    before, after = node.inputs[0].dtype, node.dtype
    return before.is_float and after.is_float and before.bits >= 32 and after.bits >= 32


def _types(node: Value) -> tuple[TensorType, ...]:
    return node.type.items if isinstance(node.type, TupleType) else (node.type,)


def _as_typed(array: Array, type: TensorType, precise: bool) -> Array:
    wanted = np.dtype(np.float64) if precise and type.dtype.is_float else type.dtype.numpy
    return np.asarray(array).astype(wanted, copy=False)


def _last_uses(graph: Graph) -> dict[Value, Value]:
    last: dict[Value, Value] = {}
    for node in graph.nodes:
        for value in node.inputs:
            last[value] = node
    return last


def sizes_told(graph: Graph) -> dict[Value, list[str]]:
    """The symbols that each node tells."""
    found: dict[Value, list[str]] = {}
    for name, value in graph.sizes:
        found.setdefault(value, []).append(name)
    return found


def size_told(name: str, node: Value, array: Array) -> int:
    """A size that was computed. Raises ShapeError for a negative one."""
    found = int(array)
    if found < 0:
        raise ShapeError(f"the size {name} is computed as {found}", loc=node.loc, help="sizes are not negative")
    return found


def bind_sizes(graph: Graph, arrays: Sequence[Array], known: Mapping[str, int] | None = None) -> dict[str, int]:
    """The values of the symbolic sizes that the input arrays' shapes tell. Raises ShapeError where they disagree.

    A size that stands in no shape by itself is found from one where it is the only unknown and linear (2*N+1).
    known: sizes that are known already.
    """
    env: dict[str, int] = dict(known or {})
    pending: list[tuple[str, int, DimExpr, int]] = []
    for value, array in zip(graph.inputs, arrays, strict=True):
        type, name = value.tensor, input_name(value)
        if len(array.shape) != type.rank:
            raise ShapeError(f"{name}: {type} was declared, an array of shape {list(array.shape)} was given")
        for axis, (dim, size) in enumerate(zip(type.shape, array.shape, strict=True)):
            symbol = dim.symbol_name() if isinstance(dim, DimExpr) else None
            if symbol is not None and symbol not in env:
                env[symbol] = size
            elif isinstance(dim, int):
                if dim != size:
                    raise ShapeError(f"{name}: axis {axis} is {dim} in {type}, {size} in the array given")
            else:
                pending.append((name, axis, dim, size))
    for _, _, dim, size in pending:
        solved = solve_dim(dim, size, env)
        if solved is not None:
            env[solved[0]] = solved[1]
    for name, axis, dim, size in pending:
        if fits_no_size(dim, size, env):
            unknown = min(dim_symbols(dim) - env.keys())
            raise ShapeError(f"{name}: axis {axis} is {size}, {dim} was declared",
                             notes=declared_and_given(graph, arrays),
                             help=f"{size} is {dim} for no whole number {unknown}")  # fmt: skip
        if dim_symbols(dim) <= env.keys() and dim_value(dim, env) != size:
            raise ShapeError(f"{name}: axis {axis} is {size}, {dim} was declared, here {dim_value(dim, env)}",
                             notes=declared_and_given(graph, arrays),
                             help="sizes of one name are equal in all inputs of a call")  # fmt: skip
    check_claims(graph, env)
    return env


def check_claims(graph: Graph, env: Mapping[str, int]) -> None:
    """Raises ShapeError where sizes differ that the graph declares to be equal; those not bound yet are left out."""
    for node, a, b in graph.claims:
        if (dim_symbols(a) | dim_symbols(b)) <= env.keys() and dim_value(a, env) != dim_value(b, env):
            wanted = str(b) if isinstance(b, int) else f"{b}, which is {dim_value(b, env)}"
            notes = [f"{v.tensor} of input {input_name(v)}" for v in graph.inputs if not v.tensor.is_static]
            raise ShapeError(f"{a} is {dim_value(a, env)}; it must be {wanted}", loc=node.loc, notes=notes,
                             help="the parts of this model fit together for other sizes" + _example(graph, env))


def _example(graph: Graph, env: Mapping[str, int]) -> str:
    """Sizes for which every claim holds, the smallest power of two for all of them, in words; "" if there are none."""
    names = {name for _, a, b in graph.claims for name in (*dim_symbols(a), *dim_symbols(b)) if name in env}
    for size in EXAMPLES:
        tried = {**env, **dict.fromkeys(names, size)}
        if all(dim_value(a, tried) == dim_value(b, tried) for _, a, b in graph.claims
               if (dim_symbols(a) | dim_symbols(b)) <= tried.keys()):  # fmt: skip
            return ", as " + ", ".join(f"{name}={size}" for name in sorted(names))
    return ""


def declared_and_given(graph: Graph, arrays: Sequence[Array]) -> list[str]:
    """One line for each input whose shape has a symbol."""
    return [f"{input_name(v)}: declared {v.tensor}, given [{','.join(map(str, array.shape))}]"
            for v, array in zip(graph.inputs, arrays, strict=True) if not v.tensor.is_static]  # fmt: skip
