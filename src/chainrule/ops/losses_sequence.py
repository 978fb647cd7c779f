"""Connectionist temporal classification: the loss of sequences of labels whose places in time are not known.

Labels l_1 ... l_S become 2S + 1 states: blank, l_1, blank, l_2, ..., blank. A path stays in its state, goes on by one,
or leaps over a blank between two different labels. Sums over paths are taken in logarithms, forwards (alpha) and, for
the gradient, backwards (beta); LOWEST stands for the logarithm of 0, so that no infinity is subtracted from another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Graph, Value, build, new_input
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, f32, i64
from chainrule.ops.basic import constant, full, scalar_like, zeros_like
from chainrule.ops.compare import eq, gt, logical_and, lt, ne
from chainrule.ops.control import scan
from chainrule.ops.elementwise import add, cast, div, expect_inputs, maximum, minimum, mul, neg, sub, where
from chainrule.ops.indexing import scatter_add, take_along_axis
from chainrule.ops.losses import doubles
from chainrule.ops.ranges import iota
from chainrule.ops.reduce import mean
from chainrule.ops.shape_rules import require
from chainrule.ops.shaping import concat, expand, narrow, reshape, stack, unsqueeze
from chainrule.ops.transcendental import exp, log

LOWEST = -1e30  # far below every sum of logarithms that is none of 0, far above the end of f32


@dataclass(frozen=True)
class CtcLoss(Op):
    """-log of the sum over all paths that give a row's labels, of the products of their probabilities.

    log_probs: floats [T, N, C], targets: integers [N, S], input_lengths, target_lengths: integers [N] -> [N]. Steps and
    labels beyond a row's lengths count nothing. inf where no path is long enough: repeated labels need a blank between
    them. A row without steps and labels gives 0. blank: the class that stands for no label. f16 and bf16 compute in
    f32. The gradient is that of log_probs as they are, and 0 in rows whose loss is infinite. Raises ShapeError for
    other shapes, ArgumentError for a blank that is no class; when run, for a label that is none.
    Source: Graves et al. 2006, equations 5 to 15; torch.nn.functional.ctc_loss.
    """

    name: ClassVar[str] = "ctc_loss"
    args: ClassVar[tuple[str, ...]] = ("log_probs", "targets", "input_lengths", "target_lengths")
    tolerance: ClassVar[str] = "R"
    gradient: ClassVar[str] = "vjp"
    blank: int = 0

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(4, types)
        logs, targets, *lengths = types
        require("f", logs)
        require("i", targets, *lengths)
        if logs.rank != 3 or targets.rank != 2:
            raise ShapeError(f"log_probs is {logs} and targets is {targets}, [T,N,C] and [N,S] are expected")
        rows = logs.shape[1]
        if targets.shape[0] != rows or any(t.shape != (rows,) for t in lengths):
            raise ShapeError(f"targets and lengths are not of {rows} rows", help="targets is [N,S], lengths are [N]")
        classes = logs.shape[2]
        if self.blank < 0 or (isinstance(classes, int) and self.blank >= classes):
            raise ArgumentError(f"blank {self.blank} is not one of {classes} classes")
        return logs.with_shape((rows,))

    def ref(self, *arrays: Array) -> Array:
        logs, targets, steps, labels = arrays
        found = [self._row(doubles((logs[:t, n],))[0], targets[n, :s]) for n, (t, s) in enumerate(zip(steps, labels))]
        return np.asarray(found, logs.dtype).reshape(len(steps))

    def _row(self, logs: Array, labels: Array) -> float:
        """The loss of one row, log-probabilities [T, C] and labels [S]."""
        if len(labels) and not (labels.min() >= 0 and labels.max() < logs.shape[1]):
            raise ArgumentError(f"{self.name}: a label is not one of {logs.shape[1]} classes")
        states = np.full(2 * len(labels) + 1, self.blank)
        states[1::2] = labels
        alpha = np.full(len(states), -np.inf)
        alpha[0] = 0.0
        leaps = np.zeros(len(states), bool)
        leaps[3::2] = labels[1:] != labels[:-1]
        with np.errstate(all="ignore"):
            for row in logs:
                on, over = np.full_like(alpha, -np.inf), np.full_like(alpha, -np.inf)
                on[1:], over[2:] = alpha[:-1], alpha[:-2]
                alpha = np.logaddexp(np.logaddexp(alpha, on), np.where(leaps, over, -np.inf)) + row[states]
            return -np.logaddexp.reduce(alpha[-2:])

    def magnitude(self, *arrays: Array) -> Array:
        """Each step adds to a logarithm that may be as large as the largest of all its steps."""
        logs, _, steps, _ = arrays
        largest = np.max(np.where(np.isfinite(logs), np.abs(logs), 0.0), axis=(0, 2), initial=0.0)
        return (1.0 + largest) * steps * (1.0 + np.sqrt(steps))

    def decompose(self, *inputs: Value) -> Value:
        logs = inputs[0]
        if logs.dtype.bits == 16:
            return cast(build(self, cast(logs, f32), *inputs[1:]), logs.dtype)
        return _Paths(self.blank, *inputs).loss()

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        logs, *rest = inputs
        wide = cast(logs, f32) if logs.dtype.bits == 16 else logs
        found = _Paths(self.blank, wide, *rest).gradient(cast(grads[0], wide.dtype))
        return cast(found, logs.dtype), None, None, None


class _Paths:
    """The graph of the sums over paths. states: the class of each state [N, L]; leaps: LOWEST where none may end."""

    def __init__(self, blank: int, logs: Value, targets: Value, steps: Value, labels: Value) -> None:
        self.logs = logs
        self.steps, self.labels = (cast(v, i64) for v in (steps, labels))
        (self.count, self.rows, self.classes), (_, self.length) = logs.shape, targets.shape
        self.width: Dim = 2 * self.length + 1
        self.states = self._states(cast(targets, i64), blank)
        self.leaps = self._leaps(blank)
        at = unsqueeze(self.states, 0)
        # Log-probabilities of 0 are as low as sums of them may be without meeting an infinity.
        self.read = maximum(take_along_axis(logs, at, 2), scalar_like(LOWEST, logs))

    def _states(self, targets: Value, blank: int) -> Value:
        """blank, l_1, blank, l_2, ..., blank; labels beyond a row's length are blanks."""
        there = lt(iota((self.rows, self.length), 1, i64), unsqueeze(self.labels, 1))
        none = full(blank, (self.rows, self.length), i64)
        pairs = reshape(stack([none, where(there, targets, none)], 2), (self.rows, 2 * self.length))
        return concat([pairs, full(blank, (self.rows, 1), i64)], 1)

    def _leaps(self, blank: int) -> Value:
        """0 for a state that a path may leap to, over the one before it."""
        before = concat([full(blank, (self.rows, 2), i64), self.states], 1)
        other = ne(self.states, narrow(before, 1, 0, self.width))
        allowed = logical_and(other, ne(self.states, constant(blank, i64)))
        return where(allowed, scalar_like(0.0, self.logs), scalar_like(LOWEST, self.logs))

    def _lowest(self, columns: int) -> Value:
        return full(LOWEST, (self.rows, columns), self.logs.dtype)

    def _walk(self, first: Value, reverse: bool) -> tuple[Value, Value]:
        """The sums after the last step, and those of every step [T, N, L]; forwards with, backwards without its own
        probability."""
        kind = first.tensor
        carry, read = new_input("carry", kind), new_input("read", kind)
        time = new_input("time", TensorType(i64, ()))
        steps, leaps = new_input("steps", self.steps.tensor), new_input("leaps", kind)
        low1, low2 = self._lowest(1), self._lowest(2)
        if reverse:
            on = narrow(concat([carry, low1], 1), 1, 1, self.width)
            over = narrow(concat([add(carry, leaps), low2], 1), 1, 2, self.width)
        else:
            on = narrow(concat([low1, carry], 1), 1, 0, self.width)
            over = add(narrow(concat([low2, carry], 1), 1, 0, self.width), leaps)
        summed = _log_sum(carry, on, over)
        after = add(summed, read)
        live = unsqueeze(lt(time, steps), 1)
        body = Graph("step", (carry, read, time, steps, leaps),
                     (where(live, after, carry), summed if reverse else after))  # fmt: skip
        times = iota((self.count,), 0, i64)
        last, every = scan(body, [first], [self.read, times], [self.steps, self.leaps], self.count, reverse)
        return last, every

    def _at(self, state: Value) -> Value:
        """0 at one state of each row, LOWEST elsewhere."""
        here = eq(iota((self.rows, self.width), 1, i64), unsqueeze(state, 1))
        return where(here, scalar_like(0.0, self.logs), scalar_like(LOWEST, self.logs))

    def _forward(self) -> tuple[Value, Value]:
        """The logarithm of the whole sum [N], and alpha [T, N, L]."""
        last, alpha = self._walk(self._at(full(0, (self.rows,), i64)), False)
        end = mul(self.labels, constant(2, i64))
        final = take_along_axis(last, unsqueeze(end, 1), 1)
        label = take_along_axis(last, unsqueeze(maximum(sub(end, constant(1, i64)), constant(0, i64)), 1), 1)
        label = where(unsqueeze(gt(end, constant(0, i64)), 1), label, self._lowest(1))
        return reshape(_log_sum(final, label, self._lowest(1)), (self.rows,)), alpha

    def loss(self) -> Value:
        """[N]."""
        total, _ = self._forward()
        return where(lt(total, scalar_like(LOWEST / 2, total)), scalar_like(np.inf, total), neg(total))

    def gradient(self, grad: Value) -> Value:
        """[T, N, C]: minus the share of all paths that are in a state of the class, times the loss's gradient."""
        total, alpha = self._forward()
        _, beta = self._walk(self._at(mul(self.labels, constant(2, i64))), True)
        share = exp(minimum(sub(add(alpha, beta), reshape(total, (1, self.rows, 1))), scalar_like(0.0, total)))
        finite = logical_and(unsqueeze(gt(total, scalar_like(LOWEST / 2, total)), 0),
                             lt(unsqueeze(iota((self.count,), 0, i64), 1), unsqueeze(self.steps, 0)))  # fmt: skip
        weight = mul(share, neg(reshape(grad, (1, self.rows, 1))))
        shares = where(unsqueeze(finite, 2), weight, zeros_like(weight))
        places = expand(unsqueeze(self.states, 0), (self.count, self.rows, self.width))
        return scatter_add(zeros_like(self.logs), places, shares, 2)


def _log_sum(a: Value, b: Value, c: Value) -> Value:
    """log(e^a + e^b + e^c)."""
    top = maximum(maximum(a, b), c)
    return add(top, log(add(add(exp(sub(a, top)), exp(sub(b, top))), exp(sub(c, top)))))


def ctc_loss(log_probs: Value, targets: Value, input_lengths: Value, target_lengths: Value, blank: int = 0) -> Value:
    """The loss of each row."""
    return build(CtcLoss(blank), log_probs, targets, input_lengths, target_lengths)


def mean_of_rows(loss: Value, target_lengths: Value) -> Value:
    """The mean over rows of each loss by its number of labels, at least 1. Source: torch ctc_loss, "mean"."""
    labels = cast(maximum(target_lengths, constant(1, target_lengths.dtype)), loss.dtype)
    return mean(div(loss, labels))


OPS: tuple[type[Op], ...] = (CtcLoss,)
