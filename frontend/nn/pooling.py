"""Pooling layers. Names, arguments and defaults are PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.errors import ArgumentError
from chainrule.frontend.functions import fractional, unpooling, windows
from chainrule.frontend.functions.fractional import Ratios
from chainrule.frontend.functions.windows import Ints, Sizes
from chainrule.frontend.nn.module import Module
from chainrule.frontend.places import error
from chainrule.frontend.stored import Buffer
from chainrule.frontend.tensor import Operand, Tensor

MAX_POOLS: tuple[Sequence[Callable[..., Tensor | tuple[Tensor, Tensor]]], ...] = (
    (windows.max_pool1d, windows.max_pool2d, windows.max_pool3d),
    (unpooling.max_pool1d_with_indices, unpooling.max_pool2d_with_indices, unpooling.max_pool3d_with_indices),
)
ADAPTIVE_MAX_POOLS: tuple[Sequence[Callable[..., Tensor | tuple[Tensor, Tensor]]], ...] = (
    (windows.adaptive_max_pool1d, windows.adaptive_max_pool2d, windows.adaptive_max_pool3d),
    (unpooling.adaptive_max_pool1d_with_indices, unpooling.adaptive_max_pool2d_with_indices,
     unpooling.adaptive_max_pool3d_with_indices),
)  # fmt: skip


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
        divisor_override: int | None = None,
    ) -> None:
        if divisor_override is not None and self.rank == 1:
            raise error(ArgumentError, "AvgPool1d: divisor_override is for two and three axes",
                        help="scale the result instead")  # fmt: skip
        self.kernel_size, self.padding, self.ceil_mode = kernel_size, padding, ceil_mode
        self.stride = kernel_size if stride is None else stride
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, x: Operand) -> Tensor:
        args = (x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)
        if self.rank == 1:
            return windows.avg_pool1d(*args)
        return (windows.avg_pool2d if self.rank == 2 else windows.avg_pool3d)(*args, self.divisor_override)

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


class AdaptiveMaxPool(Module):
    """What the adaptive max pools share: the largest of output_size windows that cover each axis evenly.

    return_indices gives where each stands, too, as the MaxUnpool layers take it.
    """

    rank = 0

    def __init__(self, output_size: Sizes, return_indices: bool = False) -> None:
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, x: Operand) -> Tensor | tuple[Tensor, Tensor]:
        return ADAPTIVE_MAX_POOLS[self.return_indices][self.rank - 1](x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(AdaptiveMaxPool):
    """The largest of output_size windows of x [N, C, T]."""

    rank = 1


class AdaptiveMaxPool2d(AdaptiveMaxPool):
    """The largest of output_size windows of x [N, C, H, W]."""

    rank = 2


class AdaptiveMaxPool3d(AdaptiveMaxPool):
    """The largest of output_size windows of x [N, C, D, H, W]."""

    rank = 3


class FractionalMaxPool(Module):
    """What the fractional max pools share: windows of kernel_size at random places, as many as output_size says.

    output_ratio: the output's size as a share of the image's, instead. return_indices: as for MaxPool.
    """

    pools: tuple[Callable[..., Tensor | tuple[Tensor, Tensor]], ...]

    def __init__(self, kernel_size: Ints, output_size: Ints | None = None, output_ratio: Ratios | None = None,
                 return_indices: bool = False, _random_samples: object = None) -> None:  # fmt: skip
        fractional.expect_one(type(self).__name__, output_size, output_ratio)
        self.kernel_size, self.output_size, self.output_ratio = kernel_size, output_size, output_ratio
        self.return_indices = return_indices
        self._random_samples = None if _random_samples is None else Buffer(_random_samples)

    def forward(self, x: Operand) -> Tensor | tuple[Tensor, Tensor]:
        pool = type(self).pools[self.return_indices]
        return pool(x, self.kernel_size, self.output_size, self.output_ratio, self._random_samples)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, output_size={self.output_size}, output_ratio={self.output_ratio}"


class FractionalMaxPool2d(FractionalMaxPool):
    """Fractional max pool of x [N, C, H, W]. Source: Graham, arXiv:1412.6071."""

    pools = (fractional.fractional_max_pool2d, fractional.fractional_max_pool2d_with_indices)


class FractionalMaxPool3d(FractionalMaxPool):
    """Fractional max pool of x [N, C, D, H, W]. Source: Graham, arXiv:1412.6071."""

    pools = (fractional.fractional_max_pool3d, fractional.fractional_max_pool3d_with_indices)


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
