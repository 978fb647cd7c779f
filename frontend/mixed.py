"""Mixed precision for what is traced: products in a narrow type, before anything is differentiated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from chainrule.frontend.scope import Scope
from chainrule.frontend.tensor import Tensor
from chainrule.frontend.trace import Traced
from chainrule.ir.graph import Graph, Input, Value, reachable
from chainrule.passes.base import Notes, run_everywhere
from chainrule.passes.mixed import CastProducts


def cast_products(traced: Traced, dtype: str) -> Traced:
    """A traced function with its products in this type."""
    return replace(traced, graph=run_everywhere(CastProducts(dtype), traced.graph, Notes()))


def with_cast_products(scope: Scope, results: Mapping[str, Tensor], dtype: str) -> dict[str, Tensor]:
    """The results of a running trace, and what it has assigned so far, with their products in this type."""
    assigned = scope.home.current
    values = [tensor.value for tensor in results.values()] + list(assigned.values())
    inputs = tuple(v for v in reachable(values) if isinstance(v.op, Input))
    after = run_everywhere(CastProducts(dtype), Graph(scope.name, inputs, tuple(values)), Notes())
    new: dict[Value, Value] = dict(zip(values, after.outputs, strict=True))
    assigned.update({key: new[value] for key, value in assigned.items()})
    return {name: Tensor(new[tensor.value], scope) for name, tensor in results.items()}
