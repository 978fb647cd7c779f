"""The networks of benchmarks/training_nets.py as functions of arrays for JAX, with updates written out.

Parameters are a dict with PyTorch's names. What PyTorch keeps in another order than XLA likes best (convolutions' and
linear layers' weights, images with channels first) is turned once before training; batch statistics are those of the
batch, and the running ones are kept as PyTorch keeps them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from training_nets import HEADS, MOMENTUM, RATES, Net

Params = dict[str, Any]


def turned(weights: dict[str, np.ndarray]) -> Params:
    """Kernels as [H, W, I, O], matrices as [I, O]; embeddings and the rest as they are."""
    found: Params = {}
    for name, w in weights.items():
        if w.ndim == 4:
            w = w.transpose(2, 3, 1, 0)
        elif w.ndim == 2 and not name.startswith("embed"):
            w = w.T
        found[name] = jnp.asarray(np.ascontiguousarray(w))
    return found


def _linear(p: Params, name: str, x: Any) -> Any:
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def _conv(p: Params, name: str, x: Any, stride: int, pad: int) -> Any:
    w = p[f"{name}.weight"]
    y = lax.conv_general_dilated(x, w, (stride, stride), ((pad, pad), (pad, pad)),
                                 dimension_numbers=("NHWC", "HWIO", "NHWC"))  # fmt: skip
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def _max_pool(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def lenet(p: Params, x: Any, state: Params) -> tuple[Any, Params]:
    x = _max_pool(jax.nn.relu(_conv(p, "0", x, 1, 2)))
    x = _max_pool(jax.nn.relu(_conv(p, "3", x, 1, 0)))
    x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
    x = jax.nn.relu(_linear(p, "7", x))
    return _linear(p, "11", jax.nn.relu(_linear(p, "9", x))), state


def mlp(p: Params, x: Any, state: Params) -> tuple[Any, Params]:
    x = jax.nn.relu(_linear(p, "2", jax.nn.relu(_linear(p, "0", x))))
    return _linear(p, "4", x), state


def resnet18(p: Params, x: Any, state: Params) -> tuple[Any, Params]:
    new: Params = {}

    def norm(name: str, x: Any) -> Any:
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        count = x.size // x.shape[-1]
        for key, value in ((f"{name}.mean", mean), (f"{name}.var", var * (count / (count - 1)))):
            new[key] = 0.9 * state[key] + 0.1 * value
        return (x - mean) * lax.rsqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]

    x = jax.nn.relu(norm("1", _conv(p, "0", x, 1, 1)))
    for i in range(3, 11):
        stride = 2 if f"{i}.shortcut.0.weight" in p else 1
        y = jax.nn.relu(norm(f"{i}.bn1", _conv(p, f"{i}.conv1", x, stride, 1)))
        y = norm(f"{i}.bn2", _conv(p, f"{i}.conv2", y, 1, 1))
        if stride == 2:
            x = norm(f"{i}.shortcut.1", _conv(p, f"{i}.shortcut.0", x, 2, 0))
        x = jax.nn.relu(x + y)
    return _linear(p, "13", x.mean((1, 2))), new


def lstm_lm(p: Params, words: Any, state: Params) -> tuple[Any, Params]:
    x = p["embed.weight"][words]
    for layer in range(2):
        inputs = x @ p[f"lstm.weight_ih_l{layer}"] + p[f"lstm.bias_ih_l{layer}"] + p[f"lstm.bias_hh_l{layer}"]
        recurrent = p[f"lstm.weight_hh_l{layer}"]

        def cell(carried: Any, given: Any, recurrent: Any = recurrent) -> tuple[Any, Any]:
            h, c = carried
            i, f, g, o = jnp.split(given + h @ recurrent, 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((x.shape[1], recurrent.shape[0]), x.dtype)
        _, x = lax.scan(cell, (zeros, zeros), inputs)
    y = _linear(p, "head", x)
    return y.reshape(-1, y.shape[-1]), state


def transformer(p: Params, x: Any, state: Params) -> tuple[Any, Params]:
    def norm(name: str, x: Any) -> Any:
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) * lax.rsqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]

    n, t, width = x.shape
    for i in range(2):
        at = f"layers.{i}"
        joint = x @ p[f"{at}.self_attn.in_proj_weight"] + p[f"{at}.self_attn.in_proj_bias"]
        q, k, v = (part.reshape(n, t, HEADS, width // HEADS) for part in jnp.split(joint, 3, -1))
        y = jax.nn.dot_product_attention(q, k, v).reshape(n, t, width)
        x = norm(f"{at}.norm1", x + _linear(p, f"{at}.self_attn.out_proj", y))
        y = jax.nn.gelu(_linear(p, f"{at}.linear1", x), approximate=False)
        x = norm(f"{at}.norm2", x + _linear(p, f"{at}.linear2", y))
    return _linear(p, "head", x.mean(1)), state


FUNCTIONS: dict[str, Callable[[Params, Any, Params], tuple[Any, Params]]] = {
    "lenet": lenet, "mlp": mlp, "resnet18": resnet18, "lstm_lm": lstm_lm, "transformer": transformer,
}  # fmt: skip


def _updated(kind: str, p: Any, g: Any, slots: tuple[Any, ...], step: Any) -> tuple[Any, tuple[Any, ...]]:
    """A parameter and its slots after one update, by torch.optim's rules and defaults."""
    rate = RATES[kind]
    if kind == "sgd":
        return p - rate * g, ()
    if kind == "momentum":
        speed = MOMENTUM * slots[0] + g
        return p - rate * speed, (speed,)
    mean, square = 0.9 * slots[0] + 0.1 * g, 0.999 * slots[1] + 0.001 * g * g
    root = jnp.sqrt(square / (1 - 0.999**step)) + 1e-8
    return p - rate / (1 - 0.9**step) * mean / root, (mean, square)


def step_of(name: str, net: Net, weights: dict[str, np.ndarray]) -> Callable[[], list[np.ndarray]]:
    """One jitted step; what it changes is given away to it, so that it may be updated in place."""
    function, (x, labels) = FUNCTIONS[name], net.batch()
    params = turned(weights)
    x = jnp.asarray(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x)
    labels = jnp.asarray(labels)
    norms = [n.removesuffix(".weight") for n, w in params.items() if w.ndim == 1 and n.endswith("weight")]
    state = {f"{n}.{key}": jnp.full_like(params[f"{n}.weight"], key == "var") for n in norms for key in ("mean", "var")}
    count = {"sgd": 0, "momentum": 1, "adam": 2}[net.optimizer]
    slots = {n: tuple(jnp.zeros_like(w) for _ in range(count)) for n, w in params.items()}

    def loss(params: Params, x: Any, labels: Any, state: Params) -> tuple[Any, Params]:
        scores, new = function(params, x, state)
        taken = jnp.take_along_axis(jax.nn.log_softmax(scores), labels[:, None], 1)
        return -taken.mean(), new

    def step(kept: Any, x: Any, labels: Any) -> tuple[Any, Any]:
        params, state, slots, number = kept
        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params, x, labels, state)
        number = number + 1
        both = {n: _updated(net.optimizer, w, grads[n], slots[n], number) for n, w in params.items()}
        return ({n: b[0] for n, b in both.items()}, state, {n: b[1] for n, b in both.items()}, number), value

    kept: Any = (params, state if name == "resnet18" else {}, slots, jnp.float32(0))
    compiled = jax.jit(step, donate_argnums=0)

    def call() -> list[np.ndarray]:
        nonlocal kept
        kept, value = compiled(kept, x, labels)
        jax.block_until_ready(kept)
        return [np.asarray(value)]

    return call
