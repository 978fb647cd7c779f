"""A net of two inputs, two hidden units and one output bends the plane until two classes are separable.

python examples/bend_a_grid.py [--steps 1200] [--picture grid.svg]

After Figure 1 of LeCun, Bengio and Hinton, "Deep learning", Nature 521 (2015): no straight line parts the two curves,
but the hidden units see the plane bent, and there one does. The curves are made here; nothing is read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.pictures import Dot, Line, Plane, planes

RANGE = 2.0
LINES, FINE = 25, 101  # of the grid, each way, and points of a line


class Bend(nn.Module):
    """Two sigmoid units, then one output. x: [N, 2] -> [N], above 0 for the second class."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(2, 2)
        self.output = nn.Linear(2, 1)

    def bent(self, x: cr.Tensor) -> cr.Tensor:
        """Where the hidden units see the points: [N, 2] -> [N, 2] in (0, 1)."""
        return cr.sigmoid(self.hidden(x))

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        return cr.squeeze(self.output(self.bent(x)), -1)


def two_curves(count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Points on a bow (class 0) and on the same bow higher up (class 1): x [2 * count, 2], y [2 * count]."""
    along = np.linspace(-1.8, 1.8, count, dtype=np.float32)
    bow = 0.9 * along**2 - 1.8
    lower, upper = np.stack([along, bow], 1), np.stack([along, bow + 0.8], 1)
    return np.concatenate([lower, upper]).astype(np.float32), np.repeat(np.float32([0, 1]), count)


def grid() -> list[np.ndarray]:
    """The lines of a square grid, each [points, 2]."""
    ticks, fine = np.linspace(-RANGE, RANGE, LINES), np.linspace(-RANGE, RANGE, FINE)
    upright = [np.stack([np.full(FINE, t), fine], 1) for t in ticks]
    level = [np.stack([fine, np.full(FINE, t)], 1) for t in ticks]
    return [line.astype(np.float32) for line in upright + level]


def picture(model: Bend, x: np.ndarray, y: np.ndarray) -> str:
    """The grid and the points before and behind the hidden layer, with the line that parts them there."""
    bent = cr.compile(model.bent, cr.spec("N", 2))
    before = Plane("what comes in", [Line([tuple(p) for p in line.tolist()]) for line in grid()], _dots(x, y))
    lines = [Line([tuple(p) for p in bent(line).tolist()]) for line in grid()]
    (a, b), c = model.output.weight.data[0], float(model.output.bias.data[0])
    ends = [(float(h), float(-(a * h + c) / b)) for h in np.linspace(0, 1, 101)]
    lines.append(Line([p for p in ends if 0 <= p[1] <= 1], colour=3, width=2))
    behind = Plane("what the hidden units see", lines, _dots(bent(x), y))
    return planes("A hidden layer bends the plane", [before, behind])


def _dots(points: np.ndarray, classes: np.ndarray) -> list[Dot]:
    return [Dot((float(p[0]), float(p[1])), int(k)) for p, k in zip(points, classes, strict=True)]


def main(steps: int = 1200, path: str | None = "grid.svg") -> float:
    """Trains, draws, and returns the share of points on the right side."""
    cr.manual_seed(2)
    x, y = two_curves()
    model = Bend()
    specs = (cr.spec(*x.shape), cr.spec(*y.shape))
    rule = optim.Adam(0.05, weight_decay=5e-4)  # small weights bend softly: the grid stays to be seen
    step = cr.training_step(model, cr.binary_cross_entropy_with_logits, rule, specs)
    losses = [step(x, y) for _ in range(steps)]
    right = float(np.mean((cr.compile(model, specs[0])(x) > 0) == (y > 0.5)))
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.4f}, {right:.0%} of the points on the right side")
    if path is not None:
        Path(path).write_text(picture(model, x, y), encoding="utf-8")
        print(f"drawn: {path}")
    return right


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--picture", default="grid.svg", metavar="FILE.svg")
    arguments = parser.parse_args()
    main(arguments.steps, arguments.picture)
