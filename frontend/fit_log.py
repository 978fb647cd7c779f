"""A file that gets one row of numbers for each epoch: .csv with a header, or .jsonl."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from chainrule.errors import ArgumentError
from chainrule.frontend.checkpoint import write_atomically
from chainrule.frontend.places import error


class RowLog:
    """Appends rows to a file, each complete on disk before the next epoch; None writes nothing.

    epoch: the last that is done. Rows of later ones, which a run wrote that was killed before its checkpoint, are left
    out of a file that is gone on with; a run that begins (epoch 0) appends to whatever is there.
    """

    def __init__(self, path: str | os.PathLike[str] | None, epoch: int = 0) -> None:
        self.path = None if path is None else Path(path)
        self.epoch = epoch
        self.file: io.TextIOWrapper | None = None
        self.columns: list[str] = []

    def __enter__(self) -> RowLog:
        if self.path is None:
            return self
        if self.path.suffix not in (".csv", ".jsonl"):
            raise error(ArgumentError, f"log: {self.path} is neither .csv nor .jsonl", help='e.g. log="run.csv"')
        try:
            if self.epoch and self.path.exists():
                self._forget_later_rows(self.path)
            if self.path.suffix == ".csv" and self.path.exists():
                with open(self.path, newline="") as file:
                    self.columns = next(csv.reader(file), [])
            self.file = open(self.path, "a", newline="")
        except OSError as problem:
            raise error(ArgumentError, f"log: {self.path} cannot be written: {problem.strerror}",
                        help="check that the folder exists and is yours to write") from problem  # fmt: skip
        return self

    def _forget_later_rows(self, path: Path) -> None:
        lines = path.read_text().splitlines(keepends=True)
        while lines and (last := self._epoch_of(lines[-1], lines[0])) is not None and last > self.epoch:
            lines.pop()
        write_atomically(path, "".join(lines).encode())

    def _epoch_of(self, line: str, header: str) -> int | None:
        """The epoch of a row; None of a header or of what is no row."""
        try:
            if self.path is not None and self.path.suffix == ".jsonl":
                return int(json.loads(line)["epoch"])
            return int(next(csv.reader([line]))[next(csv.reader([header])).index("epoch")])
        except (ValueError, KeyError, TypeError, IndexError):
            return None

    def write(self, row: Mapping[str, float]) -> None:
        """Adds a row."""
        if self.file is None or self.path is None:
            return
        if self.path.suffix == ".jsonl":
            self.file.write(json.dumps(row) + "\n")
        else:
            if not self.columns:
                self.columns = list(row)
                self.file.write(",".join(self.columns) + "\n")
            self.file.write(",".join(str(row.get(name, "")) for name in self.columns) + "\n")
        self.file.flush()

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None,
                 traceback: TracebackType | None) -> None:  # fmt: skip
        if self.file is not None:
            self.file.close()
