"""Ops of the domain com.microsoft that optimised models hold: fused activations, products, convolutions and norms.

What they mean is read from onnxruntime's operator documentation, ContribOperators.md, and checked against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from chainrule.backends.onnx.importing.readers import gemm
from chainrule.backends.onnx.importing.readers_images import convolution
from chainrule.backends.onnx.node import Given, Read, Reader, shortest
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.graph import Value
from chainrule.ir.types import i32
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import shaping as sh
from chainrule.ops.activations import leaky_relu, number, relu
from chainrule.ops.activations_smooth import elu, gelu, silu, softplus
from chainrule.ops.arithmetic import clip
from chainrule.ops.basic import full, scalar_like
from chainrule.ops.indexing import gather
from chainrule.ops.matmul import matmul
from chainrule.ops.norm import layer_norm, rms_norm
from chainrule.ops.shape_rules import axis_of
from chainrule.ops.transcendental import sigmoid, tanh

# -- activations and products ------------------------------------------------------------------------------------------


def exact_gelu(given: Given) -> Read:
    """Gelu, BiasGelu: x, plus a bias where there is one, through GELU."""
    return gelu(with_bias(given, given.value(0), 1))


def fast_gelu(given: Given) -> Read:
    """FastGelu: the form by tanh."""
    return gelu(with_bias(given, given.value(0), 1), "tanh")


def quick_gelu(given: Given) -> Read:
    """x * sigmoid(alpha x)."""
    x, alpha = given.value(0), given.fraction("alpha", 1.702)
    return silu(x) if alpha == 1.0 else el.mul(x, sigmoid(el.mul(number(alpha, x), x)))


def with_bias(given: Given, x: Value, position: int) -> Value:
    """x plus an input, where the node has that."""
    return el.add(x, given.value(position)) if given.has(position) else x


def fused_matmul(given: Given) -> Read:
    """alpha * A B, either with its last two axes swapped."""
    if given.whole("transBatchA", 0) or given.whole("transBatchB", 0):
        raise NotSupported("FusedMatMul: transBatchA and transBatchB are not built")
    a, b, alpha = given.value(0), given.value(1), given.fraction("alpha", 1.0)
    y = matmul(a, b, bool(given.whole("transA", 0)), bool(given.whole("transB", 0)))
    return y if alpha == 1.0 else el.mul(y, scalar_like(alpha, y))


def fused_gemm(given: Given) -> Read:
    """Gemm and an activation."""
    y = gemm(given)
    assert isinstance(y, Value)
    numbers = [given.fraction(f"activation_{name}", math.nan) for name in ("alpha", "beta")]
    return activated(given, y, [n for n in numbers if n == n])


def fused_convolution(given: Given) -> Read:
    """Conv, a fourth input that is added to it, and an activation."""
    y = convolution(given.with_values(*(given.value(i) for i in range(3) if given.has(i))))
    assert isinstance(y, Value)
    numbers = given.attribute("activation_params", ())
    if not isinstance(numbers, tuple) or not all(isinstance(n, float) for n in numbers):
        raise ModelError("FusedConv: the attribute activation_params is no list of numbers")
    return activated(given, with_bias(given, y, 3), [shortest(np.float32(n)) for n in numbers])


def activated(given: Given, y: Value, numbers: Sequence[float]) -> Value:
    """y through the activation that the node names. numbers: its parameters, those left out are ONNX's defaults."""
    name = given.word("activation", "")
    known = ACTIVATIONS.get(name)
    if known is None:
        raise NotSupported(f"{given.op_type}: the activation {name!r} is not built",
                           help="these are: " + ", ".join(n for n in ACTIVATIONS if n))  # fmt: skip
    defaults, function = known
    if len(numbers) > len(defaults):
        raise ModelError(f"{given.op_type}: {name or 'no activation'} takes {len(defaults)} parameters, "
                         f"not {len(numbers)}")  # fmt: skip
    return function(y, (*numbers, *defaults[len(numbers) :]))


ACTIVATIONS: Mapping[str, tuple[tuple[float, ...], Callable[[Value, Sequence[float]], Value]]] = {
    "": ((), lambda y, _: y), "Relu": ((), lambda y, _: relu(y)), "Tanh": ((), lambda y, _: tanh(y)),
    "Sigmoid": ((), lambda y, _: sigmoid(y)), "LeakyRelu": ((0.01,), lambda y, n: leaky_relu(y, n[0])),
    "Elu": ((1.0,), lambda y, n: elu(y, n[0])), "Softplus": ((), lambda y, _: softplus(y, 1.0, math.inf)),
    "Clip": ((-math.inf, math.inf), lambda y, n: clip(y, n[0], n[1])),
    "HardSigmoid": ((0.2, 0.5), lambda y, n: clip(el.add(el.mul(number(n[0], y), y), number(n[1], y)), 0.0, 1.0)),
}  # fmt: skip


# -- norms -------------------------------------------------------------------------------------------------------------


def skip_layer_norm(given: Given) -> Read:
    """The norm of input + skip + bias, and that sum as the fourth output."""
    total = with_bias(given, el.add(given.value(0), given.value(1)), 4)
    gamma = given.value(2)
    beta = given.value(3) if given.has(3) else None
    y = layer_norm(total, gamma, beta, 1, given.fraction("epsilon", 1e-12))
    return (y, None, None, total)[: given.outputs] if given.outputs > 1 else y


def skip_rms_norm(given: Given) -> Read:
    """SkipSimplifiedLayerNormalization: the RMS norm of input + skip + bias."""
    total = with_bias(given, el.add(given.value(0), given.value(1)), 3)
    y = rms_norm(total, given.value(2), 1, given.fraction("epsilon", 1e-12))
    return (y, None, None, total)[: given.outputs] if given.outputs > 1 else y


def simplified_layer_norm(given: Given) -> Read:
    """SimplifiedLayerNormalization: the RMS norm of the axes from one on."""
    x = given.value(0)
    trailing = x.rank - axis_of(given.whole("axis", -1), x.rank)
    return rms_norm(x, given.value(1), trailing, given.fraction("epsilon", 1e-5))


def embed_layer_norm(given: Given) -> Read:
    """The norm of word, position and segment embeddings; how many tokens the mask keeps; the sum of embeddings."""
    ids = given.value(0)
    total = gather(given.value(2), ids, 0)
    if given.has(8):
        total = el.add(total, gather(given.value(3), given.value(8), 0))
    else:
        total = el.add(total, sh.narrow(given.value(3), 0, 0, ids.shape[1]))
    if given.has(1) and given.has(4):
        total = el.add(total, gather(given.value(4), given.value(1), 0))
    y = layer_norm(total, given.value(5), given.value(6), 1, given.fraction("epsilon", 1e-12))
    if given.outputs == 1:
        return y
    kept = el.cast(red.sum(given.value(7), 1), i32) if given.has(7) else full(0, ids.shape[:1], i32)
    return (y, kept, total)[: given.outputs]


READERS: Mapping[str, Reader] = {
    "Gelu": exact_gelu, "BiasGelu": exact_gelu, "FastGelu": fast_gelu, "QuickGelu": quick_gelu,
    "FusedMatMul": fused_matmul, "SkipLayerNormalization": skip_layer_norm,
    "SkipSimplifiedLayerNormalization": skip_rms_norm, "EmbedLayerNormalization": embed_layer_norm,
    "SimplifiedLayerNormalization": simplified_layer_norm,
    "FusedGemm": fused_gemm, "FusedConv": fused_convolution, "TransposeMatMul": fused_matmul,
}  # fmt: skip
