"""Samples of ops/lowered.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.lowered import (
    ChannelConv,
    PackKernel,
    PackPanels,
    PanelConv,
    PanelMatMul,
    PoolLast,
    WeightGradLast,
)
from tests.ops.sample import BadSample, Sample, distinct, integers, normal
from tests.ops.samples_elementwise import half

Array = np.ndarray
NAN, INF = np.float32(np.nan), np.float32(np.inf)


def panels(width: int, *shape: int, dtype: str = "float32") -> Array:
    """Packed weights: the panels of a matrix [K, N]."""
    return np.ascontiguousarray(PackPanels(width).ref(normal(*shape, seed=1, dtype=dtype)))


def kernels(width: int, *shape: int, groups: int = 1, backward: bool = False, dtype: str = "float32") -> Array:
    """Packed weights of a convolution: of [O, C/groups, *K]."""
    return np.ascontiguousarray(PackKernel(width, groups, backward).ref(normal(*shape, seed=1, dtype=dtype)))


def channels(width: int, *shape: int) -> Array:
    """Packed weights of a depthwise convolution: of [C, 1, *K]."""
    return kernels(width, *shape)


def _pack() -> list[Sample]:
    return [
        Sample(PackPanels(4), (normal(3, 6),)),
        Sample(PackPanels(4, True), (normal(6, 3),), "transposed"),
        Sample(PackPanels(16, True), (normal(37, 35),), "transposed, blocks and rests both ways"),
        Sample(PackPanels(24), (normal(5, 50),), "two kinds of vectors"),
        Sample(PackPanels(8), (normal(2, 3, 9),), "two matrices"),
        Sample(PackPanels(8, True), (normal(2, 3, 1),), "transposed, one row"),
        Sample(PackPanels(8), (normal(5, 1),), "one column"),
        Sample(PackPanels(8), (normal(0, 5),), "no rows"),
        Sample(PackPanels(8, True), (normal(5, 0),), "transposed, no rows"),
        Sample(PackPanels(4), (normal(3, 6, dtype="float64"),), "f64"),
        Sample(PackPanels(4, True), (normal(6, 3, dtype="float16"),), "f16 widens"),
        Sample(PackPanels(4), (half(normal(3, 6)),), "bf16 widens"),
        Sample(PackPanels(4, True), (integers(-9, 9, 6, 3),), "int64"),
        Sample(PackKernel(8), (normal(5, 3, 2, 3),)),
        Sample(PackKernel(16, 2), (normal(36, 3, 3, 3),), "two groups"),
        Sample(PackKernel(8, 1, True), (normal(5, 11, 2, 3),), "backward"),
        Sample(PackKernel(8, 2, True), (normal(6, 4, 3),), "backward, two groups, 1-d"),
        Sample(PackKernel(16), (normal(20, 1, 3, 3),), "depthwise"),
        Sample(PackKernel(4, 1, True), (normal(2, 3, 2, 2, 2, dtype="float64"),), "backward, 3-d, f64"),
        Sample(PackKernel(8), (normal(3, 2, 2, dtype="float16"),), "f16 widens"),
    ]


def _product() -> list[Sample]:
    return [
        Sample(PanelMatMul(6), (normal(3, 5), panels(8, 5, 6))),
        Sample(PanelMatMul(6, True), (normal(5, 3), panels(8, 5, 6)), "transpose_a"),
        Sample(PanelMatMul(70), (normal(13, 33), panels(64, 33, 70)), "two panels, ragged both ways"),
        Sample(PanelMatMul(20), (normal(2, 3, 4), panels(24, 4, 20)), "batch"),
        Sample(PanelMatMul(20, True), (normal(2, 4, 3), panels(24, 4, 20)), "batch, transpose_a"),
        Sample(PanelMatMul(6), (normal(2, 1300), panels(8, 1300, 6)), "three blocks of depth"),
        Sample(PanelMatMul(6), (normal(60, 700), panels(8, 700, 6)), "blocks of rows and of depth"),
        Sample(PanelMatMul(130), (normal(1, 40), panels(64, 40, 130)), "one row"),
        Sample(PanelMatMul(3), (normal(2, 0), panels(8, 0, 3)), "inner size 0 gives zeros"),
        Sample(PanelMatMul(3), (normal(0, 2), panels(8, 2, 3)), "no rows"),
        Sample(PanelMatMul(1), (np.array([[NAN, 1], [INF, 0]], np.float32), panels(8, 2, 1)), "NaN and infinity"),
        Sample(PanelMatMul(9), (normal(3, 5, dtype="float64"), panels(4, 5, 9, dtype="float64")), "f64"),
        Sample(PanelMatMul(9), (normal(3, 5, dtype="float16"), panels(16, 5, 9)), "f16 sums in f32"),
        Sample(PanelMatMul(9), (half(normal(3, 5)), panels(16, 5, 9)), "bf16 sums in f32"),
        Sample(PanelMatMul(5), (integers(-9, 9, 3, 4), np.ascontiguousarray(PackPanels(8).ref(integers(-9, 9, 4, 5)))),
               "int64"),
    ]  # fmt: skip


def conv(kernel: tuple[int, ...], sizes: tuple[int, ...], outs: int, *, stride: int = 1, pad: int = 0,
         dilation: int = 1, groups: int = 1, spread: int = 1) -> PanelConv:  # fmt: skip
    """A convolution with the same numbers on every axis."""
    rank = len(kernel)
    return PanelConv(kernel, (stride,) * rank, (pad,) * rank, (dilation,) * rank, groups, outs, sizes, (spread,) * rank)


def _special(*shape: int) -> Array:
    x = normal(*shape)
    x.flat[3], x.flat[11] = NAN, INF
    return x


def _conv() -> list[Sample]:
    return [
        Sample(conv((3, 3), (5, 7), 5), (normal(2, 7, 9, 3), kernels(8, 5, 3, 3, 3))),
        Sample(conv((3, 3), (7, 9), 5, pad=1), (normal(2, 7, 9, 3), kernels(8, 5, 3, 3, 3), normal(5)), "border, bias"),
        Sample(conv((5, 5), (12, 20), 6, pad=2), (normal(1, 12, 20, 1), kernels(8, 6, 1, 5, 5)), "one channel"),
        Sample(conv((3, 3), (9, 9), 70, pad=1), (normal(1, 9, 9, 20), kernels(64, 70, 20, 3, 3)), "two panels"),
        Sample(conv((3, 3), (5, 5), 10, stride=2, pad=1), (normal(1, 9, 9, 80), kernels(16, 10, 80, 3, 3)),
               "stride, blocks of depth"),
        Sample(conv((1, 1), (3, 4), 9, stride=2), (normal(2, 5, 7, 4), kernels(16, 9, 4, 1, 1)), "1x1, stride"),
        Sample(conv((2, 3), (4, 4), 6, dilation=2, pad=1, groups=2),
               (normal(2, 4, 6, 8), kernels(8, 6, 4, 2, 3, groups=2), normal(6)), "dilation and groups"),
        Sample(conv((3,), (7,), 3, pad=1), (normal(2, 7, 4), kernels(8, 3, 4, 3)), "1-d"),
        Sample(conv((2, 3, 2), (4, 4, 3), 3, pad=1), (normal(1, 3, 4, 2, 3), kernels(8, 3, 3, 2, 3, 2)), "3-d"),
        Sample(conv((3, 3), (7, 7), 4, pad=1, spread=2), (normal(1, 4, 4, 3), kernels(8, 4, 3, 3, 3)), "spread"),
        Sample(conv((3, 3), (3, 3), 4, pad=-1, spread=3), (normal(1, 3, 3, 2), kernels(8, 4, 2, 3, 3)),
               "spread and cropped"),
        Sample(conv((3, 3), (1, 3), 4, pad=4), (normal(1, 2, 2, 2), kernels(8, 4, 2, 3, 3), normal(4)),
               "windows outside of the image"),
        Sample(conv((3, 3), (2, 2), 4), (normal(0, 4, 4, 2), kernels(8, 4, 2, 3, 3)), "empty batch"),
        Sample(conv((2, 2), (3, 3), 4), (normal(1, 4, 4, 0), kernels(8, 4, 0, 2, 2), normal(4)), "no channels"),
        Sample(conv((2, 2), (3, 3), 4), (_special(1, 4, 4, 2), kernels(8, 4, 2, 2, 2)), "NaN and infinity"),
        Sample(conv((2, 2), (3, 3), 5), (normal(1, 4, 4, 2, dtype="float64"),
                                         kernels(4, 5, 2, 2, 2, dtype="float64")), "f64"),
        Sample(conv((2, 2), (3, 3), 5), (normal(1, 4, 4, 2, dtype="float16"), kernels(8, 5, 2, 2, 2),
                                         normal(5, dtype="float16")), "f16"),
        Sample(conv((2, 2), (5, 5), 5, pad=1), (half(normal(1, 4, 4, 2)), kernels(8, 5, 2, 2, 2)), "bf16"),
    ]  # fmt: skip


def _depthwise() -> list[Sample]:
    one = ChannelConv((3, 3), (1, 1), (1, 1), (1, 1), (6, 21), (1, 1))
    return [
        Sample(one, (normal(2, 6, 21, 20), channels(16, 20, 1, 3, 3), normal(20))),
        Sample(ChannelConv((3, 2), (2, 1), (0, 1), (1, 2), (2, 5), (1, 1)),
               (normal(1, 5, 5, 5), channels(16, 5, 1, 3, 2)), "uneven stride, pad and dilation"),
        Sample(ChannelConv((3, 3), (1, 1), (1, 1), (1, 1), (7, 5), (2, 2)),
               (normal(1, 4, 3, 4), channels(16, 4, 1, 3, 3)), "spread"),
        Sample(ChannelConv((3,), (1,), (2,), (1,), (3,), (1,)), (normal(2, 1, 17), channels(16, 17, 1, 3)),
               "1-d, taps beyond both borders"),
        Sample(ChannelConv((2, 3, 3), (1, 2, 1), (1, 0, 1), (1, 1, 1), (3, 2, 4), (1, 1, 1)),
               (normal(1, 2, 5, 4, 3), channels(16, 3, 1, 2, 3, 3)), "3-d"),
        Sample(one, (half(normal(1, 6, 21, 3)), channels(16, 3, 1, 3, 3)), "bf16"),
        Sample(one, (normal(1, 6, 21, 9, dtype="float64"), kernels(8, 9, 1, 3, 3, dtype="float64")), "f64"),
    ]  # fmt: skip


def _weight() -> list[Sample]:
    plain = WeightGradLast((3, 3), (1, 1), (0, 0), (1, 1))
    return [
        Sample(plain, (normal(2, 5, 6, 3), normal(2, 3, 4, 5, seed=1))),
        Sample(WeightGradLast((3, 3), (1, 1), (1, 1), (1, 1)), (normal(3, 4, 4, 6), normal(3, 4, 4, 70, seed=1)),
               "border, two panels"),
        Sample(WeightGradLast((3, 2), (2, 1), (1, 0), (1, 2)), (normal(2, 5, 6, 3), normal(2, 3, 4, 9, seed=1)),
               "uneven stride, pad and dilation"),
        Sample(WeightGradLast((3, 3), (1, 1), (1, 1), (1, 1), 2), (normal(2, 3, 4, 4), normal(2, 3, 4, 6, seed=1)),
               "two groups"),
        Sample(WeightGradLast((3, 3), (1, 1), (1, 1), (1, 1), 20), (normal(2, 3, 4, 20), normal(2, 3, 4, 20, seed=1)),
               "depthwise"),
        Sample(WeightGradLast((2,), (1,), (0,), (1,)), (normal(20, 5, 2), normal(20, 4, 3, seed=1)),
               "1-d, many images"),
        Sample(WeightGradLast((2, 1, 2), (1, 1, 1), (1, 0, 0), (1, 1, 1)),
               (normal(1, 2, 2, 3, 2), normal(1, 3, 2, 2, 3, seed=1)), "3-d"),
        Sample(plain, (normal(0, 5, 6, 3), normal(0, 3, 4, 5)), "empty batch gives zeros"),
        Sample(plain, (_special(1, 5, 6, 3), normal(1, 3, 4, 5)), "NaN and infinity"),
        Sample(plain, (normal(1, 5, 6, 3, dtype="float64"), normal(1, 3, 4, 5, dtype="float64")), "f64"),
        Sample(plain, (normal(4, 5, 6, 3, dtype="float16"), normal(4, 3, 4, 5, dtype="float16")), "f16"),
        Sample(plain, (half(normal(4, 5, 6, 3)), half(normal(4, 3, 4, 5))), "bf16"),
    ]  # fmt: skip


def _pool() -> list[Sample]:
    def pool(kind: str, window: tuple[int, ...], stride: tuple[int, ...], pad: tuple[int, ...] | None = None,
             ceil: bool = False, count: bool = True) -> PoolLast:  # fmt: skip
        rank = len(window)
        return PoolLast(kind, window, stride, pad or (0,) * (2 * rank), (1,) * rank, ceil, count)

    return [
        Sample(pool("max", (2, 2), (2, 2)), (distinct(2, 4, 6, 3),)),
        Sample(pool("avg", (2, 2), (2, 2)), (normal(2, 4, 6, 3),)),
        Sample(pool("max", (3, 3), (2, 2), (1, 1, 1, 1)), (distinct(1, 7, 6, 20),), "overlapping, padded"),
        Sample(pool("max", (3, 2), (2, 2), None, True), (distinct(1, 6, 5, 4),), "rounded up"),
        Sample(PoolLast("max", (2, 2), (1, 1), (0, 0, 0, 0), (2, 1)), (distinct(1, 5, 4, 17),), "dilation"),
        Sample(pool("avg", (3, 3), (2, 2), (1, 1, 1, 1), True, False), (normal(1, 6, 5, 9),), "padding not counted"),
        Sample(pool("avg", (3, 3), (2, 2), (1, 0, 1, 1), True), (normal(1, 6, 5, 9),), "padding counted, rounded up"),
        Sample(pool("max", (2,), (1,)), (distinct(2, 5, 3),), "1-d"),
        Sample(pool("avg", (2, 2, 2), (1, 2, 1)), (normal(1, 3, 4, 2, 5),), "3-d"),
        Sample(pool("max", (2, 2), (2, 2)), (_special(1, 4, 4, 3),), "NaN wins"),
        Sample(pool("max", (2, 2), (2, 2)), (np.full((1, 2, 2, 3), -INF, np.float32),), "all -infinity"),
        Sample(pool("max", (2, 2), (2, 2)), (integers(-9, 9, 1, 4, 4, 3, dtype="int32"),), "int32"),
        Sample(pool("avg", (2, 2), (2, 2)), (normal(1, 4, 4, 3, dtype="float64"),), "f64"),
        Sample(pool("avg", (2, 2), (2, 2)), (normal(1, 4, 4, 3, dtype="float16"),), "f16"),
        Sample(pool("max", (2, 2), (2, 2)), (half(distinct(1, 4, 4, 3)),), "bf16"),
    ]


SAMPLES: list[Sample] = [*_pack(), *_product(), *_conv(), *_depthwise(), *_weight(), *_pool()]

IMAGE, PANELS = tensor("f32", (1, 4, 4, 3)), tensor("f32", (1, 1, 27, 8))
PLAIN = conv((3, 3), (2, 2), 5)
CHANNEL = ChannelConv((3, 3), (1, 1), (0, 0), (1, 1), (2, 2), (1, 1))
WEIGHT = WeightGradLast((3, 3), (1, 1), (0, 0), (1, 1))

BAD: list[BadSample] = [
    BadSample(PackPanels(8), (tensor("f32", (3,)),), ShapeError, "is not a matrix"),
    BadSample(PackPanels(0), (tensor("f32", (3, 4)),), ArgumentError, "width 0"),
    BadSample(PackPanels(8), (tensor("bool", (3, 4)),), DTypeError, "bool is not among"),
    BadSample(PanelMatMul(6), (tensor("f32", (3, 5)), tensor("f32", (1, 4, 8))), ShapeError,
              "a has 5, the panels have 4"),
    BadSample(PanelMatMul(9), (tensor("f32", (3, 5)), tensor("f32", (1, 5, 8))), ShapeError, "does not hold 9 columns"),
    BadSample(PanelMatMul(6), (tensor("f32", (3,)), tensor("f32", (1, 5, 8))), ShapeError, "is not a matrix"),
    BadSample(PanelMatMul(6), (tensor("f32", (3, 5)), tensor("f64", (1, 5, 8))), DTypeError, "f32 and f64 differ"),
    BadSample(PackKernel(8, 2), (tensor("f32", (5, 3, 3, 3)),), ShapeError, "5 output channels do not split"),
    BadSample(PackKernel(8), (tensor("f32", (5, 3)),), ShapeError, "is not [O, C/groups, *KERNEL]"),
    BadSample(PLAIN, (IMAGE, tensor("f32", (1, 1, 26, 8))), ShapeError, "does not hold 5 channels"),
    BadSample(PLAIN, (tensor("f32", (4, 4, 3)), PANELS), ShapeError, "x has 3 axes, 4 are expected"),
    BadSample(PLAIN, (IMAGE, PANELS, tensor("f32", (4,))), ShapeError, "bias is f32[4]"),
    BadSample(PLAIN, (IMAGE,), ArgumentError, "2 or 3 inputs"),
    BadSample(CHANNEL, (IMAGE, tensor("f32", (1, 1, 8, 16))), ShapeError, "one kernel for each channel"),
    BadSample(CHANNEL, (tensor("i32", (1, 4, 4, 3)), tensor("i32", (1, 1, 9, 16))), ShapeError, "i32 is not a float"),
    BadSample(WEIGHT, (IMAGE, tensor("f32", (2, 2, 2, 5))), ShapeError, "another batch"),
    BadSample(WeightGradLast((3, 3), (1, 1), (0, 0), (1, 1), 2), (IMAGE, tensor("f32", (1, 2, 2, 4))), ShapeError,
              "do not split into 2 groups"),
    BadSample(PoolLast("min", (2, 2), (2, 2), (0,) * 4, (1, 1)), (IMAGE,), ArgumentError, "'min' is not max or avg"),
    BadSample(PoolLast("max", (5, 5), (2, 2), (0,) * 4, (1, 1)), (IMAGE,), ShapeError, "does not fit"),
]  # fmt: skip
