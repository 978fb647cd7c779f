"""How far vectors are apart, by length or by angle, and losses that compare such distances."""

from __future__ import annotations

import math
from collections.abc import Callable

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions import elementwise
from chainrule.frontend.functions.losses import check_reduction, reduced
from chainrule.frontend.functions.reduce import norm
from chainrule.frontend.functions.shape import broadcast_to
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Operand, Tensor, as_tensor

Distance = Callable[[Tensor, Tensor], Tensor]


def cosine_similarity(x1: Operand, x2: Operand, axis: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between x1 and x2 along an axis; lengths below eps count as eps. The shapes broadcast.

    Source: torch.nn.functional.cosine_similarity.
    """
    a, b = as_tensor(x1, "cosine_similarity"), as_tensor(x2, "cosine_similarity")
    products = a * b
    squares = [broadcast_to(x * x, products.shape).sum(axis=axis) for x in (a, b)]
    lengths = [elementwise.sqrt(elementwise.maximum(total, eps * eps)) for total in squares]
    return products.sum(axis=axis) / (lengths[0] * lengths[1])


def pairwise_distance(x1: Operand, x2: Operand, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps over the last axis. [..., D] -> [...]; the shapes broadcast.

    p may be infinite: the largest difference. Raises ArgumentError unless p is above 0.
    Source: torch.nn.functional.pairwise_distance.
    """
    apart = as_tensor(x1, "pairwise_distance") - as_tensor(x2, "pairwise_distance") + eps
    if not p > 0:
        raise error(ArgumentError, f"pairwise_distance: p={p} is not above 0", help="2 is the length, 1 the sum")
    if p in (1, 2):
        return norm(apart, int(p), -1, keepdims)
    if math.isinf(p):
        return elementwise.abs(apart).max(axis=-1, keepdims=keepdims)
    return (elementwise.abs(apart) ** p).sum(axis=-1, keepdims=keepdims) ** (1 / p)


def triplet_margin_with_distance_loss(
    anchor: Operand,
    positive: Operand,
    negative: Operand,
    distance_function: Distance | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, distance(anchor, positive) - distance(anchor, negative) + margin), reduced.

    distance_function: of two tensors, pairwise_distance by default. swap takes the distance between positive and
    negative where that is the smaller one. Source: torch.nn.functional.triplet_margin_with_distance_loss.
    """
    what = "triplet_margin_with_distance_loss"
    check_reduction(what, reduction)
    a, b, c = (as_tensor(x, what) for x in (anchor, positive, negative))
    if not a.ndim == b.ndim == c.ndim:
        raise error(ShapeError, f"{what}: the numbers of axes differ",
                    notes=[f"argument {i + 1}: {v.value.type}" for i, v in enumerate((a, b, c))],
                    help="all are [N, D], say")  # fmt: skip
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(a, b), distance(a, c)
    if swap:
        far = elementwise.minimum(far, distance(b, c))
    return reduced(elementwise.maximum(near - far + margin, 0.0), reduction)
