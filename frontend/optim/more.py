"""Further optimisers: RMSprop, Adagrad, Adadelta, Adamax, NAdam, RAdam, LAMB, Lion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chainrule.frontend.functions import elementwise
from chainrule.frontend.optim.adam import check_betas
from chainrule.frontend.optim.base import Rate, Single, Slots, as_param, check, check_rate, decayed, filled, lerp, zeros
from chainrule.frontend.tensor import Tensor
from chainrule.ir.op import Array
from chainrule.ir.types import TensorType

INF = math.inf


@dataclass(frozen=True)
class RMSprop(Single):
    """param -= lr * grad / (sqrt(mean of grad^2) + eps); centered takes the variance instead, momentum keeps a buffer.

    Source: Hinton's lecture 6e; torch.optim.RMSprop.
    """

    lr: Rate = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False

    def __post_init__(self) -> None:
        check_rate("RMSprop", self.lr)
        check("RMSprop", alpha=(self.alpha, 0, INF), eps=(self.eps, 0, INF), momentum=(self.momentum, 0, INF))
        check("RMSprop", weight_decay=(self.weight_decay, 0, INF))

    def slots(self, param: TensorType) -> dict[str, Array]:
        names = ["square_avg"] + ["grad_avg"] * self.centered + ["momentum_buffer"] * (self.momentum > 0)
        return {name: zeros(param) for name in names}

    def update(self, param: Tensor, grad: Tensor, slots: Slots, step: Tensor, lr: Tensor) -> tuple[Tensor, Slots]:
        if self.weight_decay:
            grad = grad + self.weight_decay * param
        square = self.alpha * slots["square_avg"] + (1 - self.alpha) * (grad * grad)
        new = {"square_avg": square}
        spread = square
        if self.centered:
            new["grad_avg"] = mean = lerp(slots["grad_avg"], grad, 1 - self.alpha)
            spread = square - mean * mean
        move = grad / (elementwise.sqrt(spread) + self.eps)
        if self.momentum:
            new["momentum_buffer"] = move = self.momentum * slots["momentum_buffer"] + move
        return param - as_param(lr, param) * move, new


@dataclass(frozen=True)
class Adagrad(Single):
    """param -= lr / (1 + (step - 1) * lr_decay) * grad / (sqrt(sum of grad^2) + eps).

    Source: Duchi et al. 2011; torch.optim.Adagrad.
    """

    lr: Rate = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10

    def __post_init__(self) -> None:
        check_rate("Adagrad", self.lr)
        check("Adagrad", lr_decay=(self.lr_decay, 0, INF), weight_decay=(self.weight_decay, 0, INF))
        check("Adagrad", initial_accumulator_value=(self.initial_accumulator_value, 0, INF), eps=(self.eps, 0, INF))

    def slots(self, param: TensorType) -> dict[str, Array]:
        return {"sum": filled(param, self.initial_accumulator_value)}

    def update(self, param: Tensor, grad: Tensor, slots: Slots, step: Tensor, lr: Tensor) -> tuple[Tensor, Slots]:
        if self.weight_decay:
            grad = grad + self.weight_decay * param
        total = slots["sum"] + grad * grad
        rate = as_param(lr / (1 + (step - 1) * self.lr_decay), param)
        return param - rate * (grad / (elementwise.sqrt(total) + self.eps)), {"sum": total}


@dataclass(frozen=True)
class Adadelta(Single):
    """param -= lr * grad * sqrt(mean of moves^2 + eps) / sqrt(mean of grad^2 + eps).

    Source: Zeiler 2012; torch.optim.Adadelta.
    """

    lr: Rate = 1.0
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_rate("Adadelta", self.lr)
        check("Adadelta", eps=(self.eps, 0, INF), weight_decay=(self.weight_decay, 0, INF))

    def slots(self, param: TensorType) -> dict[str, Array]:
        return {"square_avg": zeros(param), "acc_delta": zeros(param)}

    def update(self, param: Tensor, grad: Tensor, slots: Slots, step: Tensor, lr: Tensor) -> tuple[Tensor, Slots]:
        if self.weight_decay:
            grad = grad + self.weight_decay * param
        square = self.rho * slots["square_avg"] + (1 - self.rho) * (grad * grad)
        ratio = elementwise.sqrt(slots["acc_delta"] + self.eps) / elementwise.sqrt(square + self.eps)
        move = ratio * grad
        moved = self.rho * slots["acc_delta"] + (1 - self.rho) * (move * move)
        return param - as_param(lr, param) * move, {"square_avg": square, "acc_delta": moved}


@dataclass(frozen=True)
class Adamax(Single):
    """Adam with the largest recent gradient in place of the mean of squares. Source: Kingma and Ba 2015, 7.1."""

    lr: Rate = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_rate("Adamax", self.lr)
        check_betas("Adamax", self.betas, self.eps, self.weight_decay)

    def slots(self, param: TensorType) -> dict[str, Array]:
        return {"exp_avg": zeros(param), "exp_inf": zeros(param)}

    def update(self, param: Tensor, grad: Tensor, slots: Slots, step: Tensor, lr: Tensor) -> tuple[Tensor, Slots]:
        if self.weight_decay:
            grad = grad + self.weight_decay * param
        first = lerp(slots["exp_avg"], grad, 1 - self.betas[0])
        largest = elementwise.maximum(self.betas[1] * slots["exp_inf"], elementwise.abs(grad) + self.eps)
        rate = as_param(lr / (1 - self.betas[0] ** step), param)
        return param - rate * (first / largest), {"exp_avg": first, "exp_inf": largest}


@dataclass(frozen=True)
class NAdam(Single):
    """Adam with Nesterov's look ahead. Source: Dozat 2016; torch.optim.NAdam."""

    lr: Rate = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum_decay: float = 4e-3
    decoupled_weight_decay: bool = False

    def __post_init__(self) -> None:
        check_rate("NAdam", self.lr)
        check_betas("NAdam", self.betas, self.eps, self.weight_decay)
        check("NAdam", momentum_decay=(self.momentum_decay, 0, INF))

    def slots(self, param: TensorType) -> dict[str, Array]:
        return {"exp_avg": zeros(param), "exp_avg_sq": zeros(param), "mu_product": np.ones((), np.float64)}

    def update(self, param: Tensor, grad: Tensor, slots: Slots, step: Tensor, lr: Tensor) -> tuple[Tensor, Slots]:
        beta1, beta2 = self.betas
        param, grad = decayed(param, grad, lr, self.weight_decay, self.decoupled_weight_decay)
        mu = beta1 * (1 - 0.5 * 0.96 ** (step * self.momentum_decay))
        ahead = beta1 * (1 - 0.5 * 0.96 ** ((step + 1) * self.momentum_decay))
        product = slots["mu_product"] * mu
        first = lerp(slots["exp_avg"], grad, 1 - beta1)
        second = beta2 * slots["exp_avg_sq"] + (1 - beta2) * (grad * grad)
        spread = elementwise.sqrt(second / as_param(1 - beta2**step, param)) + self.eps
        now = as_param(lr * (1 - mu) / (1 - product), param) * (grad / spread)
        then = as_param(lr * ahead / (1 - product * ahead), param) * (first / spread)
        return param - now - then, {"exp_avg": first, "exp_avg_sq": second, "mu_product": product}


