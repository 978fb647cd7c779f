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
from typing import Any, ClassVar, TypeVar

import numpy as np

from chainrule.errors import ArgumentError, NotSupported, ShapeError
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value, build, get, results
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, TupleType, f32
from chainrule.ops import recurrent_math as cells
from chainrule.ops.compare import lt
from chainrule.ops.elementwise import cast, expect_inputs, mul, where
from chainrule.ops.lowered import MADE_LATE, from_panels, panel_count
from chainrule.ops.matmul import product
from chainrule.ops.ranges import iota
from chainrule.ops.recurrent_errors import finite_size, gru_scale, lstm_scale, rnn_scale
from chainrule.ops.recurrent_loops import forwards, looped
from chainrule.ops.recurrent_math import Cell
from chainrule.ops.recurrent_quantities import FORMULAS, Function, Symbol
from chainrule.ops.reduce import sum
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


def _wide(arrays: Sequence[Array]) -> list[Array]:
    """Half precision in f32."""
    return [x.astype(np.float32) if x.dtype.itemsize == 2 else x for x in arrays]


def _rounded(found: Sequence[Array], like: Array) -> tuple[Array, ...]:
    return tuple(y.astype(like.dtype, copy=False) for y in found)


def _symbols(values: Sequence[Value | None]) -> list[Any]:
    return [None if v is None else Symbol(v) for v in values]


def _values(symbols: Sequence[Any]) -> tuple[Value, ...]:
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


def _flat(x: Value) -> Value:
    return reshape(x, (x.shape[0] * x.shape[1], x.shape[2]))


def _present(*values: Value | None) -> list[Value]:
    return [v for v in values if v is not None]


@dataclass(frozen=True)
class LstmSteps(Forward):
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
    LETTERS: ClassVar[str] = "ifgo"
    COUNT: ClassVar[int] = 3
    FIXED: ClassVar[int] = 4
    order: str = "ifgo"
    functions: tuple[str, ...] = ("sigmoid", "tanh", "tanh")
    peepholes: bool = False
    coupled: bool = False
    saves: bool = False

    @property
    def has_extra(self) -> bool:
        return self.peepholes

    @property
    def cell(self) -> Cell:
        return replace(super().cell, coupled=self.coupled)

    def infer(self, *types: TensorType) -> TupleType:
        x, state = self.checked(types)
        self.expect(self.split(types)[1], "peepholes", 3 * state.shape[1])
        ys = state.with_shape((x.shape[0], *state.shape))
        return TupleType((ys, state, state, x, ys) if self.saves else (ys, state, state))

    def ref(self, *arrays: Array) -> tuple[Array, ...]:
        (x, r, h, c), p, lengths = self.split(_wide(arrays))
        found = cells.lstm_forward(self.cell, x, self.weights(r), h, c, p, lengths)
        return _rounded(found if self.saves else found[:3], arrays[0])

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
        found = _values(cells.lstm_forward(self.cell, *_symbols((x, *rest, p, lengths))))
        return found if self.saves else found[:3]

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        self.slope_is_known()
        (_, r, h, c), p, lengths = self.split(inputs)
        kept = build(replace(self, saves=True), *inputs)
        gates, states = get(kept, 3), get(kept, 4)
        op = LstmStepsGrad(self.order, self.functions, self.alphas, self.betas, self.limit, self.reverse, self.ragged,
                           0, self.peepholes, self.coupled, self.saves)  # fmt: skip
        found = build(op, r, c, gates, states, *grads, *_present(p, lengths))
        dx, dh, dc = results(found)
        dr = product(_flat(dx), _flat(starts_of(get(kept, 0), h, self.reverse, lengths)), True, False)
        dp = None if p is None else self._peephole_gradient(dx, starts_of(states, c, self.reverse, None), states)
        return (dx, dr, dh, dc, *_present(dp), *([None] if self.ragged else []))

    def _peephole_gradient(self, dx: Value, starts: Value, states: Value) -> Value:
        """The sum over steps and rows of each gate's gradient times the state that it sees."""
        size = states.shape[2]
        seen = {"i": starts, "f": starts, "o": states}
        parts = [sum(mul(narrow(dx, -1, at * size, size), seen[letter]), (0, 1))
                 for at, letter in enumerate(self.order) if letter != "g"]  # fmt: skip
        return concat(parts, 0)


@dataclass(frozen=True)
class LstmStepsGrad(Backward):
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
    LETTERS: ClassVar[str] = "ifgo"
    COUNT: ClassVar[int] = 3
    FIXED: ClassVar[int] = 7
    order: str = "ifgo"
    functions: tuple[str, ...] = ("sigmoid", "tanh", "tanh")
    peepholes: bool = False
    coupled: bool = False
    seeded: bool = False

    @property
    def fixed(self) -> int:
        return self.FIXED + 2 * self.seeded

    @property
    def has_extra(self) -> bool:
        return self.peepholes

    @property
    def cell(self) -> Cell:
        return replace(super().cell, coupled=self.coupled)

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
        (r, c, *rest), p, lengths = self.split(_wide(arrays))
        return _rounded(self._computed(((self.weights(r, c.shape[1]), c, *rest), p, lengths)), arrays[0])

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
        return _values(self._computed((_symbols(fixed), *_symbols((p, lengths)))))


