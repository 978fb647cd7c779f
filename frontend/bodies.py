"""Functions that are traced as the bodies of ops: nested arguments as values, and what a body takes from around it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chainrule.errors import ArgumentError
from chainrule.frontend import scope as scopes
from chainrule.frontend.places import error
from chainrule.frontend.scope import Scope, Stored
from chainrule.frontend.structure import Structure, flatten
from chainrule.frontend.tensor import Tensor, value_of
from chainrule.frontend.trace import name_of
from chainrule.ir.graph import Graph, Input, Value, input_name, new_input, reachable
from chainrule.ir.types import TensorType


@dataclass
class Leaves:
    """A nested argument as values. weak: which are Python numbers, whose type follows what they meet."""

    values: list[Value]
    form: Structure
    weak: list[bool]

    @staticmethod
    def of(argument: Any, what: str) -> Leaves:
        leaves, form = flatten(argument)
        weak = [isinstance(leaf, int | float) and not isinstance(leaf, bool) for leaf in leaves]
        return Leaves([value_of(leaf, what) for leaf in leaves], form, weak)

    def paths(self, name: str) -> list[str]:
        return list(self.form.paths(name))

    def holders(self, name: str, types: Sequence[TensorType]) -> list[Value]:
        """Placeholders for the values, named by their places."""
        return [new_input(path, type) for path, type in zip(self.paths(name), types, strict=True)]

    def tensors(self, values: Sequence[Value], scope: Scope) -> Any:
        """The argument with tensors in place of its leaves."""
        return self.form.build([Tensor(v, scope) for v in values])


@dataclass
class Body:
    """A function being traced as a body. own: its inputs that are no captures, in order."""

    scope: Scope
    own: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    form: Structure | None = None

    def hold(self, stored: Mapping[int, Stored]) -> None:
        """Makes the buffers that the body assigns inputs of it."""
        for key in stored:
            outer = self.scope.root.inputs[key][0]
            self.scope.current[key] = new_input(input_name(outer), outer.tensor)
            self.own.append(self.scope.current[key])

    def captured(self) -> dict[Value, Value]:
        """The body's input for each value that it uses from around it."""
        used = reachable(self.outputs)
        inner = set(used)
        found = {outer: holder for outer, holder in self.scope.captured.items() if holder in inner}
        known = {*self.own, *found.values()}
        return found | {v: v for v in used if isinstance(v.op, Input) and v not in known}

    def graph(self, captured: Sequence[Value]) -> Graph:
        """The closed graph; captured: values from around it, one input for each."""
        holders = self.captured()
        inputs = [holders.get(v) or new_input(f"unused{i}", v.tensor) for i, v in enumerate(captured)]
        return Graph(self.scope.name.rpartition(".")[2], (*self.own, *inputs), tuple(self.outputs))


def opened(name: str, counter: Value | None = None) -> Body:
    outer = scopes.required(name)
    return Body(Scope(f"{outer.name}.{name}", training=outer.training, parent=outer, is_body=True, counter=counter))


def hand_on(stored: Mapping[int, Stored], values: Sequence[Value]) -> None:
    """Assigns in the running scope what a loop or branch left in the buffers."""
    for buffer, value in zip(stored.values(), values, strict=True):
        scopes.required("scan").assign(buffer, value)


def called(what: str, fn: Callable[..., Any], *arguments: Any) -> Any:
    """fn(*arguments), what an op hands its function. Raises ArgumentError where the function does not take them."""
    try:
        inspect.signature(fn).bind(*arguments)
    except TypeError as cause:
        raise error(ArgumentError, f"{what}: {name_of(fn)} does not take {_GIVEN[what][0]}: {cause}",
                    help=_GIVEN[what][1]) from None  # fmt: skip
    except ValueError:  # a function of another language tells no signature
        pass
    return fn(*arguments)


_GIVEN = {  # what each op hands its function, and how that is written
    "scan": ("a carry and an element", "scan(lambda carry, x: (carry + x, carry), init, xs)"),
    "while_loop": ("one carry", "the carry is one value, of any structure: lambda carry: carry[0] < 10"),
    "cond": ("the operands of cond", "cond(pred, lambda x: x, lambda x: -x, x)"),
    "vmap": ("the arguments given", "vmap(f)(*arguments) calls f(*arguments)"),
}


def traced_branch(what: str, fn: Callable[..., Any], operands: Sequence[Any]) -> tuple[Body, Leaves]:
    """A body of a function that takes its operands from around it."""
    body = opened(what)
    with scopes.entered(body.scope):
        return body, Leaves.of(called(what, fn, *operands), what)
