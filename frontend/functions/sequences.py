"""Losses and decoding of sequences: connectionist temporal classification, conditional random fields.

Sequences of a batch may differ in length: what lies beyond a row's length counts nothing, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import NotSupported, ShapeError
from chainrule.frontend.anywhere import anywhere
from chainrule.frontend.functions import elementwise, indexing, reduce, shape
from chainrule.frontend.functions.control import scan
from chainrule.frontend.functions.create import arange
from chainrule.frontend.functions.losses import check_reduction
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, as_tensor, float_value_of, value_of, wrap
from chainrule.ir.types import i64
from chainrule.ops import compare, losses_sequence
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops.basic import scalar_like, zeros_like
from chainrule.ops.declared import within
from chainrule.ops.shaping import reshape, unsqueeze

Lengths = Operand | Sequence[int]


def ctc_loss(
    log_probs: Operand,
    targets: Operand,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the probability that a row's labels are read, whatever their places in time.

    log_probs: [T, N, C] (or [T, C]), as log_softmax gives them; targets: labels [N, S] (or [S]), padded; lengths: [N].
    "mean" divides each loss by its number of labels, then takes the mean. zero_infinity: rows whose labels do not fit
    their steps give 0 instead of inf. Source: torch.nn.functional.ctc_loss.
    """
    with located():
        check_reduction("ctc_loss", reduction)
        logs, goal = float_value_of(log_probs, "ctc_loss"), value_of(targets, "ctc_loss")
        steps, labels = (value_of(_array(x), "ctc_loss") for x in (input_lengths, target_lengths))
        alone = logs.rank == 2
        if alone:
            logs, goal = unsqueeze(logs, 1), unsqueeze(goal, 0)
            steps, labels = (reshape(x, (1,)) for x in (steps, labels))
        elif goal.rank == 1:
            raise error(NotSupported, "ctc_loss: targets one after another are not built",
                        notes=[f"targets: {goal.type}"], help="pad them to [N, S]")  # fmt: skip
        steps = within(steps, 0, logs.shape[0], "input_lengths")
        labels = within(labels, 0, goal.shape[1], "target_lengths")
        loss = losses_sequence.ctc_loss(logs, goal, steps, labels, blank)
        if zero_infinity:
            loss = el.where(compare.eq(loss, scalar_like(np.inf, loss)), zeros_like(loss), loss)
        if reduction == "mean":
            return wrap(losses_sequence.mean_of_rows(loss, labels))
        return wrap(red.sum(loss) if reduction == "sum" else reshape(loss, ()) if alone else loss)


def _array(lengths: Lengths) -> Any:
    return np.asarray(lengths, np.int64) if isinstance(lengths, list | tuple) else lengths


def crf_log_likelihood(
    emissions: Operand,
    tags: Operand,
    transitions: Operand,
    start: Operand,
    end: Operand,
    lengths: Operand | None = None,
) -> Tensor:
    """log of the probability of each row's tags in a linear-chain conditional random field, [N].

    emissions: scores [T, N, C], tags: [T, N], transitions: scores [C, C] from one tag to the next, start, end: [C],
    lengths: [N], at least 1. Source: Lafferty et al. 2001; Collobert et al. 2011, equations 13 to 16.
    """
    return anywhere(_log_likelihood, (emissions, tags, transitions, start, end, lengths))


def _log_likelihood(emissions: Operand, tags: Operand, transitions: Operand, start: Operand, end: Operand,
                    lengths: Operand | None) -> Tensor:  # fmt: skip
    scores, goal = _checked("crf_log_likelihood", emissions, tags)
    moves, first, last = (as_tensor(x, "crf_log_likelihood") for x in (transitions, start, end))
    counts = _counts("crf_log_likelihood", scores, lengths)
    score = _score(scores, goal.astype("i64"), moves, first, last, counts)

    def step(alpha: Tensor, emission: Tensor) -> tuple[Tensor, None]:
        return reduce.logsumexp(shape.expand_dims(alpha, 2) + moves, 1) + emission, None

    alpha, _ = scan(step, first + scores[0], scores[1:], lengths=None if counts is None else counts - 1)
    return score - reduce.logsumexp(alpha + last, -1)


