"""The cases of benchmarks/pointwise.py: build(case, size) -> (function, specs), of about so many elements."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chainrule as cr

SIZES = {"1k": 1 << 10, "64k": 1 << 16, "16M": 1 << 24}
VOCABULARY = 4096  # rows of the table that is gathered from

Shape = tuple[int, ...]


class Case(NamedTuple):
    """function(*tensors); shapes(elements): of its inputs, the last of them integers where `indices`.

    moved(elements): the numbers of 4 bytes that must be read and written at least.
    """

    function: Callable[..., Any]
    shapes: Callable[[int], tuple[Shape, ...]]
    moved: Callable[[int], int] = lambda n: 2 * n
    indices: bool = False


def rows(n: int) -> Shape:
    """Rows of 1024; of 128 for few elements."""
    width = 1024 if n >= 1 << 16 else 128
    return (n // width, width)


def one(n: int) -> tuple[Shape, ...]:
    return (rows(n),)


def with_vectors(count: int) -> Callable[[int], tuple[Shape, ...]]:
    return lambda n: (rows(n), *(rows(n)[1:],) * count)


def square(n: int) -> tuple[Shape, ...]:
    side = 1 << (n.bit_length() - 1) // 2
    return ((n // side, side),)


def image(n: int) -> tuple[Shape, ...]:
    """An image [1, 16, h, h] that has about n elements once it is twice as large."""
    side = math.isqrt(n // 16) // 2
    return ((1, 16, side, side),)


def chain(x: Any, w: Any, b: Any) -> Any:
    """Ten elementwise ops with two vectors stretched over rows."""
    y = cr.maximum(x * w + b, 0.0) - x
    y = cr.sigmoid(y) * x + w
    return cr.abs(y) * b - y


CASES: dict[str, Case] = {
    "relu": Case(cr.relu, one),
    "gelu_erf": Case(cr.gelu, one),
    "gelu_tanh": Case(lambda x: cr.gelu(x, "tanh"), one),
    "chain_of_10": Case(chain, with_vectors(2)),
    "softmax": Case(lambda x: cr.softmax(x, -1), one),
    "log_softmax": Case(lambda x: cr.log_softmax(x, -1), one),
    "layer_norm": Case(lambda x, w, b: cr.layer_norm(x, w.shape, w, b), with_vectors(2)),
    "rms_norm": Case(lambda x, w: cr.rms_norm(x, w.shape, w, 1e-5), with_vectors(1)),
    "sum_last": Case(lambda x: cr.sum(x, -1), one, lambda n: n),
    "sum_first": Case(lambda x: cr.sum(x, 0), one, lambda n: n),
    "transpose": Case(lambda x: cr.transpose(x, (1, 0)), square),
    "concat": Case(lambda a, b: cr.concatenate([a, b], 1), lambda n: ((rows(n)[0], rows(n)[1] // 2),) * 2),
    "slice": Case(lambda x: x[:, 3:-5], one),
    "gather": Case(lambda x, i: cr.take(x, i, 0), lambda n: ((VOCABULARY, rows(n)[1]), rows(n)[:1]),
                   lambda n: n + min(n, VOCABULARY * rows(n)[1]), indices=True),
    "nearest": Case(lambda x: cr.interpolate(x, scale_factor=2.0), image, lambda n: n + n // 4),
    "bilinear": Case(lambda x: cr.interpolate(x, scale_factor=2.0, mode="bilinear"), image, lambda n: n + n // 4),
}  # fmt: skip


def build(case: str, size: str) -> tuple[Callable[..., Any], tuple[object, ...]]:
    """The function and the types of its inputs."""
    found = CASES[case]
    shapes = found.shapes(SIZES[size])
    kinds = ["f32"] * len(shapes)
    if found.indices:
        kinds[-1] = "i64"
    return found.function, tuple(cr.spec(*shape, dtype=kind) for shape, kind in zip(shapes, kinds, strict=True))
