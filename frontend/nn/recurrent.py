"""Recurrent layers and cells. Names, arguments, defaults, state_dict keys and the order of gates are PyTorch's.

Instead of PyTorch's packed sequences the layers take `lengths`: how many steps each row of a padded batch has. Results
beyond a row's length are 0, its last state is the one at its length, and backwards it starts at its own end.
"""

from __future__ import annotations

import math
from typing import Any

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions import create, random, shape
from chainrule.frontend.functions.recurrent import layer_op, projected_lstm, recurrent
from chainrule.frontend.nn import init
from chainrule.frontend.nn.linear import empty_parameter
from chainrule.frontend.nn.module import Module
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Operand, Tensor, as_tensor


class RNNBase(Module):
    """What RNN, LSTM and GRU share: layers one above the other, each in one or both directions."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        dtype: object = None,
    ) -> None:
        if not 0 <= proj_size < max(1, hidden_size):
            raise error(ArgumentError, f"{type(self).__name__}: proj_size={proj_size} with {hidden_size} units",
                        help="a projection is smaller than hidden_size; 0 is none")  # fmt: skip
        if num_layers < 1:
            raise error(ArgumentError, f"{type(self).__name__}: num_layers={num_layers}", help="give 1 or more")
        random.dropped(dropout, False)
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, dropout, bidirectional
        self.proj_size, width = proj_size, proj_size or hidden_size
        gates = len(layer_op(mode).LETTERS) * hidden_size
        sides = 2 if bidirectional else 1
        for layer in range(num_layers):
            inner = input_size if layer == 0 else sides * width
            shapes = {"weight_ih": (gates, inner), "weight_hh": (gates, width), "weight_hr": (proj_size, hidden_size)}
            for name in [name for side in range(sides) for name in _weight_names(layer, side, bias, bool(proj_size))]:
                setattr(self, name, empty_parameter(*shapes.get(name.partition("_l")[0], (gates,)), dtype=dtype))
        _start(self, hidden_size)

    def forward(self, input: Operand, hx: Any = None, lengths: Operand | None = None) -> Any:
        """The results of the last layer and the last states of all. hx: the first states, as PyTorch has them."""
        x = as_tensor(input, self.mode)
        alone = x.ndim == 2
        self._check(x)
        if alone:
            x = shape.expand_dims(x, 1)
        elif self.batch_first:
            x = shape.transpose(x, (1, 0, 2))
        states = self._first_states(hx, alone)
        sides = 2 if self.bidirectional else 1
        last: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = random.dropout(x, self.dropout, self.training)
            found: list[Tensor] = []
            for side in range(sides):
                place = layer * sides + side
                first = tuple(as_tensor(s, self.mode)[place] for s in states)
                ys, *ends = self._one(x, first, lengths, layer, side)
                found.append(ys)
                last.append(tuple(ends))
            x = found[0] if sides == 1 else shape.concatenate(found, -1)
        if alone:
            x = shape.squeeze(x, 1)
        elif self.batch_first:
            x = shape.transpose(x, (1, 0, 2))
        states_n = [shape.stack(part, 0) for part in zip(*last, strict=True)]
        states_n = [shape.squeeze(s, 1) for s in states_n] if alone else states_n
        return x, tuple(states_n) if len(states_n) > 1 else states_n[0]

    def _one(self, x: Tensor, first: tuple[Tensor, ...], lengths: Operand | None, layer: int,
             side: int) -> tuple[Tensor, ...]:  # fmt: skip
        """One layer in one direction: its results and last states."""
        names = _weight_names(layer, side, self.bias, bool(self.proj_size))
        weights = tuple(getattr(self, name) for name in names)
        if not self.proj_size:
            return recurrent(self.mode, x, weights, first, lengths, reverse=side == 1)
        if not first:
            first = tuple(create.zeros((x.shape[1], size), x.dtype) for size in (self.proj_size, self.hidden_size))
        return projected_lstm(x, weights, first, lengths, reverse=side == 1)

    def _first_states(self, hx: Any, alone: bool) -> tuple[Operand, ...]:
        """One state [layers * sides, N, H] for each that the cell has, or none."""
        if hx is None:
            return ()
        states = tuple(hx) if isinstance(hx, tuple | list) else (hx,)
        count = layer_op(self.mode).STATES
        if len(states) != count:
            raise error(ArgumentError, f"{type(self).__name__}: {len(states)} first states are given, it has {count}",
                        help="hx is (h_0, c_0)" if count == 2 else "hx is h_0")  # fmt: skip
        return tuple(shape.expand_dims(s, 1) for s in states) if alone else states

    def _check(self, x: Tensor) -> None:
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            axes = ("N,T" if self.batch_first else "T,N") if x.ndim != 2 else "T"
            raise error(ShapeError, f"{type(self).__name__}: the layer takes {self.input_size} features",
                        notes=[f"x: {x.value.type}"], help=f"x is [{axes},{self.input_size}]")  # fmt: skip

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        plain = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False,
                 "proj_size": 0}  # fmt: skip
        parts += [f"{name}={getattr(self, name)}" for name, usual in plain.items() if getattr(self, name) != usual]
        return ", ".join(parts)


class RNN(RNNBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh) over a sequence, or relu. Source: torch.nn.RNN; Elman 1990.

    input: [T, N, input_size] ([N, T, ...] with batch_first, [T, input_size] alone) -> results of the last layer, the
    last states [layers * sides, N, hidden_size].
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: object = None,
    ) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(nonlinearity, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         0, dtype)  # fmt: skip


class LSTM(RNNBase):
    """Long short-term memory over a sequence, gates in the order i, f, g, o. Source: torch.nn.LSTM.

    input: as for RNN; hx: (h_0, c_0) -> results of the last layer, (h_n, c_n). With proj_size h is projected to that
    many features; such a layer is a scan over simple steps, and slower.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        dtype: object = None,
    ) -> None:
        super().__init__("LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         proj_size, dtype)  # fmt: skip


class GRU(RNNBase):
    """Gated recurrent units over a sequence, gates in the order r, z, n. Source: torch.nn.GRU; arXiv:1406.1078.

    input and results: as for RNN.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: object = None,
    ) -> None:
        super().__init__("GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0,
                         dtype)  # fmt: skip


class RNNCellBase(Module):
    """What the cells share: one step of a layer."""

    def __init__(self, mode: str, input_size: int, hidden_size: int, bias: bool, dtype: object) -> None:
        self.mode, self.input_size, self.hidden_size, self.bias = mode, input_size, hidden_size, bias
        gates = len(layer_op(mode).LETTERS) * hidden_size
        self.weight_ih = empty_parameter(gates, input_size, dtype=dtype)
        self.weight_hh = empty_parameter(gates, hidden_size, dtype=dtype)
        self.bias_ih = empty_parameter(gates, dtype=dtype) if bias else None
        self.bias_hh = empty_parameter(gates, dtype=dtype) if bias else None
        _start(self, hidden_size)

    def _step(self, input: Operand, states: tuple[Operand, ...]) -> tuple[Tensor, ...]:
        """The states after one step of x [N, I], or of [I]."""
        x = as_tensor(input, self.mode)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise error(ShapeError, f"{type(self).__name__}: the cell takes {self.input_size} features",
                        notes=[f"x: {x.value.type}"], help=f"x is [N,{self.input_size}]")  # fmt: skip
        alone = x.ndim == 1
        x = shape.expand_dims(x, (0, 1) if alone else 0)
        first = tuple(shape.expand_dims(s, 0) if alone else s for s in states)
        weights = [w for w in (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh) if w is not None]
        _, *ends = recurrent(self.mode, x, tuple(weights), first)
        return tuple(shape.squeeze(s, 0) if alone else s for s in ends)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(RNNCellBase):
    """One step of RNN. input: [N, input_size], hx: [N, hidden_size] -> the next state. Source: torch.nn.RNNCell."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", dtype: object = None
    ) -> None:
        super().__init__(nonlinearity, input_size, hidden_size, bias, dtype)

    def forward(self, input: Operand, hx: Operand | None = None) -> Tensor:
        return self._step(input, () if hx is None else (hx,))[0]


