"""SqueezeNet 1.1. Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters"."""

from __future__ import annotations

import chainrule as cr
from chainrule.frontend import nn


class Fire(nn.Module):
    """A squeezing 1x1, then a 1x1 and a 3x3 side by side, concatenated."""

    def __init__(self, ins: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(ins, squeezed, 1)
        self.expand1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        x = cr.relu(self.squeeze(x))
        return cr.concatenate([cr.relu(self.expand1(x)), cr.relu(self.expand3(x))], 1)


class SqueezeNet(nn.Module):
    """x: [N, 3, H, W] -> scores [N, 1000]."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(64, 16, 64), Fire(128, 16, 64), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(128, 32, 128), Fire(256, 32, 128), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
        )  # fmt: skip
        self.classifier = nn.Conv2d(512, classes, 1)

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        return cr.mean(cr.relu(self.classifier(self.features(x))), axis=(2, 3))


def build(batch: int | str = 1, size: int | str = 224) -> tuple[nn.Module, tuple[object, ...]]:
    """The model in inference mode and the specs of its inputs."""
    return SqueezeNet().eval(), (cr.spec(batch, 3, size, size),)
