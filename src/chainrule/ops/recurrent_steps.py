"""The steps of recurrent cells in time, one layer and one direction, on inputs that are projected already.

What the input gives to the gates is one product over all steps and stands outside; these ops are the part that cannot
be one product. `order` names the gates as they lie in x and r, by letters: "ifgo" is PyTorch's LSTM, "iofg" ONNX's;
"rzn" is PyTorch's GRU, "zrn" ONNX's. `lengths` says how many steps each row has: beyond them its state stays and its
result is 0. With `reverse` time runs from the last step to the first. With `saves` they also give what their gradients
need: passes.share_saved computes both kinds of results once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.graph import Value, build, get, results
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, TupleType
from chainrule.ops import recurrent_math as cells
from chainrule.ops.elementwise import expect_inputs, mul
from chainrule.ops.lowered import MADE_LATE, panel_count
from chainrule.ops.matmul import product
from chainrule.ops.recurrent_base import (
    Forward,
    Gru,
    Lstm,
    all_rows,
    in_f32_at_least,
    present,
    rounded,
    starts_of,
    symbols,
    values_of,
)
from chainrule.ops.recurrent_errors import finite_size, gru_scale, lstm_scale, rnn_scale
from chainrule.ops.recurrent_grad import GruStepsGrad, LstmStepsGrad, RnnStepsGrad
from chainrule.ops.recurrent_loops import forwards
from chainrule.ops.recurrent_math import Cell
from chainrule.ops.reduce import sum
from chainrule.ops.shape_rules import require
from chainrule.ops.shaping import concat, narrow


@dataclass(frozen=True)
class LstmSteps(Lstm, Forward):
    """c' = f c + i g, h' = o y(c'), with i, f, o = sigmoid and g = tanh of x[t] + r h, y = tanh, at every step.

    x: floats [T, N, 4H], r: [4H, H], h, c: [N, H], peepholes (with `peepholes`): [3H] in the order of their gates,
    lengths (with `ragged`): integers [N] -> ys [T, N, H], last h and c [N, H]; with saves also the gates [T, N, 4H] and
    the states c after every step [T, N, H], gates beyond a row's length 0. coupled: f = 1 - i. Peepholes add p c to the
    arguments of i and f, p c' to that of o. f16 and bf16 compute in f32. Raises ShapeError for other shapes,
    ArgumentError for unknown activations or gates. Source: ONNX LSTM-22; torch.nn.LSTM; Gers et al. 2000.
    """

    name: ClassVar[str] = "lstm_steps"
    args: ClassVar[tuple[str, ...]] = ("x", "r", "h", "c")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "vjp"
    FIXED: ClassVar[int] = 4
    saves: bool = False

    def infer(self, *types: TensorType) -> TupleType:
        x, state = self.checked(types)
        self.expect(self.split(types)[1], "peepholes", 3 * state.shape[1])
        ys = state.with_shape((x.shape[0], *state.shape))
        return TupleType((ys, state, state, x, ys) if self.saves else (ys, state, state))

    def ref(self, *arrays: Array) -> tuple[Array, ...]:
        (x, r, h, c), p, lengths = self.split(in_f32_at_least(arrays))
        found = cells.lstm_forward(self.cell, x, self.weights(r), h, c, p, lengths)
        return rounded(found if self.saves else found[:3], arrays[0])

    def magnitude(self, *arrays: Array) -> tuple[Array, ...]:
        """How far rounding may carry each result."""
        (x, r, h, c), p, lengths = self.split(arrays)
        return lstm_scale(self.cell, x, finite_size(x), self.weights(r), h, c, p, lengths)

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        (x, *rest), p, lengths = self.split(inputs)
        if x.dtype.bits == 16:
            return self.in_f32(inputs)
        if x.shape[0] != 1:
            return forwards(self, inputs)
        found = values_of(cells.lstm_forward(self.cell, *symbols((x, *rest, p, lengths))))
        return found if self.saves else found[:3]

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        self.slope_is_known()
        (_, r, h, c), p, lengths = self.split(inputs)
        kept = build(replace(self, saves=True), *inputs)
        gates, states = get(kept, 3), get(kept, 4)
        op = LstmStepsGrad(self.order, self.functions, self.alphas, self.betas, self.limit, self.reverse, self.ragged,
                           0, self.peepholes, self.coupled, self.saves)  # fmt: skip
        found = build(op, r, c, gates, states, *grads, *present(p, lengths))
        dx, dh, dc = results(found)
        dr = product(all_rows(dx), all_rows(starts_of(get(kept, 0), h, self.reverse, lengths)), True, False)
        dp = None if p is None else self._peephole_gradient(dx, starts_of(states, c, self.reverse, None), states)
        return (dx, dr, dh, dc, *present(dp), *([None] if self.ragged else []))

    def _peephole_gradient(self, dx: Value, starts: Value, states: Value) -> Value:
        """The sum over steps and rows of each gate's gradient times the state that it sees."""
        size = states.shape[2]
        seen = {"i": starts, "f": starts, "o": states}
        parts = [sum(mul(narrow(dx, -1, at * size, size), seen[letter]), (0, 1))
                 for at, letter in enumerate(self.order) if letter != "g"]  # fmt: skip
        return concat(parts, 0)


@dataclass(frozen=True)
class GruSteps(Gru, Forward):
    """h' = (1 - z) n + z h, with r, z = sigmoid of x[t] + r h, and n = tanh of x + r (r_n h + b), at every step.

    x: floats [T, N, 3H], r: [3H, H], h: [N, H], b (with `biased`): [H], lengths (with `ragged`): integers [N] ->
    ys [T, N, H], last h [N, H]; with saves also the gates [T, N, 3H] and the recurrent part of gate n [T, N, H], both
    0 beyond a row's length. Without reset_after n = tanh of x + r_n (r h), and there is no b. f16 and bf16 compute in
    f32. Raises as LstmSteps does. Source: ONNX GRU-22; torch.nn.GRU; Cho et al., arXiv:1406.1078.
    """

    name: ClassVar[str] = "gru_steps"
    args: ClassVar[tuple[str, ...]] = ("x", "r", "h")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "vjp"
    biased: bool = False
    reset_after: bool = True
    saves: bool = False

    @property
    def has_extra(self) -> bool:
        return self.biased

    @property
    def cell(self) -> Cell:
        return replace(super().cell, reset_after=self.reset_after)

    def infer(self, *types: TensorType) -> TupleType:
        if self.biased and not self.reset_after:
            raise ArgumentError("a recurrent bias needs reset_after", help="add it to x")
        x, state = self.checked(types)
        self.expect(self.split(types)[1], "b", state.shape[1])
        ys = state.with_shape((x.shape[0], *state.shape))
        return TupleType((ys, state, x, ys) if self.saves else (ys, state))

    def ref(self, *arrays: Array) -> tuple[Array, ...]:
        (x, r, h), b, lengths = self.split(in_f32_at_least(arrays))
        found = cells.gru_forward(self.cell, x, self.weights(r), h, b, lengths)
        return rounded(found if self.saves else found[:2], arrays[0])

    def magnitude(self, *arrays: Array) -> tuple[Array, ...]:
        """How far rounding may carry each result."""
        (x, r, h), b, lengths = self.split(arrays)
        return gru_scale(self.cell, x, finite_size(x), self.weights(r), h, b, lengths)

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        (x, *rest), b, lengths = self.split(inputs)
        if x.dtype.bits == 16:
            return self.in_f32(inputs)
        if x.shape[0] != 1:
            return forwards(self, inputs)
        found = values_of(cells.gru_forward(self.cell, *symbols((x, *rest, b, lengths))))
        return found if self.saves else found[:2]

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        self.slope_is_known()
        (_, r, h), _, lengths = self.split(inputs)
        kept = build(replace(self, saves=True), *inputs)
        gates, inner = get(kept, 2), get(kept, 3)
        starts = starts_of(get(kept, 0), h, self.reverse, lengths)
        op = GruStepsGrad(self.order, self.functions, self.alphas, self.betas, self.limit, self.reverse, self.ragged, 0,
                          self.reset_after, self.saves)  # fmt: skip
        dx, da, dh = results(build(op, r, starts, gates, inner, *grads, *present(lengths)))
        size = h.shape[1]
        at = self.order.index("n") * size
        dn = narrow(da, -1, at, size)
        if self.reset_after:
            dr = product(all_rows(da), all_rows(starts), True, False)
        else:
            reset = mul(narrow(gates, -1, self.order.index("r") * size, size), starts)
            seen = {"r": starts, "z": starts, "n": reset}
            parts = [product(all_rows(narrow(da, -1, i * size, size)), all_rows(seen[letter]), True, False)
                     for i, letter in enumerate(self.order)]  # fmt: skip
            dr = concat(parts, 0)
        db = sum(dn, (0, 1)) if self.biased else None
        return (dx, dr, dh, *present(db), *([None] if self.ragged else []))


@dataclass(frozen=True)
class RnnSteps(Forward):
    """h' = tanh(x[t] + r h) at every step, or another activation.

    x: floats [T, N, H], r: [H, H], h: [N, H], lengths (with `ragged`): integers [N] -> ys [T, N, H], last h [N, H].
    f16 and bf16 compute in f32. Raises as LstmSteps does. Source: ONNX RNN-22; torch.nn.RNN; Elman 1990.
    """

    name: ClassVar[str] = "rnn_steps"
    args: ClassVar[tuple[str, ...]] = ("x", "r", "h")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "vjp"
    LETTERS: ClassVar[str] = "h"
    order: str = "h"
    functions: tuple[str, ...] = ("tanh",)

    def infer(self, *types: TensorType) -> TupleType:
        x, state = self.checked(types)
        return TupleType((state.with_shape((x.shape[0], *state.shape)), state))

    def ref(self, *arrays: Array) -> tuple[Array, ...]:
        (x, r, h), _, lengths = self.split(in_f32_at_least(arrays))
        return rounded(cells.rnn_forward(self.cell, x, self.weights(r), h, lengths), arrays[0])

    def magnitude(self, *arrays: Array) -> tuple[Array, ...]:
        """How far rounding may carry each result."""
        (x, r, h), _, lengths = self.split(arrays)
        return rnn_scale(self.cell, x, finite_size(x), self.weights(r), h, lengths)

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        (x, *rest), _, lengths = self.split(inputs)
        if x.dtype.bits == 16:
            return self.in_f32(inputs)
        if x.shape[0] != 1:
            return forwards(self, inputs)
        return values_of(cells.rnn_forward(self.cell, *symbols((x, *rest, lengths))))

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        self.slope_is_known()
        (_, r, h), _, lengths = self.split(inputs)
        ys = get(output, 0)
        op = RnnStepsGrad(self.order, self.functions, self.alphas, self.betas, self.limit, self.reverse, self.ragged)
        dx, dh = results(build(op, r, ys, *grads, *present(lengths)))
        dr = product(all_rows(dx), all_rows(starts_of(ys, h, self.reverse, lengths)), True, False)
        return (dx, dr, dh, *([None] if self.ragged else []))


@dataclass(frozen=True)
class PackGates(Op):
    """Recurrent weights in panels of `units` units, all gates of a unit in one panel.

    r: [G*H, H] -> [ceil(H/units), H, G*units], places beyond unit H zero: row k of panel p holds, gate after gate, the
    weights from unit k to the units p*units ... Raises ShapeError where r is not [gates*H, H], ArgumentError for units
    or gates below 1. Source: PackPanels of the rows of r in another order.
    """

    name: ClassVar[str] = "pack_gates"
    args: ClassVar[tuple[str, ...]] = ("r",)
    gradient: ClassVar[str] = MADE_LATE
    gates: int
    units: int

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (r,) = types
        require("f", r)
        if self.gates < 1 or self.units < 1:
            raise ArgumentError(f"{self.gates} gates of {self.units} units", help="give 1 or more of each")
        if r.rank != 2 or r.shape[0] != self.gates * r.shape[1]:
            raise ShapeError(f"r is {r}, [{self.gates}*H,H] is expected")
        size = r.shape[1]
        return r.with_shape((panel_count(size, self.units), size, self.gates * self.units))

    def ref(self, *arrays: Array) -> Array:
        (r,) = arrays
        size = r.shape[1]
        count = -(-size // self.units)
        full = np.zeros((self.gates, count * self.units, size), r.dtype)
        full[:, :size] = r.reshape(self.gates, size, size)
        panels = full.reshape(self.gates, count, self.units, size)
        return np.ascontiguousarray(panels.transpose(1, 3, 0, 2)).reshape(count, size, self.gates * self.units)


OPS: tuple[type[Op], ...] = (PackGates, LstmSteps, GruSteps, RnnSteps)
