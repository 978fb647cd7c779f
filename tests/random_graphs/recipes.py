"""What a random graph is made of: each recipe takes a tensor, and what else it needs from the maker, to a new tensor.

A recipe answers None where it does not apply (too few axes, a size that is not known); what it builds may depend on the
maker's random numbers only. RECIPES is one explicit table of how often each is taken. The file is long: it is a list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

import chainrule as cr
from chainrule.frontend.functions import activations as act
from chainrule.frontend.functions import elementwise as el
from chainrule.frontend.functions.recurrent import recurrent
from chainrule.frontend.tensor import wrap
from chainrule.ir.dims import Dim
from chainrule.ir.graph import build
from chainrule.ir.types import i8
from chainrule.ops import fft
from chainrule.ops import norm as norms
from chainrule.ops.basic import constant, full
from chainrule.ops.indexing_reduce import scatter_reduce
from chainrule.ops.integer_products import IntegerConv, integer_matmul
from chainrule.ops.quantise import Dequantize, Quantize, RoundTo

Tensor = cr.Tensor


class Maker(Protocol):
    """What recipes ask for. n_value: the number that the symbol N has when the graph runs."""

    rng: np.random.Generator

    def fresh(self, shape: Sequence[Dim], kind: str = "x", role: str = "input") -> Tensor:
        """A new input.

        kind: "x" Gaussian, "p" from 0.5 to 1.5, "w" a weight, "b" bool, "i7" integers from 0 to 6, "k" a random key.
        """
        ...

    def partner(self, x: Tensor) -> Tensor:
        """A float tensor, new or made before, that broadcasts with x to x's own shape."""
        ...

    def count(self, shape: Sequence[Dim]) -> int:
        """The number of elements when the graph runs."""
        ...


Recipe = Callable[[Maker, Tensor], "Tensor | tuple[Tensor, ...] | None"]


def pick(m: Maker, *choices: object) -> object:
    return choices[int(m.rng.integers(len(choices)))]


def an_axis(m: Maker, x: Tensor) -> int:
    return int(m.rng.integers(-x.ndim, x.ndim))


def some_axes(m: Maker, x: Tensor) -> tuple[int, ...]:
    chosen = [i for i in range(x.ndim) if m.rng.random() < 0.5]
    return tuple(chosen or [x.ndim - 1])


def static(x: Tensor, axis: int) -> int | None:
    size = x.shape[axis]
    return size if isinstance(size, int) else None


# -- one tensor, element by element -----------------------------------------------------------------------------------

