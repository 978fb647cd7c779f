"""Losses that ask scores of right classes to be above those of wrong ones. Compositions; the names are PyTorch's."""

from __future__ import annotations

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions import elementwise
from chainrule.frontend.functions.activations import logsigmoid
from chainrule.frontend.functions.indexing import one_hot, take, take_along_axis
from chainrule.frontend.functions.losses import check_reduction, reduced
from chainrule.frontend.functions.reduce import cumprod
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Operand, Tensor, as_tensor


def multi_margin_loss(input: Operand, target: Operand, p: int = 1, margin: float = 1.0, weight: Operand | None = None,
                      reduction: str = "mean") -> Tensor:  # fmt: skip
    """The mean over classes of max(0, margin - input[target] + input[class])^p, without the target itself, reduced.

    input: scores [N, C] or [C]; target: class numbers [N] or []; weight: [C], a factor by the target's class; p: 1, 2.
    A class outside of -C..C-1 is an error at run time. Source: torch.nn.functional.multi_margin_loss.
    """
    what = "multi_margin_loss"
    check_reduction(what, reduction)
    if p not in (1, 2):
        raise error(ArgumentError, f"{what}: p={p}", help="1, or 2 for squares")
    x, goal = as_tensor(input, what), as_tensor(target, what)
    if x.ndim not in (1, 2) or goal.ndim != x.ndim - 1:
        raise error(ShapeError, f"{what}: input and target do not fit", help="input is [N, C], target [N]",
                    notes=[f"input: {x.value.type}", f"target: {goal.value.type}"])  # fmt: skip
    at = goal[..., None]
    short = elementwise.maximum(margin - take_along_axis(x, at, -1) + x, 0.0)
    terms = short if p == 1 else short * short
    if weight is not None:
        terms = terms * take(as_tensor(weight, what), at, 0)
    others = elementwise.where(one_hot(goal, x.shape[-1], dtype="bool"), 0.0, terms)
    return reduced(others.mean(axis=-1), reduction)


def multilabel_margin_loss(input: Operand, target: Operand, reduction: str = "mean") -> Tensor:
    """The sum over pairs of a target and another class of max(0, 1 - (input[target] - input[class])), over C, reduced.

    input: scores [N, C] or [C]; target: of input's shape, a row's class numbers up to its first negative number.
    Memory grows with C * C. Source: torch.nn.functional.multilabel_margin_loss.
    """
    what = "multilabel_margin_loss"
    check_reduction(what, reduction)
    x, goal = _same_shape(what, input, target)
    if x.ndim not in (1, 2):
        raise error(ShapeError, f"{what}: input has {x.ndim} axes", notes=[f"input: {x.value.type}"],
                    help="input is [N, C] or [C]")  # fmt: skip
    named = cumprod(elementwise.astype(goal >= 0, "i32"), -1) > 0
    places = elementwise.where(named, goal, 0)
    chosen = one_hot(places, x.shape[-1], dtype="bool") & named[..., None]  # [..., target, class]
    wrong = ~chosen.any(axis=-2)
    short = elementwise.maximum(1.0 - (take_along_axis(x, places, -1)[..., None] - x[..., None, :]), 0.0)
    pairs = elementwise.where(named[..., None] & wrong[..., None, :], short, 0.0)
    return reduced(pairs.sum(axis=-2).mean(axis=-1), reduction)


def multilabel_soft_margin_loss(input: Operand, target: Operand, weight: Operand | None = None,
                                reduction: str = "mean") -> Tensor:  # fmt: skip
    """The binary cross-entropy of sigmoid(input), times weight, its mean over the last axis, reduced.

    input, target: [..., C]; weight: [C]. Source: torch.nn.functional.multilabel_soft_margin_loss.
    """
    what = "multilabel_soft_margin_loss"
    check_reduction(what, reduction)
    x, y = _same_shape(what, input, target)
    terms = -(y * logsigmoid(x) + (1 - y) * logsigmoid(-x))
    if weight is not None:
        terms = terms * as_tensor(weight, what)
    return reduced(terms.mean(axis=-1), reduction)


def _same_shape(what: str, input: Operand, target: Operand) -> tuple[Tensor, Tensor]:
    x, y = as_tensor(input, what), as_tensor(target, what)
    if x.shape != y.shape or x.ndim == 0:
        raise error(ShapeError, f"{what}: input and target do not fit", help="both are [N, C]",
                    notes=[f"input: {x.value.type}", f"target: {y.value.type}"])  # fmt: skip
    return x, y
