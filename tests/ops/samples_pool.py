"""Samples of ops/pool.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.op import Op
from chainrule.ir.types import tensor, type_of
from chainrule.ops.pool import AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad, MaxPoolTake
from tests.ops.sample import BadSample, Sample, distinct, integers, normal
from tests.ops.samples_elementwise import half

NAN, INF = np.float32(np.nan), np.float32(np.inf)
TIES = np.array([1, 1, 0, 0, 0, 2, 2, 2, -0.0, 0.0, -0.0, 0.0, 3, 1, 3, 3], np.float32).reshape(1, 1, 4, 4)
SPECIAL = np.array([NAN, 1, INF, -INF, NAN, -INF, -INF, -INF, INF, NAN, 2, INF], np.float32).reshape(1, 1, 12)
LOW = np.full((1, 1, 4), -INF, np.float32)

# window, stride, pad, dilation, ceil_mode, image
WINDOWS: list[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], bool, tuple[int, ...]]] = [
    ("side by side", (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), False, (2, 2, 4, 4)),
    ("a rest is left out", (2, 3), (2, 3), (0, 0, 0, 0), (1, 1), False, (1, 2, 5, 5)),
    ("ceil_mode takes the rest", (2, 3), (2, 3), (0, 0, 0, 0), (1, 1), True, (1, 2, 5, 5)),
    ("overlapping, padded", (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), False, (1, 2, 5, 4)),
    ("uneven pads and strides", (3, 2), (1, 2), (2, 0, 1, 1), (1, 1), False, (1, 1, 4, 5)),
    ("ceil_mode drops a window in the padding", (2, 2), (2, 2), (0, 1, 1, 1), (1, 1), True, (1, 1, 4, 5)),
    ("stride over the window", (1, 2), (3, 3), (0, 0, 0, 0), (1, 1), True, (1, 1, 5, 4)),
    ("the whole image", (3, 4), (1, 1), (0, 0, 0, 0), (1, 1), False, (2, 1, 3, 4)),
    ("one element", (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), False, (1, 2, 2, 2)),
    ("1-d", (3,), (2,), (1, 0), (1,), False, (2, 2, 6)),
    ("1-d, ceil_mode", (3,), (2,), (1, 1), (1,), True, (1, 2, 6)),
    ("3-d", (2, 2, 2), (1, 2, 2), (0, 1, 0, 1, 0, 1), (1, 1, 1), False, (1, 1, 3, 4, 3)),
    ("empty batch", (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), False, (0, 2, 4, 4)),
]
DILATED: list[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], bool, tuple[int, ...]]] = [
    ("dilated", (2, 3), (1, 2), (0, 1, 0, 1), (2, 2), False, (1, 2, 4, 6)),
    ("dilated, ceil_mode", (2,), (2,), (1, 2), (3,), True, (1, 2, 6)),
    ("a window that meets no element", (2,), (1,), (1, 1), (2,), False, (1, 2, 1)),
]


def _maxima() -> list[Sample]:
    found: list[Sample] = []
    for label, window, stride, pad, dilation, ceil, image in WINDOWS + DILATED:
        attributes = (window, stride, pad, dilation, ceil)
        x, v = distinct(*image), normal(*image, seed=2)
        shape = MaxPool(*attributes).ref(x).shape
        found += [
            # The quotient of a window without elements is NaN: -inf minus -inf.
            Sample(MaxPool(*attributes), (x,), label, grad=() if "no element" in label else None),
            Sample(MaxPoolGrad(*attributes), (x, normal(*shape, seed=1)), label, grad=(1,)),
            Sample(MaxPoolTake(*attributes), (x, v), label, grad=(1,)),
        ]
    return found


def _maxima_at_the_edges() -> list[Sample]:
    two, three = ((2, 2), (2, 2), (0, 0, 0, 0), (1, 1)), ((3,), (3,), (0, 0), (1,))
    padded = ((3,), (1,), (1, 1), (1,))
    found: list[Sample] = []
    for label, attributes, x in (
        ("ties: the first wins", two, TIES), ("NaN wins, infinities", three, SPECIAL),
        ("-inf beats padding", padded, LOW),
        ("f64", padded, distinct(1, 2, 4, dtype="float64")), ("f16", padded, distinct(1, 2, 4, dtype="float16")),
        ("bf16", padded, half(distinct(1, 2, 4))),
    ):  # fmt: skip
        shape = MaxPool(*attributes).ref(x).shape
        finite = label in ("f64", "f16", "bf16")
        found += [
            Sample(MaxPool(*attributes), (x,), label, grad=None if finite else ()),
            Sample(MaxPoolGrad(*attributes), (x, normal(*shape).astype(x.dtype)), label, grad=(1,) if finite else ()),
            Sample(MaxPoolTake(*attributes), (x, normal(*x.shape).astype(x.dtype)), label, grad=(1,) if finite else ()),
        ]
    lowest = np.full((1, 1, 4), -128, np.int8)
    return [
        *found,
        Sample(MaxPool(*padded), (integers(-9, 9, 1, 2, 5),), "int64"),
        Sample(MaxPool(*padded), (lowest,), "the smallest int8"),
        Sample(MaxPool(*padded), (np.zeros((1, 1, 3), np.uint8),), "uint8 zeros"),
        Sample(MaxPoolTake(*two), (TIES, np.arange(16).reshape(1, 1, 4, 4)), "indices of the maxima", grad=()),
        Sample(MaxPoolTake(*padded), (integers(-9, 9, 1, 2, 5), normal(1, 2, 5) > 0), "bools at int64", grad=()),
    ]


def _means() -> list[Sample]:
    found: list[Sample] = []
    for label, window, stride, pad, _, ceil, image in WINDOWS:
        for counted in (False, True):
            op = AvgPool(window, stride, pad, ceil, counted)
            back = AvgPoolGrad(image[2:], window, stride, pad, ceil, counted)
            name = label + (", padding counted" if counted else "")
            x = normal(*image)
            found += [Sample(op, (x,), name), Sample(back, (normal(*op.ref(x).shape, seed=1),), name)]
    op, back = AvgPool((3,), (1,), (1, 1)), AvgPoolGrad((4,), (3,), (1,), (1, 1))
    for label, x in (("f64", normal(1, 2, 4, dtype="float64")), ("f16", normal(1, 2, 4, dtype="float16")),
                     ("bf16", half(normal(1, 2, 4))),
                     ("cancelling", np.array([[[1e8, 1, -1e8, 1]]], np.float32))):  # fmt: skip
        found += [Sample(op, (x,), label, grad=() if label == "cancelling" else None),
                  Sample(back, (x,), label, grad=() if label == "cancelling" else None)]  # fmt: skip
    wide = np.full((1, 1, 4), 60000, np.float16)
    return [*found, Sample(op, (SPECIAL,), "NaN and infinities", grad=()), Sample(op, (wide,), "f16 sums beyond 65504"),
            Sample(back, (SPECIAL[..., 1:5],), "NaN and infinities", grad=())]  # fmt: skip


SAMPLES: list[Sample] = [*_maxima(), *_maxima_at_the_edges(), *_means()]

IMAGE = tensor("f32", (1, 2, 4, 4))
HALF = tensor("f32", (1, 2, 2, 2))
MAX2 = ((2, 2), (2, 2), (0, 0, 0, 0), (1, 1))
AVG2 = MAX2[:3]


def _refused() -> list[BadSample]:
    """What every op of max pooling refuses, whatever its second input is."""
    calls: list[tuple[type[MaxPool | MaxPoolGrad | MaxPoolTake], tuple[str, ...]]] = [
        (MaxPool, ("x",)), (MaxPoolGrad, ("x", "dy")), (MaxPoolTake, ("x", "v"))]  # fmt: skip
    found: list[BadSample] = []
    for op, names in calls:
        rest = (HALF,) if op is MaxPoolGrad else (IMAGE,)
        more = rest if len(names) == 2 else ()
        found += [
            BadSample(op((5, 2), *MAX2[1:]), (IMAGE, *more), ShapeError, "a window of 5 does not fit"),
            BadSample(op((2, 2), (2, 2), (0, 0, 2, 0), (1, 1)), (IMAGE, *more), ArgumentError, "not smaller than"),
            BadSample(op((2, 2), (0, 2), *MAX2[2:]), (IMAGE, *more), ArgumentError, "stride (0, 2)"),
            BadSample(op(*MAX2), (), ArgumentError, f"takes {len(names)} inputs"),
        ]
    return found


def _means_refused(op: Op, good: tuple[int, ...]) -> list[BadSample]:
    return [
        BadSample(op, (tensor("i32", good),), DTypeError, "floats"),
        BadSample(op, (tensor("f32", good[:-1]),), ShapeError, "axes"),
        BadSample(op, (type_of(normal(*good)),) * 2, ArgumentError, "takes 1 inputs"),
    ]


BAD: list[BadSample] = [
    *_refused(),
    BadSample(MaxPool(*MAX2), (tensor("f32", (2, 4, 4)),), ShapeError, "x has 3 axes, 4 are expected"),
    BadSample(MaxPool(*MAX2), (tensor("bool", (1, 2, 4, 4)),), DTypeError, "bool"),
    BadSample(MaxPool((2,), (2, 2), (0, 0), (1,)), (tensor("f32", (1, 2, 4)),), ArgumentError, "stride (2, 2)"),
    BadSample(MaxPool((2,) * 4, (2,) * 4, (0,) * 8, (1,) * 4), (IMAGE,), ArgumentError, "1, 2 or 3 spatial axes"),
    BadSample(MaxPoolGrad(*MAX2), (IMAGE, IMAGE), ShapeError, "the pool of x gives f32[1,2,2,2]"),
    BadSample(MaxPoolGrad(*MAX2), (IMAGE, tensor("f64", (1, 2, 2, 2))), DTypeError, "differ"),
    BadSample(MaxPoolTake(*MAX2), (IMAGE, HALF), ShapeError, "one element for each of x"),
    BadSample(AvgPool((5, 2), *AVG2[1:]), (IMAGE,), ShapeError, "a window of 5"),
    BadSample(AvgPool((2, 2), (2, 2), (0, 0, 0, 2)), (IMAGE,), ArgumentError, "in the padding alone"),
    BadSample(AvgPool((2, 2), (2, -1), (0, 0, 0, 0)), (IMAGE,), ArgumentError, "stride (2, -1)"),
    *_means_refused(AvgPool(*AVG2), (1, 2, 4, 4)),
    BadSample(AvgPoolGrad((4, 4), *AVG2), (tensor("f32", (1, 2, 2, 3)),), ShapeError, "[2,2] windows"),
    BadSample(AvgPoolGrad((1, 4), *AVG2), (HALF,), ShapeError, "does not fit"),
    *_means_refused(AvgPoolGrad((4, 4), *AVG2), (1, 2, 2, 2)),
]
