"""Convolution layers. Names, arguments, defaults and initialisation are PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.errors import ArgumentError
from chainrule.frontend.functions import shape as shapes
from chainrule.frontend.functions import windows
from chainrule.frontend.functions.windows import Ints
from chainrule.frontend.nn.linear import empty_parameter, init_like_linear
from chainrule.frontend.nn.module import Module
from chainrule.frontend.places import error
from chainrule.frontend.stored import Parameter
from chainrule.frontend.tensor import Operand, Tensor, as_tensor

_PADDING_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def numbers(what: str, value: Ints, rank: int) -> tuple[int, ...]:
    """One int for each spatial axis from one int or a sequence. Raises ArgumentError."""
    parts = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(parts) != rank or not all(isinstance(part, int) for part in parts):
        raise error(ArgumentError, f"{what}={value!r} does not have {rank} numbers",
                    help="give one int, or one for each spatial axis")  # fmt: skip
    return parts


class Conv(Module):
    """What the convolution layers share. weight: [out_channels, in_channels/groups, *kernel_size]."""

    rank = 0

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Ints, stride: Ints = 1,
                 padding: Ints | str = 0, dilation: Ints = 1, groups: int = 1, bias: bool = True,
                 padding_mode: str = "zeros", dtype: object = None) -> None:  # fmt: skip
        check_groups(in_channels, out_channels, groups)
        if padding_mode != "zeros" and padding_mode not in _PADDING_MODES:
            raise error(ArgumentError, f"padding_mode {padding_mode!r} is not known",
                        help="zeros, reflect, replicate or circular")  # fmt: skip
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = numbers("kernel_size", kernel_size, self.rank)
        self.stride = numbers("stride", stride, self.rank)
        self.dilation = numbers("dilation", dilation, self.rank)
        self.padding = padding if isinstance(padding, str) else numbers("padding", padding, self.rank)
        self.padding_mode = padding_mode
        self.weight = empty_parameter(out_channels, in_channels // groups, *self.kernel_size, dtype=dtype)
        self.bias = empty_parameter(out_channels, dtype=dtype) if bias else None
        init_like_linear(self.weight, self.bias)

    def forward(self, x: Operand) -> Tensor:
        padding: Ints | str = self.padding
        if self.padding_mode != "zeros":
            x, padding = self._padded(as_tensor(x, "conv")), 0
        conv = (windows.conv1d, windows.conv2d, windows.conv3d)[self.rank - 1]
        return conv(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _padded(self, x: Tensor) -> Tensor:
        """x with its border made by padding_mode."""
        if self.padding == "same":
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            pairs = [(t // 2, t - t // 2) for t in total]
        else:
            pairs = [(0, 0) if self.padding == "valid" else (p, p) for p in self.padding]
        widths = [(0, 0)] * (x.ndim - self.rank) + pairs
        return shapes.pad(x, widths, mode=_PADDING_MODES[self.padding_mode])

    def extra_repr(self) -> str:
        parts = [
            str(self.in_channels),
            str(self.out_channels),
            f"kernel_size={self.kernel_size}",
            f"stride={self.stride}",
        ]
        if self.padding not in ("valid", (0,) * self.rank):
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * self.rank:
            parts.append(f"dilation={self.dilation}")
        return ", ".join(parts + common_repr(self.groups, self.bias, self.padding_mode))


class Conv1d(Conv):
    """Convolution of x [N, in_channels, T], or [in_channels, T]."""

    rank = 1


class Conv2d(Conv):
    """Convolution of x [N, in_channels, H, W], or [in_channels, H, W]."""

    rank = 2


class Conv3d(Conv):
    """Convolution of x [N, in_channels, D, H, W], or [in_channels, D, H, W]."""

    rank = 3


class ConvTranspose(Module):
    """What the transposed convolutions share. weight: [in_channels, out_channels/groups, *kernel_size]."""

    rank = 0

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Ints, stride: Ints = 1, padding: Ints = 0,
                 output_padding: Ints = 0, groups: int = 1, bias: bool = True, dilation: Ints = 1,
                 dtype: object = None) -> None:  # fmt: skip
        check_groups(in_channels, out_channels, groups)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = numbers("kernel_size", kernel_size, self.rank)
        self.stride = numbers("stride", stride, self.rank)
        self.padding = numbers("padding", padding, self.rank)
        self.output_padding = numbers("output_padding", output_padding, self.rank)
        self.dilation = numbers("dilation", dilation, self.rank)
        self.weight = empty_parameter(in_channels, out_channels // groups, *self.kernel_size, dtype=dtype)
        self.bias = empty_parameter(out_channels, dtype=dtype) if bias else None
        init_like_linear(self.weight, self.bias)

    def forward(self, x: Operand) -> Tensor:
        conv = (windows.conv_transpose1d, windows.conv_transpose2d, windows.conv_transpose3d)[self.rank - 1]
        return conv(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )

    def extra_repr(self) -> str:
        parts = [
            str(self.in_channels),
            str(self.out_channels),
            f"kernel_size={self.kernel_size}",
            f"stride={self.stride}",
        ]
        for name, default in (("padding", 0), ("output_padding", 0), ("dilation", 1)):
            value: Sequence[int] = getattr(self, name)
            if value != (default,) * self.rank:
                parts.append(f"{name}={value}")
        return ", ".join(parts + common_repr(self.groups, self.bias, "zeros"))


class ConvTranspose1d(ConvTranspose):
    """Transposed convolution of x [N, in_channels, T]."""

    rank = 1


class ConvTranspose2d(ConvTranspose):
    """Transposed convolution of x [N, in_channels, H, W]."""

    rank = 2


class ConvTranspose3d(ConvTranspose):
    """Transposed convolution of x [N, in_channels, D, H, W]."""

    rank = 3


def check_groups(in_channels: int, out_channels: int, groups: int) -> None:
    """Raises ArgumentError when the channels do not divide by the groups."""
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise error(ArgumentError, f"{in_channels} and {out_channels} channels do not divide into {groups} groups",
                    help="groups divides in_channels and out_channels")  # fmt: skip


def common_repr(groups: int, bias: Parameter | None, padding_mode: str) -> list[str]:
    """The arguments that all convolutions print when they are not the default."""
    parts = [f"groups={groups}"] if groups != 1 else []
    if bias is None:
        parts.append("bias=False")
    return parts + ([f"padding_mode={padding_mode}"] if padding_mode != "zeros" else [])
