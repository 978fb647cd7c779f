"""A loss scale that finds its size while training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chainrule.frontend.functions import elementwise
from chainrule.frontend.optim.base import check
from chainrule.frontend.tensor import Tensor


@dataclass(frozen=True)
class LossScale:
    """A factor on the loss that halves when a gradient overflows and doubles after growth_interval sound updates.

    An update whose gradients hold NaN or infinity is skipped. Source: torch.amp.GradScaler.
    """

    init_scale: float = 65536.0
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000

    def __post_init__(self) -> None:
        check("LossScale", init_scale=(self.init_scale, 1e-300, math.inf), backoff_factor=(self.backoff_factor, 0, 1))
        check("LossScale", growth_factor=(self.growth_factor, 1, math.inf))
        check("LossScale", growth_interval=(self.growth_interval, 1, math.inf))

    def update(self, scale: Tensor, good: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """The next scale and count of sound updates in a row. sound: whether this update was one."""
        counted = elementwise.where(sound, good + 1, 0)
        grows = counted == self.growth_interval
        larger = elementwise.where(grows, scale * self.growth_factor, scale)
        next_scale = elementwise.where(sound, larger, scale * self.backoff_factor)
        return next_scale, elementwise.where(grows, 0, counted)
