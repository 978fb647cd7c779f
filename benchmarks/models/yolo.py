"""A one-stage detector in the style of YOLO: a darknet backbone, two scales, raw predictions of 3 boxes a cell.

Source: Redmon and Farhadi, "YOLOv3: An incremental improvement", figure of the tiny variant, with residual blocks.
"""

from __future__ import annotations

import chainrule as cr
from chainrule.frontend import nn

PREDICTIONS = 3 * 85


def conv(ins: int, outs: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    """Convolution, batch norm, leaky ReLU."""
    return nn.Sequential(
        nn.Conv2d(ins, outs, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(outs), nn.LeakyReLU(0.1)
    )


class Residual(nn.Module):
    """A 1x1 that halves the channels and a 3x3 that restores them, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, channels // 2, 1), conv(channels // 2, channels))

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        return x + self.body(x)


class Yolo(nn.Module):
    """x: [N, 3, H, W] -> predictions at 1/32 and at 1/16 of the size, [N, 255, h, w] each."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(
            conv(3, 16), conv(16, 32, stride=2), Residual(32), conv(32, 64, stride=2), Residual(64),
            conv(64, 128, stride=2), Residual(128), conv(128, 256, stride=2), Residual(256),
        )  # fmt: skip
        self.late = nn.Sequential(conv(256, 512, stride=2), Residual(512), conv(512, 256, 1))
        self.coarse = nn.Sequential(conv(256, 512), nn.Conv2d(512, PREDICTIONS, 1))
        self.up = conv(256, 128, 1)
        self.fine = nn.Sequential(conv(256 + 128, 256), nn.Conv2d(256, PREDICTIONS, 1))

    def __call__(self, x: cr.Tensor) -> tuple[cr.Tensor, cr.Tensor]:
        early = self.early(x)
        late = self.late(early)
        up = cr.interpolate(self.up(late), scale_factor=2, mode="nearest")
        return self.coarse(late), self.fine(cr.concatenate([up, early], 1))


def build(batch: int | str = 1, size: int | str = 416) -> tuple[nn.Module, tuple[object, ...]]:
    """The model in inference mode and the specs of its inputs."""
    return Yolo().eval(), (cr.spec(batch, 3, size, size),)
