"""U-Net with padded convolutions, of 256x256 images. Source: Ronneberger et al. 2015, figure 1, with padding."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import chainrule as cr
from chainrule import nn


def double(ins: int, outs: int) -> nn.Module:
    """Two convolutions of 3x3 with ReLU."""
    return nn.Sequential(nn.Conv2d(ins, outs, 3, padding=1), nn.ReLU(), nn.Conv2d(outs, outs, 3, padding=1), nn.ReLU())


class UNet(nn.Module):
    """x: [N, ins, H, W], sides a multiple of 16 -> scores [N, classes, H, W]."""

    def __init__(self, ins: int = 3, classes: int = 2, width: int = 32) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(5)]
        self.down = nn.ModuleList([double(i, o) for i, o in zip([ins, *widths], widths, strict=False)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(o, i, 2, 2) for i, o in pairwise(widths)])
        self.merge = nn.ModuleList([double(2 * w, w) for w in widths[:-1]])
        self.last = nn.Conv2d(width, classes, 1)

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        passed: list[cr.Tensor] = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else cr.max_pool2d(x, 2))
            passed.append(x)
        for i in reversed(range(len(passed) - 1)):
            x = self.merge[i](cr.concatenate([passed[i], self.up[i](x)], 1))
        return self.last(x)


def build(batch: int | str = 1, size: int | str = 256) -> tuple[nn.Module, tuple[Any, ...]]:
    """The network and the spec of its image."""
    cr.manual_seed(0)
    return UNet(), (cr.spec(batch, 3, size, size),)
