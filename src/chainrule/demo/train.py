"""Training on the UCI digits: 1,437 to learn from, and the last 360, by other writers, to judge by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import chainrule as cr
from chainrule.frontend import optim
from chainrule.frontend.augment import Shift
from chainrule.frontend.data import ArrayData
from chainrule.frontend.fit import History
from chainrule.models import DigitsNet

HELD_OUT = 360
BATCH = 32
EPOCHS = 40
SEED = 0
RATE = 3e-3
SMOOTHING = 0.1


@dataclass(frozen=True)
class Digits:
    """Images [n, 1, 8, 8] in 0..1 and labels [n], split by writer."""

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load_digits() -> Digits:
    """The digits that ship with the package."""
    from chainrule.frontend.datasets import digits

    x, y = digits()
    return Digits(x[:-HELD_OUT], y[:-HELD_OUT], x[-HELD_OUT:], y[-HELD_OUT:])


def make_model() -> DigitsNet:
    """The ConvNet with seeded weights."""
    cr.manual_seed(SEED)
    return DigitsNet()


def loss(scores: cr.Tensor, labels: cr.Tensor) -> cr.Tensor:
    """Cross-entropy with a tenth of the target spread over all classes, which keeps a small net from over-fitting."""
    return cr.cross_entropy(scores, labels, label_smoothing=SMOOTHING)


def make_step(model: DigitsNet, steps: int, backend: str = "llvm", threads: int | None = None) -> cr.Step:
    """One training step: forward, cross-entropy, backward, Adam with a cosine-shaped rate over `steps` updates."""
    specs = (cr.spec("N", 1, 8, 8), cr.spec("N", dtype="i64"))
    rate = optim.schedules.Cosine(RATE, max(steps, 1))
    return cr.training_step(model, loss, optim.Adam(rate), specs, metrics=("accuracy",), seed=SEED,
                            backend=backend, threads=threads)  # fmt: skip


def make_data(digits: Digits, epochs: int = EPOCHS) -> tuple[ArrayData, int]:
    """Shuffled batches with random shifts by one pixel, and the number of updates of that many epochs."""
    data = ArrayData(digits.images, digits.labels, batch_size=BATCH, shuffle=True, seed=SEED, drop_last=True,
                     augment=Shift(1))  # fmt: skip
    return data, epochs * len(data)


def train(
    step: cr.Step, data: ArrayData, epochs: int = EPOCHS, progress: bool | None = None
) -> tuple[History, list[float]]:
    """The history of the epochs, and the loss of every step."""
    losses: list[float] = []

    def recorded(*batch: object) -> cr.StepLoss:
        loss = step(*batch)
        losses.append(float(loss))
        return loss

    return cr.fit(_Recorded(step, recorded), data, epochs, progress=progress), losses


@dataclass
class _Recorded:
    """A step that also notes the loss of each call."""

    step: cr.Step
    call: object

    @property
    def state(self) -> dict[str, np.ndarray]:
        return self.step.state

    def __call__(self, *batch: object) -> cr.StepLoss:
        return self.call(*batch)  # type: ignore[operator]

    def eval(self, *batch: object) -> cr.StepLoss:
        return self.step.eval(*batch)


def accuracy(model: cr.Executable, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images whose largest score is at the label."""
    return float((model(images).argmax(1) == labels).mean())
