"""Recurrent layers against their formulas in plain numpy, and against PyTorch where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ShapeError
from chainrule.ops.tolerance import ADJOINT_RTOL
from tests.frontend.agreement import assert_same, normal

Array = np.ndarray[Any, Any]
MAKERS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def step(kind: str, x: Array, h: Array, c: Array, w: list[Array]) -> tuple[Array, Array]:
    """One step as PyTorch's documentation writes it."""
    of_input, of_state = w[0] @ x + w[2], w[1] @ h + w[3]
    if kind == "RNN":
        return np.tanh(of_input + of_state), c
    if kind == "LSTM":
        i, f, g, o = np.split(of_input + of_state, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    ir, iz, in_ = np.split(of_input, 3)
    hr, hz, hn = np.split(of_state, 3)
    z = sigmoid(iz + hz)
    return (1 - z) * np.tanh(in_ + sigmoid(ir + hr) * hn) + z * h, c


def by_hand(layer: nn.Module, kind: str, x: Array, lengths: list[int]) -> tuple[Array, Array, Array]:
    """Row by row, step by step: results, last h and last c of x [T, N, I] from states of zeros."""
    size, sides = layer.hidden_size, 2 if layer.bidirectional else 1
    state = layer.state_dict()
    h_n, c_n = (np.zeros((layer.num_layers * sides, x.shape[1], size)) for _ in range(2))
    for level in range(layer.num_layers):
        ys = np.zeros((*x.shape[:2], sides * size))
        for side in range(sides):
            end = f"_l{level}" + ("_reverse" if side else "")
            w = [state[name + end] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            for n, length in enumerate(lengths):
                h = c = np.zeros(size)
                for t in range(length)[:: -1 if side else 1]:
                    h, c = step(kind, x[t, n], h, c, w)
                    ys[t, n, side * size : (side + 1) * size] = h
                h_n[level * sides + side, n], c_n[level * sides + side, n] = h, c
        x = ys
    return x, h_n, c_n


@pytest.mark.parametrize("lengths", [None, [4, 1, 3]])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", MAKERS)
def test_two_layers_are_what_their_formula_says(kind: str, bidirectional: bool, lengths: list[int] | None) -> None:
    layer = MAKERS[kind](3, 5, 2, bidirectional=bidirectional, dtype="f64")
    x = normal(4, 3, 3)
    given = None if lengths is None else np.array(lengths)
    y, last = layer(x, lengths=given)
    wanted, h_n, c_n = by_hand(layer, kind, x, lengths or [4] * 3)
    assert_same(y, wanted)
    for found, expected in zip(last if kind == "LSTM" else (last,), (h_n, c_n), strict=False):
        assert_same(found, expected)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_batch_may_come_first_and_a_sequence_alone(kind: str) -> None:
    layer = MAKERS[kind](3, 5, dtype="f64", batch_first=True)
    x = normal(2, 4, 3)
    y, last = layer(x)
    alone, alone_last = layer(x[1])
    assert_same(alone, y[1])
    for many, one in zip(last if kind == "LSTM" else (last,), alone_last if kind == "LSTM" else (alone_last,)):
        assert_same(one, many[:, 1])


@pytest.mark.parametrize("kind", MAKERS)
def test_a_sequence_in_two_parts_goes_on_where_it_stood(kind: str) -> None:
    layer = MAKERS[kind](3, 5, 2, dtype="f64")
    x = normal(6, 2, 3)
    whole, last = layer(x)
    first, state = layer(x[:2])
    second, end = layer(x[2:], state)
    assert_same(np.concatenate([first, second]), whole)
    for a, b in zip(end if kind == "LSTM" else (end,), last if kind == "LSTM" else (last,)):
        assert_same(a, b)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_cell_is_one_step_of_its_layer(kind: str) -> None:
    layer = MAKERS[kind](3, 5, dtype="f64")
    cell = {"RNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}[kind](3, 5, dtype="f64")
    cell.load_state_dict({name.removesuffix("_l0"): w for name, w in layer.state_dict().items()})
    x = normal(2, 4, 3)
    _, last = layer(x)
    state = cell(x[0])
    state = cell(x[1], state)
    for found, expected in zip(state if kind == "LSTM" else (state,), last if kind == "LSTM" else (last,)):
        assert_same(found, expected[0])
    single = cell(x[0, 1])
    assert_same(single[0] if kind == "LSTM" else single, (cell(x[0])[0] if kind == "LSTM" else cell(x[0]))[1])


def test_relu_in_place_of_tanh_and_layers_without_bias() -> None:
    layer = nn.RNN(3, 4, nonlinearity="relu", bias=False, dtype="f64")
    assert list(layer.state_dict()) == ["weight_ih_l0", "weight_hh_l0"]
    x, w = normal(2, 1, 3), layer.state_dict()
    h = np.maximum(0, x[0] @ w["weight_ih_l0"].T)
    h = np.maximum(0, x[1] @ w["weight_ih_l0"].T + h @ w["weight_hh_l0"].T)
    assert_same(layer(x)[1][0], h)


def test_weights_have_pytorchs_names_and_start_within_one_over_the_root_of_the_units() -> None:
    layer = nn.LSTM(3, 16, 2, bidirectional=True)
    names = [f"{w}_l{level}{end}" for level in (0, 1) for end in ("", "_reverse")
             for w in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]  # fmt: skip
    state = layer.state_dict()
    assert list(state) == names
    assert state["weight_ih_l1"].shape == (64, 32) and state["bias_hh_l0"].shape == (64,)
    assert max(float(np.abs(w).max()) for w in state.values()) <= 0.25


def test_dropout_stands_between_layers_and_only_in_training() -> None:
    layer = nn.GRU(2, 8, 2, dropout=0.5)
    x = np.ones((3, 1, 2), np.float32)
    step = cr.training_step(layer, lambda out, y: cr.mean(out[0] * y), cr.optim.SGD(0.0),
                            (cr.spec(3, 1, 2), cr.spec(3, 1, 8)), backend="reference", seed=1)  # fmt: skip
    seen = {float(step(x, np.ones((3, 1, 8), np.float32))) for _ in range(3)}
    assert len(seen) == 3
    assert_same(layer.eval()(x)[0], layer(x)[0])


def test_a_projected_lstm_is_the_same_in_native_code_with_its_gradient() -> None:
    layer = nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2, dtype="f64")
    x, lengths = normal(4, 3, 3), np.array([4, 1, 3])

    def loss(x: cr.Tensor) -> cr.Tensor:
        ys, (h, c) = layer(x, lengths=lengths)
        return (ys * ys).sum() + (h * h).sum() + (c * c).sum()

    both = cr.value_and_grad(loss)
    native, plain = (cr.compile(both, cr.spec("T", 3, 3, dtype="f64"), backend=b)(x) for b in ("llvm", "reference"))
    for got, wanted in zip(native, plain, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=ADJOINT_RTOL, atol=ADJOINT_RTOL)
    ys, _ = layer(x, lengths=lengths)
    alone, _ = layer(x[:1, 1:2])
    np.testing.assert_allclose(ys[:1, 1:2], alone, rtol=ADJOINT_RTOL)
    assert not np.asarray(ys)[1:, 1].any()


SCORES = np.zeros((4, 2, 3), np.float32)
RAGGED = {
    "layer": lambda x, n: nn.GRU(3, 4)(x, lengths=n)[0],
    "projected": lambda x, n: nn.LSTM(3, 4, proj_size=2)(x, lengths=n)[0],
    "scan": lambda x, n: cr.scan(lambda h, v: (h + v, h), cr.zeros((2, 3)), x, lengths=n)[0],
    "scan in chunks": lambda x, n: cr.scan(
        lambda h, v: (h + v, h), cr.zeros((2, 3)), x, lengths=n, checkpoint_every=2)[0],
    "paths": lambda x, n: cr.ctc_loss(x, np.ones((2, 1), np.int64), n, np.array([1, 1])),
    "tags": lambda x, n: nn.CRF(3).decode(x, n),
}  # fmt: skip


@pytest.mark.parametrize("backend", ["llvm", "reference"])
@pytest.mark.parametrize("kind", RAGGED)
def test_lengths_beyond_the_steps_are_an_error_of_the_call(kind: str, backend: str) -> None:
    program = cr.compile(RAGGED[kind], cr.spec("T", 2, 3), cr.spec(2, dtype="i64"), backend=backend)
    program(SCORES, np.array([4, 1]))
    for wrong in ([5, 1], [4, -1]):
        with pytest.raises(ArgumentError, match=r"engths lie in [01] to 4"):
            program(SCORES, np.array(wrong))


def test_lengths_that_the_model_holds_are_checked_too() -> None:
    with pytest.raises(ArgumentError, match="lengths lie in 0 to 4, 7 is given"):
        nn.RNN(3, 4)(SCORES, lengths=np.array([7, 1]))


def test_wrong_calls_say_what_is_wrong() -> None:
    with pytest.raises(ArgumentError, match="proj_size=4 with 4 units"):
        nn.LSTM(3, 4, proj_size=4)
    with pytest.raises(ArgumentError, match="nonlinearity 'sin' is not known"):
        nn.RNN(3, 4, nonlinearity="sin")
    with pytest.raises(ArgumentError, match="num_layers=0"):
        nn.GRU(3, 4, 0)
    with pytest.raises(ShapeError, match="the layer takes 3 features"):
        nn.GRU(3, 4)(np.zeros((2, 1, 4), np.float32))
    with pytest.raises(ArgumentError, match="1 first states are given, it has 2"):
        nn.LSTM(3, 4)(np.zeros((2, 1, 3), np.float32), np.zeros((1, 1, 4), np.float32))


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("kind", MAKERS)
def test_pytorch_gives_the_same_results_and_gradients(kind: str, ragged: bool) -> None:
    torch = pytest.importorskip("torch")
    ours = MAKERS[kind](3, 5, 2, bidirectional=True, dtype="f64")
    theirs = getattr(torch.nn, kind)(3, 5, 2, bidirectional=True, dtype=torch.float64)
    theirs.load_state_dict({name: torch.from_numpy(w) for name, w in ours.state_dict().items()})
    x, lengths = normal(4, 3, 3), np.array([4, 1, 3])

    def loss(value: Any) -> Any:
        out, last = ours(value, lengths=lengths if ragged else None)
        last = last if kind == "LSTM" else (last,)
        total = cr.sum(out * out)
        for state in last:
            total = total + cr.sum(cr.sin(state))
        return total, out

    def their_loss(value: Any) -> Any:
        packed = value
        if ragged:
            packed = torch.nn.utils.rnn.pack_padded_sequence(value, torch.from_numpy(lengths), enforce_sorted=False)
        out, last = theirs(packed)
        if ragged:
            out, _ = torch.nn.utils.rnn.pad_packed_sequence(out)
        last = last if kind == "LSTM" else (last,)
        return (out * out).sum() + sum(torch.sin(state).sum() for state in last), out

    value = torch.from_numpy(x).requires_grad_()
    total, out = their_loss(value)
    total.backward()
    grad = cr.compile(cr.grad(lambda v: loss(v)[0]), cr.spec(4, 3, 3, dtype="f64"), backend="reference")
    assert_same(cr.compile(lambda v: loss(v)[1], cr.spec(4, 3, 3, dtype="f64"), backend="reference")(x),
                out.detach().numpy())  # fmt: skip
    assert_same(grad(x), value.grad.numpy())
