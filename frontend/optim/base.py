"""The form of an optimiser: what it keeps for a parameter, and how one update is computed."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Protocol, runtime_checkable

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Tensor
from chainrule.ir.op import Array
from chainrule.ir.types import TensorType

Slots = Mapping[str, Tensor]
Rate = float | Callable[[Tensor], Tensor]
Match = str | Callable[[str], bool]


class Optimizer(Protocol):
    """What a training step asks of an optimiser.

    lr: the learning rate, a number or a schedule (see schedules): a function from the count of updates done so far (an
    f64 tensor of rank 0) to the rate of the next one. It becomes part of the step's graph.
    """

    @property
    def lr(self) -> Rate:
        """The learning rate, a number or a schedule."""
        ...

    def of(self, name: str) -> Optimizer | None:
        """The optimiser of the parameter of this name; None leaves it as it is."""
        ...

    def slots(self, param: TensorType) -> dict[str, Array]:
        """The state that is kept for a parameter of this type, with the values it starts from."""
        ...

    def update(self, param: Tensor, grad: Tensor, slots: Slots, step: Tensor, lr: Tensor) -> tuple[Tensor, Slots]:
        """The new parameter and its new slots.

        step: the number of this update, from 1. lr: its learning rate. Both are f64 tensors of rank 0, so that what is
        computed from them (bias corrections) is as exact as in Python.
        """
        ...


@runtime_checkable
class Joint(Protocol):
    """An optimiser that looks at all its parameters together; it has slots of its own beside those of each."""

    def slots(self, param: TensorType) -> dict[str, Array]: ...

    def shared_slots(self) -> dict[str, Array]: ...

    def update_all(
        self, params: Sequence[Tensor], grads: Sequence[Tensor], slots: Sequence[Slots], shared: Slots, lr: Tensor
    ) -> tuple[list[Tensor], list[Slots], Slots]: ...


@dataclass(frozen=True)
class Single:
    """What optimisers for all parameters share. maximize: the loss is to grow, so updates see minus its gradients."""

    maximize: bool = field(default=False, kw_only=True, repr=False)

    def of(self, name: str) -> Optimizer | None:
        """Itself, for every name."""
        return self  # type: ignore[return-value]


def fits(match: Match, name: str) -> bool:
    """True when a rule is for the parameter of this name."""
    return fnmatch.fnmatchcase(name, match) if isinstance(match, str) else match(name)


@dataclass(frozen=True)
class Grouped:
    """Parameter groups: the first rule whose pattern fits a parameter's name gives its optimiser, else `default`.

    rules: pairs of a pattern and an optimiser, None to leave the parameters as they are. A pattern is a shell pattern
    ("*.bias", "encoder.*") or a function from a name to a bool. A pattern that fits no parameter is refused.

        optim.Grouped([("*.bias", optim.AdamW(1e-3, weight_decay=0.0))], optim.AdamW(1e-3))
    """

    rules: tuple[tuple[Match, Optimizer | None], ...]
    default: Optimizer | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", tuple((match, optimizer) for match, optimizer in self.rules))

    def of(self, name: str) -> Optimizer | None:
        """The optimiser of the parameter of this name."""
        for match, optimizer in self.rules:
            if fits(match, name):
                return optimizer.of(name) if optimizer is not None else None
        return self.default.of(name) if self.default is not None else None

    def require_fitting(self, names: Sequence[str]) -> None:
        """Raises ArgumentError for a pattern that fits none of these parameters: it would leave them to the default."""
        for match, _ in self.rules:
            if isinstance(match, str) and names and not any(fits(match, name) for name in names):
                close = get_close_matches(match.replace("*", ""), names, 1, 0.0)
                raise error(ArgumentError, f"Grouped: {match!r} fits no parameter",
                            notes=[f"parameters: {', '.join(names[:8])}" + ", ..." * (len(names) > 8)],
                            help=f"patterns are of whole names, as {close[0]!r} or '*.bias'")  # fmt: skip

    @property
    def lr(self) -> Rate:
        """Groups have rates of their own; this one is the default's."""
        return self.default.lr if self.default is not None else 0.0

    def slots(self, param: TensorType) -> dict[str, Array]:
        """Refused: ask the optimiser of a name."""
        raise error(ArgumentError, "groups keep nothing themselves", help="ask of(name)")

    def update(self, param: Tensor, grad: Tensor, slots: Slots, step: Tensor, lr: Tensor) -> tuple[Tensor, Slots]:
        """Refused: ask the optimiser of a name."""
        raise error(ArgumentError, "groups update nothing themselves", help="ask of(name)")


def zeros(param: TensorType) -> Array:
    """Zeros of a parameter's type."""
    return np.zeros([int(size) for size in param.shape], param.dtype.numpy)


def filled(param: TensorType, value: float) -> Array:
    """An array of a parameter's type with one value everywhere."""
    return np.full([int(size) for size in param.shape], value, param.dtype.numpy)


def as_param(number: Tensor, param: Tensor) -> Tensor:
    """A number computed in f64, rounded to the parameter's element type."""
    return number.astype(param.dtype)


def lerp(start: Tensor, end: Tensor, share: float) -> Tensor:
    """start moved towards end by this share of the way."""
    return start + share * (end - start)


def decayed(
    param: Tensor, grad: Tensor, lr: Tensor, weight_decay: float, decoupled: bool
) -> tuple[Tensor, Tensor]:
    """Parameter and gradient with a share of the parameter added to the gradient, or taken off the parameter itself."""
    if not weight_decay:
        return param, grad
    if decoupled:
        return param * as_param(1 - lr * weight_decay, param), grad
    return param, grad + weight_decay * param


def check(name: str, **limits: tuple[float, float, float]) -> None:
    """Raises ArgumentError when a hyperparameter (value, low, high) is outside of [low, high)."""
    for what, (value, low, high) in limits.items():
        if not low <= value < high:
            bound = f"{low} <= {what}" + (f" < {high}" if high != float("inf") else "")
            raise error(ArgumentError, f"{name}: {what}={value} is out of range", help=bound)


def check_rate(name: str, lr: Rate) -> None:
    """Raises ArgumentError unless the learning rate is a non-negative number or a schedule."""
    if callable(lr):
        return
    if not isinstance(lr, int | float) or not 0 <= lr < float("inf"):
        usual = "give a number such as 1e-3, or one of optim.schedules"
        if isinstance(lr, Iterable) and not isinstance(lr, str):
            raise error(ArgumentError, f"{name}: the first argument is the learning rate, not the parameters",
                        help=f"{usual}; a training step knows the parameters of its model")  # fmt: skip
        raise error(ArgumentError, f"{name}: lr={lr!r} is not a learning rate", help=usual)
