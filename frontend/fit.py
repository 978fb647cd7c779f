"""The training loop: epochs over data, with validation, early stopping, checkpoints, a log and a progress bar.

It only calls the step. Ctrl-C ends it after the batch that is running, with everything saved; a second one stops it at
once. A resumed run gives the numbers that the unbroken one would have given.
"""

from __future__ import annotations

import copy
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.frontend.checkpoint import PathLike, load_with_metadata, restore, save
from chainrule.frontend.fit_log import RowLog
from chainrule.frontend.fit_picture import draw_curves, require_svg
from chainrule.frontend.fit_progress import Progress, make_progress
from chainrule.frontend.places import error
from chainrule.ir.op import Array


class TrainingStep(Protocol):
    """What `fit` needs of a compiled training step."""

    @property
    def state(self) -> Mapping[str, Array]: ...

    def __call__(self, *batch: Any) -> float: ...

    def eval(self, *batch: Any) -> float: ...


@runtime_checkable
class Remembers(Protocol):
    """A callback, or data, with state of its own, which a checkpoint keeps."""

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: Mapping[str, Any]) -> None: ...


Row = dict[str, float]


@dataclass
class History:
    """What each epoch gave: rows with "epoch", "loss", metrics, "val_..." and "seconds".

    stopped: "finished", "early stopping", "callback" or "interrupted". best_epoch: of early stopping, counted from 1.
    """

    rows: list[Row] = field(default_factory=list)
    stopped: str = "finished"
    best_epoch: int | None = None

    def __getitem__(self, name: str) -> list[float]:
        """One column, for instance history["val_loss"]."""
        known = sorted({key for row in self.rows for key in row})
        if name not in known:
            raise error(ArgumentError, f"history has no {name!r}", help="it has " + ", ".join(known))
        return [row.get(name, math.nan) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass
class Report:
    """What a callback is told at the end of an epoch; setting `stop` ends the training."""

    epoch: int
    row: Mapping[str, float]
    history: History
    step: TrainingStep
    stop: bool = False


@dataclass(frozen=True)
class EarlyStopping:
    """Ends the training when `monitor` has not got better by min_delta for `patience` epochs.

    mode: "min" or "max"; None takes "max" for names with accuracy in them, else "min". restore_best puts the state of
    the best epoch back.
    """

    monitor: str = "val_loss"
    patience: int = 5
    min_delta: float = 0.0
    mode: str | None = None
    restore_best: bool = True

    def sign(self) -> int:
        """1 where smaller is better, -1 where larger is."""
        mode = self.mode or ("max" if "accuracy" in self.monitor else "min")
        if mode not in ("min", "max"):
            raise error(ArgumentError, f"EarlyStopping: mode {mode!r} is not known", help='"min" or "max"')
        return 1 if mode == "min" else -1


@dataclass(frozen=True)
class Checkpoints:
    """Where and when the state is saved: to `path` after every epoch, and every `every_steps` batches if given.

    keep: so many further files of the last epochs, path.epoch0003.safetensors. best: a row's name; the state of its
    best epoch is kept in path.best.safetensors (accuracy: the largest, else the smallest).
    """

    path: PathLike
    every_steps: int | None = None
    keep: int = 0
    best: str | None = None

    def file(self, label: str) -> Path:
        """The path of a labelled file beside `path`."""
        place = Path(self.path)
        return place.with_name(f"{place.stem}.{label}{place.suffix or '.safetensors'}")


def fit(
    step: TrainingStep,
    data: Iterable[tuple[Any, ...]],
    epochs: int = 1,
    *,
    validation: Iterable[tuple[Any, ...]] | None = None,
    callbacks: Sequence[Callable[[Report], object]] = (),
    early_stopping: EarlyStopping | None = None,
    checkpoint: Checkpoints | PathLike | None = None,
    resume: bool = True,
    log: PathLike | None = None,
    picture: PathLike | None = None,
    progress: bool | None = None,
) -> History:
    """Trains until `epochs` epochs are done, counting those of the checkpoint it resumes from; returns the history.

    data, validation: iterables of batches (tuples of arrays, as the step takes them), iterated once for each epoch; an
    ArrayData resumes inside an epoch. Losses and metrics of a row are means over examples. callbacks: functions of a
    Report, called after each epoch; one that has state() and load_state(state) keeps its state, which must be what JSON
    holds, in the checkpoint. checkpoint: a path or Checkpoints; with resume an existing file is taken up.
    log: a .csv or .jsonl file that gets one row for each epoch. picture: an .svg file of the curves, drawn anew after
    each epoch. progress: a bar on the terminal; None shows it when
    the output is one. Raises ArgumentError for bad arguments before anything is trained.
    """
    if not isinstance(epochs, int) or epochs < 0:
        raise error(ArgumentError, f"fit: epochs={epochs!r}", help="it is a non-negative int")
    places = checkpoint if isinstance(checkpoint, Checkpoints) or checkpoint is None else Checkpoints(checkpoint)
    loop = Loop(step, data, places, early_stopping, validation is not None, callbacks)
    require_svg(picture)
    if resume and places is not None and Path(places.path).exists():
        loop.take_up()
    with _interruptible() as interrupted, make_progress(progress) as bar, RowLog(log, loop.epoch) as rows:
        while loop.epoch < epochs and not loop.history_ended():
            bar.begin(loop.epoch + 1, epochs, _length(data))
            row = loop.train_epoch(bar, interrupted)
            if row is None:
                loop.history.stopped = "interrupted"
                loop.save()
                break
            if validation is not None:
                row |= {f"val_{key}": value for key, value in evaluate(step, validation).items()}
            loop.close_epoch(row)
            rows.write(row)
            bar.end(row)
            report = Report(loop.epoch, row, loop.history, step)
            for callback in callbacks:
                callback(report)
            if report.stop:
                loop.history.stopped = "callback"
            loop.save(row)
            draw_curves(loop.history.rows, picture)
    loop.restore_best()
    return loop.history


def evaluate(step: TrainingStep, data: Iterable[tuple[Any, ...]]) -> Row:
    """Loss and metrics of a step over data, as means over examples; nothing is trained.

    Data that has a state is walked from its start and is then where it was: its batches are the same each time, and
    those of the training stay what they are when it is the same data. Raises ArgumentError when there are none.
    """
    sums = Means()
    with _from_the_start(data):
        for batch in data:
            sums.add(step.eval(*batch), _size(batch))
    return sums.checked("the validation data").row()


@contextmanager
def _from_the_start(data: object) -> Iterator[None]:
    before = data.state() if isinstance(data, Remembers) else {}
    if not (isinstance(data, Remembers) and {"epoch", "position"} <= before.keys()):
        yield
        return
    data.load_state(before | {"epoch": 0, "position": 0})
    try:
        yield
    finally:
        data.load_state(before)


class Means:
    """Means over examples of a loss and its metrics."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: Row = {}

    def add(self, loss: float, size: int) -> None:
        """Counts a batch of this size; a loss may carry `metrics`."""
        self.count += size
        for key, value in {"loss": float(loss), **getattr(loss, "metrics", {})}.items():
            self.sums[key] = self.sums.get(key, 0.0) + float(value) * size

    def checked(self, what: str) -> Means:
        """These means. Raises ArgumentError when they are of nothing."""
        if not self.count:
            raise error(ArgumentError, f"fit: {what} gave no batches",
                        help="a generator can be walked once: give a list, or cr.StreamData(make_one)")  # fmt: skip
        return self

    def row(self) -> Row:
        """The means by name."""
        return {key: value / self.count for key, value in self.sums.items()} if self.count else {"loss": math.nan}


class Loop:
    """The state of a training run: where it is, what it has seen, what it keeps."""

    def __init__(
        self,
        step: TrainingStep,
        data: Iterable[tuple[Any, ...]],
        places: Checkpoints | None,
        stopping: EarlyStopping | None,
        validates: bool,
        callbacks: Sequence[Callable[[Report], object]] = (),
    ) -> None:
        if stopping is not None and stopping.monitor.startswith("val_") and not validates:
            raise error(ArgumentError, f"EarlyStopping: {stopping.monitor} needs validation data",
                        help="fit(..., validation=data), or monitor=\"loss\"")  # fmt: skip
        self.step, self.data, self.places, self.stopping = step, data, places, stopping
        self.remembering = [callback for callback in callbacks if isinstance(callback, Remembers)]
        self.sign = stopping.sign() if stopping is not None else 1
        self.history = History()
        self.epoch = 0
        self.means = Means()
        self.seconds = 0.0
        self.best: dict[str, Array] | None = None

    def history_ended(self) -> bool:
        """True when something has ended the training before its last epoch."""
        return self.history.stopped in ("early stopping", "callback")

    def train_epoch(self, bar: Progress, interrupted: threading.Event) -> Row | None:
        """Trains to the end of the epoch; None when it was interrupted before."""
        batches = iter(self.data)
        served = 0
        while True:
            begun = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                break
            ready = time.perf_counter()
            size = _size(batch)
            self.means.add(self.step(*batch), size)
            done = time.perf_counter()
            self.seconds += done - begun
            served += 1
            bar.advance(size, self.means.row(), waited=ready - begun, worked=done - ready)
            if interrupted.is_set():
                return None
            if self.places is not None and self.places.every_steps and served % self.places.every_steps == 0:
                self.save()
        means = self.means.checked(f"the data of epoch {self.epoch + 1}")
        row: Row = {"epoch": self.epoch + 1, **means.row(), "seconds": self.seconds}
        self.means, self.seconds = Means(), 0.0
        return row

    def close_epoch(self, row: Row) -> None:
        """Adds an epoch's row to the history and judges it."""
        self.epoch += 1
        self.history.rows.append(row)
        if self.stopping is None:
            return
        name = self.stopping.monitor
        if name not in row:
            raise error(ArgumentError, f"EarlyStopping: there is no {name!r}", help="there are " + ", ".join(row))
        best = self.history.best_epoch
        before = math.inf if best is None else self.sign * self.history.rows[best - 1][name]
        if self.sign * row[name] < before - self.stopping.min_delta:
            self.history.best_epoch = self.epoch
            if self.stopping.restore_best:
                self.best = copy.deepcopy(dict(self.step.state))
        elif self.epoch - (best or 0) >= self.stopping.patience:
            self.history.stopped = "early stopping"

    def restore_best(self) -> None:
        """Puts the best epoch's state back, if early stopping asked for it and the run was not interrupted."""
        if self.best is not None and self.history.stopped != "interrupted":
            restore(self.step, self.best)

    def save(self, row: Row | None = None) -> None:
        """Writes the checkpoint; with the row of a finished epoch the labelled files too."""
        if self.places is None:
            return
        arrays, texts = self._contents()
        save(arrays, self.places.path, texts)
        if row is None:
            return
        if self.places.best is not None and self._is_best(row, self.places.best):
            save(arrays, self.places.file("best"), texts)
        if self.places.keep:
            save(arrays, self.places.file(f"epoch{self.epoch:04d}"), texts)
            self.places.file(f"epoch{self.epoch - self.places.keep:04d}").unlink(missing_ok=True)

    def _is_best(self, row: Row, name: str) -> bool:
        if name not in row:
            raise error(ArgumentError, f"Checkpoints: there is no {name!r}", help="there are " + ", ".join(row))
        sign = -1 if "accuracy" in name else 1
        return all(sign * row[name] < sign * past[name] for past in self.history.rows[:-1] if name in past)

    def _contents(self) -> tuple[dict[str, Array], dict[str, str]]:
        position = self.data.state() if hasattr(self.data, "state") else {}  # type: ignore[attr-defined]
        progress = {"epoch": self.epoch, "sums": self.means.sums, "count": self.means.count, "seconds": self.seconds,
                    "data": position, "rows": self.history.rows, "best_epoch": self.history.best_epoch,
                    "callbacks": [callback.state() for callback in self.remembering]}  # fmt: skip
        arrays = dict(self.step.state)
        if self.best is not None:
            arrays |= {f"data.best.{name}": array for name, array in self.best.items()}
        return arrays, {"chainrule.fit": json.dumps(progress)}

    def take_up(self) -> None:
        """Continues from the checkpoint. Raises as `load` does, and ArgumentError for a file that fit did not write."""
        assert self.places is not None
        arrays, texts = load_with_metadata(self.places.path)
        if "chainrule.fit" not in texts:
            raise error(ArgumentError, f"fit: {self.places.path} is not a checkpoint of a training run",
                        help="give another path, or resume=False to write over it")  # fmt: skip
        progress = json.loads(texts["chainrule.fit"])
        restore(self.step, {k: v for k, v in arrays.items() if not k.startswith("data.best.")})
        best = {k.removeprefix("data.best."): v for k, v in arrays.items() if k.startswith("data.best.")}
        self.best = best or None
        if progress["data"] and hasattr(self.data, "load_state"):
            self.data.load_state(progress["data"])  # type: ignore[attr-defined]
        self.epoch, self.seconds = progress["epoch"], progress["seconds"]
        self.means.sums, self.means.count = progress["sums"], progress["count"]
        self.history.rows, self.history.best_epoch = progress["rows"], progress["best_epoch"]
        kept = progress.get("callbacks", [])
        if len(kept) != len(self.remembering):
            raise error(ArgumentError, f"fit: {self.places.path} holds the state of {len(kept)} callbacks",
                        help=f"{len(self.remembering)} that keep state were given: give those of the run that wrote it")
        for callback, state in zip(self.remembering, kept, strict=True):
            callback.load_state(state)


def _length(data: Iterable[tuple[Any, ...]]) -> int | None:
    return len(data) if hasattr(data, "__len__") else None  # type: ignore[arg-type]


def _size(batch: tuple[Any, ...]) -> int:
    """The number of examples of a batch: the first axis of its first array."""
    if not isinstance(batch, tuple | list) or not batch:
        raise error(ArgumentError, f"fit: the data gave {type(batch).__name__}, not a tuple of arrays",
                    help="each batch is a tuple such as (x, y)")  # fmt: skip
    shape = np.shape(batch[0])
    return shape[0] if shape else 1


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Within this context the first Ctrl-C sets the event, and the second one interrupts as usual."""
    event = threading.Event()
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield event
        return

    def first(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, first)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
