"""L-BFGS: steps along an inverse Hessian that is known from the last gradients, for all parameters together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.frontend.functions import elementwise
from chainrule.frontend.functions.create import zeros as zeros_tensor
from chainrule.frontend.functions.shape import concatenate, stack
from chainrule.frontend.optim.base import Rate, Single, Slots, as_param, check, check_rate, zeros
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Tensor
from chainrule.ir.op import Array
from chainrule.ir.types import TensorType

_LEAST_CURVATURE = 1e-10  # y.s below this leaves the history as it is, as in torch


@dataclass(frozen=True)
class LBFGS(Single):
    """param += lr * d, where d is minus the gradient times the inverse Hessian of the last history_size steps.

    One call of a training step is one iteration: torch.optim.LBFGS with max_iter=1 and no line search. The first
    iteration goes down the gradient by at most lr / sum |grad|. Nothing moves when no gradient is above tolerance_grad,
    and no parameter when the slope along d is above -tolerance_change. The batch should be all of the data.

    history_size vectors of each parameter's size are kept twice. The recursion over them is unrolled in the step, so a
    long history takes long to compile.
    Source: Nocedal 1980; Byrd, Nocedal and Schnabel 1994 (the products s_i . y_j that are kept); torch.optim.LBFGS.
    """

    lr: Rate = 1.0
    tolerance_grad: float = 1e-7
    tolerance_change: float = 1e-9
    history_size: int = 100

    def __post_init__(self) -> None:
        check_rate("LBFGS", self.lr)
        check("LBFGS", tolerance_grad=(self.tolerance_grad, 0, math.inf), history_size=(self.history_size, 1, 1 << 20))
        check("LBFGS", tolerance_change=(self.tolerance_change, 0, math.inf))

    def slots(self, param: TensorType) -> dict[str, Array]:
        one = zeros(param)
        many = np.zeros((self.history_size, *one.shape), one.dtype)
        return {"prev_grad": one, "prev_step": one.copy(), "old_dirs": many, "old_steps": many.copy()}

    def shared_slots(self) -> dict[str, Array]:
        """iterations done, the scale of the first Hessian, and products[i, j] = s_i . y_j for i <= j."""
        size = self.history_size
        return {"iterations": np.zeros((), np.int64), "scale": np.ones(()), "products": np.zeros((size, size))}

    def update(self, param: Tensor, grad: Tensor, slots: Slots, step: Tensor, lr: Tensor) -> tuple[Tensor, Slots]:
        """Refused: one parameter alone says nothing about the others."""
        raise error(ArgumentError, "LBFGS moves all parameters together", help="ask update_all")

    def update_all(
        self, params: Sequence[Tensor], grads: Sequence[Tensor], slots: Sequence[Slots], shared: Slots, lr: Tensor
    ) -> tuple[list[Tensor], list[Slots], Slots]:
        """The new parameters, slots and shared slots."""
        first = shared["iterations"] == 0
        largest = stack([elementwise.abs(grad).max().astype("f64") for grad in grads]).max()
        moving = largest > self.tolerance_grad
        history = _History(self, slots, shared, grads, first, moving)
        turned = history.times_gradient(grads)
        reach = _total([elementwise.abs(grad).sum() for grad in grads])
        length = elementwise.where(first, elementwise.minimum(1.0 / reach, 1.0), 1.0) * lr
        ways = [elementwise.where(first, -grad, -way) for grad, way in zip(grads, turned, strict=True)]
        steps = [as_param(length, way) * way for way in ways]
        slope = _total([(grad * way).sum() for grad, way in zip(grads, ways, strict=True)])
        taken = moving & (slope <= -self.tolerance_change)
        new = [elementwise.where(taken, param + step, param) for param, step in zip(params, steps, strict=True)]
        kept = [{"prev_grad": elementwise.where(moving, grad, old["prev_grad"]),
                 "prev_step": elementwise.where(moving, step, old["prev_step"]), "old_dirs": y, "old_steps": s}
                for grad, step, old, y, s in zip(grads, steps, slots, history.y, history.s, strict=True)]  # fmt: skip
        counted = shared["iterations"] + moving.astype("i64")
        return new, list(kept), {"iterations": counted, "scale": history.scale, "products": history.products}


class _History:
    """The pairs (s: step, y: change of the gradient), the oldest first, with the newest taken in if it is sound.

    A pair that is not there yet is zero, and takes part in nothing.
    """

    def __init__(self, rule: LBFGS, slots: Sequence[Slots], shared: Slots, grads: Sequence[Tensor], first: Tensor,
                 moving: Tensor) -> None:  # fmt: skip
        changes = [grad - old["prev_grad"] for grad, old in zip(grads, slots, strict=True)]
        moves = [old["prev_step"] for old in slots]
        curvature = _total([(y * s).sum() for y, s in zip(changes, moves, strict=True)])
        sound = moving & ~first & (curvature > _LEAST_CURVATURE)
        self.size = rule.history_size
        self.y = [_shifted(old["old_dirs"], y, sound) for old, y in zip(slots, changes, strict=True)]
        self.s = [_shifted(old["old_steps"], s, sound) for old, s in zip(slots, moves, strict=True)]
        square = _total([(y * y).sum() for y in changes])
        self.scale = elementwise.where(sound, curvature / elementwise.where(sound, square, 1.0), shared["scale"])
        newest = self._products(self.s, changes)
        inner = concatenate([shared["products"][1:, 1:], zeros_tensor((1, self.size - 1), dtype="f64")], 0)
        shifted = concatenate([inner, newest.reshape(self.size, 1)], 1)
        self.products = elementwise.where(sound, shifted, shared["products"])
        own = [self.products[i, i] for i in range(self.size)]
        self.diagonal = [elementwise.where(p > 0, p, 1.0) for p in own]

    def times_gradient(self, grads: Sequence[Tensor]) -> list[Tensor]:
        """The inverse Hessian times the gradient: the two loops of the recursion, on numbers, around three sweeps."""
        left = self._products(self.s, grads)
        alphas: list[Tensor] = []
        for i in reversed(range(self.size)):
            alpha = left[i] / self.diagonal[i]
            left = left - alpha * self.products[:, i]
            alphas.insert(0, alpha)
        found = [as_param(self.scale, grad) * (grad - way)
                 for grad, way in zip(grads, self._mixed(self.y, stack(alphas)), strict=True)]  # fmt: skip
        right = self._products(self.y, found)
        shares: list[Tensor] = []
        for i in range(self.size):
            share = alphas[i] - right[i] / self.diagonal[i]
            right = right + share * self.products[i]
            shares.append(share)
        return [way + more for way, more in zip(found, self._mixed(self.s, stack(shares)), strict=True)]

    def _products(self, rows: Sequence[Tensor], columns: Sequence[Tensor]) -> Tensor:
        """The scalar product of each kept vector with one vector, over all parameters: f64[history_size]."""
        parts = [(row.reshape(self.size, -1) @ column.reshape(-1)).astype("f64")
                 for row, column in zip(rows, columns, strict=True)]  # fmt: skip
        return sum(parts[1:], start=parts[0])

    def _mixed(self, rows: Sequence[Tensor], shares: Tensor) -> list[Tensor]:
        """The kept vectors added up by shares, for each parameter."""
        return [(shares.astype(row.dtype) @ row.reshape(self.size, -1)).reshape(*row.shape[1:]) for row in rows]


def _shifted(kept: Tensor, new: Tensor, sound: Tensor) -> Tensor:
    """The vectors with the oldest left out and the new one at the end, where it is sound."""
    return elementwise.where(sound, concatenate([kept[1:], new[None]], 0), kept)


def _total(parts: Sequence[Tensor]) -> Tensor:
    """A sum over all parameters, f64."""
    found = [part.astype("f64") for part in parts]
    return sum(found[1:], start=found[0])
