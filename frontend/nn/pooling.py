"""Pooling layers. Names, arguments and defaults are PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.frontend.functions import unpooling, windows
from chainrule.frontend.functions.windows import Ints, Sizes
from chainrule.frontend.nn.module import Module
from chainrule.frontend.tensor import Operand, Tensor

MAX_POOLS: tuple[Sequence[Callable[..., Tensor | tuple[Tensor, Tensor]]], ...] = (
    (windows.max_pool1d, windows.max_pool2d, windows.max_pool3d),
    (unpooling.max_pool1d_with_indices, unpooling.max_pool2d_with_indices, unpooling.max_pool3d_with_indices),
)


class MaxPool(Module):
    """What the max pools share: the largest of each window; stride=None puts windows side by side.

    return_indices gives where each stands, too, as the MaxUnpool layers take it.
    """

    rank = 0

    def __init__(self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
                 return_indices: bool = False, ceil_mode: bool = False) -> None:  # fmt: skip
        self.kernel_size, self.padding, self.dilation, self.ceil_mode = kernel_size, padding, dilation, ceil_mode
        self.stride, self.return_indices = kernel_size if stride is None else stride, return_indices

    def forward(self, x: Operand) -> Tensor | tuple[Tensor, Tensor]:
        pool = MAX_POOLS[self.return_indices][self.rank - 1]
        return pool(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        return (f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
                f"dilation={self.dilation}, ceil_mode={self.ceil_mode}")  # fmt: skip


class MaxPool1d(MaxPool):
    """Max pool of x [N, C, T]."""

    rank = 1


class MaxPool2d(MaxPool):
    """Max pool of x [N, C, H, W]."""

    rank = 2


class MaxPool3d(MaxPool):
    """Max pool of x [N, C, D, H, W]."""

    rank = 3


class AvgPool(Module):
    """What the average pools share: the mean of each window; stride=None puts windows side by side."""

    rank = 0

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size, self.padding, self.ceil_mode = kernel_size, padding, ceil_mode
        self.stride = kernel_size if stride is None else stride
        self.count_include_pad = count_include_pad

    def forward(self, x: Operand) -> Tensor:
        pool = (windows.avg_pool1d, windows.avg_pool2d, windows.avg_pool3d)[self.rank - 1]
        return pool(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(AvgPool):
    """Average pool of x [N, C, T]."""

    rank = 1


class AvgPool2d(AvgPool):
    """Average pool of x [N, C, H, W]."""

    rank = 2


class AvgPool3d(AvgPool):
    """Average pool of x [N, C, D, H, W]."""

    rank = 3


class Adaptive(Module):
    """What the adaptive pools share: output_size windows that cover each axis evenly; None keeps an axis."""

    pool: Callable[[Operand, Sizes], Tensor]

    def __init__(self, output_size: Sizes) -> None:
        self.output_size = output_size

    def forward(self, x: Operand) -> Tensor:
        return type(self).pool(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(Adaptive):
    """The means of output_size windows of x [N, C, T]."""

    pool = staticmethod(windows.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(Adaptive):
    """The means of output_size windows of x [N, C, H, W]."""

    pool = staticmethod(windows.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(Adaptive):
    """The means of output_size windows of x [N, C, D, H, W]."""

    pool = staticmethod(windows.adaptive_avg_pool3d)


class AdaptiveMaxPool1d(Adaptive):
    """The largest of output_size windows of x [N, C, T]."""

    pool = staticmethod(windows.adaptive_max_pool1d)


class AdaptiveMaxPool2d(Adaptive):
    """The largest of output_size windows of x [N, C, H, W]."""

    pool = staticmethod(windows.adaptive_max_pool2d)


class AdaptiveMaxPool3d(Adaptive):
    """The largest of output_size windows of x [N, C, D, H, W]."""

    pool = staticmethod(windows.adaptive_max_pool3d)


class LPPool(Module):
    """What the power-average pools share: (sum of |x|^norm_type)^(1/norm_type) of each window."""

    rank = 0

    def __init__(self, norm_type: float, kernel_size: Ints, stride: Ints | None = None,
                 ceil_mode: bool = False) -> None:  # fmt: skip
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, x: Operand) -> Tensor:
        pool = (windows.lp_pool1d, windows.lp_pool2d, windows.lp_pool3d)[self.rank - 1]
        return pool(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        return f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}"


class LPPool1d(LPPool):
    """Power-average pool of x [N, C, T]."""

    rank = 1


class LPPool2d(LPPool):
    """Power-average pool of x [N, C, H, W]."""

    rank = 2


class LPPool3d(LPPool):
    """Power-average pool of x [N, C, D, H, W]."""

    rank = 3


class MaxUnpool(Module):
    """What the max unpools share: zeros with a max pool's results at the places that it told."""

    rank = 0

    def __init__(self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0) -> None:
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride

    def forward(self, x: Operand, indices: Operand, output_size: Ints | None = None) -> Tensor:
        back = (unpooling.max_unpool1d, unpooling.max_unpool2d, unpooling.max_unpool3d)[self.rank - 1]
        return back(x, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(MaxUnpool):
    """The way back of a max pool to x [N, C, T]."""

    rank = 1


class MaxUnpool2d(MaxUnpool):
    """The way back of a max pool to x [N, C, H, W]."""

    rank = 2


class MaxUnpool3d(MaxUnpool):
    """The way back of a max pool to x [N, C, D, H, W]."""

    rank = 3
