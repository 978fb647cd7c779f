"""From losses to new parameters: gradients, what is done to them, and the optimisers, as nodes of the step's graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.frontend.functions import elementwise
from chainrule.frontend.functions.shape import asarray
from chainrule.frontend.optim.base import Joint, Optimizer, Single, Slots
from chainrule.frontend.optim.scaling import LossScale
from chainrule.frontend.places import error
from chainrule.frontend.scope import Scope
from chainrule.frontend.state_source import States, StateSource, source
from chainrule.frontend.step_gradients import Trained, accumulated, all_finite, clipped, differentiated
from chainrule.frontend.stored import Buffer
from chainrule.frontend.tensor import Tensor
from chainrule.ir.graph import Value
from chainrule.ir.op import Array

NONFINITE = ("keep", "skip", "raise")


@dataclass(frozen=True)
class Update:
    """How gradients become new parameters.

    optimizers: by the name of the loss whose gradients they follow. clip_norm: the gradients of each loss are scaled
    so that their joint Euclidean norm is at most this. accumulate: gradients are averaged over so many calls, and the
    last of them updates (step counts updates). ema: the decay of a running mean of each parameter, kept as "ema."
    state beside it. loss_scale: the loss is multiplied by this before and the gradients divided by it after
    differentiation, for float types that underflow; "dynamic" is LossScale(). nonfinite: what a call does whose
    gradients hold NaN or infinity: "keep" updates all the same, "skip" changes nothing, "raise" neither and
    raises NumericsError.
    """

    optimizers: Mapping[str, Optimizer]
    clip_norm: float | None = None
    accumulate: int = 1
    ema: float | None = None
    loss_scale: float | str | LossScale = 1.0
    nonfinite: str = "keep"

    def __post_init__(self) -> None:
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise error(ArgumentError, f"clip_norm: {self.clip_norm} is not above 0", help="e.g. clip_norm=1.0")
        if not isinstance(self.accumulate, int) or self.accumulate < 1:
            raise error(ArgumentError, f"accumulate: {self.accumulate!r} is not a count", help="an int of 1 or more")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise error(ArgumentError, f"ema: {self.ema} is not a decay", help="0 <= ema < 1, for instance 0.999")
        if isinstance(self.loss_scale, str) and self.loss_scale != "dynamic":
            raise error(ArgumentError, f"loss_scale: {self.loss_scale!r} is not known", help='"dynamic", or a number')
        if isinstance(self.loss_scale, int | float) and not 0 < self.loss_scale < float("inf"):
            raise error(ArgumentError, f"loss_scale: {self.loss_scale} is not above 0", help="e.g. 1024.0")
        if self.nonfinite not in NONFINITE:
            raise error(ArgumentError, f"nonfinite: {self.nonfinite!r} is not known", help='"keep", "skip" or "raise"')


@dataclass(frozen=True, eq=False)
class Pace:
    """When and how fast an update moves.

    done: updates so far, i64. gate: whether this call moves at all, None: it does. rates: the learning rate of each
    optimiser, by id.
    """

    done: Tensor
    gate: Tensor | None
    rates: Mapping[int, Tensor]

    @property
    def number(self) -> Tensor:
        """The number of this update, from 1, f64."""
        return (self.done + 1).astype("f64")

    def gated(self, new: Tensor, old: Tensor) -> Tensor:
        """The new value where the gate is open."""
        return new if self.gate is None else elementwise.where(self.gate, new, old)


def updated(scope: Scope, losses: Mapping[str, Tensor], update: Update) -> tuple[States, Tensor | None]:
    """Assigns every trained parameter its new value.

    Returns the update's own state with its new values, and whether the gradients were finite, if that was asked for.
    """
    states: States = []
    scale = _scale(scope, update)
    trained = differentiated(scope, losses, update.optimizers, scale.size if isinstance(scale, Scale) else scale)
    gate: Tensor | None = None
    if update.accumulate > 1:
        trained, gate, states = accumulated(scope, trained, update.accumulate)
    sound: Tensor | None = None
    if update.nonfinite != "keep" or isinstance(scale, Scale):
        sound = all_finite([entry.grad for entry in trained])
        states += scale.updated(sound, gate) if isinstance(scale, Scale) else []
        gate = sound if gate is None else gate & sound
        _hold_buffers(scope, sound)
    if update.clip_norm is not None:
        trained = clipped(trained, update.clip_norm)
    counter = source(scope, "step", np.zeros((), np.int64))
    done = Tensor(counter.value, scope)
    states.insert(0, (counter, (done + (1 if gate is None else gate.astype("i64"))).value))
    rates: dict[int, Tensor] = {}
    for entry in trained:
        rates.setdefault(id(entry.optimizer), rate_at(entry.optimizer, done))
    states += moved(scope, trained, Pace(done, gate, rates), update.ema)
    return states, sound


def _hold_buffers(scope: Scope, sound: Tensor) -> None:
    """Buffers (running statistics, the random key) keep their old values in a call that is not sound."""
    for value, stored in scope.bound():
        new = scope.read(stored)
        if isinstance(stored, Buffer) and new is not value:
            scope.assign(stored, elementwise.where(sound, Tensor(new, scope), Tensor(value, scope)).value)


@dataclass(frozen=True, eq=False)
class Scale:
    """A loss scale that changes by a rule. sources: of its size, and of the sound updates since it last grew."""

    rule: LossScale
    sources: tuple[StateSource, StateSource]
    size: Tensor
    good: Tensor

    def updated(self, sound: Tensor, gate: Tensor | None) -> States:
        """Its state with the new values, which it takes in calls that are due to update."""
        old, new = (self.size, self.good), self.rule.update(self.size, self.good, sound)
        if gate is not None:
            new = tuple(elementwise.where(gate, after, before) for after, before in zip(new, old, strict=True))
        return [(place, tensor.value) for place, tensor in zip(self.sources, new, strict=True)]


def _scale(scope: Scope, update: Update) -> Scale | float:
    """The loss scale of a step."""
    rule = LossScale() if isinstance(update.loss_scale, str) else update.loss_scale
    if not isinstance(rule, LossScale):
        return float(rule)
    size = source(scope, "loss_scale", np.full((), rule.init_scale, np.float32))
    good = source(scope, "loss_scale_good", np.zeros((), np.int64))
    return Scale(rule, (size, good), Tensor(size.value, scope), Tensor(good.value, scope))


def moved(scope: Scope, trained: Sequence[Trained], pace: Pace, ema: float | None) -> States:
    """Assigns the parameters their new values; returns the optimisers' slots and the running means with theirs."""
    states: States = []
    together: dict[int, list[Trained]] = {}
    for entry in trained:
        if isinstance(entry.optimizer, Joint):
            together.setdefault(id(entry.optimizer), []).append(entry)
            continue
        states += _moved_alone(scope, entry, pace)
    for place, group in enumerate(together.values()):
        states += _moved_together(scope, group, pace, f"shared{place or ''}")
    if ema is not None:
        states += [_mean(scope, entry, pace, ema) for entry in trained]
    return states


