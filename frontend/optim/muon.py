"""Muon: momentum whose matrix is made orthogonal before it is taken off the parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chainrule.errors import ArgumentError
from chainrule.frontend.functions import elementwise
from chainrule.frontend.optim.base import Rate, Single, Slots, as_param, check, check_rate, lerp, zeros
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Tensor
from chainrule.ir.op import Array
from chainrule.ir.types import TensorType

ADJUSTMENTS = ("original", "match_rms_adamw")


@dataclass(frozen=True)
class Muon(Single):
    """param -= lr * a * orthogonal(momentum), with decay taken off the parameter; for matrices only.

    The mean m moves towards the gradient by 1 - momentum; nesterov takes the gradient moved towards m by momentum. The
    matrix is divided by its norm and made nearly orthogonal by ns_steps of Newton and Schulz's quintic iteration, in
    the parameter's own element type. adjust_lr_fn: "original" (or None) has a = sqrt(max(1, rows/columns)),
    "match_rms_adamw" a = 0.2 sqrt(max(rows, columns)).

    Other parameters need another optimiser: optim.Grouped([("*weight", optim.Muon())], optim.AdamW()).
    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; torch.optim.Muon, which iterates in bf16.
    """

    lr: Rate = 1e-3
    weight_decay: float = 0.1
    momentum: float = 0.95
    nesterov: bool = True
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315)
    eps: float = 1e-7
    ns_steps: int = 5
    adjust_lr_fn: str | None = None

    def __post_init__(self) -> None:
        check_rate("Muon", self.lr)
        check("Muon", weight_decay=(self.weight_decay, 0, math.inf), momentum=(self.momentum, 0, math.inf))
        check("Muon", eps=(self.eps, 0, math.inf), ns_steps=(self.ns_steps, 0, 100))
        if self.adjust_lr_fn is not None and self.adjust_lr_fn not in ADJUSTMENTS:
            raise error(ArgumentError, f"Muon: adjust_lr_fn={self.adjust_lr_fn!r} is not known",
                        help="None or one of " + ", ".join(ADJUSTMENTS))  # fmt: skip

    def slots(self, param: TensorType) -> dict[str, Array]:
        if param.rank != 2:
            raise error(ArgumentError, f"Muon: a parameter of type {param} is no matrix",
                        help='give the others to another optimiser: optim.Grouped([("*weight", optim.Muon())], '
                             "optim.AdamW())")  # fmt: skip
        return {"momentum_buffer": zeros(param)}

    def update(self, param: Tensor, grad: Tensor, slots: Slots, step: Tensor, lr: Tensor) -> tuple[Tensor, Slots]:
        buffer = lerp(slots["momentum_buffer"], grad, 1 - self.momentum)
        move = self._orthogonal(lerp(grad, buffer, self.momentum) if self.nesterov else buffer)
        if self.weight_decay:
            param = param * as_param(1 - lr * self.weight_decay, param)
        return param - as_param(lr * self._adjustment(param), param) * move, {"momentum_buffer": buffer}

    def _orthogonal(self, x: Tensor) -> Tensor:
        a, b, c = self.ns_coefficients
        tall = int(x.shape[0]) > int(x.shape[1])
        x = x.T if tall else x
        x = x / elementwise.maximum(elementwise.sqrt((x * x).sum()), self.eps)
        for _ in range(self.ns_steps):
            gram = x @ x.T
            x = a * x + (b * gram + c * (gram @ gram)) @ x
        return x.T if tall else x

    def _adjustment(self, param: Tensor) -> float:
        rows, columns = (int(size) for size in param.shape)
        if self.adjust_lr_fn == "match_rms_adamw":
            return 0.2 * math.sqrt(max(rows, columns))
        return math.sqrt(max(1.0, rows / columns))
