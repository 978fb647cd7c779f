"""Programs of every kind, with inputs large enough that their kernels are worth more than one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.models import MODELS

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """A program: how to build its model (seeded), the specs of its inputs, and arrays for a number of rows.

    rows: how many to run with. by_row: row i of every output depends on row i of every input alone.
    """

    name: str
    build: Callable[[], Any]
    specs: tuple[Any, ...]
    arrays: Callable[[int], tuple[Array, ...]]
    rows: int
    by_row: bool = True

    def compiled(self, **options: Any) -> Any:
        """The model with the same weights each time."""
        cr.manual_seed(5)
        return cr.compile(self.build(), *self.specs, **options)


def normal(*shape: int, seed: int = 1) -> Array:
    """Seeded Gaussian numbers in f32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Block(nn.Module):
    """One transformer block: attention with 4 heads, then two layers with GELU, both with layer norm and a residual."""

    def __init__(self, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        n, t, _ = x.shape
        q, k, v = (part.reshape(n, t, self.heads, self.width // self.heads).transpose(0, 2, 1, 3)
                   for part in cr.split(self.qkv(self.norm1(x)), 3, axis=2))  # fmt: skip
        mixed = cr.scaled_dot_product_attention(q, k, v).transpose(0, 2, 1, 3).reshape(n, t, self.width)
        x = x + self.out(mixed)
        return x + self.down(cr.gelu(self.up(self.norm2(x))))


def residual_net() -> nn.Module:
    """Convolutions with batch norm, a residual add, a strided one, a grouped one, and global pooling."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
            self.conv = nn.Conv2d(16, 16, 3, padding=1, bias=False)
            self.down = nn.Conv2d(16, 32, 3, stride=2, padding=1, groups=4)
            self.fc = nn.Linear(32, 10)

        def __call__(self, x: cr.Tensor) -> cr.Tensor:
            x = cr.relu(self.norm(self.stem(x)))
            x = cr.relu(x + self.conv(x))
            return self.fc(cr.relu(self.down(x)).mean(axis=(2, 3)))

    return Net()


def statistics(x: cr.Tensor) -> tuple[cr.Tensor, ...]:
    """Reductions over everything, over columns and over rows: sums whose order threads must not change."""
    return x.sum(), x.mean(axis=0), x.var(axis=1), cr.softmax(x, axis=1), x.max(axis=0), cr.cumsum(x, axis=1)


def ordering(x: cr.Tensor) -> tuple[cr.Tensor, ...]:
    """Sorting and choosing, row by row."""
    return cr.sort(x, axis=1), cr.argsort(x, axis=1), x.argmax(axis=1)


def chain(x: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
    """A long chain of elementwise functions."""
    for _ in range(3):
        x = cr.tanh(x * y + 1) - cr.exp(-cr.abs(x)) * cr.sigmoid(y)
    return x


def pairs(n: int) -> tuple[Array, Array]:
    """Two different arrays of n rows."""
    return normal(n, 64), normal(n, 64, seed=2)


CASES: tuple[Case, ...] = (
    Case("mlp", MODELS["mlp"].build, MODELS["mlp"].specs, lambda n: (normal(n, 784),), 8),
    Case("lenet", MODELS["lenet"].build, MODELS["lenet"].specs, lambda n: (normal(n, 1, 28, 28),), 16),
    Case("digits", MODELS["digits"].build, MODELS["digits"].specs, lambda n: (normal(n, 1, 8, 8),), 16),
    Case("residual", residual_net, (cr.spec("N", 3, 32, 32),), lambda n: (normal(n, 3, 32, 32),), 6),
    Case("block", Block, (cr.spec("N", 24, 64),), lambda n: (normal(n, 24, 64),), 8),
    Case("statistics", lambda: statistics, (cr.spec("N", 200),), lambda n: (normal(n, 200),), 700, by_row=False),
    Case("ordering", lambda: ordering, (cr.spec("N", 130),), lambda n: (normal(n, 130),), 300),
    Case("chain", lambda: chain, (cr.spec("N", 64), cr.spec("N", 64)), pairs, 900),
)


@dataclass(frozen=True)
class Training:
    """A training step: how to build it anew with the same weights, and its batches."""

    name: str
    build: Callable[..., cr.Step]
    batch: Callable[[int], tuple[Array, ...]]


def classes(count: int, n: int) -> Array:
    """Seeded class numbers."""
    return np.random.default_rng(3).integers(0, count, n)


def _digits_step(**options: Any) -> cr.Step:
    cr.manual_seed(6)
    specs = (cr.spec("N", 1, 8, 8), cr.spec("N", dtype="i64"))
    return cr.training_step(MODELS["digits"].build(), nn.CrossEntropyLoss(), optim.Adam(1e-3), specs,
                            metrics=["accuracy"], seed=4, **options)  # fmt: skip


def _normed_step(**options: Any) -> cr.Step:
    cr.manual_seed(7)
    specs = (cr.spec("N", 3, 32, 32), cr.spec("N", dtype="i64"))
    return cr.training_step(residual_net(), nn.CrossEntropyLoss(), optim.SGD(0.1, momentum=0.9), specs,
                            clip_norm=1.0, **options)  # fmt: skip


class Words(nn.Module):
    """Embedded words, averaged, classified: its gradient scatters rows that several words share."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.fc = nn.Embedding(50, 96), nn.Linear(96, 5)

    def __call__(self, words: cr.Tensor) -> cr.Tensor:
        return self.fc(self.table(words).mean(axis=1))


def _words_step(**options: Any) -> cr.Step:
    cr.manual_seed(8)
    specs = (cr.spec("N", 20, dtype="i64"), cr.spec("N", dtype="i64"))
    return cr.training_step(Words(), nn.CrossEntropyLoss(label_smoothing=0.1), optim.AdamW(1e-2), specs, **options)


TRAININGS: tuple[Training, ...] = (
    Training("digits", _digits_step, lambda n: (normal(n, 1, 8, 8), classes(10, n))),
    Training("residual", _normed_step, lambda n: (normal(n, 3, 32, 32), classes(10, n))),
    Training("words", _words_step, lambda n: (classes(50, n * 20).reshape(n, 20), classes(5, n))),
)


def as_arrays(result: Any) -> list[Array]:
    """A model's result as a list."""
    return list(result) if isinstance(result, tuple) else [result]


def bits(arrays: Sequence[Array]) -> list[bytes]:
    """What is compared: type, shape and every bit."""
    return [f"{a.dtype}{a.shape}".encode() + a.tobytes() for a in arrays]


def state_bits(step: cr.Step) -> dict[str, bytes]:
    """Every bit of a training step's state, by name."""
    return {name: array.tobytes() for name, array in step.state.items()}
