"""A learning rate that falls when a measure stops getting better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from chainrule.frontend.optim.base import Rate
from chainrule.frontend.stored import Buffer
from chainrule.frontend.tensor import Tensor


class EpochReport(Protocol):
    """What the schedule reads of a report of `fit`."""

    @property
    def row(self) -> Mapping[str, float]: ...


class Plateau:
    """lr (a number or schedule) times a scale that `fit` lowers: it is a schedule and a callback at once.

        lr = optim.schedules.Plateau(1e-3, patience=3)
        cr.fit(cr.training_step(model, loss, optim.Adam(lr), specs), data, callbacks=[lr])

    After `patience` epochs in which `monitor` did not get better by the share `threshold`, the scale is multiplied by
    factor, down to min_scale. The scale is state of the step and stands in its checkpoint. Source: torch
    ReduceLROnPlateau.
    """

    def __init__(
        self,
        lr: Rate,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        min_scale: float = 0.0,
    ) -> None:
        self.lr, self.monitor, self.factor, self.patience = lr, monitor, factor, patience
        self.threshold, self.min_scale = threshold, min_scale
        self.scale = Buffer(np.ones(()), dtype="f64")
        self.scale.name = "lr_scale"
        self.best = math.inf
        self.waited = 0

    def __call__(self, about: Any) -> Any:
        """Of a step counter: the rate. Of a report of fit: lowers the scale when it is time."""
        if isinstance(about, Tensor):
            return self.scale * (self.lr(about) if callable(self.lr) else self.lr)
        return self.observe(about)

    def state(self) -> dict[str, Any]:
        """What it has seen, for a checkpoint; the scale itself is state of the step."""
        return {"best": self.best if math.isfinite(self.best) else None, "waited": self.waited}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Goes to where a checkpoint was."""
        self.best = math.inf if state["best"] is None else float(state["best"])
        self.waited = int(state["waited"])

    def observe(self, report: EpochReport) -> None:
        """Looks at an epoch's row."""
        value = report.row.get(self.monitor, report.row["loss"])
        value = -value if "accuracy" in self.monitor else value
        if value < self.best - abs(self.best if math.isfinite(self.best) else 0.0) * self.threshold:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.scale.data[...] = max(float(self.scale.data) * self.factor, self.min_scale)
            self.waited = 0
