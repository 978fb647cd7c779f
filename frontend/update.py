"""From a loss to new parameters: gradients, what is done to them, and the optimiser, as nodes of the step's graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.frontend.functions import elementwise
from chainrule.frontend.functions.shape import asarray
from chainrule.frontend.optim.base import Optimizer
from chainrule.frontend.places import error
from chainrule.frontend.scope import Scope, Stored
from chainrule.frontend.stored import Parameter
from chainrule.frontend.tensor import Tensor, number_value
from chainrule.ir.graph import Value, input_name, new_input
from chainrule.ir.op import Array
from chainrule.ir.types import type_of
from chainrule.passes.autodiff import gradients


@dataclass(frozen=True, eq=False)
class StateSource:
    """Where a param or state input of a step lives: an array that is read before and replaced after each call.

    name: its key in a checkpoint ("params.conv1.weight", "buffers.bn.running_mean", "slots.exp_avg.conv1.weight",
    "accumulated.conv1.weight", "ema.conv1.weight", "step", "rng.key"). stored: the Parameter or Buffer whose `data` the
    array is, if it is one.
    """

    value: Value
    name: str
    array: Array
    stored: Stored | None = None


@dataclass(frozen=True)
class Update:
    """How gradients become new parameters.

    clip_norm: gradients are scaled so that their joint Euclidean norm is at most this. accumulate: gradients are
    averaged over so many calls, and the last of them updates (step counts updates). ema: the decay of a running mean
    of each parameter, kept as "ema." state beside it. loss_scale: the loss is multiplied by this before and the
    gradients divided by it after differentiation, for float types that underflow. skip_nonfinite: a call whose
    gradients hold NaN or infinity changes no parameter and no slot.
    """

    optimizer: Optimizer
    clip_norm: float | None = None
    accumulate: int = 1
    ema: float | None = None
    loss_scale: float = 1.0
    skip_nonfinite: bool = False

    def __post_init__(self) -> None:
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise error(ArgumentError, f"clip_norm: {self.clip_norm} is not above 0", help="e.g. clip_norm=1.0")
        if not isinstance(self.accumulate, int) or self.accumulate < 1:
            raise error(ArgumentError, f"accumulate: {self.accumulate!r} is not a count", help="an int of 1 or more")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise error(ArgumentError, f"ema: {self.ema} is not a decay", help="0 <= ema < 1, for instance 0.999")
        if not 0 < self.loss_scale < float("inf"):
            raise error(ArgumentError, f"loss_scale: {self.loss_scale} is not above 0", help="e.g. 1024.0")


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained parameter with its optimiser and gradient."""

    value: Value
    stored: Parameter
    optimizer: Optimizer
    grad: Tensor

    @property
    def path(self) -> str:
        """Its name in the graph."""
        return input_name(self.value)


States = list[tuple[StateSource, Value]]


def updated(scope: Scope, loss: Tensor, update: Update) -> States:
    """Assigns every trained parameter its new value; returns the update's own state with its new values."""
    trained = _differentiated(scope, loss, update)
    grads = [entry.grad for entry in trained]
    states: States = []
    gate: Tensor | None = None
    if update.accumulate > 1:
        grads, gate, states = _accumulated(scope, trained, update.accumulate)
    if update.skip_nonfinite:
        sound = _finite(grads)
        gate = sound if gate is None else gate & sound
    if update.clip_norm is not None:
        grads = clipped(grads, update.clip_norm)
    counter = source(scope, "step", np.zeros((), np.int64))
    done = Tensor(counter.value, scope)
    states.insert(0, (counter, (done + (1 if gate is None else gate.astype("i64"))).value))
    rates: dict[int, Tensor] = {}
    for entry, grad in zip(trained, grads, strict=True):
        rate = rates.setdefault(id(entry.optimizer), rate_at(entry.optimizer, done))
        states += _moved(scope, entry, grad, done, rate, gate, update.ema)
    return states