@dataclass(frozen=True)
class RAdam(Single):
    """Adam whose early steps are plain momentum until the variance is known. Source: Liu et al. 2020; torch RAdam."""

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False

    def __post_init__(self) -> None:
        check_rate("RAdam", self.lr)
        check_betas("RAdam", self.betas, self.eps, self.weight_decay)

    def slots(self, param: TensorType) -> dict[str, Array]:
        return {"exp_avg": zeros(param), "exp_avg_sq": zeros(param)}

    def update(self, param: Tensor, grad: Tensor, slots: Slots, step: Tensor, lr: Tensor) -> tuple[Tensor, Slots]:
        beta1, beta2 = self.betas
        param, grad = decayed(param, grad, lr, self.weight_decay, self.decoupled_weight_decay)
        first = lerp(slots["exp_avg"], grad, 1 - beta1)
        second = beta2 * slots["exp_avg_sq"] + (1 - beta2) * (grad * grad)
        most = 2 / (1 - beta2) - 1
        left = 1 - beta2**step
        length = most - 2 * step * beta2**step / left
        known = elementwise.maximum(length, 5.0)  # below, the other branch is taken: keeps the root real
        ratio = (known - 4) * (known - 2) * most / ((most - 4) * (most - 2) * known)
        scale = elementwise.sqrt(ratio) * elementwise.sqrt(left)
        adapted = as_param(scale, param) / (elementwise.sqrt(second) + self.eps)
        factor = elementwise.where(length > 5.0, adapted, 1.0)
        rate = as_param(lr / (1 - beta1**step), param)
        return param - rate * first * factor, {"exp_avg": first, "exp_avg_sq": second}


@dataclass(frozen=True)
class LAMB(Single):
    """AdamW's move scaled, for each parameter, to the parameter's own norm. Source: You et al. 2020, algorithm 2."""

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_rate("LAMB", self.lr)
        check_betas("LAMB", self.betas, self.eps, self.weight_decay)

    def slots(self, param: TensorType) -> dict[str, Array]:
        return {"exp_avg": zeros(param), "exp_avg_sq": zeros(param)}

    def update(self, param: Tensor, grad: Tensor, slots: Slots, step: Tensor, lr: Tensor) -> tuple[Tensor, Slots]:
        beta1, beta2 = self.betas
        first = lerp(slots["exp_avg"], grad, 1 - beta1)
        second = beta2 * slots["exp_avg_sq"] + (1 - beta2) * (grad * grad)
        near = first / as_param(1 - beta1**step, param)
        spread = elementwise.sqrt(second / as_param(1 - beta2**step, param)) + self.eps
        move = near / spread + self.weight_decay * param
        size, reach = (elementwise.sqrt((t * t).sum()) for t in (param, move))
        trust = elementwise.where((size > 0) & (reach > 0), size / elementwise.maximum(reach, 1e-30), 1.0)
        return param - as_param(lr, param) * trust * move, {"exp_avg": first, "exp_avg_sq": second}


@dataclass(frozen=True)
class Lion(Single):
    """param -= lr * sign of a running mean, with decay taken off the parameter. Source: Chen et al. 2023."""

    lr: Rate = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_rate("Lion", self.lr)
        check_betas("Lion", self.betas, 0.0, self.weight_decay)

    def slots(self, param: TensorType) -> dict[str, Array]:
        return {"exp_avg": zeros(param)}

    def update(self, param: Tensor, grad: Tensor, slots: Slots, step: Tensor, lr: Tensor) -> tuple[Tensor, Slots]:
        if self.weight_decay:
            param = param * as_param(1 - lr * self.weight_decay, param)
        move = elementwise.sign(lerp(slots["exp_avg"], grad, 1 - self.betas[0]))
        return param - as_param(lr, param) * move, {"exp_avg": lerp(slots["exp_avg"], grad, 1 - self.betas[1])}