BOUNDED: tuple[Callable[[Tensor], Tensor], ...] = (
    cr.tanh, cr.sigmoid, cr.erf, cr.sin, cr.cos, act.softsign, act.hardtanh, act.hardsigmoid, act.relu6, cr.arctan,
    lambda x: cr.erfc(x), lambda x: cr.arcsin(cr.tanh(x) * 0.9), lambda x: cr.arccos(cr.tanh(x) * 0.9),
    lambda x: cr.arctanh(cr.tanh(x) * 0.9), lambda x: cr.exp(-cr.square(x)), lambda x: cr.clip(x, -0.75, 1.25),
    lambda x: cr.tan(cr.tanh(x)), lambda x: cr.exp2(cr.tanh(x)), lambda x: cr.expm1(cr.tanh(x)),
    lambda x: cr.sinh(cr.tanh(x)), lambda x: cr.cosh(cr.tanh(x)), lambda x: cr.exp(cr.tanh(x)),
)  # fmt: skip
GROWING: tuple[Callable[[Tensor], Tensor], ...] = (
    act.relu, act.leaky_relu, act.elu, act.selu, act.celu, act.gelu, lambda x: act.gelu(x, "tanh"), act.silu, act.mish,
    act.softplus, act.logsigmoid, act.hardswish, act.tanhshrink, act.softshrink, act.hardshrink, cr.abs, cr.negative,
    cr.square, cr.arcsinh, cr.cbrt, lambda x: cr.log(cr.abs(x) + 0.1), lambda x: cr.log1p(cr.abs(x)),
    lambda x: cr.log2(cr.abs(x) + 0.1), lambda x: cr.log10(cr.abs(x) + 0.1), lambda x: cr.sqrt(cr.abs(x) + 0.01),
    lambda x: cr.rsqrt(cr.square(x) + 0.2), lambda x: cr.reciprocal(cr.square(x) + 0.2),
    lambda x: cr.arccosh(cr.square(x) + 1.1), lambda x: el.power(cr.abs(x) + 0.1, 1.5),
    lambda x: act.threshold(x, 0.1, 2.0), lambda x: -x * 0.5 + 1, lambda x: (x - 1) / 3, lambda x: 2 / (cr.abs(x) + 1),
)  # fmt: skip
STEPPING: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: cr.floor(x * 3), lambda x: cr.ceil(x * 2), lambda x: cr.round(x * 2), lambda x: cr.trunc(x * 2), cr.sign,
    lambda x: (x * 4).astype("i32").astype("f32"), lambda x: (x > 0.25).astype("f32"), cr.stop_gradient,
    lambda x: cr.isnan(x).astype("f32") + cr.isinf(x) + cr.isfinite(x), lambda x: (~(x < 0)).astype("f32"),
    lambda x: ((x * 4).astype("i32") & 3).astype("f32"), lambda x: ((x * 4).astype("i64") >> 1).astype("f32"),
    lambda x: ((x * 9).astype("i32") // 4 + (x * 9).astype("i32") % 3).astype("f32"),
    lambda x: ((x * 9).astype("i8") ^ 5).astype("f32") + ((x > 0) | (x < -1)), lambda x: x.astype("f64").astype("f32"),
    lambda x: (~(x * 4).astype("i16") | 6).astype("f32"), lambda x: ((x * 4).astype("i32") << 2).astype("f32"),
    lambda x: cr.logical_xor(x >= 0.5, cr.round(x) == 1).astype("f32"), lambda x: x.astype("f16").astype("f32"),
    lambda x: (cr.abs(x) * 20).astype("u8").astype("f32"),
    lambda x: cr.logical_not(cr.equal(cr.floor(x), 0)).astype("f32"),
)  # fmt: skip


def unary(functions: Sequence[Callable[[Tensor], Tensor]]) -> Recipe:
    return lambda m, x: functions[int(m.rng.integers(len(functions)))](x)


def binary(m: Maker, x: Tensor) -> Tensor:
    y = m.partner(x)
    a, b = (x, y) if m.rng.random() < 0.5 else (y, x)
    kind = int(m.rng.integers(14))
    match kind:
        case 0 | 1:
            return a + b
        case 2:
            return a - b
        case 3 | 4:
            return a * b
        case 5:
            return a / (cr.square(b) + 0.5)
        case 6:
            return cr.maximum(a, b)
        case 7:
            return cr.minimum(a, b)
        case 8:
            return cr.where(a > b, a * 0.5, b)
        case 9:
            return cr.arctan2(a, b)
        case 10:
            return cr.power(cr.abs(a) + 0.2, cr.tanh(b))
        case 11:
            return cr.fmod(a, cr.abs(b) + 0.3)
        case 12:
            return cr.where(cr.logical_and(a <= b, a != b), x, 0.25)
        case _:
            return cr.remainder(a, cr.abs(b) + 0.3)


# -- reductions and lines ----------------------------------------------------------------------------------------------


def reduction(m: Maker, x: Tensor) -> Tensor | None:
    if x.ndim == 0:
        return None
    axes, keep = some_axes(m, x), bool(m.rng.random() < 0.5)
    kind = int(m.rng.integers(10))
    match kind:
        case 0 | 1:
            return x.sum(axes, keep) * 0.5
        case 2:
            return x.mean(axes, keep)
        case 3:
            return x.max(axes, keep)
        case 4:
            return x.min(axes, keep)
        case 5:
            return cr.prod(cr.tanh(x) + 1, axes, keep)
        case 6:
            return cr.logsumexp(x, axes, keep)
        case 7:
            return cr.var(x, axes, keepdims=keep)
        case 8:
            return cr.std(x, axes, keepdims=keep)
        case _:
            return cr.norm(x + 0.01, axis=axes, keepdims=keep)


def counting(m: Maker, x: Tensor) -> Tensor | None:
    """Reductions whose results are whole numbers or truths."""
    if x.ndim == 0:
        return None
    axis = an_axis(m, x)
    match int(m.rng.integers(4)):
        case 0:
            return x.argmax(axis).astype("f32")
        case 1:
            return x.argmin(axis, keepdims=True).astype("f32")
        case 2:
            return (x > 1).any(axis).astype("f32")
        case _:
            return (x > -1.5).all(axis, keepdims=True).astype("f32")