def _moved_alone(scope: Scope, entry: Trained, pace: Pace) -> States:
    """One parameter by an optimiser that looks at nothing else."""
    param = Tensor(entry.value, scope)
    slots = _sources(scope, f"slots.{{}}.{entry.path}", entry.optimizer.slots(entry.value.tensor))
    old = _tensors(scope, slots)
    new, kept = entry.optimizer.update(param, _towards(entry), old, pace.number, pace.rates[id(entry.optimizer)])
    scope.assign(entry.stored, pace.gated(new, param).value)
    return [(slots[key], pace.gated(tensor, old[key]).value) for key, tensor in kept.items()]


def _towards(entry: Trained) -> Tensor:
    """The gradient that an update takes its step against."""
    rule = entry.optimizer
    return -entry.grad if isinstance(rule, Single) and rule.maximize else entry.grad


def _moved_together(scope: Scope, group: Sequence[Trained], pace: Pace, name: str) -> States:
    """All parameters of an optimiser that looks at them together."""
    rule = group[0].optimizer
    assert isinstance(rule, Joint)
    params = [Tensor(entry.value, scope) for entry in group]
    slots = [_sources(scope, f"slots.{{}}.{entry.path}", rule.slots(entry.value.tensor)) for entry in group]
    shared = _sources(scope, f"{name}.{{}}", rule.shared_slots())
    places, old = [*slots, shared], [_tensors(scope, part) for part in (*slots, shared)]
    grads = [_towards(entry) for entry in group]
    new, kept, together = rule.update_all(params, grads, old[:-1], old[-1], pace.rates[id(rule)])
    for entry, param, tensor in zip(group, params, new, strict=True):
        scope.assign(entry.stored, pace.gated(tensor, param).value)
    return [(place[key], pace.gated(tensor, before[key]).value)
            for place, before, after in zip(places, old, [*kept, together], strict=True)
            for key, tensor in after.items()]  # fmt: skip


def _mean(scope: Scope, entry: Trained, pace: Pace, decay: float) -> tuple[StateSource, Value]:
    """The running mean of a parameter with its next value."""
    mean = source(scope, f"ema.{entry.path}", entry.stored.data)
    before, new = Tensor(mean.value, scope), Tensor(scope.read(entry.stored), scope)
    return mean, pace.gated(decay * before + (1 - decay) * new, before).value


def _sources(scope: Scope, name: str, arrays: Mapping[str, Array]) -> dict[str, StateSource]:
    return {key: source(scope, name.format(key), array) for key, array in arrays.items()}


def _tensors(scope: Scope, sources: Mapping[str, StateSource]) -> Slots:
    return {key: Tensor(slot.value, scope) for key, slot in sources.items()}


def rate_at(optimizer: Optimizer, done: Tensor) -> Tensor:
    """The learning rate of the next update, f64, after `done` updates (i64)."""
    lr = optimizer.lr
    rate = lr(done.astype("f64")) if callable(lr) else lr
    return rate.astype("f64") if isinstance(rate, Tensor) else asarray(float(rate), "f64")
