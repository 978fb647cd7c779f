"""One recurrent layer over a sequence, with PyTorch's order of gates and its two biases."""

from __future__ import annotations

from chainrule.errors import ArgumentError
from chainrule.frontend.functions.activations import sigmoid
from chainrule.frontend.functions.control import scan
from chainrule.frontend.functions.elementwise import tanh
from chainrule.frontend.functions.linear import matmul
from chainrule.frontend.functions.shape import split
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, as_tensor, value_of, values_of, wrap
from chainrule.ir.graph import build, results
from chainrule.ops.declared import within
from chainrule.ops.recurrent import Gru, Layer, Lstm, Rnn
from chainrule.ops.shaping import concat, squeeze, unsqueeze


def layer_op(kind: str) -> Layer:
    """The op of "LSTM", "GRU", or a plain network by its activation, "tanh" or "relu". Raises ArgumentError."""
    match kind:
        case "LSTM":
            return Lstm()
        case "GRU":
            return Gru()
        case "tanh" | "relu":
            return Rnn(functions=(kind,))
        case _:
            raise error(ArgumentError, f"nonlinearity {kind!r} is not known", help="tanh or relu")


def projected_lstm(
    x: Operand, weights: tuple[Operand, ...], states: tuple[Operand, ...], lengths: Operand | None = None,
    reverse: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    """An LSTM whose state h is w_hr times the cell's result: results [T, N, P] and the last h [N, P] and c [N, H].

    weights: [4H, I], [4H, P], perhaps two biases [4H], and w_hr [P, H]; states: [N, P] and [N, H]. A scan over simple
    steps. Source: torch.nn.LSTM, proj_size; Sak et al., arXiv:1402.1128.
    """
    w_ih, w_hh, *biases, w_hr = (as_tensor(w, "LSTM") for w in weights)
    given = matmul(x, w_ih.mT)
    for bias in biases:
        given = given + bias

    def step(carry: tuple[Tensor, Tensor], gates: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        h, c = carry
        i, f, g, o = split(gates + h @ w_hh.mT, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = (sigmoid(o) * tanh(c)) @ w_hr.mT
        return (h, c), h

    last, ys = scan(step, states, given, reverse=reverse, lengths=lengths)
    return (ys, *last)


def recurrent(
    kind: str,
    x: Operand,
    weights: tuple[Operand, ...],
    states: tuple[Operand, ...] = (),
    lengths: Operand | None = None,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """The results [T, N, H] and the last states [N, H] of one layer in one direction.

    kind: see layer_op. x: [T, N, I], weights: [G*H, I], [G*H, H] and perhaps two biases [G*H], states: [N, H] each,
    zero where none are given. lengths: integers [N], how many of the T steps each row has; results beyond are 0. A
    call with lengths beyond T, or below 0, raises ArgumentError.
    """
    plain = layer_op(kind)
    with located():
        value, *parts = values_of(kind, x, *weights, *states)
        w, r, *biases = (unsqueeze(v, 0) for v in parts[: len(weights)])
        inputs = [value, w, r, *([concat(biases, 1)] if biases else [])]
        if lengths is not None:
            inputs.append(within(value_of(lengths, kind), 0, value.shape[0], "lengths"))
        inputs += [unsqueeze(v, 0) for v in parts[len(weights) :]]
        op = type(plain)(direction="reverse" if reverse else "forward", functions=plain.functions, bias=bool(biases),
                         ragged=lengths is not None, initial=bool(states))  # fmt: skip
        ys, *last = results(build(op, *inputs))
        return (wrap(squeeze(ys, 1)), *(wrap(squeeze(s, 0)) for s in last))

