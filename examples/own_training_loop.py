"""A training loop of one's own: one compiled step per batch, and a checkpoint that resumes to the last bit.

python examples/own_training_loop.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import datasets, nn, optim

EPOCHS = 6
BATCH = 64


def make_step() -> cr.Step:
    """An MLP for the digits and its training step, from the same seed each time."""
    cr.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))
    optimizer = optim.SGD(optim.schedules.Cosine(0.1, EPOCHS * 22), momentum=0.9, nesterov=True)
    specs = (cr.spec("N", 1, 8, 8), cr.spec("N", dtype="i64"))
    return cr.training_step(model, cr.cross_entropy, optimizer, specs, metrics=("accuracy",), clip_norm=1.0, seed=1)


def run_epochs(step: cr.Step, first: int, last: int) -> list[float]:
    """Trains from one epoch to another; returns the loss of every step."""
    images, labels = datasets.digits()
    train, held_out = slice(None, -360), slice(-360, None)
    losses: list[float] = []
    for epoch in range(first, last):
        order = np.random.default_rng(epoch).permutation(len(images[train]))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            losses.append(float(step(images[train][chosen], labels[train][chosen])))
        found = step.eval(images[held_out], labels[held_out])  # no dropout, nothing changes
        print(f"epoch {epoch + 1}: loss {losses[-1]:.4f}, unseen digits {found.metrics['accuracy']:.1%}")
    return losses


def main() -> tuple[list[float], list[float]]:
    """The losses of a run in one go, and of one that was stopped in the middle and taken up by another program."""
    unbroken = run_epochs(make_step(), 0, EPOCHS)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "step.safetensors"
        before = make_step()
        resumed = run_epochs(before, 0, EPOCHS // 2)
        cr.save(before, checkpoint)  # weights, momentum, step count and random key

        after = make_step()
        cr.load(checkpoint, after)
        resumed += run_epochs(after, EPOCHS // 2, EPOCHS)
    print(f"the {len(unbroken)} losses are {'the same' if unbroken == resumed else 'NOT the same'} to the last bit")
    return unbroken, resumed


if __name__ == "__main__":
    main()
