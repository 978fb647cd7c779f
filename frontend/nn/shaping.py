"""Layers that rearrange, pad and resample. Names, arguments and defaults are PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions import images, patches
from chainrule.frontend.functions import shape as shapes
from chainrule.frontend.functions.windows import Ints
from chainrule.frontend.nn.module import Module
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Operand, Tensor, as_tensor


class Flatten(Module):
    """The axes from start_dim to end_dim joined into one. [N, C, H, W] -> [N, C*H*W] by default."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Operand) -> Tensor:
        return shapes.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One axis split into axes of the sizes unflattened_size."""

    def __init__(self, dim: int, unflattened_size: Sequence[Any]) -> None:
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, x: Operand) -> Tensor:
        return shapes.unflatten(x, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class PixelShuffle(Module):
    """[N, C*r*r, H, W] -> [N, C, H*r, W*r] with r = upscale_factor."""

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = upscale_factor

    def forward(self, x: Operand) -> Tensor:
        return images.pixel_shuffle(x, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """[N, C, H*r, W*r] -> [N, C*r*r, H, W] with r = downscale_factor."""

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = downscale_factor

    def forward(self, x: Operand) -> Tensor:
        return images.pixel_unshuffle(x, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """The channels of x, written as [groups, C/groups], transposed."""

    def __init__(self, groups: int) -> None:
        self.groups = groups

    def forward(self, x: Operand) -> Tensor:
        return images.channel_shuffle(x, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class Upsample(Module):
    """x [N, C, *S] sampled to `size`, or to its size times scale_factor; modes as in cr.interpolate."""

    def __init__(
        self,
        size: Any = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, x: Operand) -> Tensor:
        return images.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners,
                                  self.recompute_scale_factor)  # fmt: skip

    def extra_repr(self) -> str:
        how = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{how}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """x [N, C, H, W] sampled by its nearest pixels."""

    def __init__(self, size: Any = None, scale_factor: float | Sequence[float] | None = None) -> None:
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """x [N, C, H, W] sampled linearly between its pixels; corners stay corners."""

    def __init__(self, size: Any = None, scale_factor: float | Sequence[float] | None = None) -> None:
        super().__init__(size, scale_factor, "bilinear", align_corners=True)


class Unfold(Module):
    """The patches of x [N, C, H, W] as columns: [N, C*KH*KW, PATCHES]."""

    def __init__(self, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1) -> None:
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, x: Operand) -> Tensor:
        return patches.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, "
                f"stride={self.stride}")  # fmt: skip


class Fold(Unfold):
    """Columns of patches [N, C*KH*KW, PATCHES] added up to an image [N, C, *output_size]."""

    def __init__(self, output_size: Ints, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0,
                 stride: Ints = 1) -> None:  # fmt: skip
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = output_size

    def forward(self, x: Operand) -> Tensor:
        return patches.fold(x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)


class Pad(Module):
    """What the padding layers share. padding: one number for all sides, or (left, right, top, bottom, ...) as PyTorch
    orders them: the last axis first. Negative numbers cut off."""

    rank = 0
    mode = "constant"
    value = 0.0

    def __init__(self, padding: int | Sequence[int]) -> None:
        sides = (padding,) * (2 * self.rank) if isinstance(padding, int) else tuple(padding)
        if len(sides) != 2 * self.rank:
            what = f"{type(self).__name__}: padding {padding!r}"
            raise error(ArgumentError, f"{what} does not have {2 * self.rank} numbers",
                        help="one int, or (left, right, top, bottom, ...)")  # fmt: skip
        self.padding = sides

    def forward(self, x: Operand) -> Tensor:
        x = as_tensor(x, type(self).__name__)
        if x.ndim < self.rank + 1:
            raise error(ShapeError, f"{type(self).__name__}: x has {x.ndim} axes", notes=[f"x: {x.value.type}"],
                        help="x is [N, C, *S]")  # fmt: skip
        pairs = [self.padding[2 * i : 2 * i + 2] for i in reversed(range(self.rank))]
        return shapes.pad(x, [(0, 0)] * (x.ndim - self.rank) + pairs, self.mode, self.value)

    def extra_repr(self) -> str:
        return str(self.padding)


class ZeroPad1d(Pad):
    """Zeros around x [N, C, T]."""

    rank = 1


class ZeroPad2d(Pad):
    """Zeros around x [N, C, H, W]."""

    rank = 2


class ZeroPad3d(Pad):
    """Zeros around x [N, C, D, H, W]."""

    rank = 3


class ReflectionPad1d(Pad):
    """x [N, C, T] mirrored at its ends, without the end itself."""

    rank, mode = 1, "reflect"


class ReflectionPad2d(Pad):
    """x [N, C, H, W] mirrored at its edges, without the edge itself."""

    rank, mode = 2, "reflect"


class ReflectionPad3d(Pad):
    """x [N, C, D, H, W] mirrored at its faces, without the face itself."""

    rank, mode = 3, "reflect"


class ReplicationPad1d(Pad):
    """x [N, C, T] with its ends repeated."""

    rank, mode = 1, "edge"


class ReplicationPad2d(Pad):
    """x [N, C, H, W] with its edges repeated."""

    rank, mode = 2, "edge"


class ReplicationPad3d(Pad):
    """x [N, C, D, H, W] with its faces repeated."""

    rank, mode = 3, "edge"


class CircularPad1d(Pad):
    """x [N, C, T] continued by itself."""

    rank, mode = 1, "wrap"


class CircularPad2d(Pad):
    """x [N, C, H, W] continued by itself."""

    rank, mode = 2, "wrap"


class CircularPad3d(Pad):
    """x [N, C, D, H, W] continued by itself."""

    rank, mode = 3, "wrap"


class ConstantPad(Pad):
    """What the constant pads share: `value` around x."""

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(ConstantPad):
    """A number around x [N, C, T]."""

    rank = 1


class ConstantPad2d(ConstantPad):
    """A number around x [N, C, H, W]."""

    rank = 2


class ConstantPad3d(ConstantPad):
    """A number around x [N, C, D, H, W]."""

    rank = 3
