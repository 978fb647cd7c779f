"""Convolutions of one, two and three dimensions, and the two ops that their gradients are.

Conv, ConvTranspose and ConvWeightGrad are the three contractions of one trilinear form: the gradients of each are the
other two, so the family is closed under differentiation of any order. Longer than most files for that reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import Dim, mod
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import DType, TensorType
from chainrule.ops.elementwise import expect_inputs
from chainrule.ops.matmul import accumulator
from chainrule.ops.reduce import sum as reduce_sum
from chainrule.ops.shape_rules import require, same_dtype, window_count
from chainrule.ops.shaping import listed, slice_sized

Ints = int | Sequence[int]


@dataclass(frozen=True)
class Conv(Op):
    """Cross-correlation: y[n,o,p] = sum over c,k of x[n, c, p*stride + k*dilation - pad] * w[o,c,k] (+ bias[o]).

    x: [N, C, *S], w: [O, C/groups, *K], bias: [O] -> [N, O, *T], T = (S + pads - dilation*(K-1) - 1)//stride + 1.
    One to three spatial axes. pad: all begins, then all ends; positions outside x count as 0. groups split C and O into
    equal parts that see only each other. f16 and bf16 accumulate in f32. Empty batches give empty results. Raises
    ShapeError when channels disagree with the weight or the window exceeds the padded image; DTypeError unless floats.
    Source: ONNX Conv-11; torch.nn.functional.conv1d, conv2d, conv3d.
    """

    name: ClassVar[str] = "conv"
    args: ClassVar[tuple[str, ...]] = ("x", "weight", "bias")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "vjp"
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    def mnemonic(self) -> str:
        return f"conv{len(self.stride)}d"

    def infer(self, *types: TensorType) -> TensorType:
        dtype = _check(types, self.stride, self.pad, self.dilation, self.groups,
                       "weight", "[OUT, IN/groups, *KERNEL]")  # fmt: skip
        x, w = types[:2]
        if x.shape[1] != w.shape[1] * self.groups:
            raise ShapeError(f"weight expects {w.shape[1] * self.groups} input channels, x has {x.shape[1]}",
                             help=_weight_help(len(self.stride), self.groups, "OUT", "IN"),
                             apart=(w.shape[1] * self.groups, x.shape[1]))  # fmt: skip
        _check_groups(w.shape[0], self.groups, "output")
        _check_bias(types, w.shape[0])
        sizes = counts(x.shape[2:], kernel_of(w), self.stride, self.pad, self.dilation)
        return TensorType(dtype, (x.shape[0], w.shape[0], *sizes))

    def ref(self, *arrays: Array) -> Array:
        x, w = arrays[:2]
        kernel = w.shape[2:]
        padded = pad_spatial(x.astype(accumulator(x.dtype), copy=False), self.pad)
        weight = _grouped(w.astype(accumulator(w.dtype), copy=False), self.groups)
        sizes = _sizes(x.shape[2:], kernel, self.stride, self.pad, self.dilation)
        y = np.zeros((x.shape[0], self.groups, weight.shape[1], math.prod(sizes)), padded.dtype)
        with np.errstate(all="ignore"):
            for tap, window in taps(kernel, sizes, self.stride, self.dilation):
                part = flat_image(padded[(..., *window)], (x.shape[0], self.groups, weight.shape[2]), len(sizes))
                y += np.matmul(weight[(..., *tap)], part)
        return _with_bias(y.reshape(x.shape[0], w.shape[0], *sizes), arrays)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        x, w = inputs[:2]
        (dy,) = grads
        back = ConvTranspose(self.stride, self.pad, self.dilation, self.groups,
                             (0,) * len(self.stride), x.shape[2:])  # fmt: skip
        dw = build(ConvWeightGrad(kernel_of(w.tensor), self.stride, self.pad, self.dilation, self.groups), x, dy)
        return build(back, dy, w), dw, *_bias_grad(inputs, dy)


@dataclass(frozen=True)
class ConvTranspose(Op):
    """The gradient of Conv for its input: every x[n,c,p] adds x*w[c,o,k] to y[n, o, p*stride + k*dilation - pad].

    x: [N, C, *S], w: [C, O/groups, *K], bias: [O] -> [N, O, *T],
    T = (S-1)*stride + dilation*(K-1) + 1 - pads + output_padding, or output_size where it is given (each of its sizes
    must be one that Conv brings back to S). What falls outside y is dropped; where nothing falls y is the bias. f16 and
    bf16 accumulate in f32. Raises ShapeError when channels disagree or the result would have a negative size.
    Source: ONNX ConvTranspose-11; torch.nn.functional.conv_transpose1d, 2d, 3d; Dumoulin and Visin,
    arXiv:1603.07285, section 4.
    """

    name: ClassVar[str] = "conv_transpose"
    args: ClassVar[tuple[str, ...]] = ("x", "weight", "bias")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "vjp"
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    output_padding: tuple[int, ...] = ()
    output_size: tuple[Dim, ...] | None = None

    @property
    def mnemonic(self) -> str:
        return f"conv_transpose{len(self.stride)}d"

    def infer(self, *types: TensorType) -> TensorType:
        dtype = _check(types, self.stride, self.pad, self.dilation, self.groups,
                       "weight", "[IN, OUT/groups, *KERNEL]")  # fmt: skip
        x, w = types[:2]
        if x.shape[1] != w.shape[0]:
            raise ShapeError(f"weight expects {w.shape[0]} input channels, x has {x.shape[1]}",
                             help=_weight_help(len(self.stride), self.groups, "IN", "OUT"),
                             apart=(w.shape[0], x.shape[1]))  # fmt: skip
        _check_groups(w.shape[0], self.groups, "input")
        channels = w.shape[1] * self.groups
        _check_bias(types, channels)
        return TensorType(dtype, (x.shape[0], channels, *self._result_sizes(x, kernel_of(w))))

    def _result_sizes(self, x: TensorType, kernel: tuple[int, ...]) -> tuple[Dim, ...]:
        rank = len(self.stride)
        if self.output_size is not None:
            if len(self.output_size) != rank or any(self.output_padding):
                raise ArgumentError(f"output_size {self.output_size} does not go with {rank} spatial axes "
                                    f"and output_padding {self.output_padding}")  # fmt: skip
            back = counts(self.output_size, kernel, self.stride, self.pad, self.dilation)
            if back != x.shape[2:]:
                raise ShapeError(f"no convolution takes an image of {listed(self.output_size)} to one of "
                                 f"{listed(x.shape[2:])}: it gives {listed(back)}",
                                 help="it may be (S-1)*stride + dilation*(K-1) + 1 - pads + (0..stride-1)")  # fmt: skip
            return self.output_size
        if len(self.output_padding) != rank or any(p < 0 for p in self.output_padding):
            raise ArgumentError(f"output_padding {self.output_padding} does not fit {rank} spatial axes",
                                help="one number >= 0 for each axis")  # fmt: skip
        full = (
            (x.shape[2 + i] - 1) * self.stride[i] + reach(kernel, self.dilation)[i] + self.output_padding[i]
            - self.pad[i] - self.pad[i + rank]
            for i in range(rank)
        )  # fmt: skip
        sizes = tuple(full)
        if any(isinstance(size, int) and size < 0 for size in sizes):
            raise ShapeError(f"padding {self.pad} crops the image to a negative size: {listed(sizes)}",
                             help="use less padding, or output_padding")  # fmt: skip
        return sizes

    def ref(self, *arrays: Array) -> Array:
        x, w = arrays[:2]
        rank, kernel = len(self.stride), w.shape[2:]
        inner = x.astype(accumulator(x.dtype), copy=False)
        inner = flat_image(inner, (x.shape[0], self.groups, x.shape[1] // self.groups), rank)
        weight = np.swapaxes(_grouped(w.astype(accumulator(w.dtype), copy=False), self.groups), 1, 2)
        sizes = self._array_sizes(x.shape[2:], kernel)
        # The room that all taps reach, and the room that the result is cut from: whichever is larger.
        room = tuple(
            max(max(x.shape[2 + i] - 1, 0) * self.stride[i] + reach(kernel, self.dilation)[i],
                sizes[i] + self.pad[i]) for i in range(rank)
        )  # fmt: skip
        y = np.zeros((x.shape[0], self.groups * w.shape[1], *room), inner.dtype)
        with np.errstate(all="ignore"):
            for tap, window in taps(kernel, x.shape[2:], self.stride, self.dilation):
                part = np.matmul(weight[(..., *tap)], inner)
                y[(..., *window)] += part.reshape(x.shape[0], y.shape[1], *x.shape[2:])
        kept = tuple(slice(self.pad[i], self.pad[i] + sizes[i]) for i in range(rank))
        return _with_bias(y[(..., *kept)], arrays)

    def _array_sizes(self, sizes: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        rank = len(self.stride)
        if self.output_size is not None:
            return tuple(int(size) for size in self.output_size)
        return tuple(
            (sizes[i] - 1) * self.stride[i] + reach(kernel, self.dilation)[i] + self.output_padding[i]
            - self.pad[i] - self.pad[i + rank]
            for i in range(rank)
        )  # fmt: skip

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        x, w = inputs[:2]
        (dy,) = grads
        kernel = kernel_of(w.tensor)
        seen, pad = self._seen(dy)
        dx = build(Conv(self.stride, pad, self.dilation, self.groups), seen, w)
        dw = build(ConvWeightGrad(kernel, self.stride, pad, self.dilation, self.groups), seen, x)
        return dx, dw, *_bias_grad(inputs, dy)

    def _seen(self, dy: Value) -> tuple[Value, tuple[int, ...]]:
        """The part of dy that inputs reach, and the padding with which Conv brings it back to the size of x."""
        if all(extra < stride for extra, stride in zip(self.output_padding, self.stride, strict=False)):
            return dy, self.pad
        rank = len(self.stride)
        cut = [max(0, self.output_padding[i] - self.pad[i + rank]) for i in range(rank)]
        ends = [max(0, self.pad[i + rank] - self.output_padding[i]) for i in range(rank)]
        sizes = (*dy.shape[:2], *(dy.shape[2 + i] - cut[i] for i in range(rank)))
        return slice_sized(dy, (0,) * dy.rank, sizes), (*self.pad[:rank], *ends)


@dataclass(frozen=True)
class ConvWeightGrad(Op):
    """The gradient of Conv for its weight: dw[o,c,k] = sum over n,p of dy[n,o,p]*x[n, c, p*stride + k*dilation - pad].

    x: [N, C, *S], dy: [N, O, *T] -> [O, C/groups, *kernel]; T as Conv makes it from S. An empty batch gives zeros. f16
    and bf16 accumulate in f32. Raises ShapeError when dy is not of the shape that Conv gives.
    Source: the gradient of ONNX Conv-11; torch.nn.grad.conv2d_weight.
    """

    name: ClassVar[str] = "conv_weight_grad"
    args: ClassVar[tuple[str, ...]] = ("x", "dy")
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "vjp"
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    def mnemonic(self) -> str:
        return f"conv_weight_grad{len(self.stride)}d"

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        x, dy = types
        check_window(len(self.stride), self.kernel, self.stride, self.pad, self.dilation)
        dtype = _check(types, self.stride, self.pad, self.dilation, self.groups, "dy", "[N, OUT, *IMAGE]")
        _check_groups(x.shape[1], self.groups, "input")
        _check_groups(dy.shape[1], self.groups, "output")
        expected = (x.shape[0], dy.shape[1], *counts(x.shape[2:], self.kernel, self.stride, self.pad, self.dilation))
        if dy.shape != expected:
            raise ShapeError(f"dy is {listed(dy.shape)}, the convolution of x gives {listed(expected)}")
        return TensorType(dtype, (dy.shape[1], x.shape[1] // self.groups, *self.kernel))

    def ref(self, *arrays: Array) -> Array:
        x, dy = (a.astype(accumulator(a.dtype), copy=False) for a in arrays)
        n, sizes = x.shape[0], dy.shape[2:]
        padded = pad_spatial(x, self.pad)
        lead = (n, self.groups, x.shape[1] // self.groups)
        slope = np.moveaxis(flat_image(dy, (n, self.groups, dy.shape[1] // self.groups), len(sizes)), 0, 2)
        slope = flat_image(slope, slope.shape[:2], 2)
        dw = np.zeros((dy.shape[1], x.shape[1] // self.groups, *self.kernel), x.dtype)
        with np.errstate(all="ignore"):
            for tap, window in taps(self.kernel, sizes, self.stride, self.dilation):
                part = flat_image(padded[(..., *window)], lead, len(sizes))
                part = flat_image(np.moveaxis(part, 0, 2), lead[1:], 2)
                dw[(..., *tap)] = np.matmul(slope, np.swapaxes(part, 1, 2)).reshape(dw.shape[:2])
        return dw.astype(arrays[0].dtype, copy=False)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        x, dy = inputs
        (g,) = grads
        back = ConvTranspose(self.stride, self.pad, self.dilation, self.groups,
                             (0,) * len(self.stride), x.shape[2:])  # fmt: skip
        return build(back, dy, g), build(Conv(self.stride, self.pad, self.dilation, self.groups), x, g)


def kernel_of(weight: TensorType) -> tuple[int, ...]:
    """The kernel sizes of a weight. Raises ShapeError for symbolic ones: the loops over a kernel are unrolled."""
    sizes = weight.shape[2:]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ShapeError(f"the kernel {listed(sizes)} is not made of positive numbers",
                         help="batch, channels of one group and image may be symbolic, the kernel may not")  # fmt: skip
    return tuple(int(size) for size in sizes)  # type: ignore[arg-type]


def reach(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """How many elements a dilated kernel spans along each axis."""
    return tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))


def counts(sizes: Sequence[Dim], kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int],
           dilation: Sequence[int]) -> tuple[Dim, ...]:  # fmt: skip
    """How many positions the kernel takes along each spatial axis. Raises ShapeError when it does not fit."""
    rank = len(stride)
    return tuple(
        window_count(sizes[i], kernel[i], stride[i], (pad[i], pad[i + rank]), dilation[i]) for i in range(rank)
    )


def _sizes(sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int],
           dilation: Sequence[int]) -> tuple[int, ...]:  # fmt: skip
    """`counts` for arrays: an image that came out too small at run time has no positions."""
    rank, spans = len(stride), reach(kernel, dilation)
    return tuple(max(0, (sizes[i] + pad[i] + pad[i + rank] - spans[i]) // stride[i] + 1) for i in range(rank))


def check_window(rank: int, kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int],
                 dilation: Sequence[int]) -> None:  # fmt: skip
    """The attributes of a window belong to `rank` spatial axes and are in range. Raises ArgumentError."""
    if not 1 <= rank <= 3:
        raise ArgumentError(f"stride {tuple(stride)} has {rank} axes", help="1, 2 or 3 spatial axes are built")
    for what, numbers, count, least in (("kernel", kernel, rank, 1), ("stride", stride, rank, 1),
                                        ("pad", pad, 2 * rank, 0), ("dilation", dilation, rank, 1)):  # fmt: skip
        if len(numbers) != count or any(number < least for number in numbers):
            raise ArgumentError(f"{what} {tuple(numbers)} is not {count} numbers >= {least}",
                                help="pad lists all begins, then all ends" if what == "pad" else
                                     "one number for each spatial axis")  # fmt: skip


def _check(types: Sequence[TensorType], stride: Sequence[int], pad: Sequence[int], dilation: Sequence[int],
           groups: int, second: str, layout: str) -> DType:  # fmt: skip
    """Attributes, ranks and element types of a convolution's operands. The element type of the result."""
    if len(types) not in (2, 3):
        raise ArgumentError(f"it takes 2 or 3 inputs, {len(types)} were given")
    rank = len(stride)
    check_window(rank, (1,) * rank, stride, pad, dilation)
    dtype = same_dtype(*types)
    require("f", types[0])
    if groups < 1:
        raise ArgumentError(f"groups {groups} is not a number >= 1")
    for what, type, form in (("x", types[0], "[N, C, *IMAGE]"), (second, types[1], layout)):
        if type.rank != rank + 2:
            raise ShapeError(f"{what} has {type.rank} axes, {rank + 2} are expected",
                             help=f"{what} is {form} with {rank} spatial axes")  # fmt: skip
    return dtype


