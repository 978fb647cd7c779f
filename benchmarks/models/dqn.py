"""The Atari network of deep Q-learning. Source: Mnih et al., "Human-level control ...", Nature 518 (2015)."""

from __future__ import annotations

import chainrule as cr
from chainrule.frontend import nn


def build(batch: int | str = 1, actions: int = 18) -> tuple[nn.Module, tuple[object, ...]]:
    """Four frames of 84x84 to one value for each action: the model, and the specs of its inputs."""
    model = nn.Sequential(
        nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, actions),
    )  # fmt: skip
    return model.eval(), (cr.spec(batch, 4, 84, 84),)