def _score(scores: Tensor, goal: Tensor, moves: Tensor, first: Tensor, last: Tensor, counts: Tensor | None) -> Tensor:
    """The score of each row's tags alone."""
    live = None
    if counts is not None:
        live = shape.expand_dims(arange(scores.shape[0]), 1) < shape.expand_dims(counts, 0)
        goal = elementwise.where(live, goal, 0)
    own = shape.squeeze(indexing.take_along_axis(scores, shape.expand_dims(goal, 2), 2), 2)
    pairs = indexing.gather_nd(moves, shape.stack([goal[:-1], goal[1:]], -1))
    if counts is None or live is None:
        ends = goal[-1]
    else:
        ends = shape.squeeze(indexing.take_along_axis(goal, shape.expand_dims(counts - 1, 0), 0), 0)
        own, pairs = elementwise.where(live, own, 0.0), elementwise.where(live[1:], pairs, 0.0)
    inner = reduce.sum(own, 0) + reduce.sum(pairs, 0)
    return inner + indexing.take(first, goal[0], 0) + indexing.take(last, ends, 0)


def viterbi_decode(
    emissions: Operand, transitions: Operand, start: Operand, end: Operand, lengths: Operand | None = None
) -> tuple[Tensor, Tensor]:
    """The score [N] and the tags [T, N] of each row's best path; 0 beyond a row's length. Of ties the first tag.

    Arguments as for crf_log_likelihood. Source: Viterbi 1967.
    """
    return anywhere(_viterbi, (emissions, transitions, start, end, lengths))


def _viterbi(
    emissions: Operand, transitions: Operand, start: Operand, end: Operand, lengths: Operand | None
) -> tuple[Tensor, Tensor]:
    scores, _ = _checked("viterbi_decode", emissions, None)
    moves, first, last = (as_tensor(x, "viterbi_decode") for x in (transitions, start, end))
    whole = _counts("viterbi_decode", scores, lengths)
    counts = None if whole is None else whole - 1

    def ahead(alpha: Tensor, emission: Tensor) -> tuple[Tensor, Tensor]:
        options = shape.expand_dims(alpha, 2) + moves
        return reduce.max(options, 1) + emission, reduce.argmax(options, 1)

    alpha, came_from = scan(ahead, first + scores[0], scores[1:], lengths=counts)
    final = alpha + last

    def back(tag: Tensor, pointers: Tensor) -> tuple[Tensor, Tensor]:
        before = indexing.take_along_axis(pointers, shape.expand_dims(tag, 1), 1)
        return shape.squeeze(before, 1), tag

    tag, rest = scan(back, reduce.argmax(final, -1), came_from, reverse=True, lengths=counts)
    return reduce.max(final, -1), shape.concatenate([shape.expand_dims(tag, 0), rest], 0)


def _checked(what: str, emissions: Operand, tags: Operand | None) -> tuple[Tensor, Tensor]:
    """Emissions and tags as tensors. Raises ShapeError unless they are [T, N, C] and [T, N]."""
    scores = as_tensor(emissions, what)
    goal = scores if tags is None else as_tensor(tags, what)
    if scores.ndim != 3 or (tags is not None and goal.shape != scores.shape[:2]):
        raise error(ShapeError, f"{what}: emissions are {scores.value.type}, tags are {goal.value.type}",
                    help="emissions are [T, N, C], tags [T, N]")  # fmt: skip
    return scores, goal


def _counts(what: str, scores: Tensor, lengths: Operand | None) -> Tensor | None:
    """The lengths of the rows, i64. Raises ShapeError unless there is one whole number for each."""
    if lengths is None:
        return None
    counts = as_tensor(lengths, what)
    if counts.shape != scores.shape[1:2] or not counts.dtype.is_int:
        raise error(ShapeError, f"{what}: lengths are {counts.value.type}, emissions {scores.value.type}",
                    help="lengths are integers [N], one for each row; a mask's are mask.sum(axis=0)")  # fmt: skip
    with located():
        return wrap(within(el.cast(counts.value, i64), 1, scores.shape[0], "lengths"))
