"""Recurrent layers as ONNX knows them: the input's projection, one or both directions, all steps.

Each is its projection, one matrix product for all steps, and the steps of ops/recurrent_steps.py. `order` names the
gates as they lie in w, r and b by letters ("iofg" and "zrn" are ONNX's orders, "ifgo" and "rzn" PyTorch's).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value, build, results
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, TupleType, f32
from chainrule.ops import recurrent_math as cells
from chainrule.ops.basic import full
from chainrule.ops.elementwise import add, cast, expect_inputs
from chainrule.ops.matmul import product
from chainrule.ops.recurrent_base import Forward
from chainrule.ops.recurrent_errors import gru_scale, lstm_scale, rnn_scale
from chainrule.ops.recurrent_math import Cell
from chainrule.ops.recurrent_steps import GruSteps, LstmSteps, RnnSteps
from chainrule.ops.shape_rules import require, same_dtype
from chainrule.ops.shaping import concat, narrow, reshape, stack

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
Item = TypeVar("Item", Value, Array, TensorType)


@dataclass(frozen=True)
class Layer(Op):
    """What the three layers share.

    functions: activations of one direction, or of both one after the other. bias, ragged, initial: whether b, lengths
    and the first states are among the inputs.
    """

    LETTERS: ClassVar[str] = ""
    COUNT: ClassVar[int] = 1
    STATES: ClassVar[int] = 1
    order: str = ""
    direction: str = "forward"
    functions: tuple[str, ...] = ()
    alphas: tuple[float, ...] = ()
    betas: tuple[float, ...] = ()
    limit: float = 0.0
    bias: bool = False
    ragged: bool = False
    initial: bool = False

    @property
    def has_peepholes(self) -> bool:
        return False

    @property
    def sides(self) -> tuple[bool, ...]:
        """For each direction whether it runs backwards."""
        return DIRECTIONS[self.direction]

    def split(self, inputs: Sequence[Item]) -> dict[str, Item]:
        """The inputs that are there, by name."""
        there = {"x": True, "w": True, "r": True, "b": self.bias, "lengths": self.ragged, "h": self.initial,
                 "c": self.initial and self.STATES == 2, "p": self.has_peepholes}  # fmt: skip
        return dict(zip((name for name, given in there.items() if given), inputs, strict=True))

    def steps(self, side: int) -> Forward:
        """The op that runs the steps of one direction."""
        raise NotImplementedError

    def shared(self, side: int) -> tuple[str, tuple[str, ...], tuple[float, ...], tuple[float, ...], float, bool, bool]:
        """The attributes that the steps of a direction take over."""
        each = slice(side * self.COUNT, (side + 1) * self.COUNT) if len(self.functions) > self.COUNT else slice(None)
        return (self.order, self.functions[each], self.alphas[each], self.betas[each], self.limit, self.sides[side],
                self.ragged)  # fmt: skip

    def infer(self, *types: TensorType) -> TupleType:
        self._check_attributes()
        count = 3 + self.bias + self.ragged + self.initial * self.STATES + self.has_peepholes
        expect_inputs(count, types)
        given = self.split(types)
        x, r = given["x"], given["r"]
        floats = [t for name, t in given.items() if name != "lengths"]
        require("f", *floats)
        dtype = same_dtype(*floats)
        if x.rank != 3 or r.rank != 3:
            raise ShapeError(f"x is {x} and r is {r}, [T,N,I] and [D,{len(self.LETTERS)}*H,H] are expected")
        (steps, n, inner), d, h = x.shape, len(self.sides), r.shape[2]
        wide = len(self.LETTERS) * h
        wanted: dict[str, tuple[Dim, ...]] = {
            "x": x.shape, "w": (d, wide, inner), "r": (d, wide, h), "b": (d, 2 * wide), "lengths": (n,),
            "h": (d, n, h), "c": (d, n, h), "p": (d, 3 * h)}  # fmt: skip
        for name, type in given.items():
            if type.shape != wanted[name]:
                raise ShapeError(f"{name} is {type}, [{','.join(map(str, wanted[name]))}] is expected")
        if self.ragged:
            require("i", given["lengths"])
        state = TensorType(dtype, (d, n, h))
        return TupleType((TensorType(dtype, (steps, d, n, h)), *[state] * self.STATES))

    def _check_attributes(self) -> None:
        if self.direction not in DIRECTIONS:
            raise ArgumentError(f'direction "{self.direction}" is not known', help="one of " + ", ".join(DIRECTIONS))
        if sorted(self.order) != sorted(self.LETTERS):
            raise ArgumentError(f'order "{self.order}" does not name the gates', help=f'arrange "{self.LETTERS}"')
        if len(self.functions) not in (self.COUNT, self.COUNT * len(self.sides)):
            raise ArgumentError(f"{len(self.functions)} activations are given, a direction has {self.COUNT}")
        if any(len(numbers) not in (0, len(self.functions)) for numbers in (self.alphas, self.betas)):
            raise ArgumentError("alphas and betas are as many as the activations, or none")

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        dtype = inputs[0].dtype
        if dtype.bits == 16:
            wide = build(self, *(cast(v, f32) if v.dtype == dtype else v for v in inputs))
            return tuple(cast(v, dtype) for v in results(wide))
        given = self.split(inputs)
        found = [results(self._side(given, side)) for side in range(len(self.sides))]
        ys, *states = zip(*found, strict=True)
        return (stack(ys, 1), *(stack(part, 0) for part in states))

    def _side(self, given: dict[str, Value], side: int) -> Value:
        """The steps of one direction behind their projection."""
        own = {name: _at(v, side) for name, v in given.items() if name not in ("x", "lengths")}
        projected = product(given["x"], own["w"], False, True)
        inside, outside = self.biases(own["b"]) if self.bias else (None, None)
        if outside is not None:
            projected = add(projected, outside)
        n, h = given["x"].shape[1], own["r"].shape[1]
        states = [own.get(name) or full(0.0, (n, h), projected.dtype) for name in "hc"[: self.STATES]]
        extra = [v for v in (inside, own.get("p"), given.get("lengths")) if v is not None]
        return build(self.steps(side), projected, own["r"], *states, *extra)

    def biases(self, b: Value) -> tuple[Value | None, Value]:
        """What stays in the steps of b = [of the input, of the state], and what is added to the projection."""
        half = b.shape[0] // 2
        return None, add(narrow(b, 0, 0, half), narrow(b, 0, half, half))

    def ref(self, *arrays: Array) -> tuple[Array, ...]:
        given = self.split([x.astype(np.float32) if x.dtype.itemsize == 2 else x for x in arrays])
        found = [self.run(given, side, scale=False) for side in range(len(self.sides))]
        return tuple(np.stack(part, 1 if i == 0 else 0).astype(arrays[0].dtype, copy=False)
                     for i, part in enumerate(zip(*found, strict=True)))  # fmt: skip

    def magnitude(self, *arrays: Array) -> tuple[Array, ...]:
        """How far rounding may carry each result, from the products of the projection on."""
        given = self.split(arrays)
        found = [self.run(given, side, scale=True) for side in range(len(self.sides))]
        return tuple(np.stack(part, 1 if i == 0 else 0) for i, part in enumerate(zip(*found, strict=True)))

    def run(self, given: dict[str, Array], side: int, scale: bool) -> tuple[Array, ...]:
        """ys and the last states of one direction, or the scales of their errors."""
        own = {name: v[side] for name, v in given.items() if name not in ("x", "lengths")}
        x, wide = given["x"], len(self.LETTERS) * own["r"].shape[1]
        b = own.get("b", np.zeros(2 * wide, x.dtype))
        outside, inside = self.biases_of(b)
        projected = x @ own["w"].T + outside
        error = np.abs(x) @ np.abs(own["w"]).T + np.abs(outside) if scale else None
        zero = np.zeros((x.shape[1], own["r"].shape[1]), x.dtype)
        states = [own.get(name, zero) for name in "hc"[: self.STATES]]
        return self.walked(self.steps(side).cell, projected, error, own, states, inside, given.get("lengths"))

    def biases_of(self, b: Array) -> tuple[Array, Array | None]:
        """As biases, on arrays, the other way round."""
        half = len(b) // 2
        return b[:half] + b[half:], None

    def walked(self, cell: Cell, x: Array, error: Array | None, own: dict[str, Array], states: Sequence[Array],
               inside: Array | None, lengths: Array | None) -> tuple[Array, ...]:  # fmt: skip
        """The steps of a direction on arrays; with the errors of x, the scales of the results' errors."""
        raise NotImplementedError


