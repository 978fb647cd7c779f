"""What all ops on recurrent steps share: their attributes, their checks, and the helpers of their formulas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from chainrule.errors import ArgumentError, NotSupported, ShapeError
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value, build, results
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, f32
from chainrule.ops.compare import lt
from chainrule.ops.elementwise import cast, expect_inputs, where
from chainrule.ops.lowered import from_panels, panel_count
from chainrule.ops.ranges import iota
from chainrule.ops.recurrent_math import Cell
from chainrule.ops.recurrent_quantities import FORMULAS, Function, Symbol
from chainrule.ops.shape_rules import require, same_dtype
from chainrule.ops.shaping import concat, narrow, reshape, unsqueeze

Item = TypeVar("Item", Value, Array, TensorType)


@dataclass(frozen=True)
class Recurrence(Op):
    """The attributes that all cells share, forward and backward.

    functions: the activations by name (FORMULAS), with alphas and betas where they take any (empty: zeros). limit:
    bound of what activations get, 0 for none. panel: 0, or the width of the panels that r is packed in.
    """

    LETTERS: ClassVar[str] = ""
    COUNT: ClassVar[int] = 1  # activations
    FIXED: ClassVar[int] = 3  # inputs that are always there
    order: str = ""
    functions: tuple[str, ...] = ()
    alphas: tuple[float, ...] = ()
    betas: tuple[float, ...] = ()
    limit: float = 0.0
    reverse: bool = False
    ragged: bool = False
    panel: int = 0

    @property
    def fixed(self) -> int:
        """The number of inputs that are always there."""
        return self.FIXED

    @property
    def has_extra(self) -> bool:
        """True when peepholes or a recurrent bias stand among the inputs."""
        return False

    @property
    def cell(self) -> Cell:
        """What the cell computes, without shapes."""
        alphas = self.alphas or (0.0,) * self.COUNT
        betas = self.betas or (0.0,) * self.COUNT
        functions = tuple(Function(*parts) for parts in zip(self.functions, alphas, betas, strict=True))
        return Cell(self.order, functions, self.limit, self.reverse)

    @property
    def gate_count(self) -> int:
        return len(self.LETTERS)

    def split(self, inputs: Sequence[Item]) -> tuple[tuple[Item, ...], Item | None, Item | None]:
        """The inputs that are always there, peepholes or recurrent bias, and lengths."""
        rest = list(inputs[self.fixed :])
        extra = rest.pop(0) if self.has_extra else None
        return tuple(inputs[: self.fixed]), extra, rest.pop(0) if self.ragged else None

    def check(self, types: Sequence[TensorType]) -> None:
        """The attributes are sound and the number and kinds of the inputs fit. Raises ArgumentError or DTypeError."""
        expect_inputs(self.fixed + self.has_extra + self.ragged, types)
        if sorted(self.order) != sorted(self.LETTERS):
            raise ArgumentError(f'order "{self.order}" does not name the gates', help=f'arrange "{self.LETTERS}"')
        if len(self.functions) != self.COUNT or not {len(self.alphas), len(self.betas)} <= {0, self.COUNT}:
            raise ArgumentError(f"{len(self.functions)} activations are given, the cell has {self.COUNT}")
        for name in self.functions:
            if name not in FORMULAS:
                raise ArgumentError(f'there is no activation "{name}"', help="one of " + ", ".join(FORMULAS))
        if not self.limit >= 0.0:
            raise ArgumentError(f"limit {self.limit} is not a number >= 0")
        if self.panel < 0:
            raise ArgumentError(f"panel {self.panel} is not a number >= 0")
        floats = types[: len(types) - self.ragged]
        require("f", *floats)
        same_dtype(*floats)
        if self.ragged:
            require("i", types[-1])

    def expect(self, type: TensorType | None, name: str, *shape: Dim) -> None:
        """A type has this shape. Raises ShapeError."""
        if type is not None and type.shape != shape:
            raise ShapeError(f"{name} is {type}, [{','.join(map(str, shape))}] is expected")

    def state_of(self, types: Sequence[TensorType], position: int) -> tuple[Dim, Dim]:
        """N and H, from a state. Raises ShapeError."""
        state = types[position]
        if state.rank != 2:
            raise ShapeError(f"the state is {state}, [N,H] is expected")
        return state.shape[0], state.shape[1]

    def slope_is_known(self) -> None:
        """The slope of every activation follows from its value. Raises NotSupported where a negative alpha forbids."""
        for function in self.cell.functions:
            if function.name in ("leaky_relu", "elu") and function.alpha < 0:
                raise NotSupported(f"{self.name}: there is no gradient through {function.name} with a negative alpha",
                                   help="use an alpha >= 0")  # fmt: skip

    def in_f32(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The results of half precision inputs: computed in f32 and rounded once."""
        dtype = inputs[0].dtype
        wide = [cast(v, f32) if v.dtype == dtype else v for v in inputs]
        return tuple(cast(v, dtype) for v in results(build(self, *wide)))


