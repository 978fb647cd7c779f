"""The networks whose training steps are measured, written once for chainrule.nn and torch.nn: both have these names.

`NETS` has, for each, its builder, the shapes of a batch, and how it is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

WORDS, UNITS = 10_000, 512
WIDTH, HEADS = 768, 12


def lenet(nn: Any) -> Any:
    """LeNet-5 with ReLU and max pools. Source: LeCun et al. 1998."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))  # fmt: skip


def mlp(nn: Any) -> Any:
    """784-2048-2048-10 with ReLU."""
    parts: list[Any] = []
    for a, b in pairwise((784, 2048, 2048, 10)):
        parts += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def resnet18(nn: Any) -> Any:
    """ResNet-18 for 32x32 images: a 3x3 convolution in front, no pool behind it. Source: He et al. 2016."""

    class Block(nn.Module):
        def __init__(self, inside: int, outside: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(outside), nn.BatchNorm2d(outside)
            self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
            plain = stride == 1 and inside == outside
            self.shortcut = nn.Sequential() if plain else nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))  # fmt: skip
            self.plain, self.relu = plain, nn.ReLU()

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + (x if self.plain else self.shortcut(x)))

    widths = (64, 64, 64, 128, 128, 256, 256, 512, 512)
    blocks = [Block(a, b, 2 if a != b else 1) for a, b in pairwise(widths)]
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))  # fmt: skip


def lstm_lm(nn: Any) -> Any:
    """Words [T, N] -> scores of the next word [T * N, WORDS]. Source: Zaremba et al., arXiv:1409.2329."""

    class LanguageModel(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.lstm = nn.Embedding(WORDS, UNITS), nn.LSTM(UNITS, UNITS, 2)
            self.head = nn.Linear(UNITS, WORDS)

        def forward(self, words: Any) -> Any:
            return self.head(self.lstm(self.embed(words))[0]).reshape(-1, WORDS)

    return LanguageModel()


def transformer(nn: Any) -> Any:
    """Two encoder layers on [N, T, WIDTH], and ten classes of the mean token. Source: Vaswani et al. 2017."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*(
                nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True)
                for _ in range(2)))  # fmt: skip
            self.head = nn.Linear(WIDTH, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.layers(x).mean(1))

    return Encoder()


@dataclass(frozen=True)
class Net:
    """A network and how it is trained. shape: of the inputs, words where `words`; labels: how many, below `classes`.

    optimizer: "sgd", "momentum" or "adam". goal: the best peer's time over ours that is aimed at.
    """

    build: Callable[[Any], Any]
    shape: tuple[int, ...]
    labels: int
    optimizer: str
    goal: float
    words: bool = False

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Seeded inputs and labels."""
        rng = np.random.default_rng(0)
        if self.words:
            return rng.integers(0, WORDS, self.shape), rng.integers(0, WORDS, self.labels)
        return rng.standard_normal(self.shape).astype(np.float32), rng.integers(0, 10, self.labels)


RATES = {"sgd": 0.01, "momentum": 0.01, "adam": 1e-3}
MOMENTUM = 0.9
NETS = {
    "lenet": Net(lenet, (64, 1, 28, 28), 64, "sgd", 2.5),
    "mlp": Net(mlp, (128, 784), 128, "adam", 1.25),
    "resnet18": Net(resnet18, (32, 3, 32, 32), 32, "momentum", 1.7),
    "lstm_lm": Net(lstm_lm, (32, 16), 32 * 16, "adam", 1.25, words=True),
    "transformer": Net(transformer, (8, 128, WIDTH), 8, "adam", 1.25),
}
