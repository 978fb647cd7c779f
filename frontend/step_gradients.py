"""What the optimiser of a training step is given: gradients of scaled losses, accumulated, checked and clipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.frontend.functions import elementwise
from chainrule.frontend.optim.base import Grouped, Optimizer
from chainrule.frontend.places import error
from chainrule.frontend.scope import Scope
from chainrule.frontend.state_source import States, source
from chainrule.frontend.stored import Parameter
from chainrule.frontend.tensor import Tensor, number_value
from chainrule.ir.graph import Value, input_name
from chainrule.passes.autodiff import gradients
from chainrule.passes.safe_forms import safe


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained parameter with its optimiser, its gradient, and the name of the loss that the gradient is of."""

    value: Value
    stored: Parameter
    optimizer: Optimizer
    loss: str
    grad: Tensor

    @property
    def path(self) -> str:
        """Its name in the graph."""
        return input_name(self.value)


def differentiated(scope: Scope, losses: Mapping[str, Tensor], optimizers: Mapping[str, Optimizer],
                   scale: Tensor | float) -> list[Trained]:  # fmt: skip
    """The trained parameters with the gradients of their losses, which are multiplied by scale in between.

    Raises ArgumentError for a loss that trains nothing, and for a parameter that two losses train.
    """
    found = [entry for name, loss in losses.items() for entry in _of_loss(scope, name, loss, optimizers[name], scale)]
    owners: dict[Value, str] = {}
    for entry in found:
        first = owners.setdefault(entry.value, entry.loss)
        if first != entry.loss:
            raise error(ArgumentError, f"{entry.path} is trained by two losses, {first} and {entry.loss}",
                        help='give each optimiser its part: optim.Grouped([("judge.*", rule)], None)')  # fmt: skip
    return found


def _of_loss(scope: Scope, name: str, loss: Tensor, optimizer: Optimizer, scale: Tensor | float) -> list[Trained]:
    """The parameters that one loss trains."""
    if isinstance(optimizer, Grouped):
        optimizer.require_fitting([input_name(v) for v, stored in scope.bound() if isinstance(stored, Parameter)])
    wanted = [(value, stored, part) for value, stored in scope.bound()
              if isinstance(stored, Parameter) and stored.requires_grad
              and (part := optimizer.of(input_name(value))) is not None]  # fmt: skip
    if isinstance(scale, Tensor):
        seeds = [scale.astype(loss.dtype).value]
    else:
        seeds = None if scale == 1 else [number_value(scale, loss.dtype, "loss_scale")]
    slopes = gradients(safe([loss.value]), [value for value, _, _ in wanted], seeds)
    trained = [Trained(value, stored, part, name, _unscaled(Tensor(slope, scope), scale))
               for (value, stored, part), slope in zip(wanted, slopes, strict=True) if slope is not None]  # fmt: skip
    if not trained:
        what = "the loss" if name == "loss" else f"the loss {name}"
        none = not any(isinstance(stored, Parameter) for _, stored in scope.bound())
        raise error(ArgumentError, f"{scope.name}: {what} depends on no parameter that is trained",
                    help="it reads none at all; of a quantised file, train the model from which it was made" if none
                    else "check requires_grad, the optimiser's groups and what the loss is made of")  # fmt: skip
    return trained


def _unscaled(grad: Tensor, scale: Tensor | float) -> Tensor:
    if isinstance(scale, Tensor):
        return grad * (1.0 / scale).astype(grad.dtype)
    return grad if scale == 1 else grad * (1 / scale)


def accumulated(scope: Scope, trained: Sequence[Trained], count: int) -> tuple[list[Trained], Tensor, States]:
    """The parameters with their mean gradients over `count` calls, whether this call is the last of them, the sums."""
    counter = source(scope, "accumulated_calls", np.zeros((), np.int64))
    now = Tensor(counter.value, scope) + 1
    last = now == count
    states: States = [(counter, elementwise.where(last, 0, now).value)]
    means: list[Trained] = []
    for entry in trained:
        kept = source(scope, f"accumulated.{entry.path}", np.zeros_like(entry.stored.data))
        total = Tensor(kept.value, scope) + entry.grad
        means.append(replace(entry, grad=total * (1 / count)))
        states.append((kept, elementwise.where(last, 0.0, total).value))
    return means, last, states


def all_finite(grads: Sequence[Tensor]) -> Tensor:
    """Whether every gradient is free of NaN and infinity."""
    found = [elementwise.isfinite(grad).all() for grad in grads]
    every = found[0]
    for part in found[1:]:
        every = every & part
    return every


def clipped(trained: Sequence[Trained], max_norm: float) -> list[Trained]:
    """The gradients of each loss scaled so that their joint norm is at most max_norm. Source: torch clip_grad_norm_."""
    scales: dict[str, Tensor] = {}
    for name in dict.fromkeys(entry.loss for entry in trained):
        squares = [elementwise.square(e.grad).sum().astype("f32") for e in trained if e.loss == name]
        norm = elementwise.sqrt(sum(squares[1:], start=squares[0]))
        scales[name] = elementwise.minimum(max_norm / (norm + 1e-6), 1.0)
    return [replace(entry, grad=entry.grad * scales[entry.loss].astype(entry.grad.dtype)) for entry in trained]
