"""Learning curves as a picture: each measure of a history over the epochs, training and validation side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from chainrule.errors import ArgumentError
from chainrule.frontend.checkpoint import write_atomically
from chainrule.frontend.places import error

PathLike = str | os.PathLike[str]


def require_svg(path: PathLike | None) -> None:
    """Raises ArgumentError for a picture of another kind."""
    if path is not None and Path(path).suffix != ".svg":
        raise error(ArgumentError, f"picture: {path} is no .svg", help='e.g. picture="curves.svg"')


def draw_curves(rows: Sequence[Mapping[str, float]], path: PathLike | None) -> None:
    """Writes the curves of all rows; None draws nothing."""
    if path is None or not rows:
        return
    from chainrule.pictures import Series, curves

    names = [name for name in rows[0] if name not in ("epoch", "seconds")]
    series = [Series(name, [row["epoch"] for row in rows if name in row], [row[name] for row in rows if name in row])
              for name in names]  # fmt: skip
    write_atomically(path, curves("Training", "epoch", ", ".join(names), series).encode())
