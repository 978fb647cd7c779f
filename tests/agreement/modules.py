"""The layers and losses that PyTorch has too, each with calls: those of PyTorch's own table, and ours for the rest."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from chainrule import nn
from tests.agreement.torch_tables import MODULES

NOT_COMPARED: Mapping[str, str] = {
    "CTCLoss": "PyTorch's gradient is that by scores before log_softmax, whatever it is given: compared as a function",
    "Module": "computes nothing",
    "ModuleDict": "is not called",
    "ModuleList": "is not called",
}
BOTH = frozenset(f"AdaptiveMaxPool{rank}d" for rank in (1, 2, 3))  # PyTorch's calls, and ours that ask for places
CONSTANT_TARGETS: Mapping[str, str] = {
    "SoftMarginLoss": "PyTorch does not differentiate by its target",
    "PoissonNLLLoss": "PyTorch's Stirling term has a gradient of NaN by targets below 0, where the term is 0",
}

@dataclass(frozen=True)
class Case:
    """One module in one call. make: the module of PyTorch's torch.nn or of ours; tensors come as that library takes
    them.
    """

    name: str
    make: Callable[[Any], Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])


def cases(name: str, training: bool) -> list[Case]:
    """The calls that one layer is compared in."""
    own = [Case(name, make, args) for make, args in OWN.get(name, ())]
    if own and name not in BOTH:
        return own
    info = INFOS[name]
    torch.manual_seed(0)
    calls = info.module_inputs_func(info, "cpu", torch.float64, True, training=training)
    return [*own, *(_case(info.module_cls, call.constructor_input, call.forward_input) for call in calls
            if call.forward_input is not None
            and not _left_out(info.module_cls, call.constructor_input, call.forward_input))]  # fmt: skip


def _case(kind: type[Any], made: Any, call: Any) -> Case:
    def make(library: Any) -> Any:
        convert = _double if library is torch.nn else _arrays
        options = {k: convert(v) for k, v in made.kwargs.items() if k != "device"}
        return getattr(library, kind.__name__)(*map(convert, made.args), **options)

    return Case(kind.__name__, make, tuple(call.args), call.kwargs)


def _left_out(kind: type[Any], made: Any, call: Any) -> bool:
    """True for a call that has no counterpart here: arguments that are not built, functions of PyTorch's as arguments,
    rows of no elements or without a batch where these are refused.
    """
    given = dict(zip(list(inspect.signature(kind.__init__).parameters)[1:], made.args)) | made.kwargs
    tensors = [a for a in (*call.args, *call.kwargs.values()) if isinstance(a, torch.Tensor)]
    scalar = tensors[0].ndim == 0
    return (any(isinstance(v, types.FunctionType | types.BuiltinFunctionType) for v in given.values())
            or (scalar and (kind.__name__.startswith(("Soft", "LogSoftmax")) or given.get("reduction") == "batchmean")))


def _arrays(value: Any) -> Any:
    return value.numpy(force=True) if isinstance(value, torch.Tensor) else value


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def in_both() -> Iterator[str]:
    """The classes of chainrule.nn that torch.nn has under the same name."""
    for name in nn.__all__:
        theirs = getattr(torch.nn, name, None)
        if isinstance(theirs, type) and issubclass(theirs, torch.nn.Module):
            yield name


def x(*shape: int, seed: int = 0) -> Any:
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape))


INFOS: dict[str, Any] = {info.module_cls.__name__: info for info in MODULES
                         if info.module_cls.__module__.startswith("torch.nn.modules")}  # fmt: skip

def labels(*rows: Any) -> Any:
    return torch.tensor(rows if len(rows) > 1 else rows[0])


def pooled(rank: int, *options: Any, size: int = 4, more: int = 2) -> tuple[Any, ...]:
    """A pool's maxima and their places."""
    pool = getattr(torch.nn.functional, f"max_pool{rank}d")
    return pool(x(2, 3, *(size + more * i for i in range(rank))), *options, return_indices=True)


