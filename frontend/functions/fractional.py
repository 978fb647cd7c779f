"""Fractional max pools: windows of one size at steps that vary, so that an image shrinks by any ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chainrule.errors import ArgumentError, NotSupported, ShapeError
from chainrule.frontend.functions.random import uniform
from chainrule.frontend.functions.unpooling import two_of
from chainrule.frontend.functions.windows import Ints
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, float_value_of, value_of
from chainrule.ir.graph import Value
from chainrule.ir.types import i64
from chainrule.ops.basic import constant, scalar_like
from chainrule.ops.elementwise import add, cast, mul, sub
from chainrule.ops.pools import largest_at
from chainrule.ops.ranges import iota
from chainrule.ops.shaping import concat, expand, narrow, reshape

Ratios = float | Sequence[float]


def fractional_max_pool2d(
    x: Operand, kernel_size: Ints, output_size: Ints | None = None, output_ratio: Ratios | None = None,
    random_samples: Operand | None = None,
) -> Tensor:  # fmt: skip
    """The largest of windows of kernel_size in x [N, C, H, W] that lie at random, output_size of them for each axis.

    output_ratio: the output's size as a share of the image's, instead. random_samples: [N, C, 2] in [0, 1), for width
    and height; drawn where none are given. Source: Graham, arXiv:1412.6071; torch.nn.functional.fractional_max_pool2d.
    """
    return _pool(2, x, kernel_size, output_size, output_ratio, random_samples)[0]


def fractional_max_pool3d(
    x: Operand, kernel_size: Ints, output_size: Ints | None = None, output_ratio: Ratios | None = None,
    random_samples: Operand | None = None,
) -> Tensor:  # fmt: skip
    """As fractional_max_pool2d, of x [N, C, D, H, W]; random_samples: [N, C, 3], for depth, height and width."""
    return _pool(3, x, kernel_size, output_size, output_ratio, random_samples)[0]


def fractional_max_pool2d_with_indices(
    x: Operand, kernel_size: Ints, output_size: Ints | None = None, output_ratio: Ratios | None = None,
    random_samples: Operand | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """fractional_max_pool2d, and where in its image each maximum stands (i64)."""
    return _pool(2, x, kernel_size, output_size, output_ratio, random_samples)


def fractional_max_pool3d_with_indices(
    x: Operand, kernel_size: Ints, output_size: Ints | None = None, output_ratio: Ratios | None = None,
    random_samples: Operand | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """fractional_max_pool3d, and where in its volume each maximum stands (i64)."""
    return _pool(3, x, kernel_size, output_size, output_ratio, random_samples)


def output_sizes(rank: int, image: Sequence[int], size: Ints | None, ratio: Ratios | None) -> list[int]:
    """The output's size along each axis. Raises ArgumentError unless just one of size and ratio is given and fits."""
    what = f"fractional_max_pool{rank}d"
    expect_one(what, size, ratio)
    if size is not None:
        return _each(what, rank, size)
    assert ratio is not None
    shares = [ratio] * rank if isinstance(ratio, int | float) else list(ratio)
    if len(shares) != rank or not all(0 < share < 1 for share in shares):
        raise error(ArgumentError, f"{what}: output_ratio={ratio}", help=f"a number between 0 and 1, or {rank} of them")
    return [int(have * share) for have, share in zip(image, shares, strict=True)]


def expect_one(what: str, size: Ints | None, ratio: Ratios | None) -> None:
    """Raises ArgumentError unless just one of output_size and output_ratio is given."""
    if (size is None) == (ratio is None):
        raise error(ArgumentError, f"{what}: give either output_size or output_ratio", help="output_ratio=0.7, say")


def _pool(rank: int, x: Operand, kernel_size: Ints, size: Ints | None, ratio: Ratios | None,
          samples: Operand | None) -> tuple[Tensor, Tensor]:  # fmt: skip
    what = f"fractional_max_pool{rank}d"
    with located():
        value = float_value_of(x, what)
        window = _each(what, rank, kernel_size)

        def pooled(v: Value) -> tuple[Value, Value]:
            image = [d for d in v.shape[2:] if isinstance(d, int)]
            if len(image) < rank:
                raise error(NotSupported, f"{what}: the image's size is not known", notes=[f"x: {v.type}"],
                            help="give the image's size as numbers")  # fmt: skip
            goals = output_sizes(rank, image, size, ratio)
            if any(not 0 < goal <= have - k + 1 <= have for goal, k, have in zip(goals, window, image, strict=True)):
                raise error(ShapeError, f"{what}: {goals} windows of {window} do not fit", notes=[f"x: {v.type}"],
                            help="output_size + kernel_size - 1 is at most the image's size")  # fmt: skip
            drawn = uniform((*v.shape[:2], rank), dtype=v.dtype) if samples is None else samples
            return largest_at(v, _places(v, cast(value_of(drawn, what), v.dtype), image, goals, window))

        return two_of(what, value, rank, pooled)


def _places(x: Value, samples: Value, image: Sequence[int], goals: Sequence[int], window: Sequence[int]) -> Value:
    """The elements of each window, counted within an image: i64 [N, C, *goals, product of the window]."""
    rank, lead = len(image), x.shape[:2]
    samples = expand(samples, (*lead, rank))
    total = constant(0, i64)
    for axis, (have, goal, size) in enumerate(zip(image, goals, window, strict=True)):
        column = axis if rank == 3 else 1 - axis  # two samples are for width and height, three in the order of axes
        starts = _starts(narrow(samples, 2, column, 1), have, goal, size)
        spread = [1] * (2 * rank)
        spread[axis], spread[rank + axis] = goal, size
        at = add(reshape(starts, (*lead, goal, 1)), reshape(iota((size,)), (1, 1, 1, size)))
        total = add(mul(total, constant(have, i64)), reshape(at, (*lead, *spread)))
    return reshape(total, (*lead, *goals, math.prod(window)))


def _starts(sample: Value, have: int, goal: int, size: int) -> Value:
    """Where the windows along one axis start, for samples [N, C, 1]: i64 [N, C, goal]. The last ends at the end."""
    last = expand(constant(have - size, i64), (*sample.shape[:2], 1))
    if goal == 1:
        return last
    step = scalar_like((have - size) / (goal - 1), sample)
    i = cast(iota((goal - 1,)), sample.dtype)
    first = cast(mul(sample, step), i64)
    return concat([sub(cast(mul(add(i, sample), step), i64), first), last], 2)


def _each(what: str, rank: int, given: Ints) -> list[int]:
    numbers = [given] * rank if isinstance(given, int) else list(given)
    if len(numbers) != rank:
        raise error(ArgumentError, f"{what}: {given!r} is not for {rank} axes", help="one int, or one for each axis")
    return numbers