def line(m: Maker, x: Tensor) -> Tensor | None:
    if x.ndim == 0:
        return None
    axis = an_axis(m, x)
    match int(m.rng.integers(6)):
        case 0 | 1:
            return cr.softmax(x, axis)
        case 2:
            return cr.log_softmax(x, axis)
        case 3:
            return cr.cumsum(x, axis)
        case 4:
            return cr.cumprod(cr.tanh(x) + 1, axis)
        case _:
            return act.softmin(x, axis)


def ordering(m: Maker, x: Tensor) -> Tensor | None:
    if x.ndim == 0:
        return None
    axis = an_axis(m, x)
    size = static(x, axis)
    match int(m.rng.integers(3)):
        case 0:
            return cr.sort(x, axis, descending=bool(m.rng.random() < 0.5))
        case 1:
            return cr.argsort(x, axis).astype("f32")
        case _:
            if size is None:
                return None
            values, places = cr.top_k(x, int(m.rng.integers(1, size + 1)), axis, largest=bool(m.rng.random() < 0.5))
            return values + places


def norm(m: Maker, x: Tensor) -> Tensor | None:
    channels = static(x, 1) if x.ndim >= 2 else None
    last = static(x, -1) if x.ndim >= 1 else None
    match int(m.rng.integers(6)):
        case 0 | 1 if last is not None:
            return cr.layer_norm(x, last, m.fresh((last,), "p", "param"), m.fresh((last,), "x", "param"))
        case 2 if last is not None:
            return cr.rms_norm(x, last, m.fresh((last,), "p", "param"))
        case 3 if x.ndim >= 3 and channels is not None:
            groups = max(g for g in (1, 2, 3, 4) if channels % g == 0)
            return cr.group_norm(x, groups, m.fresh((channels,), "p", "param"), m.fresh((channels,), "x", "param"))
        case 4 if x.ndim >= 3 and channels is not None:
            return cr.instance_norm(x)
        case _ if channels is not None:
            mean, var = m.fresh((channels,), "x", "param"), m.fresh((channels,), "p", "param")
            return cr.batch_norm(x, mean, var, m.fresh((channels,), "p", "param"), m.fresh((channels,), "x", "param"))
    return None


# -- products and windows ----------------------------------------------------------------------------------------------


def product(m: Maker, x: Tensor) -> Tensor | None:
    last = static(x, -1) if x.ndim >= 1 else None
    if last is None or x.ndim < 2:
        return None
    out = int(pick(m, 1, 2, 5, 8, 17))  # type: ignore[call-overload]
    match int(m.rng.integers(6)):
        case 0 | 1:
            return cr.linear(x, m.fresh((out, last), "w", "param"), m.fresh((out,), "x", "param"))
        case 2:
            return x @ m.fresh((last, out), "w", "param")
        case 3:
            return x @ m.fresh((*x.shape[:-2], last, out), "w")
        case 4:
            return (x @ x.mT) * (1 / last)
        case _:
            return cr.einsum("...i,ij->...j", x, m.fresh((last, out), "w", "param"))


