"""One recurrent layer over a sequence, with PyTorch's order of gates and its two biases."""

from __future__ import annotations

from chainrule.errors import ArgumentError
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, value_of, values_of, wrap
from chainrule.ir.graph import build, results
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
    zero where none are given. lengths: integers [N], how many steps each row has; results beyond are 0.
    """
    plain = layer_op(kind)
    with located():
        value, *parts = values_of(kind, x, *weights, *states)
        w, r, *biases = (unsqueeze(v, 0) for v in parts[: len(weights)])
        inputs = [value, w, r, *([concat(biases, 1)] if biases else [])]
        if lengths is not None:
            inputs.append(value_of(lengths, kind))
        inputs += [unsqueeze(v, 0) for v in parts[len(weights) :]]
        op = type(plain)(direction="reverse" if reverse else "forward", functions=plain.functions, bias=bool(biases),
                         ragged=lengths is not None, initial=bool(states))  # fmt: skip
        ys, *last = results(build(op, *inputs))
        return (wrap(squeeze(ys, 1)), *(wrap(squeeze(s, 0)) for s in last))

