"""Functions that PyTorch's own table of ops has samples for, each as ours with PyTorch's arguments.

A sample whose arguments ours does not take (out=, dtype=, rounding_mode= and the like) does not bind and is left out.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chainrule as cr
from chainrule.errors import NotSupported
from tests.agreement import opinfo_more

Function = Callable[..., Any]


def unary(f: Function) -> Function:
    return lambda x: f(x)


def binary(f: Function) -> Function:
    return lambda x, y: f(x, y)


def over(f: Function) -> Function:
    """A reduction over axes."""
    return lambda x, dim=None, keepdim=False: f(x, dim, keepdims=keepdim)


def along(f: Function) -> Function:
    """A function along one axis."""
    return lambda x, dim: f(x, axis=dim)


def spread(f: Function) -> Function:
    """var or std: PyTorch's default is the sample's."""

    def ours(x: Any, dim: Any = None, *, correction: Any = 1, keepdim: bool = False) -> Any:
        if isinstance(dim, bool):
            raise NotSupported("correction= has another name")
        return f(x, None if dim in ((), []) else dim, ddof=1 if correction is None else correction, keepdims=keepdim)

    return ours


def padded(x: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    """PyTorch's pads name the last axis first."""
    if mode != "constant" and isinstance(value, float | int):
        raise TypeError("a value means nothing here")
    pairs = [(0, 0)] * (x.ndim - len(pad) // 2) + [tuple(pad[i : i + 2]) for i in range(len(pad) - 2, -1, -2)]
    ours = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    return cr.pad(x, pairs, ours[mode], value or 0.0)


def cuts(x: Any, size: Any, dim: int) -> list[int]:
    """Where parts of a size, or of these sizes, end."""
    if isinstance(size, int):
        return list(range(size, x.shape[dim], size))
    return list(itertools.accumulate(size))[:-1]


def max_pool(rank: int) -> Function:
    plain, told = getattr(cr, f"max_pool{rank}d"), getattr(cr, f"max_pool{rank}d_with_indices")

    def ours(x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
             ceil_mode: bool = False, return_indices: bool = False) -> Any:  # fmt: skip
        return (told if return_indices else plain)(x, kernel_size, stride or None, padding, dilation, ceil_mode)

    return ours


def adaptive_max_pool(rank: int) -> Function:
    plain, told = getattr(cr, f"adaptive_max_pool{rank}d"), getattr(cr, f"adaptive_max_pool{rank}d_with_indices")

    def ours(x: Any, output_size: Any, return_indices: bool = False) -> Any:
        return (told if return_indices else plain)(x, output_size)

    return ours


def attention(q: Any, k: Any, v: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
              scale: Any = None, enable_gqa: bool = False) -> Any:  # fmt: skip
    if dropout_p:
        raise NotSupported("it draws")
    return cr.scaled_dot_product_attention(q, k, v, attn_mask, dropout_p, is_causal, scale, enable_gqa)


def normalised(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    return cr.layer_norm(x, normalized_shape, weight, bias, eps)


def many(*names: str) -> dict[str, Function]:
    """Functions whose names and arguments are PyTorch's."""
    return {f"nn.functional.{name}": getattr(cr, name) for name in names}


UNARY: Mapping[str, str] = {
    **{name: name for name in (
        "abs", "ceil", "cos", "cosh", "erf", "erfc", "exp", "exp2", "expm1", "floor", "isfinite", "isinf", "isnan",
        "log", "log10", "log1p", "log2", "logical_not", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin",
        "sinh", "sqrt", "square", "tan", "tanh", "trunc", "ones_like", "zeros_like")},
    "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan", "atanh": "arctanh",
    "neg": "negative",
    **{f"nn.functional.{name}": name for name in (
        "relu", "relu6", "selu", "silu", "mish", "hardswish", "hardsigmoid", "logsigmoid", "softsign", "tanhshrink")},
}  # fmt: skip
BINARY: Mapping[str, str] = {
    **{name: name for name in ("add", "maximum", "minimum", "fmod", "remainder", "floor_divide", "logical_and",
                               "logical_or", "logical_xor", "matmul", "outer", "dot")},
    "sub": "subtract", "mul": "multiply", "div": "divide", "true_divide": "divide", "pow": "power", "atan2": "arctan2",
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
    "mm": "matmul", "bmm": "matmul", "mv": "matmul",
}  # fmt: skip
SHAPES: Mapping[str, Function] = {
    "argsort": lambda x, dim=-1, descending=False, stable=False: cr.argsort(x, dim, descending),
    "sort": lambda x, dim=-1, descending=False, stable=False: (
        cr.sort(x, dim, descending), cr.argsort(x, dim, descending)),
    "topk": lambda x, k, dim=-1, largest=True, sorted=True: cr.top_k(x, k, dim, largest),
    "broadcast_to": lambda x, shape: cr.broadcast_to(x, shape), "expand": lambda x, shape: cr.broadcast_to(x, shape),
    "cat": lambda xs, dim=0: cr.concatenate(xs, dim), "stack": lambda xs, dim=0: cr.stack(xs, dim),
    "cumprod": along(cr.cumprod), "cumsum": along(cr.cumsum),
    "diagonal": lambda x, offset=0, dim1=0, dim2=1: cr.diagonal(x, offset, dim1, dim2),
    "einsum": lambda xs, equation: cr.einsum(equation, *xs),
    "flatten": lambda x, start_dim=0, end_dim=-1: cr.flatten(x, start_dim, end_dim),
    "flip": lambda x, dims: cr.flip(x, dims), "full_like": lambda x, value: cr.full_like(x, value),
    "take_along_dim": lambda x, index, dim: cr.take_along_axis(x, index, dim),
    "index_select": lambda x, dim, index: cr.take(x, index, dim),
    "movedim": lambda x, source, destination: cr.moveaxis(x, source, destination),
    "permute": lambda x, dims: cr.transpose(x, dims), "transpose": lambda x, dim0, dim1: cr.swapaxes(x, dim0, dim1),
    "repeat": lambda x, times: cr.tile(x, times), "tile": lambda x, dims: cr.tile(x, dims),
    "repeat_interleave": lambda x, repeats, dim=None: cr.repeat(x, repeats, dim),
    "reshape": lambda x, shape: cr.reshape(x, shape), "view": lambda x, shape: cr.reshape(x, shape),
    "roll": lambda x, shifts, dims=None: cr.roll(x, shifts, dims),
    "scatter": lambda x, dim, index, src: cr.scatter(x, index, src, dim),
    "scatter_add": lambda x, dim, index, src: cr.scatter_add(x, index, src, dim),
    "split": lambda x, size, dim=0: cr.split(x, cuts(x, size, dim), dim),
    "split_with_sizes": lambda x, sizes, dim=0: cr.split(x, cuts(x, sizes, dim), dim),
    "squeeze": lambda x, dim: cr.squeeze(x, [d for d in ([dim] if isinstance(dim, int) else dim) if x.shape[d] == 1]),
    "unsqueeze": lambda x, dim: cr.expand_dims(x, dim),
    "take": lambda x, index: cr.take(x, index), "tensordot": lambda x, y, dims: cr.tensordot(x, y, dims),
    "tril": lambda x, diagonal=0: cr.tril(x, diagonal), "triu": lambda x, diagonal=0: cr.triu(x, diagonal),
    "unflatten": lambda x, dim, sizes: cr.unflatten(x, dim, sizes),
    "where": lambda x, condition, y: cr.where(condition, x, y), "clamp": lambda x, min=None, max=None: cr.clip(
        x, min, max),
    "std": spread(cr.std), "var": spread(cr.var),
    "nn.functional.pad": padded,
    "nn.functional.one_hot": lambda x, num_classes: cr.one_hot(x, num_classes, dtype="i64"),
}  # fmt: skip
REDUCTIONS: Mapping[str, Function] = {
    **{name: over(getattr(cr, name)) for name in (
        "sum", "mean", "prod", "all", "any", "argmax", "argmin", "logsumexp")},
    "amax": over(cr.max), "amin": over(cr.min),
}  # fmt: skip
NETWORKS: Mapping[str, Function] = {
    **many(
        *(f"{kind}_pool{rank}d" for kind in ("adaptive_avg", "avg") for rank in (1, 2, 3)),
        *(f"conv{kind}{rank}d" for kind in ("", "_transpose") for rank in (1, 2, 3)),
        "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits", "celu", "channel_shuffle",
        "cosine_embedding_loss", "cross_entropy", "elu", "gaussian_nll_loss", "gelu", "group_norm", "hardshrink",
        "hardtanh", "hinge_embedding_loss", "huber_loss", "interpolate", "kl_div", "l1_loss", "leaky_relu", "linear",
        "margin_ranking_loss", "mse_loss", "multi_margin_loss", "multilabel_margin_loss",
        "multilabel_soft_margin_loss", "nll_loss", "pixel_shuffle", "pixel_unshuffle", "poisson_nll_loss", "prelu",
        "rms_norm", "smooth_l1_loss", "soft_margin_loss", "softplus", "softshrink", "threshold",
        "triplet_margin_loss", "unfold"),
    **{f"nn.functional.adaptive_max_pool{rank}d": adaptive_max_pool(rank) for rank in (1, 2, 3)},
    **{f"nn.functional.max_pool{rank}d": max_pool(rank) for rank in (1, 2, 3)},
    "nn.functional.cosine_similarity": lambda x, y, dim=1, eps=1e-8: cr.cosine_similarity(x, y, dim, eps),
    "nn.functional.pairwise_distance": lambda x, y, p=2.0, eps=1e-6, keepdim=False: cr.pairwise_distance(
        x, y, p, eps, keepdim),
    "nn.functional.embedding": lambda weight, indices, padding_idx=None: cr.embedding(indices, weight, padding_idx),
    "nn.functional.glu": lambda x, dim=-1: cr.glu(x, dim), "nn.functional.layer_norm": normalised,
    "nn.functional.local_response_norm": lambda x, size, alpha=1e-4, beta=0.75, k=1.0: cr.local_response_norm(
        x, size, alpha, beta, k),
    "nn.functional.normalize": lambda x, p=2.0, dim=1, eps=1e-12: cr.normalize(x, p, dim, eps),
    "nn.functional.scaled_dot_product_attention": attention,
    "softmax": along(cr.softmax), "log_softmax": along(cr.log_softmax), "nn.functional.softmin": along(cr.softmin),
}  # fmt: skip

OURS: Mapping[str, Function] = {
    **{name: unary(getattr(cr, ours)) for name, ours in UNARY.items() },
    **{name: binary(getattr(cr, ours)) for name, ours in BINARY.items()},
    **REDUCTIONS, **SHAPES, **NETWORKS, **opinfo_more.OPERATORS, **opinfo_more.RESHAPED,
}  # fmt: skip

REFUSED: Mapping[str, str] = {  # what we say to the samples that PyTorch takes and we do not
    **opinfo_more.REFUSED,
    **{f"nn.functional.avg_pool{rank}d": "does not have .* numbers" for rank in (2, 3)},  # () and (1,)
    "cat": "axis 1 is out of range for 1 axes",  # an empty vector among matrices
    "einsum": "the result leaves the axes of the ellipsis out",
    "expand": "-1 is not a size",
    "nn.functional.gaussian_nll_loss": "the shapes differ",  # a target that broadcasts
    "nn.functional.hardshrink": "bound=.* is negative",
    "nn.functional.hardtanh": "is not below",
    "nn.functional.multi_margin_loss": "do not fit",  # a score without classes
    "nn.functional.multilabel_margin_loss": "do not fit",
    "nn.functional.normalize": "p=(-1|0).0",
    "nn.functional.one_hot": "-1 is not a size",
    "nn.functional.pad": "of size 0 is too short",
    "nn.functional.pairwise_distance": "p=.* is not above 0",
    "nn.functional.scaled_dot_product_attention": "it draws",
    "repeat_interleave": "not known while the model is traced",  # a number for each element
    **{f"nn.functional.{name}_norm": "eps=-0.5 is negative" for name in ("group", "layer", "rms")},
    "std": "correction=", "var": "correction=",  # that is not 0 or 1
}  # fmt: skip
NOT_COMPARED: Mapping[str, str] = {
    "arange": "takes no tensor", "eye": "takes no tensor", "full": "takes no tensor", "linspace": "takes no tensor",
    "ones": "takes no tensor", "zeros": "takes no tensor",
    "trace": "ours writes a program down; the sum of a diagonal is compared through diagonal",
    "fractional_max_pool2d": "draws: compared among the modules", "fractional_max_pool3d": "draws: as in two axes",
    "bernoulli": "draws", "normal": "draws", "randint": "draws", "uniform": "draws", "dropout": "draws",
    "alpha_dropout": "draws", "rrelu": "draws",
    "batch_norm": "ours is a layer's, with its state: compared among the modules",
    "instance_norm": "ours keeps no statistics: compared among the modules",
    "ctc_loss": "PyTorch's gradient is that by scores before log_softmax: compared among the pairs",
    "embedding_bag": "PyTorch orders its arguments by what is not built: compared among the modules",
    "max_unpool1d": "the sample's arguments are a pool's: compared among the modules",
    "max_unpool2d": "the sample's arguments are a pool's: compared among the modules",
    "max_unpool3d": "the sample's arguments are a pool's: compared among the modules",
    "bitwise_and": "of integers only", "bitwise_or": "of integers only", "bitwise_xor": "of integers only",
    "cond": "PyTorch's linalg.cond is the condition of a matrix, ours a branch",
    "equal": "PyTorch's torch.equal is one bool, ours is torch.eq, which is compared",
    "max": "PyTorch's gives places as well: compared as amax",
    "min": "PyTorch's gives places as well: compared as amin",
    "nonzero": "its size depends on data", "unique": "its size depends on data",
    "norm": "PyTorch's takes matrix norms: compared among the pairs",
    "triplet_margin_with_distance_loss": "its samples hold functions of PyTorch's: compared among the modules",
    "fold": "PyTorch's table has no samples: compared among the modules",
}  # fmt: skip


def bound(ours: Function, first: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """True when ours takes these arguments. A number has no axes here; in PyTorch it has one that can be named."""
    names = inspect.signature(ours).parameters
    try:
        inspect.signature(ours).bind(first, *args, **kwargs)
    except TypeError:
        return False
    return not (getattr(first, "ndim", 1) == 0 and any(name.startswith(("dim", "index")) for name in names))
