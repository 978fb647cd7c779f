"""Optimisers against their published update rules, written here in plain numpy, over twenty steps in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from chainrule.errors import ArgumentError
from chainrule.frontend import nn, optim
from chainrule.frontend.optim import schedules
from chainrule.frontend.tensor import Tensor
from chainrule.frontend.trace import spec
from chainrule.frontend.training import build_step
from tests.frontend.agreement import Array, ReferenceStep, assert_same, normal

STEPS = 20
X, Y = normal(6, 3), normal(6, 2, seed=1)
Rule = Callable[[Array, Array, dict[str, Any], int], Array]


class Quadratic(nn.Module):
    def __init__(self) -> None:
        self.w = nn.Parameter(normal(3, 2, seed=2))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w


def trained(optimizer: optim.Optimizer) -> tuple[Array, ReferenceStep]:
    model = Quadratic()
    specs = (spec(6, 3, dtype="f64"), spec(6, 2, dtype="f64"))
    step = ReferenceStep(build_step(model, nn.MSELoss("sum"), optimizer, specs))
    for _ in range(STEPS):
        step(X, Y)
    return model.w.data, step


def by_rule(rule: Rule) -> Array:
    w, slots = normal(3, 2, seed=2), {}
    for t in range(1, STEPS + 1):
        w = rule(w, 2 * X.T @ (X @ w - Y), slots, t)
    return w


def means(s: dict[str, Any], g: Array, b1: float = 0.9, b2: float = 0.999) -> tuple[Array, Array]:
    s["m"] = b1 * s.get("m", 0 * g) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0 * g) + (1 - b2) * g * g
    return s["m"], s["v"]


def sgd(momentum: float = 0.0, dampening: float = 0.0, decay: float = 0.0, nesterov: bool = False) -> Rule:
    def rule(w: Array, g: Array, s: dict[str, Any], t: int) -> Array:
        g = g + decay * w
        s["b"] = g if t == 1 else momentum * s["b"] + (1 - dampening) * g
        return w - 0.01 * (g + momentum * s["b"] if nesterov else s["b"] if momentum else g)

    return rule


def adam(decay: float = 0.0, decoupled: float = 0.0, amsgrad: bool = False) -> Rule:
    def rule(w: Array, g: Array, s: dict[str, Any], t: int) -> Array:
        w = w * (1 - 0.01 * decoupled)
        m, v = means(s, g + decay * w)
        s["top"] = np.maximum(s.get("top", 0), v)
        v = s["top"] if amsgrad else v
        return w - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)

    return rule


def rmsprop(centered: bool, momentum: float) -> Rule:
    def rule(w: Array, g: Array, s: dict[str, Any], t: int) -> Array:
        s["a"] = 0.99 * s.get("a", 0 * g) + 0.01 * g
        s["v"] = 0.99 * s.get("v", 0 * g) + 0.01 * g * g
        spread = np.sqrt(s["v"] - s["a"] ** 2 if centered else s["v"]) + 1e-8
        s["b"] = momentum * s.get("b", 0) + g / spread
        return w - 0.01 * s["b"]

    return rule


def adagrad(w: Array, g: Array, s: dict[str, Any], t: int) -> Array:
    s["sum"] = s.get("sum", 0.1) + g * g
    return w - 0.01 / (1 + (t - 1) * 0.1) * g / (np.sqrt(s["sum"]) + 1e-10)


def adadelta(w: Array, g: Array, s: dict[str, Any], t: int) -> Array:
    s["g"] = 0.9 * s.get("g", 0) + 0.1 * g * g
    move = np.sqrt(s.get("d", 0) + 1e-6) / np.sqrt(s["g"] + 1e-6) * g
    s["d"] = 0.9 * s.get("d", 0) + 0.1 * move**2
    return w - move


def adamax(w: Array, g: Array, s: dict[str, Any], t: int) -> Array:
    m, _ = means(s, g)
    s["u"] = np.maximum(0.999 * s.get("u", 0), np.abs(g) + 1e-8)
    return w - 0.002 / (1 - 0.9**t) * m / s["u"]


def nadam(w: Array, g: Array, s: dict[str, Any], t: int) -> Array:
    m, v = means(s, g)
    mu, ahead = (0.9 * (1 - 0.5 * 0.96 ** (k * 0.004)) for k in (t, t + 1))
    s["p"] = s.get("p", 1.0) * mu
    near = ahead * m / (1 - s["p"] * ahead) + (1 - mu) * g / (1 - s["p"])
    return w - 0.002 * near / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def radam(w: Array, g: Array, s: dict[str, Any], t: int) -> Array:
    m, v = means(s, g, b2=0.9)
    m = m / (1 - 0.9**t)
    top = 2 / (1 - 0.9) - 1
    length = top - 2 * t * 0.9**t / (1 - 0.9**t)
    if length <= 5:
        return w - 0.001 * m
    r = math.sqrt((length - 4) * (length - 2) * top / ((top - 4) * (top - 2) * length))
    return w - 0.001 * r * m * math.sqrt(1 - 0.9**t) / (np.sqrt(v) + 1e-8)


def lamb(w: Array, g: Array, s: dict[str, Any], t: int) -> Array:
    m, v = means(s, g)
    move = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6) + 0.1 * w
    return w - 0.01 * np.linalg.norm(w) / np.linalg.norm(move) * move


def lion(w: Array, g: Array, s: dict[str, Any], t: int) -> Array:
    m = s.get("m", 0 * g)
    w = w * (1 - 0.01 * 0.1) - 0.01 * np.sign(0.9 * m + 0.1 * g)
    s["m"] = 0.99 * m + 0.01 * g
    return w


def muon(w: Array, g: Array, s: dict[str, Any], t: int) -> Array:
    s["m"] = 0.95 * s.get("m", 0 * g) + 0.05 * g
    x = (0.05 * g + 0.95 * s["m"]).T
    x = x / np.linalg.norm(x)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    return w * (1 - 0.01 * 0.1) - 0.01 * math.sqrt(3 / 2) * x.T


def lbfgs(size: int) -> Rule:
    """The two loops of the recursion, with lists, as in Nocedal and Wright, algorithm 7.4."""

    def rule(w: Array, g: Array, s: dict[str, Any], t: int) -> Array:
        pairs = s.setdefault("pairs", [])
        if t > 1 and ((g - s["g"]) * s["step"]).sum() > 1e-10:
            pairs.append((s["step"], g - s["g"]))
            del pairs[:-size]
        q, alphas = g, []
        for step, change in reversed(pairs):
            alphas.append((step * q).sum() / (step * change).sum())
            q = q - alphas[-1] * change
        r = q * ((pairs[-1][0] * pairs[-1][1]).sum() / (pairs[-1][1] ** 2).sum()) if pairs else q
        for (step, change), alpha in zip(pairs, reversed(alphas), strict=True):
            r = r + (alpha - (change * r).sum() / (step * change).sum()) * step
        s["step"] = -r * 0.1 * (min(1.0, 1.0 / np.abs(g).sum()) if t == 1 else 1.0)
        s["g"] = g
        return w + s["step"]

    return rule


RULES: list[tuple[optim.Optimizer, Rule]] = [
    (optim.SGD(0.01), sgd()), (optim.SGD(0.01, momentum=0.9), sgd(0.9)),
    (optim.SGD(0.01, 0.9, dampening=0.3, weight_decay=0.1), sgd(0.9, 0.3, 0.1)),
    (optim.SGD(0.01, 0.9, nesterov=True), sgd(0.9, nesterov=True)),
    (optim.Adam(0.01), adam()), (optim.Adam(0.01, weight_decay=0.1, amsgrad=True), adam(0.1, amsgrad=True)),
    (optim.AdamW(0.01, weight_decay=0.1), adam(decoupled=0.1)),
    (optim.RMSprop(0.01), rmsprop(False, 0)), (optim.RMSprop(0.01, centered=True, momentum=0.9), rmsprop(True, 0.9)),
    (optim.Adagrad(0.01, lr_decay=0.1, initial_accumulator_value=0.1), adagrad), (optim.Adadelta(), adadelta),
    (optim.Adamax(), adamax), (optim.NAdam(), nadam), (optim.RAdam(betas=(0.9, 0.9)), radam),
    (optim.LAMB(0.01, weight_decay=0.1), lamb), (optim.Lion(0.01, weight_decay=0.1), lion),
    (optim.Muon(0.01), muon), (optim.LBFGS(0.1, history_size=1), lbfgs(1)),
    (optim.LBFGS(0.1, history_size=4), lbfgs(4)),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(RULES)), ids=lambda i: repr(RULES[i][0])[:60])
def test_an_optimiser_follows_its_rule(index: int) -> None:
    optimizer, rule = RULES[index]
    assert_same(trained(optimizer)[0], by_rule(rule))


def test_the_state_of_a_step_is_named_and_counted() -> None:
    _, step = trained(optim.Adam(0.01))
    assert list(step.state) == ["params.w", "step", "slots.exp_avg.w", "slots.exp_avg_sq.w"]
    assert step.state["step"] == STEPS and step.state["step"].dtype == np.int64


def test_muon_refuses_what_is_no_matrix_and_says_the_way_round() -> None:
    with pytest.raises(ArgumentError, match="no matrix"):
        build_step(nn.Linear(3, 2), nn.MSELoss(), optim.Muon(), (spec(6, 3), spec(6, 2)))


def test_lbfgs_stops_where_no_slope_is_left() -> None:
    w, step = trained(optim.LBFGS(0.5, tolerance_grad=1e9))
    assert np.array_equal(w, normal(3, 2, seed=2)) and step.state["shared.iterations"] == 0


def rates(schedule: Any, count: int = 12) -> list[float]:
    return [schedules.rate(schedule, i) for i in range(count)]


def restart_share(i: int) -> float:
    """The share of the period that has passed: periods of 1, 2, 4, 8 updates."""
    start = 2 ** int(math.log2(i + 1)) - 1
    return (i - start) / (start + 1)


SCHEDULES: list[tuple[Any, Callable[[int], float]]] = [
    (schedules.Step(0.1, 3, 0.5), lambda i: 0.1 * 0.5 ** (i // 3)),
    (schedules.MultiStep(0.1, (2, 7), 0.1), lambda i: 0.1 * 0.1 ** ((i >= 2) + (i >= 7))),
    (schedules.Exponential(0.1, 0.9), lambda i: 0.1 * 0.9**i),
    (schedules.Cosine(0.1, 8, 0.01), lambda i: 0.01 + 0.09 * (1 + math.cos(math.pi * min(i, 8) / 8)) / 2),
    (schedules.CosineRestarts(0.1, 3), lambda i: 0.05 * (1 + math.cos(math.pi * (i % 3) / 3))),
    (schedules.CosineRestarts(0.1, 1, 2), lambda i: 0.05 * (1 + math.cos(math.pi * restart_share(i)))),
    (schedules.Linear(0.1, 5, 0.2, 1.0), lambda i: 0.1 * (0.2 + 0.8 * min(i, 5) / 5)),
    (schedules.Polynomial(0.1, 8, 2.0), lambda i: 0.1 * (1 - min(i, 8) / 8) ** 2),
    (schedules.WarmUp(0.1, 4), lambda i: 0.1 * min(1, (i + 1) / 4)),
    (schedules.Chained((0.5, schedules.Exponential(0.1, 0.5)), (3,)), lambda i: 0.5 if i < 3 else 0.1 * 0.5 ** (i - 3)),
    (lambda step: 0.1 / (1 + step), lambda i: 0.1 / (1 + i)),
    (0.25, lambda i: 0.25),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(SCHEDULES)))
def test_a_schedule_has_its_formula(index: int) -> None:
    schedule, formula = SCHEDULES[index]
    np.testing.assert_allclose(rates(schedule), [formula(i) for i in range(12)], rtol=1e-14, atol=1e-17)


def test_one_cycle_rises_to_its_top_and_falls_to_its_end() -> None:
    found = rates(schedules.OneCycle(1.0, 20, pct_start=0.25), 20)
    assert found[0] == pytest.approx(1 / 25) and found[4] == pytest.approx(1.0) and found[19] == pytest.approx(1 / 25e4)
    assert found[:5] == sorted(found[:5]) and found[4:] == sorted(found[4:], reverse=True)


def test_a_schedule_runs_inside_the_step() -> None:
    w, _ = trained(optim.SGD(schedules.Exponential(0.01, 0.9)))
    expected = by_rule(lambda w, g, s, t: w - 0.01 * 0.9 ** (t - 1) * g)
    assert_same(w, expected)


def test_a_plateau_lowers_the_rate_of_a_built_step() -> None:
    lr = schedules.Plateau(0.01, factor=0.5, patience=1, monitor="loss")
    model = Quadratic()
    made = build_step(model, nn.MSELoss(), optim.SGD(lr), (spec(6, 3, dtype="f64"), spec(6, 2, dtype="f64")))
    step = ReferenceStep(made)
    assert "buffers.lr_scale" in step.state

    class Row:
        row: ClassVar[dict[str, float]] = {"loss": 1.0}

    for _ in range(3):
        lr(Row())
    assert step.state["buffers.lr_scale"] == 0.5
    before = model.w.data.copy()
    step(X, Y)
    slope = X.T @ (X @ before - Y) / 6
    assert_same(model.w.data, before - 0.005 * slope)


def test_groups_choose_by_name_and_leave_parts_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to("f64")
    before = model.state_dict()
    rule = optim.Grouped([("0.weight", None), (lambda name: name.endswith("bias"), optim.SGD(0.1))], optim.Adam(0.01))  # type: ignore[arg-type]
    step = ReferenceStep(build_step(model, nn.MSELoss(), rule, (spec(6, 3, dtype="f64"), spec(6, 2, dtype="f64"))))
    step(X, Y)
    after = model.state_dict()
    assert np.array_equal(before["0.weight"], after["0.weight"])
    assert all(not np.array_equal(before[k], after[k]) for k in ("0.bias", "1.weight", "1.bias"))
    slots = [name for name in step.state if name.startswith("slots")]
    assert slots == ["slots.exp_avg.1.weight", "slots.exp_avg_sq.1.weight"]


def test_a_pattern_that_fits_no_parameter_is_refused() -> None:
    rule = optim.Grouped([("*.weigth", optim.SGD(0.1))], optim.Adam())  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="fits no parameter") as caught:
        build_step(nn.Sequential(nn.Linear(3, 2)), nn.MSELoss(), rule, (spec(6, 3), spec(6, 2)))
    assert "parameters: 0.weight, 0.bias" in str(caught.value)


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: optim.Adam([1.0], 1e-3), "Adam: the first argument is the learning rate, not the parameters"),  # type: ignore[arg-type]
    (lambda: optim.SGD(-1), "SGD: lr=-1 is not a learning rate"),
    (lambda: optim.SGD("fast"), "SGD: lr='fast' is not a learning rate"),  # type: ignore[arg-type]
    (lambda: optim.SGD(0.1, momentum=-1), "SGD: momentum=-1 is out of range"),
    (lambda: optim.SGD(0.1, nesterov=True), "SGD: nesterov needs a momentum and no dampening"),
    (lambda: optim.Adam(betas=(0.9, 1.0)), "Adam: beta2=1.0 is out of range"),
    (lambda: optim.AdamW(weight_decay=-1), "AdamW: weight_decay=-1 is out of range"),
    (lambda: optim.Muon(adjust_lr_fn="mine"), "Muon: adjust_lr_fn='mine' is not known"),
    (lambda: trained(optim.Muon(weight_decay=-1)), "Muon: weight_decay=-1 is out of range"),
    (lambda: optim.LBFGS(history_size=0), "LBFGS: history_size=0 is out of range"),
    (lambda: schedules.CosineRestarts(0.1, 0), "CosineRestarts: T_0=0, T_mult=1"),
    (lambda: optim.LossScale(backoff_factor=1.0), "LossScale: backoff_factor=1.0 is out of range"),
    (lambda: schedules.Chained((0.1,), (1,)), "1 schedules and 1 milestones do not fit"),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(REFUSED)))
def test_bad_hyperparameters_are_refused(index: int) -> None:
    call, cause = REFUSED[index]
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.cause == cause