def convolution(m: Maker, x: Tensor) -> Tensor | None:
    rank = x.ndim - 2
    channels = static(x, 1) if rank in (1, 2, 3) else None
    sizes = [static(x, i) for i in range(2, x.ndim)]
    if channels is None or any(s is None for s in sizes):
        return None
    kernel = tuple(int(m.rng.integers(1, min(4, s + 1))) for s in sizes if s is not None)
    groups = channels if m.rng.random() < 0.3 else 1
    out = groups * int(pick(m, 1, 2, 3)) if groups > 1 else int(pick(m, 1, 4, 6, 16))  # type: ignore[call-overload]
    conv = (cr.conv1d, cr.conv2d, cr.conv3d)[rank - 1]
    pad = tuple(int(m.rng.integers(0, k)) for k in kernel)
    stride = int(m.rng.integers(1, 3))
    fan = channels // groups * math.prod(kernel)
    weight = m.fresh((out, channels // groups, *kernel), "w", "param") * (1 / math.sqrt(fan))
    bias = m.fresh((out,), "x", "param") if m.rng.random() < 0.6 else None
    y = conv(x, weight, bias, stride, pad, 1, groups)
    if m.rng.random() < 0.5:
        y = act.relu(y)
    return y


def transposed(m: Maker, x: Tensor) -> Tensor | None:
    rank = x.ndim - 2
    channels = static(x, 1) if rank in (1, 2) else None
    if channels is None or any(static(x, i) is None for i in range(2, x.ndim)):
        return None
    conv = (cr.conv_transpose1d, cr.conv_transpose2d)[rank - 1]
    kernel, out, stride = int(m.rng.integers(2, 4)), int(m.rng.integers(1, 4)), int(m.rng.integers(1, 3))
    weight = m.fresh((channels, out, *(kernel,) * rank), "w", "param")
    return conv(x, weight, m.fresh((out,), "x", "param"), stride, 0) * (1 / channels)


def pooling(m: Maker, x: Tensor) -> Tensor | None:
    rank = x.ndim - 2
    sizes = [static(x, i) for i in range(2, x.ndim)]
    if rank not in (1, 2, 3) or any(s is None or s < 2 for s in sizes):
        return None
    window = int(m.rng.integers(2, min(3, *(s for s in sizes if s is not None)) + 1))
    stride, pad = int(m.rng.integers(1, 3)), int(m.rng.integers(0, window // 2 + 1))
    ceil = bool(m.rng.random() < 0.3)
    match int(m.rng.integers(4)):
        case 0 | 1:
            return (cr.max_pool1d, cr.max_pool2d, cr.max_pool3d)[rank - 1](x, window, stride, pad, ceil_mode=ceil)
        case 2:
            return (cr.avg_pool1d, cr.avg_pool2d, cr.avg_pool3d)[rank - 1](x, window, stride, pad, ceil_mode=ceil)
        case _:
            pools = (cr.adaptive_avg_pool1d, cr.adaptive_avg_pool2d, cr.adaptive_avg_pool3d)
            most = (cr.adaptive_max_pool1d, cr.adaptive_max_pool2d, cr.adaptive_max_pool3d)
            return (pools if m.rng.random() < 0.5 else most)[rank - 1](x, int(m.rng.integers(1, 3)))


def attention(m: Maker, x: Tensor) -> Tensor | None:
    last = static(x, -1) if x.ndim >= 3 else None
    if last is None:
        return None
    q, k, v = (x @ m.fresh((last, last), "w", "param") for _ in range(3))
    return cr.scaled_dot_product_attention(q, k, v)


def resized(m: Maker, x: Tensor) -> Tensor | None:
    if x.ndim != 4 or any(static(x, i) is None for i in (2, 3)):
        return None
    mode = str(pick(m, "nearest", "bilinear"))
    return cr.interpolate(x, scale_factor=2, mode=mode)


# -- shapes ------------------------------------------------------------------------------------------------------------


def shaped(m: Maker, x: Tensor) -> Tensor | tuple[Tensor, ...] | None:
    if x.ndim == 0:
        return cr.broadcast_to(x, (2, 3))
    axis = an_axis(m, x)
    size = static(x, axis)
    match int(m.rng.integers(17)):
        case 0:
            return x.reshape(-1)
        case 1:
            return cr.flatten(x, 1) if x.ndim >= 3 else cr.expand_dims(x, axis)
        case 2:
            return x.transpose(*(int(i) for i in m.rng.permutation(x.ndim)))
        case 3:
            return cr.concatenate([x, cr.tanh(x), x * 2], axis)
        case 4:
            return cr.stack([x, -x], axis if axis >= 0 else axis + x.ndim)
        case 5:
            return cr.flip(x, axis)
        case 6:
            return cr.pad(x, [(int(m.rng.integers(0, 3)), int(m.rng.integers(0, 3))) for _ in range(x.ndim)],
                          constant_values=0.5)  # fmt: skip
        case 7 if size is not None and size >= 2:
            mode = str(pick(m, "reflect", "edge", "wrap"))
            widths = [(1, 1) if i == axis % x.ndim else (0, 0) for i in range(x.ndim)]
            return cr.pad(x, widths, mode=mode)
        case 8 if size is not None and size >= 2:
            index: list[object] = [slice(None)] * x.ndim
            index[axis] = slice(int(m.rng.integers(0, size - 1)), size, int(m.rng.integers(1, 3)))
            return x[tuple(index)]
        case 9 if size is not None and size >= 2:
            cut = int(m.rng.integers(1, size))
            return tuple(cr.split(x, [cut], axis))
        case 10:
            return cr.tile(x, [1 if i != axis % x.ndim else 2 for i in range(x.ndim)])
        case 11:
            return cr.repeat(x, 2, axis)
        case 12 if size is not None:
            return cr.roll(x, 1, axis)
        case 13 if x.ndim >= 2:
            return cr.tril(x) if m.rng.random() < 0.5 else cr.triu(x, 1)
        case 15:
            return x + cr.arange(x.shape[-1], dtype="f32") / x.shape[0]
        case 14:
            return cr.squeeze(cr.expand_dims(x, axis), axis)[..., ::-1]
        case _:
            return x.swapaxes(axis, 0)


def indexed(m: Maker, x: Tensor) -> Tensor | None:
    if x.ndim == 0:
        return None
    axis = an_axis(m, x) % x.ndim
    size = static(x, axis)
    if size is None:
        return None
    match int(m.rng.integers(6)):
        case 0:
            return cr.take(x, m.fresh((3,), f"i{size}"), axis)
        case 1:
            return cr.take(x, m.fresh((2, 2), f"i{size}"), axis)
        case 2:
            shape = tuple(4 if i == axis else d for i, d in enumerate(x.shape))
            return cr.take_along_axis(x, m.fresh(shape, f"i{size}"), axis)
        case 3:
            return cr.scatter_add(x, m.fresh(x.shape, f"i{size}"), cr.tanh(x), axis)
        case 4:
            return cr.one_hot(m.fresh((3,), f"i{size}"), size) @ m.fresh((size, 4), "w", "param")
        case _:
            table = m.fresh((6, int(pick(m, 3, 8))), "w", "param")  # type: ignore[call-overload]
            return cr.embedding(m.fresh((x.shape[0], 2), "i6"), table, padding_idx=pick(m, None, 2))  # type: ignore[arg-type]


def loss(m: Maker, x: Tensor) -> Tensor | None:
    if x.ndim == 0:
        return None
    reduction = str(pick(m, "mean", "sum", "none"))
    target = m.fresh(x.shape)
    match int(m.rng.integers(7)):
        case 0:
            return cr.mse_loss(x, target, reduction)
        case 1:
            return cr.l1_loss(x, target, reduction)
        case 2:
            return cr.huber_loss(x, target, reduction, 0.7)
        case 3:
            return cr.binary_cross_entropy_with_logits(x, cr.sigmoid(target), reduction=reduction)
        case 4:
            return cr.kl_div(cr.log_softmax(x, -1), cr.softmax(target, -1), reduction)
        case _:
            classes = static(x, 1) if x.ndim >= 2 else None
            if classes is None:
                return cr.smooth_l1_loss(x, target, reduction)
            chosen = m.fresh((x.shape[0], *x.shape[2:]), f"i{classes}")
            share = float(pick(m, 0.0, 0.1))  # type: ignore[arg-type]
            return cr.cross_entropy(x, chosen, reduction=reduction, label_smoothing=share)


def residual(m: Maker, x: Tensor) -> Tensor | None:
    """x joined with what was made of x, at the same shape: one array is read in two ways by one kernel."""
    last = static(x, -1) if x.ndim >= 1 else None
    channels = static(x, 1) if x.ndim == 4 else None
    image = channels is not None and all(static(x, i) is not None for i in (2, 3))
    y: Tensor | None = None
    match int(m.rng.integers(9)):
        case 0 | 1 if image and channels is not None:
            groups = channels if m.rng.random() < 0.3 else 1
            kernel = int(pick(m, 1, 3))  # type: ignore[call-overload]
            weight = m.fresh((channels, channels // groups, kernel, kernel), "w", "param") * (1 / channels)
            y = cr.conv2d(x, weight, None, 1, kernel // 2, 1, groups)
        case 2 if image:
            y = cr.max_pool2d(x, 3, 1, 1)
        case 3 if image:
            y = cr.avg_pool2d(x, 3, 1, 1)
        case 4 | 5 if last is not None and x.ndim >= 2:
            y = cr.linear(x, m.fresh((last, last), "w", "param"), m.fresh((last,), "x", "param")) * (1 / last)
        case 6 if last is not None:
            y = cr.layer_norm(x, last)
        case 7 if x.ndim >= 1:
            y = cr.softmax(x, an_axis(m, x))
        case _ if x.ndim >= 1:
            y = cr.broadcast_to(x.sum(an_axis(m, x), keepdims=True), x.shape)
    if y is None:
        return None
    joined = x + y if m.rng.random() < 0.7 else x * y
    return act.relu(joined) if m.rng.random() < 0.5 else joined


def scattered(m: Maker, x: Tensor) -> Tensor | None:
    """Indexing with several axes at once, and writing at indices."""
    size = static(x, 0) if x.ndim else None
    if size is None:
        return None
    places = m.fresh((3, 1), f"i{size}")
    match int(m.rng.integers(4)):
        case 0:
            return cr.gather_nd(x, places)
        case 1:
            return cr.scatter_nd(x, places, m.fresh((3, *x.shape[1:])), "add")
        case 2:
            return cr.scatter(x, m.fresh((1, *x.shape[1:]), f"i{size}"), m.fresh((1, *x.shape[1:])), 0)
        case _:
            return x[m.fresh((2, 2), f"i{size}")]


def further_norm(m: Maker, x: Tensor) -> Tensor | None:
    """Norms by statistics of the batch, and those that are divided by a length."""
    channels = static(x, 1) if x.ndim >= 2 else None
    if channels is None:
        return None
    match int(m.rng.integers(5)):
        case 0 | 1:
            scale, shift = m.fresh((channels,), "p", "param"), m.fresh((channels,), "x", "param")
            return wrap(norms.batch_norm_training(x.value, scale.value, shift.value, 1e-5)[0])
        case 2:
            return cr.normalize(x, axis=1, eps=1e-3)
        case 3:
            return cr.norm(x + 0.01, 1, axis=1)
        case _:
            return act.prelu(x, m.fresh((channels,), "p", "param"))


def gated(m: Maker, x: Tensor) -> Tensor | None:
    last = static(x, -1) if x.ndim else None
    return act.glu(x, -1) if last is not None and last % 2 == 0 else None


def further_loss(m: Maker, x: Tensor) -> Tensor | None:
    if x.ndim < 2 or static(x, 1) is None:
        return None
    y, sides = m.fresh(x.shape), cr.where(m.fresh(x.shape, "b"), 1.0, -1.0)
    match int(m.rng.integers(11)):
        case 8:
            return cr.cross_entropy(x, cr.softmax(y, 1))
        case 9:
            return cr.triplet_margin_loss(x, y, y * 0.5 - 1)
        case 10 if x.ndim == 2:
            return cr.cosine_embedding_loss(x, y, sides[:, 0], 0.2)
        case 0:
            return cr.hinge_loss(x, sides)
        case 1:
            return cr.hinge_embedding_loss(cr.abs(x), sides)
        case 2:
            return cr.margin_ranking_loss(x, y, sides, 0.1)
        case 3:
            return cr.soft_margin_loss(x, sides)
        case 4:
            return cr.gaussian_nll_loss(x, y, cr.square(y) + 0.5)
        case 5:
            return cr.poisson_nll_loss(cr.tanh(x), cr.abs(y))
        case 6:
            classes = int(x.shape[1])  # type: ignore[arg-type]
            return cr.nll_loss(cr.log_softmax(x, 1), m.fresh((x.shape[0], *x.shape[2:]), f"i{classes}"))
        case _:
            return cr.binary_cross_entropy(cr.sigmoid(x), cr.sigmoid(y))


def drawn(m: Maker, x: Tensor) -> Tensor:
    """Random numbers, the same on every backend for the same key."""
    key = m.fresh((2,), "k")
    match int(m.rng.integers(7)):
        case 4:
            return x + cr.randint(0, 9, x.shape, key=cr.fold_in(key, 3)).astype("f32")
        case 5 if x.ndim >= 1:
            return cr.take(x, cr.permutation(x.shape[0], key=cr.split_key(key, 2)[1]), 0)
        case 0:
            return x + cr.uniform(x.shape, -1, 1, key=key)
        case 1:
            return cr.dropout(x, 0.4, training=True, key=key)
        case 2:
            return x * cr.normal(x.shape, key=key)
        case _:
            return cr.where(cr.bernoulli(0.5, x.shape, key=key), x, 0.0)


def sequence(m: Maker, x: Tensor) -> Tensor | None:
    """A recurrent layer over the first axis, or labels read from it."""
    if x.ndim != 3 or static(x, 2) is None:
        return None
    features, units = int(x.shape[2]), 3  # type: ignore[arg-type]
    kind = int(m.rng.integers(4))
    if kind == 3:
        fixed = features >= 3 and all(static(x, axis) is not None for axis in (0, 1))
        return reading(m, x) if fixed else None
    name, gates = (("LSTM", 4), ("GRU", 3), ("tanh", 1))[kind]
    weights = tuple(m.fresh((gates * units, n), "w", "param") * 0.5 for n in (features, units))
    return recurrent(name, x, weights, reverse=bool(m.rng.integers(2)))[0]


def reading(m: Maker, x: Tensor) -> Tensor:
    """The loss of two labels a row, read from x: [T, N, C] of known sizes."""
    steps, rows, classes = (int(d) for d in x.shape)  # type: ignore[arg-type]
    labels = m.fresh((rows, 2), f"i{classes - 1}") + 1
    return cr.ctc_loss(cr.log_softmax(x, 2), labels, np.full(rows, steps), np.full(rows, 2), zero_infinity=True)


def fourier(m: Maker, x: Tensor) -> Tensor | None:
    """A transform of the last axis, of real or complex numbers; divided by the root of its length."""
    n = static(x, -1) if x.ndim else None
    if n is None or not 2 <= n <= 40:
        return None
    numbers = fft.real_dft(x.value) if m.rng.random() < 0.5 else fft.dft(cr.stack([x, cr.tanh(x)], -1).value, 1)
    return wrap(numbers)[..., int(m.rng.integers(2))] / math.sqrt(n)


def of_bytes(m: Maker, x: Tensor) -> Tensor | None:
    """A product or convolution of 8-bit integers, or a way to them and back."""
    if m.rng.random() < 0.3:
        return quantised(m, x)
    if x.ndim == 4 and static(x, 1) is not None:
        weight = (m.fresh((4, x.shape[1], 1, 1), "w") * 30).astype("i8")
        found = build(IntegerConv((1, 1), (0, 0, 0, 0), (1, 1)), (x * 9).astype("i8").value, weight.value)
        return wrap(found).astype("f32") / 100
    if x.ndim < 2 or static(x, -1) is None:
        return None
    weight = (m.fresh((x.shape[-1], 5), "w") * 30).astype("i8")
    return wrap(integer_matmul((x * 9).astype("u8").value, weight.value)).astype("f32") / 100


def quantised(m: Maker, x: Tensor) -> Tensor:
    """In 8-bit integers and back, or the rounding between them alone."""
    zero = constant(np.array(m.rng.integers(-20, 20), np.int8))
    if m.rng.random() < 0.3:
        return wrap(build(RoundTo(i8), (x * 9).value, zero)).astype("f32") / 9
    scale = full(1 / 16, ())
    return wrap(build(Dequantize(), build(Quantize(i8), x.value, scale, zero), scale, zero))


def combined(m: Maker, x: Tensor) -> Tensor | None:
    """Updates multiplied into rows, or the larger or smaller kept."""
    rows = static(x, 0) if x.ndim else None
    if not rows:
        return None
    mode = str(pick(m, "mul", "max", "min"))
    places = m.fresh(x.shape, f"i{min(rows, 7)}")
    return wrap(scatter_reduce(x.value, places.value, m.fresh(x.shape, "p").value, 0, mode))


# name -> (how often, recipe)
RECIPES: dict[str, tuple[float, Recipe]] = {
    "bounded": (3, unary(BOUNDED)), "growing": (3, unary(GROWING)), "stepping": (1.6, unary(STEPPING)),
    "binary": (6, binary), "reduction": (3, reduction), "counting": (0.7, counting), "line": (2, line),
    "ordering": (0.7, ordering), "norm": (2, norm), "product": (3, product), "convolution": (4, convolution),
    "transposed": (0.7, transposed), "pooling": (2.5, pooling), "attention": (0.5, attention),
    "resized": (0.7, resized), "shaped": (5, shaped), "indexed": (1.5, indexed), "loss": (1, loss),
    "residual": (3, residual), "scattered": (0.7, scattered), "further_norm": (0.7, further_norm),
    "gated": (0.5, gated), "further_loss": (0.7, further_loss), "drawn": (0.7, drawn), "sequence": (1, sequence),
    "fourier": (0.5, fourier), "of_bytes": (0.5, of_bytes), "combined": (0.4, combined),
}  # fmt: skip
