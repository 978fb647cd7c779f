"""checkpoint computes again what it did not keep; custom_vjp gives the gradient that was stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.trace import trace
from chainrule.ops.control import Checkpoint, Scan
from tests.ops.sample import normal

Array = np.ndarray


def block(x: Any, w: Any) -> Any:
    for _ in range(3):
        x = cr.tanh(x @ w)
    return x


def loss(x: Any, w: Any, part: Any) -> Any:
    return (part(part(x, w), w) ** 2).sum()


def test_a_checkpoint_changes_no_number() -> None:
    x, w = normal(4, 5, dtype="float64"), normal(5, 5, seed=1, dtype="float64")
    plain = cr.grad(lambda x, w: loss(x, w, block), (0, 1))(x, w)
    for got, want in zip(cr.grad(lambda x, w: loss(x, w, cr.checkpoint(block)), (0, 1))(x, w), plain, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)
    specs = cr.spec(4, 5, dtype="f64"), cr.spec(5, 5, dtype="f64")
    gradient = cr.grad(lambda x, w: loss(x, w, cr.checkpoint(block)), (0, 1))
    net = cr.compile(lambda x, w: gradient(x, w), *specs, verify=True)
    for got, want in zip(net(x, w), plain, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)
    direction = normal(5, 5, seed=2, dtype="float64")
    found, want = (cr.hvp(lambda w, p=p: loss(x, w, p), w, direction) for p in (cr.checkpoint(block), block))
    np.testing.assert_allclose(found, want, rtol=1e-10)


class Deep(nn.Module):
    """Blocks of wide layers, each under a checkpoint or not."""

    def __init__(self, kept: bool) -> None:
        cr.manual_seed(3)
        self.first = nn.ModuleList([nn.Linear(8, 512) for _ in range(8)])
        self.second = nn.ModuleList([nn.Linear(512, 8) for _ in range(8)])
        self.drop = nn.Dropout(0.2)
        self.kept = kept
        self.calls = nn.Buffer(np.zeros((), np.int64))

    def __call__(self, x: Any) -> Any:
        for a, b in zip(self.first, self.second):
            def layer(x: Any, a: Any = a, b: Any = b) -> Any:
                self.calls.assign(self.calls + 1)
                return x + b(cr.gelu(cr.gelu(self.drop(a(x)))))

            x = (layer if self.kept else cr.checkpoint(layer))(x)
        return x


def trained(kept: bool) -> tuple[list[float], int, int]:
    model = Deep(kept)
    step = cr.training_step(model, cr.mse_loss, optim.SGD(0.1), (cr.spec(256, 8), cr.spec(256, 8)), seed=4)
    x = normal(256, 8)
    losses = [float(step(x, x * 0.5)) for _ in range(4)]
    return losses, step.memory()["arena_bytes"], int(model.calls.data)


def test_training_needs_less_memory_and_takes_the_same_steps() -> None:
    (plain, much, calls), (again, little, same) = trained(True), trained(False)
    np.testing.assert_allclose(again, plain, rtol=1e-4)
    assert little < 0.5 * much
    assert calls == same == 32


def recurrent(w: Any, x: Any, h: Any, every: int | None, reverse: bool = False) -> Any:
    def step(h: Any, v: Any) -> Any:
        h = cr.tanh(h @ w + v)
        return h, (h * h).sum()

    last, made = cr.scan(step, h, x, reverse=reverse, checkpoint_every=every)
    return (last * last).sum() + (made * made).sum(), made


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [6, 7, 2, 0])
def test_every_so_many_steps_give_the_same_numbers(steps: int, reverse: bool) -> None:
    w, x = normal(3, 3, dtype="float64"), normal(steps, 2, 3, seed=1, dtype="float64")
    h = normal(2, 3, seed=2, dtype="float64")
    spec = cr.spec("T", 2, 3, dtype="f64"), cr.spec(2, 3, dtype="f64")
    found = []
    for every in (None, 3):
        def both(w: Any, x: Any, h: Any, every: int | None = every) -> Any:
            part = cr.value_and_grad(lambda w, x, h: recurrent(w, x, h, every, reverse), (0, 1, 2), has_aux=True)
            return part(w, x, h)

        found.append(cr.compile(both, cr.spec(3, 3, dtype="f64"), *spec).run([w, x, h]))
        found.append(cr.compile(both, *(cr.spec(*a.shape, dtype="f64") for a in (w, x, h))).run([w, x, h]))
    for other in found[1:]:
        for got, want in zip(other, found[0], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_every_so_many_steps_keep_the_carries_between_them_alone() -> None:
    def gradient(w: Any, x: Any, h: Any) -> Any:
        return cr.grad(lambda w: recurrent(w, x, h, 8)[0])(w)

    graph = trace(gradient, (cr.spec(3, 3), cr.spec(64, 2, 3), cr.spec(2, 3))).graph
    stacked = {t.shape for n in graph.nodes if isinstance(n.op, Scan) and n.op.body.name == "scan"
               for t in n.type.items}  # fmt: skip
    assert all(shape[0] == 8 for shape in stacked if len(shape) == 3)
    assert any(isinstance(n.op, Checkpoint) for s in graph.nodes if isinstance(s.op, Scan) for n in s.op.body.nodes)


def test_a_wrong_number_of_steps_is_refused() -> None:
    with pytest.raises(ArgumentError, match="checkpoint_every=0"):
        cr.scan(lambda c, v: (c, v), 0.0, normal(3), checkpoint_every=0)
    with pytest.raises(ShapeError, match=r"lengths is f64\[2\]"):
        cr.scan(lambda c, v: (c, v), normal(2), normal(3, 2), lengths=np.array([1.0, 2.0]), checkpoint_every=2)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("backend", ["reference", "llvm"])
def test_rows_of_a_ragged_batch_end_where_they_end_in_any_chunk(reverse: bool, backend: str) -> None:
    w, x, lengths = normal(3, 3, dtype="float64"), normal(7, 4, 3, seed=1, dtype="float64"), np.array([7, 2, 3, 0])

    def step(h: Any, v: Any, w: Any) -> Any:
        h = cr.tanh(h @ w + v)
        return h, h.sum(axis=-1)

    def loss(w: Any, x: Any, lengths: Any, every: int | None) -> Any:
        last, made = cr.scan(lambda h, v: step(h, v, w), x[0] * 0.5, x, reverse=reverse, lengths=lengths,
                             checkpoint_every=every)  # fmt: skip
        return (last * last).sum() + (made * made).sum(), made

    given = cr.spec(3, 3, dtype="f64"), cr.spec("T", 4, 3, dtype="f64"), cr.spec(4, dtype="i64")
    plain, *others = (
        cr.compile(lambda w, x, n, k=k: cr.value_and_grad(lambda w, x: loss(w, x, n, k), (0, 1), has_aux=True)(w, x),
                   *given, backend=backend).run([w, x, lengths]) for k in (None, 1, 3, 9))  # fmt: skip
    for other in others:
        for got, want in zip(other, plain, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


clipped = cr.custom_vjp(lambda x, n: {"y": x * n}, lambda x, n: ({"y": x * n}, (x, n)),
                        lambda kept, g: (cr.clip(g["y"] * kept[1], -1.0, 1.0), None))  # fmt: skip


@pytest.mark.parametrize("backend", ["reference", "llvm"])
def test_a_stated_gradient_is_taken(backend: str) -> None:
    x = normal(4)
    assert np.array_equal(clipped(x, 3)["y"], x * 3)

    def model(x: Any) -> Any:
        return clipped(x, 3)["y"], cr.grad(lambda x: (clipped(x, 3)["y"] * cr.arange(4).astype("f32")).sum())(x)

    value, grad = cr.compile(model, cr.spec(4), backend=backend)(x)
    np.testing.assert_allclose(value, x * 3, rtol=1e-6)
    np.testing.assert_allclose(grad, [0, 1, 1, 1])


def test_a_stated_gradient_can_be_differentiated() -> None:
    square = cr.custom_vjp(lambda x: x * x, lambda x: (x * x, x), lambda x, g: (g * 2 * x * x,))
    second = cr.grad(lambda x: cr.grad(square)(x))(np.float64(3))
    assert float(second) == 12.0


def test_what_a_stated_gradient_cannot_take_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"a tensor f32.* from around it is used"):
        trace(lambda x, w: cr.custom_vjp(lambda x: x * w, lambda x: (x * w, x), lambda x, g: (g,))(x),
              (cr.spec(3), cr.spec(3)))  # fmt: skip
    with pytest.raises(ArgumentError, match="gave 2 gradients for 1 arguments"):
        cr.custom_vjp(lambda x: x, lambda x: (x, x), lambda x, g: (g, g))(normal(2))
    with pytest.raises(ArgumentError, match="not a pair"):
        cr.custom_vjp(lambda x: x, lambda x: x, lambda x, g: (g,))(normal(2))
    with pytest.raises(ShapeError, match="backward gives"):
        cr.custom_vjp(lambda x: x, lambda x: (x, x), lambda x, g: (g.sum(),))(normal(2))