def samples(library: Any, *shape: int) -> Any:
    """Numbers in [0, 1), as a library takes them."""
    drawn = torch.tensor(np.random.default_rng(0).random(shape))
    return drawn if library is torch.nn else drawn.numpy()


Calls = tuple[tuple[Callable[[Any], Any], tuple[Any, ...]], ...]
OWN: Mapping[str, Calls] = {
    **{f"AdaptiveMaxPool{rank}d": (
        (lambda nn, rank=rank: getattr(nn, f"AdaptiveMaxPool{rank}d")(3, return_indices=True),
         (x(2, 3, *(7,) * rank),)),
        (lambda nn, rank=rank: getattr(nn, f"AdaptiveMaxPool{rank}d")(2), (x(3, *(4,) * rank),)))
       for rank in (1, 2, 3)},
    "AdaptiveLogSoftmaxWithLoss": (
        (lambda nn: nn.AdaptiveLogSoftmaxWithLoss(16, 12, [3, 7]), (x(5, 16), labels([0, 2, 3, 8, 11]))),
        (lambda nn: nn.AdaptiveLogSoftmaxWithLoss(8, 5, [4], 2.0, head_bias=True), (x(8), torch.tensor(4)))),
    **{f"FractionalMaxPool{rank}d": (
        (lambda nn, rank=rank: getattr(nn, f"FractionalMaxPool{rank}d")(
            2, 3, return_indices=True, _random_samples=samples(nn, 2, 3, rank)), (x(2, 3, *(7,) * rank),)),
        (lambda nn, rank=rank: getattr(nn, f"FractionalMaxPool{rank}d")(
            (3, 2, 1)[:rank], output_ratio=0.6, _random_samples=samples(nn, 1, 2, rank)),
         (x(2, *(6 + 2 * i for i in range(rank))),))) for rank in (2, 3)},
    "AlphaDropout": ((lambda nn: nn.AlphaDropout(0.0), (x(2, 3),)), (lambda nn: nn.AlphaDropout(1.0), (x(2, 3),))),
    "CosineSimilarity": ((lambda nn: nn.CosineSimilarity(), (x(4, 3), x(4, 3, seed=1))),
                         (lambda nn: nn.CosineSimilarity(-1, 1e-3), (x(2, 1, 3), x(4, 3, seed=1))),
                         (lambda nn: nn.CosineSimilarity(0), (x(3), 0 * x(3)))),
    "CircularPad3d": ((lambda nn: nn.CircularPad3d((1, 2, 0, 1, 1, 0)), (x(1, 2, 2, 2, 3),)),),
    "EmbeddingBag": tuple((lambda nn, mode=mode, o=o: nn.EmbeddingBag(5, 3, mode=mode, **o), call)
                          for mode in ("mean", "sum", "max") for o, call in (
        ({}, (labels([0, 4, 4], [1, 0, 2]),)), ({"padding_idx": 4}, (labels([0, 4, 4], [4, 4, 4]),)),
        ({}, (labels([0, 4, 4, 1, 2]), labels([0, 2, 2, 5]))),
        ({"padding_idx": -1}, (labels([0, 4, 4]), labels([0]))),
        ({"include_last_offset": True}, (labels([0, 4, 4, 1]), labels([0, 0, 3, 4]))),
        *((({}, (labels([0, 4, 4, 1]), labels([0, 3]), x(4))), ({}, (labels([0, 4], [1, 1]), None, x(2, 2))))
          if mode == "sum" else ()))),
    "FeatureAlphaDropout": ((lambda nn: nn.FeatureAlphaDropout(0.0), (x(2, 3, 4),)),),
    "Fold": ((lambda nn: nn.Fold((4, 5), (2, 3)), (x(2, 12, 9),)),
             (lambda nn: nn.Fold(5, 3, dilation=2, padding=1, stride=2), (x(1, 18, 4),))),
    "Unfold": ((lambda nn: nn.Unfold((2, 3)), (x(2, 2, 4, 5),)), (lambda nn: nn.Unfold(1), (x(1, 2, 1, 3),)),
               (lambda nn: nn.Unfold(3, dilation=2, padding=(1, 2), stride=(2, 1)), (x(1, 2, 5, 4),))),
    **{f"LPPool{rank}d": ((lambda nn, rank=rank: getattr(nn, f"LPPool{rank}d")(2, 2), (x(2, 3, *(5,) * rank),)),
                          (lambda nn, rank=rank: getattr(nn, f"LPPool{rank}d")(3, 3, 2, ceil_mode=True),
                           (x(1, 2, *(6,) * rank).abs(),))) for rank in (1, 2, 3)},
    **{f"MaxUnpool{rank}d": (
        (lambda nn, rank=rank: getattr(nn, f"MaxUnpool{rank}d")(2), pooled(rank, 2)),
        (lambda nn, rank=rank: getattr(nn, f"MaxUnpool{rank}d")(3, 3, 1), pooled(rank, 3, 3, 1, size=7, more=3)),
        (lambda nn, rank=rank: getattr(nn, f"MaxUnpool{rank}d")(2),
         (*pooled(rank, 2, size=5), [5 + 2 * i for i in range(rank)])))
       for rank in (1, 2, 3)},
    "MultiLabelMarginLoss": tuple((lambda nn, r=r: nn.MultiLabelMarginLoss(reduction=r), call)
                                  for r in ("mean", "sum", "none") for call in (
        (x(3, 4), labels([3, 0, -1, 1], [-1, 2, 2, 2], [0, 1, 2, 3])), (x(4), labels([1, -1, 0, -1])))),
    "MultiLabelSoftMarginLoss": ((lambda nn: nn.MultiLabelSoftMarginLoss(), (x(3, 4), x(3, 4, seed=1).sigmoid())),
                                 (lambda nn: nn.MultiLabelSoftMarginLoss(reduction="none"), (50 * x(4), x(4))),),
    "MultiMarginLoss": tuple((lambda nn, o=o: nn.MultiMarginLoss(**o), call) for o, call in (
        ({}, (x(3, 4), labels([3, 0, 0]))),
        ({"p": 2, "margin": 0.5, "reduction": "none"}, (x(3, 4), labels([3, 0, 1]))),
        ({"reduction": "sum"}, (0 * x(2, 3), labels([2, 0]))), ({}, (x(4), torch.tensor(2))))),
    "PairwiseDistance": ((lambda nn: nn.PairwiseDistance(), (x(4, 3), x(4, 3, seed=1))),
                         (lambda nn: nn.PairwiseDistance(1.0, keepdim=True), (x(2, 1, 3), x(4, 3, seed=1))),
                         (lambda nn: nn.PairwiseDistance(3.0, 1e-3), (x(3), x(3))),
                         (lambda nn: nn.PairwiseDistance(float("inf")), (x(2, 3), x(2, 3, seed=1)))),
    "RReLU": ((lambda nn: nn.RReLU(0.25, 0.25), (x(3, 4),)), (lambda nn: nn.RReLU(1.0, 1.0), (x(),))),
    "Softmax2d": ((lambda nn: nn.Softmax2d(), (x(2, 3, 2, 1),)), (lambda nn: nn.Softmax2d(), (x(3, 2, 2),))),
    "TripletMarginWithDistanceLoss": tuple((lambda nn, o=o: nn.TripletMarginWithDistanceLoss(**o), call)
                                           for o, call in (
        ({}, (x(4, 3), x(4, 3, seed=1), x(4, 3, seed=2))), ({"swap": True, "margin": 0.2, "reduction": "none"},
                                                            (x(4, 3), x(4, 3, seed=1), x(4, 3, seed=2))),
        ({"distance_function": lambda a, b: abs(a - b).sum(-1), "reduction": "sum"},
         (x(4, 3), x(4, 3, seed=1), x(4, 3, seed=2))))),
    "UpsamplingBilinear2d": ((lambda nn: nn.UpsamplingBilinear2d((5, 2)), (x(1, 2, 3, 4),)),
                             (lambda nn: nn.UpsamplingBilinear2d(scale_factor=2), (x(1, 2, 3, 1),))),
    "UpsamplingNearest2d": ((lambda nn: nn.UpsamplingNearest2d((5, 2)), (x(1, 2, 3, 4),)),
                            (lambda nn: nn.UpsamplingNearest2d(scale_factor=2), (x(1, 2, 3, 1),))),
    "ChannelShuffle": ((lambda nn: nn.ChannelShuffle(3), (x(2, 6, 3, 1),)),),
    "Dropout": ((lambda nn: nn.Dropout(0.0), (x(2, 3),)), (lambda nn: nn.Dropout(1.0), (x(2, 3),))),
    "Dropout1d": ((lambda nn: nn.Dropout1d(0.0), (x(2, 3, 4),)),),
    "Dropout2d": ((lambda nn: nn.Dropout2d(0.0), (x(2, 3, 4, 4),)),),
    "Dropout3d": ((lambda nn: nn.Dropout3d(0.0), (x(2, 3, 2, 2, 2),)),),
    "Flatten": ((lambda nn: nn.Flatten(), (x(2, 3, 1, 4),)), (lambda nn: nn.Flatten(0, -2), (x(2, 3, 4),)),
                (lambda nn: nn.Flatten(0), (x(),))),
    "Hardsigmoid": ((lambda nn: nn.Hardsigmoid(), (4 * x(3, 5),)), (lambda nn: nn.Hardsigmoid(), (x(),))),
    "Identity": ((lambda nn: nn.Identity(3, unused=True), (x(2, 3),)),),
    "PixelShuffle": ((lambda nn: nn.PixelShuffle(2), (x(2, 8, 3, 1),)),
                     (lambda nn: nn.PixelShuffle(3), (x(1, 9, 2, 2),))),
    "PixelUnshuffle": ((lambda nn: nn.PixelUnshuffle(2), (x(2, 3, 4, 2),)),),
    "Sequential": ((lambda nn: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), (x(5, 3),)),
                   (lambda nn: nn.Sequential(), (x(5, 3),))),
    "TransformerDecoder": ((lambda nn: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, 0.0), 2),
                            (x(5, 2, 8), x(4, 2, 8, seed=1))),),
    "TransformerEncoder": ((lambda nn: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.0), 2),
                            (x(5, 2, 8),)),),
    "TripletMarginLoss": ((lambda nn: nn.TripletMarginLoss(), (x(4, 3), x(4, 3, seed=1), x(4, 3, seed=2))),
                          (lambda nn: nn.TripletMarginLoss(0.5, 1.0, swap=True, reduction="none"),
                           (x(4, 3), x(4, 3, seed=1), x(4, 3, seed=2))),
                          (lambda nn: nn.TripletMarginLoss(), (x(3), x(3, seed=1), x(3, seed=2)))),
    "Unflatten": ((lambda nn: nn.Unflatten(1, (2, 3)), (x(2, 6, 4),)),
                  (lambda nn: nn.Unflatten(-1, (2, -1)), (x(2, 6),))),
    "Upsample": ((lambda nn: nn.Upsample(scale_factor=2), (x(1, 2, 3),)),
                 (lambda nn: nn.Upsample((5, 2), mode="bilinear"), (x(1, 2, 3, 4),)),
                 (lambda nn: nn.Upsample((5, 2), mode="bicubic"), (x(1, 2, 3, 4),)),
                 (lambda nn: nn.Upsample(scale_factor=1.7, mode="bicubic", recompute_scale_factor=True),
                  (x(1, 2, 3, 4),)),
                 (lambda nn: nn.Upsample((5, 7), mode="bilinear", align_corners=True), (x(1, 2, 3, 1),)),
                 (lambda nn: nn.Upsample(scale_factor=(1, 2, 1), mode="trilinear"), (x(1, 1, 2, 3, 2),))),
}  # fmt: skip
