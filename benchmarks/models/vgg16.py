"""VGG-16: 13 convolutions of 3x3 and three products. Source: Simonyan and Zisserman 2015, table 1, column D."""

from __future__ import annotations

from typing import Any

import chainrule as cr
from chainrule import nn

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Vgg16(nn.Module):
    """x: [N, 3, 224, 224] -> scores [N, 1000]."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        ins = 3
        for stage in WIDTHS:
            for outs in stage:
                layers += [nn.Conv2d(ins, outs, 3, padding=1), nn.ReLU()]
                ins = outs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
                                        nn.Linear(4096, classes))  # fmt: skip

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        return self.classifier(cr.flatten(self.features(x), 1))


def build(batch: int | str = 1) -> tuple[nn.Module, tuple[Any, ...]]:
    """The network and the spec of its image."""
    cr.manual_seed(0)
    return Vgg16(), (cr.spec(batch, 3, 224, 224),)
