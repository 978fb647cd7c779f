"""Samples of ops/conv.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.conv import Conv, ConvTranspose, ConvWeightGrad
from tests.ops.sample import BadSample, Sample, normal, uniform
from tests.ops.samples_elementwise import half

NAN, INF = np.float32(np.nan), np.float32(np.inf)
CONV2 = Conv((1, 1), (0, 0, 0, 0), (1, 1), 1)
SAME2 = Conv((1, 1), (1, 1, 1, 1), (1, 1), 1)
BACK2 = ConvTranspose((1, 1), (0, 0, 0, 0), (1, 1), 1, (0, 0))
WEIGHT2 = ConvWeightGrad((3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1)


def _special(*shape: int) -> np.ndarray:
    x = normal(*shape)
    x.flat[3], x.flat[11] = NAN, INF
    return x


def _conv() -> list[Sample]:
    w1, w2 = normal(4, 2, 3, seed=1), normal(4, 2, 3, 3, seed=1)
    return [
        Sample(CONV2, (normal(2, 2, 4, 5), w2)),
        Sample(SAME2, (normal(1, 2, 4, 4), w2, normal(4, seed=2)), "bias, same padding"),
        Sample(Conv((1,), (0, 0), (1,)), (normal(2, 2, 7), w1), "1-d"),
        Sample(Conv((2,), (2, 0), (3,)), (normal(2, 2, 8), w1, normal(4)), "1-d, stride, dilation, padding in front"),
        Sample(Conv((1,), (2, 2), (1,)), (normal(1, 2, 1), w1), "kernel larger than the image, padded"),
        Sample(Conv((2, 1), (1, 0, 2, 1), (1, 2)), (normal(1, 2, 5, 6), w2), "uneven pads, strides, dilation"),
        Sample(Conv((3, 2), (0, 0, 0, 0), (1, 1)), (normal(1, 2, 5, 6), w2), "strides that leave a rest"),
        Sample(Conv((3, 3), (0, 0, 0, 0), (1, 1)), (normal(1, 2, 5, 4), normal(3, 2, 2, 1)), "stride over kernel"),
        Sample(Conv((1, 1), (4, 0, 0, 4), (1, 1)), (normal(1, 2, 3, 3), w2), "padding beyond the kernel"),
        Sample(Conv((1, 1), (1, 1, 1, 1), (1, 1), 2), (normal(2, 4, 4, 3), w2, normal(4)), "two groups"),
        Sample(Conv((2, 2), (1, 1, 1, 1), (1, 1), 4), (normal(1, 4, 5, 4), normal(4, 1, 3, 3)), "depthwise"),
        Sample(Conv((1, 1), (0, 1, 0, 1), (1, 1), 3), (normal(1, 3, 3, 4), normal(6, 1, 1, 3)), "depthwise, two each"),
        Sample(CONV2, (normal(2, 3, 3, 3), normal(2, 3, 1, 1)), "1x1"),
        Sample(CONV2, (normal(1, 2, 3, 3), w2), "one position"),
        Sample(Conv((1, 1, 1), (0,) * 6, (1, 1, 1)), (normal(1, 2, 3, 4, 3), normal(2, 2, 2, 2, 2)), "3-d"),
        Sample(Conv((2, 1, 2), (1, 0, 1, 0, 1, 1), (1, 2, 1), 2), (normal(1, 2, 4, 4, 4), normal(2, 1, 3, 2, 2)),
               "3-d, all uneven"),
        Sample(CONV2, (normal(0, 2, 4, 4), w2, normal(4)), "empty batch"),
        Sample(CONV2, (normal(2, 0, 4, 4), normal(4, 0, 3, 3), normal(4)), "no channels: the bias alone"),
        Sample(CONV2, (normal(1, 2, 4, 4), normal(0, 2, 3, 3)), "no output channels"),
        Sample(SAME2, (_special(1, 2, 4, 4), w2), "NaN and infinity spread over their windows", grad=()),
        Sample(CONV2, (normal(1, 2, 4, 4, dtype="float64"), w2.astype(np.float64)), "f64"),
        Sample(CONV2, (normal(1, 8, 3, 3, dtype="float16"), normal(2, 8, 3, 3, dtype="float16"),
                       normal(2, dtype="float16")), "f16"),
        Sample(SAME2, (half(normal(1, 2, 3, 3)), half(w2), half(normal(4))), "bf16"),
        Sample(CONV2, (uniform(-1, 1, 1, 40, 3, 3), uniform(-1, 1, 2, 40, 3, 3, seed=1)), "360 products", grad=()),
    ]  # fmt: skip


def _transpose() -> list[Sample]:
    w1, w2 = normal(2, 3, 3, seed=1), normal(2, 3, 3, 3, seed=1)
    back = ConvTranspose((2, 1), (1, 0, 2, 1), (1, 2), 1, (0, 0), (6, 6))
    return [
        Sample(BACK2, (normal(2, 2, 3, 4), w2)),
        Sample(ConvTranspose((2, 2), (1, 1, 1, 1), (1, 1), 1, (1, 1)), (normal(1, 2, 3, 2), w2, normal(3)), "doubling"),
        Sample(ConvTranspose((2,), (0, 0), (1,), 1, (0,)), (normal(2, 2, 4), w1), "1-d"),
        Sample(ConvTranspose((3,), (2, 0), (2,), 1, (1,)), (normal(1, 2, 3), w1, normal(3)), "1-d, all uneven"),
        Sample(ConvTranspose((1,), (0, 0), (3,), 1, (2,)), (normal(1, 2, 3), w1, normal(3)), "output padding > stride"),
        Sample(ConvTranspose((1,), (0, 1), (3,), 1, (2,)), (normal(1, 2, 3), w1), "output padding > stride, pad"),
        Sample(ConvTranspose((1,), (0, 3), (3,), 1, (2,)), (normal(1, 2, 3), w1), "pad > output padding > stride"),
        Sample(ConvTranspose((4, 1), (0, 2, 1, 0), (1, 1), 1, (2, 0)), (normal(1, 2, 2, 3), w2), "stride over kernel"),
        Sample(ConvTranspose((2, 2), (1, 1, 1, 1), (1, 1), 2, (1, 0)),
               (normal(1, 4, 2, 3), normal(4, 2, 3, 3), normal(4)), "groups with output padding"),
        Sample(ConvTranspose((2, 2), (0, 0, 0, 0), (1, 1), 4, (0, 0)),
               (normal(1, 4, 2, 2), normal(4, 1, 2, 2)), "depthwise"),
        Sample(ConvTranspose((1, 1), (2, 2, 2, 2), (1, 1), 1, (0, 0)), (normal(1, 2, 3, 3), w2), "crops to one"),
        Sample(ConvTranspose((1, 1), (3, 0, 0, 0), (1, 1), 1, (0, 0)), (normal(1, 2, 3, 3), w2), "pad over the kernel"),
        Sample(ConvTranspose((2, 1, 1), (0, 0, 1, 1, 0, 1), (1, 1, 2), 1, (1, 0, 0)),
               (normal(1, 2, 2, 3, 2), normal(2, 1, 2, 2, 2)), "3-d"),
        Sample(back, (normal(1, 4, 4, 3), normal(4, 2, 3, 3)), "output size: the gradient of an uneven convolution"),
        Sample(ConvTranspose((3,), (1, 1), (1,), 2, (0,), (9,)), (normal(2, 2, 3), normal(2, 2, 3), normal(4)),
               "output size with a rest"),
        Sample(BACK2, (normal(0, 2, 3, 3), w2, normal(3)), "empty batch"),
        Sample(BACK2, (normal(1, 0, 3, 3), normal(0, 3, 2, 2), normal(3)), "no channels: the bias alone"),
        Sample(BACK2, (_special(1, 2, 3, 3), w2), "NaN and infinity", grad=()),
        Sample(BACK2, (normal(1, 2, 2, 2, dtype="float64"), w2.astype(np.float64)), "f64"),
        Sample(BACK2, (normal(1, 8, 2, 2, dtype="float16"), normal(8, 1, 2, 2, dtype="float16")), "f16"),
        Sample(BACK2, (half(normal(1, 2, 2, 2)), half(w2), half(normal(3))), "bf16"),
    ]  # fmt: skip


def _weight() -> list[Sample]:
    uneven = ConvWeightGrad((3, 3), (2, 1), (1, 0, 2, 1), (1, 2), 1)
    return [
        Sample(WEIGHT2, (normal(2, 2, 4, 5), normal(2, 3, 2, 3, seed=1))),
        Sample(uneven, (normal(1, 2, 5, 6), normal(1, 3, 3, 3, seed=1)), "uneven pads, strides, dilation"),
        Sample(ConvWeightGrad((3,), (2,), (2, 0), (3,)), (normal(2, 2, 8), normal(2, 3, 2)), "1-d"),
        Sample(ConvWeightGrad((2,), (3,), (0, 0), (1,)), (normal(2, 2, 6), normal(2, 1, 2)), "a rest without window"),
        Sample(ConvWeightGrad((1, 3), (1, 1), (0, 1, 0, 1), (1, 1), 2),
               (normal(2, 4, 3, 3), normal(2, 2, 3, 3)), "groups"),
        Sample(ConvWeightGrad((2, 2, 1), (1, 2, 1), (0, 0, 0, 0, 1, 0), (1, 1, 1)),
               (normal(1, 2, 3, 3, 2), normal(1, 2, 2, 2, 2)), "3-d"),
        Sample(WEIGHT2, (normal(0, 2, 4, 4), normal(0, 3, 2, 2)), "empty batch gives zeros"),
        Sample(WEIGHT2, (_special(1, 1, 4, 4), normal(1, 2, 2, 2)), "NaN and infinity", grad=()),
        Sample(WEIGHT2, (normal(1, 2, 3, 4, dtype="float64"), normal(1, 2, 1, 2, dtype="float64")), "f64"),
        Sample(WEIGHT2, (normal(4, 2, 4, 4, dtype="float16"), normal(4, 1, 2, 2, dtype="float16")), "f16"),
        Sample(WEIGHT2, (half(normal(2, 2, 4, 4)), half(normal(2, 1, 2, 2))), "bf16"),
    ]  # fmt: skip


SAMPLES: list[Sample] = [*_conv(), *_transpose(), *_weight()]

IMAGE, KERNEL = tensor("f32", (1, 4, 8, 8)), tensor("f32", (6, 3, 3, 3))

BAD: list[BadSample] = [
    BadSample(CONV2, (IMAGE, KERNEL), ShapeError, "weight expects 3 input channels, x has 4"),
    BadSample(CONV2, (IMAGE, tensor("f32", (6, 4, 9, 3))), ShapeError, "does not fit into an axis of 8"),
    BadSample(Conv((1, 1), (0,) * 4, (4, 4)), (IMAGE, tensor("f32", (6, 4, 3, 3))), ShapeError, "a window of 9"),
    BadSample(CONV2, (tensor("f32", (4, 8, 8)), KERNEL), ShapeError, "x has 3 axes, 4 are expected"),
    BadSample(CONV2, (IMAGE, tensor("f32", (6, 4, 3))), ShapeError, "weight has 3 axes"),
    BadSample(CONV2, (IMAGE, tensor("f32", (6, 4, 3, 3)), tensor("f32", (4,))), ShapeError, "bias is f32[4]"),
    BadSample(CONV2, (IMAGE, tensor("f32", (6, 4, "K", 3))), ShapeError, "the kernel may not"),
    BadSample(CONV2, (IMAGE, tensor("f32", (6, 4, 0, 3))), ShapeError, "not made of positive numbers"),
    BadSample(Conv((1, 1), (0,) * 4, (1, 1), 4), (IMAGE, tensor("f32", (6, 1, 3, 3))), ShapeError, "into 4 groups"),
    BadSample(Conv((1, 1), (0,) * 4, (1, 1), 2), (IMAGE, KERNEL), ShapeError, "weight is [OUT, IN/groups, KH, KW]"),
    BadSample(Conv((1, 1), (0,) * 4, (1, 1), 0), (IMAGE, KERNEL), ArgumentError, "groups 0"),
    BadSample(Conv((0, 1), (0,) * 4, (1, 1)), (IMAGE, KERNEL), ArgumentError, "stride (0, 1)"),
    BadSample(Conv((1, 1), (0, 0), (1, 1)), (IMAGE, KERNEL), ArgumentError, "all begins, then all ends"),
    BadSample(Conv((1, 1), (0, 0, 0, -1), (1, 1)), (IMAGE, KERNEL), ArgumentError, "numbers >= 0"),
    BadSample(Conv((1, 1), (0,) * 4, (1,)), (IMAGE, KERNEL), ArgumentError, "dilation (1,)"),
    BadSample(Conv((1,) * 4, (0,) * 8, (1,) * 4), (IMAGE, KERNEL), ArgumentError, "1, 2 or 3 spatial axes"),
    BadSample(CONV2, (IMAGE, tensor("f64", (6, 4, 3, 3))), DTypeError, "f32 and f64 differ"),
    BadSample(CONV2, (tensor("i32", (1, 4, 8, 8)), tensor("i32", (6, 4, 3, 3))), DTypeError, "floats"),
    BadSample(CONV2, (IMAGE,), ArgumentError, "2 or 3 inputs"),
    BadSample(BACK2, (IMAGE, KERNEL), ShapeError, "weight expects 6 input channels, x has 4"),
    BadSample(BACK2, (IMAGE, tensor("f32", (4, 3, 3, 3)), tensor("f32", (4,))), ShapeError, "result has 3 channels"),
    BadSample(ConvTranspose((1, 1), (0,) * 4, (1, 1), 3, (0, 0)), (IMAGE, tensor("f32", (4, 3, 3, 3))), ShapeError,
              "4 input channels do not split"),
    BadSample(ConvTranspose((1, 1), (0,) * 4, (1, 1), 1, (0,)), (IMAGE, tensor("f32", (4, 3, 3, 3))), ArgumentError,
              "output_padding (0,)"),
    BadSample(ConvTranspose((1, 1), (0,) * 4, (1, 1), 1, (0, -1)), (IMAGE, tensor("f32", (4, 3, 3, 3))), ArgumentError,
              "one number >= 0"),
    BadSample(ConvTranspose((1, 1), (6,) * 4, (1, 1), 1, (0, 0)), (IMAGE, tensor("f32", (4, 3, 3, 3))), ShapeError,
              "negative size"),
    BadSample(ConvTranspose((2, 2), (0,) * 4, (1, 1), 1, (0, 0), (17, 19)), (IMAGE, tensor("f32", (4, 3, 3, 3))),
              ShapeError, "it gives [8,9]"),
    BadSample(ConvTranspose((2, 2), (0,) * 4, (1, 1), 1, (1, 1), (17, 18)), (IMAGE, tensor("f32", (4, 3, 3, 3))),
              ArgumentError, "does not go with"),
    BadSample(WEIGHT2, (IMAGE, tensor("f32", (1, 6, 5, 6))), ShapeError, "dy is [1,6,5,6]"),
    BadSample(WEIGHT2, (IMAGE, tensor("f32", (2, 6, 6, 6))), ShapeError, "the convolution of x gives [1,6,6,6]"),
    BadSample(WEIGHT2, (IMAGE, tensor("f32", (1, 6, 6))), ShapeError, "dy has 3 axes"),
    BadSample(ConvWeightGrad((3, 3), (1, 1), (0,) * 4, (1, 1), 3), (IMAGE, tensor("f32", (1, 6, 6, 6))), ShapeError,
              "4 input channels"),
    BadSample(ConvWeightGrad((3, 0), (1, 1), (0,) * 4, (1, 1)), (IMAGE, IMAGE), ArgumentError, "kernel (3, 0)"),
]  # fmt: skip
