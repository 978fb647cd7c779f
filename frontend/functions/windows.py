"""Convolutions and pools, with PyTorch's names and arguments. Images are [N, C, *S]; an unbatched [C, *S] is taken too.

padding: a number, one number for each spatial axis, or "same" / "valid" for convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainrule.errors import ShapeError
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, float_value_of, value_of, values_of, wrap
from chainrule.ir.graph import Value
from chainrule.ops import conv, pool, pools, shaping

Ints = int | Sequence[int]
Sizes = int | Sequence[int | None] | None


def conv1d(x: Operand, weight: Operand, bias: Operand | None = None, stride: Ints = 1, padding: Ints | str = 0,
           dilation: Ints = 1, groups: int = 1) -> Tensor:  # fmt: skip
    """Convolution of x [N, IN, T] with weight [OUT, IN/groups, K] -> [N, OUT, T']."""
    return _conv(1, x, weight, bias, stride, padding, dilation, groups)


def conv2d(x: Operand, weight: Operand, bias: Operand | None = None, stride: Ints = 1, padding: Ints | str = 0,
           dilation: Ints = 1, groups: int = 1) -> Tensor:  # fmt: skip
    """Convolution of x [N, IN, H, W] with weight [OUT, IN/groups, KH, KW] -> [N, OUT, H', W']."""
    return _conv(2, x, weight, bias, stride, padding, dilation, groups)


def conv3d(x: Operand, weight: Operand, bias: Operand | None = None, stride: Ints = 1, padding: Ints | str = 0,
           dilation: Ints = 1, groups: int = 1) -> Tensor:  # fmt: skip
    """Convolution of x [N, IN, D, H, W] with weight [OUT, IN/groups, KD, KH, KW] -> [N, OUT, D', H', W']."""
    return _conv(3, x, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(x: Operand, weight: Operand, bias: Operand | None = None, stride: Ints = 1, padding: Ints = 0,
                     output_padding: Ints = 0, groups: int = 1, dilation: Ints = 1) -> Tensor:  # fmt: skip
    """Transposed convolution of x [N, IN, T] with weight [IN, OUT/groups, K]."""
    return _conv_transpose(1, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(x: Operand, weight: Operand, bias: Operand | None = None, stride: Ints = 1, padding: Ints = 0,
                     output_padding: Ints = 0, groups: int = 1, dilation: Ints = 1) -> Tensor:  # fmt: skip
    """Transposed convolution of x [N, IN, H, W] with weight [IN, OUT/groups, KH, KW]."""
    return _conv_transpose(2, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(x: Operand, weight: Operand, bias: Operand | None = None, stride: Ints = 1, padding: Ints = 0,
                     output_padding: Ints = 0, groups: int = 1, dilation: Ints = 1) -> Tensor:  # fmt: skip
    """Transposed convolution of x [N, IN, D, H, W] with weight [IN, OUT/groups, KD, KH, KW]."""
    return _conv_transpose(3, x, weight, bias, stride, padding, output_padding, groups, dilation)


def max_pool1d(x: Operand, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
               ceil_mode: bool = False) -> Tensor:  # fmt: skip
    """The largest of each window of x [N, C, T]; stride=None puts windows side by side."""
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool2d(x: Operand, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
               ceil_mode: bool = False) -> Tensor:  # fmt: skip
    """The largest of each window of x [N, C, H, W]; stride=None puts windows side by side."""
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode)


def max_pool3d(x: Operand, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
               ceil_mode: bool = False) -> Tensor:  # fmt: skip
    """The largest of each window of x [N, C, D, H, W]; stride=None puts windows side by side."""
    return _max_pool(3, x, kernel_size, stride, padding, dilation, ceil_mode)


def avg_pool1d(
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of x [N, C, T]; stride=None puts windows side by side."""
    return _avg_pool(1, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of x [N, C, H, W]; stride=None puts windows side by side.

    divisor_override: what the sum of each window is divided by instead of its size.
    """
    return _avg_pool(2, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    x: Operand,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of x [N, C, D, H, W]; stride=None puts windows side by side.

    divisor_override: what the sum of each window is divided by instead of its size.
    """
    return _avg_pool(3, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def adaptive_avg_pool1d(x: Operand, output_size: Sizes) -> Tensor:
    """The means of output_size windows that cover x [N, C, T] evenly."""
    return _adaptive(1, "avg", x, output_size, pools.adaptive_avg_pool)


def adaptive_avg_pool2d(x: Operand, output_size: Sizes) -> Tensor:
    """The means of output_size windows that cover x [N, C, H, W] evenly."""
    return _adaptive(2, "avg", x, output_size, pools.adaptive_avg_pool)


def adaptive_avg_pool3d(x: Operand, output_size: Sizes) -> Tensor:
    """The means of output_size windows that cover x [N, C, D, H, W] evenly."""
    return _adaptive(3, "avg", x, output_size, pools.adaptive_avg_pool)


def adaptive_max_pool1d(x: Operand, output_size: Sizes) -> Tensor:
    """The largest of output_size windows that cover x [N, C, T] evenly."""
    return _adaptive(1, "max", x, output_size, pools.adaptive_max_pool)


def adaptive_max_pool2d(x: Operand, output_size: Sizes) -> Tensor:
    """The largest of output_size windows that cover x [N, C, H, W] evenly."""
    return _adaptive(2, "max", x, output_size, pools.adaptive_max_pool)


def adaptive_max_pool3d(x: Operand, output_size: Sizes) -> Tensor:
    """The largest of output_size windows that cover x [N, C, D, H, W] evenly."""
    return _adaptive(3, "max", x, output_size, pools.adaptive_max_pool)


def lp_pool1d(
    x: Operand, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of |x|^norm_type)^(1/norm_type) of each window of x [N, C, T]."""
    return _lp_pool(1, x, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    x: Operand, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of |x|^norm_type)^(1/norm_type) of each window of x [N, C, H, W]."""
    return _lp_pool(2, x, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    x: Operand, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of |x|^norm_type)^(1/norm_type) of each window of x [N, C, D, H, W]."""
    return _lp_pool(3, x, norm_type, kernel_size, stride, ceil_mode)


def _conv(rank: int, x: Operand, weight: Operand, bias: Operand | None, stride: Ints, padding: Ints | str,
          dilation: Ints, groups: int) -> Tensor:  # fmt: skip
    with located():
        value, kernel, offset = _operands(f"conv{rank}d", x, weight, bias)
        expect_rank(f"conv{rank}d", "weight", kernel, rank + 2, "[OUT, IN/groups, *KERNEL]")
        return wrap(batched(f"conv{rank}d", value, rank,
                            lambda v: conv.conv(v, kernel, offset, stride, padding, dilation, groups)))  # fmt: skip


def _conv_transpose(rank: int, x: Operand, weight: Operand, bias: Operand | None, stride: Ints, padding: Ints,
                    output_padding: Ints, groups: int, dilation: Ints) -> Tensor:  # fmt: skip
    what = f"conv_transpose{rank}d"
    with located():
        value, kernel, offset = _operands(what, x, weight, bias)
        expect_rank(what, "weight", kernel, rank + 2, "[IN, OUT/groups, *KERNEL]")
        return wrap(batched(what, value, rank, lambda v: conv.conv_transpose(
            v, kernel, offset, stride, padding, dilation, groups, output_padding)))  # fmt: skip


def _max_pool(rank: int, x: Operand, kernel_size: Ints, stride: Ints | None, padding: Ints, dilation: Ints,
              ceil_mode: bool) -> Tensor:  # fmt: skip
    with located():
        value = value_of(x, f"max_pool{rank}d")
        return wrap(batched(f"max_pool{rank}d", value, rank,
                            lambda v: pool.max_pool(v, kernel_size, stride, padding, dilation, ceil_mode)))  # fmt: skip


def _avg_pool(rank: int, x: Operand, kernel_size: Ints, stride: Ints | None, padding: Ints, ceil_mode: bool,
              count_include_pad: bool, divisor: int | None = None) -> Tensor:  # fmt: skip
    with located():
        value = float_value_of(x, f"avg_pool{rank}d")

        def pooled(v: Value) -> Value:
            if divisor is not None:
                return pools.divided_pool(v, kernel_size, stride, padding, ceil_mode, divisor)
            return pool.avg_pool(v, kernel_size, stride, padding, ceil_mode, count_include_pad)

        return wrap(batched(f"avg_pool{rank}d", value, rank, pooled))


def _adaptive(rank: int, kind: str, x: Operand, size: Sizes, builder: Callable[[Value, Any], Value]) -> Tensor:
    what = f"adaptive_{kind}_pool{rank}d"
    with located():
        return wrap(batched(what, float_value_of(x, what), rank, lambda v: builder(v, size)))


def _lp_pool(rank: int, x: Operand, norm: float, kernel_size: Ints, stride: Ints | None, ceil_mode: bool) -> Tensor:
    what = f"lp_pool{rank}d"
    with located():
        return wrap(batched(what, float_value_of(x, what), rank,
                            lambda v: pools.lp_pool(v, norm, kernel_size, stride, 0, ceil_mode)))  # fmt: skip


def _operands(what: str, x: Operand, weight: Operand, bias: Operand | None) -> tuple[Value, Value, Value | None]:
    if bias is None:
        value, kernel = values_of(what, x, weight)
        return value, kernel, None
    value, kernel, offset = values_of(what, x, weight, bias)
    return value, kernel, offset


def expect_rank(what: str, name: str, value: Value, rank: int, form: str) -> None:
    """Raises ShapeError unless the value has this many axes."""
    if value.rank != rank:
        raise error(ShapeError, f"{what}: {name} has {value.rank} axes, {rank} are expected",
                    notes=[f"{name}: {value.type}"], help=f"{name} is {form}")  # fmt: skip


def batched(what: str, x: Value, rank: int, body: Callable[[Value], Value]) -> Value:
    """body of x [N, C, *S]; an x without the batch axis gets one for the time of the call."""
    if x.rank == rank + 2:
        return body(x)
    form = ", ".join(("T", "H, W", "D, H, W")[rank - 1 : rank])
    expect_rank(what, "x", x, rank + 1 if x.rank == rank + 1 else rank + 2, f"[N, C, {form}]")
    return shaping.squeeze(body(shaping.unsqueeze(x, 0)), 0)
