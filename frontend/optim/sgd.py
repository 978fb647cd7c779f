"""Stochastic gradient descent."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chainrule.errors import ArgumentError
from chainrule.frontend.functions import elementwise
from chainrule.frontend.optim.base import Rate, Single, Slots, as_param, check, check_rate, zeros
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Tensor
from chainrule.ir.op import Array
from chainrule.ir.types import TensorType


@dataclass(frozen=True)
class SGD(Single):
    """param -= lr * buffer, where buffer = momentum * buffer + (1 - dampening) * grad (grad itself at first).

    nesterov takes grad + momentum * buffer instead of the buffer. weight_decay adds that share of the parameter to
    its gradient. Source: torch.optim.SGD.
    """

    lr: Rate = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        check_rate("SGD", self.lr)
        check("SGD", momentum=(self.momentum, 0, math.inf), weight_decay=(self.weight_decay, 0, math.inf))
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise error(ArgumentError, "SGD: nesterov needs a momentum and no dampening", help="e.g. momentum=0.9")

    def slots(self, param: TensorType) -> dict[str, Array]:
        return {"momentum_buffer": zeros(param)} if self.momentum else {}

    def update(self, param: Tensor, grad: Tensor, slots: Slots, step: Tensor, lr: Tensor) -> tuple[Tensor, Slots]:
        if self.weight_decay:
            grad = grad + self.weight_decay * param
        if not self.momentum:
            return param - as_param(lr, param) * grad, {}
        buffer = self.momentum * slots["momentum_buffer"] + (1 - self.dampening) * grad
        if self.dampening:
            buffer = elementwise.where(step == 1, grad, buffer)
        direction = grad + self.momentum * buffer if self.nesterov else buffer
        return param - as_param(lr, param) * direction, {"momentum_buffer": buffer}