def _at(x: Value, side: int) -> Value:
    return reshape(narrow(x, 0, side, 1), x.shape[1:])


@dataclass(frozen=True)
class Lstm(Layer):
    """Long short-term memory over a sequence: LstmSteps of x w^T + b in each direction.

    x: floats [T, N, I], w: [D, 4H, I], r: [D, 4H, H], b: [D, 8H] (of the input, then of the state), lengths: integers
    [N], first h and c: [D, N, H], peepholes: [D, 3H] -> ys [T, D, N, H], last h and c [D, N, H]. D is 2 for
    "bidirectional", else 1. Beyond its length a row's results are 0; backwards it starts at its own end. f16 and bf16
    compute in f32. Raises ShapeError for other shapes, ArgumentError for unknown directions, gates or activations.
    Source: ONNX LSTM-22; torch.nn.LSTM.
    """

    name: ClassVar[str] = "lstm"
    args: ClassVar[tuple[str, ...]] = ("x", "w", "r")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "decompose"
    LETTERS: ClassVar[str] = "ifgo"
    COUNT: ClassVar[int] = 3
    STATES: ClassVar[int] = 2
    order: str = "ifgo"
    functions: tuple[str, ...] = ("sigmoid", "tanh", "tanh")
    peepholes: bool = False
    coupled: bool = False

    @property
    def has_peepholes(self) -> bool:
        return self.peepholes

    def steps(self, side: int) -> LstmSteps:
        return LstmSteps(*self.shared(side), 0, self.peepholes, self.coupled)

    def walked(self, cell: Cell, x: Array, error: Array | None, own: dict[str, Array], states: Sequence[Array],
               inside: Array | None, lengths: Array | None) -> tuple[Array, ...]:  # fmt: skip
        h, c = states
        if error is None:
            return cells.lstm_forward(cell, x, own["r"], h, c, own.get("p"), lengths)[:3]
        return lstm_scale(cell, x, error, own["r"], h, c, own.get("p"), lengths)[:3]