@dataclass(frozen=True)
class GruSteps(Forward):
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
    LETTERS: ClassVar[str] = "rzn"
    COUNT: ClassVar[int] = 2
    order: str = "rzn"
    functions: tuple[str, ...] = ("sigmoid", "tanh")
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
        (x, r, h), b, lengths = self.split(_wide(arrays))
        found = cells.gru_forward(self.cell, x, self.weights(r), h, b, lengths)
        return _rounded(found if self.saves else found[:2], arrays[0])

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
        found = _values(cells.gru_forward(self.cell, *_symbols((x, *rest, b, lengths))))
        return found if self.saves else found[:2]

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        self.slope_is_known()
        (_, r, h), _, lengths = self.split(inputs)
        kept = build(replace(self, saves=True), *inputs)
        gates, inner = get(kept, 2), get(kept, 3)
        starts = starts_of(get(kept, 0), h, self.reverse, lengths)
        op = GruStepsGrad(self.order, self.functions, self.alphas, self.betas, self.limit, self.reverse, self.ragged, 0,
                          self.reset_after, self.saves)  # fmt: skip
        dx, da, dh = results(build(op, r, starts, gates, inner, *grads, *_present(lengths)))
        size = h.shape[1]
        at = self.order.index("n") * size
        dn = narrow(da, -1, at, size)
        if self.reset_after:
            dr = product(_flat(da), _flat(starts), True, False)
        else:
            reset = mul(narrow(gates, -1, self.order.index("r") * size, size), starts)
            parts = [product(_flat(narrow(da, -1, i * size, size)), _flat(reset if letter == "n" else starts), True,
                             False) for i, letter in enumerate(self.order)]  # fmt: skip
            dr = concat(parts, 0)
        db = sum(dn, (0, 1)) if self.biased else None
        return (dx, dr, dh, *_present(db), *([None] if self.ragged else []))


@dataclass(frozen=True)
class GruStepsGrad(Backward):
    """The gradients of x, of what r gave to the gates, and of h, of GruSteps. r: [3H, H], starts: the state before
    every step [T, N, H], gates, inner: what GruSteps saves, then one gradient for each of its results (those of the
    saved ones with `seeded`), lengths -> [T, N, 3H], [T, N, 3H], [N, H].

    Raises what GruSteps raises. Source: the gradient of ONNX GRU-22; Cho et al., arXiv:1406.1078.
    """

    name: ClassVar[str] = "gru_steps_grad"
    args: ClassVar[tuple[str, ...]] = ("r", "starts", "gates", "inner", "dys", "dh")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "decompose"
    LETTERS: ClassVar[str] = "rzn"
    COUNT: ClassVar[int] = 2
    FIXED: ClassVar[int] = 6
    order: str = "rzn"
    functions: tuple[str, ...] = ("sigmoid", "tanh")
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
        (r, *rest), _, lengths = self.split(_wide(arrays))
        return _rounded(self._computed((self.weights(r, rest[0].shape[-1]), *rest), lengths), arrays[0])

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
        return _values(self._computed(_symbols(fixed), *_symbols((lengths,))))


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
        (x, r, h), _, lengths = self.split(_wide(arrays))
        return _rounded(cells.rnn_forward(self.cell, x, self.weights(r), h, lengths), arrays[0])

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
        return _values(cells.rnn_forward(self.cell, *_symbols((x, *rest, lengths))))

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        self.slope_is_known()
        (_, r, h), _, lengths = self.split(inputs)
        ys = get(output, 0)
        op = RnnStepsGrad(self.order, self.functions, self.alphas, self.betas, self.limit, self.reverse, self.ragged)
        dx, dh = results(build(op, r, ys, *grads, *_present(lengths)))
        dr = product(_flat(dx), _flat(starts_of(ys, h, self.reverse, lengths)), True, False)
        return (dx, dr, dh, *([None] if self.ragged else []))


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
        (r, ys, dys, dh), _, lengths = self.split(_wide(arrays))
        found = cells.rnn_backward(self.cell, self.weights(r, ys.shape[-1]), ys, dys, dh, lengths)
        return _rounded(found, arrays[0])

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
        return _values(cells.rnn_backward(self.cell, *_symbols((*fixed, lengths))))


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


OPS: tuple[type[Op], ...] = (PackGates, LstmSteps, LstmStepsGrad, GruSteps, GruStepsGrad, RnnSteps, RnnStepsGrad)
