"""Learning-rate schedules: functions from the count of updates done so far to the rate of the next one.

They are computed inside the step's graph from its step counter, so a step stays one native call and the exported step
holds its schedule. All count updates, not epochs. A function of one f64 tensor is a schedule too:
`optim.SGD(lambda step: 0.1 * 0.99**step)`. `rate(schedule, step)` tells the number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.frontend import eager
from chainrule.frontend import scope as scopes
from chainrule.frontend.functions import elementwise
from chainrule.frontend.functions.shape import asarray
from chainrule.frontend.optim.base import Rate
from chainrule.frontend.optim.plateau import Plateau as Plateau
from chainrule.frontend.places import error
from chainrule.frontend.scope import Scope
from chainrule.frontend.tensor import Tensor
from chainrule.ir.graph import new_input
from chainrule.ir.types import TensorType, f64

_LAST_UPDATE = 1 << 40  # schedules of growing parts are written out up to here


def rate(schedule: Rate, step: int) -> float:
    """The learning rate after `step` updates."""
    if not callable(schedule):
        return float(schedule)
    scope = Scope("schedule")
    counter = new_input("step", TensorType(f64, ()))
    with scopes.entered(scope):
        result = schedule(Tensor(counter, scope))
        if not isinstance(result, Tensor):
            return float(result)
        return float(eager.run((result.value,), {counter: np.asarray(step, np.float64)})[0])


@dataclass(frozen=True)
class Step:
    """lr * gamma ** (step // step_size). Source: torch StepLR."""

    lr: float
    step_size: int
    gamma: float = 0.1

    def __call__(self, step: Tensor) -> Tensor:
        return self.lr * self.gamma ** elementwise.floor(step / self.step_size)


@dataclass(frozen=True)
class MultiStep:
    """lr times gamma once for each milestone that is reached. Source: torch MultiStepLR."""

    lr: float
    milestones: Sequence[int]
    gamma: float = 0.1

    def __call__(self, step: Tensor) -> Tensor:
        passed = sum(((step >= m).astype("f64") for m in self.milestones), start=step * 0)
        return self.lr * self.gamma**passed


@dataclass(frozen=True)
class Exponential:
    """lr * gamma ** step. Source: torch ExponentialLR."""

    lr: float
    gamma: float

    def __call__(self, step: Tensor) -> Tensor:
        return self.lr * self.gamma**step


@dataclass(frozen=True)
class Cosine:
    """From lr down to eta_min along half a cosine over `steps` updates. Source: torch CosineAnnealingLR."""

    lr: float
    steps: int
    eta_min: float = 0.0

    def __call__(self, step: Tensor) -> Tensor:
        return _cosine(self.lr, self.eta_min, elementwise.clip(step / self.steps, 0.0, 1.0))


@dataclass(frozen=True)
class CosineRestarts:
    """From lr down to eta_min along half a cosine, again and again: over T_0 updates, then T_mult times as many each.

    Source: Loshchilov and Hutter 2017; torch CosineAnnealingWarmRestarts.
    """

    lr: float
    T_0: int
    T_mult: int = 1
    eta_min: float = 0.0

    def __post_init__(self) -> None:
        if not (isinstance(self.T_0, int) and self.T_0 >= 1 and isinstance(self.T_mult, int) and self.T_mult >= 1):
            raise error(ArgumentError, f"CosineRestarts: T_0={self.T_0}, T_mult={self.T_mult}",
                        help="ints of 1 or more")  # fmt: skip

    def __call__(self, step: Tensor) -> Tensor:
        if self.T_mult == 1:
            share = step / self.T_0 - elementwise.floor(step / self.T_0)
            return _cosine(self.lr, self.eta_min, share)
        lengths = [self.T_0]
        while sum(lengths) < _LAST_UPDATE:
            lengths.append(lengths[-1] * self.T_mult)
        starts = np.concatenate([[0], np.cumsum(np.array(lengths, np.float64))])
        begun = (step >= asarray(starts[1:])).astype("f64")  # one for each restart that has come
        since = step - (begun * asarray(np.diff(starts))).sum()
        return _cosine(self.lr, self.eta_min, since / (self.T_0 * float(self.T_mult) ** begun.sum()))


@dataclass(frozen=True)
class Linear:
    """lr times a factor that goes from start_factor to end_factor over `steps` updates. Source: torch LinearLR."""

    lr: float
    steps: int
    start_factor: float = 1.0
    end_factor: float = 0.0

    def __call__(self, step: Tensor) -> Tensor:
        share = elementwise.clip(step / self.steps, 0.0, 1.0)
        return self.lr * (self.start_factor + (self.end_factor - self.start_factor) * share)


@dataclass(frozen=True)
class Polynomial:
    """lr * (1 - step/steps) ** power, 0 after. Source: torch PolynomialLR."""

    lr: float
    steps: int
    power: float = 1.0

    def __call__(self, step: Tensor) -> Tensor:
        return self.lr * (1 - elementwise.clip(step / self.steps, 0.0, 1.0)) ** self.power


@dataclass(frozen=True)
class OneCycle:
    """Up from max_lr/div_factor to max_lr over pct_start of the steps, then down to that /final_div_factor, by cosines.

    Source: Smith and Topin 2018; torch OneCycleLR with anneal_strategy="cos" (whose momentum cycle is not here).
    """

    max_lr: float
    steps: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __call__(self, step: Tensor) -> Tensor:
        top = self.pct_start * self.steps - 1
        start = self.max_lr / self.div_factor
        rising = _cosine(start, self.max_lr, elementwise.clip(step / top, 0.0, 1.0) if top > 0 else step * 0 + 1)
        share = elementwise.clip((step - top) / (self.steps - 1 - top), 0.0, 1.0)
        falling = _cosine(self.max_lr, start / self.final_div_factor, share)
        return elementwise.where(step <= top, rising, falling)


@dataclass(frozen=True)
class WarmUp:
    """Another schedule (or number) times a factor that rises from start_factor to 1 over the first `steps` updates.

    The inner schedule counts from the first update on.
    """

    inner: Rate
    steps: int
    start_factor: float = 0.0

    def __call__(self, step: Tensor) -> Tensor:
        share = elementwise.clip((step + 1) / self.steps, 0.0, 1.0)
        factor = self.start_factor + (1 - self.start_factor) * share
        return factor * (self.inner(step) if callable(self.inner) else self.inner)


@dataclass(frozen=True)
class Chained:
    """Schedules one after another: the k-th holds from milestones[k-1] on and counts from there. torch SequentialLR."""

    parts: Sequence[Rate]
    milestones: Sequence[int]

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.milestones) + 1:
            raise error(ArgumentError, f"{len(self.parts)} schedules and {len(self.milestones)} milestones do not fit",
                        help="there is one milestone between each two schedules")  # fmt: skip

    def __call__(self, step: Tensor) -> Tensor:
        def value(part: Rate, since: Tensor) -> Tensor | float:
            return part(since) if callable(part) else part

        result = value(self.parts[0], step)
        for part, start in zip(self.parts[1:], self.milestones, strict=True):
            result = elementwise.where(step >= start, value(part, elementwise.maximum(step - start, 0.0)), result)
        return step * 0 + result


def _cosine(start: float, end: float, share: Tensor) -> Tensor:
    """From start (share 0) to end (share 1) along half a cosine."""
    return end + (start - end) * 0.5 * (1 + elementwise.cos(math.pi * share))


Schedule = Callable[[Tensor], Tensor]
