"""The training loop: history, validation, early stopping, checkpoints that resume to the last bit, logs, Ctrl-C."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.errors import ArgumentError
from chainrule.frontend import checkpoint, nn, optim
from chainrule.frontend.data import ArrayData
from chainrule.frontend.fit import Checkpoints, EarlyStopping, History, Report, evaluate, fit
from chainrule.frontend.fit_progress import TerminalProgress, described
from chainrule.frontend.seeding import manual_seed
from chainrule.frontend.trace import spec
from chainrule.frontend.training import build_step
from tests.frontend.agreement import Measured, ReferenceStep, normal

X = normal(40, 4, dtype="float32")
Y = (X.sum(1) > 0).astype(np.int64)


def make_step() -> ReferenceStep:
    manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))
    specs = (spec("N", 4), spec("N", dtype="i64"))
    optimizer = optim.Adam(0.01)
    return ReferenceStep(build_step(model, nn.CrossEntropyLoss(), optimizer, specs, metrics=["accuracy"], seed=5))


def make_data() -> ArrayData:
    return ArrayData(X, Y, batch_size=8, shuffle=True, seed=2)


def comparable(history: History) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]


def test_training_learns_and_keeps_a_history() -> None:
    history = fit(make_step(), make_data(), 8, validation=ArrayData(X, Y, batch_size=16))
    assert len(history) == 8 and history.stopped == "finished"
    assert list(history.rows[0]) == ["epoch", "loss", "accuracy", "seconds", "val_loss", "val_accuracy"]
    assert history["loss"][-1] < history["loss"][0] and history["val_accuracy"][-1] > 0.8
    with pytest.raises(ArgumentError, match="history has no 'val_recall'"):
        history["val_recall"]


def test_means_are_over_examples_not_batches() -> None:
    class Fake:
        @property
        def state(self) -> dict[str, Any]:
            return {}

        def __call__(self, x: Any) -> float:
            return Measured(float(x.mean()), {"largest": float(x.max())})

        eval = __call__

    row = evaluate(Fake(), [(np.array([1.0, 1.0, 1.0]),), (np.array([5.0]),)])
    assert row == {"loss": 2.0, "largest": 2.0}


def test_two_runs_are_equal_to_the_last_bit() -> None:
    first, second = (fit(make_step(), make_data(), 3) for _ in range(2))
    assert comparable(first) == comparable(second)


def test_validation_sees_the_same_batches_each_time_and_leaves_the_data_where_it_was() -> None:
    data, seen = make_data(), []

    class Fake:
        @property
        def state(self) -> dict[str, Any]:
            return {}

        def __call__(self, *batch: Any) -> float:
            seen.append(np.concatenate([part.ravel() for part in batch]))
            return 1.0

        eval = __call__

    next(iter(data))
    before = data.state()
    evaluate(Fake(), data)
    assert data.state() == before and len(seen) == len(data)
    evaluate(Fake(), data)
    np.testing.assert_array_equal(np.concatenate(seen[: len(data)]), np.concatenate(seen[len(data) :]))


def test_a_resumed_run_has_the_validation_losses_of_the_unbroken_one(tmp_path: Path) -> None:
    whole = fit(make_step(), make_data(), 4, validation=make_data())
    fit(make_step(), make_data(), 2, validation=make_data(), checkpoint=tmp_path / "run.safetensors")
    resumed = fit(make_step(), make_data(), 4, validation=make_data(), checkpoint=tmp_path / "run.safetensors")
    assert comparable(resumed) == comparable(whole)


def test_data_without_batches_are_refused() -> None:
    with pytest.raises(ArgumentError, match="fit: the data of epoch 2 gave no batches"):
        fit(make_step(), iter(list(make_data())), 2)
    with pytest.raises(ArgumentError, match="fit: the validation data gave no batches"):
        fit(make_step(), make_data(), 1, validation=[])


class StopAt:
    """Data that sends this process Ctrl-C when a batch of an epoch is about to be served."""

    def __init__(self, data: ArrayData, epoch: int, batch: int) -> None:
        self.data, self.at = data, (epoch, batch)

    def __iter__(self) -> Any:
        for batch in self.data:
            if (self.data.epoch, self.data.position - 1) == self.at:
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    def state(self) -> dict[str, int]:
        return self.data.state()


@pytest.mark.parametrize("place", [(0, 0), (1, 2), (2, 4)])
def test_ctrl_c_ends_cleanly_and_a_resumed_run_is_the_unbroken_one(tmp_path: Path, place: tuple[int, int]) -> None:
    whole_step = make_step()
    whole = fit(whole_step, make_data(), 4)
    path = tmp_path / "run.safetensors"
    broken = fit(make_step(), StopAt(make_data(), *place), 4, checkpoint=path)
    assert broken.stopped == "interrupted" and len(broken) == place[0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed_step = make_step()
    resumed = fit(resumed_step, make_data(), 4, checkpoint=path)
    assert comparable(resumed) == comparable(whole)
    for name, array in whole_step.state.items():
        np.testing.assert_array_equal(array, resumed_step.state[name])


def test_a_finished_checkpoint_trains_no_further_and_may_be_ignored(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    first = fit(make_step(), make_data(), 2, checkpoint=path)
    assert comparable(fit(make_step(), make_data(), 2, checkpoint=path)) == comparable(first)
    assert len(fit(make_step(), make_data(), 3, checkpoint=path)) == 3
    assert comparable(fit(make_step(), make_data(), 2, checkpoint=path, resume=False)) == comparable(first)


def test_checkpoints_keep_the_last_and_the_best(tmp_path: Path) -> None:
    places = Checkpoints(tmp_path / "run.safetensors", every_steps=2, keep=2, best="loss")
    history = fit(make_step(), make_data(), 4, checkpoint=places)
    assert sorted(os.listdir(tmp_path)) == ["run.best.safetensors", "run.epoch0003.safetensors",
                                            "run.epoch0004.safetensors", "run.safetensors"]  # fmt: skip
    _, texts = checkpoint.load_with_metadata(tmp_path / "run.best.safetensors")
    best = int(np.argmin(history["loss"])) + 1
    assert json.loads(texts["chainrule.fit"])["epoch"] == best


def test_early_stopping_ends_and_puts_the_best_back() -> None:
    step = make_step()
    values = iter([3.0, 2.0, 2.5, 2.6, 2.7, 9.0])
    states: list[dict[str, Any]] = []

    def fake_eval(*batch: Any) -> float:
        states.append({k: v.copy() for k, v in step.state.items()})
        return Measured(next(values), {})

    step.eval = fake_eval  # type: ignore[method-assign]
    history = fit(step, make_data(), 10, validation=[(X,)], early_stopping=EarlyStopping(patience=2))
    assert history.stopped == "early stopping" and len(history) == 4 and history.best_epoch == 2
    for name, array in states[1].items():
        np.testing.assert_array_equal(step.state[name], array)


def test_a_callback_sees_each_epoch_and_may_stop() -> None:
    seen: list[float] = []

    def callback(report: Report) -> None:
        seen.append(report.row["loss"])
        report.stop = report.epoch == 2

    history = fit(make_step(), make_data(), 5, callbacks=[callback])
    assert history.stopped == "callback" and seen == history["loss"] and len(seen) == 2


def test_logs_hold_one_row_for_each_epoch(tmp_path: Path) -> None:
    history = fit(make_step(), make_data(), 2, log=tmp_path / "run.csv", checkpoint=tmp_path / "run.safetensors")
    fit(make_step(), make_data(), 3, log=tmp_path / "run.csv", checkpoint=tmp_path / "run.safetensors")
    rows = list(csv.DictReader((tmp_path / "run.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [float(row["loss"]) for row in rows[:2]] == history["loss"]
    history = fit(make_step(), make_data(), 2, log=tmp_path / "run.jsonl")
    assert [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()] == history.rows


def test_the_bar_shows_numbers_speed_and_slow_data() -> None:
    shown: list[str] = []

    class Bar:
        def add_task(self, description: str, **fields: Any) -> int:
            shown.append(f"{description} of {fields['total']}")
            return 1

        def update(self, task: int, **fields: Any) -> None:
            shown.append(fields["numbers"])

    bar = TerminalProgress(Bar())
    bar.begin(1, 3, 5)
    bar.advance(100, {"loss": 0.5, "accuracy": 0.25}, waited=0.0, worked=0.5)
    bar.advance(100, {"loss": 0.4, "accuracy": 0.5}, waited=0.5, worked=0.0)
    bar.end({"epoch": 1, "loss": 0.4, "seconds": 3.0})
    assert shown == ["epoch 1/3 of 5", "loss 0.5  accuracy 25.00%  200/s",
                     "loss 0.4  accuracy 50.00%  200/s  data 50%", "loss 0.4  200/s  data 50%"]  # fmt: skip
    assert described({"val_accuracy": 0.975}) == "val_accuracy 97.50%"


def test_a_bar_that_is_asked_for_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    fit(make_step(), make_data(), 1, progress=True)
    drawn = capsys.readouterr().err
    assert "epoch 1/1" in drawn and "accuracy" in drawn
    fit(make_step(), make_data(), 1)
    assert capsys.readouterr().err == ""


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"epochs": -1}, "fit: epochs=-1"),
    ({"data": [5]}, "fit: the data gave int, not a tuple of arrays"),
    ({"early_stopping": EarlyStopping()}, "EarlyStopping: val_loss needs validation data"),
    ({"early_stopping": EarlyStopping("recall")}, "EarlyStopping: there is no 'recall'"),
    ({"early_stopping": EarlyStopping("loss", mode="up")}, "EarlyStopping: mode 'up' is not known"),
    ({"log": "run.txt"}, "log: run.txt is neither .csv nor .jsonl"),
    ({"log": "/missing/run.csv"}, "log: /missing/run.csv cannot be written: No such file or directory"),
]


@pytest.mark.parametrize("index", range(len(REFUSED)))
def test_bad_arguments_are_refused(index: int) -> None:
    change, cause = REFUSED[index]
    options = {"data": make_data(), "epochs": 1} | change
    with pytest.raises(ArgumentError) as caught:
        fit(make_step(), **options)
    assert caught.value.cause == cause


def test_another_file_is_not_taken_for_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    checkpoint.save({"a": np.ones(1)}, path)
    with pytest.raises(ArgumentError, match="is not a checkpoint of a training run"):
        fit(make_step(), make_data(), 1, checkpoint=path)


def test_the_curves_are_drawn_after_each_epoch(tmp_path: Path) -> None:
    path = tmp_path / "curves.svg"
    fit(make_step(), make_data(), 2, validation=ArrayData(X, Y, batch_size=16), picture=path)
    drawn = path.read_text()
    assert drawn.startswith("<svg") and all(name in drawn for name in ("loss", "val_loss", "accuracy"))
    with pytest.raises(ArgumentError, match=r"picture: a\.png is no \.svg"):
        fit(make_step(), make_data(), 1, picture="a.png")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_rows_of_epochs_that_a_resumed_run_repeats_are_not_logged_twice(tmp_path: Path, suffix: str) -> None:
    log, path = tmp_path / f"log.{suffix}", tmp_path / "run.safetensors"
    fit(make_step(), make_data(), 2, log=log, checkpoint=path)
    kept = path.read_bytes()
    fit(make_step(), make_data(), 4, log=log, checkpoint=path)
    path.write_bytes(kept)  # as if the process had been killed before its next checkpoint
    fit(make_step(), make_data(), 4, log=log, checkpoint=path)
    if suffix == "csv":
        epochs = [int(row["epoch"]) for row in csv.DictReader(log.open())]
    else:
        epochs = [json.loads(line)["epoch"] for line in log.read_text().splitlines()]
    assert epochs == [1, 2, 3, 4]


def test_a_schedule_that_waits_for_better_epochs_resumes_where_it_was(tmp_path: Path) -> None:
    def run(path: Path, *epochs: int, forgets: bool = False) -> list[dict[str, float]]:
        history = History()
        for count in epochs:
            manual_seed(1)
            lr = optim.schedules.Plateau(0.5, monitor="loss", factor=0.5, patience=0, threshold=0.2)
            specs = (spec("N", 4), spec("N", dtype="i64"))
            step = ReferenceStep(build_step(nn.Linear(4, 2), nn.CrossEntropyLoss(), optim.SGD(lr), specs))
            history = fit(step, make_data(), count, checkpoint=path, callbacks=[] if forgets else [lr])
            assert count < 6 or step.state["buffers.lr_scale"] < 1
        return comparable(history)

    assert run(tmp_path / "a.safetensors", 2, 3, 6) == run(tmp_path / "b.safetensors", 6)
    with pytest.raises(ArgumentError, match="holds the state of 1 callbacks"):
        run(tmp_path / "b.safetensors", 7, forgets=True)
