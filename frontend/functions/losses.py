"""Losses, with PyTorch's names, arguments and defaults.

reduction: "mean", "sum" (both give a scalar) or "none". The formulae, edge cases and errors stand at the ops. Inputs
and targets of elementwise losses have one shape: they do not broadcast, which hides many a mistake.
"""

from __future__ import annotations

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, as_float, float_value_of, value_of, values_of, wrap
from chainrule.ir.graph import Value
from chainrule.ops import elementwise, losses, losses_class, reduce, shaping
from chainrule.ops.activations_smooth import softplus
from chainrule.ops.basic import constant, scalar_like
from chainrule.ops.compare import gt
from chainrule.ops.transcendental import exp, log


def check_reduction(what: str, reduction: str) -> None:
    """Raises ArgumentError unless the reduction is one that is known."""
    if reduction not in ("none", "mean", "sum"):
        raise error(ArgumentError, f"{what}: reduction {reduction!r} is not known", help='"mean", "sum" or "none"')


def reduced(terms: Tensor, reduction: str) -> Tensor:
    """The terms of a loss as a known reduction gives them."""
    return wrap(_reduced(value_of(terms, "loss"), reduction))


def cross_entropy(
    input: Operand,
    target: Operand,
    weight: Operand | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross-entropy of softmax(input) and a target, in nats.

    input: logits [C], [N, C] or [N, C, *S]. target: class numbers, integers of input's shape without C; or
    probabilities of input's own shape. weight: [C], one factor for each class. Positions whose class is ignore_index
    count nothing; the mean is over the weights of the others (NaN when none is left). label_smoothing moves this share
    of each target to the uniform distribution. A class outside of 0..C-1 that is not ignored is an error at run time.
    """
    with located():
        logits, goal = float_value_of(input, "cross_entropy"), _goal("cross_entropy", target, logits_like=input)
        factors = None if weight is None else elementwise.cast(value_of(weight, "cross_entropy"), logits.dtype)
        check_reduction("cross_entropy", reduction)
        share = label_smoothing
        return wrap(losses_class.cross_entropy(logits, goal, factors, ignore_index, reduction, share))


def nll_loss(
    input: Operand,
    target: Operand,
    weight: Operand | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability of the target class. input: log-probabilities [C], [N, C] or [N, C, *S]; target: class
    numbers of input's shape without C. The rest is as in cross_entropy."""
    with located():
        logs, goal = float_value_of(input, "nll_loss"), value_of(target, "nll_loss")
        check_reduction("nll_loss", reduction)
        if not goal.dtype.is_int:
            raise error(DTypeError, f"nll_loss: a target of {goal.dtype} is not understood",
                        notes=[f"target: {goal.type}"], help="class numbers are integers")  # fmt: skip
        factors = None if weight is None else elementwise.cast(value_of(weight, "nll_loss"), logs.dtype)
        return wrap(losses_class.nll_loss(logs, goal, factors, ignore_index, reduction))


def _goal(what: str, target: Operand, logits_like: Operand) -> Value:
    """A class target: integers as they are, floats in the element type of the logits."""
    goal, logits = value_of(target, what), value_of(logits_like, what)
    if goal.dtype.is_float and goal.rank == logits.rank - 1:
        raise error(DTypeError, f"{what}: a target without the class axis holds class numbers, it is of {goal.dtype}",
                    notes=[f"input: {logits.type}", f"target: {goal.type}"],
                    help="class numbers are integers; probabilities have the shape of the input")  # fmt: skip
    if goal.dtype.is_bool:
        raise error(DTypeError, f"{what}: a target of bool is not understood", notes=[f"target: {goal.type}"],
                    help="class numbers are integers, probabilities floats")  # fmt: skip
    return elementwise.cast(goal, float_value_of(logits_like, what).dtype) if goal.dtype.is_float else goal


def mse_loss(input: Operand, target: Operand, reduction: str = "mean") -> Tensor:
    """(input - target)^2, reduced."""
    x, y = _alike("mse_loss", reduction, input, target)
    return wrap(losses.mse_loss(x, y, reduction))


def l1_loss(input: Operand, target: Operand, reduction: str = "mean") -> Tensor:
    """|input - target|, reduced."""
    x, y = _alike("l1_loss", reduction, input, target)
    return wrap(losses.l1_loss(x, y, reduction))


def huber_loss(input: Operand, target: Operand, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Half squares up to a distance of delta, delta * (distance - delta/2) beyond, reduced."""
    x, y = _alike("huber_loss", reduction, input, target)
    with located():
        return wrap(losses.huber_loss(x, y, reduction, delta))


def smooth_l1_loss(input: Operand, target: Operand, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Half squares over beta up to a distance of beta, distance - beta/2 beyond, reduced."""
    x, y = _alike("smooth_l1_loss", reduction, input, target)
    with located():
        return wrap(losses.smooth_l1_loss(x, y, reduction, beta))


def binary_cross_entropy(
    input: Operand, target: Operand, weight: Operand | None = None, reduction: str = "mean"
) -> Tensor:
    """-(target log(input) + (1 - target) log(1 - input)) of probabilities, reduced; logarithms are held above -100."""
    x, y = _alike("binary_cross_entropy", reduction, input, target)
    with located():
        factors = None if weight is None else elementwise.cast(value_of(weight, "binary_cross_entropy"), x.dtype)
        return wrap(losses.binary_cross_entropy(x, y, factors, reduction))


def binary_cross_entropy_with_logits(
    input: Operand,
    target: Operand,
    weight: Operand | None = None,
    reduction: str = "mean",
    pos_weight: Operand | None = None,
) -> Tensor:
    """The binary cross-entropy of sigmoid(input), finite for any logit. pos_weight: a factor for the positive part."""
    what = "binary_cross_entropy_with_logits"
    x, y = _alike(what, reduction, input, target)
    with located():
        factors = None if weight is None else elementwise.cast(value_of(weight, what), x.dtype)
        positive = None if pos_weight is None else elementwise.cast(value_of(pos_weight, what), x.dtype)
        return wrap(losses.binary_cross_entropy_with_logits(x, y, factors, reduction, positive))


def kl_div(input: Operand, target: Operand, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target * (log(target) - input), reduced; input holds log-probabilities. reduction may be "batchmean" as well:
    the sum over the size of the first axis, which is the divergence itself."""
    x, y = _alike("kl_div", "sum" if reduction == "batchmean" else reduction, input, target)
    if reduction != "batchmean":
        return wrap(losses.kl_div(x, y, reduction, log_target))
    if x.rank == 0:
        raise error(ShapeError, "kl_div: batchmean needs a batch axis", notes=[f"input: {x.type}"], help='use "mean"')
    total = losses.kl_div(x, y, "sum", log_target)
    return wrap(elementwise.div(total, scalar_like(x.shape[0], total)))


def hinge_embedding_loss(input: Operand, target: Operand, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """input where target is 1, max(0, margin - input) where it is -1, reduced."""
    x, y = _alike("hinge_embedding_loss", reduction, input, target)
    return wrap(losses.hinge_embedding_loss(x, y, margin, reduction))


def hinge_loss(input: Operand, target: Operand, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """max(0, margin - target * input) for targets 1 and -1, reduced: the loss of support vector machines."""
    x, y = _alike("hinge_loss", reduction, input, target)
    return wrap(losses.hinge_loss(x, y, reduction, margin))


def margin_ranking_loss(
    input1: Operand, input2: Operand, target: Operand, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """max(0, margin - target * (input1 - input2)), reduced."""
    a, b, y = _alike("margin_ranking_loss", reduction, input1, input2, target)
    return wrap(losses.margin_ranking_loss(a, b, y, margin, reduction))


def cosine_embedding_loss(
    input1: Operand, input2: Operand, target: Operand, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 - cos(input1, input2) where target is 1, max(0, cos - margin) where it is -1, reduced. inputs: [N, D], [D]."""
    with located():
        check_reduction("cosine_embedding_loss", reduction)
        a, b, y = map(as_float, values_of("cosine_embedding_loss", input1, input2, target))
        return wrap(losses.cosine_embedding_loss(a, b, y, margin, reduction))


def triplet_margin_loss(
    anchor: Operand,
    positive: Operand,
    negative: Operand,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """max(0, |anchor - positive|_p - |anchor - negative|_p + margin), reduced. All are [N, D] or [D]."""
    a, b, c = _alike("triplet_margin_loss", reduction, anchor, positive, negative)
    with located():
        return wrap(losses.triplet_margin_loss(a, b, c, margin, p, eps, swap, reduction))


def gaussian_nll_loss(
    input: Operand, target: Operand, var: Operand, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """(log(var) + (input - target)^2 / var) / 2, reduced; var is held above eps. full adds log(2 pi) / 2.

    var: of input's shape, without its last axis, or of a shape that spreads to it, such as [..., 1].
    """
    x, y = _alike("gaussian_nll_loss", reduction, input, target)
    with located():
        (spread,) = values_of("gaussian_nll_loss", var)
        if spread.rank == x.rank - 1 and spread.shape == x.shape[:-1]:
            spread = shaping.unsqueeze(spread, -1)
        spread = elementwise.cast(shaping.expand(spread, x.shape), x.dtype)
    floor = elementwise.maximum(spread, constant(eps, spread.dtype))
    far = elementwise.sub(x, y)
    terms = elementwise.add(log(floor), elementwise.div(elementwise.mul(far, far), floor))
    if full:
        terms = elementwise.add(terms, constant(1.8378770664093453, x.dtype))  # log(2 pi)
    return wrap(_reduced(elementwise.mul(terms, constant(0.5, x.dtype)), reduction))


def poisson_nll_loss(
    input: Operand, target: Operand, log_input: bool = True, eps: float = 1e-8, reduction: str = "mean",
    full: bool = False,
) -> Tensor:  # fmt: skip
    """exp(input) - target * input, reduced; without log_input: input - target * log(input + eps).

    full adds Stirling's approximation of log(target!) for targets above 1.
    """
    x, y = _alike("poisson_nll_loss", reduction, input, target)
    if log_input:
        terms = elementwise.sub(exp(x), elementwise.mul(y, x))
    else:
        logs = log(elementwise.add(x, constant(eps, x.dtype)))
        terms = elementwise.sub(x, elementwise.mul(y, logs))
    return wrap(_reduced(elementwise.add(terms, _stirling(y)) if full else terms, reduction))


def _stirling(n: Value) -> Value:
    """n log(n) - n + log(2 pi n) / 2 where n is above 1, else 0, also in its gradient."""
    one = constant(1.0, n.dtype)
    large = gt(n, one)
    safe = elementwise.where(large, n, one)
    half_log = elementwise.mul(constant(0.5, n.dtype), log(elementwise.mul(constant(6.283185307179586, n.dtype), safe)))
    found = elementwise.add(elementwise.sub(elementwise.mul(safe, log(safe)), safe), half_log)
    return elementwise.where(large, found, constant(0.0, n.dtype))


def soft_margin_loss(input: Operand, target: Operand, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-target * input)) for targets 1 and -1, reduced."""
    x, y = _alike("soft_margin_loss", reduction, input, target)
    return wrap(_reduced(softplus(elementwise.neg(elementwise.mul(y, x))), reduction))


def _reduced(terms: Value, reduction: str) -> Value:
    if reduction == "none":
        return terms
    return reduce.mean(terms) if reduction == "mean" else reduce.sum(terms)


def _alike(what: str, reduction: str, *operands: Operand) -> list[Value]:
    """The operands in one float type. Raises ShapeError unless they have one shape."""
    check_reduction(what, reduction)
    with located():
        values = [as_float(v) for v in values_of(what, *operands)]
    if any(v.shape != values[0].shape for v in values):
        raise error(ShapeError, f"{what}: the shapes differ", notes=[f"argument {i + 1}: {v.type}" for i, v in
                    enumerate(values)], help="they do not broadcast: reshape one of them")  # fmt: skip
    return values
