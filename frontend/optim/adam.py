"""Adam and its relatives: steps scaled by running means of the gradient and of its square."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chainrule.frontend.functions import elementwise
from chainrule.frontend.optim.base import Rate, Single, Slots, as_param, check, check_rate, decayed, lerp, zeros
from chainrule.frontend.tensor import Tensor
from chainrule.ir.op import Array
from chainrule.ir.types import TensorType


@dataclass(frozen=True)
class Adam(Single):
    """param -= lr * m / (sqrt(v) + eps), with m and v the bias-corrected running means of grad and grad^2.

    weight_decay adds that share of the parameter to its gradient; with decoupled_weight_decay it is taken off the
    parameter itself: param *= 1 - lr * weight_decay. amsgrad takes the largest v so far. Source: Kingma
    and Ba 2015; Reddi et al. 2018; torch.optim.Adam.
    """

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False
    decoupled_weight_decay: bool = False

    def __post_init__(self) -> None:
        check_rate(type(self).__name__, self.lr)
        check_betas(type(self).__name__, self.betas, self.eps, self.weight_decay)

    def slots(self, param: TensorType) -> dict[str, Array]:
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * self.amsgrad
        return {name: zeros(param) for name in names}

    def update(self, param: Tensor, grad: Tensor, slots: Slots, step: Tensor, lr: Tensor) -> tuple[Tensor, Slots]:
        param, grad = decayed(param, grad, lr, self.weight_decay, self.decoupled_weight_decay)
        beta1, beta2 = self.betas
        first = lerp(slots["exp_avg"], grad, 1 - beta1)
        second = beta2 * slots["exp_avg_sq"] + (1 - beta2) * (grad * grad)
        new = {"exp_avg": first, "exp_avg_sq": second}
        if self.amsgrad:
            new["max_exp_avg_sq"] = second = elementwise.maximum(slots["max_exp_avg_sq"], second)
        rate = as_param(lr / (1 - beta1**step), param)
        scale = as_param(elementwise.sqrt(1 - beta2**step), param)
        return param - rate * (first / (elementwise.sqrt(second) / scale + self.eps)), new


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay. Source: Loshchilov and Hutter 2019; torch.optim.AdamW."""

    weight_decay: float = 1e-2
    decoupled_weight_decay: bool = True


def check_betas(name: str, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
    """Raises ArgumentError for what no Adam takes."""
    check(name, beta1=(betas[0], 0, 1), beta2=(betas[1], 0, 1))
    check(name, eps=(eps, 0, math.inf), weight_decay=(weight_decay, 0, math.inf))
