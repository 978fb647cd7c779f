"""What convolutions share whose kernels multiply several narrow numbers in one step: bytes, and pairs of bf16."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ir.dims import Dim
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, f32
from chainrule.ops.conv import taps
from chainrule.ops.lowered import check_axes, from_groups, padded_room, panel_count


@dataclass(frozen=True)
class GroupedConv(Op):
    """Convolution of an image with its channels last, `group` numbers to a step. x: [N, *S, C],
    panels: [groups, P, steps, group*width].

    The attributes are PanelConv's. The depth goes run by run of what lies in a row (runs_of): a run of n numbers takes
    ceil(n/group) steps, and step s, place group*j + i of a panel holds the weight of number group*s + i of the run for
    column j, which must be 0 beyond its end.
    """

    group: ClassVar[int]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    channels: int
    sizes: tuple[Dim, ...]
    spread: tuple[int, ...]

    def runs(self, ins: int) -> tuple[int, int]:
        """runs_of for an image of so many channels."""
        return runs_of(self.kernel, ins // self.groups, self.groups, self.dilation, self.spread)

    def check(self, x: TensorType, panels: TensorType) -> None:
        """Raises ShapeError unless the panels hold these channels for x."""
        check_axes(x.with_dtype(f32), self.kernel, self.stride, self.pad, self.dilation, self.sizes, self.spread)
        ins, row = x.shape[-1], panels.shape[-1]
        fits = isinstance(ins, int) and isinstance(row, int) and panels.rank == 4 and not (
            ins % self.groups or self.channels % self.groups or row % self.group) and row > 0  # fmt: skip
        if not fits or panels.shape != self._panels(int(ins), int(row)):  # type: ignore[arg-type]
            raise ShapeError(f"{panels} does not hold {self.channels} channels of {self.groups} groups for {x}")

    def _panels(self, ins: int, row: int) -> tuple[Dim, ...]:
        count, length = self.runs(ins)
        panels = panel_count(self.channels // self.groups, row // self.group)
        return (self.groups, panels, count * -(-length // self.group), row)

    def weight_of(self, panels: Array, ins: int) -> Array:
        """The weight [groups, *kernel, channels of a group, outputs of a group] that panels hold."""
        outs = self.channels // self.groups
        count, length = self.runs(ins)
        rows = from_groups(panels, self.group, outs).reshape(self.groups, count, -1, outs)[:, :, :length]
        return rows.reshape(self.groups, *self.kernel, ins // self.groups, outs)

    def summed(self, x: Array, weight: Array) -> Array:
        """The sums in x's own type; 0 outside of x."""
        ins, outs = x.shape[-1] // self.groups, self.channels // self.groups
        room, sizes = padded_room(x, self.kernel, self.stride, self.pad, self.dilation, self.sizes, self.spread)
        y = np.zeros((x.shape[0], *sizes, self.groups, outs), x.dtype)
        for tap, window in taps(self.kernel, sizes, self.stride, self.dilation):
            part = room[(slice(None), *window)].reshape(x.shape[0], *sizes, self.groups, 1, ins)
            y += np.matmul(part, weight[(slice(None), *tap)])[..., 0, :]
        return y.reshape(x.shape[0], *sizes, self.channels)


def runs_of(kernel: Sequence[int], ins: int, groups: int, dilation: Sequence[int],
            spread: Sequence[int]) -> tuple[int, int]:  # fmt: skip
    """How many runs of neighbouring numbers a window has, and their length; ins: channels of a group.

    A run is a row of the kernel, or one tap where groups, dilation or what lies between pixels keep taps apart.
    """
    if groups == 1 and dilation[-1] == 1 and spread[-1] == 1:
        return math.prod(kernel[:-1]), kernel[-1] * ins
    return math.prod(kernel), ins
