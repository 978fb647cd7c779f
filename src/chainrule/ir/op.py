"""The form of an op: one frozen dataclass that holds all that is known of it.

An op's fields are its attributes. `infer` is its shape rule, the only one; `ref` its meaning in numpy; `vjp` its
derivative; or `decompose` its meaning in other ops. Backends attach elsewhere, by tables keyed on the class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import numpy as np

from chainrule.errors import NotSupported
from chainrule.ir.dims import Dim, DimExpr, dim_value
from chainrule.ir.types import TensorType, Type

if TYPE_CHECKING:
    from chainrule.ir.graph import Value

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Op:
    """The base of all ops. Subclasses are frozen dataclasses: equal attributes make equal ops.

    name: the op's name in text and errors. args: names of its inputs, a trailing "*" repeats.
    tolerance: its class in docs/numerics.md (E exact, B basic, T transcendental, C composite, R reduction, D dot).
    gradient: "vjp" (vjp is written), "decompose" (through the decomposition), "bodies" (through those of its bodies),
    "zero" (integer or piecewise constant: no gradient passes), or "none: reason".
    tells: the field that is the size of its result, which the data decides.
    """

    name: ClassVar[str]
    args: ClassVar[tuple[str, ...]] = ()
    tolerance: ClassVar[str] = "E"
    gradient: ClassVar[str] = "none: it has no derivative"
    tells: ClassVar[str] = ""

    @property
    def mnemonic(self) -> str:
        """The name that text and errors use; ops of several ranks add it (conv2d)."""
        return self.name

    def infer(self, *types: TensorType) -> Type:
        """The result type for these input types. Raises ShapeError, DTypeError or ArgumentError."""
        raise NotSupported(f"{self.name} has no shape rule")

    def claims(self, *types: TensorType) -> tuple[tuple[Dim, Dim], ...]:
        """Pairs of sizes that must be equal once their symbols are bound; a call checks them before it runs."""
        return ()

    def ref(self, *arrays: Array) -> Array | tuple[Array, ...]:
        """The meaning: results for these arrays, in the arrays' own precision."""
        raise NotSupported(f"{self.name} has no reference meaning")

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        """The gradients with respect to each input (None where none passes), given one gradient for each result."""
        raise NotSupported(f"{self.name} cannot be differentiated", help=self.gradient.removeprefix("none: "))

    def decompose(self, *inputs: Value) -> Value | tuple[Value, ...] | None:
        """The same in simpler ops, or None for a primitive op."""
        return None

    def argument_names(self, count: int) -> tuple[str, ...]:
        """One name for each of `count` inputs."""
        if self.args and self.args[-1].endswith("*"):
            base = self.args[-1][:-1]
            fixed = self.args[:-1]
            return fixed + tuple(f"{base}{i}" for i in range(count - len(fixed)))
        return self.args[:count] + tuple(f"arg{i}" for i in range(len(self.args), count))


AnyOp = TypeVar("AnyOp", bound=Op)


def bind_dims(op: AnyOp, env: Mapping[str, int]) -> AnyOp:
    """The op with the symbolic sizes in its attributes replaced by numbers."""
    changes: dict[str, object] = {}
    for item in fields(op):
        value = getattr(op, item.name)
        if isinstance(value, DimExpr):
            changes[item.name] = dim_value(value, env)
        elif isinstance(value, tuple):
            parts = cast("tuple[object, ...]", value)
            if any(isinstance(part, DimExpr) for part in parts):
                changes[item.name] = tuple(dim_value(p, env) if isinstance(p, DimExpr) else p for p in parts)
    return replace(op, **changes) if changes else op
