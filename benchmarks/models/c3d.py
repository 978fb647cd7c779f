"""A small C3D for clips of 16 frames. Source: Tran et al., "Learning spatiotemporal features with 3D convolutions"."""

from __future__ import annotations

import chainrule as cr
from chainrule.frontend import nn


def build(batch: int | str = 1, size: int = 64) -> tuple[nn.Module, tuple[object, ...]]:
    """Convolutions of 3x3x3 at half of C3D's channels: the model in inference mode and the specs of its inputs."""

    def conv(ins: int, outs: int) -> list[nn.Module]:
        return [nn.Conv3d(ins, outs, 3, padding=1), nn.ReLU()]

    rest = size // 16
    model = nn.Sequential(
        *conv(3, 32), nn.MaxPool3d((1, 2, 2)), *conv(32, 64), nn.MaxPool3d(2), *conv(64, 128), *conv(128, 128),
        nn.MaxPool3d(2), *conv(128, 256), *conv(256, 256), nn.MaxPool3d(2),
        nn.Flatten(), nn.Linear(256 * 2 * rest * rest, 512), nn.ReLU(), nn.Linear(512, 101),
    )  # fmt: skip
    return model.eval(), (cr.spec(batch, 3, 16, size, size),)
