"""A training step is one graph: its loss, gradients and updates are those computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend import nn, optim
from chainrule.frontend.functions import losses
from chainrule.frontend.grad import stop_gradient
from chainrule.frontend.tensor import Tensor
from chainrule.frontend.trace import spec
from chainrule.frontend.training import accuracy, build_step
from chainrule.ir.verify import verify
from tests.frontend.agreement import ReferenceStep, assert_same, normal, run_traced

X, CLASSES = normal(6, 3), np.array([0, 1, 2, 2, 1, 0])
SPECS = (spec("N", 3, dtype="f64"), spec("N", dtype="i64"))


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def test_one_step_of_logistic_regression_is_the_one_computed_by_hand() -> None:
    model = nn.Linear(3, 3).to("f64")
    w, b = model.weight.data.copy(), model.bias.data.copy()  # type: ignore[union-attr]
    made = build_step(model, nn.CrossEntropyLoss(), optim.SGD(0.5), SPECS, metrics=["accuracy"])
    verify(made.graph)
    loss = ReferenceStep(made)(X, CLASSES)
    p = softmax(X @ w.T + b)
    slope = (p - np.eye(3)[CLASSES]) / 6
    assert loss == pytest.approx(-np.log(p[np.arange(6), CLASSES]).mean(), rel=1e-12)
    assert loss.metrics == {"accuracy": pytest.approx((p.argmax(1) == CLASSES).mean())}  # type: ignore[attr-defined]
    assert_same(model.weight.data, w - 0.5 * slope.T @ X)
    assert_same(model.bias.data, b - 0.5 * slope.sum(0))  # type: ignore[union-attr]


def test_inputs_outputs_and_sources_are_named_in_order() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    specs = (spec("N", 3), spec("N", dtype="i64"))
    made = build_step(model, nn.CrossEntropyLoss(), optim.SGD(0.1, momentum=0.9), specs,
                      metrics={"top1": accuracy, "square": lambda out, y: (out * out).mean()})  # fmt: skip
    assert made.input_names == ("x", "target")
    assert made.output_names == ("loss", "top1", "square") == made.graph.output_names
    assert [s.name for s in made.sources] == [
        "params.0.weight", "params.0.bias", "params.1.weight", "params.1.bias", "buffers.1.running_mean",
        "buffers.1.running_var", "buffers.1.num_batches_tracked", "params.3.weight", "params.3.bias", "rng.key", "step",
        "slots.momentum_buffer.0.weight", "slots.momentum_buffer.0.bias", "slots.momentum_buffer.1.weight",
        "slots.momentum_buffer.1.bias", "slots.momentum_buffer.3.weight", "slots.momentum_buffer.3.bias",
    ]  # fmt: skip
    assert [v for v in made.graph.inputs][2:] == [s.value for s in made.sources]  # noqa: C416
    assert {state for state, _ in made.graph.updates} == {s.value for s in made.sources}
    assert all(s.array is s.stored.data for s in made.sources if s.stored is not None)


def test_the_arrays_of_parameters_stay_the_same_objects() -> None:
    model = nn.Linear(3, 3).to("f64")
    array = model.weight.data
    step = ReferenceStep(build_step(model, nn.CrossEntropyLoss(), optim.Adam(), SPECS))
    before = array.copy()
    step(X, CLASSES)
    assert model.weight.data is array and not np.array_equal(array, before)


def test_the_evaluation_graph_changes_nothing_and_drops_nothing() -> None:
    model = nn.Sequential(nn.Dropout(0.9), nn.Linear(3, 3), nn.BatchNorm1d(3)).to("f64")
    made = build_step(model, nn.CrossEntropyLoss(), optim.SGD(0.1), SPECS, metrics=["accuracy"])
    assert made.evaluation.graph.updates == ()
    first, second = (run_traced(made.evaluation, X, CLASSES) for _ in range(2))
    assert first == second and list(first) == ["loss", "accuracy"]
    assert_same(first["loss"], losses.cross_entropy(model.eval()(X), CLASSES))


def test_gradients_are_clipped_by_their_joint_norm() -> None:
    model = nn.Linear(3, 3).to("f64")
    w, b = model.weight.data.copy(), model.bias.data.copy()  # type: ignore[union-attr]
    slope = (softmax(X @ w.T + b) - np.eye(3)[CLASSES]) / 6
    dw, db = slope.T @ X, slope.sum(0)
    norm = np.float32(np.sqrt((dw**2).sum() + (db**2).sum()))
    ReferenceStep(build_step(model, nn.CrossEntropyLoss(), optim.SGD(1.0), SPECS, clip_norm=0.01))(X, CLASSES)
    np.testing.assert_allclose(model.weight.data, w - dw * 0.01 / (norm + 1e-6), rtol=1e-6)
    np.testing.assert_allclose(model.bias.data, b - db * 0.01 / (norm + 1e-6), rtol=1e-6)  # type: ignore[union-attr]


def test_frozen_parameters_stay() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3)).to("f64")
    model[0].requires_grad_(False)
    before = model.state_dict()
    made = build_step(model, nn.CrossEntropyLoss(), optim.Adam(0.1), SPECS)
    ReferenceStep(made)(X, CLASSES)
    after = model.state_dict()
    assert np.array_equal(before["0.weight"], after["0.weight"])
    assert not np.array_equal(before["1.weight"], after["1.weight"])
    assert not any(s.name.startswith("slots") and ".0." in s.name for s in made.sources)


def test_a_seed_repeats_dropout_and_each_call_draws_anew() -> None:
    def run(seed: int) -> list[float]:
        model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 3)).to("f64")
        model[1].weight.load(np.eye(3))  # type: ignore[union-attr]
        step = ReferenceStep(build_step(model, nn.CrossEntropyLoss(), optim.SGD(0.0), SPECS, seed=seed))
        return [float(step(X, CLASSES)) for _ in range(3)]

    first = run(1)
    model_free = len(set(first)) == 3
    assert model_free and run(1)[0] != run(2)[0]


def test_several_inputs_and_targets_and_keywords() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            self.a, self.b = nn.Linear(3, 1), nn.Linear(2, 1)

        def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
            return self.a(left), self.b(right)

    def loss(output: tuple[Tensor, Tensor], y: Tensor, z: Tensor) -> Tensor:
        return losses.mse_loss(output[0], y) + losses.mse_loss(output[1], z)

    one = spec("N", 1)
    made = build_step(Two(), loss, optim.SGD(0.1), ((spec("N", 3), spec("N", 2)), (one, one)))
    assert made.input_names == ("left", "right", "y", "z")
    f = np.float32
    step = ReferenceStep(made)
    first = step(X.astype(f), X[:, :2].astype(f), np.ones((6, 1), f), np.ones((6, 1), f))
    assert step(X.astype(f), X[:, :2].astype(f), np.ones((6, 1), f), np.ones((6, 1), f)) < first
    named = build_step(Two(), loss, optim.SGD(0.1), ({"right": spec("N", 2), "left": spec("N", 3)}, (one, one)))
    assert named.input_names == ("right", "left", "y", "z")


def test_a_loss_may_take_the_model_and_report_more() -> None:
    model = nn.Linear(3, 3).to("f64")

    def loss(model: nn.Linear, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        output = model(x)
        penalty = (model.weight * model.weight).sum()
        return losses.cross_entropy(output, y) + 0.1 * penalty, {"penalty": penalty, "accuracy": accuracy(output, y)}

    made = build_step(model, loss, optim.SGD(0.1), SPECS)
    assert made.output_names == ("loss", "penalty", "accuracy") and made.input_names == ("x", "y")
    penalty = float((model.weight.data**2).sum())
    assert ReferenceStep(made)(X, CLASSES).metrics["penalty"] == pytest.approx(penalty)  # type: ignore[attr-defined]


def test_a_loss_that_is_a_module_keeps_its_weights_as_state() -> None:
    made = build_step(nn.Linear(3, 3).to("f64"), nn.CrossEntropyLoss(np.array([1.0, 2.0, 3.0])), optim.SGD(0.1), SPECS)
    assert "buffers.loss.weight" in [s.name for s in made.sources]


def test_two_steps_may_share_a_model() -> None:
    generator, judge = nn.Linear(2, 3).to("f64"), nn.Linear(3, 1).to("f64")

    def judge_loss(model: Any, z: Tensor, real: Tensor) -> Tensor:
        return (judge(stop_gradient(generator(z))) - judge(real)).mean()

    def generator_loss(model: Any, z: Tensor) -> Tensor:
        return (judge(generator(z)) * -1).mean()

    noise = spec("N", 2, dtype="f64")
    first = build_step(judge, judge_loss, optim.SGD(0.1), (noise, SPECS[0]))
    only_generator = optim.Grouped([("weight", optim.SGD(0.1)), ("bias", optim.SGD(0.1))], None)
    second = build_step(generator, generator_loss, only_generator, (noise,))
    before = generator.state_dict(), judge.state_dict()
    ReferenceStep(first)(normal(6, 2), X)
    assert np.array_equal(before[0]["weight"], generator.weight.data)
    assert not np.array_equal(before[1]["weight"], judge.weight.data)
    moved = judge.state_dict()
    ReferenceStep(second)(normal(4, 2))
    assert not np.array_equal(before[0]["weight"], generator.weight.data)
    assert np.array_equal(moved["weight"], judge.weight.data)


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"loss": lambda out, y: out}, ShapeError, "loss: f64[N,3] was returned, not a scalar"),
    ({"loss": lambda out, y: 3.0}, ArgumentError, "loss: float was returned, not a tensor"),
    ({"loss": lambda out, y: out.sum().astype("i64")}, ArgumentError, "loss: it is of type i64"),
    ({"loss": lambda out, y: stop_gradient(out).sum()}, ArgumentError,
     "linear_step: the loss depends on no parameter that is trained"),
    ({"specs": spec(3)}, ArgumentError, "specs: a pair (inputs, targets) is expected"),
    ({"metrics": ["precision"]}, ArgumentError, "metrics: 'precision' is not known"),
    ({"metrics": ["accuracy", "accuracy"]}, ArgumentError, "metrics: the name accuracy is used twice"),
    ({"clip_norm": 0}, ArgumentError, "clip_norm: 0 is not above 0"),
    ({"loss": nn.MSELoss()}, ShapeError, "mse_loss: the shapes differ"),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(REFUSED)))
def test_what_cannot_be_trained_is_refused(index: int) -> None:
    change, kind, cause = REFUSED[index]
    options: dict[str, Any] = {"model": nn.Linear(3, 3).to("f64"), "loss": nn.CrossEntropyLoss(),
                               "optimizer": optim.SGD(0.1), "specs": SPECS} | change  # fmt: skip
    with pytest.raises(kind) as caught:
        build_step(**options)
    assert caught.value.cause == cause  # type: ignore[attr-defined]


def logistic(optimizer: optim.Optimizer, **options: Any) -> tuple[nn.Linear, ReferenceStep]:
    model = nn.Linear(3, 3).to("f64")
    model.weight.load(normal(3, 3, seed=5))
    model.bias.load(np.zeros(3))  # type: ignore[union-attr]
    return model, ReferenceStep(build_step(model, nn.CrossEntropyLoss(), optimizer, SPECS, **options))


def test_accumulated_calls_make_the_step_of_the_whole_batch() -> None:
    whole, step = logistic(optim.Adam(0.1))
    step(X, CLASSES)
    step(X, CLASSES)
    parts, half_step = logistic(optim.Adam(0.1), accumulate=2)
    before = parts.state_dict()
    half_step(X[:3], CLASSES[:3])
    assert np.array_equal(parts.weight.data, before["weight"]) and half_step.state["step"] == 0
    half_step(X[3:], CLASSES[3:])
    half_step(X[3:], CLASSES[3:])
    half_step(X[:3], CLASSES[:3])
    assert half_step.state["step"] == 2 and not half_step.state["accumulated.weight"].any()
    assert_same(parts.weight.data, whole.weight.data)


def test_a_running_mean_of_the_parameters_is_kept() -> None:
    model, step = logistic(optim.SGD(0.5), ema=0.9)
    mean = model.weight.data.copy()
    for _ in range(3):
        step(X, CLASSES)
        mean = 0.9 * mean + 0.1 * model.weight.data
    assert_same(step.state["ema.weight"], mean)


def test_a_scaled_loss_gives_the_same_step() -> None:
    plain, step = logistic(optim.SGD(0.5))
    scaled, scaled_step = logistic(optim.SGD(0.5), loss_scale=1024.0)
    assert float(step(X, CLASSES)) == float(scaled_step(X, CLASSES))
    assert_same(scaled.weight.data, plain.weight.data)


def test_calls_with_nonfinite_gradients_are_skipped() -> None:
    model, step = logistic(optim.Adam(0.1), nonfinite="skip")
    before = {name: array.copy() for name, array in step.state.items()}
    bad = X.copy()
    bad[0, 0] = np.inf
    step(bad, CLASSES)
    for name, array in step.state.items():
        np.testing.assert_array_equal(array, before[name])
    step(X, CLASSES)
    assert step.state["step"] == 1 and not np.array_equal(model.weight.data, before["params.weight"])


def test_a_dynamic_scale_halves_where_gradients_overflow_and_doubles_after_sound_updates() -> None:
    rule = optim.LossScale(1024.0, growth_interval=2)
    model, step = logistic(optim.SGD(0.5), loss_scale=rule)
    plain, plain_step = logistic(optim.SGD(0.5))
    bad = X.copy()
    bad[0, 0] = np.nan
    scales = []
    for batch in (X, bad, X, X, X):
        step(batch, CLASSES)
        scales.append(float(step.state["loss_scale"]))
    assert scales == [1024, 512, 512, 1024, 1024] and step.state["step"] == 4
    for _ in range(4):
        plain_step(X, CLASSES)
    assert_same(model.weight.data, plain.weight.data)


def test_a_guarded_step_says_whether_its_gradients_were_finite() -> None:
    made = build_step(nn.Linear(3, 3).to("f64"), nn.CrossEntropyLoss(), optim.SGD(0.1), SPECS, nonfinite="raise")
    assert made.guarded and made.graph.output_names == ("loss", "gradients_are_finite")


class Pair(nn.Module):
    def __init__(self) -> None:
        self.maker, self.judge = nn.Linear(2, 3), nn.Linear(3, 1)


def duel(model: Pair, z: Tensor, real: Tensor) -> dict[str, Tensor]:
    made = model.maker(z)
    judged = model.judge(stop_gradient(made)).mean() - model.judge(real).mean()
    return {"judge": judged, "maker": -model.judge(made).mean(), "size": (made * made).mean()}


ADVERSARIES = {"judge": optim.Grouped((("judge.*", optim.SGD(0.1)),), None),
               "maker": optim.Grouped((("maker.*", optim.Adam(0.1)),), None)}  # fmt: skip
DUEL_SPECS = (spec("N", 2, dtype="f64"), SPECS[0])


def test_two_losses_train_two_parts_in_one_step_as_two_steps_from_the_same_weights_do() -> None:
    noise, twins = normal(6, 2), [Pair().to("f64") for _ in range(3)]
    for twin in twins[1:]:
        twin.load_state_dict(twins[0].state_dict())
    step = ReferenceStep(build_step(twins[0], duel, ADVERSARIES, DUEL_SPECS))
    loss = step(noise, X)
    metrics = loss.metrics  # type: ignore[attr-defined]
    assert list(metrics) == ["judge", "maker", "size"] and loss == pytest.approx(metrics["judge"] + metrics["maker"])
    for twin, name in zip(twins[1:], ADVERSARIES, strict=True):
        def own(model: Pair, z: Tensor, real: Tensor, name: str = name) -> Tensor:
            return duel(model, z, real)[name]

        ReferenceStep(build_step(twin, own, ADVERSARIES[name], DUEL_SPECS))(noise, X)
    assert_same(twins[0].judge.weight.data, twins[1].judge.weight.data)
    assert_same(twins[0].maker.weight.data, twins[2].maker.weight.data)
    assert "slots.exp_avg.maker.weight" in step.state and "slots.exp_avg.judge.weight" not in step.state


SEVERAL_REFUSED: list[tuple[Any, Any, str]] = [
    (duel, {"judge": optim.SGD(0.1), "maker": optim.SGD(0.1)},
     "judge.weight is trained by two losses, judge and maker"),
    (duel, {"juror": optim.SGD(0.1)}, "loss: the dict has no 'juror'"),
    (duel, {}, "optimizer: the dict is empty"),
    (lambda model, z, real: model.judge(real).mean(), ADVERSARIES, "loss: Tensor was returned, not a dict of losses"),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(SEVERAL_REFUSED)))
def test_losses_that_do_not_fit_their_optimisers_are_refused(index: int) -> None:
    loss, optimizers, cause = SEVERAL_REFUSED[index]
    with pytest.raises(ArgumentError) as caught:
        build_step(Pair().to("f64"), loss, optimizers, DUEL_SPECS)
    assert caught.value.cause == cause


@pytest.mark.parametrize(
    ("option", "cause"),
    [({"loss_scale": "high"}, "loss_scale: 'high' is not known"),
     ({"nonfinite": "stop"}, "nonfinite: 'stop' is not known"),
     ({"accumulate": 0}, "accumulate: 0 is not a count"), ({"ema": 1.0}, "ema: 1.0 is not a decay"),
     ({"loss_scale": 0.0}, "loss_scale: 0.0 is not above 0"), ({"clip_norm": -1.0}, "clip_norm: -1.0 is not above 0")],
)  # fmt: skip
def test_bad_options_of_an_update_are_refused(option: dict[str, Any], cause: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        logistic(optim.SGD(0.1), **option)
    assert caught.value.cause == cause