@dataclass(frozen=True)
class Gru(Layer):
    """Gated recurrent units over a sequence: GruSteps of x w^T + b in each direction.

    x: floats [T, N, I], w: [D, 3H, I], r: [D, 3H, H], b: [D, 6H] (of the input, then of the state), lengths: integers
    [N], first h: [D, N, H] -> ys [T, D, N, H], last h [D, N, H]. reset_after: as in GruSteps. Lengths, precision and
    errors are those of Lstm. Source: ONNX GRU-22 (linear_before_reset); torch.nn.GRU.
    """

    name: ClassVar[str] = "gru"
    args: ClassVar[tuple[str, ...]] = ("x", "w", "r")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "decompose"
    LETTERS: ClassVar[str] = "rzn"
    COUNT: ClassVar[int] = 2
    order: str = "rzn"
    functions: tuple[str, ...] = ("sigmoid", "tanh")
    reset_after: bool = True

    @property
    def _keeps_bias(self) -> bool:
        return self.bias and self.reset_after

    def steps(self, side: int) -> GruSteps:
        return GruSteps(*self.shared(side), 0, self._keeps_bias, self.reset_after)

    def biases(self, b: Value) -> tuple[Value | None, Value]:
        if not self.reset_after:
            return super().biases(b)
        size = b.shape[0] // 6
        of_input, of_state = narrow(b, 0, 0, 3 * size), {k: narrow(b, 0, (3 + i) * size, size)
                                                         for i, k in enumerate(self.order)}  # fmt: skip
        inside = of_state["n"]
        of_state["n"] = full(0.0, (size,), b.dtype)
        return inside, add(of_input, concat([of_state[k] for k in self.order], 0))

    def biases_of(self, b: Array) -> tuple[Array, Array | None]:
        if not self.reset_after:
            return super().biases_of(b)
        size, at = len(b) // 6, self.order.index("n")
        of_state = b[3 * size :].copy()
        of_state[at * size : (at + 1) * size] = 0
        return b[: 3 * size] + of_state, b[(3 + at) * size : (4 + at) * size]

    def walked(self, cell: Cell, x: Array, error: Array | None, own: dict[str, Array], states: Sequence[Array],
               inside: Array | None, lengths: Array | None) -> tuple[Array, ...]:  # fmt: skip
        if error is None:
            return cells.gru_forward(cell, x, own["r"], states[0], inside, lengths)[:2]
        return gru_scale(cell, x, error, own["r"], states[0], inside, lengths)[:2]


@dataclass(frozen=True)
class Rnn(Layer):
    """The plain recurrent network over a sequence: RnnSteps of x w^T + b in each direction.

    x: floats [T, N, I], w: [D, H, I], r: [D, H, H], b: [D, 2H], lengths: integers [N], first h: [D, N, H] ->
    ys [T, D, N, H], last h [D, N, H]. Lengths, precision and errors are those of Lstm.
    Source: ONNX RNN-22; torch.nn.RNN.
    """

    name: ClassVar[str] = "rnn"
    args: ClassVar[tuple[str, ...]] = ("x", "w", "r")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "decompose"
    LETTERS: ClassVar[str] = "h"
    order: str = "h"
    functions: tuple[str, ...] = ("tanh",)

    def steps(self, side: int) -> RnnSteps:
        return RnnSteps(*self.shared(side))

    def walked(self, cell: Cell, x: Array, error: Array | None, own: dict[str, Array], states: Sequence[Array],
               inside: Array | None, lengths: Array | None) -> tuple[Array, ...]:  # fmt: skip
        if error is None:
            return cells.rnn_forward(cell, x, own["r"], states[0], lengths)
        return rnn_scale(cell, x, error, own["r"], states[0], lengths)


OPS: tuple[type[Op], ...] = (Lstm, Gru, Rnn)
