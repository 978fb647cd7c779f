"""ResNet-50, the stride in the 3x3 convolution; resnet18.py takes the other one from here. Source: He et al. 2016,
table 1; torchvision for the place of the stride."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import chainrule as cr
from chainrule import nn


class Basic(nn.Module):
    """Two convolutions of 3x3 around a shortcut."""

    expansion = 1

    def __init__(self, ins: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(ins, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(ins, width, stride)

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        y = cr.relu(self.bn1(self.conv1(x)))
        return cr.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 around a shortcut."""

    expansion = 4

    def __init__(self, ins: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(ins, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * 4)
        self.downsample = shortcut(ins, width * 4, stride)

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        y = cr.relu(self.bn1(self.conv1(x)))
        y = cr.relu(self.bn2(self.conv2(y)))
        return cr.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def shortcut(ins: int, outs: int, stride: int) -> nn.Module:
    """The identity, or a 1x1 convolution where sizes change."""
    if ins == outs and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(ins, outs, 1, stride, bias=False), nn.BatchNorm2d(outs))


class ResNet(nn.Module):
    """x: [N, 3, 224, 224] -> scores [N, 1000]. blocks: how many in each of the four stages."""

    def __init__(self, block: type[Basic] | type[Bottleneck], blocks: Sequence[int], classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        layers: list[nn.Module] = []
        ins = 64
        for stage, count in enumerate(blocks):
            for i in range(count):
                width = 64 * 2**stage
                layers.append(block(ins, width, 2 if stage and i == 0 else 1))
                ins = width * block.expansion
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(ins, classes)

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        x = cr.max_pool2d(cr.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.fc(cr.mean(self.layers(x), (2, 3)))


def build(batch: int | str = 1, depth: int = 50, size: int | str = 224) -> tuple[nn.Module, tuple[Any, ...]]:
    """ResNet-18 or ResNet-50, and the spec of its image."""
    cr.manual_seed(0)
    model = ResNet(Basic, (2, 2, 2, 2)) if depth == 18 else ResNet(Bottleneck, (3, 4, 6, 3))
    return model, (cr.spec(batch, 3, size, size),)