class LSTMCell(RNNCellBase):
    """One step of LSTM. hx: (h, c) -> the next (h, c), [N, hidden_size] each. Source: torch.nn.LSTMCell."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, dtype: object = None) -> None:
        super().__init__("LSTM", input_size, hidden_size, bias, dtype)

    def forward(self, input: Operand, hx: tuple[Operand, Operand] | None = None) -> tuple[Tensor, Tensor]:
        h, c = self._step(input, () if hx is None else tuple(hx))
        return h, c


class GRUCell(RNNCellBase):
    """One step of GRU. input: [N, input_size], hx: [N, hidden_size] -> the next state. Source: torch.nn.GRUCell."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, dtype: object = None) -> None:
        super().__init__("GRU", input_size, hidden_size, bias, dtype)

    def forward(self, input: Operand, hx: Operand | None = None) -> Tensor:
        return self._step(input, () if hx is None else (hx,))[0]


def _weight_names(layer: int, side: int, bias: bool, projected: bool) -> list[str]:
    end = f"_l{layer}" + ("_reverse" if side else "")
    names = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if bias else ()))
    return [name + end for name in (*names, *(("weight_hr",) if projected else ()))]


def _start(module: Module, hidden_size: int) -> None:
    """All weights uniform on +-1/sqrt(hidden_size)."""
    bound = 1 / math.sqrt(hidden_size) if hidden_size > 0 else 0.0
    for _, parameter in module.named_parameters():
        init.uniform_(parameter, -bound, bound)