def _differentiated(scope: Scope, loss: Tensor, update: Update) -> list[Trained]:
    """The trained parameters with their gradients. Raises ArgumentError when there are none."""
    wanted = [(value, stored, part) for value, stored in scope.bound()
              if isinstance(stored, Parameter) and stored.requires_grad
              and (part := update.optimizer.of(input_name(value))) is not None]  # fmt: skip
    scale = update.loss_scale
    seeds = None if scale == 1 else [number_value(scale, loss.dtype, "loss_scale")]
    found = gradients([loss.value], [value for value, _, _ in wanted], seeds)
    trained = [Trained(*entry, Tensor(grad, scope) * (1 / scale) if scale != 1 else Tensor(grad, scope))
               for entry, grad in zip(wanted, found, strict=True) if grad is not None]  # fmt: skip
    if not trained:
        raise error(ArgumentError, f"{scope.name}: the loss depends on no parameter that is trained",
                    help="check requires_grad, the optimiser's groups and what the loss is made of")  # fmt: skip
    return trained


def _moved(scope: Scope, entry: Trained, grad: Tensor, done: Tensor, rate: Tensor, gate: Tensor | None,
           ema: float | None) -> States:  # fmt: skip
    """Assigns one parameter its new value (where the gate is open); returns its slots with theirs."""
    param = Tensor(entry.value, scope)
    slots = {key: source(scope, f"slots.{key}.{entry.path}", array)
             for key, array in entry.optimizer.slots(entry.value.tensor).items()}  # fmt: skip
    old = {key: Tensor(slot.value, scope) for key, slot in slots.items()}
    new, kept = entry.optimizer.update(param, grad, old, (done + 1).astype("f64"), rate)
    scope.assign(entry.stored, _gated(gate, new, param).value)
    states: States = [(slots[key], _gated(gate, tensor, old[key]).value) for key, tensor in kept.items()]
    if ema is not None:
        mean = source(scope, f"ema.{entry.path}", entry.stored.data.copy())
        before = Tensor(mean.value, scope)
        states.append((mean, _gated(gate, ema * before + (1 - ema) * new, before).value))
    return states


def _gated(gate: Tensor | None, new: Tensor, old: Tensor) -> Tensor:
    return new if gate is None else elementwise.where(gate, new, old)


def _accumulated(scope: Scope, trained: Sequence[Trained], count: int) -> tuple[list[Tensor], Tensor, States]:
    """The mean gradients of the last `count` calls, whether this call is the last of them, and the sums kept."""
    counter = source(scope, "accumulated_calls", np.zeros((), np.int64))
    now = Tensor(counter.value, scope) + 1
    last = now == count
    states: States = [(counter, elementwise.where(last, 0, now).value)]
    means: list[Tensor] = []
    for entry in trained:
        kept = source(scope, f"accumulated.{entry.path}", np.zeros_like(entry.stored.data))
        total = Tensor(kept.value, scope) + entry.grad
        means.append(total * (1 / count))
        states.append((kept, elementwise.where(last, 0.0, total).value))
    return means, last, states


def _finite(grads: Sequence[Tensor]) -> Tensor:
    """Whether every gradient is free of NaN and infinity."""
    found = [elementwise.isfinite(grad).all() for grad in grads]
    every = found[0]
    for part in found[1:]:
        every = every & part
    return every


def rate_at(optimizer: Optimizer, done: Tensor) -> Tensor:
    """The learning rate of the next update, f64, after `done` updates (i64)."""
    lr = optimizer.lr
    rate = lr(done.astype("f64")) if callable(lr) else lr
    return rate.astype("f64") if isinstance(rate, Tensor) else asarray(float(rate), "f64")


def clipped(grads: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """The gradients scaled so that their joint norm is at most max_norm. Source: torch clip_grad_norm_."""
    squares = [elementwise.square(grad).sum().astype("f32") for grad in grads]
    norm = elementwise.sqrt(sum(squares[1:], start=squares[0]))
    scale = elementwise.minimum(max_norm / (norm + 1e-6), 1.0)
    return [grad * scale.astype(grad.dtype) for grad in grads]


def source(scope: Scope, name: str, array: Array) -> StateSource:
    """State of the step itself, with the array it starts from."""
    return StateSource(new_input(scope.take_name(name), type_of(array), "state"), name, array)
