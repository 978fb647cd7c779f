"""Functions that build graphs run anywhere: in a trace they add to it, outside of one they compute at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.frontend import eager
from chainrule.frontend import scope as scopes
from chainrule.frontend.places import located
from chainrule.frontend.scope import Scope
from chainrule.frontend.stored import Stored
from chainrule.frontend.structure import flatten
from chainrule.frontend.tensor import Tensor
from chainrule.frontend.trace import stored_names
from chainrule.ir.graph import Value, new_input
from chainrule.ops import basic


def anywhere(body: Callable[..., Any], args: Sequence[Any]) -> Any:
    """body(*args) in the running trace; outside of one, traced for these arrays and computed at once."""
    with located():
        if scopes.current() is not None:
            return body(*args)
        names: dict[int, str] = {}
        for argument in args:
            names |= stored_names(argument)
        scope = Scope("function", training=True, names=names)
        given: dict[Value, Any] = {}
        with scopes.entered(scope):
            result = body(*(_as_inputs(argument, scope, given) for argument in args))
            leaves, form = flatten(result)
            values = [leaf.value if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            given |= {value: stored.data for value, stored in scope.bound()}
        wanted = [v for v in values if isinstance(v, Value)]
        updates = scope.updates()
        arrays = eager.run([*wanted, *(new for _, new in updates)], given)
        for (state, _), array in zip(updates, arrays[len(wanted) :], strict=True):
            _stored(scope, state).data[...] = array
        found = iter(arrays[: len(wanted)])
        return form.build([next(found) if isinstance(v, Value) else v for v in values])


def _stored(scope: Scope, state: Value) -> Any:
    return next(stored for value, stored in scope.bound() if value is state)


def _as_inputs(argument: Any, scope: Scope, given: dict[Value, Any]) -> Any:
    """The argument with its arrays and numbers as inputs of the scope."""
    if isinstance(argument, Stored) or hasattr(argument, "named_stored"):  # a module: nn is built on this file
        return argument
    leaves, form = flatten(argument)
    made: list[object] = []
    for leaf in leaves:
        if not isinstance(leaf, np.ndarray | np.generic | float):
            made.append(leaf)
            continue
        array = np.asarray(leaf, np.float32 if type(leaf) is float else None)
        value = new_input("x", basic.constant(array).tensor)
        given[value] = array
        made.append(Tensor(value, scope))
    return form.build(made)
