"""Pools made of the ops of ops/pool.py: sums over a given divisor, powers, whole images, windows that cover evenly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from chainrule.errors import ArgumentError, NotSupported, ShapeError
from chainrule.ir.dims import Dim, dim_product, floordiv
from chainrule.ir.graph import Value, build
from chainrule.ops.arithmetic import square
from chainrule.ops.basic import constant, scalar_like
from chainrule.ops.conv import Ints
from chainrule.ops.elementwise import abs, mul
from chainrule.ops.indexing import gather, take_along_axis
from chainrule.ops.pool import AvgPool, avg_pool, max_pool, max_pool_with_indices, room_for
from chainrule.ops.reduce import amax, argmax, mean
from chainrule.ops.shaping import concat, expand, narrow, reshape, squeeze, unsqueeze
from chainrule.ops.transcendental import pow, sqrt


def divided_pool(x: Value, window: Ints, stride: Ints | None, pad: Ints, ceil_mode: bool, divisor: int) -> Value:
    """The sum of each window of x [N, C, *S] over a number.

    Raises ArgumentError for 0, NotSupported beside ceil_mode for an image of unknown size. Source:
    torch.nn.functional.avg_pool2d, divisor_override.
    """
    if divisor == 0:
        raise ArgumentError("avg_pool: divisor_override is 0", help="give another number, or none")
    y = avg_pool(x, window, stride, pad, ceil_mode)
    assert isinstance(y.op, AvgPool)
    op = y.op
    if ceil_mode:  # the windows that stick out get zeros to stand on, so that all have one divisor
        image = [d for d in x.shape[2:] if isinstance(d, int)]
        if len(image) < x.rank - 2:
            raise NotSupported(f"avg_pool: divisor_override beside ceil_mode for {x.tensor}",
                               help="give the image's size as numbers")  # fmt: skip
        sizes = [d for d in y.shape[2:] if isinstance(d, int)]
        op = replace(op, pad=room_for(image, sizes, op.window, op.stride, op.pad), ceil_mode=False)
    return mul(build(op, x), scalar_like(math.prod(op.window) / divisor, x))


def lp_pool(x: Value, norm: float, window: Ints, stride: Ints | None = None, pad: Ints = 0,
            ceil_mode: bool = False) -> Value:  # fmt: skip
    """(sum of |x|^norm)^(1/norm) of each window of x [N, C, *S].

    A window cut short by ceil_mode counts as if the mean of its part went on, as in PyTorch. Raises ArgumentError
    unless norm > 0. Source: ONNX LpPool-22; torch.nn.functional.lp_pool2d.
    """
    if not norm > 0:
        raise ArgumentError(f"lp_pool: norm {norm} is not positive")
    powers = square(x) if norm == 2 else abs(x) if norm == 1 else pow(abs(x), scalar_like(float(norm), x))
    y = avg_pool(powers, window, stride, pad, ceil_mode)
    assert isinstance(y.op, AvgPool)
    total = mul(y, scalar_like(float(math.prod(y.op.window)), x))
    return sqrt(total) if norm == 2 else total if norm == 1 else pow(total, scalar_like(1.0 / norm, x))


def global_avg_pool(x: Value) -> Value:
    """The mean of each image. x: [N, C, *S] -> [N, C, 1...]. Source: ONNX GlobalAveragePool-22."""
    return mean(x, range(2, x.rank), keepdims=True)


def global_max_pool(x: Value) -> Value:
    """The largest element of each image. x: [N, C, *S] -> [N, C, 1...]. Source: ONNX GlobalMaxPool-22."""
    return amax(x, range(2, x.rank), keepdims=True)


def adaptive_avg_pool(x: Value, size: int | Sequence[int | None] | None) -> Value:
    """The mean of `size` windows that cover each axis evenly: window i is floor(i*S/size) up to ceil((i+1)*S/size).

    x: [N, C, *S] -> [N, C, *size]; None keeps an axis. Sizes that do not divide the image give windows that overlap.
    Raises NotSupported for a symbolic image unless size is 1 or None. Source: torch.nn.functional.adaptive_avg_pool2d.
    """
    goals = _goals(x, size, "adaptive_avg_pool")
    if goals == (1,) * (x.rank - 2):
        return global_avg_pool(x)
    even = _even_windows(x, goals)
    if even is not None:
        return avg_pool(x, even)
    for axis, goal in enumerate(goals, start=2):
        x = _pooled_axis(x, axis, goal, mean, "adaptive_avg_pool")
    return x


def adaptive_max_pool(x: Value, size: int | Sequence[int | None] | None) -> Value:
    """The largest element of `size` windows that cover each axis evenly, as adaptive_avg_pool lays them."""
    goals = _goals(x, size, "adaptive_max_pool")
    if goals == (1,) * (x.rank - 2):
        return global_max_pool(x)
    even = _even_windows(x, goals)
    if even is not None:
        return max_pool(x, even)
    for axis, goal in enumerate(goals, start=2):
        x = _pooled_axis(x, axis, goal, amax, "adaptive_max_pool")
    return x


def adaptive_max_pool_with_indices(x: Value, size: int | Sequence[int | None] | None) -> tuple[Value, Value]:
    """adaptive_max_pool, and where in its image each maximum stands, row by row (i64); the first of equal ones."""
    goals = _goals(x, size, "adaptive_max_pool")
    even = _even_windows(x, goals)
    if even is not None:
        return max_pool_with_indices(x, even)
    image = [d for d in x.shape[2:] if isinstance(d, int)]
    sizes = [d for d in goals if isinstance(d, int)]
    if len(image) < x.rank - 2 or len(sizes) < x.rank - 2:
        raise NotSupported(f"adaptive_max_pool: places of the maxima of {x.tensor}",
                           help="give the image's size as numbers")  # fmt: skip
    table = np.zeros((1,) * (2 * len(image)), np.int64)
    for axis, (have, goal) in enumerate(zip(image, sizes, strict=True)):
        lows = [i * have // goal for i in range(goal)]
        highs = [-(-(i + 1) * have // goal) for i in range(goal)]
        longest = max(high - low for low, high in zip(lows, highs, strict=True))
        shape = [1] * (2 * len(image))
        shape[axis], shape[len(image) + axis] = goal, longest
        at = [[min(low + j, high - 1) for j in range(longest)] for low, high in zip(lows, highs, strict=True)]
        table = table * have + np.array(at, np.int64).reshape(shape)
    return largest_at(x, constant(table.reshape(*sizes, -1)))


def largest_at(x: Value, places: Value) -> tuple[Value, Value]:
    """The largest elements of x [N, C, *S] among places, and the places that they have: [N, C, *G] each.

    places: i64 [*G, count], or [N, C, *G, count], counted within an image row by row. The first of equal ones wins.
    """
    flat = reshape(x, (*x.shape[:2], dim_product(x.shape[2:])))
    at = places if places.rank == x.rank + 1 else expand(places, (*x.shape[:2], *places.shape))
    rows = reshape(at, (*x.shape[:2], dim_product(at.shape[2:])))
    seen = reshape(take_along_axis(flat, rows, 2), at.shape) if at is places else gather(flat, places, 2)
    first = unsqueeze(argmax(seen, -1, False), -1)
    found = squeeze(take_along_axis(at, first, at.rank - 1), -1)
    return squeeze(take_along_axis(seen, first, at.rank - 1), -1), found


def _goals(x: Value, size: int | Sequence[int | None] | None, name: str) -> tuple[Dim, ...]:
    rank = x.rank - 2
    if not 1 <= rank <= 3:
        raise ShapeError(f"{name}: x has {x.rank} axes, 3 to 5 are expected", help="x is [N, C, *IMAGE]")
    goals = (size,) * rank if size is None or isinstance(size, int) else tuple(size)
    if len(goals) != rank or any(goal is not None and goal < 1 for goal in goals):
        raise ArgumentError(f"{name}: size {size} does not fit {rank} spatial axes",
                            help="numbers >= 1, or None to keep")  # fmt: skip
    return tuple(x.shape[2 + i] if goal is None else goal for i, goal in enumerate(goals))


def _even_windows(x: Value, goals: Sequence[Dim]) -> tuple[int, ...] | None:
    """The windows side by side that make the goals, where there are such."""
    found: list[int] = []
    for have, goal in zip(x.shape[2:], goals, strict=True):
        window = 1 if have == goal else floordiv(have, goal)
        if not isinstance(window, int) or window < 1 or window * goal != have:
            return None
        found.append(window)
    return tuple(found)


def _pooled_axis(x: Value, axis: int, goal: Dim, reduce: Callable[[Value, int, bool], Value], name: str) -> Value:
    """One axis reduced over `goal` windows that cover it evenly."""
    have = x.shape[axis]
    if have == goal:
        return x
    if goal == 1:
        return reduce(x, axis, True)
    if not isinstance(have, int) or not isinstance(goal, int):
        raise NotSupported(f"{name}: axis {axis} of {x.tensor} has no fixed size",
                           help="give the image's size as a number, or use size 1")  # fmt: skip
    bounds = [(i * have // goal, -(-(i + 1) * have // goal)) for i in range(goal)]
    return concat([reduce(narrow(x, axis, low, high - low), axis, True) for low, high in bounds], axis)
