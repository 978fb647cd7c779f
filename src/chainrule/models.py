"""Well-known models, ready to compile: for the command line, the benchmarks and as examples of the DSL.

Each entry of MODELS builds a module with seeded weights and tells the specs of its inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import chainrule as cr
from chainrule.frontend import nn


class LeNet(nn.Module):
    """LeNet-5 with ReLU and max pooling. x: [N, 1, 28, 28] -> scores [N, 10]. Source: LeCun et al. 1998, figure 2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        x = cr.max_pool2d(cr.relu(self.conv1(x)), 2)
        x = cr.max_pool2d(cr.relu(self.conv2(x)), 2)
        x = cr.relu(self.fc1(cr.flatten(x, 1)))
        return self.fc3(cr.relu(self.fc2(x)))


class DigitsNet(nn.Module):
    """A small ConvNet for the 8x8 digits. x: [N, 1, 8, 8] -> scores [N, 10]."""

    def __init__(self, channels: int = 32, dropout: float = 0.4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.fc1 = nn.Linear(2 * channels * 4, 128)
        self.fc2 = nn.Linear(128, 10)

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        x = cr.max_pool2d(cr.relu(self.conv1(x)), 2)
        x = cr.max_pool2d(cr.relu(self.conv2(x)), 2)
        x = self.dropout(cr.flatten(x, 1))
        return self.fc2(self.dropout(cr.relu(self.fc1(x))))


def mlp(*sizes: int) -> nn.Module:
    """Linear layers of these sizes with ReLU between them. x: [N, sizes[0]] -> [N, sizes[-1]]."""
    layers: list[nn.Module] = []
    for i, (inner, outer) in enumerate(pairwise(sizes)):
        layers += [nn.Linear(inner, outer)] + ([nn.ReLU()] if i < len(sizes) - 2 else [])
    return nn.Sequential(*layers)


def conv3x3() -> nn.Module:
    """One 3x3 convolution of 64 to 64 channels, the workhorse of residual nets. x: [N, 64, 56, 56] -> the same."""
    return nn.Conv2d(64, 64, 3, padding=1, bias=False)


@dataclass(frozen=True)
class Entry:
    """A model by name: how to build it, the specs of its inputs, one line about it."""

    build: Callable[[], nn.Module]
    specs: tuple[Any, ...]
    summary: str


MODELS: dict[str, Entry] = {
    "digits": Entry(DigitsNet, (cr.spec("N", 1, 8, 8),), "the demo's ConvNet for 8x8 digits"),
    "lenet": Entry(LeNet, (cr.spec("N", 1, 28, 28),), "LeNet-5 for 28x28 images"),
    "mlp": Entry(lambda: mlp(784, 2048, 2048, 10), (cr.spec("N", 784),), "784-2048-2048-10 with ReLU"),
    "conv3x3": Entry(conv3x3, (cr.spec("N", 64, 56, 56),), "one 3x3 convolution, 64 channels at 56x56"),
}
