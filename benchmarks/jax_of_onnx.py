"""An ONNX model as a function of JAX arrays, compiled by XLA as a whole.

It knows the ops that the benchmarked models are exported with, and refuses others by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from onnx_steps import Attributes, read_steps

Array = Any
_CAST = {1: jnp.float32, 6: jnp.int32, 7: jnp.int32, 9: jnp.bool_}


def function_of(path: Path) -> Callable[..., list[Array]]:
    """f(*inputs) -> outputs. Weights are arguments of the compiled program: XLA folds what it is given as constants."""
    steps = read_steps(path, OPS)
    compiled = jax.jit(steps.run)
    weights = {name: jnp.asarray(array) for name, array in steps.weights.items()}
    return lambda *arrays: compiled(weights, arrays)


def _pads(a: Attributes, rank: int) -> list[tuple[int, int]]:
    pads = a.get("pads", [0] * 2 * rank)
    return list(zip(pads[:rank], pads[rank:], strict=True))


def _conv(a: Attributes, x: Array, w: Array, b: Array | None = None) -> Array:
    rank = x.ndim - 2
    one = [1] * rank
    y = lax.conv_general_dilated(
        x, w, a.get("strides", one), _pads(a, rank), None, a.get("dilations", one),
        feature_group_count=a.get("group", 1),
    )  # fmt: skip
    return y if b is None else y + b.reshape(-1, *one)


def _conv_transpose(a: Attributes, x: Array, w: Array, b: Array | None = None) -> Array:
    """A convolution of the input with zeros between its pixels, by the flipped kernel. One group."""
    rank = x.ndim - 2
    one = [1] * rank
    more = a.get("output_padding", [0] * rank)
    edges = [(n - 1 - lo, n - 1 - hi + extra)
             for n, (lo, hi), extra in zip(w.shape[2:], _pads(a, rank), more, strict=True)]  # fmt: skip
    flipped = jnp.flip(jnp.swapaxes(w, 0, 1), range(2, 2 + rank))
    y = lax.conv_general_dilated(x, flipped, one, edges, a.get("strides", one))
    return y if b is None else y + b.reshape(-1, *one)


def _max_pool(a: Attributes, x: Array) -> Array:
    rank = x.ndim - 2
    strides, pads = a.get("strides", [1] * rank), _pads(a, rank)
    if a.get("ceil_mode"):
        whole = [(n + lo + hi - k) % s for n, (lo, hi), k, s in
                 zip(x.shape[2:], pads, a["kernel_shape"], strides, strict=True)]  # fmt: skip
        pads = [(lo, hi + (s - r) % s) for (lo, hi), s, r in zip(pads, strides, whole, strict=True)]
    window = (1, 1, *a["kernel_shape"])
    return lax.reduce_window(x, -jnp.inf, lax.max, window, (1, 1, *strides), ((0, 0), (0, 0), *pads))


def _gemm(a: Attributes, x: Array, w: Array, c: Array | None = None) -> Array:
    y = a.get("alpha", 1.0) * ((x.T if a.get("transA") else x) @ (w.T if a.get("transB") else w))
    return y if c is None else y + a.get("beta", 1.0) * c


def _reshape(a: Attributes, x: Array, shape: list[int]) -> Array:
    return x.reshape([x.shape[i] if d == 0 and not a.get("allowzero") else d for i, d in enumerate(shape)])


def _slice(a: Attributes, x: Array, starts: list[int], ends: list[int], axes: list[int] | None = None,
           steps: list[int] | None = None) -> Array:  # fmt: skip
    cut = [slice(None)] * x.ndim
    for i, axis in enumerate(range(len(starts)) if axes is None else axes):
        cut[axis] = slice(starts[i], min(ends[i], x.shape[axis]), 1 if steps is None else steps[i])
    return x[tuple(cut)]


def _batch_norm(a: Attributes, x: Array, w: Array, b: Array, m: Array, v: Array) -> Array:
    shape = (-1, *[1] * (x.ndim - 2))
    scale = w * lax.rsqrt(v + a.get("epsilon", 1e-5))
    return x * scale.reshape(shape) + (b - m * scale).reshape(shape)


def _layer_norm(a: Attributes, x: Array, w: Array, b: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + a.get("epsilon", 1e-5)) * w + b


def _scanned(step: Callable[..., Any], start: Any, projected: Array) -> tuple[Array, ...]:
    last, y = lax.scan(step, start, projected)
    return (y[:, None], *(s[None] for s in (last if isinstance(last, tuple) else (last,))))


def _lstm(a: Attributes, x: Array, w: Array, r: Array, b: Array, lengths: None = None, h0: Array | None = None,
          c0: Array | None = None) -> tuple[Array, ...]:  # fmt: skip
    """One direction: the input is projected at once, the steps are a scan. ONNX's gates are in the order i, o, f, c."""
    units = a["hidden_size"]
    zero = jnp.zeros((x.shape[1], units), x.dtype)
    start = (zero if h0 is None else h0[0], zero if c0 is None else c0[0])

    def step(state: tuple[Array, Array], given: Array) -> tuple[tuple[Array, Array], Array]:
        h, c = state
        i, o, f, g = jnp.split(given + h @ r[0].T, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return _scanned(step, start, x @ w[0].T + b[0, : 4 * units] + b[0, 4 * units :])


def _gru(a: Attributes, x: Array, w: Array, r: Array, b: Array, lengths: None = None,
         h0: Array | None = None) -> tuple[Array, ...]:  # fmt: skip
    """One direction, linear_before_reset; ONNX's gates are in the order z, r, h."""
    units = a["hidden_size"]

    def step(h: Array, given: Array) -> tuple[Array, Array]:
        z, s, n = jnp.split(given, 3, -1)
        rz, rs, rn = jnp.split(h @ r[0].T + b[0, 3 * units :], 3, -1)
        z, s = jax.nn.sigmoid(z + rz), jax.nn.sigmoid(s + rs)
        h = (1 - z) * jnp.tanh(n + s * rn) + z * h
        return h, h

    start = jnp.zeros((x.shape[1], units), x.dtype) if h0 is None else h0[0]
    return _scanned(step, start, x @ w[0].T + b[0, : 3 * units])


def _reduce(function: Callable[..., Array]) -> Callable[..., Array]:
    def run(a: Attributes, x: Array, axes: list[int] | None = None) -> Array:
        taken = axes if axes is not None else a.get("axes")
        return function(x, axis=None if taken is None else tuple(taken), keepdims=bool(a.get("keepdims", 1)))

    return run


def _plain(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda a, *inputs: function(*inputs)


OPS: dict[str, Callable[..., Any]] = {
    "Conv": _conv, "ConvTranspose": _conv_transpose, "MaxPool": _max_pool, "Gemm": _gemm, "Reshape": _reshape,
    "Slice": _slice, "LSTM": _lstm, "GRU": _gru, "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm,
    "Relu": _plain(jax.nn.relu), "Sigmoid": _plain(jax.nn.sigmoid), "Tanh": _plain(jnp.tanh), "Erf": _plain(lax.erf),
    "Exp": _plain(jnp.exp), "Log": _plain(jnp.log), "Sqrt": _plain(jnp.sqrt), "Neg": _plain(jnp.negative),
    "Add": _plain(jnp.add), "Sub": _plain(jnp.subtract), "Mul": _plain(jnp.multiply), "Div": _plain(jnp.divide),
    "MatMul": _plain(jnp.matmul), "Where": _plain(jnp.where), "Equal": _plain(jnp.equal),
    "LessOrEqual": _plain(jnp.less_equal), "Range": _plain(np.arange), "Identity": _plain(lambda x: x),
    "Clip": lambda a, x, lo=None, hi=None: jnp.clip(x, lo, hi), "Cast": lambda a, x: x.astype(_CAST[a["to"]]),
    "LeakyRelu": lambda a, x: jax.nn.leaky_relu(x, a.get("alpha", 0.01)),
    "Concat": lambda a, *xs: jnp.concatenate(xs, a["axis"]), "Transpose": lambda a, x: jnp.transpose(x, a["perm"]),
    "Flatten": lambda a, x: x.reshape(math.prod(x.shape[: a.get("axis", 1)]), -1),
    "Softmax": lambda a, x: jax.nn.softmax(x, a.get("axis", -1)),
    "Squeeze": lambda a, x, axes=None: jnp.squeeze(x, None if axes is None else tuple(axes)),
    "Unsqueeze": lambda a, x, axes: jnp.expand_dims(x, tuple(axes)),
    "Gather": lambda a, x, i: jnp.take(x, i, a.get("axis", 0), mode="clip"),
    "ReduceMean": _reduce(jnp.mean), "ReduceSum": _reduce(jnp.sum), "ReduceMax": _reduce(jnp.max),
    "Expand": lambda a, x, s: jnp.broadcast_to(x, jnp.broadcast_shapes(x.shape, tuple(s))),
}  # fmt: skip
