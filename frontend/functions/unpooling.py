"""Max pools that tell where the maxima stand, and their way back. Positions count an image's elements, row by row."""

from __future__ import annotations

from collections.abc import Callable

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions.windows import Ints, Sizes, expect_rank
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, float_value_of, value_of, wrap
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Value
from chainrule.ops import indexing, pool, pools, shaping
from chainrule.ops.basic import full

FORMS = ("[N, C, T]", "[N, C, H, W]", "[N, C, D, H, W]")


def max_pool1d_with_indices(x: Operand, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0,
                            dilation: Ints = 1, ceil_mode: bool = False) -> tuple[Tensor, Tensor]:  # fmt: skip
    """max_pool1d of x [N, C, T], and where each maximum stands (i64)."""
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d_with_indices(x: Operand, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0,
                            dilation: Ints = 1, ceil_mode: bool = False) -> tuple[Tensor, Tensor]:  # fmt: skip
    """max_pool2d of x [N, C, H, W], and where in its image each maximum stands (i64)."""
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool3d_with_indices(x: Operand, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0,
                            dilation: Ints = 1, ceil_mode: bool = False) -> tuple[Tensor, Tensor]:  # fmt: skip
    """max_pool3d of x [N, C, D, H, W], and where in its volume each maximum stands (i64)."""
    return _max_pool(3, x, kernel_size, stride, padding, dilation, ceil_mode)


def adaptive_max_pool1d_with_indices(x: Operand, output_size: Sizes) -> tuple[Tensor, Tensor]:
    """adaptive_max_pool1d of x [N, C, T], and where in its image each maximum stands (i64)."""
    return _adaptive(1, x, output_size)


def adaptive_max_pool2d_with_indices(x: Operand, output_size: Sizes) -> tuple[Tensor, Tensor]:
    """adaptive_max_pool2d of x [N, C, H, W], and where in its image each maximum stands (i64)."""
    return _adaptive(2, x, output_size)


def adaptive_max_pool3d_with_indices(x: Operand, output_size: Sizes) -> tuple[Tensor, Tensor]:
    """adaptive_max_pool3d of x [N, C, D, H, W], and where in its image each maximum stands (i64)."""
    return _adaptive(3, x, output_size)


def max_unpool1d(x: Operand, indices: Operand, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0,
                 output_size: Ints | None = None) -> Tensor:  # fmt: skip
    """Zeros [N, C, T] with the maxima x at their places, as max_pool1d_with_indices found them."""
    return _max_unpool(1, x, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(x: Operand, indices: Operand, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0,
                 output_size: Ints | None = None) -> Tensor:  # fmt: skip
    """Zeros [N, C, H, W] with the maxima x at their places, as max_pool2d_with_indices found them."""
    return _max_unpool(2, x, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(x: Operand, indices: Operand, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0,
                 output_size: Ints | None = None) -> Tensor:  # fmt: skip
    """Zeros [N, C, D, H, W] with the maxima x at their places, as max_pool3d_with_indices found them."""
    return _max_unpool(3, x, indices, kernel_size, stride, padding, output_size)


def _max_pool(rank: int, x: Operand, kernel_size: Ints, stride: Ints | None, padding: Ints, dilation: Ints,
              ceil_mode: bool) -> tuple[Tensor, Tensor]:  # fmt: skip
    with located():
        return two_of(f"max_pool{rank}d", value_of(x, f"max_pool{rank}d"), rank, lambda v: pool.max_pool_with_indices(
            v, kernel_size, stride, padding, dilation, ceil_mode))  # fmt: skip


def _adaptive(rank: int, x: Operand, size: Sizes) -> tuple[Tensor, Tensor]:
    what = f"adaptive_max_pool{rank}d"
    with located():
        return two_of(what, float_value_of(x, what), rank, lambda v: pools.adaptive_max_pool_with_indices(v, size))


def two_of(
    what: str, x: Value, rank: int, body: Callable[[Value], tuple[Value, Value]]
) -> tuple[Tensor, Tensor]:
    """Both results of a pool of x [N, C, *S]; an x without the batch axis gets one for the time of the call."""
    if x.rank == rank + 1:
        largest, places = body(shaping.unsqueeze(x, 0))
        return wrap(shaping.squeeze(largest, 0)), wrap(shaping.squeeze(places, 0))
    expect_rank(what, "x", x, rank + 2, FORMS[rank - 1])
    largest, places = body(x)
    return wrap(largest), wrap(places)


def _max_unpool(rank: int, x: Operand, indices: Operand, kernel_size: Ints, stride: Ints | None, padding: Ints,
                output_size: Ints | None) -> Tensor:  # fmt: skip
    """output_size: the image's size, by default the smallest that the maxima can come from. Of several maxima for one
    place the last wins. Source: torch.nn.functional.max_unpool2d.
    """
    what = f"max_unpool{rank}d"
    with located():
        value, places = value_of(x, what), value_of(indices, what)
        expect_rank(what, "x", value, rank + 2, FORMS[rank - 1])
        if places.shape != value.shape:
            raise error(ShapeError, f"{what}: the shapes differ", help="the pool gave both",
                        notes=[f"x: {value.type}", f"indices: {places.type}"])  # fmt: skip
        window, pad = _each(what, rank, kernel_size), _each(what, rank, padding)
        step = window if stride is None else _each(what, rank, stride)
        least = [(d - 1) * s - 2 * p + k for d, s, p, k in zip(value.shape[2:], step, pad, window, strict=True)]
        image = least if output_size is None else _each(what, rank, output_size)
        lead, count = value.shape[:2], dim_product(value.shape[2:])
        zeros = full(0.0, (*lead, dim_product(image)), value.dtype)
        flat = [shaping.reshape(v, (*lead, count)) for v in (places, value)]
        return wrap(shaping.reshape(indexing.scatter(zeros, flat[0], flat[1], 2), (*lead, *image)))


def _each(what: str, rank: int, given: Ints) -> list[Dim]:
    """A number for each spatial axis; a full shape gives its last ones."""
    numbers = [given] * rank if isinstance(given, int) else list(given)[-rank:]
    if len(numbers) != rank:
        raise error(ArgumentError, f"{what}: {given!r} is not for {rank} axes", help="one int, or one for each axis")
    return [*numbers]
