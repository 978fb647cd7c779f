"""Runs a program as `python program.py` would and tells what it shows: output and error, without a traceback."""

from __future__ import annotations

import io
import linecache
import os
import runpy
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shown:
    """What a program printed, the error that ended it, and the files that it left in its folder."""

    out: str
    err: str
    error: BaseException | None
    files: frozenset[str]

    @property
    def text(self) -> str:
        """All that a person would see: the printed text, then the error as Python prints it below the traceback."""
        parts = [part for part in (self.out, self.err) if part]
        if self.error is not None:
            parts.append(f"{type(self.error).__name__}: {self.error}\n")
        return "".join(parts)


def shown(program: Path, folder: Path) -> Shown:
    """What a program shows when it is run inside a folder that is empty at first."""
    out, err = io.StringIO(), io.StringIO()
    before = Path.cwd()
    linecache.checkcache()
    os.chdir(folder)
    error: BaseException | None = None
    try:
        with redirect_stdout(out), redirect_stderr(err):
            runpy.run_path(str(program), run_name="__main__")
    except Exception as raised:  # noqa: BLE001 - what kind it is, is the question
        error = raised
    finally:
        os.chdir(before)
    files = frozenset(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return Shown(out.getvalue(), err.getvalue(), error, files)
