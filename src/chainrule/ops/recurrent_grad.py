"""The gradients of recurrent steps, step by step backwards, from what the forward ops save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ir.graph import Value
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, TupleType
from chainrule.ops import recurrent_math as cells
from chainrule.ops.recurrent_base import (
    Backward,
    Gru,
    Lstm,
    in_f32_at_least,
    rounded,
    starts_of,
    symbols,
    values_of,
)
from chainrule.ops.recurrent_loops import looped
from chainrule.ops.recurrent_math import Cell


@dataclass(frozen=True)
class LstmStepsGrad(Lstm, Backward):
    """The gradients of x, h and c of LstmSteps. r: [4H, H], c: [N, H], gates, states: what LstmSteps saves, then one
    gradient for each of its results (those of the saved ones with `seeded`), peepholes, lengths ->
    [T, N, 4H], [N, H], [N, H].

    Slopes are found from the gates' values. Raises what LstmSteps raises. Source: the gradient of ONNX LSTM-22;
    Gers et al. 2002, with the full gradient.
    """

    name: ClassVar[str] = "lstm_steps_grad"
    args: ClassVar[tuple[str, ...]] = ("r", "c", "gates", "states", "dys", "dh", "dc")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "decompose"
    FIXED: ClassVar[int] = 7
    seeded: bool = False

    @property
    def fixed(self) -> int:
        return self.FIXED + 2 * self.seeded

    def infer(self, *types: TensorType) -> TupleType:
        self.check(types)
        n, h = self.state_of(types, 1)
        (r, c, gates, states, dys, *ends), p, lengths = self.split(types)
        self.expect_weights(r, h)
        if gates.rank != 3:
            raise ShapeError(f"gates is {gates}, [T,N,{4 * h}] is expected")
        steps = gates.shape[0]
        for type, name in ((gates, "gates"), *((t, "dgates") for t in ends[2:3])):
            self.expect(type, name, steps, n, 4 * h)
        for type in (states, dys, *ends[3:]):
            self.expect(type, "a gradient of every step", steps, n, h)
        for type in ends[:2]:
            self.expect(type, "a gradient of the last state", n, h)
        self.expect(p, "peepholes", 3 * h)
        self.expect(lengths, "lengths", n)
        return TupleType((gates, c, c))

    def _computed(self, inputs: Sequence[Any], size_of: Any = None) -> tuple[Any, ...]:
        (r, c, gates, states, dys, dh, dc, *seeds), p, lengths = inputs
        dgates, dstates = seeds or (None, None)
        cell, extra = (self.cell, {}) if size_of is None else (self.cell.for_errors, {"size_of": size_of})
        return cells.lstm_backward(cell, r, c, gates, states, dys, dh, dc, p, lengths, dgates, dstates, **extra)

    def ref(self, *arrays: Array) -> tuple[Array, ...]:
        (r, c, *rest), p, lengths = self.split(in_f32_at_least(arrays))
        return rounded(self._computed(((self.weights(r, c.shape[1]), c, *rest), p, lengths)), arrays[0])

    def magnitude(self, *arrays: Array) -> tuple[Array, ...]:
        """Every term as large as it may be, once for each step that rounds it."""
        (r, c, gates, states, *grads), p, lengths = self.split(arrays)
        sizes = (np.abs(self.weights(r, c.shape[1])), c, gates, states, *(np.abs(g) for g in grads))
        return tuple((1 + len(gates)) * y for y in self._computed((sizes, p, lengths), np.abs))

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        fixed, p, lengths = self.split(inputs)
        if inputs[0].dtype.bits == 16:
            return self.in_f32(inputs)
        r, c, gates, states, dys, dh, dc, *seeds = fixed
        if gates.shape[0] != 1:
            stacked = [starts_of(states, c, self.reverse, None), gates, states, dys, *seeds]
            names = ["captured0", "state0", "stacked1", "stacked2", "stacked3", "carried0", "carried1", "stacked4",
                     "stacked5", "captured1", "captured2"]  # fmt: skip
            dh, dc, dx = looped(self, [dh, dc], stacked, [r, p, lengths], names, backwards=True)
            return dx, dh, dc
        return values_of(self._computed((symbols(fixed), *symbols((p, lengths)))))


@dataclass(frozen=True)
class GruStepsGrad(Gru, Backward):
    """The gradients of x, of what r gave to the gates, and of h, of GruSteps. r: [3H, H], starts: the state before
    every step [T, N, H], gates, inner: what GruSteps saves, then one gradient for each of its results (those of the
    saved ones with `seeded`), lengths -> [T, N, 3H], [T, N, 3H], [N, H].

    Raises what GruSteps raises. Source: the gradient of ONNX GRU-22; Cho et al., arXiv:1406.1078.
    """

    name: ClassVar[str] = "gru_steps_grad"
    args: ClassVar[tuple[str, ...]] = ("r", "starts", "gates", "inner", "dys", "dh")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "decompose"
    FIXED: ClassVar[int] = 6
    reset_after: bool = True
    seeded: bool = False

    @property
    def fixed(self) -> int:
        return self.FIXED + 2 * self.seeded

    @property
    def cell(self) -> Cell:
        return replace(super().cell, reset_after=self.reset_after)

    def infer(self, *types: TensorType) -> TupleType:
        self.check(types)
        n, h = self.state_of(types, 5)
        (r, starts, gates, inner, dys, dh, *seeds), _, lengths = self.split(types)
        self.expect_weights(r, h)
        if gates.rank != 3:
            raise ShapeError(f"gates is {gates}, [T,N,{3 * h}] is expected")
        steps = gates.shape[0]
        for type in (gates, *seeds[:1]):
            self.expect(type, "gates", steps, n, 3 * h)
        for type in (starts, inner, dys, *seeds[1:]):
            self.expect(type, "what belongs to every step", steps, n, h)
        self.expect(lengths, "lengths", n)
        return TupleType((gates, gates, dh))

    def _computed(self, fixed: Sequence[Any], lengths: Any, size_of: Any = None) -> tuple[Any, ...]:
        r, starts, gates, inner, dys, dh, *seeds = fixed
        cell, extra = (self.cell, {}) if size_of is None else (self.cell.for_errors, {"size_of": size_of})
        dgates, dinner = seeds or (None, None)
        return cells.gru_backward(cell, r, starts, gates, inner, dys, dh, lengths, dgates, dinner, **extra)

    def ref(self, *arrays: Array) -> tuple[Array, ...]:
        (r, *rest), _, lengths = self.split(in_f32_at_least(arrays))
        return rounded(self._computed((self.weights(r, rest[0].shape[-1]), *rest), lengths), arrays[0])

    def magnitude(self, *arrays: Array) -> tuple[Array, ...]:
        """Every term as large as it may be, once for each step that rounds it."""
        (r, starts, gates, inner, *grads), _, lengths = self.split(arrays)
        sizes = (np.abs(self.weights(r, starts.shape[-1])), starts, gates, inner, *(np.abs(g) for g in grads))
        return tuple((1 + len(gates)) * y for y in self._computed(sizes, lengths, np.abs))

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        fixed, _, lengths = self.split(inputs)
        if inputs[0].dtype.bits == 16:
            return self.in_f32(inputs)
        r, starts, gates, inner, dys, dh, *seeds = fixed
        if gates.shape[0] != 1:
            names = ["captured0", "stacked0", "stacked1", "stacked2", "stacked3", "carried0", "stacked4", "stacked5",
                     "captured1"]  # fmt: skip
            dh, dx, da = looped(self, [dh], [starts, gates, inner, dys, *seeds], [r, lengths], names, backwards=True)
            return dx, da, dh
        return values_of(self._computed(symbols(fixed), *symbols((lengths,))))


@dataclass(frozen=True)
class RnnStepsGrad(Backward):
    """The gradients of x and h of RnnSteps. r: [H, H], ys, dys: [T, N, H], dh: [N, H], lengths -> [T, N, H], [N, H].

    Raises what RnnSteps raises. Source: the gradient of ONNX RNN-22; Elman 1990.
    """

    name: ClassVar[str] = "rnn_steps_grad"
    args: ClassVar[tuple[str, ...]] = ("r", "ys", "dys", "dh")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "decompose"
    LETTERS: ClassVar[str] = "h"
    FIXED: ClassVar[int] = 4
    order: str = "h"
    functions: tuple[str, ...] = ("tanh",)

    def infer(self, *types: TensorType) -> TupleType:
        self.check(types)
        n, h = self.state_of(types, 3)
        (r, ys, dys, dh), _, lengths = self.split(types)
        self.expect_weights(r, h)
        if ys.rank != 3:
            raise ShapeError(f"ys is {ys}, [T,{n},{h}] is expected")
        for type in (ys, dys):
            self.expect(type, "ys", ys.shape[0], n, h)
        self.expect(lengths, "lengths", n)
        return TupleType((ys, dh))

    def ref(self, *arrays: Array) -> tuple[Array, ...]:
        (r, ys, dys, dh), _, lengths = self.split(in_f32_at_least(arrays))
        found = cells.rnn_backward(self.cell, self.weights(r, ys.shape[-1]), ys, dys, dh, lengths)
        return rounded(found, arrays[0])

    def magnitude(self, *arrays: Array) -> tuple[Array, ...]:
        """Every term as large as it may be, once for each step that rounds it."""
        (r, ys, dys, dh), _, lengths = self.split(arrays)
        r = np.abs(self.weights(r, ys.shape[-1]))
        found = cells.rnn_backward(self.cell.for_errors, r, ys, np.abs(dys), np.abs(dh), lengths)
        return tuple((1 + len(ys)) * np.abs(y) for y in found)

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        fixed, _, lengths = self.split(inputs)
        if inputs[0].dtype.bits == 16:
            return self.in_f32(inputs)
        r, ys, dys, dh = fixed
        if ys.shape[0] != 1:
            names = ["captured0", "stacked0", "stacked1", "carried0", "captured1"]
            dh, dx = looped(self, [dh], [ys, dys], [r, lengths], names, backwards=True)
            return dx, dh
        return values_of(cells.rnn_backward(self.cell, *symbols((*fixed, lengths))))


OPS: tuple[type[Op], ...] = (LstmStepsGrad, GruStepsGrad, RnnStepsGrad)
