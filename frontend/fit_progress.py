"""The progress bar of `fit`: one line for each epoch with loss, metrics and examples per second."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_SLOW_DATA = 0.2  # the share of time spent waiting for batches from which on the bar says so


class Progress:
    """A silent bar; the terminal's one is below."""

    def begin(self, epoch: int, epochs: int, batches: int | None) -> None:
        """An epoch begins."""

    def advance(self, examples: int, means: Mapping[str, float], waited: float, worked: float) -> None:
        """A batch is done: waited for the data, worked on it, in seconds."""

    def end(self, row: Mapping[str, float]) -> None:
        """An epoch is over; row is what the history keeps of it."""


class TerminalProgress(Progress):
    """A bar of the library rich; finished epochs stay as lines above it."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar
        self.task: Any = None
        self.examples, self.waited, self.worked = 0, 0.0, 0.0

    def begin(self, epoch: int, epochs: int, batches: int | None) -> None:
        self.examples, self.waited, self.worked = 0, 0.0, 0.0
        self.task = self.bar.add_task(f"epoch {epoch}/{epochs}", total=batches, numbers="")

    def advance(self, examples: int, means: Mapping[str, float], waited: float, worked: float) -> None:
        self.examples, self.waited, self.worked = self.examples + examples, self.waited + waited, self.worked + worked
        self.bar.update(self.task, advance=1, numbers=described(means) + self._speed())

    def end(self, row: Mapping[str, float]) -> None:
        shown = {key: value for key, value in row.items() if key not in ("epoch", "seconds")}
        self.bar.update(self.task, numbers=described(shown) + self._speed())

    def _speed(self) -> str:
        total = self.waited + self.worked
        text = f"  {self.examples / total:,.0f}/s" if total > 0 else ""
        return text + (f"  data {self.waited / total:.0%}" if total > 0 and self.waited / total > _SLOW_DATA else "")


def described(means: Mapping[str, float]) -> str:
    """Losses with four digits, shares (accuracy) as per cent."""
    return "  ".join(
        f"{key} {value:.2%}" if "accuracy" in key else f"{key} {value:.4g}" for key, value in means.items()
    )


@contextmanager
def make_progress(wanted: bool | None) -> Iterator[Progress]:
    """The terminal's bar when it is wanted (None: when the error output is a terminal), else a silent one."""
    if wanted is False or (wanted is None and not sys.stderr.isatty()):
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Rich

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
               TextColumn("{task.fields[numbers]}"), TimeRemainingColumn(compact=True))  # fmt: skip
    with Rich(*columns, console=Console(stderr=True, force_terminal=True if wanted else None)) as bar:
        yield TerminalProgress(bar)
