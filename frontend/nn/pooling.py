"""Pooling layers. Names, arguments and defaults are PyTorch's."""

from __future__ import annotations

from chainrule.frontend.functions import windows
from chainrule.frontend.functions.windows import Ints
from chainrule.frontend.nn.module import Module
from chainrule.frontend.tensor import Operand, Tensor


class MaxPool(Module):
    """What the max pools share: the largest of each window; stride=None puts windows side by side."""

    rank = 0

    def __init__(self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, dilation: Ints = 1,
                 ceil_mode: bool = False) -> None:  # fmt: skip
        self.kernel_size, self.padding, self.dilation, self.ceil_mode = kernel_size, padding, dilation, ceil_mode
        self.stride = kernel_size if stride is None else stride

    def forward(self, x: Operand) -> Tensor:
        pool = (windows.max_pool1d, windows.max_pool2d, windows.max_pool3d)[self.rank - 1]
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
