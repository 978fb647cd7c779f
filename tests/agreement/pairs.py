"""Our functions beside PyTorch's, with samples that hold what is easily forgotten.

0-d and empty tensors, axes of size 1 in the middle of a broadcast, repeated indices, negative axes and pads, ceil_mode,
groups, output_padding, ignore_index, ties and the kinks of piecewise functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import chainrule as cr

Arrays = tuple[np.ndarray, ...]
ND = tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """One function in both libraries.

    second: its second derivatives are compared too; not at kinks, where each library takes the side it likes. fixed:
    float arguments, by place, that PyTorch does not differentiate.
    """

    name: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    samples: tuple[Arrays, ...]
    second: bool = True
    fixed: tuple[int, ...] = ()


def n(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed + 1000 * len(shape)).standard_normal(shape))


def u(low: float, high: float, *shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).uniform(low, high, shape))


KINKS = np.array([[-7.0, -3.0, -1.0, -0.5, 0.0], [0.5, 1.0, 2.5, 3.0, 6.0]])
TIES = np.array([[1.0, 3.0, 3.0, -2.0], [2.0, 2.0, 2.0, 2.0], [0.0, -0.0, -1.0, 0.0]])
ANY: tuple[Arrays, ...] = ((n(3, 4),), (n(),), (n(0, 3),))
POSITIVE: tuple[Arrays, ...] = ((u(0.1, 3, 3, 4),), (u(0.1, 3),), (u(0.1, 3, 2, 0),))
SHARES: tuple[Arrays, ...] = ((u(-0.9, 0.9, 3, 4),), (u(-0.9, 0.9),), (u(-0.9, 0.9, 0),))


def unary(name: str, theirs: Callable[..., Any], samples: tuple[Arrays, ...] = ANY, **options: Any) -> Pair:
    ours = getattr(cr, name)
    said = name + (str(options) if options else "")
    return Pair(said, lambda x: ours(x, **options), lambda x: theirs(x, **options), samples)


def at_kinks(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """The same functions where they have kinks and jumps, without second derivatives."""
    return tuple(replace(pair, name=f"{pair.name} at kinks", samples=((KINKS,),), second=False)
                 for pair in pairs if pair.samples is ANY)  # fmt: skip


UNARY = (
    unary("relu", F.relu), unary("relu6", F.relu6), unary("leaky_relu", F.leaky_relu, negative_slope=0.2),
    unary("elu", F.elu, alpha=1.5), unary("selu", F.selu), unary("celu", F.celu, alpha=0.7),
    unary("gelu", F.gelu), unary("gelu", F.gelu, approximate="tanh"), unary("silu", F.silu), unary("mish", F.mish),
    unary("softplus", F.softplus), unary("softplus", F.softplus, beta=2.0, threshold=5.0), unary("softsign",
         F.softsign),
    unary("sigmoid", torch.sigmoid), unary("logsigmoid", F.logsigmoid), unary("hardtanh", F.hardtanh),
    replace(unary("hardsigmoid", F.hardsigmoid), second=False), unary("hardswish", F.hardswish),
         unary("tanhshrink", F.tanhshrink),
    unary("softshrink", F.softshrink, lambd=0.5), unary("hardshrink", F.hardshrink, lambd=0.5),
    unary("threshold", F.threshold, threshold=0.5, value=-2.0),
    unary("negative", torch.neg), unary("abs", torch.abs), unary("sign", torch.sign), unary("square", torch.square),
    unary("floor", torch.floor), unary("ceil", torch.ceil), unary("round", torch.round), unary("trunc", torch.trunc),
    unary("exp", torch.exp), unary("exp2", torch.exp2), unary("expm1", torch.expm1), unary("sin", torch.sin),
    unary("cos", torch.cos), unary("tan", torch.tan, SHARES), unary("sinh", torch.sinh), unary("cosh", torch.cosh),
    unary("tanh", torch.tanh), unary("arctan", torch.arctan), unary("arcsinh", torch.arcsinh), unary("erf", torch.erf),
    unary("erfc", torch.erfc), unary("log", torch.log, POSITIVE), unary("log2", torch.log2, POSITIVE),
    unary("log10", torch.log10, POSITIVE), unary("log1p", torch.log1p, POSITIVE), unary("sqrt", torch.sqrt, POSITIVE),
    unary("rsqrt", torch.rsqrt, POSITIVE), unary("reciprocal", torch.reciprocal, POSITIVE),
    unary("arcsin", torch.arcsin, SHARES), unary("arccos", torch.arccos, SHARES), unary("arctanh",
         torch.arctanh, SHARES),
    unary("arccosh", torch.arccosh, ((u(1.1, 4, 3, 4),), (u(1.1, 4),))),
)  # fmt: skip

BROADCASTS: tuple[Arrays, ...] = (
    (n(3, 4), n(3, 4, seed=1)), (n(3, 1, 4), n(1, 5, 1)), (n(), n(2, 3)), (n(2, 3), n()), (n(0, 3), n(1, 3)),
    (n(2, 1, 3), n(2, 4, 3)), (n(4, 1), n(3, 1, 5)), (n(), n(seed=1)),
)  # fmt: skip
ABOVE_ZERO = tuple((np.abs(a) + 0.5, np.abs(b) + 0.5) for a, b in BROADCASTS)
TIED: tuple[Arrays, ...] = ((TIES, TIES[:, ::-1].copy()), (TIES, np.array(2.0)), (TIES[:, :1], TIES))

BINARY = (
    Pair("add", cr.add, torch.add, BROADCASTS), Pair("subtract", cr.subtract, torch.sub, BROADCASTS),
    Pair("multiply", cr.multiply, torch.mul, BROADCASTS), Pair("divide", cr.divide, torch.div, ABOVE_ZERO),
    Pair("power", cr.power, torch.pow, ABOVE_ZERO), Pair("arctan2", cr.arctan2, torch.arctan2, ABOVE_ZERO),
    Pair("maximum", cr.maximum, torch.maximum, (*BROADCASTS, *TIED)),
    Pair("minimum", cr.minimum, torch.minimum, (*BROADCASTS, *TIED)),
    Pair("fmod", cr.fmod, torch.fmod, ABOVE_ZERO), Pair("remainder", cr.remainder, torch.remainder, ABOVE_ZERO),
    Pair("where", lambda a, b: cr.where(a > b, a, b * b), lambda a, b: torch.where(a > b, a, b * b), BROADCASTS),
    Pair("clip", lambda x: cr.clip(x, -1.0, 2.5), lambda x: torch.clip(x, -1.0, 2.5), ANY),
    Pair("clip by tensors", cr.clip, torch.clip, ((KINKS, KINKS - 1, KINKS + 1), (KINKS, KINKS, KINKS + 1),
         (KINKS, KINKS - 1, KINKS), (KINKS, KINKS, KINKS))),
    Pair("power 2", lambda x: x**2, lambda x: x**2, ANY), Pair("power 3", lambda x: x**3, lambda x: x**3, ANY),
    Pair("power 0.5", lambda x: x**0.5, lambda x: x**0.5, POSITIVE),
    Pair("power 0", lambda x: x**0 * x, lambda x: x**0 * x, ANY),
)  # fmt: skip

AXES: tuple[Any, ...] = (None, 0, -1, (0, -1))
CUBE: tuple[Arrays, ...] = ((n(2, 3, 4),), (n(2, 1, 4),))
TIED_CUBE: tuple[Arrays, ...] = (*CUBE, (np.stack([TIES, TIES * 0]),))


def reduced(name: str, theirs: Callable[[Any, Any, bool], Any], samples: tuple[Arrays, ...] = CUBE,
            axes: tuple[Any, ...] = AXES) -> list[Pair]:  # fmt: skip
    ours = getattr(cr, name)
    every = tuple(range(3))
    return [Pair(f"{name} axis={axis} keepdims={keep}", lambda x, axis=axis, keep=keep: ours(x, axis=axis,
         keepdims=keep),
                 lambda x, axis=axis, keep=keep: theirs(x, every if axis is None else axis, keep), samples)
            for axis in axes for keep in (False, True)]  # fmt: skip


def product_over(x: Any, axes: Any, keep: bool) -> Any:
    for axis in sorted((a % 3 for a in axes) if isinstance(axes, tuple) else [axes % 3], reverse=True):
        x = torch.prod(x, axis, keep)
    return x


ZEROS = n(2, 3, 4)
ZEROS[0, 1] = 0
ZEROS[1, 2, 3] = 0
REDUCED = (
    *reduced("sum", torch.sum, (*CUBE, (n(2, 0, 4),))), *reduced("mean", torch.mean),
    *reduced("prod", product_over, (*CUBE, (ZEROS,))),
    *reduced("max", torch.amax, TIED_CUBE), *reduced("min", torch.amin, TIED_CUBE),
    *reduced("logsumexp", torch.logsumexp, TIED_CUBE),
    *reduced("var", lambda x, a, k: torch.var(x, a, correction=0, keepdim=k)),
    *reduced("std", lambda x, a, k: torch.std(x, a, correction=0, keepdim=k), CUBE),
    *reduced("norm", lambda x, a, k: torch.linalg.vector_norm(x, 2, a, k)),
    Pair("var ddof=1", lambda x: cr.var(x, 1, ddof=1), lambda x: torch.var(x, 1, correction=1), ((n(3, 5),),)),
    Pair("norm 1", lambda x: cr.norm(x, 1, -1), lambda x: torch.linalg.vector_norm(x, 1, -1), (*CUBE, (TIES,))),
    Pair("norm of zeros", lambda x: cr.norm(x, 2, -1), lambda x: torch.linalg.vector_norm(x, 2, -1),
         ((TIES * 0,),), False),
    Pair("normalize", lambda x: cr.normalize(x, axis=1), lambda x: F.normalize(x, dim=1), CUBE),
    Pair("cumsum", lambda x: cr.cumsum(x, -2), lambda x: torch.cumsum(x, -2), (*CUBE, (n(0, 3, 2),))),
    Pair("cumprod", lambda x: cr.cumprod(x, 1), lambda x: torch.cumprod(x, 1), CUBE),
    Pair("cumprod with zeros", lambda x: cr.cumprod(x, 1), lambda x: torch.cumprod(x, 1), ((ZEROS,),), False),
    Pair("sum of 0-d", lambda x: cr.sum(x), torch.sum, ((n(),),)),
    *(Pair(f"{f} {axis}", lambda x, f=f, axis=axis: getattr(cr, f)(x, axis), lambda x, f=f,
         axis=axis: getattr(F, f)(x, axis),
           (*TIED_CUBE, (n(2, 0, 3),))) for f in ("softmax", "log_softmax", "softmin") for axis in (-1, 1)),
    Pair("glu", lambda x: cr.glu(x, -1), lambda x: F.glu(x, -1), CUBE),
)  # fmt: skip

REPEATED = np.array([[0, 2, 2], [1, 1, 1]])
SHAPED = (
    Pair("reshape", lambda x: cr.reshape(x, 4, -1), lambda x: x.reshape(4, -1), CUBE),
    Pair("transpose", lambda x: cr.transpose(x, (2, 0, 1)), lambda x: x.permute(2, 0, 1), CUBE),
    Pair("swapaxes", lambda x: cr.swapaxes(x, -1, 0), lambda x: x.swapaxes(-1, 0), CUBE),
    Pair("moveaxis", lambda x: cr.moveaxis(x, 0, -1), lambda x: x.moveaxis(0, -1), CUBE),
    Pair("squeeze", lambda x: cr.squeeze(x, 1), lambda x: x.squeeze(1), ((n(2, 1, 4),),)),
    Pair("broadcast_to", lambda x: cr.broadcast_to(x, (3, 2, 5, 4)), lambda x: x.expand(3, 2, 5, 4), ((n(2, 1, 4),),)),
    Pair("flip", lambda x: cr.flip(x, (0, -1)), lambda x: x.flip((0, -1)), CUBE),
    Pair("roll", lambda x: cr.roll(x, (1, -2), (0, 2)), lambda x: x.roll((1, -2), (0, 2)), CUBE),
    Pair("tile", lambda x: cr.tile(x, (2, 1, 3)), lambda x: x.repeat(2, 1, 3), CUBE),
    Pair("repeat", lambda x: cr.repeat(x, 3, 1), lambda x: x.repeat_interleave(3, 1), CUBE),
    Pair("concatenate", lambda x, y: cr.concatenate([x, y, x], -1), lambda x, y: torch.cat([x, y, x], -1),
         ((n(2, 3), n(2, 1)), (n(2, 3), n(2, 0)))),
    Pair("stack", lambda x, y: cr.stack([x, y], -1), lambda x, y: torch.stack([x, y], -1), ((n(2, 3), n(2, 3,
         seed=1)),)),
    Pair("slices", lambda x: x[:, ::2, -3:-1], lambda x: x[:, ::2, -3:-1], CUBE),
    Pair("diagonal", lambda x: cr.diagonal(x, 1, 1, 2), lambda x: x.diagonal(1, 1, 2), CUBE[:1]),
    Pair("triu", lambda x: cr.triu(x, -1), lambda x: x.triu(-1), CUBE[:1]),
    Pair("tril", lambda x: cr.tril(x, 1), lambda x: x.tril(1), CUBE[:1]),
    Pair("take", lambda x, i: cr.take(x, i, 1), lambda x, i: x[:, i], ((n(2, 3, 4), REPEATED), (n(2, 3),
         REPEATED[0, :0]))),
    Pair("take_along_axis", lambda x, i: cr.take_along_axis(x, i, 1), lambda x, i: x.gather(1, i), ((n(2, 3),
         REPEATED),)),
    Pair("scatter_add", lambda x, i, s: cr.scatter_add(x, i, s, 1), lambda x, i, s: x.scatter_add(1, i, s),
         ((n(2, 3), REPEATED, n(2, 3, seed=1)),)),
    Pair("scatter", lambda x, i, s: cr.scatter(x, i, s, 1), lambda x, i, s: x.scatter(1, i, s),
         ((n(2, 3), np.array([[0, 2, 1], [2, 0, 1]]), n(2, 3, seed=1)),)),
    Pair("embedding", lambda i, w: cr.embedding(i, w), lambda i, w: F.embedding(i, w), ((REPEATED, n(4, 3)),)),
    Pair("embedding padding", lambda i, w: cr.embedding(i, w, 1), lambda i, w: F.embedding(i, w, 1),
         ((REPEATED, n(4, 3)),)),
    Pair("sort", lambda x: cr.sort(x, -1), lambda x: x.sort(dim=-1, stable=True).values, (*CUBE, (TIES,))),
    Pair("sort descending", lambda x: cr.sort(x, 0, descending=True),
         lambda x: x.sort(dim=0, stable=True, descending=True).values, CUBE),
    Pair("top_k", lambda x: cr.top_k(x, 2)[0], lambda x: x.topk(2).values, CUBE[:1]),
    Pair("pad", lambda x: cr.pad(x, ((0, 0), (1, 2), (2, 0))), lambda x: F.pad(x, (2, 0, 1, 2)), CUBE),
    Pair("negative pad", lambda x: cr.pad(x, ((0, 0), (-1, 2), (1, -2))), lambda x: F.pad(x, (1, -2, -1, 2)), CUBE[:1]),
    *(Pair(f"pad {mode}", lambda x, mode=mode: cr.pad(x, ((0, 0), (0, 0), (1, 2), (2, 1)), mode=mode),
           lambda x, other=other: F.pad(x, (2, 1, 1, 2), mode=other), ((n(2, 1, 3, 4),),))
      for mode, other in (("reflect", "reflect"), ("edge", "replicate"), ("wrap", "circular"))),
)  # fmt: skip

PRODUCTS = (
    Pair("matmul", cr.matmul, torch.matmul, (
        (n(3, 4), n(4, 5)), (n(4), n(4, 5)), (n(3, 4), n(4)), (n(4), n(4, seed=1)), (n(2, 1, 3, 4), n(5, 4, 2)),
        (n(0, 4), n(4, 2)), (n(3, 0), n(0, 2)), (n(1, 3, 4), n(2, 4, 1)))),
    Pair("outer", cr.outer, torch.outer, ((n(3), n(4)),)),
    Pair("linear", cr.linear, F.linear, ((n(2, 3, 4), n(5, 4), n(5)), (n(4), n(5, 4), n(5)), (n(0, 4), n(5, 4), n(5)))),
    Pair("bilinear", cr.bilinear, F.bilinear, ((n(2, 3), n(2, 4), n(5, 3, 4), n(5)),)),
    Pair("tensordot", lambda x, y: cr.tensordot(x, y, 2), lambda x, y: torch.tensordot(x, y, 2), ((n(2, 3, 4),
         n(3, 4, 5)),)),
    *(Pair(f"einsum {e}", lambda *x, e=e: cr.einsum(e, *x), lambda *x, e=e: torch.einsum(e, *x), (s,)) for e, s in (
        ("ij,jk->ik", (n(2, 3), n(3, 4))), ("bij,bkj->bik", (n(2, 3, 4), n(2, 5, 4))), ("ii->i", (n(3, 3),)),
        ("ij->j", (n(2, 3),)), ("ij,ij->", (n(2, 3), n(2, 3, seed=1))), ("...i,ij->...j", (n(2, 1, 3), n(3, 4))),
        ("a,b->ab", (n(3), n(4))), ("abc,cd,de->abe", (n(2, 3, 4), n(4, 5), n(5, 2))))),
)  # fmt: skip


def spatial(dims: int, *lead: int, size: int = 6) -> np.ndarray:
    return n(*lead, *(size + i for i in range(dims)))


def convolutions() -> list[Pair]:
    cases: tuple[dict[str, Any], ...] = (
        {}, {"stride": 2, "padding": 1}, {"padding": 2, "dilation": 2}, {"groups": 2, "padding": 1},
        {"groups": 4, "stride": 2}, {"padding": "same"},
    )  # fmt: skip
    made = []
    for dims in (1, 2, 3):
        ours, theirs = getattr(cr, f"conv{dims}d"), getattr(F, f"conv{dims}d")
        for case in cases:
            g = case.get("groups", 1)
            sample = (spatial(dims, 2, 4), n(4, 4 // g, *(3,) * dims), n(4))
            made.append(Pair(f"conv{dims}d {case}", lambda x, w, b, f=ours, o=case: f(x, w, b, **o),
                             lambda x, w, b, f=theirs, o=case: f(x, w, b, **o), (sample,)))  # fmt: skip
        ours, theirs = getattr(cr, f"conv_transpose{dims}d"), getattr(F, f"conv_transpose{dims}d")
        for case in ({}, {"stride": 2, "padding": 1, "output_padding": 1}, {"stride": 3, "output_padding": 2,
             "groups": 2},
                     {"dilation": 2, "padding": 1}):  # fmt: skip
            g = case.get("groups", 1)
            sample = (spatial(dims, 2, 4, size=3), n(4, 6 // g, *(3,) * dims), n(6))
            made.append(Pair(f"conv_transpose{dims}d {case}", lambda x, w, b, f=ours, o=case: f(x, w, b, **o),
                             lambda x, w, b, f=theirs, o=case: f(x, w, b, **o), (sample,)))  # fmt: skip
    empty = (np.zeros((0, 4, 6, 6)), n(2, 4, 3, 3), n(2))
    return [*made, Pair("conv2d of no images", cr.conv2d, F.conv2d, (empty,), False)]


def pools() -> list[Pair]:
    made = []
    for dims in (1, 2, 3):
        tied = np.round(spatial(dims, 2, 3))
        for case in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 2,
             "ceil_mode": True},
                     {"kernel_size": 3, "stride": 2, "ceil_mode": True, "padding": 1}, {"kernel_size": 2,
                          "dilation": 2},
                     {"kernel_size": 3, "stride": 1}):  # fmt: skip
            ours, theirs = getattr(cr, f"max_pool{dims}d"), getattr(F, f"max_pool{dims}d")
            made.append(Pair(f"max_pool{dims}d {case}", lambda x, f=ours, o=case: f(x, **o),
                             lambda x, f=theirs, o=case: f(x, **o), ((spatial(dims, 2, 3),), (tied,))))  # fmt: skip
        for case in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 2,
             "ceil_mode": True},
                     {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True,
                          "count_include_pad": False}):  # fmt: skip
            ours, theirs = getattr(cr, f"avg_pool{dims}d"), getattr(F, f"avg_pool{dims}d")
            made.append(Pair(f"avg_pool{dims}d {case}", lambda x, f=ours, o=case: f(x, **o),
                             lambda x, f=theirs, o=case: f(x, **o), ((spatial(dims, 2, 3),),)))  # fmt: skip
        for size in (1, 3, 6):
            for kind in ("avg", "max"):
                name = f"adaptive_{kind}_pool{dims}d"
                ours, theirs = getattr(cr, name), getattr(F, name)
                made.append(Pair(f"{name} {size}", lambda x, f=ours, s=size: f(x, s),
                                 lambda x, f=theirs, s=size: f(x, s), ((spatial(dims, 2, 3),),)))  # fmt: skip
    return made


def norms() -> list[Pair]:
    w, b = u(0.5, 2, 4), n(4)
    return [
        Pair("layer_norm", lambda x, w, b: cr.layer_norm(x, (4,), w, b), lambda x, w, b: F.layer_norm(x, (4,), w, b),
             ((n(2, 3, 4), w, b), (n(0, 4), w, b))),
        Pair("rms_norm", lambda x, w: cr.rms_norm(x, (4,), w, eps=1e-5), lambda x, w: F.rms_norm(x, (4,), w, eps=1e-5),
             ((n(2, 3, 4), w),)),
        Pair("group_norm", lambda x, w, b: cr.group_norm(x, 2, w, b), lambda x, w, b: F.group_norm(x, 2, w, b),
             ((n(2, 4, 3, 5), w, b), (n(2, 4), w, b))),
        Pair("instance_norm", lambda x, w, b: cr.instance_norm(x, w, b),
             lambda x, w, b: F.instance_norm(x, weight=w, bias=b), ((n(2, 4, 3, 5), w, b),)),
        Pair("local_response_norm", lambda x: cr.local_response_norm(x, 3), lambda x: F.local_response_norm(x, 3),
             ((n(2, 4, 3, 5),),)),
        Pair("prelu", cr.prelu, F.prelu, ((n(2, 4, 3), u(0.1, 1, 4)),)),
        Pair("prelu at its kink", cr.prelu, F.prelu, ((np.zeros((2, 4)), u(0.1, 1, 4)),), False),
        *(Pair(f"interpolate {mode} {o}", lambda x, mode=mode, o=o: cr.interpolate(x, mode=mode, **o),
               lambda x, mode=mode, o=o: F.interpolate(x, mode=mode, **o), ((n(2, 3, 4, 5),),))
          for mode, o in (("nearest", {"scale_factor": 2}), ("nearest", {"size": (3, 7)}),
                          ("bilinear", {"size": (7, 3), "align_corners": False}),
                          ("bilinear", {"size": (8, 9), "align_corners": True}))),
        Pair("pixel_shuffle", lambda x: cr.pixel_shuffle(x, 2), lambda x: F.pixel_shuffle(x, 2), ((n(2, 8, 3, 2),),)),
        Pair("pixel_unshuffle", lambda x: cr.pixel_unshuffle(x, 2), lambda x: F.pixel_unshuffle(x, 2), ((n(2,
             2, 4, 6),),)),
    ]  # fmt: skip


LABELS, IGNORED = np.array([2, 0, 1, 1]), np.array([2, -100, 1, -100])
MAPS = np.array([[[0, 1], [2, 2]], [[1, -100], [0, 0]]])
SIGNS = np.array([1.0, -1.0, -1.0, 1.0])
REDUCTIONS = ("mean", "sum", "none")


def losses() -> list[Pair]:
    made: list[Pair] = []

    def add(name: str, samples: tuple[Arrays, ...], second: bool = True, fixed: ND = (), **options: Any) -> None:
        ours, theirs = getattr(cr, name), getattr(F, name)
        for reduction in REDUCTIONS:
            o = {**options, "reduction": reduction}
            made.append(Pair(f"{name} {options} {reduction}", lambda *x, o=o: ours(*x, **o),
                             lambda *x, o=o: theirs(*x, **o), samples, second, fixed))  # fmt: skip

    logits, pair = n(4, 3), ((n(4, 3), n(4, 3, seed=1)), (n(0, 3), n(0, 3)), (n(), n(seed=1)))
    kinks = ((KINKS, KINKS * 0),)
    add("cross_entropy", ((logits, LABELS), (logits, IGNORED), (n(2, 3, 2, 2), MAPS), (n(3), np.array(1))))
    add("cross_entropy", ((logits, LABELS, u(0.5, 2, 3)), (logits, IGNORED, u(0.5, 2, 3))), fixed=(2,))
    add("cross_entropy", ((logits, LABELS), (logits, IGNORED, u(0.5, 2, 3))), fixed=(2,), label_smoothing=0.1)
    add("cross_entropy", ((logits, LABELS),), ignore_index=1)
    add("cross_entropy", ((logits, np.abs(n(4, 3, seed=2))),))
    add("nll_loss", ((logits, LABELS), (logits, IGNORED), (n(2, 3, 2, 2), MAPS), (logits, LABELS, u(0.5, 2,
         3))), fixed=(2,))
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        add(name, pair)
        add(name, kinks, second=False)
    add("huber_loss", pair, delta=0.3)
    add("smooth_l1_loss", pair, beta=0.3)
    shares = (u(0.05, 0.95, 4, 3), u(0, 1, 4, 3, seed=1))
    add("binary_cross_entropy", (shares, (*shares, u(0.5, 2, 4, 3))), fixed=(2,))
    add("binary_cross_entropy_with_logits", fixed=(2,), samples=(
        (logits, shares[1]), (logits, shares[1], u(0.5, 2, 4, 3)), (KINKS * 20, KINKS * 0)))
    made += [Pair(f"pos_weight {r}", lambda x, y, p, r=r: cr.binary_cross_entropy_with_logits(x, y,
         pos_weight=p, reduction=r),
                  lambda x, y, p, r=r: F.binary_cross_entropy_with_logits(x, y, pos_weight=p, reduction=r),
                  ((logits, shares[1], u(0.5, 2, 3)),), fixed=(2,)) for r in REDUCTIONS]  # fmt: skip
    add("kl_div", ((np.log(shares[0]), shares[1]), (np.log(shares[0]), shares[1] * (shares[1] > 0.5))), fixed=(1,))
    add("kl_div", ((np.log(shares[0]), np.log(shares[1])),), log_target=True)
    add("hinge_embedding_loss", ((n(4), SIGNS), (np.array([1.0, 1.0, 2.0, 0.0]), SIGNS)), fixed=(1,))
    add("margin_ranking_loss", ((n(4), n(4, seed=1), SIGNS), (np.zeros(4), np.zeros(4), SIGNS), (np.zeros(4),
         -SIGNS / 2, SIGNS)), margin=0.5)
    add("cosine_embedding_loss", ((n(4, 3), n(4, 3, seed=1), SIGNS),), margin=0.2)
    add("triplet_margin_loss", ((n(4, 3), n(4, 3, seed=1), n(4, 3, seed=2)),))
    add("triplet_margin_loss", ((n(4, 3), n(4, 3, seed=1), n(4, 3, seed=2)),), swap=True, p=3.0)
    add("gaussian_nll_loss", ((n(4, 3), n(4, 3, seed=1), u(0.1, 2, 4, 3)),), full=True)
    add("poisson_nll_loss", ((n(4, 3), u(0, 3, 4, 3)),))
    add("poisson_nll_loss", ((u(0.1, 2, 4, 3), u(0, 3, 4, 3)),), log_input=False)
    made += [Pair(f"ctc_loss {r}", lambda x, *y, r=r: cr.ctc_loss(cr.log_softmax(x, -1), *y, reduction=r),
                  lambda x, *y, r=r: F.ctc_loss(F.log_softmax(x, -1), *y, reduction=r),
                  ((n(7, 3, 4), np.array([[1, 2, 2], [3, 0, 0], [1, 1, 0]]), np.array([7, 4, 5]),
                    np.array([3, 1, 2])),),
                  second=False) for r in REDUCTIONS]  # fmt: skip
    add("soft_margin_loss", ((n(4), SIGNS), (np.zeros(4), SIGNS)), fixed=(1,))
    return made


PAIRS: tuple[Pair, ...] = (*UNARY, *at_kinks(UNARY), *BINARY, *at_kinks(BINARY), *REDUCED, *SHAPED, *PRODUCTS,
     *convolutions(), *pools(), *norms(), *losses())
