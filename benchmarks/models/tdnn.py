"""A time-delay network over 40 features a frame. Source: Snyder et al., "X-vectors", ICASSP 2018, table 1."""

from __future__ import annotations

import chainrule as cr
from chainrule.frontend import nn


class TDNN(nn.Module):
    """Dilated convolutions in time, mean and deviation over it, two layers. x: [N, 40, T] -> [N, classes]."""

    def __init__(self, features: int = 40, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        ins = features
        for outs, kernel, dilation in ((512, 5, 1), (512, 3, 2), (512, 3, 3), (512, 1, 1), (1500, 1, 1)):
            layers += [nn.Conv1d(ins, outs, kernel, dilation=dilation), nn.ReLU(), nn.BatchNorm1d(outs)]
            ins = outs
        self.frames = nn.Sequential(*layers)
        self.embed = nn.Linear(2 * ins, 512)
        self.classify = nn.Linear(512, classes)

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        x = self.frames(x)
        mean = cr.mean(x, axis=2, keepdims=True)
        deviation = cr.sqrt(cr.mean(cr.square(x - mean), axis=2) + 1e-5)
        pooled = cr.concatenate([cr.squeeze(mean, 2), deviation], 1)
        return self.classify(cr.relu(self.embed(pooled)))


def build(batch: int | str = 1, frames: int | str = 300) -> tuple[nn.Module, tuple[object, ...]]:
    """The model in inference mode and the specs of its inputs."""
    return TDNN().eval(), (cr.spec(batch, 40, frames),)
