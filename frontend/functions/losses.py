"""Losses, with PyTorch's names, arguments and defaults. The result is a scalar unless reduction="none"."""

from __future__ import annotations

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, float_value_of, value_of, values_of, wrap
from chainrule.ir.graph import Value
from chainrule.ops import compare, elementwise, indexing, reduce, shaping
from chainrule.ops.basic import constant, scalar_like, zeros_like
from chainrule.ops.softmax import log_softmax


def cross_entropy(input: Operand, target: Operand, weight: Operand | None = None, ignore_index: int = -100,
                  reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor:  # fmt: skip
    """The cross-entropy of softmax(input) and a target, in nats.

    input: logits [C], [N, C] or [N, C, *S]. target: class numbers, integers of input's shape without C; or
    probabilities of input's own shape. weight: [C], one factor for each class. Positions whose class is ignore_index
    count nothing; the mean is over the weights of the others (NaN when none is left). label_smoothing moves this share
    of each target to the uniform distribution. A class outside of 0..C-1 that is not ignored is an error at run time.
    Raises ShapeError, DTypeError or ArgumentError.
    """
    with located():
        logits, goal = float_value_of(input, "cross_entropy"), value_of(target, "cross_entropy")
        check_reduction("cross_entropy", reduction)
        if not 0 <= label_smoothing <= 1:
            raise error(
                ArgumentError, f"cross_entropy: label_smoothing={label_smoothing} is not in 0..1", help="e.g. 0.1"
            )
        axis = _class_axis("cross_entropy", logits)
        factors = None if weight is None else _class_weights(weight, logits, axis)
        logs = log_softmax(logits, axis)
        if goal.dtype.is_float:
            return wrap(_soft_cross_entropy(logs, goal, factors, axis, reduction, label_smoothing))
        return wrap(_hard_loss("cross_entropy", logs, goal, factors, axis, ignore_index, reduction, label_smoothing))


def nll_loss(input: Operand, target: Operand, weight: Operand | None = None, ignore_index: int = -100,
             reduction: str = "mean") -> Tensor:  # fmt: skip
    """Minus the log-probability of the target class. input: log-probabilities [C], [N, C] or [N, C, *S]; target: class
    numbers of input's shape without C. The rest is as in cross_entropy."""
    with located():
        logs, goal = float_value_of(input, "nll_loss"), value_of(target, "nll_loss")
        check_reduction("nll_loss", reduction)
        axis = _class_axis("nll_loss", logs)
        factors = None if weight is None else _class_weights(weight, logs, axis)
        return wrap(_hard_loss("nll_loss", logs, goal, factors, axis, ignore_index, reduction, 0.0))


def mse_loss(input: Operand, target: Operand, reduction: str = "mean") -> Tensor:
    """(input - target)^2, averaged. Both have one shape."""
    with located():
        x, y = _alike("mse_loss", input, target)
        far = elementwise.sub(x, y)
        return wrap(reduced("mse_loss", elementwise.mul(far, far), reduction))


def l1_loss(input: Operand, target: Operand, reduction: str = "mean") -> Tensor:
    """|input - target|, averaged. Both have one shape."""
    with located():
        x, y = _alike("l1_loss", input, target)
        return wrap(reduced("l1_loss", elementwise.abs(elementwise.sub(x, y)), reduction))


def check_reduction(what: str, reduction: str) -> None:
    """Raises ArgumentError unless the reduction is one that is known."""
    if reduction not in ("none", "mean", "sum"):
        raise error(ArgumentError, f"{what}: reduction {reduction!r} is not known", help='"mean", "sum" or "none"')


def reduced(what: str, losses: Value, reduction: str) -> Value:
    """The elementwise losses, averaged, summed or as they are."""
    check_reduction(what, reduction)
    if reduction == "none":
        return losses
    return reduce.mean(losses) if reduction == "mean" else reduce.sum(losses)


def _alike(what: str, input: Operand, target: Operand) -> tuple[Value, Value]:
    x, y = values_of(what, input, target)
    if x.shape != y.shape:
        raise error(ShapeError, f"{what}: input and target differ in shape",
                    notes=[f"input: {x.type}", f"target: {y.type}"], help="reshape one of them")  # fmt: skip
    return x, y


def _class_axis(what: str, logits: Value) -> int:
    if logits.rank == 0:
        raise error(ShapeError, f"{what}: input has no class axis", help="input is [C], [N, C] or [N, C, *S]")
    return 0 if logits.rank == 1 else 1


def _class_weights(weight: Operand, logits: Value, axis: int) -> Value:
    value = elementwise.cast(value_of(weight, "weight"), logits.dtype)
    if value.shape != (logits.shape[axis],):
        raise error(ShapeError, f"weight is {value.type}, there are {logits.shape[axis]} classes",
                    notes=[f"input: {logits.type}"], help="weight has one number for each class")  # fmt: skip
    return value


def _spread(weights: Value, like: Value, axis: int) -> Value:
    """weights [C] shaped to broadcast along the class axis of `like`."""
    return shaping.reshape(weights, [weights.shape[0] if i == axis else 1 for i in range(like.rank)])


def _soft_cross_entropy(logs: Value, goal: Value, weights: Value | None, axis: int, reduction: str,
                        smoothing: float) -> Value:  # fmt: skip
    if goal.shape != logs.shape:
        raise error(ShapeError, "cross_entropy: target and input differ in shape",
                    notes=[f"input: {logs.type}", f"target: {goal.type}"], help="probabilities have input's shape")  # fmt: skip
    goal = elementwise.cast(goal, logs.dtype)
    if smoothing:
        share = elementwise.div(scalar_like(smoothing, logs), scalar_like(logs.shape[axis], logs))
        goal = elementwise.add(elementwise.mul(goal, scalar_like(1 - smoothing, logs)), share)
    scaled = logs if weights is None else elementwise.mul(logs, _spread(weights, logs, axis))
    losses = elementwise.neg(reduce.sum(elementwise.mul(scaled, goal), axis))
    return reduced("cross_entropy", losses, reduction)


def _hard_loss(what: str, logs: Value, goal: Value, weights: Value | None, axis: int, ignore_index: int,
               reduction: str, smoothing: float) -> Value:  # fmt: skip
    if not goal.dtype.is_int:
        raise error(DTypeError, f"{what}: a target of {goal.dtype} is not understood", notes=[f"target: {goal.type}"],
                    help="class numbers are integers")  # fmt: skip
    wanted = logs.shape[:axis] + logs.shape[axis + 1 :]
    if goal.shape != wanted:
        expected = ",".join(map(str, wanted))
        raise error(ShapeError, f"{what}: target is {goal.type}, [{expected}] is expected",
                    notes=[f"input: {logs.type}"], help="target has input's shape without C")
    kept = compare.ne(goal, constant(ignore_index, goal.dtype)) if _fits(ignore_index, goal) else None
    safe = goal if kept is None else elementwise.where(kept, goal, zeros_like(goal))
    picked = shaping.squeeze(indexing.take_along_axis(logs, shaping.unsqueeze(safe, axis), axis), axis)
    factor = None if weights is None else indexing.gather(weights, safe)
    if kept is not None:
        ones = scalar_like(1.0, logs) if factor is None else factor
        factor = elementwise.where(kept, ones, scalar_like(0.0, logs))
    losses = elementwise.neg(picked if factor is None else elementwise.mul(picked, factor))
    if smoothing:
        losses = _smoothed(losses, logs, weights, kept, axis, smoothing)
    if reduction != "mean" or factor is None:
        return reduced(what, losses, reduction)
    return elementwise.div(reduce.sum(losses), reduce.sum(factor))


def _smoothed(
    losses: Value, logs: Value, weights: Value | None, kept: Value | None, axis: int, smoothing: float
) -> Value:
    scaled = logs if weights is None else elementwise.mul(logs, _spread(weights, logs, axis))
    spread = elementwise.div(elementwise.neg(reduce.sum(scaled, axis)), scalar_like(logs.shape[axis], logs))
    if kept is not None:
        spread = elementwise.where(kept, spread, zeros_like(spread))
    return elementwise.add(elementwise.mul(losses, scalar_like(1 - smoothing, logs)),
                           elementwise.mul(spread, scalar_like(smoothing, logs)))  # fmt: skip


def _fits(number: int, like: Value) -> bool:
    low = -(2 ** (like.dtype.bits - 1)) if like.dtype.kind == "i" else 0
    return low <= number < 2 ** (like.dtype.bits - (like.dtype.kind == "i"))