def _check_groups(channels: Dim, groups: int, what: str) -> None:
    if groups > 1 and mod(channels, groups) != 0:
        raise ShapeError(f"{channels} {what} channels do not split into {groups} groups",
                         help=f"{what} channels are a multiple of groups")  # fmt: skip


def _check_bias(types: Sequence[TensorType], channels: Dim) -> None:
    if len(types) == 3 and types[2].shape != (channels,):
        raise ShapeError(f"bias is {types[2]}, the result has {channels} channels", help=f"bias is [{channels}]")


def _weight_help(rank: int, groups: int, first: str, second: str) -> str:
    axes = {1: "K", 2: "KH, KW", 3: "KD, KH, KW"}[rank]
    return f"weight is [{first}, {second}{'/groups' if groups > 1 else ''}, {axes}]"


def _grouped(w: Array, groups: int) -> Array:
    return w.reshape(groups, w.shape[0] // groups, *w.shape[1:])


def pad_spatial(x: Array, pad: Sequence[int], value: float = 0) -> Array:
    """x: [N, C, *S] with its spatial axes widened by pad (begins, then ends)."""
    rank = len(pad) // 2
    widths = [(0, 0), (0, 0), *((pad[i], pad[i + rank]) for i in range(rank))]
    return np.pad(x, widths, constant_values=value) if any(pad) else x


def flat_image(x: Array, lead: tuple[int, ...], rank: int) -> Array:
    """x with its last `rank` axes flattened into one, and the others as `lead`; -1 would not do for empty arrays."""
    return x.reshape(*lead, math.prod(x.shape[x.ndim - rank :]))


def taps(kernel: Sequence[int], sizes: Sequence[int], stride: Sequence[int],
         dilation: Sequence[int]) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:  # fmt: skip
    """Every kernel position, with the slices of the padded image that it meets over all window positions."""
    steps = [math.prod(kernel[i + 1 :]) for i in range(len(kernel))]
    for number in range(math.prod(kernel)):  # one at a time: a kernel may be of any size, its taps are often cut short
        tap = tuple(number // step % size for step, size in zip(steps, kernel, strict=True))
        starts = [k * d for k, d in zip(tap, dilation, strict=True)]
        yield tap, tuple(slice(b, b + max(0, (n - 1) * s + 1), s) if n else slice(0, 0)
                         for b, n, s in zip(starts, sizes, stride, strict=True))  # fmt: skip


def _with_bias(y: Array, arrays: Sequence[Array]) -> Array:
    if len(arrays) == 3:
        y = y + arrays[2].astype(y.dtype, copy=False).reshape(-1, *(1,) * (y.ndim - 2))
    return y.astype(arrays[0].dtype, copy=False)


def _bias_grad(inputs: Sequence[Value], dy: Value) -> tuple[Value, ...]:
    if len(inputs) < 3:
        return ()
    return (reduce_sum(dy, (0, *range(2, dy.rank))),)


def numbers(value: Ints, rank: int, what: str) -> tuple[int, ...]:
    """One number for each axis from one number or a sequence. Raises ArgumentError."""
    if isinstance(value, int):
        return (value,) * rank
    if len(value) != rank:
        raise ArgumentError(f"{what} {tuple(value)} does not have {rank} numbers", help="one for each spatial axis")
    return tuple(int(v) for v in value)


def pads(value: Ints, rank: int) -> tuple[int, ...]:
    """Begins, then ends, from one number, one number per axis (both sides), or both already."""
    if isinstance(value, int):
        return (value,) * (2 * rank)
    if len(value) not in (rank, 2 * rank):
        raise ArgumentError(f"pad {tuple(value)} does not have {rank} or {2 * rank} numbers",
                            help="one for each spatial axis, or all begins, then all ends")  # fmt: skip
    return tuple(int(v) for v in value) * (1 if len(value) == 2 * rank else 2)


def same_pads(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """The padding that keeps sizes at stride 1; the odd one goes to the end. Source: torch padding="same"."""
    total = [r - 1 for r in reach(kernel, dilation)]
    return (*(t // 2 for t in total), *(t - t // 2 for t in total))


def conv(x: Value, weight: Value, bias: Value | None = None, stride: Ints = 1, pad: Ints | str = 0,
         dilation: Ints = 1, groups: int = 1) -> Value:  # fmt: skip
    """Convolution of x [N, C, *S] with weight [O, C/groups, *K]; the number of spatial axes is the weight's.

    pad: a number, one per axis, begins then ends, "valid" (0) or "same" (stride 1 only).
    """
    rank = max(1, weight.rank - 2)
    dilations, strides = numbers(dilation, rank, "dilation"), numbers(stride, rank, "stride")
    if isinstance(pad, str):
        if pad not in ("same", "valid") or (pad == "same" and any(s != 1 for s in strides)):
            raise ArgumentError(f"conv{rank}d: padding {pad!r} with stride {strides}",
                                help='"valid", "same" (with stride 1), or numbers')  # fmt: skip
        pad = same_pads(kernel_of(weight.tensor), dilations) if pad == "same" else 0
    inputs = (x, weight) if bias is None else (x, weight, bias)
    return build(Conv(strides, pads(pad, rank), dilations, groups), *inputs)


def conv_transpose(x: Value, weight: Value, bias: Value | None = None, stride: Ints = 1, pad: Ints = 0,
                   dilation: Ints = 1, groups: int = 1, output_padding: Ints = 0,
                   output_size: Sequence[Dim] | None = None) -> Value:  # fmt: skip
    """Transposed convolution of x [N, C, *S] with weight [C, O/groups, *K]."""
    rank = max(1, weight.rank - 2)
    op = ConvTranspose(numbers(stride, rank, "stride"), pads(pad, rank), numbers(dilation, rank, "dilation"), groups,
                       numbers(output_padding, rank, "output_padding"),
                       None if output_size is None else tuple(output_size))  # fmt: skip
    return build(op, *((x, weight) if bias is None else (x, weight, bias)))


def conv_weight_grad(x: Value, dy: Value, kernel: Sequence[int], stride: Ints = 1, pad: Ints = 0,
                     dilation: Ints = 1, groups: int = 1) -> Value:  # fmt: skip
    """The gradient of conv(x, weight) for its weight, given that of its result."""
    rank = len(kernel)
    return build(ConvWeightGrad(tuple(kernel), numbers(stride, rank, "stride"), pads(pad, rank),
                                numbers(dilation, rank, "dilation"), groups), x, dy)  # fmt: skip


OPS: tuple[type[Op], ...] = (Conv, ConvTranspose, ConvWeightGrad)
