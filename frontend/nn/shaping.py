"""Layers that only rearrange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.frontend.functions import shape as shapes
from chainrule.frontend.nn.module import Module
from chainrule.frontend.tensor import Operand, Tensor


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
