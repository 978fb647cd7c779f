"""Attention and transformer layers: against their formulas in numpy, against PyTorch where it is installed, trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, ShapeError
from tests.frontend.agreement import assert_same, normal

Array = np.ndarray[Any, Any]


def filled(layer: nn.Module, scale: float = 0.4) -> dict[str, Array]:
    """The layer in float64 with random weights everywhere, biases too; its state."""
    layer.to("f64")
    for i, parameter in enumerate(layer.parameters()):
        parameter.load(normal(*parameter.data.shape, seed=i) * scale)
    return layer.state_dict()


def attended(w: dict[str, Array], x: Array, memory: Array, heads: int,
             hidden: Array | None = None) -> tuple[Array, Array]:  # fmt: skip
    """Multi-head attention of x [N, L, E] over memory [N, S, E], and the weights of each head."""
    parts = zip((x, memory, memory), np.split(w["in_proj_weight"], 3), np.split(w["in_proj_bias"], 3), strict=True)
    q, k, v = (
        np.moveaxis((a @ m.T + b).reshape(*a.shape[:2], heads, -1), 2, 1) for a, m, b in parts
    )  # fmt: skip
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    scores = scores if hidden is None else np.where(hidden, -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    y = np.moveaxis(weights @ v, 1, 2).reshape(x.shape)
    return y @ w["out_proj.weight"].T + w["out_proj.bias"], weights


@pytest.mark.parametrize("batch_first", [True, False])
def test_heads_attend_to_their_parts_of_the_features(batch_first: bool) -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=batch_first)
    state = filled(layer)
    assert list(state) == ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    x, memory = normal(3, 4, 8), normal(3, 5, 8, seed=9)
    hidden = np.zeros((3, 1, 1, 5), bool)
    hidden[1, ..., 3:] = True
    turn = (lambda a: a) if batch_first else (lambda a: np.swapaxes(a, 0, 1))
    for other, mask in ((x, None), (memory, None), (memory, hidden)):
        wanted, weights = attended(state, x, other, 2, mask)
        a, b = turn(x), turn(x) if other is x else turn(other)
        a = b if other is x else a
        y, mean = layer(a, b, b, key_padding_mask=None if mask is None else mask[:, 0, 0])
        assert_same(turn(np.asarray(y)), wanted)
        assert_same(mean, weights.mean(1))
        assert_same(layer(a, b, b, average_attn_weights=False, key_padding_mask=None if mask is None else
                          mask[:, 0, 0])[1], weights)  # fmt: skip
    alone, mean = layer(x[0], memory[0], memory[0])
    assert_same(alone, attended(state, x[:1], memory[:1], 2)[0][0])
    assert np.shape(mean) == (4, 5)


def test_bools_hide_and_numbers_are_added() -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    state, x = filled(layer), normal(2, 4, 8)
    hidden = np.triu(np.ones((4, 4), bool), 1)
    wanted, _ = attended(state, x, x, 2, hidden)
    added = np.where(hidden, -np.inf, 0.0)
    each = np.broadcast_to(added, (4, 4, 4))
    for mask in (hidden, added, each):
        assert_same(layer(x, x, x, attn_mask=mask)[0], wanted)
    assert_same(layer(x, x, x, is_causal=True, need_weights=False)[0], wanted)
    padding = np.zeros((2, 4), bool)
    padding[:, 3] = True
    both, _ = attended(state, x, x, 2, hidden | padding[:, None, None])
    assert_same(layer(x, x, x, padding, attn_mask=added)[0], both)


def test_a_wrong_layer_or_input_is_refused() -> None:
    with pytest.raises(ArgumentError, match="do not split into 3 heads"):
        nn.MultiheadAttention(8, 3)
    with pytest.raises(ShapeError, match="features"):
        nn.MultiheadAttention(8, 2)(normal(2, 3, 8), normal(2, 3, 6), normal(2, 3, 6))
    with pytest.raises(ArgumentError, match="activation"):
        nn.TransformerEncoderLayer(8, 2, activation="sine")


def test_additive_attention_weighs_by_energy() -> None:
    layer = nn.AdditiveAttention(3, 5, 7)
    w = filled(layer)
    q, k, v = normal(2, 4, 3), normal(2, 6, 5, seed=1), normal(2, 6, 2, seed=2)
    mask = np.arange(6) < np.array([6, 3])[:, None, None]
    both = (q @ w["query_proj.weight"].T)[:, :, None] + (k @ w["key_proj.weight"].T + w["key_proj.bias"])[:, None]
    scores = np.where(mask, (np.tanh(both) @ w["energy.weight"].T)[..., 0], -np.inf)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    y, found = layer(q, k, v, mask)
    assert_same(found, weights)
    assert_same(y, weights @ v)


def test_a_training_step_of_a_transformer_learns_to_copy() -> None:
    class Copier(nn.Module):
        def __init__(self) -> None:
            self.embedding = nn.Embedding(7, 16)
            self.body = nn.Transformer(16, 2, 1, 1, 32, dropout=0.0, batch_first=True)

        def forward(self, x: Any) -> Any:
            e = self.embedding(x) + cr.sinusoidal_positions(x.shape[1], 16)
            return self.body(e, e) @ self.embedding.weight.T  # the output is tied to the table

    cr.manual_seed(0)
    model = Copier()
    step = cr.training_step(model, lambda y, t: cr.cross_entropy(y.reshape(-1, 7), t.reshape(-1)), optim.Adam(1e-2),
                            (cr.spec("N", 5, dtype="i64"), cr.spec("N", 5, dtype="i64")), seed=0)  # fmt: skip
    x = np.random.default_rng(0).integers(0, 7, (32, 5))
    losses = [float(step(x, x)) for _ in range(60)]
    assert losses[-1] < 0.1 * losses[0]


def test_dropout_acts_in_training_alone() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True)
    x = normal(2, 3, 8).astype(np.float32)
    net = cr.compile(layer, cr.spec("N", "T", 8))
    assert np.array_equal(net(x), net(x))


def of_torch(name: str, *args: Any, **options: Any) -> tuple[nn.Module, Any]:
    """A layer here and PyTorch's, in float64 with the same random weights, out of training."""
    other = getattr(pytest.importorskip("torch").nn, name)(*args, **options).double().eval()
    layer = getattr(nn, name)(*args, **options).to("f64").eval()
    import torch

    with torch.no_grad():
        for i, parameter in enumerate(other.parameters()):
            parameter.copy_(torch.from_numpy(normal(*parameter.shape, seed=i) * 0.4))
    assert [(k, v.shape) for k, v in layer.state_dict().items()] == [
        (k, tuple(v.shape)) for k, v in other.state_dict().items()
    ]
    layer.load_state_dict({k: v.numpy() for k, v in other.state_dict().items()})
    return layer, lambda *a, **o: other(*(torch.from_numpy(x) for x in a),
                                        **{k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v
                                           for k, v in o.items()})  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"kdim": 6, "vdim": 4}, {"add_bias_kv": True, "add_zero_attn": True},
                                     {"bias": False, "batch_first": True}])  # fmt: skip