@dataclass(frozen=True)
class Lstm(Recurrence):
    """What makes a cell an LSTM, forward and backward. coupled: f = 1 - i. peepholes: an input of [3H] stands there."""

    LETTERS: ClassVar[str] = "ifgo"
    COUNT: ClassVar[int] = 3
    order: str = "ifgo"
    functions: tuple[str, ...] = ("sigmoid", "tanh", "tanh")
    peepholes: bool = False
    coupled: bool = False

    @property
    def has_extra(self) -> bool:
        return self.peepholes

    @property
    def cell(self) -> Cell:
        return replace(super().cell, coupled=self.coupled)


@dataclass(frozen=True)
class Gru(Recurrence):
    """What makes a cell a GRU, forward and backward, but for reset_after."""

    LETTERS: ClassVar[str] = "rzn"
    COUNT: ClassVar[int] = 2
    order: str = "rzn"
    functions: tuple[str, ...] = ("sigmoid", "tanh")


class Forward(Recurrence):
    """What the forward ops share: their shape rule."""

    STATES: ClassVar[int] = 1
    packs_gates: ClassVar[bool] = True

    def checked(self, types: Sequence[TensorType]) -> tuple[TensorType, TensorType]:
        """The types of x and of a state."""
        self.check(types)
        n, h = self.state_of(types, 2)
        fixed, _, lengths = self.split(types)
        x, r, *states = fixed
        wide = self.gate_count * h
        if x.rank != 3:
            raise ShapeError(f"x is {x}, [T,N,{wide}] is expected", help="x is [T, N, gates * H]")
        self.expect(x, "x", x.shape[0], n, wide)
        if self.panel:
            self.expect(r, "r", panel_count(h, self.panel), h, self.gate_count * self.panel)
        else:
            self.expect(r, "r", wide, h)
        for state in states:
            self.expect(state, "the state", n, h)
        self.expect(lengths, "lengths", n)
        return x, states[0]

    def weights(self, r: Array) -> Array:
        """r as it was before it was packed."""
        if not self.panel:
            return r
        count, size, _ = r.shape
        gates = r.reshape(count, size, self.gate_count, self.panel).transpose(2, 0, 3, 1)
        units = gates.reshape(self.gate_count, count * self.panel, size)[:, :size]
        return np.ascontiguousarray(units.reshape(self.gate_count * size, size))


class Backward(Recurrence):
    """What the gradient ops share. Their r is packed as for a product d @ r."""

    def expect_weights(self, r: TensorType, h: Dim) -> None:
        wide = self.gate_count * h
        if self.panel:
            self.expect(r, "r", panel_count(h, self.panel), wide, self.panel)
        else:
            self.expect(r, "r", wide, h)

    def weights(self, r: Array, size: int) -> Array:
        """r as it was before it was packed."""
        return np.ascontiguousarray(from_panels(r, size)) if self.panel else r


def in_f32_at_least(arrays: Sequence[Array]) -> list[Array]:
    """Half precision in f32."""
    return [x.astype(np.float32) if x.dtype.itemsize == 2 else x for x in arrays]


def rounded(found: Sequence[Array], like: Array) -> tuple[Array, ...]:
    """Results in the element type of an input."""
    return tuple(y.astype(like.dtype, copy=False) for y in found)


def symbols(values: Sequence[Value | None]) -> list[Any]:
    """The values as quantities of the formulas; None stays None."""
    return [None if v is None else Symbol(v) for v in values]


def values_of(symbols: Sequence[Any]) -> tuple[Value, ...]:
    """The values of quantities."""
    return tuple(s.value for s in symbols)


def starts_of(ys: Value, h: Value, reverse: bool, lengths: Value | None) -> Value:
    """The state before every step, [T, N, H], given the results and the first state."""
    if reverse and lengths is not None:  # results beyond a row's length are 0, the state there is still the first
        count = unsqueeze(iota((ys.shape[0],), 0, lengths.dtype), 1)
        inside = unsqueeze(lt(count, unsqueeze(lengths, 0)), 2)
        ys = where(inside, ys, unsqueeze(h, 0))
    first = unsqueeze(h, 0)
    parts = (ys, first) if reverse else (first, ys)
    return narrow(concat(parts, 0), 0, 1 if reverse else 0, ys.shape[0])


def all_rows(x: Value) -> Value:
    """The rows of all steps as one matrix: [T, N, K] -> [T*N, K]."""
    return reshape(x, (x.shape[0] * x.shape[1], x.shape[2]))


def present(*values: Value | None) -> list[Value]:
    """Those that are there."""
    return [v for v in values if v is not None]
