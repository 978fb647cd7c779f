"""Optimisers and schedules against PyTorch's own over a hundred updates in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule.frontend import nn, optim
from chainrule.frontend.optim import schedules
from chainrule.frontend.tensor import Tensor
from chainrule.frontend.trace import spec
from chainrule.frontend.training import build_step
from chainrule.ops.tolerance import OPTIMIZER_RTOL
from tests.frontend.agreement import ReferenceStep, normal

torch: Any = pytest.importorskip("torch")

STEPS = 100
X, Y = normal(8, 5), np.tanh(normal(8, 3, seed=1))


class Net(nn.Module):
    def __init__(self) -> None:
        self.a, self.b = nn.Parameter(normal(5, 4, seed=2) * 0.4), nn.Parameter(normal(4, 3, seed=3) * 0.4)

    def forward(self, x: Tensor) -> Tensor:
        import chainrule.frontend.functions.elementwise as e

        return e.tanh(x @ self.a) @ self.b


def ours(optimizer: optim.Optimizer) -> list[np.ndarray]:
    model = Net()
    specs = (spec(8, 5, dtype="f64"), spec(8, 3, dtype="f64"))
    step = ReferenceStep(build_step(model, nn.MSELoss(), optimizer, specs))
    for _ in range(STEPS):
        step(X, Y)
    return [model.a.data, model.b.data]


def theirs(make: Callable[[Any], Any]) -> list[np.ndarray]:
    model = Net()
    parameters = [torch.nn.Parameter(torch.tensor(p.data)) for p in (model.a, model.b)]
    optimizer = make(parameters)
    x, y = torch.tensor(X), torch.tensor(Y)

    def loss() -> Any:
        optimizer.zero_grad()
        found = ((torch.tanh(x @ parameters[0]) @ parameters[1] - y) ** 2).mean()
        found.backward()
        return found

    for _ in range(STEPS):
        optimizer.step(loss)
    return [p.detach().numpy() for p in parameters]


def assert_near(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    """Within OPTIMIZER_RTOL of the largest element."""
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=OPTIMIZER_RTOL * float(np.abs(b).max()))


PAIRS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("Adam", {}), ("Adam", {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True}), ("AdamW", {"lr": 0.01}),
    ("RMSprop", {}), ("RMSprop", {"lr": 0.003, "centered": True, "momentum": 0.9, "weight_decay": 0.01}),
    ("Adagrad", {}), ("Adagrad", {"lr": 0.1, "lr_decay": 0.01, "initial_accumulator_value": 0.1, "weight_decay": 0.1}),
    ("Adadelta", {}), ("Adadelta", {"lr": 0.5, "rho": 0.8, "weight_decay": 0.01}),
    ("Adamax", {}), ("Adamax", {"lr": 0.01, "weight_decay": 0.1}),
    ("NAdam", {}), ("NAdam", {"lr": 0.01, "weight_decay": 0.1}), ("RAdam", {}),
    ("RAdam", {"lr": 0.01, "weight_decay": 0.1}),
    *((name, {"weight_decay": 0.1, "decoupled_weight_decay": True}) for name in ("Adam", "NAdam", "RAdam")),
    *((name, {"lr": 1e-3, "maximize": True}) for name in (
        "SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam")),
    ("AdamW", {"lr": 0.01, "amsgrad": True, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.3}),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.003, "alpha": 0.9, "eps": 1e-4, "centered": True}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), PAIRS, ids=lambda v: str(v))
def test_an_optimiser_ends_where_torch_does(name: str, options: dict[str, Any]) -> None:
    found = ours(getattr(optim, name)(**options))
    assert_near(found, theirs(lambda p: getattr(torch.optim, name)(p, **options)))


@pytest.mark.parametrize("options", [{}, {"nesterov": False, "momentum": 0.8}, {"adjust_lr_fn": "match_rms_adamw"}])
def test_muon_ends_where_torch_does_when_both_iterate_in_float64(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())
    found = ours(optim.Muon(lr=0.005, **options))
    assert_near(found, theirs(lambda p: torch.optim.Muon(p, lr=0.005, **options)))


@pytest.mark.parametrize("size", [4, 10, 100])
def test_lbfgs_ends_where_torch_does(size: int) -> None:
    found = ours(optim.LBFGS(lr=0.1, history_size=size))
    there = theirs(lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=1, history_size=size))
    assert_near(found, there)


SCHEDULES: list[tuple[Any, str, dict[str, Any]]] = [
    (schedules.Step(0.1, 7, 0.5), "StepLR", {"step_size": 7, "gamma": 0.5}),
    (schedules.MultiStep(0.1, (5, 30), 0.3), "MultiStepLR", {"milestones": [5, 30], "gamma": 0.3}),
    (schedules.Exponential(0.1, 0.97), "ExponentialLR", {"gamma": 0.97}),
    (schedules.Cosine(0.1, 120, 0.01), "CosineAnnealingLR", {"T_max": 120, "eta_min": 0.01}),
    (schedules.CosineRestarts(0.1, 9, 1, 0.01), "CosineAnnealingWarmRestarts", {"T_0": 9, "eta_min": 0.01}),
    (schedules.CosineRestarts(0.1, 3, 2), "CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2}),
    (schedules.OneCycle(0.1, 120), "OneCycleLR", {"max_lr": 0.1, "total_steps": 120}),
    (schedules.Linear(0.1, 40, 0.2, 0.9), "LinearLR", {"total_iters": 40, "start_factor": 0.2, "end_factor": 0.9}),
    (schedules.Polynomial(0.1, 60, 2.0), "PolynomialLR", {"total_iters": 60, "power": 2.0}),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "name", "options"), SCHEDULES, ids=lambda v: str(v)[:30])
def test_a_schedule_gives_torchs_rates(schedule: Any, name: str, options: dict[str, Any]) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    rule = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    there = []
    for _ in range(STEPS):
        there.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        rule.step()
    np.testing.assert_allclose([schedules.rate(schedule, i) for i in range(STEPS)], there, rtol=OPTIMIZER_RTOL)