def test_multihead_attention_is_pytorchs(options: dict[str, Any]) -> None:
    layer, other = of_torch("MultiheadAttention", 8, 2, **options)
    q, k, v = normal(4, 3, 8), normal(5, 3, options.get("kdim", 8)), normal(5, 3, options.get("vdim", 8))
    if options.get("batch_first"):
        q, k, v = (np.ascontiguousarray(np.swapaxes(x, 0, 1)) for x in (q, k, v))
    padding = np.zeros((3, 5), bool)
    padding[0, 4:] = True
    for masks in ({}, {"key_padding_mask": padding}, {"attn_mask": normal(4, 5, seed=3)}):
        for got, wanted in zip(layer(q, k, v, **masks), other(q, k, v, **masks), strict=True):
            assert_same(got, wanted.detach().numpy())


@pytest.mark.parametrize("options", [{}, {"norm_first": True, "activation": "gelu"}, {"bias": False,
                                     "batch_first": True}])  # fmt: skip
def test_transformers_are_pytorchs(options: dict[str, Any]) -> None:
    layer, other = of_torch("Transformer", 8, 2, 2, 1, 16, **options)
    src, tgt = normal(5, 3, 8), normal(4, 3, 8, seed=1)
    if options.get("batch_first"):
        src, tgt = (np.ascontiguousarray(np.swapaxes(x, 0, 1)) for x in (src, tgt))
    mask = nn.Transformer.generate_square_subsequent_mask(4, np.float64)
    assert_same(layer(src, tgt, tgt_mask=mask), other(src, tgt, tgt_mask=mask).detach().numpy())
    single, other = of_torch("TransformerEncoderLayer", 8, 2, 16, **options)
    assert_same(single(src), other(src).detach().numpy())
