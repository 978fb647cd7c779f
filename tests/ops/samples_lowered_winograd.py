"""Samples of ops/lowered_winograd.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.lowered import PackKernel
from chainrule.ops.lowered_winograd import WinogradConv, WinogradWeights
from chainrule.ops.lowered_winograd_grad import WinogradWeightGrad
from tests.ops.sample import BadSample, Sample, normal
from tests.ops.samples_elementwise import half

Array = np.ndarray
NAN, INF = np.float32(np.nan), np.float32(np.inf)


def packed(width: int, *shape: int, dtype: str = "float32") -> Array:
    """A packed kernel: of [O, C, *K]."""
    return np.ascontiguousarray(PackKernel(width).ref(normal(*shape, seed=1, dtype=dtype)))


def weights(tile: tuple[int, ...], width: int, *shape: int, dtype: str = "float32") -> Array:
    """Transformed weights: of [O, C, *K]."""
    return np.ascontiguousarray(WinogradWeights(shape[2:], tile).ref(packed(width, *shape, dtype=dtype)))


def conv(tile: tuple[int, ...], pad: int, sizes: tuple[int, ...], outs: int, ins: int, image: tuple[int, ...], *,
         taps: int = 3, width: int = 16, batch: int = 1, bias: bool = False, label: str = "",
         dtype: str = "float32") -> Sample:  # fmt: skip
    """A convolution with one number of taps and one pad on every axis."""
    kernel = (taps,) * len(tile)
    op = WinogradConv(kernel, tile, (pad,) * len(tile), outs, sizes)
    held = weights(tile, width, outs, ins, *kernel, dtype="float64" if dtype == "float64" else "float32")
    extra = (normal(outs, seed=2, dtype=dtype),) if bias else ()
    return Sample(op, (normal(batch, *image, ins, dtype=dtype), held, *extra), label)


def grad(tile: tuple[int, ...], pad: int, sizes: tuple[int, int], ins: int, outs: int, *, batch: int = 1,
         label: str = "", dtype: str = "float32") -> Sample:  # fmt: skip
    """The gradient of a 3x3 weight."""
    image = tuple(n + 2 - 2 * pad for n in sizes)
    op = WinogradWeightGrad((3, 3), tile, (pad, pad))
    dy = normal(batch, *sizes, outs, seed=3, dtype=dtype)
    return Sample(op, (normal(batch, *image, ins, dtype=dtype), dy), label)


def _special(*shape: int) -> Array:
    x = normal(*shape)
    x.flat[3], x.flat[11] = NAN, INF
    return x


SAMPLES: list[Sample] = [
    Sample(WinogradWeights((3, 3), (4, 4)), (packed(16, 20, 3, 3, 3),)),
    Sample(WinogradWeights((3, 3), (2, 2)), (packed(24, 20, 3, 3, 3),), "small tiles, two kinds of vectors"),
    Sample(WinogradWeights((5, 5), (4, 4)), (packed(8, 4, 3, 5, 5),), "five taps"),
    Sample(WinogradWeights((3,), (4,)), (packed(8, 4, 3, 3),), "1-d"),
    Sample(WinogradWeights((3, 3, 3), (1, 2, 2)), (packed(8, 4, 3, 3, 3, 3),), "3-d, depth tap by tap"),
    Sample(WinogradWeights((3, 3), (4, 4)), (packed(4, 5, 2, 3, 3, dtype="float64"),), "f64"),
    Sample(WinogradWeights((3, 3), (4, 4)), (packed(8, 5, 0, 3, 3),), "no channels"),
    conv((4, 4), 1, (9, 11), 20, 18, (9, 11), batch=2, bias=True, label="ragged channels and tiles, bias"),
    conv((2, 2), 1, (7, 7), 33, 16, (7, 7), width=32, label="two panels"),
    conv((4, 4), 0, (4, 4), 5, 3, (6, 6), label="one tile, no border"),
    conv((4, 4), 3, (6, 5), 5, 3, (2, 1), label="mostly border"),
    conv((4, 4), -1, (3, 4), 5, 3, (7, 8), label="cropped"),
    conv((2, 2), 2, (9, 8), 5, 3, (9, 8), taps=5, label="five taps, small tiles"),
    conv((4, 4), 2, (9, 8), 5, 3, (9, 8), taps=5, label="five taps"),
    conv((5, 5), 1, (11, 9), 20, 18, (10, 8), taps=2, bias=True, label="two taps, wide tiles"),
    conv((3, 3), 0, (7, 6), 5, 3, (8, 7), taps=2, label="two taps"),
    conv((3, 3), 1, (7, 6), 5, 12, (8, 7), taps=4, label="four taps"),
    conv((5, 5), 2, (7, 11), 5, 12, (6, 10), taps=4, label="four taps, wide tiles"),
    conv((2, 2), 3, (7, 6), 5, 3, (7, 6), taps=7, label="seven taps"),
    conv((4,), 1, (30,), 20, 9, (30,), batch=2, label="1-d"),
    conv((2,), 2, (7,), 20, 9, (7,), taps=5, label="1-d, five taps"),
    conv((1, 2, 2), 1, (3, 5, 4), 9, 5, (3, 5, 4), batch=2, bias=True, label="3-d, depth tap by tap"),
    conv((4, 4), 1, (5, 5), 40, 700, (5, 5), width=32, label="blocks of depth"),
    conv((4, 4), 1, (4, 4), 4, 3, (4, 4), batch=0, label="empty batch"),
    conv((4, 4), 1, (5, 5), 4, 3, (5, 5), dtype="float64", label="f64"),
    conv((2, 2), 1, (5, 5), 4, 3, (5, 5), dtype="float16", bias=True, label="f16"),
    grad((4, 4), 1, (8, 12), 16, 32, batch=2, label="of the weight"),
    grad((2, 2), 1, (6, 4), 48, 16, batch=3, label="of the weight, small tiles"),
    grad((4, 4), 0, (4, 4), 32, 80, label="of the weight, one tile, no border, two panels"),
    grad((4, 4), 1, (32, 32), 16, 16, batch=5, label="of the weight, blocks of depth"),
    grad((4, 4), 1, (4, 4), 208, 112, label="of the weight, segments, ragged panels"),
    grad((4, 4), 1, (4, 4), 16, 16, dtype="float64", label="of the weight, f64"),
    grad((2, 2), 1, (4, 4), 16, 16, dtype="float16", label="of the weight, f16"),
    Sample(WinogradConv((3, 3), (4, 4), (1, 1), 4, (8, 8)), (_special(1, 8, 8, 2), weights((4, 4), 8, 4, 2, 3, 3)),
           "NaN and infinity spread over their tile"),
    Sample(WinogradConv((3, 3), (2, 2), (1, 1), 4, (4, 4)), (half(normal(1, 4, 4, 2)), weights((2, 2), 8, 4, 2, 3, 3)),
           "bf16"),
]  # fmt: skip

IMAGE, PLAIN = tensor("f32", (1, 4, 4, 3)), WinogradConv((3, 3), (2, 2), (1, 1), 5, (4, 4))

BAD: list[BadSample] = [
    BadSample(WinogradWeights((3, 3), (3, 3)), (tensor("f32", (1, 1, 27, 8)),), ArgumentError, "no points for tiles"),
    BadSample(WinogradWeights((3, 3), (1, 1)), (tensor("f32", (1, 1, 27, 8)),), ArgumentError, "no axis of more than"),
    BadSample(WinogradWeights((3, 3), (2, 2)), (tensor("f32", (2, 1, 27, 8)),), ShapeError, "is not [1, P,"),
    BadSample(WinogradWeights((3, 3), (2, 2)), (tensor("f32", (1, 1, 26, 8)),), ShapeError, "is not [1, P,"),
    BadSample(PLAIN, (IMAGE,), ArgumentError, "2 or 3 inputs"),
    BadSample(PLAIN, (IMAGE, tensor("f32", (16, 1, 4, 8))), ShapeError, "does not hold 5 channels"),
    BadSample(PLAIN, (IMAGE, tensor("f32", (16, 1, 3, 8)), tensor("f32", (4,))), ShapeError, "bias is f32[4]"),
    BadSample(PLAIN, (tensor("f32", (4, 4, 3)), tensor("f32", (16, 1, 3, 8))), ShapeError, "x has 3 axes"),
    BadSample(WinogradWeightGrad((3, 3), (3, 3), (1, 1)), (tensor("f32", (1, 4, 4, 3)), tensor("f32", (1, 4, 4, 5))),
              ArgumentError, "no points for tiles"),
    BadSample(WinogradWeightGrad((3, 3), (4, 4), (1, 1)), (tensor("f32", (1, 6, 4, 3)), tensor("f32", (1, 6, 4, 5))),
              ShapeError, "do not cover"),
]
