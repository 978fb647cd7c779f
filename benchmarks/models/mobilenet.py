"""MobileNetV2 at width 1. Source: Sandler et al., "MobileNetV2: Inverted residuals and linear bottlenecks", table 2."""

from __future__ import annotations

import chainrule as cr
from chainrule.frontend import nn

# expansion, channels, repeats, stride of the first
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def conv_norm(ins: int, outs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution and its batch norm."""
    return nn.Sequential(
        nn.Conv2d(ins, outs, kernel, stride, padding=kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outs)
    )


class InvertedResidual(nn.Module):
    """Expand by a 1x1, filter each channel by a 3x3, project by a 1x1; added to the input where shapes allow."""

    def __init__(self, ins: int, outs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = ins * expansion
        self.expand = conv_norm(ins, hidden) if expansion != 1 else None
        self.filter = conv_norm(hidden, hidden, 3, stride, groups=hidden)
        self.project = conv_norm(hidden, outs)
        self.residual = stride == 1 and ins == outs

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        y = x if self.expand is None else cr.relu6(self.expand(x))
        y = self.project(cr.relu6(self.filter(y)))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """x: [N, 3, H, W] -> scores [N, 1000]."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem = conv_norm(3, 32, 3, 2)
        blocks: list[nn.Module] = []
        ins = 32
        for expansion, outs, repeats, stride in STAGES:
            for i in range(repeats):
                blocks.append(InvertedResidual(ins, outs, stride if i == 0 else 1, expansion))
                ins = outs
        self.blocks = nn.Sequential(*blocks)
        self.head = conv_norm(ins, 1280)
        self.classifier = nn.Linear(1280, classes)

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        x = self.blocks(cr.relu6(self.stem(x)))
        x = cr.mean(cr.relu6(self.head(x)), axis=(2, 3))
        return self.classifier(x)


def build(batch: int | str = 1, size: int | str = 224) -> tuple[nn.Module, tuple[object, ...]]:
    """The model in inference mode and the specs of its inputs."""
    return MobileNetV2().eval(), (cr.spec(batch, 3, size, size),)
